//! What a descriptor says, checked: every value in here is valid by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::{EnvName, HostName, Login, PartName, ProcessName, ProjectName, SecretName};
use super::text::Text;

/// A project: the content of one `terreau.hcl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// Who may change it, besides who deployed it first.
    pub owners: Vec<Owner>,
    /// How its artifact is made. `None`: there is no artifact (a process whose command is on the nodes).
    pub build: Option<Build>,
    /// Hosts of a static site; empty for projects with processes.
    pub site_routes: Vec<HostName>,
    /// Task groups, in the order of the file.
    pub processes: Vec<Process>,
    /// Public environment of all processes.
    pub env: BTreeMap<EnvName, Text>,
    /// Secrets, in the order of the file.
    pub secrets: Vec<Secret>,
    /// Files written before a process starts.
    pub files: Vec<File>,
    /// Backing services.
    pub uses: Vec<Use>,
}

/// An owner: a person or a group of the directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// `"alice"`
    User(Login),
    /// `"group:devs"`: the group's cn.
    Group(Login),
}

impl std::fmt::Display for Owner {
    /// As people write it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(login) => write!(f, "{login}"),
            Self::Group(name) => write!(f, "group:{name}"),
        }
    }
}

impl std::str::FromStr for Owner {
    type Err = super::names::NameError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s.strip_prefix("group:") {
            Some(name) => Login::new(name).map(Self::Group),
            None => Login::new(s).map(Self::User),
        }
    }
}

/// How an artifact is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Build {
    /// Files served as they are, by Garage, with no job.
    Static {
        /// Folder, relative to the descriptor.
        dir: String,
        /// Page of a folder (`index.html`).
        index: String,
        /// Page of what is not there.
        error: Option<String>,
    },
    /// A folder packed as it is, unpacked where a process starts.
    Archive {
        /// Folder, relative to the descriptor.
        dir: String,
    },
}

/// A task group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its name.
    pub name: ProcessName,
    /// Program and arguments. Never holds a secret.
    pub command: Vec<Text>,
    /// How many run.
    pub instances: u32,
    /// CPU share in MHz.
    pub cpu: u32,
    /// Memory limit in MiB.
    pub memory: u32,
    /// Ports, in the order of the file.
    pub ports: Vec<Port>,
    /// Checks; a process with a port and without a check gets a TCP check.
    pub checks: Vec<Check>,
    /// Routes of the HTTP proxy.
    pub routes: Vec<Route>,
    /// Directories that outlive releases.
    pub volumes: Vec<Volume>,
    /// Environment of this process alone; wins over the project's.
    pub env: BTreeMap<EnvName, Text>,
    /// Local restarts.
    pub restart: Option<Restart>,
    /// How a new release replaces the old.
    pub update: Option<Update>,
    /// How much of what it writes its node keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Logs>,
    /// Time between the stop signal and the kill.
    #[serde(with = "seconds")]
    pub stop_timeout: Duration,
    /// Another driver than the cluster's for archives, and its own settings.
    pub driver: Option<Driver>,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// `"http"`; the label in the job is `<name>_port`, dashes as underscores.
    pub name: PartName,
    /// `Some`: this very port on the node; `None`: Nomad chooses.
    pub fixed: Option<u16>,
}

impl Port {
    /// The label in the Nomad job: labels end in `_port` (CLUSTER.md's convention).
    pub fn label(&self) -> String {
        port_label(&self.name)
    }
}

/// The label of a port's name.
pub fn port_label(name: &PartName) -> String {
    format!("{}_port", name.as_str().replace('-', "_"))
}

/// A health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Which port.
    pub port: PartName,
    /// What is asked.
    pub kind: CheckKind,
    /// Between two checks.
    #[serde(with = "seconds")]
    pub interval: Duration,
    /// Until one has failed.
    #[serde(with = "seconds")]
    pub timeout: Duration,
    /// How long a new instance may fail its check before `check_restart` counts; `None`: 90 s.
    #[serde(with = "seconds_opt", default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Duration>,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// GET of a path; healthy is 2xx.
    Http {
        /// The path, beginning with `/`.
        path: String,
    },
    /// A connection.
    Tcp,
}

