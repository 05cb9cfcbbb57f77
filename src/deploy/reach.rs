//! Reaching into a living instance: which one is meant, when nobody says, and a connection to a port of it. What is told
//! of it in the audit log. Who may do it was decided before.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::connects::Use;
use super::error::not_of_a_site;
use super::{Deployer, Error, is_missing, no_part};
use crate::engines::nomad::{AllocStub, Allocation, Port};
use crate::engines::{EngineError, Fault};
use crate::model::head::Wanted;
use crate::model::names::PartName;
use crate::model::project::port_label;
use crate::model::wire::{ConnectBegin, Started, Which};
use crate::model::{Head, Placement, ProcessName, Uid};
use crate::store::records::By;

/// How long an instance's port may take to answer.
const CONNECT: Duration = Duration::from_secs(5);
/// An instance that something is done in.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The app's identity.
    pub(super) uid: Uid,
    pub(super) alloc: String,
    pub(super) process: String,
    pub(super) task: String,
}

impl Reached {
    /// As it is told to people and programs.
    pub fn started(&self) -> Started {
        Started { instance: self.to_string(), alloc: self.alloc.clone(), run: None, is_folder: false }
    }
}

impl std::fmt::Display for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.process, self.alloc.get(..8).unwrap_or(&self.alloc))
    }
}

impl Deployer {
    /// Opens a connection to a declared port of an instance. The audit log hears of each use of it once, before.
    pub async fn connect(
        &self,
        by: &By,
        app: &Placement,
        what: &ConnectBegin,
    ) -> Result<(Reached, TcpStream), Error> {
        let at = self.instance(app, &what.which).await?;
        let whole = self.runner.hands().nomad.allocation(&at.alloc).await?;
        let ports = whole.as_ref().map(Allocation::ports).unwrap_or_default();
        let port = ports.iter().find(|p| is_meant(p, &what.port)).ok_or_else(|| {
            let names: Vec<String> =
                ports.iter().map(|p| format!("{} ({})", p.label.trim_end_matches("_port"), p.port)).collect();
            let has = if names.is_empty() { "no port".to_owned() } else { names.join(", ") };
            Error::NotFound(format!("{at} of {app} has no port {:?}; it has {has}", what.port))
        })?;
        let it = Use {
            login: by.login.clone(),
            app: app.clone(),
            alloc: at.alloc.clone(),
            port: port.port,
            purpose: what.purpose.clone().unwrap_or_default(),
        };
        if !self.connects.is_told(&it, Instant::now()) {
            let name = port.label.trim_end_matches("_port");
            let told = format!("port {name} ({}) of {at}", port.port);
            self.runner.tell(by, (app, &at.uid), "connect", told).await?;
            tracing::info!(login = by.login, %app, instance = %at, port = port.port, "connect");
            self.connects.remember(it, Instant::now());
        }
        let address = format!("{}:{}", port.host, port.port);
        let connected =
            tokio::time::timeout(CONNECT, TcpStream::connect((port.host.as_str(), port.port))).await;
        let away =
            |why: String| Error::Unreachable(format!("{at} of {app} does not answer at {address}: {why}"));
        let stream = connected.map_err(|_| away(format!("no answer within {} s", CONNECT.as_secs())))?;
        let stream = stream.map_err(|e| away(e.to_string()))?;
        // What is small is wanted at once; where it cannot be set, it still arrives.
        let _ = stream.set_nodelay(true);
        Ok((at, stream))
    }

