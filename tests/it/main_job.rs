//! The tour of a person, from the login to the delete: the real command line, a real agent, the real engines.

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
use crate::harness::{Part, Stack, StackOptions, eventually, unique};
use crate::login::{log_in, logs, token};

/// Says its version and nothing else. A version that begins with "crash" ends at once, one with "slow" begins late.
const SERVER: &str = r#"import http.server, os, sys, time
VERSION = open("version").read().strip()
print("serving", VERSION, flush=True)
if VERSION.startswith("crash"):
    for n in range(60):
        print("last words", n, VERSION, file=sys.stderr, flush=True)
    sys.exit(3)
if VERSION.startswith("slow"):
    time.sleep(95)
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
        let home = Home::new();
        let (user, password) = stack.person();
        let ran = log_in(&home, stack, &user, password.trim_end());
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

/// PT-60, PT-69, PT-70: `examples/static`.
#[tokio::test(flavor = "multi_thread")]
async fn pt_60_the_static_example_goes_online_by_its_route_and_a_second_deploy_changes_nothing() {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let person = Person::of(stack);
    let name = unique("jardin");
    let (_temp, dir) = example("static", &name);
    let url = person.deploys(&dir);
    assert!(url.contains(&format!("{name}.example.org.localhost")), "{url}");
    let index = std::fs::read_to_string(dir.join("public/index.html")).unwrap();
    let missing = std::fs::read_to_string(dir.join("public/404.html")).unwrap();
    assert_eq!(page(stack, &url).await.unwrap(), (200, index));
    assert_eq!(page(stack, &format!("{url}nowhere")).await.unwrap(), (404, missing));
    // The second time there is nothing to do, and nothing is done.
    let before = indexes(stack, &name).await;
    let again = person.expect(0, &dir, &["deploy"]);
    assert!(again.err.contains("no changes"), "{}", again.err);
    assert_eq!(again.out.trim_end(), url);
    assert_eq!(indexes(stack, &name).await, before);
    assert!(before.len() > 4, "there is something to compare: {before:?}");
    // A changed file is there once the deploy has ended.
    std::fs::write(dir.join("public/index.html"), "spring").unwrap();
    assert_eq!(person.deploys(&dir), url);
    assert_eq!(page(stack, &url).await.unwrap(), (200, "spring".to_owned()));
    // Whoever types its name may delete it.
    let gone = person.asks(&dir, &["delete"], &format!("{name}\n"));
    assert_eq!(gone.code, 0, "{}", gone.err);
    assert_ne!(page(stack, &url).await.unwrap().0, 200);
}

/// PT-01, PT-60: `examples/radicale`, a program by others with a directory account and a volume.
#[tokio::test(flavor = "multi_thread")]
async fn pt_60_people_log_in_to_radicale_and_their_events_outlive_a_new_release() {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = tokio::task::block_in_place(|| Command::new(root.join("tests/caldav/venv")).output().unwrap());
    assert!(made.status.success(), "no CalDAV client: {}", String::from_utf8_lossy(&made.stderr));
    let python = String::from_utf8(made.stdout).unwrap().trim_end().to_owned();
    let name = unique("radicale");
    let (_temp, dir) = example("radicale", &name);
    let built = tokio::task::block_in_place(|| Command::new(dir.join("build")).output().unwrap());
    assert!(built.status.success(), "no Radicale: {}", String::from_utf8_lossy(&built.stderr));

    let person = Person::of(stack);
    let url = person.deploys(&dir);
    let (status, text) = page(stack, &format!("{url}.web/")).await.unwrap();
    assert!(status < 400, "{status} {text}");
    let (user, password) = stack.person();
    let caldav = |verb: &str, password: &str| {
        let mut check = Command::new(&python);
        check.arg(root.join("tests/caldav/check.py")).args([url.as_str(), &user, verb, "tour-1"]);
        tokio::task::block_in_place(|| run(check, &format!("{}\n", password.trim_end())))
    };
    let wrong = caldav("write", "not-the-password");
    assert_eq!(wrong.code, 1, "a wrong password is refused: {}{}", wrong.out, wrong.err);
    let written = caldav("write", &password);
    assert_eq!(written.code, 0, "{}{}", written.out, written.err);

    let before = indexes(stack, &name).await;
    let again = person.expect(0, &dir, &["deploy"]);
    assert!(again.err.contains("no changes"), "{}", again.err);
    assert_eq!(indexes(stack, &name).await, before);

    let old = running(stack, &name).await;
    let text = std::fs::read_to_string(dir.join("terreau.hcl")).unwrap();
    let text = text.replace("PYTHONDONTWRITEBYTECODE = \"1\"", "PYTHONDONTWRITEBYTECODE = \"2\"");
    std::fs::write(dir.join("terreau.hcl"), text).unwrap();
    person.deploys(&dir);
    assert_ne!(running(stack, &name).await[0]["ID"], old[0]["ID"], "a new instance runs");
    let kept = caldav("read", &password);
    assert_eq!(kept.code, 0, "{}{}", kept.out, kept.err);
    let plan = person.expect(0, &dir, &["plan", "--json"]).out;
    nothing_leaked(&person, &name, &[plan]).await;
}

