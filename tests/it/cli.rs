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
            .env("XDG_CONFIG_HOME", self.dir.path().join("config"))
            // One that changes nothing: without a terminal, and without it, nothing is edited.
            .env("EDITOR", "true");
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
    assert!(home.run(&["deply"]).err.contains("deploy"), "the nearest command is named");
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

/// A doc comment on a command's variant hides the long text that its arguments have.
#[test]
fn the_long_help_of_commands_that_have_one_is_shown() {
    let home = Home::new();
    for (command, words) in [
        ("logs", "Nomad keeps no times"),
        ("exec", "The audit log keeps who"),
        ("run", "What is piped into this command"),
        ("cp", "Copy a file or a folder"),
        ("proxy", "Reach a port"),
        ("deploy", "Returns when the app answers its check"),
        ("scale", "The counts hold until they are set again"),
        ("login", "The password comes from a prompt"),
        ("start", "the same release and the same counts"),
        ("dev", "Each folder is a cluster of its own"),
    ] {
        let long = home.run(&[command, "--help"]);
        let text = long.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(long.code, 0);
        assert!(text.contains(words), "{command}: {text}");
        let short = home.run(&[command, "-h"]).out;
        let paragraphs = |t: &str| t.split("Usage:").next().unwrap().trim().split("\n\n").count();
        assert!(paragraphs(&long.out) > paragraphs(&short), "{command}");
    }
}

#[test]
fn without_a_session_every_command_exits_3_and_does_nothing_else() {
    let home = Home::new();
    let dead = dead_url();
    let cases: [&[&str]; 8] = [
        &["whoami"],
        &["whoami", "--server", &dead],
        &["status"],
        &["delete", "x"],
        &["logs", "x"],
        &["releases", "x"],
        &["rollback", "1", "--app", "x"],
        &["operations", "follow", OPERATION],
    ];
    for args in cases {
        let r = home.run(args);
        assert_eq!((r.code, r.out.as_str()), (3, ""), "{args:?}: {}", r.err);
        assert!(r.err.contains("not logged in") && r.err.contains("hint: "), "{}", r.err);
    }
    assert_eq!(home.run(&["logout", "--server", &dead]).code, 3);
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

/// A 200 with this JSON.
pub fn answer(body: &serde_json::Value) -> String {
    let body = body.to_string();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// A 404 that says this.
pub fn missing(detail: &str) -> String {
    let problem =
        serde_json::json!({ "type": "urn:terreau:problem:not_found", "title": "not found", "status": 404,
        "code": "not_found", "detail": detail })
        .to_string();
    format!(
        "HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
        Connection: close\r\n\r\n{problem}",
        problem.len()
    )
}

pub fn apps(names: &[&str]) -> serde_json::Value {
    let app = |n: &&str| serde_json::json!({ "app": n, "status": "running", "urls": [], "owners": [], "processes": [] });
    serde_json::json!({ "apps": names.iter().map(app).collect::<Vec<_>>() })
}

#[test]
fn completions_are_made_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let r = home.run(&["completions", shell]);
        assert_eq!(r.code, 0);
        assert!(r.out.contains("TERREAU_COMPLETE"), "{shell}: {}", r.out);
    }
}

#[test]
fn bash_completes_commands_options_and_the_names_of_apps() {
    let home = Home::new();
    let complete = |words: &[&str]| {
        let script = format!(
            "source <(terreau completions bash); COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9; \
             _clap_complete_terreau terreau {} ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words.len() - 1,
            words.last().unwrap()
        );
        let home = home.command(home.dir.path(), &[]);
        let program = Path::new(env!("CARGO_BIN_EXE_terreau")).parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths([program].into_iter().chain(std::env::split_paths(&path))).unwrap();
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &script]).env_clear();
        bash.envs(home.get_envs().filter_map(|(k, v)| Some((k, v?)))).env("PATH", path);
        let ran = run(bash, "");
        assert_eq!(ran.err, "", "a shell that completes says nothing");
        ran.out.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["terreau", "who"]), ["whoami"]);
    assert_eq!(complete(&["terreau", "logs", "--foll"]), ["--follow"]);
    assert_eq!(complete(&["terreau", "status", "car"]), [""; 0], "nobody is logged in");
    let (url, server) = scripted(vec![answer(&apps(&["carnet", "carnet@test", "jardin"]))]);
    log_in(&home, &url);
    assert_eq!(complete(&["terreau", "status", "car"]), ["carnet", "carnet@test"]);
    server.join().unwrap();
    assert_eq!(complete(&["terreau", "status", "car"]), [""; 0], "the server is away");
}

