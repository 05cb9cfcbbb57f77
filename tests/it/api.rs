//! The HTTP door of a real agent process, on real engines: sessions, readiness, problems, limits, and no secret in
//! any answer or log.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use terreau::engines::consul::Consul;
use terreau::engines::http::HttpOptions;
use terreau::model::head::{AppState, Head};
use terreau::model::project::Owner;
use terreau::model::{Login, Placement, Uid};

use crate::access::{BASE, People, SERVICE_PASSWORD, join, leave};
use crate::harness::{Part, Stack, StackOptions, eventually, shared, terreau, unique};

/// An agent of this test's own, with a directory of its own, on engines that may be shared.
struct Agent {
    people: People,
    child: Child,
    folder: tempfile::TempDir,
    url: String,
    http: reqwest::Client,
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
    async fn start(stack: &Stack) -> Self {
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

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    async fn call(
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
        assert!(!text.contains("canary"), "{path}: {text}");
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

    async fn get(&self, path: &str, token: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, Some(token), None).await
    }

    async fn login(&self, who: &str) -> String {
        let body = json!({"user": who, "password": format!("canary-of-{who}")});
        let (status, answer) = self.call(Method::POST, "/v1/login", None, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["user"], who);
        answer["token"].as_str().unwrap().to_owned()
    }

    /// What a deploy leaves behind, as far as rights look at it.
    async fn own(&self, stack: &Stack, app: &str, owners: Vec<Owner>) {
        let app: Placement = app.parse().unwrap();
        let head = Head {
            v: 1,
            app: app.clone(),
            uid: Uid::new("0".repeat(26)).unwrap(),
            state: AppState::Live,
            owners,
            release: None,
            last_number: 0,
            capability: "0".repeat(64),
            spec_hash: None,
            job_index: None,
            operation: None,
            last_operation: None,
            owned: Vec::new(),
            names: Vec::new(),
            secrets: std::collections::BTreeMap::default(),
            node: None,
        };
        let consul = Consul::new(&stack.consul(), None, &HttpOptions::default()).unwrap();
        let key = terreau::store::keys::head(&app);
        consul.kv_create(&key, serde_json::to_vec(&head).unwrap()).await.unwrap();
    }
}

fn user(login: &str) -> Owner {
    Owner::User(Login::new(login).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_01_and_pt_03_a_login_opens_whoami_repeats_it_and_a_logout_ends_it() {
    let agent = Agent::start(shared().await).await;
    let token = agent.login("alice").await;
    let (status, me) = agent.get("/v1/whoami", &token).await;
    assert_eq!(status, 200);
    assert_eq!(me["user"], "alice");
    assert_eq!(me["groups"], json!(["devs", "login"]));
    assert_eq!(me["admin"], false);
    assert_eq!(me["cluster"], "dev");
    let expires: jiff::Timestamp = me["expires_at"].as_str().unwrap().parse().unwrap();
    assert!(expires > jiff::Timestamp::now());
    assert_eq!(agent.call(Method::DELETE, "/v1/login", Some(&token), None).await.0, 204);
    let (status, problem) = agent.get("/v1/whoami", &token).await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (401, Some("not_logged_in")));
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_02_a_wrong_password_has_one_answer_for_known_and_unknown_people() {
    let agent = Agent::start(shared().await).await;
    let mut answers = Vec::new();
    for who in ["alice", "nobody", "guest"] {
        let password = if who == "guest" { "canary-of-guest" } else { "canary-wrong" };
        let begun = Instant::now();
        let body = json!({"user": who, "password": password});
        let (status, mut answer) = agent.call(Method::POST, "/v1/login", None, Some(body)).await;
        assert!(begun.elapsed() >= Duration::from_millis(400), "{who}");
        assert_eq!(status, 401);
        answer.as_object_mut().unwrap().remove("request");
        answers.push(answer);
    }
    assert!(answers.windows(2).all(|w| w[0] == w[1]), "{answers:?}");
    let (status, answer) =
        agent.call(Method::POST, "/v1/login", None, Some(json!({"user": "alice", "password": ""}))).await;
    assert_eq!((status.as_u16(), answer["errors"][0]["field"].as_str()), (422, Some("password")));
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_09_an_admin_is_one_from_the_call_after_they_were_added() {
    let stack = shared().await;
    let agent = Agent::start(stack).await;
    let app = unique("hers");
    agent.own(stack, &app, vec![user("alice")]).await;
    let token = agent.login("bob").await;
    let path = format!("/v1/apps/{app}");
    assert_eq!(agent.get(&path, &token).await.0, 404);
    agent.people.group("admin", join, "bob").await;
    // What was learnt less than a second ago is not asked again.
    eventually("bob is an admin", Duration::from_secs(3), async || {
        (agent.get(&path, &token).await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(agent.get("/v1/whoami", &token).await.1["admin"], true);
    agent.people.group("admin", leave, "bob").await;
    eventually("bob is none", Duration::from_mins(1), async || {
        (agent.get(&path, &token).await.0 == 404).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_11_a_foreign_app_is_not_there_on_any_verb_and_reads_like_one_that_never_was() {
    let stack = shared().await;
    let agent = Agent::start(stack).await;
    let app = unique("hers");
    let other = unique("none");
    agent.own(stack, &app, vec![user("alice")]).await;
    let (bob, alice) = (agent.login("bob").await, agent.login("alice").await);
    let sha = "0".repeat(64);
    let deploy = json!({"descriptor": format!("project \"{app}\" {{}}")});
    let part = json!({"parts": [{"sha256": sha, "size": 1, "ext": "tar.zst", "entries": 1}]});
    let calls = [
        (Method::GET, String::new(), None),
        (Method::GET, "/releases".to_owned(), None),
        (Method::GET, "/logs".to_owned(), None),
        (Method::POST, "/rollback".to_owned(), Some(json!({}))),
        (Method::DELETE, String::new(), None),
        (Method::DELETE, "?with_data=true".to_owned(), None),
    ];
    for (method, rest, body) in &calls {
        let mut answers = Vec::new();
        for name in [&app, &other] {
            let path = format!("/v1/apps/{name}{rest}");
            let (status, answer) = agent.call(method.clone(), &path, Some(&bob), body.clone()).await;
            assert_eq!(status, 404, "{method} {path}: {answer}");
            answers.push((answer["detail"].to_string().replace(name, "X"), answer["hint"].to_string()));
        }
        assert_eq!(answers[0], answers[1], "{method} {rest}");
    }
    let path = format!("/v1/apps/{app}/plan");
    assert_eq!(agent.call(Method::POST, &path, Some(&bob), Some(deploy.clone())).await.0, 404);
    // A first deploy of a taken name, and what comes before it.
    for (rest, body) in [("deploy", deploy), ("uploads", part)] {
        let path = format!("/v1/apps/{app}/{rest}");
        let (status, answer) = agent.call(Method::POST, &path, Some(&bob), Some(body)).await;
        assert_eq!((status.as_u16(), answer["code"].as_str()), (409, Some("name_not_available")), "{answer}");
        assert!(!answer.to_string().contains("alice"), "{answer}");
    }
    assert_eq!(agent.get(&format!("/v1/apps/{app}"), &alice).await.0, 200);
    let listed = |apps: &Value| apps["apps"].as_array().unwrap().iter().any(|a| a["app"] == app.as_str());
    assert!(listed(&agent.get("/v1/apps", &alice).await.1));
    assert!(!listed(&agent.get("/v1/apps", &bob).await.1));
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_12_a_disabled_account_is_refused_within_a_minute_though_its_session_lasts() {
    let agent = Agent::start(shared().await).await;
    let token = agent.login("alice").await;
    agent.people.group("login", leave, "alice").await;
    let begun = Instant::now();
    eventually("alice is out", Duration::from_mins(1), async || {
        let path = format!("/v1/apps/{}", unique("none"));
        (agent.get(&path, &token).await.0 == 401).then_some(())
    })
    .await;
    assert!(begun.elapsed() < Duration::from_mins(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_72_without_a_session_only_the_few_open_routes_answer() {
    let agent = Agent::start(shared().await).await;
    let (status, document) = agent.call(Method::GET, "/v1/openapi.json", None, None).await;
    assert_eq!(status, 200);
    let mut closed = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let real = path
            .replace("{app}", "carnet")
            .replace("{id}", &"0".repeat(26))
            .replace("{sha256}", &"0".repeat(64));
        for (method, operation) in methods.as_object().unwrap() {
            if operation.get("security").is_some() {
                continue;
            }
            let method: Method = method.to_uppercase().parse().unwrap();
            for token in [
                None,
                Some("canary"),
                Some("Basic x"),
                Some(&*format!("{}.{}", "0".repeat(32), "0".repeat(64))),
            ] {
                let (status, answer) =
                    agent.call(method.clone(), &real, token, Some(json!({"canary": 1}))).await;
                assert_eq!(
                    (status.as_u16(), answer["code"].as_str()),
                    (401, Some("not_logged_in")),
                    "{method} {real}"
                );
            }
            closed += 1;
        }
    }
    assert!(closed >= 14, "{closed}");
    assert_eq!(agent.call(Method::GET, "/v1/nothing", None, None).await.0, 404);
    assert_eq!(agent.call(Method::PATCH, "/v1/login", None, None).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_74_readiness_names_each_engine_and_the_one_that_is_down() {
    let stack = Stack::start(StackOptions::engines()).await;
    let mut agent = Agent::start(&stack).await;
    let ready = async |agent: &Agent| agent.call(Method::GET, "/readyz", None, None).await;
    let answer = eventually("every engine is ready", Duration::from_secs(30), async || {
        let (status, answer) = ready(&agent).await;
        (status == 200).then_some(answer)
    })
    .await;
    assert_eq!(answer["engines"], json!({"consul": "ok", "directory": "ok", "garage": "ok", "nomad": "ok"}));

    agent.people.go_away().await;
    for (part, engine) in [(None, "directory"), (Some(Part::Nomad), "nomad"), (Some(Part::Sandbox), "garage")]
    {
        if let Some(part) = part {
            stack.kill(part).await;
        }
        let answer = eventually(engine, Duration::from_secs(10), async || {
            let (status, answer) = ready(&agent).await;
            (status == 503 && answer["engines"][engine] != "ok").then_some(answer)
        })
        .await;
        assert_eq!(answer["ready"], false);
        assert_eq!(answer["engines"]["consul"], "ok", "{answer}");
    }
    let (status, _) = agent.call(Method::GET, "/healthz", None, None).await;
    assert_eq!(status, 200, "alive all the same");

    agent.people.come_back().await;
    stack.start_part(Part::Nomad).await;
    stack.start_part(Part::Sandbox).await;
    eventually("ready again", Duration::from_secs(30), async || (ready(&agent).await.0 == 200).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_75_wrong_bodies_get_every_fault_and_large_or_slow_ones_an_end() {
    let agent = Agent::start(shared().await).await;
    let token = agent.login("alice").await;
    let path = format!("/v1/apps/{}/deploy", unique("carnet"));
    let body = json!({"descripter": "canary", "token": "canary", "secrets": {"BAD": "canary"}});
    let (status, answer) = agent.call(Method::POST, &path, Some(&token), Some(body)).await;
    assert_eq!((status.as_u16(), answer["code"].as_str()), (422, Some("invalid")));
    let fields: Vec<&str> =
        answer["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["descripter", "descriptor", "token"]);

    let large = json!({"descriptor": "x".repeat(3 << 20)});
    let (status, answer) = agent.call(Method::POST, &path, Some(&token), Some(large)).await;
    assert_eq!((status.as_u16(), answer["code"].as_str()), (413, Some("too_large")));

    for bad in ["UPPER", "a--b", "a@b@c"] {
        let (status, answer) = agent.get(&format!("/v1/apps/{bad}"), &token).await;
        assert_eq!((status.as_u16(), answer["errors"][0]["field"].as_str()), (422, Some("app")), "{bad}");
    }

    // A head that never ends is given up, and others are served meanwhile.
    let mut slow = TcpStream::connect(agent.url.strip_prefix("http://").unwrap()).unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n").unwrap();
    assert_eq!(agent.call(Method::GET, "/healthz", None, None).await.0, 200);
    slow.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let end =
        tokio::task::spawn_blocking(move || std::io::Read::read(&mut slow, &mut [0; 512])).await.unwrap();
    assert!(!matches!(end, Err(ref e) if e.kind() == std::io::ErrorKind::WouldBlock), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_need_a_session_or_their_own_token_which_opens_nothing_else() {
    let agent = Agent::start(shared().await).await;
    let token = agent.login("bob").await;
    for good in [token.as_str(), "canary-of-metrics"] {
        let (status, text) = agent.get("/metrics", good).await;
        assert_eq!(status, 200);
        let text = text.as_str().unwrap();
        assert!(text.contains("terreau_logins_total{outcome=\"accepted\"} 1"), "{text}");
        assert!(text.contains("terreau_http_requests_total") && !text.contains("bob"), "{text}");
    }
    assert_eq!(agent.get("/v1/whoami", "canary-of-metrics").await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_04_no_password_and_no_token_is_in_any_log_and_a_stop_leaves_no_record() {
    let stack = shared().await;
    let mut agent = Agent::start(stack).await;
    let token = agent.login("alice").await;
    let _ = agent.get("/v1/whoami", &token).await;
    let _ = agent.get("/v1/apps", &token).await;
    let body = json!({"descriptor": "project", "secrets": {"a": "canary-secret"}});
    let path = format!("/v1/apps/{}/deploy", unique("carnet"));
    let _ = agent.call(Method::POST, &path, Some(&token), Some(body)).await;
    let wrong = json!({"user": "alice", "password": "canary-typed-wrong"});
    let _ = agent.call(Method::POST, "/v1/login", None, Some(wrong)).await;
    let upload = format!("/v1/apps/{}/uploads/{}?ext=tar.zst&ticket=canary", unique("up"), "0".repeat(64));
    let _ = agent.call(Method::PUT, &upload, Some(&token), None).await;

    let consul = Consul::new(&stack.consul(), None, &HttpOptions::default()).unwrap();
    let id = eventually("the log names the agent", Duration::from_secs(10), async || {
        let log = agent.log();
        let at = log.find("agent=")? + "agent=".len();
        Some(log[at..at + 26].to_owned())
    })
    .await;
    let record = format!("terreau/v1/agent/{id}");
    let entry = eventually("the agent's record", Duration::from_secs(10), async || {
        consul.kv_get(&record).await.unwrap()
    })
    .await;
    assert!(entry.session.is_some());

    let begun = Instant::now();
    kill_process(Pid::from_child(&agent.child), Signal::TERM).unwrap();
    let status = agent.child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(consul.kv_get(&record).await.unwrap().is_none());
    assert!(consul.session_info(&entry.session.unwrap()).await.unwrap().is_none());

    let log = agent.log();
    let (_, half) = token.split_once('.').unwrap();
    let key: Value =
        serde_json::from_str(&std::fs::read_to_string(stack.layout.key_file()).unwrap()).unwrap();
    for secret in [half, "canary", key["secret"].as_str().unwrap()] {
        let found: Vec<&str> = log.lines().filter(|l| l.contains(secret)).collect();
        assert!(found.is_empty(), "{found:?}");
    }
    assert!(log.lines().count() > 10, "{log}");
}

#[test]
fn pt_77_a_wrong_configuration_stops_the_agent_with_the_whole_list() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("agent.toml");
    std::fs::write(&file, "cluster = 3\nlisten = \"nowhere\"\n[nomad]\nadress = \"x\"\n").unwrap();
    let output = Command::new(terreau()).args(["agent", "--config"]).arg(&file).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    for wanted in [
        "cluster: is 3; wanted is a text",
        "listen: wanted is address:port",
        "nomad.adress: there is no such setting; did you mean nomad.address?",
        "directory.url: is missing",
        "garage.key_file: is missing",
        "agent.toml:4:1",
    ] {
        assert!(told.contains(wanted), "{wanted} not in {told}");
    }
    assert!(output.stdout.is_empty());
}

/// The events of an operation, up to its end.
async fn follow(agent: &Agent, operation: &str, token: &str) -> (Vec<String>, Value) {
    let url = format!("{}/v1/operations/{operation}/events", agent.url);
    let reply = agent.http.get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    assert!(reply.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let text = tokio::time::timeout(Duration::from_mins(1), reply.text()).await.unwrap().unwrap();
    assert!(!text.contains("canary"), "{text}");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_accepted_at_once_followed_to_its_end_and_read_back() {
    let stack = shared().await;
    let agent = Agent::start(stack).await;
    let (alice, bob) = (agent.login("alice").await, agent.login("bob").await);
    let app = unique("carnet");
    let descriptor = format!(
        r#"project "{app}" {{
  process "worker" {{
    command = ["/bin/sh", "-c", "echo it runs; exec sleep 3600"]
    memory  = "32 MiB"
  }}
  secret "given" {{
    type        = "user"
    description = "asked for"
  }}
}}
"#
    );
    let path = format!("/v1/apps/{app}");
    let plan = json!({"descriptor": descriptor});
    let (status, answer) = agent.call(Method::POST, &format!("{path}/plan"), Some(&alice), Some(plan)).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["token"].as_str().is_some_and(|t| t.len() == 64), "{answer}");

    let deploy = json!({"descriptor": descriptor, "message": "first", "secrets": {"given": "canary-value"}});
    let (status, answer) =
        agent.call(Method::POST, &format!("{path}/deploy"), Some(&alice), Some(deploy.clone())).await;
    assert_eq!((status.as_u16(), answer["app"].as_str()), (202, Some(app.as_str())), "{answer}");
    let operation = answer["operation"].as_str().unwrap().to_owned();
    let (progress, end) = follow(&agent, &operation, &alice).await;
    assert_eq!(end["outcome"], "done", "{end} {progress:?}");
    assert!(!progress.is_empty());
    // Told again to who comes late; not told to whom it does not concern.
    assert_eq!(follow(&agent, &operation, &alice).await.1, end);
    assert_eq!(agent.get(&format!("/v1/operations/{operation}"), &bob).await.0, 404);
    assert_eq!(agent.get(&format!("/v1/operations/{operation}/events"), &bob).await.0, 404);
    let (status, view) = agent.get(&format!("/v1/operations/{operation}"), &alice).await;
    assert_eq!((status.as_u16(), view["end"]["outcome"].as_str()), (200, Some("done")), "{view}");
    assert_eq!(view["actor"], "alice");

    let status = agent.get(&path, &alice).await.1;
    assert_eq!(status["owners"], json!(["alice"]), "the first to deploy owns it: {status}");
    assert_eq!(status["release"], 1);
    let releases = agent.get(&format!("{path}/releases"), &alice).await.1;
    assert_eq!(releases["releases"][0]["message"], "first", "{releases}");
    assert_eq!(releases["releases"][0]["running"], true);
    eventually("the app's own words", Duration::from_secs(20), async || {
        let (status, text) = agent.get(&format!("{path}/logs?stream=stdout"), &alice).await;
        (status == 200 && text == "it runs\n").then_some(())
    })
    .await;
    assert_eq!(agent.get(&path, &bob).await.0, 404);
    let again = json!({"descriptor": descriptor});
    let (status, answer) =
        agent.call(Method::POST, &format!("{path}/deploy"), Some(&alice), Some(again)).await;
    assert_eq!((status.as_u16(), answer), (200, json!({"unchanged": true, "release": 1})));

    let (status, answer) = agent.call(Method::DELETE, &path, Some(&alice), None).await;
    assert_eq!(status, 202, "{answer}");
    let end = follow(&agent, answer["operation"].as_str().unwrap(), &alice).await.1;
    assert_eq!(end["outcome"], "done", "{end}");
    assert_eq!(agent.get(&path, &alice).await.0, 404);
    let log = agent.log();
    assert!(!log.contains("canary"), "{:?}", log.lines().find(|l| l.contains("canary")));
}