/// PT-60, PT-61, PT-43, PT-65.
#[tokio::test(flavor = "multi_thread")]
async fn pt_61_a_redeploy_loses_no_request_and_a_release_that_crashes_leaves_the_old_one_serving() {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let person = Person::of(stack);
    let app = Project::new();
    let url = person.deploys(app.path());
    assert_eq!(page(stack, &url).await.unwrap(), (200, "one".to_owned()));

    let load = Load::on(stack, &url);
    app.version("two");
    person.deploys(app.path());
    eventually("the old instance has gone", Duration::from_secs(30), async || {
        (running(stack, &app.name).await.len() == 1).then_some(())
    })
    .await;
    let bodies = load.end(Duration::from_secs(10)).await;
    assert!(bodies.contains_key("one") && bodies.contains_key("two") && bodies.len() == 2, "{bodies:?}");

    let load = Load::on(stack, &url);
    app.version("crash-three");
    let failed = person.expect(1, app.path(), &["deploy"]);
    assert!(failed.out.is_empty(), "no URL: {}", failed.out);
    assert!(failed.err.contains("last words 59 crash-three"), "the last log lines: {}", failed.err);
    assert!(failed.err.contains("exit code 3") || failed.err.contains("Exit Code: 3"), "{}", failed.err);
    let bodies = load.end(Duration::ZERO).await;
    assert_eq!(bodies.keys().collect::<Vec<_>>(), ["two"], "the old release serves");
    // Nomad looks at the old instance's health anew after its revert: for a moment it is "starting".
    let status = eventually("the old release is healthy again", Duration::from_secs(30), async || {
        let status = person.status(app.path());
        (status["status"] == "running").then_some(status)
    })
    .await;
    assert_eq!(status["release"], 2, "{status}");

    // What crashed can be read; what runs, too.
    let crashed = person.expect(0, app.path(), &["logs", "--previous", "--stream", "stderr", "--tail", "2"]);
    assert_eq!(crashed.out, "last words 58 crash-three\nlast words 59 crash-three\n");
    let now = person.expect(0, app.path(), &["logs", "--tail", "1"]);
    assert_eq!(now.out, "serving two\n");

    app.version("two");
    person.expect(0, app.path(), &["rollback", "1"]);
    assert_eq!(page(stack, &url).await.unwrap(), (200, "one".to_owned()));
    let releases = person.expect(0, app.path(), &["releases", "--json"]);
    let releases: Value = serde_json::from_str(&releases.out).unwrap();
    let newest = releases["releases"].as_array().unwrap().iter().find(|r| r["running"] == true).unwrap();
    assert_eq!(newest["rollback_of"], 1, "{releases}");
}

