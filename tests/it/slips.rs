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
    for words in [&["cp", ":", "x"][..], &["cp", "x"], &["cp", "x", "y"], &["cp", ":x", "carnet:y"]] {
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
    let r = home.run(&["operations", "show", "--app", "carnet"]);
    assert!(r.code == 0 && r.out.contains("deploy of carnet by ada, ") && r.out.contains(one), "{}", r.out);
    assert_eq!(r.err, "", "its heading stands once");
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

#[test]
fn a_process_and_a_message_in_the_place_of_an_app_are_seen_to_be_that() {
    let home = Home::new();
    let dir = project(&home, &descriptor(""));
    std::fs::write(dir.join("f"), "x").unwrap();
    for (words, wanted) in [
        (&["scale", "web", "2"][..], "did you mean `terreau scale web=2`?"),
        (&["maintenance", "on", "hello"], "`terreau maintenance on -m \"hello\"`"),
        (&["cp", "f", "web:/x"], "did you mean `terreau cp f :/x -p web`?"),
        (&["cp", "web:/x", "here"], "did you mean `terreau cp :/x here -p web`?"),
    ] {
        let (url, server) = scripted(vec![missing("there is no app so named"), answer(&apps(&["carnet"]))]);
        log_in(&home, &url);
        let r = home.run_in(&dir, words, "");
        assert_eq!(r.code, 6, "{words:?}: {}", r.err);
        server.join().unwrap();
        assert!(r.err.contains(wanted), "{words:?}: {}", r.err);
    }
}

#[test]
fn nothing_is_said_of_the_name_of_an_app_that_is_not_there() {
    let home = Home::new();
    for yes in [&["delete", "nope", "--yes"][..], &["delete", "nope"]] {
        let (url, server) = scripted(vec![missing("there is no app nope"), answer(&apps(&["carnet"]))]);
        log_in(&home, &url);
        let r = home.run_in(home.dir.path(), yes, "nope\n");
        assert_eq!(r.code, 6, "{}", r.err);
        let asked = server.join().unwrap();
        assert!(asked[0].starts_with("GET /v1/apps/nope"), "{}", asked[0]);
        assert!(r.err.contains("there is no app nope") && !r.err.contains("free"), "{}", r.err);
    }
}

#[test]
fn the_history_of_a_name_that_nobody_set_says_so_of_that_name() {
    let home = Home::new();
    let none = || answer(&json!({ "versions": [] }));
    let (url, server) = scripted(vec![none()]);
    log_in(&home, &url);
    let r = home.run(&["env", "history", "NOPE", "--app", "carnet"]);
    server.join().unwrap();
    assert!(r.code == 0 && r.err.contains("nobody has set NOPE of carnet yet"), "{}", r.err);
    let secrets = json!({ "app": "carnet", "secrets": [{ "name": "key", "type": "generated" }] });
    let (url, server) = scripted(vec![none(), answer(&secrets)]);
    log_in(&home, &url);
    let r = home.run(&["secret", "history", "key", "--app", "carnet"]);
    server.join().unwrap();
    assert!(r.code == 0 && r.err.contains("secret key of carnet is made by the server"), "{}", r.err);
    assert!(r.err.contains("for another value declare the secret under another name"), "{}", r.err);
}

#[test]
fn where_nothing_was_written_in_a_time_it_is_said_and_how_to_look_further_back() {
    let home = Home::new();
    let silent = || "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned();
    for (words, said, hint) in [
        (&["--since", "1s"][..], "no lines of carnet in the last 1s\n", true),
        (&["--since", "1s", "--json"], "no lines of carnet in the last 1s\n", true),
        (&["--since", "2026-01-31T12:00:00Z"], "no lines of carnet since 2026-01-31T12:00:00Z\n", true),
        (&["--grep", "panic"], "no lines of carnet that match \"panic\"\n", false),
        (&[], "no lines of carnet\n", false),
    ] {
        let (url, server) = scripted(vec![silent()]);
        log_in(&home, &url);
        let line: Vec<&str> = ["logs", "carnet"].iter().chain(words).copied().collect();
        let r = home.run(&line);
        server.join().unwrap();
        assert_eq!((r.code, r.out.as_str()), (0, ""), "{line:?}: {}", r.err);
        assert!(r.err.contains(said), "{line:?}: {}", r.err);
        assert_eq!(r.err.contains("looks further back"), hint, "{line:?}: {}", r.err);
    }
}

#[test]
fn a_delete_says_the_servers_moment_and_not_this_machines() {
    let home = Home::new();
    let moment = || answer(&json!({ "app": "carnet", "free_at": "2031-02-03T04:05:06Z" }));
    for words in [&["delete", "carnet", "--yes"][..], &["delete", "carnet"]] {
        let (url, server) = scripted(vec![moment(), missing("there is no app carnet"), answer(&apps(&[]))]);
        log_in(&home, &url);
        let r = home.run_in(home.dir.path(), words, "carnet\n");
        assert_eq!(r.code, 6, "{}", r.err);
        server.join().unwrap();
        assert!(r.err.contains("its name is free again at 04:05 UTC"), "{}", r.err);
    }
}

#[test]
fn of_a_static_site_it_is_said_that_nothing_of_it_runs_and_where_to_look() {
    let home = Home::new();
    let site = || {
        answer(&json!({ "app": "leaf", "status": "running", "urls": [], "owners": [], "processes": [],
            "resources": [{ "kind": "site", "id": "leaf.example.org" }] }))
    };
    let none = || answer(&json!({ "instances": [], "runs": [] }));
    for words in [&["ps", "leaf"][..], &["ps", "leaf", "--all"], &["top", "leaf"], &["top", "leaf", "--once"]]
    {
        let (url, server) = scripted(vec![none(), site()]);
        log_in(&home, &url);
        let r = home.run(words);
        server.join().unwrap();
        assert_eq!((r.code, r.out.as_str()), (0, ""), "{words:?}: {}", r.err);
        assert!(
            r.err.contains("leaf is a static site") && r.err.contains("`terreau open leaf`"),
            "{}",
            r.err
        );
    }
    let (url, server) = scripted(vec![none()]);
    log_in(&home, &url);
    let r = home.run(&["ps", "leaf", "--json"]);
    server.join().unwrap();
    assert!(r.code == 0 && r.err.is_empty() && r.out.contains("\"instances\": []"), "{}{}", r.out, r.err);
    let (url, server) = scripted(vec![answer(&json!({ "app": "leaf", "release": 1, "env": [] })), site()]);
    log_in(&home, &url);
    let r = home.run(&["env", "list", "--app", "leaf"]);
    server.join().unwrap();
    assert!(r.code == 0 && r.err.contains("no process that could read an environment"), "{}", r.err);
}

#[test]
fn a_usage_error_shows_the_plain_usage_of_its_command() {
    let home = Home::new();
    let r = home.run(&["logs", "--folow"]);
    assert!(r.code == 2 && r.err.contains("Usage: terreau logs [OPTIONS] [APP[@ENV]]\n"), "{}", r.err);
}

#[test]
fn a_value_beside_a_secrets_name_is_refused_and_never_repeated() {
    let home = Home::new();
    for words in [&["secret", "set", "key=canary"][..], &["secret", "set", "key", "canary"]] {
        let r = home.run(words);
        assert_eq!((r.code, r.out.as_str()), (2, ""), "{}", r.err);
        assert!(
            r.err.contains("does not stand on the command line") && !r.err.contains("canary"),
            "{}",
            r.err
        );
    }
}

#[test]
fn a_hook_is_named_by_its_url_or_not_at_all_where_there_is_one() {
    let home = Home::new();
    let hook = |id: &str, url: &str| {
        json!({ "id": id, "url": url, "on": ["deploy"], "by": "ada", "created_at": "2026-01-01T00:00:00Z",
        "pending": 0, "tries": 0, "lost": 0 })
    };
    let hooks = |all: &[serde_json::Value]| answer(&json!({ "app": "carnet", "hooks": all }));
    let one = hook("3f9a", "https://example.org/told");
    let two = hook("77aa", "https://example.net/");
    let came = answer(&json!({ "id": "m", "delivered": true, "status": 204, "took_ms": 3 }));
    for words in
        [&["hook", "test", "--app", "carnet"][..], &["hook", "test", "carnet", "https://example.org/told/"]]
    {
        let (url, server) = scripted(vec![hooks(std::slice::from_ref(&one)), came.clone()]);
        log_in(&home, &url);
        let r = home.run(words);
        assert_eq!(r.code, 0, "{}", r.err);
        let asked = server.join().unwrap();
        assert!(asked[1].starts_with("POST /v1/apps/carnet/hooks/3f9a/test "), "{}", asked[1]);
    }
    for (words, code, wanted) in [
        (&["hook", "test", "--app", "carnet"][..], 2, "carnet has 3f9a, 77aa"),
        (&["hook", "remove", "carnet", "https://example.com/"], 6, "`terreau hook list carnet`"),
    ] {
        let (url, server) = scripted(vec![hooks(&[one.clone(), two.clone()])]);
        log_in(&home, &url);
        let r = home.run(words);
        assert_eq!(r.code, code, "{}", r.err);
        server.join().unwrap();
        assert!(r.err.contains(wanted), "{}", r.err);
    }
}

#[test]
fn who_owns_nothing_of_an_app_is_not_said_to_be_taken_away() {
    let home = Home::new();
    let owners = || answer(&json!({ "app": "carnet", "owners": ["ada"] }));
    let (url, server) = scripted(vec![owners(), owners()]);
    log_in(&home, &url);
    let r = home.run(&["owners", "remove", "robin", "--app", "carnet"]);
    assert_eq!(r.code, 6, "{}", r.err);
    server.join().unwrap();
    assert!(r.err.contains("robin does not own carnet") && r.err.contains("it is of ada"), "{}", r.err);
}

#[test]
fn who_removes_somebody_is_told_of_their_apps_before_they_are_asked() {
    let home = Home::new();
    let robin = json!({ "user": "robin", "groups": [], "admin": false, "may_log_in": true, "apps": ["carnet", "blog"] });
    let (url, server) = scripted(vec![answer(&robin)]);
    log_in(&home, &url);
    let r = home.run_in(home.dir.path(), &["users", "remove", "robin"], "");
    assert_eq!(r.code, 1, "{}", r.err);
    server.join().unwrap();
    assert!(r.err.contains("robin owns carnet, blog"), "{}", r.err);
}

#[test]
fn a_token_without_a_server_is_sent_nowhere_and_the_saved_one_is_named() {
    let home = Home::new();
    log_in(&home, "http://127.0.0.1:9");
    let mut command = home.command(home.dir.path(), &["status"]);
    command.env("TERREAU_TOKEN", "id.canary");
    let r = run(command, "");
    assert_eq!(r.code, 2, "{}", r.err);
    assert!(r.err.contains("TERREAU_SERVER=http://127.0.0.1:9") && !r.err.contains("canary"), "{}", r.err);
}

#[test]
fn a_list_is_of_all_apps_also_in_a_projects_folder() {
    let home = Home::new();
    let dir = project(&home, &descriptor(""));
    for word in ["ls", "list"] {
        let (url, server) = scripted(vec![answer(&apps(&["carnet", "blog"]))]);
        log_in(&home, &url);
        let r = home.run_in(&dir, &[word], "");
        assert_eq!(r.code, 0, "{}", r.err);
        let asked = server.join().unwrap();
        assert!(asked[0].starts_with("GET /v1/apps ") && r.out.contains("blog"), "{}", r.out);
    }
}

#[test]
fn an_empty_log_of_a_name_says_that_nothing_is_known_of_it() {
    let home = Home::new();
    let (url, server) = scripted(vec![answer(&json!({ "entries": [] }))]);
    log_in(&home, &url);
    let r = home.run(&["audit", "list", "nosuch"]);
    server.join().unwrap();
    assert!(r.code == 0 && r.err.contains("nothing is known of an app nosuch"), "{}", r.err);
}

#[test]
fn what_is_no_number_is_told_so_and_a_file_to_validate_stands_by_itself() {
    let home = Home::new();
    let dir = project(&home, &descriptor(""));
    for words in [&["logs", "--tail=x"][..], &["events", "--tail", "x"], &["audit", "list", "--limit", "x"]] {
        let r = home.run(words);
        assert!(r.code == 2 && r.err.contains("must be a number"), "{words:?}: {}", r.err);
    }
    let r = home.run(&["rollback", "last"]);
    assert!(r.code == 2 && r.err.contains("`terreau releases` lists them"), "{}", r.err);
    let file = dir.join("terreau.hcl");
    let r = home.run(&["validate", file.to_str().unwrap()]);
    assert!(r.code == 0 && r.err.contains("is valid"), "{}", r.err);
}
