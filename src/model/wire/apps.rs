//! What apps are doing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::operations::Waits;
use crate::model::head::Outcome;
use crate::model::origin::Origin;

/// `GET /v1/apps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Apps {
    /// Those that the person may read, by name.
    pub apps: Vec<AppStatus>,
}

/// What an app is doing, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppCondition {
    /// The engine that knows it is away.
    #[default]
    Unknown,
    /// Placed or waiting to be placed, not healthy yet.
    Starting,
    /// As many healthy instances as wanted.
    Running,
    /// Asked to stop, instances are left.
    Stopping,
    /// Nothing runs, as asked.
    Stopped,
    /// Nothing runs until somebody asks for it.
    Asleep,
    /// It should run and does not: see the processes for the reason.
    Failed,
}

/// One app.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppStatus {
    /// `[tenant/]project[@environment]`.
    pub app: String,
    /// What it is doing.
    pub status: AppCondition,
    /// One sentence where the status needs one: the exit code, the failing check, the engine that is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Where people open it: of one app each route with its path, in lists each host.
    pub urls: Vec<String>,
    /// The release that runs (or ran last).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// When that release was made (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<String>,
    /// Who made that release, why, and of which commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_by: Option<String>,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The commit that its folder was at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Origin>,
    /// The release whose canaries wait for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u64>,
    /// Who may change it: `alice`, `group:devs`.
    pub owners: Vec<String>,
    /// Its processes.
    pub processes: Vec<ProcessStatus>,
    /// The open operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// What the open operation waits for: of one app only, not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
    /// How the last one ended, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_operation: Option<String>,
    /// What changed last, when, and by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change: Option<LastChange>,
    /// Who stopped it, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StoppedBy>,
    /// Who put a maintenance page in its place, where somebody did: its visitors see that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<StoppedBy>,
    /// What of it is not as Terreau left it, as the agent that leads saw it last; `GET /v1/drift` says more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<DriftedResource>,
    /// Its instances: of one app only, not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<InstanceView>,
    /// What it owns on the engines, by kind and name: of one app only. Never a secret's value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceView>,
}

/// A change of an app, when it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastChange {
    /// Its id.
    pub id: String,
    /// `deploy`, `rollback`, `stop`, `scale`…
    pub verb: String,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When it ended (RFC 3339, UTC).
    pub at: String,
    /// `done`, `undone`, `reverted`, `failed`, `abandoned`.
    #[schema(value_type = String)]
    pub outcome: Outcome,
    /// One line.
    pub summary: String,
}

/// A stop, or a maintenance page, by a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoppedBy {
    /// Who.
    pub by: String,
    /// When (RFC 3339, UTC).
    pub at: String,
}

/// Something that an app owns on an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResourceView {
    /// `job`, `secret`, `account`, `bucket`, `key`, `site`.
    pub kind: String,
    /// Its name there.
    pub id: String,
}

/// Something that an app owns and that was changed, or taken away, outside of Terreau.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriftedResource {
    /// `job`, `secret`, `account`, `bucket`, `key`, `site`.
    pub kind: String,
    /// Its name there.
    pub id: String,
    /// Since when it is known to differ (RFC 3339, UTC).
    pub since: String,
}

/// What an instance is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// It is made, or has not passed its checks yet.
    Starting,
    /// It runs and passes its checks.
    Healthy,
    /// It runs and does not pass them.
    Unhealthy,
    /// It ends badly again and again.
    Crashing,
    /// It was told to end and has not yet.
    Stopping,
    /// It ended as it was told.
    Ended,
    /// It ended badly and is not started again.
    Failed,
    /// Its node is away.
    Lost,
}

/// One instance of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceView {
    /// Nomad's allocation.
    pub id: String,
    /// Its process.
    pub process: String,
    /// The node's name.
    pub node: String,
    /// The node's site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// What it is doing.
    pub state: InstanceState,
    /// The release that it runs; absent where that is not known any more (of ended ones).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// Whether it is a canary: it takes its share of the visitors, beside the instances that it is to replace.
    #[serde(default)]
    pub canary: bool,
    /// Whether it is a canary that is held until a person decides.
    #[serde(default)]
    pub held: bool,
    /// Since when it runs, or when it ended (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// How often it was restarted on its node.
    pub restarts: u64,
    /// How it ended last by itself, where it did: a stop, a restart, a deploy that ends it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// By which signal, where by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i64>,
    /// Whether the kernel killed it for its memory.
    #[serde(default)]
    pub oom_killed: bool,
}

