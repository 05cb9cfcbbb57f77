//! An agent process of a test's own, asked over HTTP.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use terreau::engines::consul::Consul;
use terreau::engines::http::HttpOptions;
use terreau::model::head::{AppState, Head};
use terreau::model::project::Owner;
use terreau::model::{Login, Placement, Uid};

use crate::access::{BASE, People, SERVICE_PASSWORD};
use crate::harness::{Stack, eventually, terreau};

/// An agent of this test's own, with a directory of its own, on engines that may be shared.
pub struct Agent {
    pub people: People,
    pub child: Child,
    folder: tempfile::TempDir,
    pub url: String,
    pub http: reqwest::Client,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Agent {
    pub async fn start(stack: &Stack) -> Self {
        Self::with(stack, &[]).await
    }

    /// With settings that differ from the stack's.
    pub async fn with(stack: &Stack, settings: &[(&str, String)]) -> Self {
        let people = People::start().await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), SERVICE_PASSWORD).unwrap();
        std::fs::write(folder.path().join("metrics"), "canary-of-metrics").unwrap();
        let at = format!("127.0.0.1:{}", free_port());
        let set = |key: &str, value: String| ["--set".to_owned(), format!("{key}={value}")];
        let file = |name: &str| folder.path().join(name).display().to_string();
        let mut command = Command::new(terreau());
        command.arg("agent").arg("--config").arg(stack.agent_config());
        command.args(set("listen", at.clone()));
        command.args(set("directory.url", people.url()));
        command.args(set("directory.base", BASE.to_owned()));
        command.args(set("directory.bind_dn", format!("cn=terreau,ou=services,ou=users,{BASE}")));
        command.args(set("directory.password_file", file("password")));
        command.args(set("directory.login_group", "login".to_owned()));
        command.args(set("metrics.token_file", file("metrics")));
        // All that our own rooms can say: what is grepped for canaries.
        command.args(set("log.level", "terreau=trace,debug".to_owned()));
        for (key, value) in settings {
            command.args(set(key, value.clone()));
        }
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(folder.path().join("log")).unwrap());
        let child = command.spawn().unwrap();
        let url = format!("http://{at}");
        let agent = Self { people, child, folder, url, http: stack.http() };
        eventually("the agent answers", Duration::from_secs(30), async || {
            agent
                .http
                .get(format!("{}/healthz", agent.url))
                .send()
                .await
                .ok()
                .filter(|r| r.status().is_success())
        })
        .await;
        agent
    }

    /// Waits until every engine is ready, and the agent has its buckets.
    pub async fn ready(&self) {
        let patience = Duration::from_secs(120);
        let ready = async || self.call(Method::GET, "/readyz", None, None).await;
        let begun = std::time::Instant::now();
        eventually("an answer", patience + Duration::from_secs(10), async || {
            let (status, told) = ready().await;
            if begun.elapsed() > patience {
                let log = self.log();
                let warned: Vec<_> = log.lines().filter(|l| l.contains("WARN")).take(20).collect();
                panic!("not ready: {told}\n{warned:#?}");
            }
            (status == 200).then_some(())
        })
        .await;
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let reply = request.send().await.unwrap();
        let status = reply.status();
        let kind = reply.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
        assert!(reply.headers().contains_key("x-request-id"));
        let text = reply.text().await.unwrap();
        // `canary` alone is a word of instances.
        assert!(!text.contains("canary-"), "{path}: {text}");
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if status.is_client_error() || (status.is_server_error() && path != "/readyz") {
            assert_eq!(kind.as_deref(), Some("application/problem+json"), "{path}: {value}");
            assert_eq!(value["status"], status.as_u16());
            assert_eq!(value["type"], format!("urn:terreau:problem:{}", value["code"].as_str().unwrap()));
            assert!(
                !value["title"].as_str().unwrap().is_empty() && !value["detail"].as_str().unwrap().is_empty()
            );
        }
        (status, value)
    }

    pub async fn get(&self, path: &str, token: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, Some(token), None).await
    }

    pub async fn login(&self, who: &str) -> String {
        let body = json!({"user": who, "password": format!("canary-of-{who}")});
        let (status, answer) = self.call(Method::POST, "/v1/login", None, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["user"], who);
        answer["token"].as_str().unwrap().to_owned()
    }

    /// What a deploy leaves behind, as far as rights look at it.
    pub async fn own(&self, stack: &Stack, app: &str, owners: Vec<Owner>) {
        let app: Placement = app.parse().unwrap();
        let uid = Uid::new("0".repeat(26)).unwrap();
        let head = Head { state: AppState::Live, ..Head::new(app.clone(), uid, "0".repeat(64), owners) };
        let consul = Consul::new(&stack.consul(), None, &HttpOptions::default()).unwrap();
        let key = terreau::store::keys::head(&app);
        consul.kv_create(&key, serde_json::to_vec(&head).unwrap()).await.unwrap();
    }
}

pub fn user(login: &str) -> Owner {
    Owner::User(Login::new(login).unwrap())
}

/// The events of an operation, up to its end.
pub async fn follow(agent: &Agent, operation: &str, token: &str) -> (Vec<String>, Value) {
    let url = format!("{}/v1/operations/{operation}/events", agent.url);
    let reply = agent.http.get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    assert!(reply.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let text = tokio::time::timeout(Duration::from_mins(1), reply.text()).await.unwrap().unwrap();
    assert!(!text.contains("canary-"), "{text}");
    let mut progress = Vec::new();
    let mut end = Value::Null;
    for event in text.split("\n\n") {
        let field =
            |name: &str| event.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
        match (field("event:").as_deref(), field("data:")) {
            (Some("progress"), Some(data)) => progress.push(data),
            (Some("end"), Some(data)) => end = serde_json::from_str(&data).unwrap(),
            _ => {}
        }
    }
    (progress, end)
}
