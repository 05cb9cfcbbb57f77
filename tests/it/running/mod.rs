//! What people do with apps that run, and what they see of them: start, stop, scale, restart, status, ps, top, events.

mod changes;
mod kills;
mod look;
mod maintenance;
mod many;
mod nodes;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::cli::{Home, Ran, run};
use crate::harness::{Stack, StackOptions, eventually, unique};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(90);

/// Serves its version and a value of its environment. `SLOW=9` begins after 9 s; `/die` ends it with exit code 3; after
/// `/ill/2` the next two visits of `/healthz` fail; `/ill` tells how many are left, and `well` after one that passed.
const SERVER: &str = r#"
import http.server, os, sys, time
ill = "well"
time.sleep(float(os.environ.get("SLOW", "0")))
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(3)
        if self.path == "/eat":
            keep = [bytearray(os.urandom(1 << 20)) for _ in range(512)]
        global ill
        status = 200
        if self.path.startswith("/ill/"):
            ill = int(self.path[5:])
        if self.path == "/healthz" and ill != "well":
            status = 500 if ill else 200
            ill = ill - 1 if ill else "well"
        body = str(ill).encode() if self.path == "/ill" else ("%s %s" % (os.environ.get("VERSION", ""), os.getpid())).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
Server(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
"#;

/// One stack with an agent for this room; nobody kills anything of it.
async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    STACK.get_or_init(|| Stack::start(StackOptions::with_agent())).await
}

/// The server's program in one line, as a command's word.
fn program() -> String {
    use base64::Engine as _;
    let code = base64::engine::general_purpose::STANDARD.encode(SERVER);
    format!("import base64; exec(base64.b64decode('{code}'))")
}

/// An app of this room: a web process, and a worker without a door.
struct App {
    name: String,
    dir: tempfile::TempDir,
    home: Home,
    stack: &'static Stack,
}

impl App {
    fn new(stack: &'static Stack, prefix: &str) -> Self {
        let home = Home::new();
        let (user, password) = stack.person();
        let args = ["login", "--server", &stack.api(), "--user", &user, "--password-stdin"];
        let ran = tokio::task::block_in_place(|| run(home.command(home.dir.path(), &args), &password));
        assert_eq!(ran.code, 0, "{}", ran.err);
        let it = Self { name: unique(prefix), dir: tempfile::tempdir().unwrap(), home, stack };
        it.describe("one", "");
        it
    }

