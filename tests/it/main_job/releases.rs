//! One app through its releases: a redeploy under load, a crash, a rollback, plans, a delete.

use std::time::Duration;

use serde_json::Value;

use crate::harness::eventually;

use super::{AGENT, Load, Person, Project, indexes, job, nothing_leaked, page, running, stack};

/// PT-60, PT-61, PT-43, PT-65.
#[tokio::test(flavor = "multi_thread")]
async fn pt_61_a_redeploy_loses_no_request_and_a_release_that_crashes_leaves_the_old_one_serving() {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let person = Person::of(stack);
    let app = Project::new();
    let url = person.deploys(app.path());
    assert_eq!(page(stack, &url).await.unwrap(), (200, "one".to_owned()));

    let load = Load::on(stack, &url);
    app.version("two");
    person.deploys(app.path());
    eventually("the old instance has gone", Duration::from_secs(30), async || {
        (running(stack, &app.name).await.len() == 1).then_some(())
    })
    .await;
    let bodies = load.end(Duration::from_secs(10)).await;
    assert!(bodies.contains_key("one") && bodies.contains_key("two") && bodies.len() == 2, "{bodies:?}");

    let load = Load::on(stack, &url);
    app.version("crash-three");
    let failed = person.expect(1, app.path(), &["deploy"]);
    assert!(failed.out.is_empty(), "no URL: {}", failed.out);
    assert!(failed.err.contains("last words 59 crash-three"), "the last log lines: {}", failed.err);
    assert!(failed.err.contains("exit code 3") || failed.err.contains("Exit Code: 3"), "{}", failed.err);
    let bodies = load.end(Duration::ZERO).await;
    assert_eq!(bodies.keys().collect::<Vec<_>>(), ["two"], "the old release serves");
    // Nomad looks at the old instance's health anew after its revert: for a moment it is "starting".
    let status = eventually("the old release is healthy again", Duration::from_secs(30), async || {
        let status = person.status(app.path());
        (status["status"] == "running").then_some(status)
    })
    .await;
    assert_eq!(status["release"], 2, "{status}");

    // What crashed can be read; what runs, too.
    let crashed =
        person.expect(0, app.path(), &["logs", "--previous", "--stream", "stderr", "--tail", "2", "--raw"]);
    assert_eq!(crashed.out, "last words 58 crash-three\nlast words 59 crash-three\n");
    let now = person.expect(0, app.path(), &["logs", "--tail", "1", "--raw"]);
    assert_eq!(now.out, "serving two\n");

    app.version("two");
    person.expect(0, app.path(), &["rollback", "1"]);
    assert_eq!(page(stack, &url).await.unwrap(), (200, "one".to_owned()));
    let releases = person.expect(0, app.path(), &["releases", "--json"]);
    let releases: Value = serde_json::from_str(&releases.out).unwrap();
    let newest = releases["releases"].as_array().unwrap().iter().find(|r| r["running"] == true).unwrap();
    assert_eq!(newest["rollback_of"], 1, "{releases}");
}

/// PT-69, PT-70, and a plan's promises.
#[tokio::test(flavor = "multi_thread")]
async fn pt_69_plans_hold_a_moved_world_is_refused_and_a_delete_asks_for_the_name() {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let person = Person::of(stack);
    let app = Project::new();
    let first = person.expect(10, app.path(), &["plan", "--json"]).out;
    let url = person.deploys(app.path());
    person.expect(0, app.path(), &["plan"]);
    let before = indexes(stack, &app.name).await;
    let again = person.expect(0, app.path(), &["deploy"]);
    assert!(again.err.contains("no changes"), "{}", again.err);
    assert_eq!(indexes(stack, &app.name).await, before);

    // A route is changed in place: the same instance serves by the new name.
    let instance = running(stack, &app.name).await[0]["ID"].clone();
    let host = format!("other-{}", app.host());
    app.describe(&host, "");
    let words = person.expect(10, app.path(), &["plan", "--out", "reviewed.json"]);
    assert!(words.out.contains("in place") && !words.out.contains("replaces"), "{}", words.out);
    let moved = person.deploys(app.path());
    assert!(moved.contains(&host), "{moved}");
    assert_eq!(running(stack, &app.name).await[0]["ID"], instance, "nothing was restarted");
    eventually("the proxy has the new name", Duration::from_secs(10), async || {
        (page(stack, &moved).await.unwrap() == (200, "one".to_owned())).then_some(())
    })
    .await;
    assert_ne!(page(stack, &url).await.unwrap().0, 200, "the old name is nobody's");

    // The plan of before is refused, and nothing happens.
    let before = indexes(stack, &app.name).await;
    let late = person.expect(5, app.path(), &["deploy", "--plan", "reviewed.json"]);
    assert!(late.err.contains("plan"), "{}", late.err);
    assert_eq!(indexes(stack, &app.name).await, before);
    let reviewed = std::fs::read_to_string(app.path().join("reviewed.json")).unwrap();

    // A host that is taken is refused, naming it.
    let other = Project::new();
    other.describe(&host, "");
    let taken = person.expect(5, other.path(), &["deploy"]);
    assert!(taken.err.contains(&host) && taken.err.contains("not available"), "{}", taken.err);
    assert!(taken.err.contains("hint: choose another host"), "as a plan says it: {}", taken.err);
    assert!(job(stack, &other.name).await.is_null());
    nothing_leaked(&person, &app.name, &[first, reviewed]).await;

    for answer in ["", "another\n"] {
        let kept = person.asks(app.path(), &["delete"], answer);
        assert_eq!(kept.code, 1, "{}", kept.err);
        assert!(kept.err.contains(&app.name) && kept.err.contains("nothing was deleted"), "{}", kept.err);
    }
    assert_eq!(page(stack, &moved).await.unwrap().0, 200);
    person.expect(0, app.path(), &["delete", "--yes"]);
    person.expect(6, app.path(), &["status"]);
    eventually("nobody answers", Duration::from_secs(15), async || {
        (page(stack, &moved).await.unwrap().0 != 200).then_some(())
    })
    .await;
}
