//! Every command beside everything that may stand in its way: the exit code is the documented one.
//!
//! The rows are compared with the program's own list of commands, so that a new command is in the table or fails here.
//! `TERREAU_BLESS=1` writes `docs/exit-codes.md` anew.

mod plan;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::CommandFactory;
use serde_json::json;

use crate::cli::{Home, run};
use crate::harness::{Part, Stack, StackOptions, eventually, terreau};
use crate::tour::{Person, Project};

/// What a command is to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    /// Nothing but this machine.
    Nothing,
    /// A server, and nobody who is logged in.
    Server,
    /// Somebody who is logged in.
    Person,
    /// An app that may be read.
    ToRead,
    /// An app, and a right that goes beyond reading.
    Right,
    /// The same, and the app's lock.
    Lock,
    /// An app in which a program runs, whose exit code is ours: 125 is our own failure.
    Program,
}

/// `APP` stands for the app, `OPERATION` for one that is nobody's.
const TABLE: &[(&str, &[&str], Needs)] = &[
    ("login", &["--server", "SERVER", "--user", "nobody", "--password-stdin"], Needs::Server),
    ("logout", &[], Needs::Person),
    ("whoami", &[], Needs::Person),
    ("init", &[], Needs::Nothing),
    ("validate", &[], Needs::Nothing),
    ("render", &[], Needs::Nothing),
    ("plan", &[], Needs::Lock),
    ("deploy", &[], Needs::Lock),
    ("delete", &["APP", "--yes"], Needs::Lock),
    ("status", &["APP"], Needs::ToRead),
    ("ps", &["APP"], Needs::ToRead),
    ("top", &["APP", "--once"], Needs::ToRead),
    ("events", &["APP"], Needs::ToRead),
    ("logs", &["APP"], Needs::Right),
    ("exec", &["APP", "--", "true"], Needs::Program),
    ("run", &["APP", "--", "true"], Needs::Program),
    ("cp", &["APP:/tmp/none", "."], Needs::Right),
    ("proxy", &["APP", "http"], Needs::Right),
    ("open", &["APP", "--print"], Needs::ToRead),
    ("releases", &["APP"], Needs::ToRead),
    ("rollback", &["--app", "APP", "1"], Needs::Lock),
    ("diff", &["--app", "APP", "1"], Needs::Right),
    ("release export", &["--app", "APP", "1"], Needs::Right),
    // Any file: what is in it is looked at last.
    ("release import", &["--app", "APP", "terreau.hcl"], Needs::Right),
    ("graph", &["APP"], Needs::ToRead),
    ("start", &["APP"], Needs::Lock),
    ("stop", &["APP"], Needs::Lock),
    ("restart", &["APP"], Needs::Lock),
    ("scale", &["APP", "web=2"], Needs::Lock),
    ("maintenance on", &["APP"], Needs::Lock),
    ("maintenance off", &["APP"], Needs::Lock),
    ("server list", &[], Needs::Nothing),
    ("server use", &["nowhere"], Needs::Nothing),
    ("server remove", &["nowhere"], Needs::Nothing),
    ("tokens create", &["x", "--app", "APP", "--verb", "logs"], Needs::Right),
    ("tokens list", &[], Needs::Person),
    ("tokens revoke", &["0000"], Needs::ToRead),
    ("projects", &[], Needs::Person),
    ("projects transfer", &["APP", "--to", "me", "--yes"], Needs::Lock),
    ("owners list", &["APP"], Needs::ToRead),
    ("owners add", &["me", "--app", "APP"], Needs::Lock),
    ("owners remove", &["me", "--app", "APP"], Needs::Lock),
    ("users list", &[], Needs::Person),
    ("users show", &["nobody"], Needs::ToRead),
    ("users remove", &["nobody", "--yes"], Needs::ToRead),
    ("hook add", &["APP", "http://127.0.0.1:9/"], Needs::Right),
    ("hook list", &["APP"], Needs::Right),
    ("hook remove", &["APP", "0000"], Needs::Right),
    ("hook test", &["APP", "0000"], Needs::Right),
    ("env list", &["--app", "APP"], Needs::ToRead),
    ("env set", &["A=1", "--app", "APP"], Needs::Lock),
    ("env unset", &["A", "--app", "APP"], Needs::Lock),
    ("env import", &["settings.env", "--app", "APP"], Needs::Lock),
    ("env export", &["--app", "APP"], Needs::Right),
    ("env edit", &["--app", "APP"], Needs::Right),
    ("env history", &["--app", "APP"], Needs::ToRead),
    ("secret list", &["--app", "APP"], Needs::ToRead),
    ("secret set", &["api_key", "--stdin", "--app", "APP"], Needs::Lock),
    ("secret import", &["secrets.env", "--app", "APP"], Needs::Lock),
    ("secret export", &["--app", "APP"], Needs::Right),
    ("secret edit", &["--app", "APP"], Needs::Right),
    ("secret history", &["--app", "APP"], Needs::ToRead),
    ("operations follow", &["OPERATION"], Needs::ToRead),
    ("operations show", &["OPERATION"], Needs::ToRead),
    ("operations list", &[], Needs::Person),
    ("operations cancel", &["OPERATION"], Needs::ToRead),
    ("operations abandon", &["OPERATION", "--force"], Needs::ToRead),
    ("drift", &["--app", "APP"], Needs::ToRead),
    ("doctor", &[], Needs::Person),
    ("loops", &[], Needs::Person),
    ("audit list", &[], Needs::Person),
    ("audit verify", &[], Needs::Person),
    ("completions", &["bash"], Needs::Nothing),
    ("man", &["man1"], Needs::Nothing),
    ("dev", &["--no-such-thing"], Needs::Nothing),
    ("dev status", &[], Needs::Nothing),
    ("dev user", &["robin"], Needs::Nothing),
    ("dev stop", &[], Needs::Nothing),
    ("dev reset", &[], Needs::Nothing),
    ("agent", &[], Needs::Nothing),
];

