//! `--stage`: kept for the next release.

use serde_json::json;

use super::World;

#[tokio::test(flavor = "multi_thread")]
async fn pt_67_what_is_staged_comes_with_the_next_release() {
    let w = World::new("").await;
    let none = w.expect(6, &["env", "set", "--stage", "A=1"]);
    assert!(none.err.contains("there is no app"), "{}", none.err);
    w.expect(0, &["deploy"]);
    w.expect(0, &["env", "set", "KEPT=1", "GONE=1"]);
    let staged = w.expect(0, &["env", "set", "--stage", "KEPT=2", "NEW=1"]);
    assert!(staged.err.contains("kept: the next release takes it"), "{}", staged.err);
    w.expect(0, &["env", "unset", "--stage", "GONE"]);
    assert_eq!((w.has("KEPT").await.as_deref(), w.has("NEW").await), (Some("1"), None));
    let list = w.expect(0, &["env", "list"]);
    assert!(list.out.contains("2 (1 runs)") && list.out.contains("unset, staged"), "{}", list.out);
    let gone = w.listed("GONE", "set").unwrap();
    assert_eq!((&gone["staged"], &gone["unset"], &gone["version"]), (&json!(true), &json!(true), &json!(2)));
    let audits = w.kv_all("terreau/v1/audit/").await;
    let told = audits.values().filter(|a| a.contains(&w.name) && a.contains("staged: set KEPT, NEW")).count();
    assert_eq!(told, 1, "a stage is in the audit");

    // A deploy of the very same content has something to do.
    w.expect(0, &["deploy"]);
    w.comes_to_have("KEPT", Some("2")).await;
    assert_eq!((w.has("NEW").await.as_deref(), w.has("GONE").await), (Some("1"), None));
    assert_eq!(w.listed("KEPT", "set").unwrap()["staged"], false);

    // What was only staged and is unset again concerns nothing that runs.
    w.expect(0, &["env", "set", "--stage", "SHORT=1"]);
    let release = w.head().await["release"]["number"].clone();
    let unset = w.expect(0, &["env", "unset", "SHORT"]);
    assert!(unset.err.contains("nothing that runs is concerned"), "{}", unset.err);
    assert_eq!((&w.head().await["release"]["number"], w.listed("SHORT", "set")), (&release, None));

    // At once takes along what is staged.
    w.expect(0, &["env", "set", "--stage", "FIRST=1"]);
    w.expect(0, &["env", "set", "SECOND=2"]);
    w.comes_to_have("FIRST", Some("1")).await;
    assert_eq!(w.has("SECOND").await.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_67_on_a_stopped_app_a_set_is_staged_and_says_so() {
    let w = World::new("").await;
    w.expect(0, &["deploy"]);
    w.expect(0, &["stop"]);
    let said = w.expect(0, &["env", "set", "A=1", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&said["staged"], &said["versions"]), (&json!(true), &json!({ "A": 1 })));
    assert!(said["why"].as_str().unwrap().contains("is stopped"), "{said}");
    assert_eq!(w.head().await["release"]["number"], 1);
    assert_eq!(w.head().await["env"], json!({ "A": 1 }));
    w.expect(0, &["deploy"]);
    w.comes_to_have("A", Some("1")).await;
}
