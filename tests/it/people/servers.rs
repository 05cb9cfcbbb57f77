//! Several servers, and tokens, on the command line.

use serde_json::Value;

use super::agent;
use crate::api::agent::{Agent, user};
use crate::cli::{Home, Ran, run};
use crate::harness::unique;

fn log_in(home: &Home, agent: &Agent) -> Ran {
    let args = ["login", "--server", &agent.url, "--user", "alice", "--password-stdin"];
    tokio::task::block_in_place(|| run(home.command(home.dir.path(), &args), "canary-of-alice"))
}

fn does(home: &Home, args: &[&str]) -> Ran {
    tokio::task::block_in_place(|| home.run(args))
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_06_a_server_is_chosen_among_several_and_one_that_is_named_goes_before() {
    let ((_, one), (_, two)) = (agent().await, agent().await);
    let home = Home::new();
    let none = does(&home, &["server", "list"]);
    assert_eq!((none.code, none.out.as_str()), (0, ""));
    assert!(none.err.contains("not logged in anywhere"), "{}", none.err);
    for agent in [&one, &two] {
        assert_eq!(log_in(&home, agent).code, 0);
    }
    let meant = |home: &Home| {
        let list: Value = serde_json::from_str(&does(home, &["server", "list", "--json"]).out).unwrap();
        let all = list["servers"].as_array().unwrap().clone();
        let current =
            all.iter().find(|s| s["current"] == true).map(|s| s["server"].as_str().unwrap().to_owned());
        (all.len(), current)
    };
    assert_eq!(meant(&home), (2, Some(two.url.clone())), "the last login");
    let port = one.url.rsplit(':').next().unwrap().to_owned();
    assert_eq!(does(&home, &["server", "use", &port]).code, 0);
    assert_eq!(meant(&home), (2, Some(one.url.clone())));
    assert!(does(&home, &["whoami"]).out.contains(&one.url));
    assert!(does(&home, &["whoami", "--server", &two.url]).out.contains(&two.url), "named goes before");
    assert_eq!(does(&home, &["server", "use", "nowhere.example.org"]).code, 6);
    assert_eq!(does(&home, &["server", "use", "127.0.0.1"]).code, 2, "it is a part of both");

    let gone = does(&home, &["server", "remove", &one.url]);
    assert_eq!(gone.code, 0, "{}", gone.err);
    assert_eq!(meant(&home), (1, None));
    assert_eq!(does(&home, &["whoami"]).code, 3);
    assert_eq!(does(&home, &["whoami", "--server", &two.url]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_printed_once_and_used_by_the_environment_for_the_server_that_is_named() {
    let (stack, agent) = agent().await;
    let app = unique("hers");
    agent.own(stack, &app, vec![user("alice")]).await;
    let home = Home::new();
    assert_eq!(log_in(&home, &agent).code, 0);
    let made = does(&home, &["tokens", "create", "ci", "--app", &app, "--verb", "read", "--expires", "2h"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let token = made.out.trim_end();
    assert!(token.len() > 64 && !token.contains(char::is_whitespace), "the token alone is data");
    let secret = token.split_once('.').unwrap().1;
    let list = does(&home, &["tokens", "list"]);
    assert!(list.out.contains("ci") && list.out.contains(&app), "{}", list.out);
    assert!(!list.out.contains(secret) && !made.err.contains(secret));

    let program = Home::new();
    let by = |server: Option<&str>, args: &[&str]| {
        let mut command = program.command(program.dir.path(), args);
        command.env("TERREAU_TOKEN", token);
        if let Some(server) = server {
            command.env("TERREAU_SERVER", server);
        }
        tokio::task::block_in_place(|| run(command, ""))
    };
    let mine = by(Some(&agent.url), &["owners", "list", &app]);
    assert_eq!((mine.code, mine.out.as_str()), (0, "alice\n"), "{}", mine.err);
    let unnamed = by(None, &["owners", "list", &app]);
    assert_eq!(unnamed.code, 2, "{}", unnamed.err);
    assert!(unnamed.err.contains("no server is named"), "{}", unnamed.err);
    let other = by(Some(&agent.url), &["tokens", "list"]);
    assert_eq!(other.code, 4, "{}", other.err);
    assert!(other.err.contains(&format!("is for read of {app}")), "{}", other.err);
    assert!(by(Some(&agent.url), &["whoami"]).out.contains(&format!("by a token for read of {app}")));

    // By its name, while that is one token's; else by the ids that the refusal names.
    let id = list.out.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let again = ["tokens", "create", "ci", "--app", &app, "--verb", "read"];
    assert_eq!(does(&home, &again).code, 0);
    let which = does(&home, &["tokens", "revoke", "ci"]);
    assert_eq!(which.code, 5, "{}", which.err);
    assert!(which.err.contains("2 tokens are called ci") && which.err.contains(&id), "{}", which.err);
    assert_eq!(does(&home, &["tokens", "revoke", &id]).code, 0);
    assert_eq!(does(&home, &["tokens", "revoke", "c"]).code, 6, "the beginning of a name is none");
    assert_eq!(does(&home, &["tokens", "revoke", "ci"]).code, 0);
    let spent = by(Some(&agent.url), &["owners", "list", &app]);
    assert_eq!(spent.code, 3, "{}", spent.err);
    assert!(spent.err.contains("TERREAU_TOKEN is set"), "{}", spent.err);
    let projects = does(&home, &["projects"]);
    assert!(projects.out.contains(&app) && projects.out.contains("alice"), "{}", projects.out);
}
