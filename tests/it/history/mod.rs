//! What people see and do of changes: waiting for one's turn, operations, releases and what differs, held canaries, the
//! graph. The real command line, real agents, the real engines.

mod abandon;
mod again;
mod alone;
mod cancel;
mod graph;
mod held;
mod releases;
mod transfer;
mod values;
mod waiting;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::OnceCell;

use crate::cli::{Home, Ran, run};
use crate::harness::person::Watched;
use crate::harness::{Stack, StackOptions, unique};

/// Generous: some machines build beside their tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// One stack with an agent for this room: nothing of it is killed.
async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    STACK.get_or_init(|| Stack::start(StackOptions::with_agent())).await
}

async fn json(stack: &Stack, url: String) -> Value {
    stack.http().get(url).send().await.unwrap().json().await.unwrap()
}

/// Somebody who is logged in.
struct Person {
    home: Home,
}

impl Person {
    fn of(stack: &Stack) -> Self {
        Self::at(stack, &stack.api())
    }

    fn at(stack: &Stack, server: &str) -> Self {
        let home = Home::new();
        let (user, password) = stack.person();
        let args = ["login", "--server", server, "--user", &user, "--password-stdin"];
        let ran = tokio::task::block_in_place(|| run(home.command(home.dir.path(), &args), &password));
        assert_eq!(ran.code, 0, "{}", ran.err);
        Self { home }
    }

    fn asks(&self, dir: &Path, args: &[&str]) -> Ran {
        tokio::task::block_in_place(|| run(self.home.command(dir, args), ""))
    }

    /// Runs a command that must end with this code.
    fn expect(&self, code: i32, dir: &Path, args: &[&str]) -> Ran {
        let ran = self.asks(dir, args);
        assert_eq!(ran.code, code, "{args:?}\nout: {}\nerr: {}", ran.out, ran.err);
        ran
    }

    fn json(&self, dir: &Path, args: &[&str]) -> Value {
        serde_json::from_str(&self.expect(0, dir, args).out).unwrap()
    }

    /// Begins a command and watches it.
    fn begins(&self, dir: &Path, args: &[&str]) -> Watched {
        Watched::begin(self.home.command(dir, args))
    }
}

/// A project's folder: a server whose process says what it is asked for, `after` seconds after its start.
struct Project {
    name: String,
    dir: tempfile::TempDir,
}

impl Project {
    fn new(prefix: &str) -> Self {
        let it = Self { name: unique(prefix), dir: tempfile::tempdir().unwrap() };
        it.says("one", 0);
        it
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The next release has this in its environment, and serves after so many seconds.
    fn says(&self, value: &str, after: u32) {
        self.writes(&format!("env = {{ SAYS = \"{value}\" }}"), "", after);
    }

    /// The same release is slow to listen while there is such a file.
    fn says_unless(&self, value: &str, slow: &Path) {
        let project = format!("env = {{ SAYS = \"{value}\" }}");
        self.writes_program(&project, "", &format!("test ! -e {} || sleep 3600", slow.display()));
    }

    fn writes(&self, project: &str, process: &str, after: u32) {
        self.writes_program(project, process, &format!("sleep {after}"));
    }

    fn writes_program(&self, project: &str, process: &str, before: &str) {
        let text = format!(
            r#"project "{name}" {{
  process "web" {{
    command = ["/bin/sh", "-c", "{before}; exec /usr/bin/python3 -m http.server --bind 127.0.0.1 $PORT"]
    port "http" {{}}
    check "http" {{ path = "/" }}
    route "{name}.example.org" {{}}
    env = {{ PORT = port.http }}
    {process}
  }}
  {project}
}}
"#,
            name = self.name,
        );
        std::fs::write(self.path().join("terreau.hcl"), text).unwrap();
    }
}