#[test]
fn a_name_that_is_nearly_right_is_suggested() {
    let home = Home::new();
    let r = home.run(&["statsu"]);
    assert_eq!(r.code, 2);
    assert!(r.err.ends_with("hint: did you mean `terreau status`?\n"), "{}", r.err);
    let r = home.run(&["hook", "create", "https://example.org"]);
    assert!(r.code == 2 && r.err.contains("did you mean `terreau hook add`?"), "{}", r.err);
    let (url, server) =
        scripted(vec![missing("there is no app carent"), answer(&apps(&["jardin", "carnet"]))]);
    log_in(&home, &url);
    let r = home.run(&["status", "carent"]);
    server.join().unwrap();
    assert_eq!(r.code, 6);
    assert!(r.err.contains("there is no app carent") && r.err.contains("did you mean carnet?"), "{}", r.err);
}

#[test]
fn every_command_has_a_manual_page() {
    let home = Home::new();
    let dir = home.dir.path().join("man1");
    let r = home.run(&["man", &dir.to_string_lossy()]);
    assert_eq!(r.code, 0, "{}", r.err);
    for page in ["terreau.1", "terreau-deploy.1", "terreau-operations-follow.1"] {
        let text = std::fs::read_to_string(dir.join(page)).unwrap();
        assert!(text.contains(".TH terreau"), "{page}: {text}");
    }
    let full = home.dir.path().join("a-file");
    std::fs::write(&full, "").unwrap();
    let r = home.run(&["man", &full.to_string_lossy()]);
    assert_eq!(r.code, 1, "{}", r.err);
    assert!(r.err.contains("a-file"), "{}", r.err);
}

#[test]
fn no_colour_is_written_into_a_pipe() {
    let r = Home::new().run(&["whoami"]);
    assert!(!r.err.contains('\u{1b}'));
}

const DESCRIPTOR: &str = r#"project "carnet" {
  build "archive" {
    dir = "."
  }
  process "web" {
    command = ["./server"]
    port "http" {}
    check "http" { path = "/healthz" }
    route "carnet.example.org" {}
  }
}
"#;

pub fn project(home: &Home, text: &str) -> PathBuf {
    let dir = home.dir.path().join("project");
    std::fs::create_dir_all(dir.join("deep/er")).unwrap();
    std::fs::write(dir.join("terreau.hcl"), text).unwrap();
    dir
}

#[test]
fn validate_accepts_the_descriptor_above_this_folder() {
    let home = Home::new();
    let dir = project(&home, DESCRIPTOR);
    let r = home.run_in(&dir.join("deep/er"), &["validate"], "");
    assert_eq!((r.code, r.out.as_str()), (0, ""), "{}", r.err);
    assert!(r.err.contains("carnet"));
    let r = home.run_in(&dir, &["validate", "--json"], "");
    let json: serde_json::Value = serde_json::from_str(&r.out).unwrap();
    assert_eq!((&json["valid"], &json["project"]), (&true.into(), &"carnet".into()));
}

#[test]
fn validate_names_every_fault_with_its_line_and_exits_1() {
    let home = Home::new();
    let dir =
        project(&home, &DESCRIPTOR.replace("port \"http\" {}", "prot \"http\" {}\n    instances = \"x\""));
    let r = home.run_in(&dir, &["validate"], "");
    assert_eq!((r.code, r.out.as_str()), (1, ""));
    assert!(r.err.contains("terreau.hcl:7:") && r.err.contains("terreau.hcl:8:"), "{}", r.err);
    let r = home.run_in(&dir, &["validate", "--json"], "");
    let json: serde_json::Value = serde_json::from_str(&r.out).unwrap();
    assert_eq!((r.code, &json["valid"]), (1, &false.into()));
    assert!(json["errors"].as_array().unwrap().len() >= 2);
}

#[test]
fn without_a_descriptor_it_is_said_what_writes_one() {
    let home = Home::new();
    for command in ["validate", "render", "deploy", "plan", "logs"] {
        let r = home.run(&[command]);
        assert_eq!((r.code, r.out.as_str()), (1, ""), "{command}: {}", r.err);
        assert!(r.err.contains("terreau init"), "{command}: {}", r.err);
    }
}

#[test]
fn render_prints_the_job_offline_twice_the_same() {
    let home = Home::new();
    let dir = project(&home, DESCRIPTOR);
    let hcl = home.run_in(&dir, &["render"], "");
    assert_eq!((hcl.code, hcl.err.as_str()), (0, ""));
    assert!(hcl.out.starts_with("# ") && hcl.out.contains("job \"carnet\""), "{}", hcl.out);
    assert_eq!(home.run_in(&dir, &["render"], "").out, hcl.out);
    let json = home.run_in(&dir, &["render", "--json"], "");
    let job: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(job["Job"]["ID"], "carnet");
    let other = home.run_in(&dir, &["render", "--environment", "preproduction"], "");
    assert!(other.out.contains("carnet--preproduction"));
}

