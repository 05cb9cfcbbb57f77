//! `terreau env`: set, list, unset, export, import, history.

use serde_json::json;

use super::World;

/// What programs, shells, templates and HCL could each take for something of theirs.
const NASTY: &str = "line one\nline \"two\"\t'three' $HOME ${NOMAD_ALLOC_ID} %{if} {{ key \"x\" }} #no \\n é e\u{301} 🌱 <&> \u{2028}\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn pt_67_a_value_that_is_set_is_in_the_process_byte_for_byte_and_nowhere_else() {
    let w = World::new("").await;
    w.expect(0, &["deploy"]);
    assert_eq!(w.has("GREETING").await.as_deref(), Some("hello"));
    let canary = format!("canary-{}", hex::encode(rand::random::<[u8; 8]>()));
    let nasty = format!("{canary}{NASTY}");
    let large: String = std::iter::repeat_n("0123456789abcdef", 2_048).collect();
    assert_eq!(large.len(), 32 << 10);

    let set = w.told(0, &["env", "set", "motd_Text", "--stdin"], &nasty);
    assert!(set.err.contains("release 2 runs"), "{}", set.err);
    w.comes_to_have("motd_Text", Some(&nasty)).await;
    std::fs::write(w.path().join("large.txt"), &large).unwrap();
    w.expect(0, &["env", "set", "LARGE", "--file", "large.txt"]);
    w.comes_to_have("LARGE", Some(&large)).await;
    assert_eq!(w.has("motd_Text").await.as_deref(), Some(nasty.as_str()), "the others stay");

    // Beyond the limits it is refused, with the reason, by the command and by the server alike.
    let refused = w.told(1, &["env", "set", "LARGE", "--stdin"], &format!("{large}x"));
    assert!(refused.err.contains("32768"), "{}", refused.err);
    for (value, why) in [
        (format!("{large}x"), "32769 bytes"),
        ("&".repeat(12_000), "72002 bytes once"),
        ("a\0b".into(), "NUL"),
    ] {
        let (status, answer) = w.api("POST", "/env", &json!({ "set": { "LARGE": value } })).await;
        assert_eq!(status, 422, "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains(why), "{answer}");
    }
    for (name, why) in [("1A", "digit"), ("NOMAD_X", "reserved"), ("A-B", "letters")] {
        let refused = w.expect(2, &["env", "set", &format!("{name}=x")]);
        assert!(refused.err.contains(why) && refused.err.contains(name), "{}", refused.err);
        let (status, answer) = w.api("POST", "/env", &json!({ "set": { name: "x" } })).await;
        assert_eq!(status, 422, "{answer}");
    }

    // Masked; shown where that was asked for, which is written down.
    let list = w.expect(0, &["env", "list"]);
    assert!(list.out.contains("motd_Text") && list.out.contains("********"), "{}", list.out);
    let json = w.expect(0, &["env", "list", "--json"]);
    let shown = w.expect(0, &["env", "list", "--show"]);
    assert!(shown.out.contains(&canary), "{}", shown.out);
    let audits = w.kv_all("terreau/v1/audit/").await;
    let reveals = audits.values().filter(|a| a.contains("\"reveal\"") && a.contains("motd_Text")).count();
    assert_eq!(reveals, 1, "one look at values, one record");
    let history = w.expect(0, &["env", "history"]);
    for said in [&list.out, &json.out, &set.out, &set.err, &history.out, &refused.err] {
        assert!(!said.contains(&canary), "{said}");
    }
    w.nowhere_else(&[
        &canary,
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ])
    .await;
    assert_eq!(w.listed("motd_Text", "set").unwrap()["by"], w.stack.person().0);
    assert_eq!(w.listed("PORT", "platform").unwrap()["process"], "web");

    // import(export(x)) = x: nothing is left to be changed.
    let exported = w.expect(0, &["env", "export"]);
    let again = w.told(0, &["env", "import", "-"], &exported.out);
    assert!(again.err.contains("no changes"), "{}", again.err);
    assert_eq!(w.head().await["env"], json!({ "LARGE": 1, "motd_Text": 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_67_what_is_set_wins_over_the_descriptor_stays_through_deploys_and_goes_when_it_is_unset() {
    let w = World::new("").await;
    w.expect(0, &["deploy"]);
    w.expect(0, &["env", "set", "GREETING=set", "OTHER=", "THIRD=3", "-m", "other words"]);
    w.comes_to_have("GREETING", Some("set")).await;
    assert_eq!(w.has("OTHER").await.as_deref(), Some(""), "empty is a value");
    assert_eq!(w.listed("GREETING", "descriptor").unwrap()["hidden_by_set"], true);
    let releases = w.json(&["releases", "--json"]);
    assert_eq!(releases["releases"][0]["message"], "other words");

    // The same again makes no release, and neither does a deploy.
    let same = w.expect(0, &["env", "set", "GREETING=set", "THIRD=3"]);
    assert!(
        same.err.contains("as it was already: GREETING, THIRD") && same.err.contains("no changes"),
        "{}",
        same.err
    );
    assert!(w.expect(0, &["deploy"]).err.contains("no changes"));
    std::fs::write(w.path().join("app/new"), "content").unwrap();
    w.expect(0, &["deploy"]);
    assert_eq!(w.has("GREETING").await.as_deref(), Some("set"), "a deploy never drops what was set");
    assert_eq!(w.head().await["release"]["number"], 3);

    // A name that is not set is a mistake, and sets off nothing: not even what is staged.
    w.expect(0, &["env", "set", "--stage", "LATER=1"]);
    for (names, wanted) in [
        (&["GREETING", "NEVER_SET"][..], "no value is set for NEVER_SET"),
        (&["GREETNG"], "did you mean GREETING?"),
    ] {
        let none = w.expect(6, &[&["env", "unset"], names].concat());
        assert!(none.err.contains(wanted), "{}", none.err);
    }
    assert_eq!(w.has("GREETING").await.as_deref(), Some("set"));
    assert_eq!((&w.head().await["release"]["number"], w.has("LATER").await), (&json!(3), None));
    w.expect(0, &["env", "unset", "--stage", "LATER"]);
    w.expect(0, &["env", "unset", "GREETING"]);
    w.comes_to_have("GREETING", Some("hello")).await;
    assert_eq!(w.has("THIRD").await.as_deref(), Some("3"));
    assert!(w.listed("GREETING", "set").is_none());
    w.expect(0, &["env", "set", "GREETING=back"]);
    w.comes_to_have("GREETING", Some("back")).await;

    let history = w.json(&["env", "history", "GREETING", "--json"]);
    let told: Vec<_> = history["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| {
            (
                v["version"].as_u64().unwrap(),
                v["what"].as_str().unwrap(),
                v["release"].as_u64(),
                v["serving"] == true,
            )
        })
        .collect();
    assert_eq!(told, [(3, "set", Some(5), true), (2, "unset", Some(4), false), (1, "set", Some(2), false)]);

    // Where somebody else's change came first, nothing is sent over it.
    let upon = json!({ "set": { "THIRD": "4" }, "upon": { "THIRD": 9 } });
    let (status, answer) = w.api("POST", "/env", &upon).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("conflict")), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_67_a_change_that_makes_the_app_ill_is_reverted_and_a_rollback_takes_the_values_of_its_release() {
    let w = World::new("").await;
    w.expect(0, &["deploy"]);
    w.expect(0, &["env", "set", "A=one", "CASE_kept=Yes"]);
    let crashed = w.expect(1, &["env", "set", "A=two", "CRASH=1"]);
    assert!(crashed.err.contains("exit code 4"), "{}", crashed.err);
    w.comes_to_have("A", Some("one")).await;
    assert_eq!(w.head().await["env"], json!({ "A": 1, "CASE_kept": 1 }));
    assert!(w.listed("CRASH", "set").is_none());
    std::fs::write(w.path().join("app/new"), "content").unwrap();
    w.expect(0, &["deploy"]);
    assert_eq!(
        (w.has("A").await.as_deref(), w.has("CRASH").await),
        (Some("one"), None),
        "it is not tried again"
    );

    w.expect(0, &["env", "set", "A=three", "B=new"]);
    w.comes_to_have("A", Some("three")).await;
    assert_eq!(w.listed("A", "set").unwrap()["version"], 3, "version 2 was the one that crashed");
    w.expect(0, &["rollback", "2"]);
    w.comes_to_have("A", Some("one")).await;
    assert_eq!(w.has("B").await, None);
    let a = w.listed("A", "set").unwrap();
    assert_eq!(
        (&a["version"], &a["serving"], &a["staged"]),
        (&json!(1), &json!(1), &json!(false)),
        "the list shows what runs"
    );
    assert!(w.listed("B", "set").is_none());
    assert_eq!(w.expect(0, &["env", "export"]).out, "A=one\nCASE_kept=Yes\n");
    w.expect(0, &["env", "set", "A=four"]);
    assert_eq!(w.listed("A", "set").unwrap()["version"], 4, "numbers never come back");
    w.comes_to_have("A", Some("four")).await;
}

/// More than one transaction of Consul takes, and more than a head takes.
#[tokio::test(flavor = "multi_thread")]
async fn pt_67_a_hundred_values_come_in_one_release_and_more_names_than_the_record_holds_are_refused() {
    let w = World::new("").await;
    w.expect(0, &["deploy"]);
    let file: String = (0..100).map(|n| format!("VALUE_{n}='{}'\n", "v ".repeat(500 + n))).collect();
    w.told(0, &["env", "import", "-"], &file);
    w.comes_to_have("VALUE_99", Some(&"v ".repeat(599))).await;
    assert_eq!(w.has("VALUE_0").await, Some("v ".repeat(500)));
    assert_eq!(w.head().await["release"]["number"], 2);
    assert_eq!(w.expect(0, &["env", "export"]).out.lines().count(), 100);

    let many: String = (0..200).map(|n| format!("A_RATHER_LONG_NAME_{n}=x\n")).collect();
    let refused = w.told(1, &["env", "import", "-"], &many);
    assert!(refused.err.contains("would have 300 values set"), "{}", refused.err);
    assert_eq!(w.head().await["release"]["number"], 2);
    let faulty = w.told(1, &["env", "import", "-"], "A=1\n\nB='canary\n");
    assert!(
        faulty.err.contains("standard input, line 3: the quote") && !faulty.err.contains("canary"),
        "{}",
        faulty.err
    );
}
