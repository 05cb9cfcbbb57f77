//! A node that is lost with all that ran on it: the app goes on elsewhere, and people are told.

use serde_json::{Value, json};

use super::{App, PATIENCE};
use crate::harness::machine::Machine;
use crate::harness::{Stack, StackOptions, eventually};

/// The instance of `web` in a status, where there is one only.
fn instance(status: &Value) -> Option<Value> {
    let all = status["instances"].as_array()?;
    let mut web = all.iter().filter(|i| i["process"] == "web" && i["state"] == "healthy");
    web.next().filter(|_| web.next().is_none()).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_64_an_app_whose_node_is_lost_goes_on_at_another() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::start(StackOptions::with_agent()).await));
    let mut second = Machine::join(stack, "attic");
    let it = App::new(stack, "moved");
    let nodes = async || it.nomad("/v1/nodes").await.as_array().unwrap().clone();
    let attic = eventually("the second node is ready", PATIENCE, async || {
        let all = nodes().await;
        let ready = all.into_iter().find(|n| {
            n["Name"] == "attic" && n["Status"] == "ready" && n["Drivers"]["raw_exec"]["Healthy"] == true
        })?;
        // A client that was quicker than its Consul agent looks again seconds later; nothing with a service is placed on it before.
        let node = it.nomad(&format!("/v1/node/{}", ready["ID"].as_str()?)).await;
        node["Attributes"]["consul.version"].is_string().then_some(ready)
    })
    .await;
    let first = nodes().await.into_iter().find(|n| n["Name"] != "attic").unwrap();
    let eligible = async |word: &str| {
        let url = format!("{}/v1/node/{}/eligibility", stack.nomad(), first["ID"].as_str().unwrap());
        let reply = stack.http().put(url).json(&json!({"Eligibility": word})).send().await.unwrap();
        assert!(reply.status().is_success());
    };
    eligible("ineligible").await;
    it.expect(0, &["deploy"]);
    it.until_page(200).await;
    let there = eventually("one instance is healthy", PATIENCE, async || instance(&it.status())).await;
    assert_eq!((&there["node"], &there["site"]), (&json!("attic"), &json!(stack.site())), "{there}");
    eligible("eligible").await;

    second.lose().await;
    // It is not said to be well while Nomad still waits for the node's heartbeat.
    let status = eventually("the loss is seen", PATIENCE, async || {
        let status = it.status();
        (instance(&status).is_none()).then_some(status)
    })
    .await;
    assert_ne!(status["status"], "running", "{status}");
    let moved = eventually("it goes on at the other node", PATIENCE, async || instance(&it.status())).await;
    assert_eq!(moved["node"], first["Name"], "{moved}");
    it.until_page(200).await;
    let status = eventually("all of it runs", PATIENCE, async || {
        let status = it.status();
        (status["status"] == "running").then_some(status)
    })
    .await;
    assert_ne!(moved["id"], there["id"], "{status}");
    let events = it.expect(0, &["events"]).out;
    assert!(events.contains("node attic is lost"), "people see why: {events}");
    println!("{events}\n{}", it.expect(0, &["ps"]).out);
    assert!(attic["ID"].is_string());
}
