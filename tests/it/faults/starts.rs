//! An agent, as a process of its own, that starts while engines are away or with credentials that they refuse: it comes
//! up, says what is missing and which setting to correct, and is ready by itself once nothing is.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::agent::{Gates, free_port, stack};
use super::gate::Mood;
use crate::harness::{Stack, eventually, terreau, unique};
use crate::mechanism::app;

/// Generous: some machines build beside their tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent process.
struct Process {
    child: Child,
    url: String,
    log: PathBuf,
    stack: &'static Stack,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts it; does not wait.
    fn start(stack: &'static Stack, settings: &[(String, String)]) -> Self {
        let (name, port) = (unique("starts"), free_port());
        let log = stack.dir().join(format!("{name}.log"));
        let mut command = Command::new(terreau());
        command.arg("agent").arg("--config").arg(stack.agent_config());
        let own = [("listen".to_owned(), format!("127.0.0.1:{port}")), ("name".to_owned(), name)];
        for (key, value) in own.iter().chain(settings) {
            command.args(["--set", &format!("{key}={value}")]);
        }
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log).unwrap());
        let child = command.spawn().unwrap();
        Self { child, url: format!("http://127.0.0.1:{port}"), log, stack }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let mut request = self.stack.http().request(method, format!("{}{path}", self.url)).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let reply = request.send().await.ok()?;
        let status = reply.status().as_u16();
        Some((status, reply.json().await.unwrap_or_default()))
    }

    async fn is_alive_within(&self, patience: Duration) {
        let health = format!("{}/healthz", self.url);
        eventually("/healthz answers", patience, async || {
            self.stack.http().get(&health).send().await.ok().filter(|r| r.status().is_success()).map(|_| ())
        })
        .await;
    }

    /// The engines that `/readyz` misses, and in which words.
    async fn missing(&self) -> Vec<(String, String)> {
        let (status, answer) = self.ask(Method::GET, "/readyz", "", None).await.unwrap();
        assert_eq!(status == 200, answer["ready"] == true, "{answer}");
        let engines = answer["engines"].as_object().unwrap_or_else(|| panic!("{answer}"));
        let all = engines.iter().map(|(engine, state)| (engine.clone(), state.as_str().unwrap().to_owned()));
        all.filter(|(_, state)| state != "ok").collect()
    }

    async fn is_ready_within(&self, patience: Duration) {
        eventually("/readyz is content", patience, async || self.missing().await.is_empty().then_some(()))
            .await;
    }

    /// Waits until this engine alone is missing, in words with this part.
    async fn misses(&self, engine: &str, part: &str) -> String {
        eventually(&format!("{engine} is missed"), PATIENCE, async || {
            let missing = self.missing().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            let words = missing.iter().find(|(e, words)| e == engine && words.contains(part))?;
            (missing.len() == 1).then(|| words.1.clone())
        })
        .await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    async fn login(&self) -> (u16, Value) {
        let (user, password) = self.stack.person();
        let body = json!({"user": user, "password": password.trim_end()});
        self.ask(Method::POST, "/v1/login", "", Some(&body)).await.unwrap()
    }

    /// A login that must work.
    async fn token(&self) -> String {
        let (status, answer) = self.login().await;
        assert_eq!(status, 200, "{answer}");
        answer["token"].as_str().unwrap().to_owned()
    }

    async fn deploy(&self, token: &str) -> (u16, Value) {
        let app = app("starts");
        let text = format!(
            "project \"{app}\" {{\n  process \"web\" {{ command = [\"/usr/bin/sleep\", \"1000\"] }}\n  uses \"ldap\" {{}}\n  uses \"bucket\" \"media\" {{}}\n}}\n"
        );
        let path = format!("/v1/apps/{app}/deploy");
        self.ask(Method::POST, &path, token, Some(&json!({"descriptor": text}))).await.unwrap()
    }
}

impl Process {
    /// A deploy that is accepted, perhaps a moment later: who is who is not asked for more often than once a second.
    async fn deploys(&self, token: &str) {
        let operation = eventually("a deploy is accepted", Duration::from_secs(15), async || {
            let (status, answer) = self.deploy(token).await;
            assert!(matches!(status, 202 | 503), "{status}: {answer}");
            answer["operation"].as_str().map(str::to_owned)
        })
        .await;
        let path = format!("/v1/operations/{operation}");
        eventually("the deploy is done", PATIENCE, async || {
            let (status, operation) = self.ask(Method::GET, &path, token, None).await?;
            (status == 200 && operation["end"]["outcome"] == "done").then_some(())
        })
        .await;
    }
}

