//! The list of releases: what became of each, why, and what differs in it; and comparing them.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Person, Project, stack};

fn git(dir: &Path, args: &[&str]) -> String {
    let who = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
    let output = Command::new("git").arg("-C").arg(dir).args(who).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn commit(dir: &Path, message: &str) -> String {
    git(dir, &["add", "--all"]);
    git(dir, &["commit", "--quiet", "--message", message]);
    git(dir, &["rev-parse", "HEAD"])
}

fn releases(person: &Person, app: &Project) -> Vec<Value> {
    let listed = person.json(app.path(), &["releases", "--json"]);
    listed["releases"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_release_is_listed_with_its_fate_its_commit_and_what_differs() {
    let stack = stack().await;
    let person = Person::of(stack);
    let app = Project::new("past");
    let dir = app.path();
    git(dir, &["init", "--quiet", "--initial-branch", "trunk"]);
    let describe = |env: &str, process: &str| app.writes(&format!("env = {{ {env} }}"), process, 0);
    describe("LOG_LEVEL = \"canary-info\"", "memory = 64");
    let first = commit(dir, "first");
    person.expect(0, dir, &["deploy", "--message", "the first one"]);
    let status = person.json(dir, &["status", "--json"]);
    assert_eq!(status["message"], "the first one", "{status}");
    assert_eq!(status["source"], json!({"commit": first, "branch": "trunk", "dirty": false}));
    assert_eq!(status["released_by"], "me");
    let shown = person.expect(0, dir, &["status"]).out;
    assert!(shown.contains(&first[..12]) && shown.contains("the first one"), "{shown}");

    let host = format!("two-{}.example.org", app.name);
    describe("LOG_LEVEL = \"canary-debug\"", &format!("memory = 128\n    route \"{host}\" {{}}"));
    person.expect(0, dir, &["deploy"]);
    // One that never gets healthy.
    describe(
        "LOG_LEVEL = \"canary-debug\"",
        "restart {\n attempts = 0\n mode = \"fail\"\n }\n    driver = \"raw_exec\"",
    );
    let text = std::fs::read_to_string(dir.join("terreau.hcl")).unwrap();
    std::fs::write(
        dir.join("terreau.hcl"),
        text.replace("exec /usr/bin/python3", "exit 3; exec /usr/bin/python3"),
    )
    .unwrap();
    person.expect(1, dir, &["deploy", "--message", "broken"]);

    let all = releases(&person, &app);
    let column = |name: &str| all.iter().map(|r| r[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("number"), [3, 2, 1], "{all:#?}");
    assert_eq!(column("state"), ["reverted", "running", "served"], "{all:#?}");
    assert_eq!(column("running"), [false, true, false]);
    let why = all[0]["why"].as_str().unwrap();
    assert!(why.contains("exit code 3"), "{why}");
    assert_eq!(all[1]["source"]["dirty"], true, "{all:#?}");
    assert_eq!(all[1]["source"]["commit"], first.as_str());
    assert_eq!(
        all[1]["differs"],
        json!(["memory of web 64 → 128 MiB", format!("route added {host}"), "env LOG_LEVEL"]),
        "{all:#?}"
    );
    assert_eq!(all[2]["differs"], Value::Null);
    assert!(!json!(all).to_string().contains("canary"), "values of the environment are not told");
    let table = person.expect(0, dir, &["releases"]).out;
    for part in
        ["reverted", "why: ", "exit code 3", "memory of web 64 → 128 MiB", "the first one", &first[..8]]
    {
        assert!(table.contains(part), "{part}: {table}");
    }

    // Back to one that never got healthy only where the person says so.
    let refused = person.expect(5, dir, &["rollback", "3"]);
    assert!(
        refused.err.contains("never served: it is reverted") && refused.err.contains("--yes"),
        "{}",
        refused.err
    );
    person.expect(6, dir, &["rollback", "9"]);
    person.expect(1, dir, &["rollback", "3", "--yes"]);
    // The last deploys failed, and the release before them runs on: nobody goes further back than they know.
    let unsure = person.expect(5, dir, &["rollback"]).err;
    assert!(unsure.contains("release 4 of ") && unsure.contains("never served: release 2 runs"), "{unsure}");
    assert!(unsure.contains("`terreau rollback 1`"), "{unsure}");
    // What is staged does not come with an older release, and is not lost unsaid.
    person.expect(0, dir, &["env", "set", "STAGED=canary-1", "--stage"]);
    let back = person.expect(0, dir, &["rollback", "1"]).err;
    assert!(back.contains("not deployed yet is dropped: env STAGED") && !back.contains("canary-1"), "{back}");
    let listed = releases(&person, &app);
    let target = listed.iter().find(|r| r["number"] == 1).unwrap();
    let at: jiff::Timestamp = target["at"].as_str().unwrap().parse().unwrap();
    let release = format!("release 1 of {}", at.strftime("%Y-%m-%d %H:%M:%S"));
    let (before, after) = back.split_once("done").unwrap();
    assert!(before.contains(&format!("going back to {release}")) && before.contains(", by me"), "{back}");
    assert!(after.contains(&format!("is back at {release}")), "{back}");
    let all = releases(&person, &app);
    assert_eq!((all[0]["number"].as_u64(), all[0]["state"].as_str()), (Some(5), Some("running")));
    assert_eq!((all[0]["rollback_of"].as_u64(), all[1]["state"].as_str()), (Some(1), Some("reverted")));
    assert_eq!(all[0]["source"]["commit"], first.as_str(), "the commit of what runs");

    let detail = person.json(dir, &["operations", "list", &app.name, "--json"]);
    assert_eq!(detail["ended"].as_array().unwrap().len(), 6, "{detail}");

    // Where the last deploy served, the one before it is meant.
    let back = person.expect(0, dir, &["rollback"]).err;
    assert!(back.contains("going back to release 2 of "), "{back}");
    // The same of what was set while it was stopped.
    person.expect(0, dir, &["stop"]);
    person.expect(0, dir, &["env", "set", "LATER=canary-2"]);
    let back = person.expect(0, dir, &["rollback"]).err;
    assert!(back.contains("not deployed yet is dropped: env LATER"), "{back}");
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_compared_with_each_other_with_what_runs_and_with_the_folder() {
    let stack = stack().await;
    let person = Person::of(stack);
    let app = Project::new("diff");
    let dir = app.path();
    let describe = |env: &str, process: &str| app.writes(&format!("env = {{ {env} }}"), process, 0);
    describe("A = \"1\"", "memory = 64");
    person.expect(0, dir, &["deploy"]);
    describe("A = \"2\"", "memory = 64");
    person.expect(0, dir, &["deploy"]);
    let both = person.expect(0, dir, &["diff", "1", "2"]);
    assert_eq!(both.out, "env A \"1\" → \"2\"\n");
    assert!(both.err.contains("from release 1 to release 2"), "{}", both.err);
    assert_eq!(person.expect(0, dir, &["diff", "1"]).out, both.out);
    let none = person.expect(0, dir, &["diff", "2"]);
    assert!(none.out.is_empty() && none.err.contains("nothing differs"), "{none:?}", none = none.err);

    describe("A = \"2\", B = \"1\"", "memory = 65");
    let here = person.expect(0, dir, &["diff", "--job"]);
    assert!(here.out.starts_with("memory of web 64 → 65 MiB\nenv B added \"1\"\n"), "{}", here.out);
    let lines: Vec<&str> =
        here.out.lines().filter(|l| l.starts_with(['+', '-'])).map(str::trim_end).collect();
    assert_eq!(lines[..2], ["--- release 2", "+++ terreau.hcl"], "{}", here.out);
    let changed: Vec<String> =
        lines[2..].iter().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in ["- memory = 64", "+ memory = 65"] {
        assert!(changed.iter().any(|c| c.starts_with(line)), "{line}: {changed:?}");
    }
    let json = person.json(dir, &["diff", "1", "2", "--json"]);
    assert_eq!(json, json!({"from": "release 1", "to": "release 2", "differs": ["env A \"1\" → \"2\""]}));
    person.expect(6, dir, &["diff", "1", "7"]);
    person.expect(6, dir, &["diff", "1", "--app", "nobodys"]);
}

/// What a client says of its folder is bounded and steers no terminal.
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_commit_is_refused() {
    let stack = stack().await;
    let agent = crate::api::agent::Agent::start(stack).await;
    let token = agent.login("alice").await;
    let app = crate::harness::unique("origin");
    let path = format!("/v1/apps/{app}/deploy");
    for source in
        [json!({"commit": "HEAD"}), json!({"commit": "a".repeat(40), "branch": "\u{1b}[2J"}), json!("x")]
    {
        let body = json!({"descriptor": format!("project \"{app}\" {{}}"), "source": source});
        let (status, answer) = agent.call(reqwest::Method::POST, &path, Some(&token), Some(body)).await;
        assert_eq!(
            (status.as_u16(), answer["errors"][0]["field"].as_str()),
            (422, Some("source")),
            "{answer}"
        );
    }
}