/// A route of the HTTP proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The host.
    pub host: HostName,
    /// Path prefix, beginning with `/`; `None`: everything.
    pub path: Option<String>,
    /// Higher wins; `None`: the proxy's default.
    pub priority: Option<u32>,
    /// Response headers to add, in order.
    pub headers: Vec<(String, String)>,
    /// The port; the process's first one by default.
    pub port: PartName,
    /// Other hosts, whose visitors are sent here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirects: Vec<Redirect>,
}

/// A host (or a part of one) whose visitors are sent to a route; what follows the path prefix is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// The host that is left.
    pub host: HostName,
    /// Its path prefix, beginning with `/`; `None`: everything.
    pub path: Option<String>,
    /// 301, 302, 307 or 308.
    pub code: u16,
}

/// A directory that outlives releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: PartName,
    /// Where a container sees it; `raw_exec` gets `VOLUME_<NAME>` instead.
    pub path: String,
    /// The node that holds it, by name; `None`: chosen at the first deploy.
    pub node: Option<String>,
}

/// Local restarts (Nomad's `restart`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Restarts within `interval`.
    pub attempts: u32,
    /// The window.
    #[serde(with = "seconds")]
    pub interval: Duration,
    /// Between two.
    #[serde(with = "seconds")]
    pub delay: Duration,
    /// What follows the last attempt.
    pub mode: RestartMode,
}

/// How much of each of a process's two streams its node keeps (Nomad's `logs`): the oldest file goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// Files.
    pub max_files: u32,
    /// MiB of each.
    pub max_file_size: u32,
}

impl Default for Logs {
    /// Nomad's own.
    fn default() -> Self {
        Self { max_files: 10, max_file_size: 10 }
    }
}

/// What follows the last attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RestartMode {
    /// Wait for the window's end, then go on.
    Delay,
    /// Give up here; Nomad places it anew.
    Fail,
}

/// How a new release replaces the old. What is `None` follows DESIGN's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Update {
    /// Instances of the new release beside the old ones before it is promoted; 0: stop first.
    pub canary: Option<u32>,
    /// How many at once.
    pub max_parallel: Option<u32>,
    /// Back to the last stable release where the new one fails.
    pub auto_revert: Option<bool>,
    /// Who decides that healthy canaries go on; `None`: nobody has to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promote: Option<Promote>,
    /// How long an instance must be healthy to count.
    #[serde(with = "seconds_opt", default, skip_serializing_if = "Option::is_none")]
    pub min_healthy_time: Option<Duration>,
    /// How long an instance may take to get healthy.
    #[serde(with = "seconds_opt", default, skip_serializing_if = "Option::is_none")]
    pub healthy_deadline: Option<Duration>,
}

/// Who decides that healthy canaries go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Promote {
    /// They go on by themselves.
    Auto,
    /// A person, by `terreau deploy --promote`; until then they are held beside the old instances.
    Manual,
}

/// A driver by name, with its settings from the allow-list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Driver {
    /// `docker`, `exec`, `raw_exec`…
    pub name: String,
    /// Keys of the driver's `config`, as JSON values; checked against the allow-list.
    pub config: BTreeMap<String, serde_json::Value>,
}

/// A secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its name; the key is `secrets/<app>/<name>`.
    pub name: SecretName,
    /// Where its value comes from.
    pub kind: SecretKind,
}

/// Where a secret's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum SecretKind {
    /// Made by the agent where it is missing: this many characters of `[A-Za-z0-9]`.
    Generated {
        /// Characters, 16 to 1,024.
        length: u32,
    },
    /// Given by a person: `terreau secret set`, or asked for at the first deploy.
    User {
        /// What to ask for.
        description: String,
        /// What one looks like.
        example: Option<String>,
    },
}

