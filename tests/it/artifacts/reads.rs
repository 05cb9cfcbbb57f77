//! How often an artifact is read: once when it comes, once more for values that come with a deploy, never again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use serde_json::{Value, json};
use terreau::build::upload::Store;
use terreau::engines::consul::{Consul, SessionSpec};
use terreau::engines::http::HttpOptions;
use terreau::model::artifact::Artifact;
use terreau::operation::run::fresh_uid;
use terreau::store::keys;
use terreau::store::records::LockHolder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Door, agent, follow, noise, part, stack, tarred, zstd};
use crate::harness::unique;

/// A road to Garage that counts the objects of uploads and artifacts that are read over it.
async fn counted(target: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let road = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let tally = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((from, _)) = listener.accept().await {
            let to = TcpStream::connect(&target).await.unwrap();
            let tally = Arc::clone(&tally);
            tokio::spawn(async move {
                let ((mut up, mut down), (mut reply, mut ask)) = (from.into_split(), to.into_split());
                let asking = async {
                    let mut piece = vec![0; 64 << 10];
                    while let Ok(n @ 1..) = up.read(&mut piece).await {
                        // A request's head is one small piece of its own.
                        let line = String::from_utf8_lossy(&piece[..n.min(64)]).into_owned();
                        let reads = ["GET /terreau-artifacts/a/", "GET /terreau/uploads/"];
                        tally.fetch_add(
                            usize::from(reads.iter().any(|r| line.starts_with(r))),
                            Ordering::SeqCst,
                        );
                        if ask.write_all(&piece[..n]).await.is_err() {
                            break;
                        }
                    }
                };
                tokio::select! { () = asking => (), _ = tokio::io::copy(&mut reply, &mut down) => () }
            });
        }
    });
    (road, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_is_read_once_and_a_redeploy_of_it_reads_nothing() {
    let stack = stack().await;
    let (road, count) = counted(stack.s3().trim_start_matches("http://").to_owned()).await;
    let agent = agent(stack, &[("garage.s3", road)]).await;
    let door = Door::of(&agent, "alice", &unique("reads")).await;
    let reads = || count.swap(0, Ordering::SeqCst);
    let (one, two) = (zstd(&tarred(&[("a", &noise(3 << 20))])), zstd(&tarred(&[("b", &noise(3 << 20))])));
    let parts = [part(&one, "tar.zst"), part(&two, "tar.zst")];
    let begun = door.begin(&parts).await.unwrap();
    assert_eq!(reads(), 0);
    assert_eq!(door.presigned(&parts[0], &one).await.0, 204);
    assert_eq!(reads(), 1, "by presigned URLs: when it is there");
    assert_eq!(door.stream(&parts[1], &begun.ticket, two).await.0, 204);
    assert_eq!(reads(), 0, "through the agent: in passing");
    let artifact = Artifact { parts: parts.to_vec() };
    let deploy = async |seconds: u32, secrets: Value| {
        let app = &door.app;
        let descriptor = format!(
            "project \"{app}\" {{\n  build \"archive\" {{}}\n  process \"worker\" {{\n    command = [\"/bin/sleep\", \"{seconds}\"]\n    \
             memory  = \"32 MiB\"\n  }}\n  secret \"api-key\" {{\n    type        = \"user\"\n    description = \"asked for\"\n  }}\n}}\n"
        );
        let body = json!({"descriptor": descriptor, "artifact": artifact, "ticket": begun.ticket, "secrets": secrets});
        let (status, answer) = door.ask(Method::POST, "/deploy", body).await;
        assert_eq!(status, 202, "{answer}");
        let (_, end) = follow(&agent, answer["operation"].as_str().unwrap(), &door.token).await;
        assert_eq!(end["outcome"], "done", "{end}");
    };
    deploy(3600, json!({"api-key": "canary-of-the-key-1234"})).await;
    assert_eq!(reads(), 2, "each part, for the value that came with the deploy");
    deploy(3601, json!({})).await;
    assert_eq!(reads(), 0, "a redeploy");
    assert!(door.begin(&parts).await.unwrap().parts.iter().all(|p| p.present));
    let (status, answer) = door.ask(Method::POST, "/rollback", json!({})).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(follow(&agent, answer["operation"].as_str().unwrap(), &door.token).await.1["outcome"], "done");
    assert_eq!(reads(), 0, "a rollback");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_waits_for_its_turn_is_not_searched_for_its_secrets_at_each_try() {
    let stack = stack().await;
    let (road, count) = counted(stack.s3().trim_start_matches("http://").to_owned()).await;
    let agent = agent(stack, &[("garage.s3", road)]).await;
    let door = Door::of(&agent, "alice", &unique("turns")).await;
    let reads = || count.swap(0, Ordering::SeqCst);
    let bytes = zstd(&tarred(&[("a", &noise(1 << 20))]));
    let part = part(&bytes, "tar.zst");
    let begun = door.begin(std::slice::from_ref(&part)).await.unwrap();
    assert_eq!(door.presigned(&part, &bytes).await.0, 204);
    let artifact = Artifact { parts: vec![part] };

    // Somebody else's change holds the app.
    let consul = Consul::new(&stack.consul(), None, &HttpOptions::default()).unwrap();
    let session = consul.session_create(&SessionSpec::default()).await.unwrap();
    let holder = LockHolder {
        v: 1,
        agent: fresh_uid(jiff::Timestamp::now()),
        operation: fresh_uid(jiff::Timestamp::now()),
        login: "bob".into(),
        verb: "deploy".into(),
    };
    let key = keys::lock(&door.app.parse().unwrap());
    assert!(consul.kv_acquire(&key, serde_json::to_vec(&holder).unwrap(), &session).await.unwrap());
    reads();
    for (value, wanted) in [("first-value", 1), ("first-value", 0), ("second-value", 1), ("second-value", 0)]
    {
        let (status, answer) = door.deploy(&artifact, &begun.ticket, Some(value)).await;
        assert_eq!(status, 409, "{answer}");
        assert_eq!(reads(), wanted, "{value}");
    }
    consul.session_destroy(&session).await.unwrap();
}
