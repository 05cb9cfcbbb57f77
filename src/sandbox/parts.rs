//! The parts of a stack: how each is started and how one sees that it is ready. `terreau dev` and the tests use
//! the same ones. Decides nothing about when to start or restart them.

use std::path::PathBuf;
use std::time::Duration;

use super::config::Layout;
use super::engines::Engines;
use super::ports::Ports;
use super::process::{Identity, Launch};
use super::{SandboxError, http};

/// One supervised process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The real Consul.
    Consul,
    /// The real Nomad, server and client.
    Nomad,
    /// The embedded Garage and directory.
    Sandbox,
    /// The development proxy.
    Proxy,
    /// Terreau's own agent.
    Agent,
}

impl Part {
    /// Every part, in the order in which they are started.
    pub const ALL: [Part; 5] = [Part::Consul, Part::Sandbox, Part::Nomad, Part::Proxy, Part::Agent];

    /// All engines are ready before what comes after this one is started.
    pub const BEFORE_AGENT: Part = Part::Proxy;

    /// Its name, as in `log/<name>.log`.
    pub fn name(self) -> &'static str {
        match self {
            Part::Consul => "consul",
            Part::Nomad => "nomad",
            Part::Sandbox => "sandbox",
            Part::Proxy => "proxy",
            Part::Agent => "agent",
        }
    }

    /// The ports that it listens on.
    pub fn ports(self, p: Ports) -> Vec<(&'static str, u16)> {
        match self {
            Part::Consul => vec![
                ("consul http", p.consul_http()),
                ("consul dns", p.consul_dns()),
                ("consul server", p.consul_server()),
                ("consul serf", p.consul_serf()),
            ],
            Part::Nomad => vec![
                ("nomad http", p.nomad_http()),
                ("nomad rpc", p.nomad_rpc()),
                ("nomad serf", p.nomad_serf()),
            ],
            Part::Sandbox => vec![
                ("garage s3", p.s3()),
                ("garage k2v", p.k2v()),
                ("garage web", p.web()),
                ("garage admin", p.garage_admin()),
                ("garage rpc", p.garage_rpc()),
                ("ldap", p.ldap()),
            ],
            Part::Proxy => vec![("proxy", p.proxy())],
            Part::Agent => vec![("agent", p.api())],
        }
    }

    /// The file that it reads; no other process has it on its command line.
    pub fn config_file(self, layout: &Layout) -> PathBuf {
        layout.path(match self {
            Part::Consul => "consul.json",
            Part::Nomad => "nomad.hcl",
            Part::Sandbox => "sandbox.toml",
            Part::Proxy => "proxy.toml",
            Part::Agent => "agent.toml",
        })
    }

    /// How it is started. `terreau` is our own program.
    pub fn launch(self, layout: &Layout, engines: &Engines, terreau: &std::path::Path) -> Launch {
        let file = self.config_file(layout).to_string_lossy().into_owned();
        let (program, words): (&std::path::Path, &[&str]) = match self {
            Part::Consul => (&engines.consul.path, &["agent", "-config-file"]),
            Part::Nomad => (&engines.nomad.path, &["agent", "-config"]),
            Part::Sandbox => (terreau, &["sandbox", "--config"]),
            Part::Proxy => (terreau, &["dev-proxy", "--config"]),
            Part::Agent => (terreau, &["agent", "--config"]),
        };
        let args = words.iter().map(|w| (*w).to_owned()).chain([file]).collect();
        Launch { program: program.to_owned(), args, env: vec![], log: layout.log(self.name()) }
    }

    /// True when it does what the others expect of it.
    pub async fn is_ready(self, layout: &Layout) -> bool {
        let p = layout.ports;
        let client = http::client(Duration::from_secs(2));
        match self {
            Part::Consul => {
                // Its own node in the catalogue: the leader works, and sessions can be made.
                let consul = Ports::url(p.consul_http());
                http::json(&client, &format!("{consul}/v1/health/node/{}", super::config::CLUSTER))
                    .await
                    .is_some_and(|checks| checks[0]["Status"] == "passing")
            }
            // A node that is ready and sees Consul: before that nothing with a service is placed.
            Part::Nomad => {
                let nomad = Ports::url(p.nomad_http());
                let Some(nodes) = http::json(&client, &format!("{nomad}/v1/nodes")).await else {
                    return false;
                };
                let Some(id) = nodes[0]["ID"].as_str().filter(|_| nodes[0]["Status"] == "ready") else {
                    return false;
                };
                http::json(&client, &format!("{nomad}/v1/node/{id}"))
                    .await
                    .is_some_and(|n| n["Attributes"]["consul.version"].is_string())
            }
            // S3 opens last, once the layout is in force; and an app that uses it is refused until the catalogue calls
            // it healthy. Where there is no Consul, there is no catalogue.
            Part::Sandbox => {
                let critical = format!("{}/v1/health/state/critical", Ports::url(p.consul_http()));
                tokio::net::TcpStream::connect(Ports::address(p.s3())).await.is_ok()
                    && http::json(&client, &critical).await.is_none_or(|checks| {
                        let ill = |name| {
                            checks.as_array().is_some_and(|c| c.iter().any(|c| c["ServiceName"] == name))
                        };
                        !layout.catalogue().into_iter().any(|(name, _)| ill(name))
                    })
            }
            Part::Proxy => self.is_open(layout).await,
            // It names each engine that it misses; 200 when it misses none.
            Part::Agent => http::answers(&client, &format!("{}/readyz", Ports::url(p.api()))).await,
        }
    }

    /// True as soon as others may be started that only look for its door.
    pub async fn is_open(self, layout: &Layout) -> bool {
        let (_, port) = self.ports(layout.ports)[0];
        tokio::net::TcpStream::connect(Ports::address(port)).await.is_ok()
    }

    /// Waits until it is ready. Fails at once when the process ends, and with its last words.
    pub async fn wait_ready(
        self,
        layout: &Layout,
        process: &Identity,
        patience: Duration,
    ) -> Result<Readiness, SandboxError> {
        let (stuck, since) = (std::cell::Cell::new(false), std::cell::Cell::new(None));
        self.wait(layout, process, patience, async || {
            if self.is_ready(layout).await {
                return true;
            }
            let now = tokio::time::Instant::now();
            since.set(if self.is_stuck(layout).await { since.get().or(Some(now)) } else { None });
            stuck.set(since.get().is_some_and(|s| now.duration_since(s) > Duration::from_millis(600)));
            stuck.get()
        })
        .await?;
        Ok(if stuck.get() { Readiness::Stuck } else { Readiness::Ready })
    }

    /// Nomad's client registers as soon as there is a leader; at the very first start that is often before the
    /// leader has made its signing key, and then the client waits 15 to 30 s. Seen on 1.11.1.
    async fn is_stuck(self, layout: &Layout) -> bool {
        if self != Part::Nomad {
            return false;
        }
        let client = http::client(Duration::from_secs(2));
        let nomad = Ports::url(layout.ports.nomad_http());
        let empty = |v: Option<serde_json::Value>| v.and_then(|v| v.as_array().map(Vec::is_empty));
        empty(http::json(&client, &format!("{nomad}/v1/nodes")).await) == Some(true)
            && empty(http::json(&client, &format!("{nomad}/v1/operator/keyring/keys")).await) == Some(false)
    }

    /// Waits until its door is open; the same otherwise.
    pub async fn wait_open(
        self,
        layout: &Layout,
        process: &Identity,
        patience: Duration,
    ) -> Result<(), SandboxError> {
        self.wait(layout, process, patience, async || self.is_open(layout).await).await
    }

    async fn wait(
        self,
        layout: &Layout,
        process: &Identity,
        patience: Duration,
        done: impl AsyncFn() -> bool,
    ) -> Result<(), SandboxError> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            // Looked at first: a stranger's answer on our port must not pass for a process that has ended.
            let lives = process.lives();
            if lives && done().await {
                return Ok(());
            }
            let message = if !lives {
                format!("ended before it was ready{}", last_words(layout, self))
            } else if tokio::time::Instant::now() > deadline {
                format!("was not ready within {} s{}", patience.as_secs(), last_words(layout, self))
            } else {
                tokio::time::sleep(Duration::from_millis(30)).await;
                continue;
            };
            return Err(SandboxError::Part { part: self.name(), message, log: layout.log(self.name()) });
        }
    }
}

/// What waiting came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It does its work.
    Ready,
    /// It would take long to; started again (killed, nothing is lost) it is quick.
    Stuck,
}

/// The last line of a part's log, if any.
fn last_words(layout: &Layout, part: Part) -> String {
    let text = std::fs::read(layout.log(part.name())).unwrap_or_default();
    let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(2000)..]).into_owned();
    tail.lines().rfind(|l| !l.trim().is_empty()).map(|l| format!(": {}", l.trim())).unwrap_or_default()
}
