//! The tour of a person, from the login to the delete: the real command line, a real agent, the real engines.

mod agents;
mod examples;
mod probe;
mod releases;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use terreau::engines::garage::Admin;
use terreau::engines::http::HttpOptions;
use tokio::sync::{OnceCell, RwLock};

use crate::cli::{Home, Ran, run};
use crate::harness::{Stack, StackOptions, unique};
use crate::login::{logs, token};

/// Says its version and nothing else. A version that begins with "crash" ends at once, "slow-9" begins after 9 s.
const SERVER: &str = r#"import http.server, os, sys, time
VERSION = open("version").read().strip()
print("serving", VERSION, flush=True)
if VERSION.startswith("crash"):
    for n in range(60):
        print("last words", n, VERSION, file=sys.stderr, flush=True)
    sys.exit(3)
if VERSION.startswith("slow"):
    time.sleep(int(VERSION.removeprefix("slow-")))
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = VERSION.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
Server(("0.0.0.0", int(os.environ["PORT"])), Page).serve_forever()
"#;

/// One stack with an agent for this room.
async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    STACK.get_or_init(|| Stack::start(StackOptions::with_agent())).await
}

/// Read by tests that need the agent, written by the one that kills it.
static AGENT: RwLock<()> = RwLock::const_new(());

/// A person who is logged in, and all that commands have said to it.
struct Person {
    home: Home,
    stack: &'static Stack,
    said: Mutex<String>,
}

impl Person {
    fn of(stack: &'static Stack) -> Self {
        Self::at(stack, &stack.api())
    }

    /// Logged in by this URL of the agent.
    fn at(stack: &'static Stack, server: &str) -> Self {
        let home = Home::new();
        let (user, password) = stack.person();
        let args = ["login", "--server", server, "--user", &user, "--password-stdin"];
        let ran = tokio::task::block_in_place(|| run(home.command(home.dir.path(), &args), &password));
        assert_eq!(ran.code, 0, "{}", ran.err);
        let said = Mutex::new(ran.out + &ran.err);
        Self { home, stack, said }
    }

    fn asks(&self, dir: &Path, args: &[&str], stdin: &str) -> Ran {
        let ran = tokio::task::block_in_place(|| run(self.home.command(dir, args), stdin));
        let mut said = self.said.lock().unwrap();
        said.push_str(&ran.out);
        said.push_str(&ran.err);
        ran
    }

    /// Runs a command that must end with this code.
    fn expect(&self, code: i32, dir: &Path, args: &[&str]) -> Ran {
        let ran = self.asks(dir, args, "");
        assert_eq!(ran.code, code, "{args:?}\nout: {}\nerr: {}", ran.out, ran.err);
        ran
    }

    /// Deploys; gives the URL, which is all of stdout.
    fn deploys(&self, dir: &Path) -> String {
        let ran = self.expect(0, dir, &["deploy"]);
        let url = ran.out.trim_end().to_owned();
        assert!(url.starts_with("http://") && !url.contains('\n'), "the URL alone is data: {}", ran.out);
        url
    }

    fn status(&self, dir: &Path) -> Value {
        serde_json::from_str(&self.expect(0, dir, &["status", "--json"]).out).unwrap()
    }
}

/// A project's folder with the app of above.
struct Project {
    name: String,
    dir: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let it = Self { name: unique("tour"), dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(it.path().join("app")).unwrap();
        std::fs::write(it.path().join("app/server.py"), SERVER).unwrap();
        it.version("one");
        it.describe(&it.host(), "");
        it
    }
    fn path(&self) -> &Path {
        self.dir.path()
    }
    fn host(&self) -> String {
        format!("{}.example.org", self.name)
    }
    fn version(&self, version: &str) {
        std::fs::write(self.path().join("app/version"), version).unwrap();
    }
    fn describe(&self, host: &str, env: &str) {
        let text = format!(
            r#"project "{}" {{
  build "archive" {{
    dir = "app"
  }}
  process "web" {{
    command = ["python3", "server.py"]
    port "http" {{}}
    check "http" {{
      path = "/"
    }}
    route "{host}" {{}}
    restart {{
      attempts = 0
      mode     = "fail"
    }}
    env {{
      PORT = port.http
      KEY  = secret.key
      {env}
    }}
  }}
  secret "key" {{
    type = "generated"
  }}
}}
"#,
            self.name
        );
        std::fs::write(self.path().join("terreau.hcl"), text).unwrap();
    }
}