#[test]
fn render_takes_a_clusters_settings_and_names_the_line_of_a_wrong_one() {
    let home = Home::new();
    let dir = project(&home, DESCRIPTOR);
    std::fs::write(dir.join("c.toml"), "sites = [\"neptune\"]\n").unwrap();
    let r = home.run_in(&dir, &["render", "--cluster", "c.toml"], "");
    assert!(r.code == 0 && r.out.contains("neptune"), "{}", r.err);
    std::fs::write(dir.join("c.toml"), "sitess = []\n").unwrap();
    let r = home.run_in(&dir, &["render", "--cluster", "c.toml"], "");
    assert!(r.code == 1 && r.err.contains("sitess"), "{}", r.err);
}

#[test]
fn init_writes_a_descriptor_that_validates_and_never_over_another() {
    let home = Home::new();
    for (name, file) in [("site", "index.html"), ("prog", "run")] {
        let dir = home.dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join(file), "x").unwrap();
        if file == "run" {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(dir.join(file), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let r = home.run_in(&dir, &["init"], "");
        assert_eq!(r.code, 0, "{}", r.err);
        let text = std::fs::read_to_string(dir.join("terreau.hcl")).unwrap();
        assert!(text.contains(&format!("project \"{name}\"")), "{text}");
        assert_eq!(home.run_in(&dir, &["validate"], "").code, 0, "{text}");
        let again = home.run_in(&dir, &["init", "other"], "");
        assert_eq!(again.code, 0);
        assert_eq!(std::fs::read_to_string(dir.join("terreau.hcl")).unwrap(), text);
    }
}

/// A session at a server that need not be there.
pub fn log_in(home: &Home, url: &str) {
    std::fs::create_dir_all(home.config()).unwrap();
    std::fs::write(
        home.config().join("session.json"),
        serde_json::json!({"current": url, "sessions": {url: {
            "user": "ada", "token": "id.canary", "expires_at": "2999-01-01T00:00:00Z"}}})
        .to_string(),
    )
    .unwrap();
}

#[test]
fn every_command_that_needs_a_server_exits_7_when_it_is_away() {
    let home = Home::new();
    let dir = project(&home, DESCRIPTOR);
    std::fs::write(dir.join("server"), "x").unwrap();
    log_in(&home, &dead_url());
    let cases: [&[&str]; 10] = [
        &["whoami"],
        &["plan"],
        &["deploy"],
        &["delete", "--yes"],
        &["status"],
        &["logs"],
        &["releases"],
        &["rollback"],
        &["rollback", "2", "--app", "other@staging"],
        &["logs", "acme/other", "--tail", "5", "--since", "10m"],
    ];
    for args in cases {
        let r = home.run_in(&dir, args, "");
        assert_eq!((r.code, r.out.as_str()), (7, ""), "{args:?}: {}", r.err);
        assert!(!r.err.contains("canary"), "{args:?}");
    }
}

#[test]
fn pt_69_delete_asks_for_the_name_and_the_end_of_input_aborts() {
    let home = Home::new();
    log_in(&home, &dead_url());
    for answer in ["", "carne\n", "y\n", "\n"] {
        let r = home.run_in(home.dir.path(), &["delete", "carnet"], answer);
        assert_eq!(r.code, 1, "{answer:?}: {}", r.err);
        assert!(r.err.contains("nothing was deleted"), "{}", r.err);
    }
    let r = home.run_in(home.dir.path(), &["delete", "carnet"], "carnet\n");
    assert_eq!(r.code, 7, "only now it is asked to delete: {}", r.err);
}

#[test]
fn a_descriptor_of_another_project_is_not_deployed_under_a_wrong_name() {
    let home = Home::new();
    let dir = project(&home, DESCRIPTOR);
    log_in(&home, &dead_url());
    let r = home.run_in(&dir, &["deploy", "other"], "");
    assert_eq!(r.code, 2, "{}", r.err);
}

/// A request's line and headers.
fn request_head(s: &mut std::net::TcpStream) -> String {
    use std::io::Read;
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = s.read(&mut buffer).unwrap();
        assert!(n > 0);
        seen.extend_from_slice(&buffer[..n]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// Answers each connection with the next text, and gives back what each one asked.
pub fn scripted(answers: Vec<String>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut s, _) = socket.accept().unwrap();
            asked.push(request_head(&mut s));
            s.write_all(answer.as_bytes()).unwrap();
        }
        asked
    });
    (url, server)
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
const OPERATION: &str = "01arz3ndektsv4rrffq69g5fav";

