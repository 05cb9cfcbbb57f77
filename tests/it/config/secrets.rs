//! `terreau secret`: values that people give.

use serde_json::json;

use super::World;

const DECLARED: &str = r#"secret "api_key" {
    type        = "user"
    description = "of the mail service"
  }
  secret "made" {
    type = "generated"
  }"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_gets_another_value_never_from_the_command_line_and_a_rollback_makes_the_old_one_current() {
    let w = World::new(DECLARED).await;
    let canary = |n: u32| format!("canary-{n}-{}", w.name);
    let (first, second, third) = (canary(1), canary(2), canary(3));
    w.deploys_with(json!({ "api_key": first })).await;
    assert_eq!(w.has("API_KEY").await.as_deref(), Some(first.as_str()));
    let plain = format!("secrets/{}/api_key", w.name);
    assert_eq!(w.kv(&plain).await, Some(first.clone()));

    let refused = w.expect(2, &["secret", "set", &format!("api_key={second}")]);
    assert!(refused.err.contains("command line") && !refused.err.contains(&second), "{}", refused.err);
    let set = w.told(0, &["secret", "set", "api_key", "--stdin"], &format!("{second}\n"));
    w.comes_to_have("API_KEY", Some(&second)).await;
    assert_eq!(w.kv(&plain).await, Some(second.clone()), "the current value follows what serves");

    // Staged: what runs and what people read stay as they are.
    std::fs::write(w.path().join("key"), &third).unwrap();
    w.expect(0, &["secret", "set", "--stage", "api_key", "--file", "key"]);
    assert_eq!((w.has("API_KEY").await, w.kv(&plain).await), (Some(second.clone()), Some(second.clone())));
    w.expect(0, &["deploy"]);
    w.comes_to_have("API_KEY", Some(&third)).await;
    assert_eq!(w.kv(&plain).await, Some(third.clone()));

    w.expect(0, &["rollback", "1"]);
    w.comes_to_have("API_KEY", Some(&first)).await;
    assert_eq!(w.kv(&plain).await, Some(first.clone()), "the plain key is what serves");
    let list = w.json(&["secret", "list", "--json"]);
    let key = list["secrets"].as_array().unwrap().iter().find(|s| s["name"] == "api_key").unwrap().clone();
    assert_eq!((&key["version"], &key["serving"], &key["type"]), (&json!(1), &json!(1), &json!("user")));
    let history = w.json(&["secret", "history", "--json"]);
    let told: Vec<_> =
        history["versions"].as_array().unwrap().iter().map(|v| (&v["version"], &v["release"])).collect();
    let (one, two, three) = (json!(1), json!(2), json!(3));
    assert_eq!(told, [(&three, &three), (&two, &two), (&one, &one)]);

    for (name, code, why) in [
        ("made", 1, "generated"),
        ("nothing", 6, "declares no secret nothing (of type user: api_key)"),
        ("api_kye", 6, "did you mean api_key?"),
    ] {
        let refused = w.told(code, &["secret", "set", name, "--stdin"], "value-value");
        assert!(refused.err.contains(why), "{}", refused.err);
    }
    let unknown = w.expect(6, &["secret", "history", "api_kye"]);
    assert!(unknown.err.contains("did you mean api_key?"), "{}", unknown.err);
    let again = w.told(0, &["secret", "import", "-"], &w.expect(0, &["secret", "export"]).out);
    assert!(again.err.contains("no changes"), "{}", again.err);
    let listed = w.expect(0, &["secret", "list"]).out;
    for said in [&set.out, &set.err, &listed] {
        assert!([&first, &second, &third].iter().all(|c| !said.contains(*c)), "{said}");
    }
    w.nowhere_else(&[&first, &second, &third]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_with_which_the_app_gets_ill_does_not_stay() {
    let w = World::new(DECLARED).await;
    w.deploys_with(json!({ "api_key": "the first value" })).await;
    let server = std::fs::read_to_string(w.path().join("app/server.py")).unwrap();
    let picky = server
        .replace("if b\"CRASH\" in os.environb:", "if os.environ[\"API_KEY\"].startswith(\"a wrong\"):");
    std::fs::write(w.path().join("app/server.py"), picky).unwrap();
    w.expect(0, &["deploy"]);
    let ill = w.told(1, &["secret", "set", "api_key", "--stdin"], "a wrong value");
    assert!(ill.err.contains("exit code 4"), "{}", ill.err);
    w.comes_to_have("API_KEY", Some("the first value")).await;
    let plain = format!("secrets/{}/api_key", w.name);
    assert_eq!(w.kv(&plain).await.as_deref(), Some("the first value"));
    std::fs::write(w.path().join("app/new"), "content").unwrap();
    w.expect(0, &["deploy"]);
    assert_eq!(w.has("API_KEY").await.as_deref(), Some("the first value"));
    // What stands in the artifact is no secret.
    let public = w.told(1, &["secret", "set", "api_key", "--stdin"], "I was told to crash");
    assert!(public.err.contains("api_key"), "{}", public.err);
    w.told(0, &["secret", "set", "api_key", "--stdin"], "a right value");
    w.comes_to_have("API_KEY", Some("a right value")).await;
    assert_eq!(w.kv(&format!("secrets/{}/.v/api_key/3", w.name)).await.as_deref(), Some("a right value"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_declared_again_has_the_value_that_it_had_and_the_plan_says_so() {
    let w = World::new(DECLARED).await;
    w.deploys_with(json!({ "api_key": "the first value" })).await;
    w.told(0, &["secret", "set", "api_key", "--stdin"], "the second value");
    w.comes_to_have("API_KEY", Some("the second value")).await;
    w.describe("");
    let plan = w.expect(10, &["plan"]);
    assert!(plan.out.contains("out of use at once, deleted by the sweep an hour later"), "{}", plan.out);
    w.expect(0, &["deploy"]);
    w.comes_to_have("API_KEY", None).await;

    w.describe(DECLARED);
    let plan = w.expect(10, &["plan"]);
    assert!(plan.out.contains("note: secret api_key has version 2 again"), "{}", plan.out);
    assert!(!plan.out.contains("has no value"), "{}", plan.out);
    let deployed = w.expect(0, &["deploy"]);
    assert!(deployed.err.contains("secret api_key has version 2 again"), "{}", deployed.err);
    w.comes_to_have("API_KEY", Some("the second value")).await;
}

const TWO: &str = r#"secret "api_key" {
    type        = "user"
    description = "of the mail service"
  }
  secret "mail" {
    type        = "user"
    description = "the mailbox's password"
  }
  secret "made" {
    type = "generated"
  }"#;

#[tokio::test(flavor = "multi_thread")]
async fn pt_60_a_first_deploy_without_a_terminal_takes_secrets_from_files_and_says_so_where_they_are_missing()
{
    let w = World::new(TWO).await;
    let canary = |n: u32| format!("canary-{n}-{}", w.name);
    let (first, second, mail) = (canary(1), canary(2), canary(3));
    std::fs::write(w.path().join("key"), &first).unwrap();

    let refused = w.expect(1, &["deploy"]);
    for wanted in [
        "--secret-file api_key=FILE --secret-file mail=FILE",
        "mail: the mailbox's password",
        "standard input",
    ] {
        assert!(refused.err.contains(wanted), "{wanted} in {}", refused.err);
    }
    // What is given is missing no more.
    let refused = w.expect(1, &["deploy", "--secret-file", "api_key=key"]);
    assert!(!refused.err.contains("api_key=FILE") && refused.err.contains("mail=FILE"), "{}", refused.err);
    // What stands in the place of a file may be the value itself.
    for (code, given) in
        [(2, second.clone()), (2, format!("api key={second}")), (1, format!("api_key={second}"))]
    {
        let said = w.expect(code, &["deploy", "--secret-file", &given]);
        assert!(said.err.contains("NAME=FILE") && !said.err.contains(&second), "{}", said.err);
    }
    let wrong: [(&[&str], &str); 6] = [
        (&["api_kee=key"], "did you mean api_key?"),
        (&["made=key"], "generated"),
        (&["api_key"], "NAME=FILE"),
        (&["api_key="], "NAME=FILE"),
        (&["api_key=-", "mail=-"], "standard input"),
        (&["api_key=key", "api_key=key"], "twice"),
    ];
    for (given, why) in wrong {
        let options = given.iter().flat_map(|g| ["--secret-file", g]);
        let line: Vec<&str> = ["deploy"].into_iter().chain(options).collect();
        let said = w.told(2, &line, "value-value");
        assert!(said.err.contains(why), "{line:?}: {}", said.err);
    }
    let none = w.expect(1, &["deploy", "--secret-file", "api_key=no-such-file", "--secret-file", "mail=-"]);
    assert!(none.err.contains("for api_key is not there"), "{}", none.err);
    let empty = w.told(1, &["deploy", "--secret-file", "api_key=key", "--secret-file", "mail=-"], "\n");
    assert!(empty.err.contains("secret mail"), "{}", empty.err);
    assert_eq!(w.asks(&["status", &w.name], "").code, 6, "nothing was deployed");

    // A reviewed plan says how, and takes them.
    w.expect(5, &["plan", "--out", "review.plan"]);
    let refused = w.expect(1, &["deploy", "--plan", "review.plan"]);
    assert!(refused.err.contains("--secret-file mail=FILE"), "{}", refused.err);
    let given = ["--secret-file", "api_key=key", "--secret-file", "mail=-"];
    let line = [&["deploy", "--plan", "review.plan"][..], &given].concat();
    let done = w.told(0, &line, &format!("{mail}\n"));
    assert_eq!(w.has("API_KEY").await.as_deref(), Some(first.as_str()));
    assert_eq!(w.kv(&format!("secrets/{}/mail", w.name)).await.as_deref(), Some(mail.as_str()));

    // The same line in every run of a pipeline makes no release by itself; another value does.
    let same = w.told(0, &[&["deploy"][..], &given].concat(), &mail);
    assert!(same.err.contains("no changes"), "{}", same.err);
    std::fs::write(w.path().join("key"), &second).unwrap();
    let other = w.told(0, &[&["deploy"][..], &given].concat(), &mail);
    w.comes_to_have("API_KEY", Some(&second)).await;
    assert_eq!(w.kv(&format!("secrets/{}/.v/mail/2", w.name)).await, None, "mail is as it was");
    for said in [&done, &same, &other] {
        assert!([&first, &second, &mail].iter().all(|c| !said.err.contains(*c) && !said.out.contains(*c)));
    }
    w.nowhere_else(&[&first, &second, &mail]).await;
}
