//! Who comes in, and what is not there for whom.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::agent::{Agent, user};
use crate::access::{join, leave};
use crate::harness::{eventually, shared, unique};

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
