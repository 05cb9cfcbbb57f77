//! What people type who know other tools, or who slip: each is answered by what to type instead. Without a cluster: a server
//! of a few scripted answers stands in its place where one is asked at all.

use serde_json::json;

use crate::cli::{Home, answer, apps, log_in, missing, project, run, scripted};

/// One app, with one process or with two.
fn descriptor(second: &str) -> String {
    format!(
        "project \"carnet\" {{\n  process \"web\" {{\n    command = [\"sleep\", \"9\"]\n  }}\n{second}}}\n"
    )
}

fn process(name: &str) -> serde_json::Value {
    json!({ "name": name, "wanted": 1, "running": 1, "healthy": 1, "canaries": 0, "restarts": 0, "oom_killed": false })
}

fn status(processes: &[&str]) -> String {
    let processes: Vec<_> = processes.iter().map(|name| process(name)).collect();
    answer(
        &json!({ "app": "carnet", "status": "running", "urls": [], "owners": [], "release": 4, "processes": processes }),
    )
}

#[test]
fn what_is_no_server_is_refused_with_the_form_of_one() {
    let home = Home::new();
    for bad in ["25201", ":25201", "0x7f", "a b"] {
        let r = home.run(&["whoami", "--server", bad]);
        assert_eq!((r.code, r.out.as_str()), (2, ""), "{bad}: {}", r.err);
        assert!(r.err.contains("http://127.0.0.1:3990"), "{bad}: {}", r.err);
    }
    let mut by_variable = home.command(home.dir.path(), &["whoami"]);
    by_variable.env("TERREAU_SERVER", "25201");
    let r = run(by_variable, "");
    assert!(r.code == 2 && r.err.contains("a port alone"), "{}", r.err);
}

#[test]
fn a_copy_that_is_none_and_options_of_other_tools_are_answered_with_what_to_type() {
    let home = Home::new();
    for words in [&["cp", "x", ":"][..], &["cp", "x"], &["cp", "x", "y"], &["cp", ":x", "carnet:y"]] {
        let r = home.run(words);
        assert_eq!(r.code, 2, "{words:?}: {}", r.err);
        let hint = "hint: `terreau cp APP:PATH HERE` from an instance, `terreau cp HERE APP:PATH` to one";
        assert!(r.err.contains(hint), "{words:?}: {}", r.err);
    }
    for (words, wanted) in [
        (&["ps", "-w"][..], "`terreau top`"),
        (&["deploy", "-y"], "asks for no confirmation"),
        (&["promote"], "did you mean `terreau deploy --promote`?"),
        (&["version"], "did you mean `terreau --version`?"),
        (&["--quiet", "ssh", "ls", "-l"], "`terreau exec -- ls -l`"),
        (
            &["tokens", "create", "ci", "--app", "carnet", "--verb", "read", "--expires", "2y"],
            "at least 1m, at most 366d",
        ),
    ] {
        let r = home.run(words);
        assert_eq!((r.code, r.out.as_str()), (2, ""), "{words:?}: {}", r.err);
        assert!(r.err.contains(wanted), "{words:?}: {}", r.err);
    }
}

#[test]
fn a_process_in_the_place_of_an_app_is_seen_to_be_one() {
    let home = Home::new();
    let dir = project(&home, &descriptor(""));
    for (command, wanted) in [
        ("restart", "did you mean `terreau restart -p web`?"),
        ("stop", "`terreau scale web=0` that process"),
        ("start", "`terreau scale web=1` that process"),
        ("logs", "did you mean `terreau logs -p web`?"),
    ] {
        let (url, server) = scripted(vec![missing("there is no app web"), answer(&apps(&["carnet"]))]);
        log_in(&home, &url);
        let r = home.run_in(&dir, &[command, "web"], "");
        assert_eq!(r.code, 6, "{command}: {}", r.err);
        server.join().unwrap();
        assert!(r.err.contains("there is no app web") && r.err.contains(wanted), "{command}: {}", r.err);
    }
    // What is no process is none.
    let (url, server) = scripted(vec![missing("there is no app worker"), answer(&apps(&["carnet"]))]);
    log_in(&home, &url);
    let r = home.run_in(&dir, &["restart", "worker"], "");
    assert!(r.code == 6 && !r.err.contains("-p "), "{}", r.err);
    server.join().unwrap();
}

