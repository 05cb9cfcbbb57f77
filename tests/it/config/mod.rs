//! Configuration: env and secrets, set by people, seen in the process.

mod edit;
mod env;
mod secrets;
mod staged;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::cli::{Home, Ran, run};
use crate::harness::{Stack, StackOptions, eventually, unique};
use crate::login::{log_in, logs, token};

/// Answers `/NAME` with the bytes of that variable, in hex. Ends at once where `CRASH` is set.
const SERVER: &str = r#"import http.server, os, sys
if b"CRASH" in os.environb:
    print("I was told to crash", file=sys.stderr, flush=True)
    sys.exit(4)
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.strip("/").encode()
        value = os.environb.get(name)
        found = name == b"" or value is not None
        body = (value or b"").hex().encode()
        self.send_response(200 if found else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Page).serve_forever()
"#;

/// One stack with an agent for this room.
async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    STACK.get_or_init(|| Stack::start(StackOptions::with_agent())).await
}

/// A person who is logged in, with an app.
struct World {
    stack: &'static Stack,
    home: Home,
    name: String,
    dir: tempfile::TempDir,
}

impl World {
    /// Of an app that is described and not deployed.
    async fn new(secrets: &str) -> Self {
        let stack = stack().await;
        let home = Home::new();
        let (user, password) = stack.person();
        assert_eq!(log_in(&home, stack, &user, password.trim_end()).code, 0);
        let it = Self { stack, home, name: unique("conf"), dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(it.dir.path().join("app")).unwrap();
        std::fs::write(it.dir.path().join("app/server.py"), SERVER).unwrap();
        it.describe(secrets);
        it
    }

    /// Writes the descriptor; `more` are blocks of the project.
    fn describe(&self, more: &str) {
        let name = &self.name;
        let keys: String =
            if more.contains("\"api_key\"") { "API_KEY = secret.api_key\n".into() } else { String::new() };
        let text = format!(
            r#"project "{name}" {{
  build "archive" {{
    dir = "app"
  }}
  process "web" {{
    command = ["python3", "server.py"]
    port "http" {{}}
    check "http" {{
      path = "/"
    }}
    route "{name}.example.org" {{}}
    restart {{
      attempts = 0
      mode     = "fail"
    }}
    env {{
      GREETING = "hello"
      {keys}
    }}
  }}
  {more}
}}
"#
        );
        std::fs::write(self.dir.path().join("terreau.hcl"), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        self.home.command(self.path(), args)
    }

    fn asks(&self, args: &[&str], stdin: &str) -> Ran {
        tokio::task::block_in_place(|| run(self.command(args), stdin))
    }

    fn expect(&self, code: i32, args: &[&str]) -> Ran {
        self.told(code, args, "")
    }