/// A copy of an example under a name of its own, so that runs do not meet.
fn example(which: &str, name: &str) -> (tempfile::TempDir, PathBuf) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(which);
    let temp = tempfile::tempdir().unwrap();
    let done = Command::new("cp").arg("-r").arg(&from).arg(temp.path()).status().unwrap();
    assert!(done.success());
    let dir = temp.path().join(which);
    let text = std::fs::read_to_string(dir.join("terreau.hcl")).unwrap();
    let project = text.split('"').nth(1).unwrap().to_owned();
    let text = text.replace(&format!("project \"{project}\""), &format!("project \"{name}\""));
    let text = text.replace(&format!("{project}.example.org"), &format!("{name}.example.org"));
    std::fs::write(dir.join("terreau.hcl"), text).unwrap();
    (temp, dir)
}

/// Asks the development proxy for a page by its URL. Names under `localhost` are this machine.
async fn page(stack: &Stack, url: &str) -> Result<(u16, String), reqwest::Error> {
    let url: reqwest::Url = url.parse().unwrap();
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let direct = format!("{}{}", stack.proxy(), url.path());
    assert!(stack.proxy().ends_with(&format!(":{}", url.port().unwrap())), "the URL's port is the proxy's");
    let reply = stack.http().get(direct).header("host", host).send().await?;
    let status = reply.status().as_u16();
    Ok((status, reply.text().await?))
}

async fn json(stack: &Stack, url: String) -> Value {
    let reply = stack.http().get(url).send().await.unwrap();
    if reply.status() == 404 { Value::Null } else { reply.json().await.unwrap() }
}

async fn job(stack: &Stack, app: &str) -> Value {
    json(stack, format!("{}/v1/job/{app}", stack.nomad())).await
}

/// The allocations that run, oldest first.
async fn running(stack: &Stack, app: &str) -> Vec<Value> {
    let all = json(stack, format!("{}/v1/job/{app}/allocations", stack.nomad())).await;
    let mut live: Vec<Value> =
        all.as_array().unwrap().iter().filter(|a| a["ClientStatus"] == "running").cloned().collect();
    live.sort_by_key(|a| a["CreateIndex"].as_u64());
    live
}

/// Everything of an app whose index would tell of a write.
async fn indexes(stack: &Stack, app: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let job = job(stack, app).await;
    for name in ["JobModifyIndex", "ModifyIndex", "Version"] {
        all.insert(name.to_owned(), job[name].to_string());
    }
    for folder in [format!("secrets/{app}/"), "terreau/v1/app/".to_owned()] {
        let keys = json(stack, format!("{}/v1/kv/{folder}?recurse", stack.consul())).await;
        for key in keys.as_array().into_iter().flatten() {
            let name = key["Key"].as_str().unwrap();
            // Heads of other tests' apps move at their own pace.
            if name.contains(app) {
                all.insert(name.to_owned(), key["ModifyIndex"].to_string());
            }
        }
    }
    let garage = Admin::new(&stack.garage_admin(), stack.admin_token(), &HttpOptions::default()).unwrap();
    for bucket in garage.buckets().await.unwrap() {
        if format!("{bucket:?}").contains(app) {
            all.insert(format!("{bucket:?}"), format!("{:?}", garage.bucket(&bucket.id).await.unwrap()));
        }
    }
    all
}

