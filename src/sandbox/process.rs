//! Processes told apart by (pid, start time), so that a pid which the system gave to another program is never
//! taken for ours: found by that, or by a mark in their environment, and ended. Never ends anything else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::SandboxError;

/// The environment variable that marks every process of one stack; children and Nomad's tasks inherit it.
pub const MARK: &str = "TERREAU_STACK";

/// A process, beyond doubt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// Its process id.
    pub pid: u32,
    /// When it started, in clock ticks since the machine's start.
    pub started: u64,
    /// Which start of the machine.
    pub boot: String,
}

impl Identity {
    /// The living process of that pid. None when there is none, or only a zombie.
    pub fn of(pid: u32) -> Option<Self> {
        let started = start_time(pid)?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Some(Self { pid, started, boot: boot.trim().to_owned() })
    }

    /// True while this very process lives.
    pub fn lives(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Sends a signal to this very process. No error when it is gone already.
    pub fn signal(&self, signal: Signal) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        // The descriptor pins the process before its identity is looked at again: no race with pid reuse.
        if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
            && self.lives()
        {
            let _ = pidfd_send_signal(&handle, signal);
        }
    }

    /// SIGTERM, then SIGKILL when it still lives after `patience`.
    pub async fn end(&self, patience: Duration) {
        self.signal(Signal::TERM);
        if !self.gone_within(patience).await {
            self.signal(Signal::KILL);
            self.gone_within(Duration::from_secs(5)).await;
        }
    }

    /// Waits until it is gone; false when it still lives after `patience`.
    pub async fn gone_within(&self, patience: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + patience;
        while self.lives() {
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        true
    }
}

/// Field 22 of `/proc/<pid>/stat` (proc(5)); the name in field 2 may hold spaces and brackets.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    // The first thread of a killed program is a zombie before the others have let go of its sockets.
    if matches!(state, "Z" | "X")
        && std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count) <= 1
    {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The arguments of a process, as they were given.
pub fn arguments(pid: u32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect()
}

/// The processes of this machine.
pub fn all() -> impl Iterator<Item = u32> {
    let listing = std::fs::read_dir("/proc").ok().into_iter().flatten().flatten();
    listing.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// All living processes whose environment holds `MARK=mark`, but for ourselves.
pub fn marked(mark: &str) -> BTreeSet<u32> {
    let needle = format!("{MARK}={mark}");
    let mut found = BTreeSet::new();
    for pid in all() {
        if pid == std::process::id() {
            continue;
        }
        let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
        if environment.split(|b| *b == 0).any(|line| line == needle.as_bytes()) && start_time(pid).is_some() {
            found.insert(pid);
        }
    }
    found
}

/// Kills every process of the mark, and what it starts meanwhile, until none is left.
/// Returns those that could not be ended.
pub async fn kill_marked(mark: &str) -> BTreeSet<u32> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let living = marked(mark);
        if living.is_empty() || tokio::time::Instant::now() > deadline {
            return living;
        }
        for pid in living {
            if let Some(identity) = Identity::of(pid) {
                identity.signal(Signal::KILL);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a part keeps of the environment that it is started from.
const KEPT: [&str; 10] =
    ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "RUST_BACKTRACE", "RUST_LOG"];

/// How a part of a stack is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments. Never secret.
    pub args: Vec<String>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// Where its output goes, appended.
    pub log: PathBuf,
}

impl Launch {
    /// Starts it in a session of its own (so that it outlives us and our terminal), marked. The handle may be
    /// dropped: the process goes on.
    pub fn start(&self, mark: &str) -> Result<std::process::Child, SandboxError> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(SandboxError::file("open", &self.log))?;
        let errors = log.try_clone().map_err(SandboxError::file("open", &self.log))?;
        let mut command = detached(&self.program);
        // What stands in the user's own shell must not lead a part elsewhere (its file says all), nor reach apps: Nomad's
        // tasks inherit what Nomad has.
        command
            .env_clear()
            .envs(KEPT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .args(&self.args)
            .envs(self.env.iter().map(|(k, v)| (k.as_str(), v.as_str())))
            .env(MARK, mark)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        command.spawn().map_err(SandboxError::file("start", &self.program))
    }
}

/// A command in a session of its own: no signal of our terminal reaches it. By `setsid`, since only unsafe code
/// could do it between fork and exec; without it, a process group of its own is the next best.
pub fn detached(program: &Path) -> Command {
    if let Some(setsid) = super::engines::on_path("setsid") {
        let mut command = Command::new(setsid);
        command.arg(program);
        command
    } else {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(program);
        command.process_group(0);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_marked_process_is_found_by_its_mark_and_ended() {
        let mark = hex::encode(rand::random::<[u8; 8]>());
        let folder = tempfile::tempdir().unwrap();
        let launch = Launch {
            program: "/bin/sleep".into(),
            args: vec!["60".into()],
            env: vec![],
            log: folder.path().join("log"),
        };
        let mut child = launch.start(&mark).unwrap();
        let identity = Identity::of(child.id()).unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        while !marked(&mark).contains(&child.id()) {
            assert!(tokio::time::Instant::now() < deadline, "never marked");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(identity.lives());
        assert!(kill_marked(&mark).await.is_empty());
        assert!(!identity.lives(), "a zombie does not live");
        child.wait().unwrap();
    }

    #[test]
    fn a_part_sees_nothing_of_its_starters_own_environment() {
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let (program, env) = ("/usr/bin/env".into(), vec![("OWN".to_owned(), "1".to_owned())]);
        let mut child = Launch { program, args: vec![], env, log: log.clone() }.start("m").unwrap();
        assert!(child.wait().unwrap().success());
        let seen = std::fs::read_to_string(log).unwrap();
        assert!(seen.contains("OWN=1\n") && seen.contains("PATH=") && !seen.contains("CARGO"), "{seen}");
    }

    #[test]
    fn a_pid_of_another_start_is_not_taken_for_ours() {
        let mut identity = Identity::of(std::process::id()).unwrap();
        assert!(identity.lives());
        identity.started += 1;
        assert!(!identity.lives());
    }
}
