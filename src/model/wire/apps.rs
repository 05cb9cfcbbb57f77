//! What apps are doing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/apps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Apps {
    /// Those that the person may read, by name.
    pub apps: Vec<AppStatus>,
}

/// What an app is doing, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppCondition {
    /// The engine that knows it is away.
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppStatus {
    /// `[tenant/]project[@environment]`.
    pub app: String,
    /// What it is doing.
    pub status: AppCondition,
    /// One sentence where the status needs one: the exit code, the failing check, the engine that is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Where people open it.
    pub urls: Vec<String>,
    /// The release that runs (or ran last).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// When that release was made (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<String>,
    /// Who may change it: `alice`, `group:devs`.
    pub owners: Vec<String>,
    /// Its processes.
    pub processes: Vec<ProcessStatus>,
    /// The open operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// How the last one ended, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_operation: Option<String>,
}

/// One process of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessStatus {
    /// Its name.
    pub name: String,
    /// Instances wanted.
    pub wanted: u32,
    /// Instances that run.
    pub running: u32,
    /// Instances whose checks pass.
    pub healthy: u32,
    /// Restarts of the instances that are there.
    pub restarts: u64,
    /// How the last instance that ended did so, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Whether it was killed for its memory.
    #[serde(default)]
    pub oom_killed: bool,
}
