//! The command line from outside: the real binary, its exit codes, stdout and stderr.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a command left behind.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A person's home: an own folder for the session file, nothing of the machine's environment.
pub struct Home {
    pub dir: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config/terreau")
    }
    pub fn command(&self, dir: &Path, args: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_terreau"));
        c.args(args)
            .current_dir(dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("XDG_CONFIG_HOME", self.dir.path().join("config"));
        c
    }
    pub fn run_in(&self, dir: &Path, args: &[&str], stdin: &str) -> Ran {
        run(self.command(dir, args), stdin)
    }
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_in(self.dir.path(), args, "")
    }
}

pub fn run(mut command: Command, stdin: &str) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A command that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A port of this machine where nobody listens.
fn dead_url() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", socket.local_addr().unwrap())
}

#[test]
fn wrong_usage_exits_2_and_says_what_is_allowed() {
    let home = Home::new();
    let cases: [&[&str]; 5] = [
        &["deply"],
        &["login"],
        &["login", "--user", "ada", "--password", "x", "--server", "http://127.0.0.1:1"],
        &["whoami", "--server", "ftp://x"],
        &[],
    ];
    for args in cases {
        let r = home.run(args);
        assert_eq!((r.code, r.out.as_str()), (2, ""), "{args:?}: {}", r.err);
        assert!(!r.err.is_empty(), "{args:?}");
    }
    assert!(home.run(&["logn"]).err.contains("login"), "the nearest command is named");
}

#[test]
fn help_and_version_are_data() {
    let home = Home::new();
    for args in [["--help"], ["--version"]] {
        let r = home.run(&args);
        assert_eq!((r.code, r.err.as_str()), (0, ""));
        assert!(r.out.contains("terreau"));
    }
}

#[test]
fn without_a_session_every_command_exits_3_and_does_nothing_else() {
    let home = Home::new();
    let dead = dead_url();
    let cases: [&[&str]; 2] = [&["whoami"], &["whoami", "--server", &dead]];
    for args in cases {
        let r = home.run(args);
        assert_eq!((r.code, r.out.as_str()), (3, ""), "{args:?}: {}", r.err);
        assert!(r.err.contains("not logged in") && r.err.contains("hint: "), "{}", r.err);
    }
    assert!(!home.config().exists());
}

#[test]
fn an_ended_session_exits_3_before_anything_is_sent() {
    let home = Home::new();
    let dead = dead_url();
    std::fs::create_dir_all(home.config()).unwrap();
    std::fs::write(
        home.config().join("session.json"),
        serde_json::json!({"current": dead, "sessions": {&dead: {
            "user": "ada", "token": "id.canary", "expires_at": "2020-01-01T00:00:00Z"}}})
        .to_string(),
    )
    .unwrap();
    let r = home.run(&["whoami"]);
    assert_eq!(r.code, 3, "{}", r.err);
    assert!(r.err.contains("has ended") && !r.err.contains("canary"), "{}", r.err);
}

#[test]
fn a_server_that_is_away_exits_7_and_is_named_with_what_to_do() {
    let home = Home::new();
    let dead = dead_url();
    let r = home.run_in(
        home.dir.path(),
        &["login", "--server", &dead, "--user", "ada", "--password-stdin"],
        "canary-password\n",
    );
    assert_eq!(r.code, 7, "{}", r.err);
    assert!(r.err.contains(&dead) && r.err.contains("hint: ") && r.err.contains("refused"), "{}", r.err);
    assert!(!r.err.contains("canary") && !r.out.contains("canary"));
    assert!(!home.config().exists(), "no session is written");
}

#[test]
fn a_password_never_crosses_a_network_in_the_clear_unasked() {
    let home = Home::new();
    let r = home.run_in(
        home.dir.path(),
        &["login", "--server", "http://terreau.example.org", "--user", "ada", "--password-stdin"],
        "canary\n",
    );
    assert_eq!(r.code, 2);
    assert!(r.err.contains("in the clear"), "{}", r.err);
}

#[test]
fn a_password_is_not_asked_for_where_there_is_no_terminal() {
    let r = Home::new().run(&["login", "--server", &dead_url(), "--user", "ada"]);
    assert_eq!(r.code, 2);
    assert!(r.err.contains("--password-stdin"), "{}", r.err);
}

#[test]
fn an_answer_that_is_not_terreaus_is_said_to_be_so_and_no_redirect_is_followed() {
    let home = Home::new();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        use std::io::Read;
        let (mut s, _) = socket.accept().unwrap();
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        // The body comes with a length; its last bytes are the password's.
        while !seen.windows(6).any(|w| w == b"canary") {
            let n = s.read(&mut buffer).unwrap();
            assert!(n > 0);
            seen.extend_from_slice(&buffer[..n]);
        }
        s.write_all(b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let r = home.run_in(
        home.dir.path(),
        &["login", "--server", &url, "--user", "ada", "--password-stdin"],
        "canary\n",
    );
    server.join().unwrap();
    assert_eq!(r.code, 1, "{}", r.err);
    assert!(r.err.contains("307") && r.err.contains("127.0.0.1:9"), "{}", r.err);
}

#[test]
fn completions_are_made_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let r = home.run(&["completions", shell]);
        assert_eq!(r.code, 0);
        assert!(r.out.contains("whoami"), "{shell}");
    }
}

#[test]
fn no_colour_is_written_into_a_pipe() {
    let r = Home::new().run(&["whoami"]);
    assert!(!r.err.contains('\u{1b}'));
}

/// Set `TERREAU_BLESS=1` to write it anew.
#[cfg(feature = "sandbox")]
#[test]
fn the_reference_is_what_the_help_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let want = terreau::cli::reference::markdown();
    if std::env::var_os("TERREAU_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, want).unwrap();
        return;
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(have == want, "docs/cli.md is old: TERREAU_BLESS=1 cargo test --test it cli::the_reference");
}