/// What stands in the way.
const WAYS: [(&str, &str); 7] = [
    ("usage", "wrong usage"),
    ("nobody", "not logged in"),
    ("right", "not allowed"),
    ("missing", "no such app or operation"),
    ("server", "the server is away"),
    ("engine", "Consul is away"),
    ("lock", "somebody else is at it (`--no-wait`)"),
];

/// The documented exit code; `None`: it does not stand in this command's way.
fn documented(needs: Needs, way: &str) -> Option<i32> {
    let code = match way {
        "usage" => return Some(2),
        "lock" if needs == Needs::Program => return None,
        _ if needs == Needs::Program => return Some(125),
        "server" | "engine" if needs >= Needs::Server => 7,
        "nobody" if needs >= Needs::Person => 3,
        "missing" if needs >= Needs::ToRead => 6,
        "right" if needs >= Needs::Right => 4,
        "lock" if needs >= Needs::Lock => 5,
        _ => return None,
    };
    Some(code)
}

/// A first deploy of a name makes the app: for these no app is missing.
fn makes_apps(path: &str) -> bool {
    matches!(path, "deploy" | "plan" | "release import")
}

/// Every visible command that is one.
fn commands() -> Vec<String> {
    fn walk(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        for sub in command.get_subcommands().filter(|s| !s.is_hide_set() && s.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name()).trim_start().to_owned();
            if !sub.is_subcommand_required_set() {
                found.push(path.clone());
            }
            walk(sub, &path, found);
        }
    }
    let mut found = Vec::new();
    let mut line = terreau::cli::args::Line::command();
    line.build();
    walk(&line, "", &mut found);
    found
}

#[test]
fn every_command_has_a_row_in_the_table_of_exit_codes() {
    let rows: Vec<&str> = TABLE.iter().map(|(path, ..)| *path).collect();
    let commands = commands();
    let missing: Vec<_> = commands.iter().filter(|c| !rows.contains(&c.as_str())).collect();
    assert!(missing.is_empty(), "these commands have no row in TABLE: {missing:?}");
    let gone: Vec<_> = rows.iter().filter(|r| !commands.contains(&(**r).to_owned())).collect();
    assert!(gone.is_empty(), "these rows have no command: {gone:?}");
}

