//! What is told of changes, and of what is shown to whom.

use std::process::{Command, Stdio};

use serde_json::json;

use super::{App, PATIENCE, Receiver, stack};
use crate::cli::run;
use crate::harness::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_and_a_failed_one_are_told_once_each_signed_and_the_secret_is_shown_once() {
    let receiver = Receiver::start().await;
    let it = App::new(stack().await, "told");
    it.expect(0, &["deploy"]);
    let (id, secret) = it.hook(&receiver.url(), &[]);

    it.describe("two", "");
    it.expect(0, &["deploy"]);
    let got = receiver.until(1).await.remove(0);
    assert!(got.is_signed(&secret), "{got:?}");
    let told = got.json();
    assert_eq!(got.kind(), "app.deploy", "{told}");
    assert_eq!(
        (&told["data"]["app"], &told["data"]["release"], &told["data"]["by"], &told["data"]["outcome"]),
        (&json!(it.name), &json!(2), &json!("me"), &json!("done")),
        "{told}"
    );
    assert!(told["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!(got.id, format!("msg_{}", told["data"]["operation"].as_str().unwrap()));

    // It comes up, and ends at once: taken back, and told with the reason.
    std::fs::write(it.path().join("crash"), "").unwrap();
    it.describe("three", "");
    it.expect(1, &["deploy"]);
    let failed = receiver.until(2).await.remove(1);
    let told = failed.json();
    assert_eq!(
        (failed.kind().as_str(), &told["data"]["outcome"]),
        ("app.failure", &json!("reverted")),
        "{told}"
    );
    assert!(told["data"]["why"].to_string().contains("exit code 3"), "{told}");
    assert!(failed.is_signed(&secret) && failed.id != got.id);

    let hook = it.until_hook("the last try is shown", |h| h["last"]["id"] == failed.id.as_str()).await;
    assert_eq!(
        (&hook["last"]["result"], &hook["last"]["status"], &hook["pending"], &hook["lost"]),
        (&json!("delivered"), &json!(204), &json!(0), &json!(0))
    );
    let words = it.expect(0, &["hook", "list"]).out;
    assert!(
        words.contains(&id) && words.contains("failure arrived") && words.contains("everything"),
        "{words}"
    );

    // A test goes at once, and says what came of it.
    let ran = it.expect(0, &["hook", "test", &id[..6]]);
    assert!(ran.out.contains("answered 204"), "{}", ran.out);
    let test = receiver.until(3).await.remove(2);
    assert!(test.kind() == "app.test" && test.is_signed(&secret));
    receiver.answers(500);
    let ran = it.expect(1, &["hook", "test", &it.name, &id]);
    assert!(ran.err.contains("it answered 500") && !ran.err.contains("canary of"), "{}", ran.err);

    // Removed, it hears of nothing; what was signed with is gone, and stood nowhere but where it was shown.
    it.expect(0, &["hook", "remove", &id]);
    std::fs::remove_file(it.path().join("crash")).unwrap();
    it.describe("four", "");
    it.expect(0, &["deploy"]);
    assert_eq!(it.hooks(), json!([]));
    it.expect(6, &["hook", "remove", &id]);
    let stack = stack().await;
    let keys = format!("{}/v1/kv/terreau/v1/?recurse", stack.consul());
    let entries: Vec<serde_json::Value> = stack.http().get(keys).send().await.unwrap().json().await.unwrap();
    let left: Vec<_> =
        entries.iter().map(|e| e["Key"].as_str().unwrap()).filter(|k| k.contains(&id)).collect();
    assert_eq!(left, Vec::<&str>::new());
    assert_eq!(it.person.said.lock().unwrap().matches(secret.as_str()).count(), 1, "it is shown once");
    let log = std::fs::read_to_string(stack.layout.log("agent")).unwrap();
    assert!(!log.contains(&secret) && !log.contains("secret-path"), "the log tells a secret");
    let events = it.expect(0, &["events"]).out;
    assert!(events.contains("hook-add by me") && events.contains("hook-remove by me"), "{events}");
    assert!(!events.contains("secret-path"), "{events}");
    assert_eq!(receiver.all().await.len(), 4, "two changes, two tests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_is_told_of_what_it_wants_and_goes_with_its_app() {
    let (all, some) = (Receiver::start().await, Receiver::start().await);
    let it = App::new(stack().await, "wants");
    it.expect(0, &["deploy"]);
    let own = format!("whsec_{}", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let line = ["hook", "add", &it.name, &all.url(), "--secret-stdin", "--json"];
    let ran =
        tokio::task::block_in_place(|| run(it.person.home.command(it.path(), &line), &format!("{own}\n")));
    assert_eq!((ran.code, ran.out.contains("whsec_")), (0, false), "{}{}", ran.out, ran.err);
    it.hook(&some.url(), &["--on", "failure,crash-loop"]);
    // What is wrong is told with what is right.
    for (args, part) in [
        (vec!["hook", "add", "https://me:pw@example.org/"], "no password"),
        (vec!["hook", "add", "ftp://example.org/"], "https://"),
        (vec!["hook", "add", &some.url()], "already"),
        (vec!["hook", "add", "http://nowhere.invalid/"], "not resolved"),
    ] {
        let ran = it.person.asks(it.path(), &args, "");
        assert!(matches!(ran.code, 1 | 5) && ran.err.contains(part), "{args:?}: {} {}", ran.code, ran.err);
    }
    let ran = it.person.asks(it.path(), &["hook", "add", "http://127.0.0.1:9/", "--secret-stdin"], "canary");
    assert!(ran.code == 1 && ran.err.contains("whsec_") && !ran.err.contains("canary"), "{}", ran.err);
    it.expect(2, &["hook", "add", &some.url(), "--on", "everything"]);

    it.describe("two", "");
    it.expect(0, &["deploy"]);
    assert!(all.until(1).await[0].is_signed(&own));
    assert_eq!(some.all().await.len(), 0, "it does not want to hear of deploys");
    // Ten, and no more.
    for n in 0..8 {
        it.hook(&format!("{}/{n}", some.url()), &[]);
    }
    let ran = it.person.asks(it.path(), &["hook", "add", &format!("{}/x", some.url())], "");
    assert!(ran.code == 5 && ran.err.contains("as many as"), "{}", ran.err);

    // The book goes at once, and each hook once it has been told of what waits, and of the end.
    all.answers(500);
    it.describe("three", "");
    it.expect(0, &["deploy"]);
    all.until(2).await;
    let (before, hooks) = (some.all().await.len(), it.hooks());
    it.expect(0, &["delete", "--yes"]);
    let stack = stack().await;
    let url = format!("{}/v1/kv/terreau/v1/hook/book/default/production/{}", stack.consul(), it.name);
    assert_eq!(stack.http().get(url).send().await.unwrap().status(), 404);
    it.expect(6, &["hook", "list"]);
    all.answers(204);
    let ends =
        |all: Vec<super::Got>| all.into_iter().filter(|g| g.kind() == "app.deletion").collect::<Vec<_>>();
    let last = eventually("what waited arrives, and then the end", PATIENCE, async || {
        let got = all.all().await;
        ends(got.clone()).pop().map(|last| (got, last))
    });
    let (got, last) = last.await;
    let kinds: Vec<String> = got.iter().map(super::Got::kind).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["app.deploy", "app.deletion"], "{kinds:?}");
    assert!(got.iter().rev().nth(1).unwrap().json()["data"]["release"] == 3 && last.is_signed(&own));
    let told = last.json();
    assert_eq!((&told["data"]["verb"], &told["data"]["by"]), (&json!("delete"), &json!("me")), "{told}");
    // Of the other nine eight want to hear of everything.
    eventually("each is told of the end", PATIENCE, async || {
        let got = some.all().await;
        (ends(got[before.min(got.len())..].to_vec()).len() == 8).then_some(())
    })
    .await;
    eventually("nothing of the hooks is left", PATIENCE, async || {
        let keys = format!("{}/v1/kv/terreau/v1/?keys", stack.consul());
        let keys: Vec<String> = stack.http().get(keys).send().await.ok()?.json().await.ok()?;
        let ids = || hooks.as_array().unwrap().iter().map(|h| h["id"].as_str().unwrap());
        (!keys.iter().any(|k| ids().any(|id| k.contains(id)))).then_some(())
    })
    .await;
}

/// The program of the book, as a receiver would run it.
#[tokio::test(flavor = "multi_thread")]
async fn the_books_example_verifies_what_is_sent_and_nothing_else() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/howto/webhooks.md")).unwrap();
    let program = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let receiver = Receiver::start().await;
    let it = App::new(stack().await, "book");
    it.expect(0, &["deploy"]);
    let (id, secret) = it.hook(&receiver.url(), &[]);
    it.expect(0, &["hook", "test", &id]);
    let got = receiver.until(1).await.remove(0);
    let verify = |secret: &str, timestamp: i64, body: &str| {
        let headers = json!({ "webhook-id": got.id, "webhook-timestamp": timestamp.to_string(),
            "webhook-signature": got.signature });
        let call = format!(
            "{program}\nimport sys\nsys.exit(0 if is_genuine({secret:?}, {headers}, {body:?}.encode()) else 1)\n"
        );
        let ran = Command::new("python3").args(["-c", &call]).stdin(Stdio::null()).output().unwrap();
        assert!(ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
        ran.status.success()
    };
    assert!(verify(&secret, got.timestamp, &got.body));
    assert!(!verify(&secret, got.timestamp, &got.body.replace("app.test", "app.deploy")));
    assert!(!verify(&secret, got.timestamp + 1, &got.body));
    assert!(!verify(&secret, got.timestamp - 3_600, &got.body));
    assert!(!verify("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", got.timestamp, &got.body));
}
