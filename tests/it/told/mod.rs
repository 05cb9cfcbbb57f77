//! Who is told of what happens to an app: hooks, and the feed.

mod away;
mod crash;
mod feed;
mod idle;
mod kills;
mod refused;
mod tells;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::{Mutex, OnceCell};

use crate::cli::Ran;
use crate::harness::{Stack, StackOptions, eventually, unique};
use crate::tour::Person;

const PATIENCE: Duration = Duration::from_secs(90);

/// One stack with an agent for this room; nobody kills anything of it.
async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    STACK.get_or_init(|| Stack::start(StackOptions::with_agent())).await
}

/// What a receiver was sent.
#[derive(Debug, Clone)]
struct Got {
    id: String,
    timestamp: i64,
    signature: String,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    /// As a receiver verifies it.
    fn is_signed(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.trim().strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.{}", self.id, self.timestamp, self.body).as_bytes());
        self.signature == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// A small HTTP server that keeps what it is sent.
struct Receiver {
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<AtomicU16>,
    /// Where it says that everything has moved to.
    moved: Arc<Mutex<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    async fn start() -> Self {
        Self::at(0).await
    }

    async fn at(port: u16) -> Self {
        let listener = eventually("the port is free", PATIENCE, async || {
            tokio::net::TcpListener::bind(("127.0.0.1", port)).await.ok()
        })
        .await;
        let port = listener.local_addr().unwrap().port();
        let got = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(AtomicU16::new(204));
        let moved = Arc::new(Mutex::new(String::new()));
        let (kept, answer, to) = (got.clone(), answers.clone(), moved.clone());
        let app = axum::Router::new().fallback(move |headers: HeaderMap, body: Bytes| async move {
            let text = |n: &str| headers[n].to_str().unwrap().to_owned();
            assert_eq!(text("content-type"), "application/json");
            kept.lock().await.push(Got {
                id: text("webhook-id"),
                timestamp: text("webhook-timestamp").parse().unwrap(),
                signature: text("webhook-signature"),
                body: String::from_utf8(body.to_vec()).unwrap(),
            });
            let status = StatusCode::from_u16(answer.load(Ordering::Relaxed)).unwrap();
            (status, [("location", to.lock().await.clone())], "canary of an answer")
        });
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { port, got, answers, moved, task }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/told/secret-path", self.port)
    }

    fn answers(&self, status: u16) {
        self.answers.store(status, Ordering::Relaxed);
    }

    async fn all(&self) -> Vec<Got> {
        self.got.lock().await.clone()
    }

    /// Waits until it has this many.
    async fn until(&self, count: usize) -> Vec<Got> {
        eventually(&format!("{count} messages arrive"), PATIENCE, async || {
            let all = self.all().await;
            (all.len() >= count).then_some(all)
        })
        .await
    }
}

/// An app that serves: without an artifact, so that a deploy is quick. While the file `crash` is beside it, it ends at once.
struct App {
    name: String,
    dir: tempfile::TempDir,
    person: Person,
}

impl App {
    fn new(stack: &'static Stack, prefix: &str) -> Self {
        let it = Self { name: unique(prefix), dir: tempfile::tempdir().unwrap(), person: Person::of(stack) };
        it.describe("one", "");
        it
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes the descriptor: a version, and more lines for the process.
    fn describe(&self, version: &str, more: &str) {
        let code = format!(
            "import http.server, os, sys; os.path.exists('{}/crash') and sys.exit(3); \
             http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')",
            self.path().display()
        );
        let text = format!(
            r#"project "{name}" {{
  process "web" {{
    command = ["/usr/bin/python3", "-c", "{code}", "${{port.http}}"]
    port "http" {{}}
    check "http" {{ path = "/" }}
    env = {{ VERSION = "{version}" }}
    {more}
  }}
}}
"#,
            name = self.name,
        );
        std::fs::write(self.path().join("terreau.hcl"), text).unwrap();
    }

    fn expect(&self, code: i32, args: &[&str]) -> Ran {
        self.person.expect(code, self.path(), args)
    }

    /// Adds a hook; gives its id and its secret.
    fn hook(&self, url: &str, more: &[&str]) -> (String, String) {
        let ran = self.expect(0, &[&["hook", "add", url][..], more].concat());
        let secret = ran.out.trim().to_owned();
        assert!(secret.starts_with("whsec_") && !secret.contains('\n'), "{}", ran.out);
        let id = self.hooks().as_array().unwrap().iter().find(|h| h["url"] == url).unwrap()["id"].clone();
        (id.as_str().unwrap().to_owned(), secret)
    }

    fn hooks(&self) -> Value {
        let all: Value = serde_json::from_str(&self.expect(0, &["hook", "list", "--json"]).out).unwrap();
        all["hooks"].clone()
    }

    /// Waits until the one hook's view is as wanted.
    async fn until_hook(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, PATIENCE, async || Some(self.hooks()[0].clone()).filter(|h| wanted(h))).await
    }
}
