//! What is asked on a terminal: nothing of the answer is shown, and the terminal is left as it was.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::cli::Home;
use crate::harness::unique;
use crate::login::{log_in, stack};

/// A shell line on a terminal of its own: `script`, of every Debian's base system, makes one.
pub struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    /// All that the person has seen.
    shown: Vec<u8>,
}

impl Terminal {
    pub fn run(home: &Home, dir: &Path, line: &str) -> Self {
        // The shell outlives Ctrl-C, to say what is left.
        let line = format!("trap : INT; {line}; echo exit=$?; stty -a");
        let line = line.replace("terreau ", &format!("{} ", env!("CARGO_BIN_EXE_terreau")));
        // A question that nobody answers ends.
        let mut command = Command::new("timeout");
        command
            .args(["120", "script", "--quiet", "--flush", "--command", &line, "/dev/null"])
            .current_dir(dir)
            .env_clear();
        let environment = home.command(dir, &[]);
        command.envs(environment.get_envs().filter_map(|(k, v)| Some((k, v?)))).env("SHELL", "/bin/sh");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self { keyboard: child.stdin.take().unwrap(), child, shown: Vec::new() }
    }

    /// Reads until this stands at the end, then types.
    pub fn answer(&mut self, question: &str, keys: &str) {
        let mut byte = [0];
        while !self.shown.ends_with(question.as_bytes()) {
            let n = self.child.stdout.as_mut().unwrap().read(&mut byte).unwrap();
            assert!(n > 0, "ended before {question:?}: {}", String::from_utf8_lossy(&self.shown));
            self.shown.extend_from_slice(&byte);
        }
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// All that was shown; the echo is on again.
    pub fn end(mut self) -> String {
        self.child.stdout.as_mut().unwrap().read_to_end(&mut self.shown).unwrap();
        self.child.wait().unwrap();
        let shown = String::from_utf8_lossy(&self.shown).into_owned();
        let modes: Vec<_> = shown.split_whitespace().collect();
        assert!(modes.contains(&"echo") && !modes.contains(&"-echo"), "the echo is on again: {shown}");
        shown
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_05_the_prompt_shows_nothing_of_what_is_typed() {
    let stack = stack().await;
    let (user, password) = stack.person();
    let password = password.trim_end();
    let home = Home::new();
    let line = format!("terreau login --server {} --user {user}", stack.api());
    // Typed at once: the echo is off before the question stands there.
    let mut terminal = Terminal::run(&home, home.dir.path(), &line);
    terminal.answer(": ", &format!("{password}\n"));
    let shown = terminal.end();
    assert!(shown.contains("logged in as") && shown.contains("exit=0"), "{shown}");
    assert!(!shown.contains(password), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_at_a_prompt_gives_up_and_leaves_the_terminal_as_it_was() {
    let stack = stack().await;
    let home = Home::new();
    let line = format!("terreau login --server {} --user {}", stack.api(), stack.person().0);
    let mut terminal = Terminal::run(&home, home.dir.path(), &line);
    terminal.answer(": ", "half\u{3}");
    let shown = terminal.end();
    assert!(shown.contains("given up") && shown.contains("exit=1"), "{shown}");
    assert!(!shown.contains("half"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_60_a_deploy_on_a_terminal_asks_for_the_secrets_that_have_no_value() {
    let stack = stack().await;
    let (user, password) = stack.person();
    let home = Home::new();
    assert_eq!(log_in(&home, stack, &user, password.trim_end()).code, 0);
    let dir = tempfile::tempdir().unwrap();
    let name = unique("asked");
    let text = format!(
        r#"project "{name}" {{
  build "archive" {{
    dir = "app"
  }}
  process "web" {{
    command = ["sleep", "1000"]
    env {{
      MAIL = secret.mail
    }}
  }}
  secret "mail" {{
    type        = "user"
    description = "the mailbox's password"
  }}
}}
"#
    );
    std::fs::create_dir(dir.path().join("app")).unwrap();
    std::fs::write(dir.path().join("app/readme"), "nothing").unwrap();
    std::fs::write(dir.path().join("terreau.hcl"), text).unwrap();

    // In a pipe nothing can be asked: what is missing is named, and nothing happens.
    let refused = home.run_in(dir.path(), &["deploy"], "");
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.err.contains("mail: the mailbox's password"), "{}", refused.err);
    assert_eq!(home.run_in(dir.path(), &["status", &name], "").code, 6);

    let canary = unique("canary");
    let mut terminal = Terminal::run(&home, dir.path(), "terreau deploy");
    terminal.answer("Secret mail (the mailbox's password): ", &format!("{canary}\n"));
    let shown = terminal.end();
    assert!(shown.contains("exit=0") && !shown.contains(&canary), "{shown}");
    let kept = stack.http().get(format!("{}/v1/kv/secrets/{name}/mail?raw", stack.consul())).send().await;
    assert_eq!(kept.unwrap().text().await.unwrap(), canary, "it is kept as it was typed");
    // A name that is not declared is refused before its value is asked for.
    for (name, why) in [("mial", "did you mean mail?"), ("zzz", "declares no secret zzz")] {
        let shown = Terminal::run(&home, dir.path(), &format!("terreau secret set {name}")).end();
        assert!(shown.contains(why) && shown.contains("exit=6"), "{shown}");
        assert!(!shown.contains(&format!("Secret {name}")), "{shown}");
    }
    // Nobody is put into an editor that they did not name without its name.
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("sensible-editor"), "#!/bin/sh\ncat $1\n").unwrap();
    std::fs::set_permissions(bin.join("sensible-editor"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let line = "EDITOR= PATH=$PWD/bin:$PATH terreau env edit";
    let shown = Terminal::run(&home, dir.path(), line).end();
    assert!(shown.contains("opening sensible-editor") && shown.contains("exit=0"), "{shown}");
    // What is known is asked for no more.
    let again = home.run_in(dir.path(), &["deploy"], "");
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(again.err.contains("no changes"), "{}", again.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_asks_who_it_is_where_that_is_not_said() {
    let stack = stack().await;
    let (user, password) = stack.person();
    let password = password.trim_end();
    let home = Home::new();
    // Whoever works here is the default; another name can be typed; what is none is refused before a password is asked for.
    for (here, question, typed) in
        [(user.as_str(), format!("Login [{user}]: "), ""), ("", "Login: ".to_owned(), user.as_str())]
    {
        let line = format!("USER={here} terreau login --server {}", stack.api());
        let mut terminal = Terminal::run(&home, home.dir.path(), &line);
        terminal.answer(&question, &format!("{typed}\n"));
        terminal.answer(&format!("Password of {user}: "), &format!("{password}\n"));
        let shown = terminal.end();
        assert!(shown.contains(&format!("logged in as {user}")) && shown.contains("exit=0"), "{shown}");
        assert!(!shown.contains(password), "{shown}");
    }
    let mut terminal =
        Terminal::run(&home, home.dir.path(), &format!("terreau login --server {}", stack.api()));
    terminal.answer("Login: ", "Not A Login\n");
    let shown = terminal.end();
    assert!(shown.contains("exit=2") && !shown.contains("Password of"), "{shown}");
    // In a pipe nothing is asked for.
    for more in [&[][..], &["--password-stdin"]] {
        let refused =
            home.run_in(home.dir.path(), &[&["login", "--server", &stack.api()], more].concat(), "canary\n");
        assert_eq!(refused.code, 2, "{}", refused.err);
        assert!(refused.err.contains("--user NAME") && !refused.err.contains("canary"), "{}", refused.err);
    }
}