    fn told(&self, code: i32, args: &[&str], stdin: &str) -> Ran {
        let ran = self.asks(args, stdin);
        assert_eq!(ran.code, code, "{args:?}\nout: {}\nerr: {}", ran.out, ran.err);
        ran
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.expect(0, args).out).unwrap()
    }

    /// The entry of `env list` of this name and origin.
    fn listed(&self, name: &str, origin: &str) -> Option<Value> {
        let list = self.json(&["env", "list", "--json"]);
        let all = list["env"].as_array().unwrap();
        all.iter().find(|v| v["name"] == name && v["origin"] == origin).cloned()
    }

    /// What the process has by this name; `None`: nothing.
    async fn has(&self, name: &str) -> Option<String> {
        let host = format!("{}.example.org.localhost", self.name);
        let url = format!("{}/{name}", self.stack.proxy());
        eventually("the app answers", Duration::from_secs(20), async || {
            let reply = self.stack.http().get(&url).header("host", &host).send().await.ok()?;
            match reply.status().as_u16() {
                200 => Some(Some(String::from_utf8(hex::decode(reply.text().await.ok()?).ok()?).ok()?)),
                404 => Some(None),
                _ => None,
            }
        })
        .await
    }

    /// Waits until the process has this: the old instance answers for a moment longer.
    async fn comes_to_have(&self, name: &str, wanted: Option<&str>) {
        eventually(&format!("{name} is {wanted:?}"), Duration::from_secs(20), async || {
            (self.has(name).await.as_deref() == wanted).then_some(())
        })
        .await;
    }

    async fn kv(&self, key: &str) -> Option<String> {
        let reply =
            self.stack.http().get(format!("{}/v1/kv/{key}?raw", self.stack.consul())).send().await.unwrap();
        if reply.status() == 404 { None } else { Some(reply.text().await.unwrap()) }
    }

    /// Everything below a prefix, as text.
    async fn kv_all(&self, prefix: &str) -> BTreeMap<String, String> {
        let url = format!("{}/v1/kv/{prefix}?recurse", self.stack.consul());
        let reply = self.stack.http().get(url).send().await.unwrap();
        if reply.status() == 404 {
            return BTreeMap::new();
        }
        let entries: Vec<Value> = reply.json().await.unwrap();
        let text = |v: &Value| {
            String::from_utf8_lossy(&STANDARD.decode(v.as_str().unwrap_or("")).unwrap()).into_owned()
        };
        entries.iter().map(|e| (e["Key"].as_str().unwrap().to_owned(), text(&e["Value"]))).collect()
    }

    async fn head(&self) -> Value {
        let text = self.kv(&format!("terreau/v1/app/default/production/{}", self.name)).await;
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    async fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/v1/apps/{}{path}", self.stack.api(), self.name);
        let request = self.stack.http().request(method.parse().unwrap(), url);
        let reply = request.bearer_auth(token(&self.home)).json(body).send().await.unwrap();
        (reply.status().as_u16(), reply.json().await.unwrap_or(Value::Null))
    }

    /// Puts the app online with values of `user` secrets, for which the command line asks on a terminal only.
    async fn deploys_with(&self, secrets: Value) {
        // Without them nothing is deployed.
        self.expect(1, &["deploy"]);
        let plan = self.path().join("plan.json");
        self.asks(&["plan", "--out", plan.to_str().unwrap()], "");
        let plan: Value = serde_json::from_str(&std::fs::read_to_string(plan).unwrap()).unwrap();
        let body = json!({
            "descriptor": plan["descriptor"], "artifact": plan["artifact"], "ticket": plan["ticket"], "secrets": secrets,
        });
        let (status, answer) = self.api("POST", "/deploy", &body).await;
        assert_eq!(status, 202, "{answer}");
        self.expect(0, &["operations", "follow", answer["operation"].as_str().unwrap()]);
    }

    /// The canary grep: a value stands nowhere but in its own keys.
    async fn nowhere_else(&self, canaries: &[&str]) {
        let nomad = self.stack.nomad();
        let mut texts = Vec::new();
        for path in [
            "",
            "/versions",
            "/allocations",
            "/evaluations",
            "/submission?version=0",
            "/submission?version=1",
        ] {
            let reply =
                self.stack.http().get(format!("{nomad}/v1/job/{}{path}", self.name)).send().await.unwrap();
            texts.push((format!("Nomad's job{path}"), reply.text().await.unwrap()));
        }
        let inspect = Command::new(&self.stack.engines.nomad.path)
            .args(["job", "inspect", &format!("-address={nomad}"), &self.name])
            .env_remove("AWS_CA_BUNDLE")
            .output()
            .unwrap();
        assert!(inspect.status.success(), "{inspect:?}");
        texts.push(("nomad job inspect".to_owned(), String::from_utf8_lossy(&inspect.stdout).into_owned()));
        for (key, value) in self.kv_all("terreau/").await {
            texts.push((key, value));
        }
        for log in logs(self.stack.dir()) {
            let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
            texts.push((log.display().to_string(), text));
        }
        assert!(texts.len() > 10, "there is something to look through");
        for (place, text) in texts {
            for canary in canaries {
                assert!(!text.contains(canary), "a value stands in {place}");
            }
        }
    }
}
