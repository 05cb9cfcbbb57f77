//! Sessions and locks.

use std::time::Duration;

use terreau::engines::Fault;
use terreau::engines::consul::{SessionSpec, TxnOp};

use super::{Lab, name};
use crate::harness::eventually;

#[tokio::test]
async fn a_lock_is_one_sessions_and_its_value_outlives_the_release() {
    let lab = Lab::open().await;
    let key = format!("{}/lock", name("lock"));
    let spec = SessionSpec::default();
    let (a, b) =
        (lab.consul.session_create(&spec).await.unwrap(), lab.consul.session_create(&spec).await.unwrap());
    assert!(lab.consul.kv_acquire(&key, "a", &a).await.unwrap());
    assert!(lab.consul.kv_acquire(&key, "a again", &a).await.unwrap(), "the holder may set the value");
    assert!(!lab.consul.kv_acquire(&key, "b", &b).await.unwrap());
    assert!(!lab.consul.kv_release(&key, &b).await.unwrap());
    let entry = lab.consul.kv_get(&key).await.unwrap().unwrap();
    assert_eq!((entry.session.as_deref(), entry.value.as_ref()), (Some(a.as_str()), b"a again".as_slice()));
    lab.consul.kv_put(&key, "by anybody").await.unwrap();
    let entry = lab.consul.kv_get(&key).await.unwrap().unwrap();
    assert_eq!(entry.session.as_deref(), Some(a.as_str()), "a lock is advisory: a plain put succeeds");
    assert!(lab.consul.kv_release(&key, &a).await.unwrap());
    let entry = lab.consul.kv_get(&key).await.unwrap().unwrap();
    assert_eq!((entry.session, entry.value.as_ref()), (None, b"by anybody".as_slice()));
    assert!(lab.consul.kv_acquire(&key, "b", &b).await.unwrap(), "a release leaves no lock-delay");
    for session in [&a, &b] {
        lab.consul.session_destroy(session).await.unwrap();
    }
    lab.consul.kv_delete(&key).await.unwrap();
}

#[tokio::test]
async fn our_session_hangs_on_no_node_check() {
    let lab = Lab::open().await;
    let id = lab.consul.session_create(&SessionSpec::default()).await.unwrap();
    let info = lab.consul.session_info(&id).await.unwrap().unwrap();
    assert_eq!(info.node_checks.unwrap_or_default(), Vec::<String>::new());
    assert_eq!(
        (info.ttl.as_str(), info.lock_delay, info.behavior.as_str()),
        ("10s", 1_000_000_000, "release")
    );
    assert!(lab.consul.sessions().await.unwrap().iter().any(|s| s.id == id));
    assert!(lab.consul.session_renew(&id).await.unwrap());
    lab.consul.session_destroy(&id).await.unwrap();
    assert!(!lab.consul.session_renew(&id).await.unwrap());
    assert!(lab.consul.session_info(&id).await.unwrap().is_none());
    lab.consul.session_destroy(&id).await.unwrap();
}

#[tokio::test]
async fn a_transaction_with_a_dead_session_writes_nothing() {
    let lab = Lab::open().await;
    let at = name("dead");
    let (lock, head) = (format!("{at}/lock"), format!("{at}/head"));
    let session = lab.consul.session_create(&SessionSpec::default()).await.unwrap();
    assert!(lab.consul.kv_acquire(&lock, "", &session).await.unwrap());
    let ops = [
        TxnOp::CheckSession { key: lock.clone(), session: session.clone() },
        TxnOp::Set { key: head.clone(), value: b"x".to_vec() },
    ];
    lab.consul.txn(&ops).await.unwrap();
    lab.consul.session_destroy(&session).await.unwrap();
    lab.consul.kv_delete(&head).await.unwrap();
    let refused = lab.consul.txn(&ops).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Conflict, "{refused}");
    assert!(lab.consul.kv_get(&head).await.unwrap().is_none());
    let late = lab.consul.kv_acquire(&format!("{at}/other"), "", &session).await.unwrap_err();
    assert_eq!(late.fault, Fault::Conflict, "{late}");
    lab.consul.delete_tree(&format!("{at}/")).await.unwrap();
}

/// How long a lock stays shut after its session was destroyed.
async fn shut_after_destroy(lab: &Lab, spec: &SessionSpec) -> Duration {
    let key = format!("{}/lock", name("delay"));
    let a = lab.consul.session_create(spec).await.unwrap();
    let b = lab
        .consul
        .session_create(&SessionSpec { ttl: "60s".into(), ..SessionSpec::default() })
        .await
        .unwrap();
    assert!(lab.consul.kv_acquire(&key, "", &a).await.unwrap());
    let begin = tokio::time::Instant::now();
    lab.consul.session_destroy(&a).await.unwrap();
    eventually("the lock opens", Duration::from_secs(30), async || {
        lab.consul.kv_acquire(&key, "", &b).await.unwrap().then_some(())
    })
    .await;
    let shut = begin.elapsed();
    lab.consul.session_destroy(&b).await.unwrap();
    lab.consul.kv_delete(&key).await.unwrap();
    shut
}

#[tokio::test]
async fn a_lock_stays_shut_for_the_lock_delay_also_after_a_destroy() {
    let lab = Lab::open().await;
    let ours = shut_after_destroy(&lab, &SessionSpec::default()).await;
    assert!(ours >= Duration::from_millis(900) && ours < Duration::from_secs(5), "{ours:?}");
}

#[tokio::test]
async fn the_default_lock_delay_is_fifteen_seconds() {
    let lab = Lab::open().await;
    let body = serde_json::json!({ "Name": "default delay", "TTL": "60s" });
    let made: serde_json::Value = lab
        .raw
        .put(format!("{}/v1/session/create", lab.consul_addr))
        .json(&body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let id = made["ID"].as_str().unwrap();
    assert_eq!(lab.consul.session_info(id).await.unwrap().unwrap().lock_delay, 15_000_000_000);
    lab.consul.session_destroy(id).await.unwrap();
}

#[tokio::test]
async fn a_session_of_ten_seconds_dies_after_twenty() {
    let lab = Lab::open().await;
    let key = format!("{}/lock", name("ttl"));
    let session = lab.consul.session_create(&SessionSpec::default()).await.unwrap();
    assert!(lab.consul.kv_acquire(&key, "", &session).await.unwrap());
    let begin = tokio::time::Instant::now();
    // Looked at by the key: asking for the session would not renew it, yet this is what locks hang on.
    eventually("the lock is let go", Duration::from_secs(40), async || {
        lab.consul.kv_get(&key).await.unwrap().unwrap().session.is_none().then_some(())
    })
    .await;
    let lived = begin.elapsed();
    assert!(lived >= Duration::from_secs(10), "never before its time: {lived:?}");
    assert!(lived < Duration::from_secs(26), "take-over counts on 22 s: {lived:?}");
    lab.consul.kv_delete(&key).await.unwrap();
}
