//! Screens of the documentation: commands typed into a real terminal (tmux), and what it then shows.
//!
//! `TERREAU_BLESS=1` records them anew. Without it a tour is walked all the same, and what the screens show must be what
//! the pictures say, but for what differs from run to run: ids, ports, times.

mod svg;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cli::Home;
use crate::harness::{Stack, StackOptions, eventually, terreau, unique};

const COLUMNS: u32 = 96;
const PROMPT: &str = "$ ";

/// A terminal, and a shell in it.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// A shell in `dir`, logged in as `home` is, which finds `terreau`.
    fn open(home: &Home, dir: &Path) -> Self {
        let it = Self { socket: unique("tour") };
        let program = terreau().parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths([program].into_iter().chain(std::env::split_paths(&path))).unwrap();
        let environment = home.command(dir, &[]);
        let mut tmux = it.tmux();
        tmux.env_clear();
        tmux.envs(environment.get_envs().filter_map(|(k, v)| Some((k, v?))));
        tmux.env("PATH", path).env("LANG", "C.UTF-8").env("TERM", "xterm-256color");
        tmux.args(["-f", "/dev/null", "new-session", "-d", "-x", &COLUMNS.to_string(), "-y", "200", "-c"]);
        tmux.arg(dir).arg(format!("exec env PS1='{PROMPT}' sh"));
        assert!(tmux.status().expect("tmux is there (scripts/needs --test)").success());
        it
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-u", "-L", &self.socket]);
        command
    }

    /// What the terminal shows, with its colours, without empty lines at the end.
    fn screen(&self) -> Vec<String> {
        let shown = self.tmux().args(["capture-pane", "-e", "-p"]).output().unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        while lines.last().is_some_and(|l| svg::plain(l).trim().is_empty()) {
            lines.pop();
        }
        lines
    }

    fn is_waiting(&self) -> bool {
        self.screen().last().is_some_and(|l| svg::plain(l).trim_end() == PROMPT.trim_end())
    }

    /// Types a command and waits until the shell asks for the next one.
    async fn types(&self, command: &str) {
        eventually("the shell asks for a command", Duration::from_secs(20), async || {
            self.is_waiting().then_some(())
        })
        .await;
        let sent = self.tmux().args(["send-keys", "-l", "--", command]).status().unwrap();
        assert!(sent.success());
        assert!(self.tmux().args(["send-keys", "Enter"]).status().unwrap().success());
        let typed = format!("{PROMPT}{command}");
        eventually(&format!("`{command}` has ended"), Duration::from_mins(1), async || {
            let screen = self.screen();
            let at = screen.iter().rposition(|l| svg::plain(l).trim_end() == typed)?;
            (at + 1 < screen.len() && self.is_waiting()).then_some(())
        })
        .await;
    }

    /// The picture of what is shown, without the last prompt.
    fn picture(&self, title: &str) -> (String, Vec<String>) {
        let mut lines = self.screen();
        lines.pop();
        let text = lines.iter().map(|l| svg::plain(l)).collect();
        (svg::picture(title, &lines, COLUMNS), text)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux().arg("kill-server").status();
    }
}

/// What a picture says, line by line.
fn said(svg: &str) -> Vec<String> {
    let lines = svg.lines().filter(|l| l.starts_with("<text"));
    let text = |line: &str| {
        let mut out = String::new();
        let mut rest = line;
        while let Some(begin) = rest.find('>') {
            rest = &rest[begin + 1..];
            let end = rest.find('<').unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        out.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
    };
    lines.map(text).collect()
}

/// Without what differs from run to run: ids, numbers, ages, and how wide they are.
pub fn essence(lines: &[String]) -> Vec<String> {
    let id = |w: &str| w.len() >= 8 && w.chars().all(|c| c.is_ascii_hexdigit());
    let word = |w: &str| {
        // Also in brackets, as `(1a2b3c4d):`.
        if id(w.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
            || w.starts_with(|c: char| c.is_ascii_digit())
        {
            return "#".to_owned();
        }
        w.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect()
    };
    let line = |l: &String| l.split_whitespace().map(word).collect::<Vec<_>>().join(" ").replace("##", "#");
    let mut found: Vec<String> = lines.iter().map(line).filter(|l| !l.is_empty()).collect();
    // How often an instance is seen on its way differs.
    found.retain(|l| !l.starts_with("instance "));
    found.dedup();
    found
}

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

/// Walks a tour and compares it with the picture of that name, or makes the picture.
async fn walk(terminal: &Terminal, name: &str, title: &str, commands: &[&str]) {
    for command in commands {
        terminal.types(command).await;
    }
    let (picture, text) = terminal.picture(title);
    let file = docs(name);
    if std::env::var_os("TERREAU_BLESS").is_some() {
        std::fs::write(&file, &picture).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let (kept, seen) = (essence(&said(&kept)), essence(&text));
    let old = format!("docs/{name} is old: TERREAU_BLESS=1 scripts/test screens records it anew");
    assert_eq!(kept, seen, "{old}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_of_the_readme_is_what_a_terminal_shows() {
    let stack = Stack::start(StackOptions::with_agent()).await;
    let home = Home::new();
    let (user, password) = stack.person();
    let login = ["login", "--server", &stack.api(), "--user", &user, "--password-stdin"];
    let ran =
        tokio::task::block_in_place(|| crate::cli::run(home.command(home.dir.path(), &login), &password));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let project = crate::tour::Project::named("carnet");
    let terminal = Terminal::open(&home, project.path());
    let tour = ["terreau deploy", "terreau scale web=2", "terreau status", "terreau stop", "terreau start"];
    walk(&terminal, "tour.svg", "A deploy and what follows, in a terminal", &tour).await;
}