    /// Writes the descriptor: the version that it serves, and more lines for the web process.
    fn describe(&self, version: &str, web: &str) {
        let text = format!(
            r#"project "{name}" {{
  process "web" {{
    command = ["/usr/bin/python3", "-c", "{code}", "${{port.http}}"]
    port "http" {{}}
    check "http" {{ path = "/healthz" }}
    route "{name}.example.org" {{}}
    env = {{ VERSION = "{version}" }}
    {web}
  }}
  process "worker" {{
    command = ["/bin/sleep", "infinity"]
  }}
}}
"#,
            name = self.name,
            code = program(),
        );
        std::fs::write(self.dir.path().join("terreau.hcl"), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn asks(&self, args: &[&str]) -> Ran {
        tokio::task::block_in_place(|| run(self.home.command(self.path(), args), ""))
    }

    /// Runs a command that must end with this code.
    fn expect(&self, code: i32, args: &[&str]) -> Ran {
        let ran = self.asks(args);
        assert_eq!(ran.code, code, "{args:?}\nout: {}\nerr: {}", ran.out, ran.err);
        ran
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.expect(0, &["status", "--json"]).out).unwrap()
    }

    /// The process of that name in a status.
    fn process(status: &Value, name: &str) -> Value {
        let all = status["processes"].as_array().unwrap();
        all.iter().find(|p| p["name"] == name).cloned().unwrap_or_else(|| panic!("{status}"))
    }

    /// Asks the development proxy for the app's page.
    async fn page(&self, path: &str) -> (u16, String) {
        let request = self.stack.http().get(format!("{}{path}", self.stack.proxy()));
        let reply =
            request.header("host", format!("{}.example.org.localhost", self.name)).send().await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap_or_default())
    }

    async fn nomad(&self, path: &str) -> Value {
        let reply = self.stack.http().get(format!("{}{path}", self.stack.nomad())).send().await.unwrap();
        reply.json().await.unwrap()
    }

    /// Living allocations, oldest first.
    async fn allocations(&self) -> Vec<Value> {
        let all = self.nomad(&format!("/v1/job/{}/allocations", self.name)).await;
        let lives = |a: &&Value| a["DesiredStatus"] == "run" && a["ClientStatus"] == "running";
        let mut live: Vec<Value> = all.as_array().unwrap().iter().filter(lives).cloned().collect();
        live.sort_by_key(|a| a["CreateIndex"].as_u64());
        live
    }

    /// Asks the API as the person who is logged in.
    async fn api(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let token = crate::login::token(&self.home);
        let request = self.stack.http().request(method, format!("{}{path}", self.stack.api()));
        let reply = request.bearer_auth(token).json(&body).send().await.unwrap();
        (reply.status().as_u16(), reply.json().await.unwrap_or(json!(null)))
    }

    async fn until_page(&self, status: u16) -> String {
        eventually(&format!("{} answers {status}", self.name), PATIENCE, async || {
            let (got, body) = self.page("/").await;
            (got == status).then_some(body)
        })
        .await
    }

    /// Waits until the development proxy has heard that an instance is healthy, whatever else stands at its host.
    async fn until_known(&self) {
        eventually(&format!("the proxy knows that {} is well", self.name), PATIENCE, async || {
            let list = self.stack.http().get(self.stack.proxy()).header("host", "127.0.0.1");
            let list = list.send().await.unwrap().text().await.unwrap();
            let is_ours =
                |row: &str| row.contains(&format!("({}", self.name)) && !row.contains("not running");
            list.split("<li>").any(is_ours).then_some(())
        })
        .await;
    }
}

/// Requests to an app, one every 20 ms, each on its own, until it is ended.
struct Load {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<Result<u16, String>>>,
    times: Arc<Mutex<Vec<Duration>>>,
}

impl Load {
    fn on(app: &App) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let times = Arc::new(Mutex::new(Vec::new()));
        let took = times.clone();
        let (told, client, proxy) = (stop.clone(), app.stack.http(), app.stack.proxy());
        let host = format!("{}.example.org.localhost", app.name);
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            let mut asked = Vec::new();
            while !told.load(Ordering::Relaxed) {
                tick.tick().await;
                let request = client.get(&proxy).header("host", &host);
                let took = took.clone();
                asked.push(tokio::spawn(async move {
                    let begun = Instant::now();
                    let reply = request.send().await.map_err(|e| format!("{e:?}"))?;
                    took.lock().unwrap().push(begun.elapsed());
                    Ok(reply.status().as_u16())
                }));
            }
            futures::future::join_all(asked).await.into_iter().map(Result::unwrap).collect()
        });
        Self { stop, task, times }
    }

    /// What 99 of 100 answers since the last look took at most, and how many there were.
    fn p99(&self) -> (Duration, usize) {
        let mut times = std::mem::take(&mut *self.times.lock().unwrap());
        times.sort_unstable();
        (times[(times.len() * 99 / 100).min(times.len() - 1)], times.len())
    }

    /// How many were answered with 200, and the others.
    async fn end(self) -> (usize, Vec<Result<u16, String>>) {
        self.stop.store(true, Ordering::Relaxed);
        let all = self.task.await.unwrap();
        let (good, bad): (Vec<_>, Vec<_>) = all.into_iter().partition(|r| matches!(r, Ok(200)));
        (good.len(), bad)
    }
}
