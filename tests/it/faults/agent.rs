//! A whole agent, in this process, with a gate before each engine and little patience; and the person who uses it.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use secrecy::ExposeSecret;
use terreau::agent::{Config, Sources, run_until};
use tokio::sync::OnceCell;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::gate::Gate;
use crate::cli::{Home, run};
use crate::harness::person::{Ended, Watched};
use crate::harness::{Stack, StackOptions, eventually, unique};

/// The engines of this room: they stay well, and are ill only as seen through a gate.
pub async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    STACK.get_or_init(|| Stack::start(StackOptions::engines())).await
}

/// How long the agent waits for an engine's answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The setting that holds each engine's address.
const ENGINES: [(&str, &str); 5] = [
    ("consul", "consul.address"),
    ("nomad", "nomad.address"),
    ("directory", "directory.url"),
    ("garage", "garage.admin"),
    ("s3", "garage.s3"),
];

/// A gate before each engine of a stack, and what an agent is told to go through them.
pub struct Gates(Vec<(&'static str, &'static str, Gate)>);

impl Gates {
    pub async fn before(stack: &Stack) -> Self {
        let real = [stack.consul(), stack.nomad(), stack.ldap(), stack.garage_admin(), stack.s3()];
        let mut gates = Vec::new();
        for ((name, setting), url) in ENGINES.into_iter().zip(real) {
            gates.push((name, setting, Gate::before(&url).await));
        }
        Self(gates)
    }

    pub fn of(&self, engine: &str) -> &Gate {
        &self.0.iter().find(|(name, ..)| *name == engine).unwrap().2
    }

    /// The engine's address, through its gate.
    pub fn url(&self, engine: &str) -> String {
        let scheme = if engine == "directory" { "ldap" } else { "http" };
        format!("{scheme}://{}", self.of(engine).at)
    }

    pub fn settings(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(name, setting, _)| ((*setting).to_owned(), self.url(name))).collect()
    }
}

/// A port where nobody listens.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The agent, and a person who is logged in there.
pub struct Agent<'a> {
    pub gates: Gates,
    pub url: String,
    pub stack: &'a Stack,
    home: Home,
    said: Mutex<String>,
    _stop: DropGuard,
}

impl<'a> Agent<'a> {
    pub async fn start(stack: &'a Stack) -> Self {
        let gates = Gates::before(stack).await;
        let port = free_port();
        let mut flags = gates.settings();
        flags.push(("listen".to_owned(), format!("127.0.0.1:{port}")));
        flags.push(("name".to_owned(), unique("gated")));
        let sources = Sources { flags, env: Vec::new(), file: Some(stack.agent_config()) };
        let mut config = Config::load(&sources).unwrap();
        for options in [&mut config.consul.options, &mut config.nomad.options, &mut config.garage.options] {
            options.timeout = PATIENCE;
        }
        config.directory.timeout = PATIENCE;
        let stop = CancellationToken::new();
        let running = run_until(config, stop.clone());
        tokio::spawn(async move { running.await.unwrap() });
        let url = format!("http://127.0.0.1:{port}");
        let home = Home::new();
        let said = Mutex::default();
        let agent = Self { gates, url, stack, home, said, _stop: stop.drop_guard() };
        agent.ready().await;
        agent.log_in();
        agent
    }

    /// Waits until every engine is well again for the agent.
    pub async fn ready(&self) {
        let ready = format!("{}/readyz", self.url);
        eventually("the agent is ready", Duration::from_secs(60), async || {
            let answer = self.stack.http().get(&ready).send().await.ok();
            if answer.is_some_and(|a| a.status().is_success()) {
                return Some(());
            }
            // The agent itself asks no more often than once a second.
            tokio::time::sleep(Duration::from_millis(200)).await;
            None
        })
        .await;
    }

    fn log_in(&self) {
        let (user, password) = self.stack.person();
        let args = ["login", "--server", &self.url, "--user", &user, "--password-stdin"];
        let command = self.home.command(self.home.dir.path(), &args);
        let ran = tokio::task::block_in_place(|| run(command, &format!("{}\n", password.trim_end())));
        assert_eq!(ran.code, 0, "{}", ran.err);
    }

    pub fn command(&self, dir: &Path, args: &[&str]) -> Command {
        self.home.command(dir, args)
    }

    /// A command that runs.
    pub fn begins(&self, dir: &Path, args: &[&str]) -> Watched {
        Watched::begin(self.command(dir, args))
    }

    /// Keeps what was said, for [`Agent::has_said_no_secret`].
    pub fn heard(&self, ended: Ended) -> Ended {
        let mut said = self.said.lock().unwrap();
        said.push_str(&ended.out);
        said.push_str(&ended.said.join("\n"));
        ended
    }

    /// Runs a command to its end.
    pub async fn runs(&self, dir: &Path, args: &[&str], patience: Duration) -> Ended {
        let ended = self.begins(dir, args).end(patience).await;
        self.heard(ended)
    }

    /// Nothing that was said holds any of the agent's, the person's or these secrets.
    pub fn has_said_no_secret(&self, more: &[String]) {
        let key: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(self.stack.layout.key_file()).unwrap()).unwrap();
        let secrets = [
            self.stack.admin_token().expose_secret().to_owned(),
            self.stack.service_password().trim_end().to_owned(),
            self.stack.person().1.trim_end().to_owned(),
            crate::login::token(&self.home).split_once('.').unwrap().1.to_owned(),
            key["secret"].as_str().unwrap().to_owned(),
        ];
        let said = self.said.lock().unwrap();
        for secret in secrets.iter().chain(more) {
            assert!(!said.contains(secret.as_str()), "a secret was said: {said}");
        }
    }
}