#[test]
fn a_count_alone_is_for_the_only_process_and_of_several_none_is_guessed() {
    let home = Home::new();
    let done = answer(
        &json!({ "app": "carnet", "unchanged": true, "summary": "web has 2 already", "counts": { "web": 2 } }),
    );
    let (url, server) = scripted(vec![status(&["web"]), done]);
    log_in(&home, &url);
    let r = home.run(&["scale", "carnet", "2"]);
    assert_eq!(r.code, 0, "{}", r.err);
    let asked = server.join().unwrap();
    assert!(
        r.err.contains("web has 2 already") && asked[1].starts_with("POST /v1/apps/carnet/scale"),
        "{}",
        r.err
    );

    let (url, server) = scripted(vec![status(&["web", "worker"])]);
    log_in(&home, &url);
    let r = home.run(&["scale", "carnet", "2"]);
    assert_eq!(r.code, 2, "{}", r.err);
    server.join().unwrap();
    assert!(r.err.contains("carnet has web, worker") && r.err.contains("`terreau scale web=2`"), "{}", r.err);
    for words in [&["scale", "2", "3"][..], &["scale", "2", "web=3"], &["scale", "carnet"]] {
        let r = home.run(words);
        assert!(r.code == 2 && r.err.contains("as web=2"), "{words:?}: {}", r.err);
    }
}

#[test]
fn nothing_is_edited_without_a_terminal_and_without_an_editor() {
    let home = Home::new();
    for command in ["env", "secret"] {
        let mut edit = home.command(home.dir.path(), &[command, "edit", "--app", "carnet"]);
        edit.env_remove("EDITOR");
        let r = run(edit, "");
        assert_eq!((r.code, r.out.as_str()), (2, ""), "{}", r.err);
        assert!(r.err.contains(&format!("`terreau {command} import FILE`")), "{}", r.err);
    }
}

#[test]
fn an_operation_that_is_not_named_is_the_one_that_is_under_way() {
    let home = Home::new();
    let line = |id: &str| {
        json!({ "id": id, "app": "carnet", "verb": "deploy", "actor": "ada", "at": "2026-01-01T00:00:00Z",
        "step": "wait" })
    };
    let (one, two) = ("01arz3ndektsv4rrffq69g5fav", "01arz3ndektsv4rrffq69g5faw");
    let ended = json!({ "id": two, "app": "carnet", "verb": "stop", "actor": "ada", "at": "2026-01-01T00:00:00Z",
        "outcome": "done", "summary": "stopped" });
    let view = json!({ "id": one, "app": "carnet", "verb": "deploy", "actor": "ada", "at": "2026-01-01T00:00:00Z",
        "steps": [] });
    let (url, server) = scripted(vec![answer(&json!({ "open": [line(one)], "ended": [] })), answer(&view)]);
    log_in(&home, &url);
    let r = home.run(&["operations", "show", "--app", "carnet", "--json"]);
    assert!(r.code == 0 && r.err.contains(&format!("deploy of carnet by ada, operation {one}")), "{}", r.err);
    let asked = server.join().unwrap();
    assert!(asked[1].starts_with(&format!("GET /v1/operations/{one} ")), "{}", asked[1]);

    for (open, code, wanted) in [
        (vec![], 6, "nothing is under way on carnet"),
        (vec![line(one), line(two)], 2, "2 operations are under way on carnet"),
    ] {
        let (url, server) = scripted(vec![answer(&json!({ "open": open, "ended": [ended] }))]);
        log_in(&home, &url);
        let r = home.run(&["operations", "cancel", "--app", "carnet"]);
        assert_eq!((r.code, r.out.as_str()), (code, ""), "{}", r.err);
        server.join().unwrap();
        assert!(r.err.contains(wanted) && r.err.contains(two), "{}", r.err);
    }
    let r = home.run(&["operations", "cancel", one, "--app", "carnet"]);
    assert!(r.code == 2 && r.err.contains("too much"), "{}", r.err);
}
