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

    // What runs is exported, and what is staged is named; both are there for who asks.
    let runs = w.expect(0, &["env", "export"]);
    assert_eq!(runs.out, "GONE=1\nKEPT=1\n", "{}", runs.err);
    assert!(runs.err.contains("not in it: GONE, KEPT, NEW") && runs.err.contains("--staged"), "{}", runs.err);
    let next = w.expect(0, &["env", "export", "--staged"]);
    assert_eq!(next.out, "KEPT=2\nNEW=1\n", "{}", next.err);
    let shown = w.expect(0, &["env", "list", "--show"]);
    let row = |name: &str| shown.out.lines().find(|l| l.starts_with(name)).unwrap_or_default().to_owned();
    assert!(row("KEPT").contains("2 (1 runs)"), "{}", shown.out);
    let gone = row("GONE").split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    assert_eq!(gone, "GONE 1", "the value that runs: {}", shown.out);
    let masked = list.out.lines().find(|l| l.starts_with("GONE")).unwrap_or_default();
    assert!(masked.contains("****"), "there is a value: {}", list.out);
    let json = w.json(&["env", "list", "--show", "--json"]);
    let all = json["env"].as_array().unwrap();
    let kept = all.iter().find(|v| v["name"] == "KEPT").unwrap();
    assert_eq!((&kept["value"], &kept["serving_value"]), (&json!("2"), &json!("1")), "{json}");

    // A deploy of the very same content has something to do.
    w.expect(0, &["deploy"]);
    w.comes_to_have("KEPT", Some("2")).await;
    assert_eq!((w.has("NEW").await.as_deref(), w.has("GONE").await), (Some("1"), None));
    assert_eq!(w.listed("KEPT", "set").unwrap()["staged"], false);

    // What was only staged and is unset again concerns nothing that runs.
    w.expect(0, &["env", "set", "--stage", "SHORT=1"]);
    let release = w.head().await["release"]["number"].clone();
    let unset = w.expect(0, &["env", "unset", "SHORT"]);
    assert!(unset.err.contains("no longer staged: SHORT; nothing that runs is concerned"), "{}", unset.err);
    w.expect(0, &["env", "set", "--stage", "SHORT=1"]);
    let unset = w.expect(0, &["env", "unset", "--stage", "SHORT"]);
    assert!(unset.err.contains("no longer staged: SHORT; nothing that runs is concerned"), "{}", unset.err);
    assert!(!unset.err.contains("the next release takes it"), "{}", unset.err);
    let history = w.expect(0, &["env", "history", "SHORT"]).out;
    assert!(!history.contains("staged"), "nothing of it is: {history}");
    assert_eq!((&w.head().await["release"]["number"], w.listed("SHORT", "set")), (&release, None));

    // At once takes along what is staged.
    w.expect(0, &["env", "set", "--stage", "FIRST=1"]);
    let said = w.expect(0, &["env", "set", "SECOND=2"]);
    assert!(said.err.contains("values that were staged before come with it: env FIRST\n"), "{}", said.err);
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

#[tokio::test(flavor = "multi_thread")]
async fn one_staged_value_alone_is_a_change_of_the_plan_unless_nothing_reads_it() {
    let unread = "secret \"spare\" {\n    type        = \"user\"\n    description = \"of nobody\"\n  }";
    let w = World::new(&format!("{DECLARED}\n  {unread}")).await;
    for file in ["key", "spare"] {
        std::fs::write(w.path().join(file), format!("canary-{file}")).unwrap();
    }
    w.expect(0, &["deploy", "--secret-file", "api_key=key", "--secret-file", "spare=spare"]);
    w.expect(0, &["plan"]);
    w.told(0, &["secret", "set", "--stage", "spare", "--stdin"], "canary-other-spare");
    let plan = w.expect(0, &["plan"]);
    assert!(
        plan.out.contains("nothing which runs reads wait for the next release: secret spare"),
        "{}",
        plan.out
    );
    w.told(0, &["secret", "set", "--stage", "api_key", "--stdin"], "canary-other-key");
    let plan = w.expect(10, &["plan"]);
    assert!(plan.out.contains("staged values come with it: secret api_key, spare"), "{}", plan.out);
    w.expect(0, &["deploy"]);
    assert!(w.expect(0, &["plan"]).out.ends_with("no changes\n"));
    w.expect(0, &["env", "set", "--stage", "ALONE=1"]);
    let plan = w.expect(10, &["plan"]);
    assert!(plan.out.contains("staged values come with it: env ALONE"), "{}", plan.out);
}

