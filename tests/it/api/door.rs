//! What holds for every route: sessions, readiness, limits, and no secret in any answer or log.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use terreau::engines::consul::Consul;
use terreau::engines::http::HttpOptions;

use super::agent::Agent;
use crate::harness::{Part, Stack, StackOptions, eventually, shared, terreau, unique};

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
                Some("canary-token"),
                Some("Basic x"),
                Some(&*format!("{}.{}", "0".repeat(32), "0".repeat(64))),
            ] {
                let (status, answer) =
                    agent.call(method.clone(), &real, token, Some(json!({"canary-field": 1}))).await;
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
    let body =
        json!({"descripter": "canary-text", "token": "canary-token", "secrets": {"BAD": "canary-value"}});
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