#[test]
fn the_documented_exit_codes_are_those_of_the_table() {
    let mut page = String::from(
        "# Exit codes\n\nMade by a test, which also tries each of them; edit `tests/it/exits.rs`, not this page.\n\n\
         Every command ends with 0 when what was asked for is so, with 1 when it was tried and failed, with 10 when a plan has\n\
         changes. `plan` ends with 0 where nothing would change, with 10 where something would, and with 5 where anything is in the\n\
         way: what it names (a host of another app, a name that rests, a service or a value that is missing), or a change of the\n\
         app that is under way. Where a part of an app, a person or an operation that was named is not there, it ends with 6 (and names the one\n\
         that was probably meant); where the app is in a state in which it cannot be done (`restart` of a stopped one), with 5.\n\
         Ctrl-C while a change is followed leaves it to go on, and ends with 130.\n\
         What may stand in its way:\n\n| command |",
    );
    for (_, words) in WAYS {
        let _ = write!(page, " {words} |");
    }
    page.push_str("\n|---|");
    page.push_str(&"---|".repeat(WAYS.len()));
    for (path, _, needs) in TABLE {
        let _ = write!(page, "\n| `{path}` |");
        for (way, _) in WAYS {
            let code = documented(*needs, way).filter(|_| !(way == "missing" && makes_apps(path)));
            let _ = write!(page, " {} |", code.map_or_else(|| "–".to_owned(), |c| c.to_string()));
        }
    }
    page.push('\n');
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/exit-codes.md");
    if std::env::var_os("TERREAU_BLESS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == page, "docs/exit-codes.md is old: TERREAU_BLESS=1 cargo test --test it exits");
}

/// An agent of this stack under other policies about people.
struct Strict {
    child: Child,
    url: String,
}

impl Strict {
    async fn start(stack: &Stack, law: &Path) -> Self {
        let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(terreau());
        command.arg("agent").arg("--config").arg(stack.agent_config());
        command.args([
            "--set",
            &format!("listen={at}"),
            "--set",
            &format!("policies.people={}", law.display()),
        ]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let it = Self { child, url: format!("http://{at}") };
        eventually("the strict agent is ready", Duration::from_secs(60), async || {
            let ready = stack.http().get(format!("{}/readyz", it.url)).send().await.ok()?;
            ready.status().is_success().then_some(())
        })
        .await;
        it
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs every command that this stands in the way of; gives those that end otherwise.
fn try_all(home: &Home, server: &str, dir: &Path, way: &str, app: &str, wrong: &mut Vec<String>) {
    let file = home.config().join("session.json");
    let session = std::fs::read(&file).ok();
    for (path, args, needs) in TABLE {
        let Some(code) = documented(*needs, way) else { continue };
        // With the directory there, a wrong password is refused before Consul is asked for anything.
        if (way, *path) == ("engine", "login") {
            continue;
        }
        if way == "missing" && makes_apps(path) {
            continue;
        }
        let mut line: Vec<String> = path.split(' ').map(str::to_owned).collect();
        if way == "usage" {
            line.push("--no-such-option".to_owned());
        }
        for arg in *args {
            line.push(match *arg {
                "SERVER" => server.to_owned(),
                "OPERATION" => "01arz3ndektsv4rrffq69g5fav".to_owned(),
                other => other.replace("APP", app),
            });
        }
        // A plan waits for nobody anyway.
        if way == "lock" && *path != "plan" {
            line.push("--no-wait".to_owned());
        }
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        // Some end the session, here or at the server's word: each begins with it.
        if let Some(session) = &session {
            std::fs::write(&file, session).unwrap();
        }
        let ran = tokio::task::block_in_place(|| run(home.command(dir, &line), "canary\n"));
        let silent = ran.err.trim().is_empty();
        if ran.code != code || silent || ran.err.contains("canary") || ran.err.contains("panicked") {
            wrong
                .push(format!("{way}: {line:?} ended with {}, not {code}: {}{}", ran.code, ran.out, ran.err));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_ends_with_the_documented_code_whatever_stands_in_its_way() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::start(StackOptions::with_agent()).await));
    let person = Person::of(stack);
    let app = Project::new();
    person.deploys(app.path());
    let mut wrong = Vec::new();
    let dir = app.path();
    std::fs::write(dir.join("settings.env"), "A=1\n").unwrap();
    std::fs::write(dir.join("secrets.env"), "api_key=12345678\n").unwrap();

    let stranger = Home::new();
    try_all(&stranger, &stack.api(), dir, "usage", &app.name, &mut wrong);
    try_all(&stranger, &stack.api(), dir, "nobody", &app.name, &mut wrong);
    try_all(&person.home, &stack.api(), dir, "missing", "nowhere", &mut wrong);

    // At an agent whose policies let everybody read, and nothing more.
    let law = tempfile::tempdir().unwrap();
    std::fs::write(law.path().join("own.cedar"), "permit(principal, action == Action::\"read\", resource);")
        .unwrap();
    let strict = Strict::start(stack, law.path()).await;
    let reader = Person::at(stack, &strict.url);
    try_all(&reader.home, &strict.url, dir, "right", &app.name, &mut wrong);
    drop(strict);

    // While somebody else holds the app.
    let session: serde_json::Value = {
        let url = format!("{}/v1/session/create", stack.consul());
        let body = json!({ "TTL": "600s", "NodeChecks": [], "Checks": [] });
        stack.http().put(url).json(&body).send().await.unwrap().json().await.unwrap()
    };
    let lock = terreau::store::keys::lock(&app.name.parse().unwrap());
    let holder = json!({ "v": 1, "agent": "01arz3ndektsv4rrffq69g5fav", "operation": "01arz3ndektsv4rrffq69g5faw",
        "login": "grace", "verb": "deploy" });
    let url = format!("{}/v1/kv/{lock}?acquire={}", stack.consul(), session["ID"].as_str().unwrap());
    let taken = stack.http().put(url).json(&holder).send().await.unwrap().text().await.unwrap();
    assert_eq!(taken.trim(), "true");
    app.version("two");
    try_all(&person.home, &stack.api(), dir, "lock", &app.name, &mut wrong);

    stack.kill(Part::Consul).await;
    try_all(&person.home, &stack.api(), dir, "engine", &app.name, &mut wrong);
    stack.kill(Part::Agent).await;
    try_all(&person.home, &stack.api(), dir, "server", &app.name, &mut wrong);
    assert!(wrong.is_empty(), "{} answers are not as documented:\n{}", wrong.len(), wrong.join("\n"));
}

/// These are about no app, or about one that an option of their own names.
fn is_about_no_app(path: &str) -> bool {
    const NONE: &[&str] = &[
        "login",
        "logout",
        "whoami",
        "init",
        "validate",
        "render",
        "server",
        "tokens",
        "projects",
        "users",
        "completions",
        "man",
        "dev",
        "agent",
        "operations follow",
        "operations show",
        "operations cancel",
        "operations abandon",
        "doctor",
        "loops",
        "audit verify",
    ];
    let named = path != "projects transfer" && path != "tokens create";
    named && NONE.iter().any(|n| path == *n || path.strip_prefix(n).is_some_and(|rest| rest.starts_with(' ')))
}

/// The rows again, each with the app taken out of its words.
#[test]
fn app_names_the_app_of_every_command_and_two_different_ones_are_a_usage_error() {
    let home = Home::new();
    let dir = home.dir.path().join("garden");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(
        dir.join("terreau.hcl"),
        "project \"carnet\" {\n  process \"web\" {\n    command = [\"sleep\", \"9\"]\n  }\n}\n",
    )
    .unwrap();
    for file in ["settings.env", "secrets.env"] {
        std::fs::write(dir.join(file), "api_key=12345678\n").unwrap();
    }
    let ask = |path: &str, args: &[String], app: &str| {
        let mut line: Vec<&str> = path.split(' ').chain(args.iter().map(String::as_str)).collect();
        // What stands after `--` is a program's.
        let end = line.iter().position(|a| *a == "--").unwrap_or(line.len());
        line.splice(end..end, ["--app", app]);
        home.run_in(&dir, &line, "value-value")
    };
    let mut wrong = Vec::new();
    for (path, args, needs) in TABLE.iter().filter(|(path, ..)| !is_about_no_app(path)) {
        let nobody = documented(*needs, "nobody").unwrap();
        let words: Vec<&str> = args
            .iter()
            .enumerate()
            .filter(|(n, a)| **a != "--app" && (*n == 0 || args[n - 1] != "--app"))
            .map(|(_, a)| *a)
            .collect();
        let bare: Vec<String> =
            words.iter().filter(|a| **a != "APP").map(|a| a.replace("APP:", ":")).collect();
        let alone = ask(path, &bare, "carnet@test");
        if alone.code != nobody {
            wrong.push(format!("{path} --app carnet@test ends with {}: {}", alone.code, alone.err));
        }
        if !words.iter().any(|a| a.starts_with("APP")) {
            continue;
        }
        let named: Vec<String> = words.iter().map(|a| a.replace("APP", "carnet@test")).collect();
        let (same, other) = (ask(path, &named, "carnet@test"), ask(path, &named, "jardin"));
        if (same.code, other.code) != (nobody, 2) || !other.err.contains("jardin") {
            wrong.push(format!("{path} twice: {} {}, {} {}", same.code, same.err, other.code, other.err));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_command_that_is_about_an_app_knows_app() {
    let mut line = terreau::cli::args::Line::command();
    line.build();
    let mut without = Vec::new();
    for path in commands().into_iter().filter(|p| !is_about_no_app(p)) {
        let found = path.split(' ').try_fold(&line, |c, name| c.find_subcommand(name)).unwrap();
        if !found.get_arguments().any(|a| a.get_long() == Some("app")) {
            without.push(path);
        }
    }
    assert!(without.is_empty(), "these commands do not take --app APP[@ENV]: {without:?}");
}