const DECLARED: &str = r#"secret "api_key" {
    type        = "user"
    description = "of the mail service"
  }"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_names_what_is_staged_the_history_the_release_that_took_it_and_a_set_what_it_wins_over() {
    let w = World::new(DECLARED).await;
    std::fs::write(w.path().join("key"), "canary-first").unwrap();
    let text = std::fs::read_to_string(w.path().join("terreau.hcl")).unwrap();
    let text = text.replace("GREETING = \"hello\"", "GREETING = \"hello\"\n      AT       = port.http");
    std::fs::write(w.path().join("terreau.hcl"), text).unwrap();
    w.expect(0, &["deploy", "--secret-file", "api_key=key"]);
    let set =
        w.expect(0, &["env", "set", "--stage", "PORT=1", "AT=2", "GREETING=canary-bye", "NEW=canary-new"]);
    for wanted in [
        "what is set for PORT wins over the number that Terreau gives of process web; a process that listens at another port",
        "what is set for AT wins over port.http in the descriptor of process web; a process that listens at another port",
        "what is set for GREETING wins over the descriptor's value of process web; terreau env unset GREETING takes it back",
    ] {
        assert!(set.err.contains(wanted), "{wanted} in {}", set.err);
    }
    assert!(!set.err.contains("for NEW wins"), "{}", set.err);
    w.told(0, &["secret", "set", "--stage", "api_key", "--stdin"], "canary-second");

    let plan = w.expect(10, &["plan"]);
    for wanted in [
        "note: staged values come with it: env AT, GREETING, NEW, PORT; secret api_key",
        "note: what is set for PORT wins over",
        "note: what is set for AT wins over port.http",
    ] {
        assert!(plan.out.contains(wanted), "{wanted} in {}", plan.out);
    }
    assert!(!plan.out.contains("for GREETING wins") && !plan.out.contains("canary-"), "{}", plan.out);
    let staged = w.expect(0, &["env", "history", "NEW"]).out;
    assert!(staged.matches("staged").count() == 2, "state and origin: {staged}");

    w.expect(0, &["env", "unset", "--stage", "PORT", "AT"]);
    w.expect(0, &["deploy"]);
    w.comes_to_have("NEW", Some("canary-new")).await;
    let plan = w.expect(0, &["plan"]);
    assert!(!plan.out.contains("staged") && !plan.out.contains("wins over"), "{}", plan.out);
    let came = |what: &str, name: &str| -> Vec<serde_json::Value> {
        let history = w.json(&[what, "history", name, "--json"]);
        history["versions"].as_array().unwrap().iter().map(|v| v["release"].clone()).collect()
    };
    assert_eq!(came("env", "NEW"), [2]);
    assert_eq!(came("secret", "api_key"), [2, 1]);
    assert_eq!(came("env", "PORT"), [json!(2), serde_json::Value::Null], "what never served came with none");
    let all = w.expect(0, &["env", "history"]).out;
    assert!(all.contains("release 2") && !all.contains("staged"), "{all}");

    w.expect(0, &["env", "unset", "--stage", "NEW"]);
    let plan = w.expect(10, &["plan"]);
    assert!(plan.out.contains("staged values come with it: env no longer set NEW"), "{}", plan.out);
    assert_eq!(came("env", "NEW"), [serde_json::Value::Null, json!(2)]);
    w.expect(0, &["deploy"]);
    assert_eq!(came("env", "NEW"), [3, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_names_the_hosts_that_change_and_what_of_the_descriptor_is_not_used() {
    let w = World::new("").await;
    let host = format!("{}.example.org", w.name);
    let first = w.expect(10, &["plan"]);
    assert!(first.out.contains(&format!("route added {host}\n")), "{}", first.out);
    w.expect(0, &["deploy"]);
    w.expect(0, &["env", "set", "GREETING=canary-set"]);
    let change = |from: &str, to: &str| {
        let file = w.path().join("terreau.hcl");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        std::fs::write(file, text.replace(from, to)).unwrap();
    };
    let before = format!("route \"{host}\" {{}}");
    let richer = format!(
        "route \"{host}\" {{\n      headers = {{ X-Frame-Options = \"DENY\" }}\n      redirect \"www.{host}\" {{}}\n    }}\n    \
         route \"api.{host}\" {{ path = \"/v1\" }}"
    );
    change("GREETING = \"hello\"", "GREETING = \"hi\"\n      COLOUR = \"red\"");
    let plan = w.expect(10, &["plan"]);
    let covered =
        "note: env GREETING of process web is covered by `env set`; the descriptor's value is not used";
    assert!(plan.out.contains(covered) && !plan.out.contains("route "), "{}", plan.out);
    change(&before, &richer);
    let plan = w.expect(10, &["plan"]);
    for wanted in [
        covered.to_owned(),
        format!("route added api.{host}/v1\n"),
        format!("route changed {host}: header X-Frame-Options added (DENY)"),
        format!("route changed {host}: redirect from www.{host} added (301)"),
    ] {
        assert!(plan.out.contains(&wanted), "{wanted} in {}", plan.out);
    }
    w.expect(0, &["deploy"]);
    let plan = w.expect(0, &["plan"]);
    assert!(!plan.out.contains("covered") && !plan.out.contains("route "), "{}", plan.out);

    // Who may read the descriptor sees its values; what a person set is nobody's to see here.
    let diff = w.expect(0, &["diff", "2", "3"]);
    for wanted in [
        "env GREETING of web \"hello\" → \"hi\" (covered by `env set`, not used)",
        "env COLOUR of web added \"red\"",
    ] {
        assert!(diff.out.contains(wanted), "{wanted} in {}", diff.out);
    }
    let set = w.expect(0, &["diff", "1", "2"]);
    assert!(set.out.contains("env GREETING set (version 1)"), "{}", set.out);
    for said in [&diff.out, &set.out, &plan.out, &w.expect(0, &["releases"]).out] {
        assert!(!said.contains("canary-"), "{said}");
    }
    change(&richer, &before);
    let plan = w.expect(10, &["plan"]);
    for wanted in [
        format!("route removed api.{host}/v1\n"),
        format!("route changed {host}: header X-Frame-Options removed (DENY)"),
    ] {
        assert!(plan.out.contains(&wanted), "{wanted} in {}", plan.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_held_release_was_given_is_listed_as_held_until_it_goes_on_or_back() {
    let w = World::new(DECLARED).await;
    let file = w.path().join("terreau.hcl");
    let text = std::fs::read_to_string(&file).unwrap();
    let route = format!("route \"{}.example.org\" {{}}", w.name);
    assert!(text.contains(&route), "{text}");
    std::fs::write(&file, text.replace(&route, &format!("{route}\n    update {{ promote = \"manual\" }}")))
        .unwrap();
    std::fs::write(w.path().join("key"), "canary-first").unwrap();
    w.expect(0, &["deploy", "--secret-file", "api_key=key"]);
    let held = w.expect(0, &["env", "set", "MODE=canary-loud"]);
    assert!(held.err.contains("held: the canaries of release 2 are healthy"), "{}", held.err);
    let list = w.expect(0, &["env", "list"]);
    let row = list.out.lines().find(|l| l.starts_with("MODE")).unwrap_or_default();
    assert!(row.contains("set, held") && row.contains("me"), "{}", list.out);
    assert!(
        list.err.contains("--promote`, and goes with") && !list.err.contains("next release"),
        "{}",
        list.err
    );
    let mode = w.listed("MODE", "set").unwrap();
    assert_eq!((&mode["held"], &mode["staged"], &mode["version"]), (&json!(true), &json!(true), &json!(1)));
    let shown = w.expect(0, &["env", "list", "--show"]).out;
    assert!(shown.lines().any(|l| l.starts_with("MODE") && l.contains("canary-loud")), "{shown}");
    assert_eq!(w.expect(0, &["env", "export"]).out, "", "it does not run");

    w.expect(0, &["deploy", "--revert"]);
    assert_eq!(w.listed("MODE", "set"), None);
    w.expect(0, &["env", "set", "MODE=canary-soft"]);
    w.expect(0, &["deploy", "--promote"]);
    w.comes_to_have("MODE", Some("canary-soft")).await;
    let mode = w.listed("MODE", "set").unwrap();
    assert_eq!((&mode["held"], &mode["staged"]), (&json!(false), &json!(false)), "{mode}");

    w.told(0, &["secret", "set", "api_key", "--stdin"], "canary-second");
    let list = w.expect(0, &["secret", "list"]);
    assert!(list.out.contains("user, held") && list.out.contains("2 (1 runs)"), "{}", list.out);
    let shown = w.expect(0, &["secret", "list", "--show"]).out;
    assert!(shown.contains("canary-second (canary-first runs)"), "{shown}");
    w.expect(0, &["deploy", "--revert"]);
    let list = w.expect(0, &["secret", "list"]);
    assert!(!list.out.contains("held") && !list.out.contains("runs)"), "{}", list.out);
}
