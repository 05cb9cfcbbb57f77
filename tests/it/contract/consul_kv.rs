//! Keys: what deletes, what guards, what wakes, how much fits.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use terreau::engines::Fault;
use terreau::engines::consul::{LARGEST_VALUE, TXN_OPS, TxnOp};

use super::{Lab, SOON, name};

#[tokio::test]
async fn a_delete_is_recursive_by_the_mere_presence_of_the_parameter() {
    let lab = Lab::open().await;
    let at = name("recurse");
    let keys = ["1", "10", "1/x", "2"].map(|k| format!("{at}/{k}"));
    for key in &keys {
        lab.consul.kv_put(key, "v").await.unwrap();
    }
    // Ours takes the one key.
    lab.consul.kv_delete(&keys[3]).await.unwrap();
    assert_eq!(lab.consul.kv_keys(&format!("{at}/")).await.unwrap().len(), 3);
    let url = format!("{}/v1/kv/{}?recurse=false", lab.consul_addr, keys[0]);
    lab.raw.delete(url).send().await.unwrap();
    assert!(lab.consul.kv_keys(&format!("{at}/")).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_delete_of_one_key_leaves_its_neighbours_and_a_tree_wants_its_slash() {
    let lab = Lab::open().await;
    let at = name("delete");
    for key in ["a", "ab", "a/x"] {
        lab.consul.kv_put(&format!("{at}/{key}"), "v").await.unwrap();
    }
    lab.consul.kv_delete(&format!("{at}/a")).await.unwrap();
    assert_eq!(
        lab.consul.kv_keys(&format!("{at}/")).await.unwrap(),
        [format!("{at}/a/x"), format!("{at}/ab")]
    );
    for wrong in ["", "/", "a", &at] {
        assert_eq!(lab.consul.delete_tree(wrong).await.unwrap_err().fault, Fault::Invalid, "{wrong:?}");
    }
    lab.consul.delete_tree(&format!("{at}/a/")).await.unwrap();
    assert_eq!(lab.consul.kv_keys(&format!("{at}/")).await.unwrap(), [format!("{at}/ab")]);
    lab.consul.delete_tree(&format!("{at}/")).await.unwrap();
    assert!(lab.consul.kv_list(&format!("{at}/")).await.unwrap().is_empty());
}

#[tokio::test]
async fn guards_of_single_keys_are_atomic_and_one_of_twelve_racers_wins() {
    let lab = Lab::open().await;
    let key = format!("{}/k", name("cas"));
    let racers = join_all((0..12).map(|n| lab.consul.kv_create(&key, format!("{n}")))).await;
    assert_eq!(racers.iter().filter(|r| r.is_ok()).count(), 1);
    assert!(racers.iter().filter_map(|r| r.as_ref().err()).all(|e| e.fault == Fault::Conflict));

    let index = lab.consul.kv_get(&key).await.unwrap().unwrap().modify_index;
    let racers = join_all((0..12).map(|n| lab.consul.kv_cas(&key, format!("v{n}"), index))).await;
    assert_eq!(racers.iter().filter(|r| r.is_ok()).count(), 1);
    assert_eq!(lab.consul.kv_delete_cas(&key, index).await.unwrap_err().fault, Fault::Conflict);
    assert_eq!(lab.consul.kv_delete_cas(&key, 0).await.unwrap_err().fault, Fault::Invalid);
    let index = lab.consul.kv_get(&key).await.unwrap().unwrap().modify_index;
    lab.consul.kv_delete_cas(&key, index).await.unwrap();
    assert!(lab.consul.kv_get(&key).await.unwrap().is_none());
    assert!(lab.consul.kv_get("no/such/key").await.unwrap().is_none());
}

#[tokio::test]
async fn foreign_keys_of_any_spelling_are_read() {
    let lab = Lab::open().await;
    let at = name("foreign");
    for (odd, escaped) in
        [("A b", "A%20b"), ("q?recurse", "q%3Frecurse"), ("h#1", "h%231"), ("é%2f", "%C3%A9%252f")]
    {
        let url = format!("{}/v1/kv/{at}/{escaped}", lab.consul_addr);
        lab.raw.put(url).body("v").send().await.unwrap();
        let key = format!("{at}/{odd}");
        assert_eq!(lab.consul.kv_get(&key).await.unwrap().map(|e| (e.key, e.value)), Some((key, "v".into())));
    }
    assert_eq!(lab.consul.kv_list(&format!("{at}/")).await.unwrap().len(), 4);
    lab.consul.delete_tree(&format!("{at}/")).await.unwrap();
}

#[tokio::test]
async fn waiting_for_an_absent_key_is_woken_by_every_write_and_for_a_present_one_by_its_own() {
    let lab = Lab::open().await;
    let at = name("wake");
    let present = format!("{at}/present");
    lab.consul.kv_put(&present, "1").await.unwrap();
    let wait = Duration::from_secs(20);
    let (_, index) = lab.consul.kv_wait(&present, 0, wait).await.unwrap();
    let (none, absent_index) = lab.consul.kv_wait(&format!("{at}/absent"), 0, wait).await.unwrap();
    assert!(none.is_none());

    let absent = format!("{at}/absent");
    let absent = lab.consul.kv_wait(&absent, absent_index, wait);
    let calm = lab.consul.kv_wait(&present, index, wait);
    tokio::pin!(calm, absent);
    // Wakes although the key is still absent: tests beside write other keys, and so do we.
    let begin = tokio::time::Instant::now();
    tokio::select! {
        woken = &mut absent => assert!(woken.unwrap().0.is_none()),
        () = async {
            loop {
                lab.consul.kv_put(&format!("{at}/other"), "x").await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        } => {}
    }
    assert!(begin.elapsed() < Duration::from_secs(10));
    // The present key slept through all that.
    assert!(futures::poll!(&mut calm).is_pending());
    lab.consul.kv_put(&present, "2").await.unwrap();
    let (entry, next) = tokio::time::timeout(SOON, calm).await.unwrap().unwrap();
    assert_eq!(entry.unwrap().value, "2");
    assert!(next > index);
    lab.consul.delete_tree(&format!("{at}/")).await.unwrap();
}

#[tokio::test]
async fn a_watched_list_comes_whole_each_time() {
    let lab = Lab::open().await;
    let at = name("list");
    for n in 0..20 {
        lab.consul.kv_put(&format!("{at}/{n}"), "x").await.unwrap();
    }
    let (all, index) = lab.consul.kv_list_at(&format!("{at}/")).await.unwrap();
    assert_eq!(all.len(), 20);
    lab.consul.kv_put(&format!("{at}/7"), "y").await.unwrap();
    let (all, next) =
        lab.consul.kv_list_wait(&format!("{at}/"), index, Duration::from_secs(5)).await.unwrap();
    assert_eq!(all.len(), 20, "not the one that changed");
    assert!(next > index);
    lab.consul.delete_tree(&format!("{at}/")).await.unwrap();
}

#[tokio::test]
async fn a_value_holds_512_kib_and_one_byte_more_is_refused_by_us_and_by_consul() {
    let lab = Lab::open().await;
    let key = format!("{}/large", name("size"));
    lab.consul.kv_put(&key, vec![b'x'; LARGEST_VALUE]).await.unwrap();
    assert_eq!(lab.consul.kv_get(&key).await.unwrap().unwrap().value.len(), LARGEST_VALUE);
    let more = vec![b'x'; LARGEST_VALUE + 1];
    assert_eq!(lab.consul.kv_put(&key, more.clone()).await.unwrap_err().fault, Fault::TooLarge);
    // 1.8.7 answers 413 or closes the connection, as it comes.
    let answer = lab.raw.put(format!("{}/v1/kv/{key}", lab.consul_addr)).body(more).send().await;
    assert!(answer.is_err() || !answer.unwrap().status().is_success());
    assert_eq!(lab.consul.kv_get(&key).await.unwrap().unwrap().value.len(), LARGEST_VALUE);
    lab.consul.kv_delete(&key).await.unwrap();
}

#[tokio::test]
async fn a_transaction_takes_64_operations_and_360_kib_and_consul_no_more_than_64_and_512_kib_of_json() {
    let lab = Lab::open().await;
    let at = name("txn");
    let set = |n: usize, size: usize| TxnOp::Set { key: format!("{at}/{n}"), value: vec![b'x'; size] };
    let full: Vec<_> = (0..TXN_OPS).map(|n| set(n, 5_700)).collect();
    assert_eq!(lab.consul.txn(&full).await.unwrap().len(), TXN_OPS);
    assert_eq!(lab.consul.kv_keys(&format!("{at}/")).await.unwrap().len(), TXN_OPS);

    let raw = async |ops: usize, size: usize| {
        use base64::Engine as _;
        let value = base64::engine::general_purpose::STANDARD.encode(vec![b'y'; size]);
        let body: Vec<_> = (0..ops)
            .map(|n| json!({ "KV": { "Verb": "set", "Key": format!("{at}/raw/{n}"), "Value": value } }))
            .collect();
        lab.raw
            .put(format!("{}/v1/txn", lab.consul_addr))
            .json(&body)
            .send()
            .await
            .map(|r| r.status().as_u16())
    };
    assert_eq!(raw(64, 1).await.unwrap(), 200);
    assert_eq!(raw(65, 1).await.unwrap(), 413);
    let large = raw(1, 400 << 10).await;
    assert!(large.as_ref().map_or(true, |s| *s >= 400), "{large:?}");
    lab.consul.delete_tree(&format!("{at}/")).await.unwrap();
}

#[tokio::test]
async fn a_transaction_does_all_or_nothing_and_says_which_did_not_hold() {
    let lab = Lab::open().await;
    let at = name("atomic");
    let key = |k: &str| format!("{at}/{k}");
    lab.consul
        .txn(&[
            TxnOp::CheckNotExists { key: key("a") },
            TxnOp::Create { key: key("a"), value: b"1".to_vec() },
            TxnOp::Set { key: key("b"), value: b"2".to_vec() },
        ])
        .await
        .unwrap();
    let a = lab.consul.kv_get(&key("a")).await.unwrap().unwrap();
    let failed = lab
        .consul
        .txn(&[
            TxnOp::Set { key: key("b"), value: b"3".to_vec() },
            TxnOp::Create { key: key("a"), value: b"9".to_vec() },
        ])
        .await
        .unwrap_err();
    assert_eq!(failed.fault, Fault::Conflict);
    assert!(failed.message.contains(&key("a")), "{failed}");
    assert_eq!(lab.consul.kv_get(&key("b")).await.unwrap().unwrap().value, "2");

    let read = lab
        .consul
        .txn(&[
            TxnOp::CheckIndex { key: key("a"), index: a.modify_index },
            TxnOp::Get { key: key("a") },
            TxnOp::Get { key: key("b") },
        ])
        .await
        .unwrap();
    let values: Vec<_> = read.iter().filter(|e| !e.value.is_empty()).map(|e| e.value.as_ref()).collect();
    assert_eq!(values, [b"1", b"2"]);
    lab.consul
        .txn(&[
            TxnOp::Cas { key: key("a"), value: b"4".to_vec(), index: a.modify_index },
            TxnOp::Delete { key: key("b") },
        ])
        .await
        .unwrap();
    let stale = [TxnOp::DeleteCas { key: key("a"), index: a.modify_index }];
    assert_eq!(lab.consul.txn(&stale).await.unwrap_err().fault, Fault::Conflict);
    assert_eq!(lab.consul.kv_keys(&format!("{at}/")).await.unwrap(), [key("a")]);

    let many: Vec<_> =
        (0..150).map(|n| TxnOp::Set { key: key(&format!("n/{n}")), value: vec![0; 4000] }).collect();
    lab.consul.batch(&many).await.unwrap();
    assert_eq!(lab.consul.kv_keys(&format!("{at}/n/")).await.unwrap().len(), 150);
    lab.consul.delete_tree(&format!("{at}/")).await.unwrap();
}