/// The values of an app's secrets, by key.
async fn secrets(stack: &Stack, app: &str) -> Vec<String> {
    let keys = json(stack, format!("{}/v1/kv/secrets/{app}/?recurse", stack.consul())).await;
    let values = keys.as_array().into_iter().flatten().filter_map(|k| k["Value"].as_str());
    values.map(|v| String::from_utf8(STANDARD.decode(v).unwrap()).unwrap()).filter(|v| v.len() >= 8).collect()
}

/// The canary grep: no secret, password or token in what was said, logged, or registered.
async fn nothing_leaked(person: &Person, app: &str, plans: &[String]) {
    let stack = person.stack;
    let mut canaries = secrets(stack, app).await;
    assert!(!canaries.is_empty(), "there are secrets to look for");
    let token = token(&person.home);
    canaries.extend([token.split_once('.').unwrap().1.to_owned(), stack.person().1.trim_end().to_owned()]);
    let said = person.said.lock().unwrap().clone();
    let mut texts = vec![
        ("a command's output".to_owned(), said.into_bytes()),
        ("the job".to_owned(), job(stack, app).await.to_string().into_bytes()),
    ];
    let versions = json(stack, format!("{}/v1/job/{app}/versions", stack.nomad())).await;
    texts.push(("the job's versions".to_owned(), versions.to_string().into_bytes()));
    let submission = json(stack, format!("{}/v1/job/{app}/submission?version=0", stack.nomad())).await;
    texts.push(("the job's source".to_owned(), submission.to_string().into_bytes()));
    texts.extend(plans.iter().map(|p| ("a plan".to_owned(), p.clone().into_bytes())));
    for log in logs(stack.dir()) {
        texts.push((log.display().to_string(), std::fs::read(&log).unwrap_or_default()));
    }
    for (place, text) in &texts {
        for canary in &canaries {
            let found = text.windows(canary.len()).any(|w| w == canary.as_bytes());
            assert!(!found, "a secret stands in {place}");
        }
    }
}

/// 100 requests a second, each on its own, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<Result<(u16, String), String>>>,
    began: Instant,
}

impl Load {
    fn on(stack: &'static Stack, url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, url) = (stop.clone(), url.parse::<reqwest::Url>().unwrap());
        let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        let client = stack.http();
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            let mut asked = Vec::new();
            while !told.load(Ordering::Relaxed) {
                tick.tick().await;
                let request = client.get(stack.proxy()).header("host", &host);
                asked.push(tokio::spawn(async move {
                    let reply = request.send().await.map_err(|e| format!("{e:?}"))?;
                    let status = reply.status().as_u16();
                    Ok((status, reply.text().await.map_err(|e| format!("{e:?}"))?))
                }));
            }
            futures::future::join_all(asked).await.into_iter().map(Result::unwrap).collect()
        });
        Self { stop, task, began: Instant::now() }
    }

    /// Ends it once it has gone on for `least`; gives how often each body came. Panics on any error.
    async fn end(self, least: Duration) -> BTreeMap<String, usize> {
        tokio::time::sleep(least.saturating_sub(self.began.elapsed())).await;
        self.stop.store(true, Ordering::Relaxed);
        let seconds = self.began.elapsed().as_secs_f64();
        let all = self.task.await.unwrap();
        let errors: Vec<_> = all.iter().filter(|r| !matches!(r, Ok((200, _)))).collect();
        println!("{} requests in {seconds:.1} s, {} errors", all.len(), errors.len());
        assert!(errors.is_empty(), "{} of {}: {:?}", errors.len(), all.len(), &errors[..errors.len().min(5)]);
        #[allow(clippy::cast_precision_loss)]
        let rate = all.len() as f64 / seconds;
        assert!(rate > 80.0, "only {rate:.0} requests a second were asked");
        let mut bodies = BTreeMap::new();
        for (_, body) in all.into_iter().flatten() {
            *bodies.entry(body).or_insert(0) += 1;
        }
        bodies
    }
}