/// `GET /v1/apps/{app}/instances`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Instances {
    /// Those that live, oldest first; with `all`, those that ended too.
    pub instances: Vec<InstanceView>,
    /// Commands of `terreau run` that Nomad knows of, oldest first.
    #[serde(default)]
    pub runs: Vec<RunView>,
}

/// A command that runs once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    /// Its name, for `terreau logs --run` and `terreau stop --run`.
    pub name: String,
    /// What it is doing.
    pub state: RunState,
    /// With what process's environment, secrets and limits.
    pub process: String,
    /// The program's name; never its arguments, which may hold secrets.
    pub program: String,
    /// Who began it.
    pub by: String,
    /// When (RFC 3339, UTC); "" where an older agent began it.
    pub begun: String,
    /// When it is asked to end at the latest; "" likewise.
    pub until: String,
    /// Nobody waits for it.
    pub detached: bool,
}

/// What a command that runs once is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It waits for room.
    Waiting,
    /// It runs.
    Running,
    /// It has ended.
    Ended,
}

/// One process of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessStatus {
    /// Its name.
    pub name: String,
    /// Instances wanted.
    pub wanted: u32,
    /// Instances by the descriptor of the release that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub described: Option<u32>,
    /// Instances that run, canaries aside.
    pub running: u32,
    /// Instances whose checks pass, canaries aside.
    pub healthy: u32,
    /// Canaries: instances of the next release that run beside those that are wanted.
    #[serde(default)]
    pub canaries: u32,
    /// Canaries whose checks pass.
    #[serde(default)]
    pub healthy_canaries: u32,
    /// Instances that are to end and have not yet.
    #[serde(default)]
    pub stopping: u32,
    /// Restarts of the instances that are there.
    pub restarts: u64,
    /// How an instance that lives, or the newest, ended last by itself, where one did: a stop, a restart, a deploy that ends it
    /// is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Whether it was killed for its memory.
    #[serde(default)]
    pub oom_killed: bool,
}

impl ProcessStatus {
    /// Every instance whose checks pass.
    pub fn all_healthy(&self) -> u32 {
        self.healthy.saturating_add(self.healthy_canaries)
    }

    /// `2/2 healthy, 1 canary`: how many of those wanted are well, and what stands beside them.
    pub fn words(&self, beside: Beside) -> String {
        let beside = match (beside, self.canaries, self.healthy_canaries) {
            (_, 0, _) => String::new(),
            (Beside::Coming, n, h) => new_ones(h, n),
            (Beside::Held, 1, 1) => ", 1 canary".to_owned(),
            (Beside::Held, 1, _) => ", 1 canary that is not healthy".to_owned(),
            (Beside::Held, n, h) if n == h => format!(", {n} canaries"),
            (Beside::Held, n, h) => format!(", {n} canaries ({h} healthy)"),
        };
        self.serving() + &beside
    }

    /// How many of those wanted are well; where none is, whether some are left.
    fn serving(&self) -> String {
        match (self.wanted, self.stopping) {
            (0, 0) => "stopped".to_owned(),
            (0, _) => "stopping".to_owned(),
            (wanted, _) => format!("{}/{wanted} healthy", self.healthy),
        }
    }

    /// The same while a release is rolled out of whose instances so many are healthy: `3/3 healthy, 1 of 3 new instances healthy`.
    pub fn words_with(&self, healthy: u32, of: u32) -> String {
        self.serving() + &new_ones(healthy, of)
    }
}

/// What instances beside those that serve are there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// They take over by themselves as soon as they are healthy.
    Coming,
    /// They are canaries that a person decides on.
    Held,
}

fn new_ones(healthy: u32, of: u32) -> String {
    match (healthy, of) {
        (1, 1) => ", 1 new instance healthy".to_owned(),
        (_, 1) => ", 1 new instance not healthy yet".to_owned(),
        (h, n) => format!(", {h} of {n} new instances healthy"),
    }
}