/// A file written before a process starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name, a relative path without `..`; under `secrets/` where it holds something secret, else `local/`.
    pub name: String,
    /// Its content.
    pub content: Text,
    /// Permissions, as `"0644"`.
    pub mode: String,
    /// The processes that get it; empty: all.
    pub processes: Vec<ProcessName>,
}

/// A backing service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Its name in references: `uses.<name>.<field>`; the kind's name by default.
    pub name: PartName,
    /// Which kind.
    pub kind: UseKind,
}

/// The kinds of backing services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum UseKind {
    /// A service account in the directory. Fields: `url host port base dn password`.
    Ldap,
    /// A bucket of Garage and a key of its own. Fields: `endpoint region bucket access_key_id secret_access_key`.
    Bucket {
        /// Quota in bytes.
        max_size: Option<u64>,
        /// Quota in objects.
        max_objects: Option<u64>,
    },
}

impl UseKind {
    /// The fields that a reference may name.
    pub fn fields(&self) -> &'static [&'static str] {
        match self {
            Self::Ldap => &["url", "host", "port", "base", "dn", "password"],
            Self::Bucket { .. } => &["endpoint", "region", "bucket", "access_key_id", "secret_access_key"],
        }
    }
    /// As written in a descriptor.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Ldap => "ldap",
            Self::Bucket { .. } => "bucket",
        }
    }
}

impl Use {
    /// The secret that keeps this use's credential: `<name>_password` or `<name>_secret_access_key`, dashes as
    /// underscores.
    pub fn secret_name(&self) -> SecretName {
        let stem = self.name.as_str().replace('-', "_");
        let name = match self.kind {
            UseKind::Ldap => format!("{stem}_password"),
            UseKind::Bucket { .. } => format!("{stem}_secret_access_key"),
        };
        // A part name of at most 20 bytes always gives a valid secret name.
        SecretName::new(name).unwrap_or_else(|_| unreachable!("a part name makes a secret name"))
    }
}

impl Project {
    /// The first process that has a route: its service bears the app's own name.
    pub fn first_routed(&self) -> Option<&Process> {
        self.processes.iter().find(|p| !p.routes.is_empty())
    }
    /// Every route of every process.
    fn routes(&self) -> impl Iterator<Item = &Route> {
        self.processes.iter().flat_map(|p| &p.routes)
    }
    /// Every host that the project answers at, in order, without repetition.
    pub fn fronts(&self) -> Vec<&HostName> {
        distinct(self.site_routes.iter().chain(self.routes().map(|r| &r.host)))
    }
    /// Every host that the project claims: those that it answers at, then those that it sends elsewhere.
    pub fn hosts(&self) -> Vec<&HostName> {
        let sent = self.routes().flat_map(|r| r.redirects.iter().map(|r| &r.host));
        distinct(self.fronts().into_iter().chain(sent))
    }
    /// True where the project is objects in a bucket and no job.
    pub fn is_site(&self) -> bool {
        matches!(self.build, Some(Build::Static { .. })) && self.processes.is_empty()
    }
}

fn distinct<'a>(hosts: impl Iterator<Item = &'a HostName>) -> Vec<&'a HostName> {
    let mut found: Vec<&HostName> = Vec::new();
    for host in hosts {
        if !found.contains(&host) {
            found.push(host);
        }
    }
    found
}

/// Durations as whole or fractional seconds in JSON.
pub mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes seconds.
    pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(d.as_secs_f64())
    }
    /// Reads seconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let s = f64::deserialize(d)?;
        Duration::try_from_secs_f64(s).map_err(serde::de::Error::custom)
    }
}

/// The same, optional.
pub mod seconds_opt {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes seconds or null.
    pub fn serialize<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        match d {
            Some(d) => s.serialize_some(&d.as_secs_f64()),
            None => s.serialize_none(),
        }
    }
    /// Reads seconds or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(d)?
            .map(|s| Duration::try_from_secs_f64(s).map_err(serde::de::Error::custom))
            .transpose()
    }
}