/// What is asked before an operation is followed: whether it is there.
fn view() -> String {
    answer(&serde_json::json!({ "id": OPERATION, "app": "carnet", "verb": "deploy", "actor": "ada",
        "at": "2026-01-01T00:00:00Z", "steps": [] }))
}

#[test]
fn pt_68_a_broken_event_stream_is_taken_up_where_it_stopped() {
    let step = |n: usize, state: &str| {
        format!(
            "id: {n}\nevent: progress\ndata: {{\"event\":\"step\",\"n\":1,\"of\":1,\"what\":\"job\",\"state\":\"{state}\"}}\n\n"
        )
    };
    let end = "id: 2\nevent: end\ndata: {\"outcome\":\"done\",\"summary\":\"release 1 runs\",\"url\":\"http://x.localhost/\"}\n\n";
    let (url, server) = scripted(vec![
        view(),
        format!("{STREAM}: alive\n\n{}", step(0, "begun")),
        "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
        format!("{STREAM}{}{end}", step(1, "done")),
    ]);
    let home = Home::new();
    log_in(&home, &url);
    let r = home.run(&["operations", "follow", OPERATION]);
    let asked = server.join().unwrap();
    assert_eq!((r.code, r.out.as_str()), (0, "http://x.localhost/\n"), "{}", r.err);
    assert!(r.err.contains("[1/1] job") && r.err.contains("waiting"), "{}", r.err);
    assert!(!asked[1].to_lowercase().contains("last-event-id"));
    assert!(asked[3].to_lowercase().contains("last-event-id: 0"), "{}", asked[3]);
}

#[test]
fn a_failed_operation_says_why_and_exits_1() {
    let end = "event: end\ndata: {\"outcome\":\"reverted\",\"summary\":\"release 2 crashed\",\"why\":\"exit code 3\\npanic!\\u001b[2J\"}\n\n";
    let (url, server) = scripted(vec![view(), format!("{STREAM}{end}")]);
    let home = Home::new();
    log_in(&home, &url);
    let r = home.run(&["operations", "follow", OPERATION]);
    server.join().unwrap();
    assert_eq!((r.code, r.out.as_str()), (1, ""));
    assert!(r.err.contains("release 2 crashed") && r.err.contains("  exit code 3\n  panic!"), "{}", r.err);
    assert!(!r.err.contains('\u{1b}'), "foreign text cannot steer the terminal");
}

#[test]
fn ctrl_c_stops_the_watching_and_says_how_to_go_on() {
    use std::io::{BufRead, BufReader};
    let step = "id: 0\nevent: progress\ndata: {\"event\":\"note\",\"text\":\"instance starts\"}\n\n";
    // The stream goes on as long as its socket is open.
    let mut open = Vec::new();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::new();
    log_in(&home, &format!("http://{}", socket.local_addr().unwrap()));
    let mut child = home
        .command(home.dir.path(), &["operations", "follow", OPERATION])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for answer in [view(), format!("{STREAM}{step}")] {
        let (mut s, _) = socket.accept().unwrap();
        request_head(&mut s);
        s.write_all(answer.as_bytes()).unwrap();
        open.push(s);
    }
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    err.read_line(&mut line).unwrap();
    assert!(line.contains("instance starts"), "{line}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut err, &mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(rest.contains(&format!("terreau operations follow {OPERATION}")), "{rest}");
}

#[test]
fn logs_are_exact_bytes() {
    let body = "a\r\nb\u{1b}[31m\u{0}c";
    let (url, server) = scripted(vec![format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )]);
    let home = Home::new();
    log_in(&home, &url);
    let r = home.run(&["logs", "acme/carnet@staging", "-n", "5", "--since", "10m", "--previous", "--raw"]);
    let asked = server.join().unwrap();
    assert_eq!((r.code, r.out.as_str()), (0, body));
    assert!(asked[0].starts_with("GET /v1/apps/acme%2Fcarnet@staging/logs?"), "{}", asked[0]);
    assert!(
        asked[0].contains("tail=5") && asked[0].contains("since=10m") && asked[0].contains("previous=true")
    );
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

/// Set `TERREAU_BLESS=1` to write them anew.
#[cfg(feature = "sandbox")]
#[test]
fn the_reference_of_json_is_made_of_what_is_printed() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (name, want) in [
        ("json.md", terreau::cli::shapes::markdown()),
        ("json-schema.json", terreau::cli::shapes::document()),
    ] {
        let path = docs.join(name);
        if std::env::var_os("TERREAU_BLESS").is_some() {
            std::fs::write(&path, want).unwrap();
            continue;
        }
        let have = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(have == want, "docs/{name} is old: TERREAU_BLESS=1 cargo test --test it the_reference");
    }
}
