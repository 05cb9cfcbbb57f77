//! A person at the command line, an app of theirs, and what the engines show of it.

use std::path::Path;
use std::sync::Mutex;

use serde_json::Value;

use crate::cli::{Home, Ran, run};
use crate::harness::{Stack, unique};

/// Says its version and nothing else. A version that begins with "crash" ends at once, "slow-9" begins after 9 s.
pub const SERVER: &str = r#"import http.server, os, sys, time
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

/// A person who is logged in, and all that commands have said to it.
pub struct Person {
    pub home: Home,
    pub stack: &'static Stack,
    /// All that its commands have said.
    pub said: Mutex<String>,
}

impl Person {
    pub fn of(stack: &'static Stack) -> Self {
        Self::at(stack, &stack.api())
    }

    /// Logged in by this URL of the agent.
    pub fn at(stack: &'static Stack, server: &str) -> Self {
        let home = Home::new();
        let (user, password) = stack.person();
        let args = ["login", "--server", server, "--user", &user, "--password-stdin"];
        let ran = tokio::task::block_in_place(|| run(home.command(home.dir.path(), &args), &password));
        assert_eq!(ran.code, 0, "{}", ran.err);
        let said = Mutex::new(ran.out + &ran.err);
        Self { home, stack, said }
    }

    pub fn asks(&self, dir: &Path, args: &[&str], stdin: &str) -> Ran {
        let ran = tokio::task::block_in_place(|| run(self.home.command(dir, args), stdin));
        let mut said = self.said.lock().unwrap();
        said.push_str(&ran.out);
        said.push_str(&ran.err);
        ran
    }

    /// Runs a command that must end with this code.
    pub fn expect(&self, code: i32, dir: &Path, args: &[&str]) -> Ran {
        let ran = self.asks(dir, args, "");
        assert_eq!(ran.code, code, "{args:?}\nout: {}\nerr: {}", ran.out, ran.err);
        ran
    }

    /// Deploys; gives the URL, which is all of stdout.
    pub fn deploys(&self, dir: &Path) -> String {
        let ran = self.expect(0, dir, &["deploy"]);
        let url = ran.out.trim_end().to_owned();
        assert!(url.starts_with("http://") && !url.contains('\n'), "the URL alone is data: {}", ran.out);
        url
    }

    pub fn status(&self, dir: &Path) -> Value {
        serde_json::from_str(&self.expect(0, dir, &["status", "--json"]).out).unwrap()
    }
}

/// A project's folder with the app of above.
pub struct Project {
    pub name: String,
    pub dir: tempfile::TempDir,
}

impl Project {
    pub fn new() -> Self {
        Self::named(&unique("tour"))
    }
    pub fn named(name: &str) -> Self {
        let it = Self { name: name.to_owned(), dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(it.path().join("app")).unwrap();
        std::fs::write(it.path().join("app/server.py"), SERVER).unwrap();
        it.version("one");
        it.describe(&it.host(), "");
        it
    }
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
    pub fn host(&self) -> String {
        format!("{}.example.org", self.name)
    }
    pub fn version(&self, version: &str) {
        std::fs::write(self.path().join("app/version"), version).unwrap();
    }
    pub fn describe(&self, host: &str, env: &str) {
        let env = if env.is_empty() { String::new() } else { format!("\n      {env}") };
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
      KEY  = secret.key{env}
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

/// Asks the development proxy for a page by its URL. Names under `localhost` are this machine.
pub async fn page(stack: &Stack, url: &str) -> Result<(u16, String), reqwest::Error> {
    let url: reqwest::Url = url.parse().unwrap();
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let direct = format!("{}{}", stack.proxy(), url.path());
    assert!(stack.proxy().ends_with(&format!(":{}", url.port().unwrap())), "the URL's port is the proxy's");
    let reply = stack.http().get(direct).header("host", host).send().await?;
    let status = reply.status().as_u16();
    Ok((status, reply.text().await?))
}

pub async fn json(stack: &Stack, url: String) -> Value {
    let reply = stack.http().get(url).send().await.unwrap();
    if reply.status() == 404 { Value::Null } else { reply.json().await.unwrap() }
}

pub async fn job(stack: &Stack, app: &str) -> Value {
    json(stack, format!("{}/v1/job/{app}", stack.nomad())).await
}

/// The allocations that run, oldest first.
pub async fn running(stack: &Stack, app: &str) -> Vec<Value> {
    let all = json(stack, format!("{}/v1/job/{app}/allocations", stack.nomad())).await;
    let mut live: Vec<Value> =
        all.as_array().unwrap().iter().filter(|a| a["ClientStatus"] == "running").cloned().collect();
    live.sort_by_key(|a| a["CreateIndex"].as_u64());
    live
}