/// A clear refusal: which engine, at what, and what to do.
fn assert_clear(problem: &(u16, Value), engine: &str) {
    let (status, problem) = problem;
    assert_eq!((*status, problem["code"].as_str()), (503, Some("engine_away")), "{problem}");
    assert_eq!(problem["engine"], engine, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(engine), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("try again"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_starts_while_an_engine_is_away_serves_names_it_and_is_ready_by_itself() {
    let stack = stack().await;
    // A login that holds at every agent.
    let first = Process::start(stack, &[]);
    first.is_alive_within(PATIENCE).await;
    first.is_ready_within(PATIENCE).await;
    let token = first.token().await;
    for engine in ["consul", "nomad", "directory", "garage"] {
        let gates = Gates::before(stack).await;
        gates.of(engine).is(Mood::Down);
        let begun = Instant::now();
        let agent = Process::start(stack, &gates.settings());
        agent.is_alive_within(PATIENCE).await;
        let alive = begun.elapsed();
        let words = agent.misses(engine, "does not answer").await;
        let refused = agent.deploy(&token).await;
        assert_clear(&refused, engine);
        println!("faults: {engine:9} away at the start: {}", refused.1["detail"]);
        assert!(agent.log().contains(engine), "{}", agent.log());
        gates.of(engine).is(Mood::Well);
        let well = Instant::now();
        agent.is_ready_within(PATIENCE).await;
        println!(
            "faults: {engine:9} away at the start: alive after {:.1} s, {words}; ready {:.1} s after it came",
            alive.as_secs_f32(),
            well.elapsed().as_secs_f32()
        );
        agent.deploys(&token).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_starts_while_every_engine_is_away_serves_and_is_ready_by_itself() {
    let stack = stack().await;
    let gates = Gates::before(stack).await;
    let all = ["consul", "nomad", "directory", "garage", "s3"];
    for engine in all {
        gates.of(engine).is(Mood::Down);
    }
    let agent = Process::start(stack, &gates.settings());
    agent.is_alive_within(PATIENCE).await;
    let missing: Vec<String> = agent.missing().await.into_iter().map(|(engine, _)| engine).collect();
    assert_eq!(missing, ["consul", "directory", "garage", "nomad"]);
    assert_clear(&agent.login().await, "directory");
    for engine in all {
        gates.of(engine).is(Mood::Well);
    }
    agent.is_ready_within(PATIENCE).await;
    let token = agent.token().await;
    agent.deploys(&token).await;
}

/// A file that only this test has, and the setting that names it.
fn secret_file(dir: &tempfile::TempDir, setting: &str, content: &str) -> (String, String) {
    let path = dir.path().join(setting);
    std::fs::write(&path, content).unwrap();
    (setting.to_owned(), path.to_string_lossy().into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_of_garages_admin_api_is_named_by_its_setting() {
    let (stack, dir) = (stack().await, tempfile::tempdir().unwrap());
    let agent = Process::start(stack, &[secret_file(&dir, "garage.admin_token_file", "wrong-canary")]);
    agent.is_alive_within(PATIENCE).await;
    let words = agent.misses("garage", "garage.admin_token_file").await;
    refuses_deploys(&agent, "garage", "garage.admin_token_file", &words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_s3_key_is_named_by_its_setting() {
    let (stack, dir) = (stack().await, tempfile::tempdir().unwrap());
    // The id is known to Garage once an agent was ready; the secret is another.
    let right = Process::start(stack, &[]);
    right.is_alive_within(PATIENCE).await;
    right.is_ready_within(PATIENCE).await;
    let key = std::fs::read_to_string(stack.layout.key_file()).unwrap();
    let mut key: Value = serde_json::from_str(&key).unwrap();
    key["secret"] = "ca".repeat(32).into();
    let agent = Process::start(stack, &[secret_file(&dir, "garage.key_file", &key.to_string())]);
    agent.is_alive_within(PATIENCE).await;
    let words = agent.misses("garage", "garage.key_file").await;
    refuses_deploys(&agent, "garage", "garage.key_file", &words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_of_the_agents_account_is_named_by_its_setting() {
    let (stack, dir) = (stack().await, tempfile::tempdir().unwrap());
    let agent = Process::start(stack, &[secret_file(&dir, "directory.password_file", "wrong-canary")]);
    agent.is_alive_within(PATIENCE).await;
    let words = agent.misses("directory", "directory.password_file").await;
    // The person's own password is right, and the agent cannot look who they are.
    let refused = agent.login().await;
    assert_clear(&refused, "directory");
    assert!(refused.1["hint"].as_str().unwrap().contains("directory.password_file"), "{}", refused.1);
    said_in_the_log(&agent, "directory.password_file", &words).await;
}

/// A deploy names the setting; so does the log, from the start.
async fn refuses_deploys(agent: &Process, engine: &str, setting: &str, words: &str) {
    let token = agent.token().await;
    let refused = agent.deploy(&token).await;
    assert_clear(&refused, engine);
    assert!(refused.1["hint"].as_str().unwrap().contains(setting), "{}", refused.1);
    println!("faults: {engine:9} refuses the agent: {} {}", refused.1["detail"], refused.1["hint"]);
    said_in_the_log(agent, setting, words).await;
}

async fn said_in_the_log(agent: &Process, setting: &str, words: &str) {
    println!("faults: /readyz says: {words}");
    eventually("the log names the setting", PATIENCE, async || {
        agent.log().lines().any(|l| l.contains("WARN") && l.contains(setting)).then_some(())
    })
    .await;
    let log = agent.log();
    assert!(!log.contains("canary") && !log.contains(&"ca".repeat(32)), "{log}");
}
