//! The sandbox itself: stacks start whole and end whole, and what is embedded keeps its data.

use std::time::{Duration, Instant};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use terreau::sandbox::process::{MARK, marked};

use crate::harness::{Part, Stack, StackOptions, eventually, unique};

/// A `raw_exec` job of one process that runs for ever.
pub fn sleeper(name: &str) -> Value {
    json!({ "Job": {
        "ID": name, "Name": name, "Type": "service", "Datacenters": ["dc1"],
        "TaskGroups": [{ "Name": "main", "Tasks": [{
            "Name": "main", "Driver": "raw_exec",
            "Config": { "command": "/bin/sh", "args": ["-c", "sleep 1000 & wait"] },
            "Resources": { "CPU": 20, "MemoryMB": 20 },
        }]}],
    }})
}

async fn run_job(stack: &Stack, job: &Value) {
    let reply = stack.http().put(format!("{}/v1/jobs", stack.nomad())).json(job).send().await.unwrap();
    assert!(reply.status().is_success(), "{}", reply.text().await.unwrap());
}

/// The only allocation of a job, once its task runs.
async fn running_allocation(stack: &Stack, job: &str) -> Value {
    let url = format!("{}/v1/job/{job}/allocations", stack.nomad());
    let client = stack.http();
    eventually("the allocation runs", Duration::from_secs(20), async || {
        let list: Value = client.get(&url).send().await.ok()?.json().await.ok()?;
        list.as_array()?.iter().find(|a| a["ClientStatus"] == "running").cloned()
    })
    .await
}

#[tokio::test]
async fn a_stack_starts_whole_and_leaves_no_process_and_no_folder_behind() {
    let begun = Instant::now();
    let stack = Stack::start(StackOptions::engines()).await;
    let took = begun.elapsed();
    let job = unique("sleeper");
    run_job(&stack, &sleeper(&job)).await;
    running_allocation(&stack, &job).await;
    let (mark, dir) = (stack.mark().to_owned(), stack.dir().to_owned());
    let before = marked(&mark);
    assert!(before.len() >= 5, "three parts, Nomad's helper and the task carry the mark: {before:?}");
    drop(stack);
    assert_eq!(marked(&mark), std::collections::BTreeSet::new(), "{MARK}={mark}");
    assert!(!dir.exists());
    assert!(took < Duration::from_secs(20), "ready after {took:?}");
}

#[tokio::test]
async fn a_killed_nomad_finds_its_tasks_again() {
    let stack = Stack::start(StackOptions::only(&[Part::Consul, Part::Nomad])).await;
    let job = unique("sleeper");
    run_job(&stack, &sleeper(&job)).await;
    let before = running_allocation(&stack, &job).await;
    stack.kill(Part::Nomad).await;
    stack.start_part(Part::Nomad).await;
    let after = running_allocation(&stack, &job).await;
    assert_eq!(before["ID"], after["ID"]);
    assert_eq!(after["TaskStates"]["main"]["Restarts"], 0);
}

/// Calls Garage's admin API.
pub async fn admin(stack: &Stack, name: &str, body: Value) -> Value {
    let reply = stack
        .http()
        .post(format!("{}/v2/{name}", stack.garage_admin()))
        .bearer_auth(stack.admin_token().expose_secret())
        .json(&body)
        .send()
        .await
        .unwrap();
    let status = reply.status();
    let text = reply.text().await.unwrap();
    assert!(status.is_success(), "{name}: {status}: {text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// A bucket with a key that may do everything in it.
pub async fn bucket(stack: &Stack, alias: &str) -> (aws_sdk_s3::Client, String) {
    let made = admin(stack, "CreateBucket", json!({ "globalAlias": alias })).await;
    let bucket = made["id"].as_str().unwrap().to_owned();
    let key = admin(stack, "CreateKey", json!({ "name": alias })).await;
    let id = key["accessKeyId"].as_str().unwrap();
    let grants = json!({ "read": true, "write": true, "owner": true });
    admin(stack, "AllowBucketKey", json!({ "bucketId": bucket, "accessKeyId": id, "permissions": grants }))
        .await;
    let credentials = Credentials::new(id, key["secretAccessKey"].as_str().unwrap(), None, None, "test");
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("garage"))
        .endpoint_url(stack.s3())
        .force_path_style(true)
        .credentials_provider(credentials)
        .http_client(http)
        .build();
    (aws_sdk_s3::Client::from_conf(config), bucket)
}

#[tokio::test]
async fn an_object_survives_kill_9_of_the_embedded_garage() {
    let stack = Stack::start(StackOptions::only(&[Part::Sandbox])).await;
    let (s3, _) = bucket(&stack, "kept").await;
    let content = vec![7_u8; 3_000_000];
    s3.put_object().bucket("kept").key("a/b").body(ByteStream::from(content.clone())).send().await.unwrap();
    for _ in 0..2 {
        stack.kill(Part::Sandbox).await;
        stack.start_part(Part::Sandbox).await;
        let got = s3.get_object().bucket("kept").key("a/b").send().await.unwrap();
        assert_eq!(got.body.collect().await.unwrap().into_bytes(), content);
    }
}

#[tokio::test]
async fn a_website_bucket_named_localhost_serves_artifacts() {
    let stack = Stack::start(StackOptions::only(&[Part::Sandbox])).await;
    let (s3, id) = bucket(&stack, "localhost").await;
    let website = json!({ "enabled": true, "indexDocument": "index.html" });
    admin(&stack, &format!("UpdateBucket?id={id}"), json!({ "websiteAccess": website })).await;
    s3.put_object()
        .bucket("localhost")
        .key("a/x.tar")
        .body(ByteStream::from_static(b"bytes"))
        .send()
        .await
        .unwrap();
    let url = format!("http://localhost:{}/a/x.tar", stack.layout.ports.web());
    let client = stack.http();
    assert_eq!(client.get(&url).send().await.unwrap().text().await.unwrap(), "bytes");
    let absent = format!("http://localhost:{}/a/", stack.layout.ports.web());
    assert_eq!(client.get(&absent).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_wrong_admin_token_is_refused() {
    let stack = Stack::start(StackOptions::only(&[Part::Sandbox])).await;
    let reply = stack
        .http()
        .get(format!("{}/v2/GetClusterStatus", stack.garage_admin()))
        .bearer_auth("wrong")
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status(), 403);
}
