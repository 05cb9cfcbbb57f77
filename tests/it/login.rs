//! Accounts and sessions from the command line, against a real agent and directory.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use tokio::sync::OnceCell;

use crate::cli::{Home, Ran, run};
use crate::harness::{Stack, StackOptions};

/// One stack with an agent for this room.
pub async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    STACK.get_or_init(|| Stack::start(StackOptions::with_agent())).await
}

pub fn log_in(home: &Home, stack: &Stack, user: &str, password: &str) -> Ran {
    let args = ["login", "--server", &stack.api(), "--user", user, "--password-stdin"];
    run(home.command(home.dir.path(), &args), &format!("{password}\n"))
}

/// The saved token, `<id>.<secret>`.
pub fn token(home: &Home) -> String {
    let text = std::fs::read_to_string(home.config().join("session.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let sessions = json["sessions"].as_object().unwrap();
    sessions.values().next().unwrap()["token"].as_str().unwrap().to_owned()
}

/// Command lines of all processes that can be read.
fn command_lines() -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        // A process may end while it is looked at.
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        all.push_str(&String::from_utf8_lossy(&line).replace('\0', " "));
        all.push('\n');
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_01_a_login_prints_user_server_and_time_left_and_whoami_repeats_it() {
    let stack = stack().await;
    let (user, password) = stack.person();
    let home = Home::new();
    let r = log_in(&home, stack, &user, password.trim_end());
    assert_eq!(r.code, 0, "{}", r.err);
    for want in [user.as_str(), &stack.api(), "left"] {
        assert!(r.out.contains(want), "{want} in {}", r.out);
    }
    // PT-06: the server of the login governs every later call.
    let me = home.run(&["whoami"]);
    assert_eq!(me.code, 0, "{}", me.err);
    for want in [user.as_str(), &stack.api(), "left", "admin", stack.cluster()] {
        assert!(me.out.contains(want), "{want} in {}", me.out);
    }
    let json = home.run(&["whoami", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["user"], &json["server"]), (&user.as_str().into(), &stack.api().into()));
    assert!(json["seconds_left"].as_i64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_02_a_wrong_password_is_answered_the_same_for_known_and_unknown_users() {
    let stack = stack().await;
    let (user, _) = stack.person();
    let home = Home::new();
    let known = log_in(&home, stack, &user, "wrong-canary");
    let unknown = log_in(&home, stack, "nobody-of-that-name", "wrong-canary");
    assert_eq!((known.code, unknown.code), (3, 3), "{}", known.err);
    assert_eq!(known.err, unknown.err);
    assert!(!known.err.contains("canary") && !known.err.contains("log in with"), "{}", known.err);
    assert!(!home.config().exists(), "no session is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_03_a_logout_revokes_the_token_itself() {
    let stack = stack().await;
    let (user, password) = stack.person();
    let home = Home::new();
    assert_eq!(log_in(&home, stack, &user, password.trim_end()).code, 0);
    let token = token(&home);
    let replay = async || {
        let url = format!("{}/v1/whoami", stack.api());
        stack.http().get(url).bearer_auth(&token).send().await.unwrap().status().as_u16()
    };
    assert_eq!(replay().await, 200);
    let r = home.run(&["logout"]);
    assert_eq!(r.code, 0, "{}", r.err);
    assert_eq!(replay().await, 401);
    assert!(!home.config().join("session.json").exists());
    assert_eq!(home.run(&["whoami"]).code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_04_a_session_is_private_and_its_token_is_never_printed() {
    let stack = stack().await;
    let (user, password) = stack.person();
    let password = password.trim_end();
    let home = Home::new();
    let mut said = Vec::new();
    said.push(log_in(&home, stack, &user, password));
    let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home.config()), 0o700);
    assert_eq!(mode(&home.config().join("session.json")), 0o600);
    let token = token(&home);
    let secret = token.split_once('.').unwrap().1.to_owned();
    let api = stack.api();
    let cases: [&[&str]; 9] = [
        &["login", "--server", &api, "--user", &user, "--json", "--password-stdin"],
        &["whoami"],
        &["whoami", "--json"],
        &["status"],
        &["status", "not-there", "--json"],
        &["logs", "not-there"],
        &["rollback", "--app", "not-there"],
        &["operations", "follow", "01arz3ndektsv4rrffq69g5fav"],
        &["delete", "not-there", "--yes"],
    ];
    for args in cases {
        said.push(run(home.command(home.dir.path(), args), &format!("{password}\n")));
    }
    let second = self::token(&home);
    let second = second.split_once('.').unwrap().1;
    said.push(home.run(&["logout"]));
    for r in &said {
        for canary in [secret.as_str(), second, password] {
            assert!(!r.out.contains(canary) && !r.err.contains(canary), "{}{}", r.out, r.err);
        }
    }
    assert_eq!(said[5].code, 6, "what is not there exits 6: {}", said[5].err);
    // What the agent and the engines wrote, too.
    for log in logs(stack.dir()) {
        let text = std::fs::read(&log).unwrap_or_default();
        for canary in [secret.as_str(), second, password] {
            let found = text.windows(canary.len()).any(|w| w == canary.as_bytes());
            assert!(!found, "a secret stands in {}", log.display());
        }
    }
}

/// All logs of a stack.
pub fn logs(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(t) if t.is_dir() => open.push(path),
                Ok(t) if t.is_file() && path.extension().is_some_and(|e| e == "log") => found.push(path),
                _ => {}
            }
        }
    }
    assert!(!found.is_empty(), "there are logs to look at");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_05_no_process_list_shows_a_password_and_no_flag_takes_one() {
    let stack = stack().await;
    let (user, password) = stack.person();
    let password = password.trim_end();
    let home = Home::new();
    let args = ["login", "--server", &stack.api(), "--user", &user, "--password-stdin"];
    let mut command = home.command(home.dir.path(), &args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // It has the password and waits for the line's end.
    input.write_all(password.as_bytes()).unwrap();
    input.flush().unwrap();
    let seen = command_lines();
    assert!(seen.contains("--password-stdin"), "the login is under way");
    assert!(!seen.contains(password));
    let environment = std::fs::read(format!("/proc/{}/environ", child.id())).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains(password));
    input.write_all(b"\n").unwrap();
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for flag in ["--password", "-p", "--token"] {
        let r = home.run(&["login", "--server", &stack.api(), "--user", &user, flag, "x"]);
        assert_eq!(r.code, 2, "{flag}");
    }
}
