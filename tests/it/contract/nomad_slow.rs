//! Facts that take minutes: run by `scripts/test --full`.

use std::time::Duration;

use super::{Lab, SOON, name, sleeper};
use crate::harness::{Part, Stack, StackOptions, eventually};

#[tokio::test]
#[ignore = "slow: scripts/test --full"]
async fn a_task_never_follows_its_keys_again_after_consul_was_away_for_long() {
    let stack = Stack::start(StackOptions::only(&[Part::Consul, Part::Nomad])).await;
    let lab = Lab::at(&stack.nomad(), &stack.consul());
    let id = name("away");
    lab.consul.kv_put(&format!("{id}/v"), "1").await.unwrap();
    let template = format!(
        "template {{\n destination = \"local/v\"\n change_mode = \"noop\"\n data = \"{{{{ key \\\"{id}/v\\\" }}}}\"\n}}\n      resources {{"
    );
    lab.run(&sleeper(&id, 1, "").replacen("resources {", &template, 1)).await.unwrap();
    let alloc = lab.running(&id).await;
    let sees = async |wanted: &str, patience: u64| -> bool {
        let until = tokio::time::Instant::now() + Duration::from_secs(patience);
        loop {
            let seen = lab.nomad.file(&alloc.id, "/main/local/v").await.unwrap();
            if seen == wanted.as_bytes() {
                return true;
            }
            if tokio::time::Instant::now() > until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    lab.consul.kv_put(&format!("{id}/v"), "2").await.unwrap();
    assert!(sees("2", 20).await, "it follows while Consul is there");

    stack.kill(Part::Consul).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    stack.start_part(Part::Consul).await;
    eventually("Consul has its keys again", SOON, async || {
        lab.consul.kv_get(&format!("{id}/v")).await.ok().flatten()
    })
    .await;
    assert_eq!(lab.running(&id).await.id, alloc.id, "the task runs on");
    lab.consul.kv_put(&format!("{id}/v"), "3").await.unwrap();
    assert!(!sees("3", 90).await, "it follows again: has Nomad changed its retries?");
}