    /// The living instance that is meant: healthy before not, new before old.
    pub(super) async fn instance(&self, app: &Placement, which: &Which) -> Result<Reached, Error> {
        let head = self.head(app).await?.value;
        not_of_a_site(&head, "no instance of it runs that could be reached")?;
        let all = self.runner.hands().nomad.allocations(app.namespace(), &app.flat()).await?;
        if let Some(prefix) = &which.alloc {
            let found: Vec<_> = all.iter().filter(|a| a.id.starts_with(prefix.as_str())).collect();
            return match found.as_slice() {
                [one] if one.client_status == "running" => Ok(reached(&head.uid, one)),
                [one] => Err(Error::NotFound(format!(
                    "instance {prefix} of {app} does not run: it is {}",
                    one.client_status
                ))),
                [] => Err(Error::NotFound(format!("{app} has no instance {prefix}"))),
                _ => Err(Error::Invalid(format!(
                    "several instances of {app} begin with {prefix}; give more digits"
                ))),
            };
        }
        let runs = |a: &&AllocStub| a.client_status == "running" && a.desired_status == "run";
        let living: Vec<&AllocStub> = all.iter().filter(runs).collect();
        let process = match &which.process {
            Some(name) => name.clone(),
            None => self.first_process(&head, &living).await,
        };
        let known: Vec<&str> = head.processes.keys().map(ProcessName::as_str).collect();
        if which.process.is_some() && !known.is_empty() && !known.contains(&process.as_str()) {
            return Err(no_part(app, "process", &process, &known));
        }
        let meant = living.into_iter().filter(|a| a.task_group == process);
        let is_ill = |a: &AllocStub| a.deployment_status.as_ref().is_some_and(|d| d.healthy != Some(true));
        let found = meant.min_by_key(|a| (is_ill(a), Reverse(a.create_index)));
        found.map(|a| reached(&head.uid, a)).ok_or_else(|| {
            let of = which.process.as_ref().map_or(String::new(), |p| format!(" of process {p}"));
            if head.wanted == Wanted::Stopped {
                return Error::Absent {
                    why: format!("{app} is stopped: no instance{of} runs"),
                    hint: format!(
                        "`terreau start {app}` starts it; `terreau run {app} -- PROGRAM` runs a program without it"
                    ),
                };
            }
            Error::Absent {
                why: format!("no instance{of} of {app} runs"),
                hint: format!("`terreau ps {app} --all` shows what its instances came to"),
            }
        })
    }

    /// The first process of the descriptor that has an instance.
    async fn first_process(&self, head: &Head, living: &[&AllocStub]) -> String {
        let release = self.current(head).await.ok().flatten();
        let project = release.and_then(|r| crate::descriptor::check("terreau.hcl", &r.descriptor).project);
        let names = project.map(|p| p.processes).unwrap_or_default();
        let found = names.iter().find(|p| living.iter().any(|a| a.task_group == p.name.as_str()));
        let any = || living.first().map_or_else(String::new, |a| a.task_group.clone());
        found.map_or_else(any, |p| p.name.to_string())
    }
}

fn reached(uid: &Uid, a: &AllocStub) -> Reached {
    let runs = |name: &&String| a.task_states[*name].state == "running";
    let own = a.task_states.keys().find(|t| **t == a.task_group);
    let task = own.or_else(|| a.task_states.keys().find(runs)).unwrap_or(&a.task_group);
    Reached { uid: uid.clone(), alloc: a.id.clone(), process: a.task_group.clone(), task: task.clone() }
}

/// `http` means the descriptor's port of this name, `8080` the one of this number.
fn is_meant(port: &Port, wanted: &str) -> bool {
    let named = PartName::new(wanted).is_ok_and(|name| port_label(&name) == port.label);
    named || port.label == wanted || wanted.parse() == Ok(port.port)
}

pub(super) fn not_there(app: &Placement, at: &Reached, e: EngineError) -> Error {
    if is_missing(&e) {
        return Error::NotFound(format!("instance {at} of {app} does not run any more"));
    }
    if e.fault == Fault::Invalid {
        return Error::Invalid(format!("{at} of {app}: {}", e.message));
    }
    e.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_meant_by_its_name_or_number() {
        let port = Port { label: "admin_ui_port".into(), host: "127.0.0.1".into(), port: 8080 };
        for wanted in ["admin-ui", "8080", "admin_ui_port"] {
            assert!(is_meant(&port, wanted), "{wanted}");
        }
        for other in ["admin", "80", ""] {
            assert!(!is_meant(&port, other), "{other}");
        }
    }
}