/// PT-69, PT-70, and a plan's promises.
#[tokio::test(flavor = "multi_thread")]
async fn pt_69_plans_hold_a_moved_world_is_refused_and_a_delete_asks_for_the_name() {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let person = Person::of(stack);
    let app = Project::new();
    let first = person.expect(10, app.path(), &["plan", "--json"]).out;
    let url = person.deploys(app.path());
    person.expect(0, app.path(), &["plan"]);
    let before = indexes(stack, &app.name).await;
    let again = person.expect(0, app.path(), &["deploy"]);
    assert!(again.err.contains("no changes"), "{}", again.err);
    assert_eq!(indexes(stack, &app.name).await, before);

    // A route is changed in place: the same instance serves by the new name.
    let instance = running(stack, &app.name).await[0]["ID"].clone();
    let host = format!("other-{}", app.host());
    app.describe(&host, "");
    let words = person.expect(10, app.path(), &["plan", "--out", "reviewed.json"]);
    assert!(words.out.contains("in place") && !words.out.contains("replaces"), "{}", words.out);
    let moved = person.deploys(app.path());
    assert!(moved.contains(&host), "{moved}");
    assert_eq!(running(stack, &app.name).await[0]["ID"], instance, "nothing was restarted");
    eventually("the proxy has the new name", Duration::from_secs(10), async || {
        (page(stack, &moved).await.unwrap() == (200, "one".to_owned())).then_some(())
    })
    .await;
    assert_ne!(page(stack, &url).await.unwrap().0, 200, "the old name is nobody's");

    // The plan of before is refused, and nothing happens.
    let before = indexes(stack, &app.name).await;
    let late = person.expect(5, app.path(), &["deploy", "--plan", "reviewed.json"]);
    assert!(late.err.contains("plan"), "{}", late.err);
    assert_eq!(indexes(stack, &app.name).await, before);
    let reviewed = std::fs::read_to_string(app.path().join("reviewed.json")).unwrap();

    // A host that is taken is refused, naming it.
    let other = Project::new();
    other.describe(&host, "");
    let taken = person.expect(5, other.path(), &["deploy"]);
    assert!(taken.err.contains(&host) && taken.err.contains("not available"), "{}", taken.err);
    assert!(job(stack, &other.name).await.is_null());
    nothing_leaked(&person, &app.name, &[first, reviewed]).await;

    for answer in ["", "another\n"] {
        let kept = person.asks(app.path(), &["delete"], answer);
        assert_eq!(kept.code, 1, "{}", kept.err);
        assert!(kept.err.contains(&app.name) && kept.err.contains("nothing was deleted"), "{}", kept.err);
    }
    assert_eq!(page(stack, &moved).await.unwrap().0, 200);
    person.expect(0, app.path(), &["delete", "--yes"]);
    person.expect(6, app.path(), &["status"]);
    eventually("nobody answers", Duration::from_secs(15), async || {
        (page(stack, &moved).await.unwrap().0 != 200).then_some(())
    })
    .await;
}

/// PT-73, while no other test of this room runs.
#[tokio::test(flavor = "multi_thread")]
async fn pt_73_an_agent_that_is_killed_and_comes_back_knows_everything_and_apps_never_notice() {
    let _alone = AGENT.write().await;
    let stack = stack().await;
    let person = Person::of(stack);
    let app = Project::new();
    let url = person.deploys(app.path());
    let look = || {
        let log = person.expect(0, app.path(), &["logs"]).out;
        (person.status(app.path()), log, person.expect(0, app.path(), &["releases"]).out)
    };
    let before = look();
    let load = Load::on(stack, &url);
    stack.kill(Part::Agent).await;
    let away = person.expect(7, app.path(), &["status"]);
    assert!(away.err.contains(&stack.api()), "{}", away.err);
    stack.start_part(Part::Agent).await;
    assert_eq!(look(), before);
    let bodies = load.end(Duration::ZERO).await;
    assert_eq!(bodies.keys().collect::<Vec<_>>(), ["one"]);

    // With no agent at all, an instance that is lost comes back, and finds its artifact.
    stack.kill(Part::Agent).await;
    let old = running(stack, &app.name).await[0]["ID"].as_str().unwrap().to_owned();
    let stop = format!("{}/v1/allocation/{old}/stop", stack.nomad());
    assert!(stack.http().post(stop).send().await.unwrap().status().is_success());
    eventually("another instance serves", Duration::from_secs(40), async || {
        let live = running(stack, &app.name).await;
        let other = live.iter().any(|a| a["ID"] != old.as_str());
        (other && page(stack, &url).await.unwrap() == (200, "one".to_owned())).then_some(())
    })
    .await;
    stack.start_part(Part::Agent).await;
    let after = eventually("it is known to run", Duration::from_secs(20), async || {
        let status = person.status(app.path());
        (status["status"] == "running").then_some(status)
    })
    .await;
    assert_eq!((&after["urls"], &after["release"]), (&before.0["urls"], &before.0["release"]));
    nothing_leaked(&person, &app.name, &[]).await;
}

/// PT-68.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: scripts/test --full"]
async fn pt_68_a_deploy_of_a_minute_and_a_half_is_told_as_it_ends() {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let person = Person::of(stack);
    let app = Project::new();
    app.version("slow");
    let began = Instant::now();
    let id = person.expect(0, app.path(), &["deploy", "--detach"]).out;
    assert!(began.elapsed() < Duration::from_secs(20), "the id comes at once");
    let end = person.expect(0, app.path(), &["operations", "follow", id.trim_end()]);
    assert!(began.elapsed() > Duration::from_secs(90));
    assert_eq!(page(stack, end.out.trim_end()).await.unwrap(), (200, "slow".to_owned()));
}
