//! What flows between people and instances: logs, shells, files, ports.

mod exec;
mod kept;
mod lines;
mod memory;
mod reach;
mod runs;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::OnceCell;

use crate::cli::{Home, Ran, run};
use crate::harness::{Stack, StackOptions, eventually, unique};

/// One stack with an agent for this room.
async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    STACK.get_or_init(|| Stack::start(StackOptions::with_agent())).await
}

/// Somebody who is logged in, with an app that talks.
struct Talker {
    stack: &'static Stack,
    home: Home,
    name: String,
    dir: tempfile::TempDir,
}

impl Talker {
    async fn new(what: &str) -> Self {
        Self::on(stack().await, what)
    }

    fn on(stack: &'static Stack, what: &str) -> Self {
        let home = Home::new();
        let (user, password) = stack.person();
        let args = ["login", "--server", &stack.api(), "--user", &user, "--password-stdin"];
        let ran = tokio::task::block_in_place(|| run(home.command(home.dir.path(), &args), &password));
        assert_eq!(ran.code, 0, "{}", ran.err);
        let it = Self { stack, home, name: unique(what), dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(it.path().join("app")).unwrap();
        std::fs::write(it.path().join("app/talk.py"), include_str!("talk.py")).unwrap();
        it
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes the descriptor: what stands in the process, and its variables.
    fn describe(&self, process: &str, env: &[(&str, &str)]) {
        let env: String = env.iter().map(|(k, v)| format!("      {k} = \"{v}\"\n")).collect();
        let text = format!(
            "project \"{}\" {{\n  build \"archive\" {{\n    dir = \"app\"\n  }}\n  process \"web\" {{\n    \
             command = [\"python3\", \"-u\", \"talk.py\"]\n    memory = \"32 MiB\"\n    cpu = 10\n    restart {{\n      \
             attempts = 0\n      mode = \"fail\"\n    }}\n{process}    env {{\n{env}    }}\n  }}\n}}\n",
            self.name
        );
        std::fs::write(self.path().join("terreau.hcl"), text).unwrap();
    }

    fn asks(&self, args: &[&str]) -> Ran {
        tokio::task::block_in_place(|| run(self.home.command(self.path(), args), ""))
    }

    fn expect(&self, code: i32, args: &[&str]) -> Ran {
        let ran = self.asks(args);
        assert_eq!(ran.code, code, "{args:?}\nout: {}\nerr: {}", ran.out, ran.err);
        ran
    }

    async fn json(&self, path: &str) -> Value {
        let reply = self.stack.http().get(format!("{}{path}", self.stack.nomad())).send().await.unwrap();
        if reply.status().is_success() { reply.json().await.unwrap() } else { Value::Null }
    }

    /// Its instances by id, with their state.
    async fn instances(&self) -> BTreeMap<String, String> {
        let all = self.json(&format!("/v1/job/{}/allocations", self.name)).await;
        let text = |a: &Value, key: &str| a[key].as_str().unwrap().to_owned();
        all.as_array().into_iter().flatten().map(|a| (text(a, "ID"), text(a, "ClientStatus"))).collect()
    }

    /// The only instance that runs.
    async fn running(&self) -> String {
        eventually("one instance runs", Duration::from_secs(40), async || {
            let live: Vec<_> = self.instances().await.into_iter().filter(|(_, s)| s == "running").collect();
            (live.len() == 1).then(|| live[0].0.clone())
        })
        .await
    }

    /// Waits until an instance has ended.
    async fn ended(&self, id: &str) {
        eventually("the instance has ended", Duration::from_secs(60), async || {
            self.instances().await.get(id).is_none_or(|s| s == "complete" || s == "failed").then_some(())
        })
        .await;
    }

    /// Waits until the logs say this.
    async fn says(&self, args: &[&str], word: &str) -> String {
        eventually(&format!("the logs say {word:?}"), Duration::from_secs(40), async || {
            let ran = self.asks(args);
            (ran.code == 0 && ran.out.contains(word)).then_some(ran.out)
        })
        .await
    }
}
