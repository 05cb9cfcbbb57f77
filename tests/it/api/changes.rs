//! A change from its order to its end, over HTTP.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::agent::{Agent, follow};
use crate::harness::{eventually, shared, unique};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_accepted_at_once_followed_to_its_end_and_read_back() {
    let stack = shared().await;
    let agent = Agent::start(stack).await;
    agent.ready().await;
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
