//! The job as plain data, on its way to JSON and HCL.
//!
//! Every string in here is as Nomad's API takes it: references to Nomad's runtime (`${NOMAD_PORT_http_port}`) are
//! live, and literal text is already made harmless (see `value`). Nothing in here decides anything.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

/// A service job.
pub(super) struct Job {
    pub id: String,
    pub namespace: String,
    pub datacenters: Vec<String>,
    /// Our mark, constant for life: a change of meta replaces every allocation.
    pub mark: String,
    pub groups: Vec<Group>,
}

/// A task group: one process.
pub(super) struct Group {
    pub name: String,
    pub count: u32,
    /// The node, by name, that holds the volumes.
    pub node: Option<String>,
    pub update: Update,
    pub restart: Restart,
    /// Disk in MiB, where its logs may take more than Nomad's default leaves room for.
    pub disk: Option<u32>,
    pub ports: Vec<Port>,
    pub host_volumes: Vec<HostVolume>,
    pub tasks: Vec<Task>,
}

pub(super) struct Update {
    pub max_parallel: u32,
    pub canary: u32,
    pub min_healthy_time: Duration,
    pub healthy_deadline: Duration,
    pub progress_deadline: Duration,
    pub auto_revert: bool,
    pub auto_promote: bool,
}

pub(super) struct Restart {
    pub attempts: u32,
    pub interval: Duration,
    pub delay: Duration,
    pub mode: &'static str,
}

pub(super) struct Port {
    pub label: String,
    pub fixed: Option<u16>,
}

/// A Nomad host volume.
pub(super) struct HostVolume {
    pub name: String,
    pub source: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Main,
    /// Runs to its end before the main task starts.
    Prestart,
}

pub(super) struct Task {
    pub name: String,
    pub role: Role,
    pub driver: String,
    /// In the order in which they are printed.
    pub config: Vec<(String, Value)>,
    pub env: BTreeMap<String, String>,
    pub artifacts: Vec<Artifact>,
    pub templates: Vec<Template>,
    pub services: Vec<Service>,
    pub mounts: Vec<Mount>,
    pub cpu: u32,
    pub memory: u32,
    pub kill_timeout: Option<Duration>,
    pub shutdown_delay: Option<Duration>,
    /// Files, and MiB of each.
    pub logs: Option<(u32, u32)>,
}

pub(super) struct Artifact {
    pub source: String,
    pub checksum: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Pinned values never change: nothing is to be done.
    Noop,
    /// Follows the catalogue.
    Restart,
}

pub(super) struct Template {
    pub data: String,
    pub destination: String,
    pub env: bool,
    pub perms: String,
    pub change: Change,
    /// Left and right; `None`: `{{` and `}}`.
    pub delimiters: Option<(String, String)>,
}

pub(super) struct Service {
    pub name: String,
    pub port: String,
    pub tags: Vec<String>,
    pub checks: Vec<Check>,
}

pub(super) struct Check {
    pub name: String,
    /// `http` or `tcp`.
    pub kind: &'static str,
    pub path: Option<String>,
    pub interval: Duration,
    pub timeout: Duration,
    /// How many checks in a row fail before visitors are kept away.
    pub failures: u32,
    pub limit: u32,
    pub grace: Duration,
}

pub(super) struct Mount {
    pub volume: String,
    pub destination: String,
}

/// Where archives are unpacked, relative to the task's folder.
pub(super) const APP_DIR: &str = "local/app";
/// Priority of apps (CLUSTER.md).
pub(super) const PRIORITY: u32 = 50;
/// The signal that asks a process to end.
pub(super) const STOP_SIGNAL: &str = "SIGTERM";
/// Spread of restarts after a change in the catalogue.
pub(super) const SPLAY: Duration = Duration::from_secs(5);
