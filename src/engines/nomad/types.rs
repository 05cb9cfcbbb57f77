//! What Nomad answers, as far as we read it. Unknown fields are ignored, `null` is the empty value.
//!
//! Field meanings: <https://developer.hashicorp.com/nomad/api-docs> and the `api` package of 1.11.1. Times are
//! nanoseconds since 1970, as Nomad sends them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Nomad sends `null` for empty lists, maps and absent objects.
pub(super) fn or_default<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// Why and where instances could be placed or not.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AllocMetric {
    /// Nodes looked at.
    #[serde(deserialize_with = "or_default")]
    pub nodes_evaluated: u64,
    /// Nodes ruled out by constraints.
    #[serde(deserialize_with = "or_default")]
    pub nodes_filtered: u64,
    /// Nodes of the pool.
    #[serde(deserialize_with = "or_default")]
    pub nodes_in_pool: u64,
    /// Nodes that were fit but full.
    #[serde(deserialize_with = "or_default")]
    pub nodes_exhausted: u64,
    /// Ready nodes by datacenter.
    #[serde(deserialize_with = "or_default")]
    pub nodes_available: BTreeMap<String, u64>,
    /// Constraint (as Nomad writes it) to the number of nodes that it ruled out.
    #[serde(deserialize_with = "or_default")]
    pub constraint_filtered: BTreeMap<String, u64>,
    /// Node class to the number of nodes ruled out.
    #[serde(deserialize_with = "or_default")]
    pub class_filtered: BTreeMap<String, u64>,
    /// What was exhausted ("memory", "cpu", "network: reserved port collision http=8080") on how many nodes.
    #[serde(deserialize_with = "or_default")]
    pub dimension_exhausted: BTreeMap<String, u64>,
    /// Quota dimensions exhausted.
    #[serde(deserialize_with = "or_default")]
    pub quota_exhausted: Vec<String>,
    /// More instances of the same group that failed likewise.
    #[serde(deserialize_with = "or_default")]
    pub coalesced_failures: u64,
}

/// A scheduling decision asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Evaluation {
    /// Its UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Namespace of the job.
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
    /// The job.
    #[serde(rename = "JobID", deserialize_with = "or_default")]
    pub job_id: String,
    /// `pending`, `complete`, `failed`, `blocked`, `canceled`.
    pub status: String,
    /// In words.
    #[serde(deserialize_with = "or_default")]
    pub status_description: String,
    /// `job-register`, `alloc-failure`, `deployment-watcher`, …
    #[serde(deserialize_with = "or_default")]
    pub triggered_by: String,
    /// The deployment that it belongs to, or "".
    #[serde(rename = "DeploymentID", deserialize_with = "or_default")]
    pub deployment_id: String,
    /// The evaluation that waits for room, or "".
    #[serde(deserialize_with = "or_default")]
    pub blocked_eval: String,
    /// The evaluation that follows later (after a delay), or "".
    #[serde(deserialize_with = "or_default")]
    pub next_eval: String,
    /// The one before, or "".
    #[serde(deserialize_with = "or_default")]
    pub previous_eval: String,
    /// Groups for which no place was found.
    #[serde(rename = "FailedTGAllocs", deserialize_with = "or_default")]
    pub failed_tg_allocs: BTreeMap<String, AllocMetric>,
    /// Instances still to be placed, by group.
    #[serde(deserialize_with = "or_default")]
    pub queued_allocations: BTreeMap<String, i64>,
    /// The job's modify index when it was made.
    #[serde(deserialize_with = "or_default")]
    pub job_modify_index: u64,
    /// Raft index of its last change.
    #[serde(deserialize_with = "or_default")]
    pub modify_index: u64,
    /// Raft index of its making.
    #[serde(deserialize_with = "or_default")]
    pub create_index: u64,
    /// Nanoseconds since 1970.
    #[serde(deserialize_with = "or_default")]
    pub create_time: i64,
    /// Nanoseconds since 1970.
    #[serde(deserialize_with = "or_default")]
    pub modify_time: i64,
}

impl Evaluation {
    /// True once the scheduler will not change it any more (`blocked` counts: another one follows it).
    pub fn is_settled(&self) -> bool {
        matches!(self.status.as_str(), "complete" | "failed" | "canceled" | "blocked")
    }
}

/// What happened to a task.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskEvent {
    /// `Started`, `Terminated`, `Killing`, `Template`, `Driver Failure`, …
    #[serde(rename = "Type")]
    pub kind: String,
    /// Nanoseconds since 1970.
    #[serde(deserialize_with = "or_default")]
    pub time: i64,
    /// In words, for people.
    #[serde(deserialize_with = "or_default")]
    pub display_message: String,
    /// `exit_code`, `signal`, `oom_killed`, … as text.
    #[serde(deserialize_with = "or_default")]
    pub details: BTreeMap<String, String>,
    /// Exit code of a `Terminated` event.
    #[serde(deserialize_with = "or_default")]
    pub exit_code: i64,
    /// Signal of a `Terminated` event, 0 = none.
    #[serde(deserialize_with = "or_default")]
    pub signal: i64,
}

impl TaskEvent {
    /// True where the kernel killed the task for its memory.
    pub fn is_oom(&self) -> bool {
        self.details.get("oom_killed").is_some_and(|v| v == "true")
    }
}

/// Where a task stands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskState {
    /// `pending`, `running`, `dead`.
    pub state: String,
    /// It ended as a failure.
    #[serde(deserialize_with = "or_default")]
    pub failed: bool,
    /// Restarts on its node.
    #[serde(deserialize_with = "or_default")]
    pub restarts: u64,
    /// RFC 3339, or nothing.
    #[serde(deserialize_with = "or_default")]
    pub started_at: Option<String>,
    /// RFC 3339, or nothing.
    #[serde(deserialize_with = "or_default")]
    pub finished_at: Option<String>,
    /// The last ten or so, oldest first.
    #[serde(deserialize_with = "or_default")]
    pub events: Vec<TaskEvent>,
}

/// What a deployment knows of one instance.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AllocDeploymentStatus {
    /// Not decided yet, healthy, or not.
    pub healthy: Option<bool>,
    /// It is a canary.
    #[serde(deserialize_with = "or_default")]
    pub canary: bool,
}

/// An instance, whole (`job`, resources) or as lists give it (without).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Allocation {
    /// Its UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// `job.group[index]`.
    pub name: String,
    /// Namespace.
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
    /// Node UUID.
    #[serde(rename = "NodeID", deserialize_with = "or_default")]
    pub node_id: String,
    /// Node name.
    #[serde(deserialize_with = "or_default")]
    pub node_name: String,
    /// The job.
    #[serde(rename = "JobID")]
    pub job_id: String,
    /// Version of the job (in lists; in a whole allocation it stands in `job`).
    #[serde(deserialize_with = "or_default")]
    pub job_version: Option<u64>,
    /// Group.
    pub task_group: String,
    /// The evaluation that placed it.
    #[serde(rename = "EvalID", deserialize_with = "or_default")]
    pub eval_id: String,
    /// `run`, `stop`, `evict`.
    pub desired_status: String,
    /// In words.
    #[serde(deserialize_with = "or_default")]
    pub desired_description: String,
    /// `pending`, `running`, `complete`, `failed`, `lost`, `unknown`.
    pub client_status: String,
    /// In words.
    #[serde(deserialize_with = "or_default")]
    pub client_description: String,
    /// By task name. Empty until a client took it.
    #[serde(deserialize_with = "or_default")]
    pub task_states: BTreeMap<String, TaskState>,
    /// What its deployment thinks.
    #[serde(deserialize_with = "or_default")]
    pub deployment_status: Option<AllocDeploymentStatus>,
    /// Its deployment, or "" (only in a whole one).
    #[serde(rename = "DeploymentID", deserialize_with = "or_default")]
    pub deployment_id: String,
    /// The instance that it replaces, or "".
    #[serde(deserialize_with = "or_default")]
    pub previous_allocation: String,
    /// The instance that replaces it, or "".
    #[serde(deserialize_with = "or_default")]
    pub next_allocation: String,
    /// Ports and resources as Nomad gives them (only in a whole one).
    #[serde(deserialize_with = "or_default")]
    pub allocated_resources: Option<Value>,
    /// The job that it runs (only in a whole one).
    #[serde(deserialize_with = "or_default")]
    pub job: Option<Value>,
    /// Raft index of its making.
    #[serde(deserialize_with = "or_default")]
    pub create_index: u64,
    /// Raft index of its last change.
    #[serde(deserialize_with = "or_default")]
    pub modify_index: u64,
    /// Nanoseconds since 1970.
    #[serde(deserialize_with = "or_default")]
    pub create_time: i64,
    /// Nanoseconds since 1970.
    #[serde(deserialize_with = "or_default")]
    pub modify_time: i64,
}

/// Lists give the same fields, fewer.
pub type AllocStub = Allocation;

/// One port of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Label in the job.
    pub label: String,
    /// Address of the node.
    pub host: String,
    /// The port there.
    pub port: u16,
}

impl Allocation {
    /// The version of the job that it runs.
    pub fn version(&self) -> Option<u64> {
        self.job_version.or_else(|| self.job.as_ref()?.get("Version")?.as_u64())
    }

    /// True where it ended or was told to.
    pub fn is_terminal(&self) -> bool {
        self.desired_status != "run" || matches!(self.client_status.as_str(), "complete" | "failed" | "lost")
    }

    /// Its ports (only of a whole one).
    pub fn ports(&self) -> Vec<Port> {
        let ports = self.allocated_resources.as_ref().and_then(|r| r.pointer("/Shared/Ports")?.as_array());
        ports
            .into_iter()
            .flatten()
            .filter_map(|p| {
                Some(Port {
                    label: p.get("Label")?.as_str()?.to_owned(),
                    host: p.get("HostIP")?.as_str()?.to_owned(),
                    port: u16::try_from(p.get("Value")?.as_u64()?).ok()?,
                })
            })
            .collect()
    }
}

/// A deployment's count for one group.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeploymentGroup {
    /// It reverts by itself when it fails.
    #[serde(deserialize_with = "or_default")]
    pub auto_revert: bool,
    /// Its canaries are promoted by Nomad itself, as soon as all of them are healthy.
    #[serde(deserialize_with = "or_default")]
    pub auto_promote: bool,
    /// Its canaries were promoted.
    #[serde(deserialize_with = "or_default")]
    pub promoted: bool,
    /// UUIDs of canaries.
    #[serde(deserialize_with = "or_default")]
    pub placed_canaries: Vec<String>,
    /// Canaries wanted.
    #[serde(deserialize_with = "or_default")]
    pub desired_canaries: u64,
    /// Instances wanted.
    #[serde(deserialize_with = "or_default")]
    pub desired_total: u64,
    /// Instances placed.
    #[serde(deserialize_with = "or_default")]
    pub placed_allocs: u64,
    /// Of these healthy.
    #[serde(deserialize_with = "or_default")]
    pub healthy_allocs: u64,
    /// Of these unhealthy.
    #[serde(deserialize_with = "or_default")]
    pub unhealthy_allocs: u64,
}

/// A rollout of one version of a job.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Deployment {
    /// Its UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Namespace.
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
    /// The job.
    #[serde(rename = "JobID")]
    pub job_id: String,
    /// The version that it rolls out.
    #[serde(deserialize_with = "or_default")]
    pub job_version: u64,
    /// The job's `ModifyIndex`.
    #[serde(deserialize_with = "or_default")]
    pub job_modify_index: u64,
    /// The job's `JobModifyIndex`: pairs a deployment with the registration that made it.
    #[serde(deserialize_with = "or_default")]
    pub job_spec_modify_index: u64,
    /// By group.
    #[serde(deserialize_with = "or_default")]
    pub task_groups: BTreeMap<String, DeploymentGroup>,
    /// `running`, `successful`, `failed`, `cancelled`, `pending`, `paused`, `blocked`, `unblocking`.
    pub status: String,
    /// In words.
    #[serde(deserialize_with = "or_default")]
    pub status_description: String,
    /// Raft index of its making.
    #[serde(deserialize_with = "or_default")]
    pub create_index: u64,
    /// Raft index of its last change.
    #[serde(deserialize_with = "or_default")]
    pub modify_index: u64,
    /// Nanoseconds since 1970; 0 before Nomad 1.9.
    #[serde(deserialize_with = "or_default")]
    pub create_time: i64,
    /// Nanoseconds since 1970; 0 before Nomad 1.9.
    #[serde(deserialize_with = "or_default")]
    pub modify_time: i64,
}

impl Deployment {
    /// True where its canaries are healthy and wait for somebody to promote them. Nomad promotes by itself only where
    /// every group with canaries says so.
    pub fn is_held(&self) -> bool {
        let waits = |g: &&DeploymentGroup| g.desired_canaries > 0 && !g.promoted;
        let ready = |g: &DeploymentGroup| {
            let wanted = if waits(&g) { g.desired_canaries } else { g.desired_total };
            g.healthy_allocs >= wanted
        };
        let groups = || self.task_groups.values();
        self.status == "running" && groups().filter(waits).any(|g| !g.auto_promote) && groups().all(ready)
    }

    /// True once it ended, well or not.
    pub fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "successful" | "failed" | "cancelled")
    }
}

/// What the scheduler would do to one group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DesiredUpdates {
    /// Instances left alone.
    #[serde(deserialize_with = "or_default")]
    pub ignore: u64,
    /// New instances.
    #[serde(deserialize_with = "or_default")]
    pub place: u64,
    /// Moved.
    #[serde(deserialize_with = "or_default")]
    pub migrate: u64,
    /// Stopped.
    #[serde(deserialize_with = "or_default")]
    pub stop: u64,
    /// Changed without a restart.
    #[serde(deserialize_with = "or_default")]
    pub in_place_update: u64,
    /// Replaced.
    #[serde(deserialize_with = "or_default")]
    pub destructive_update: u64,
    /// Canaries placed.
    #[serde(deserialize_with = "or_default")]
    pub canary: u64,
    /// Others' instances evicted.
    #[serde(deserialize_with = "or_default")]
    pub preemptions: u64,
}

/// A job as lists give it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JobStub {
    /// Its name.
    #[serde(rename = "ID")]
    pub id: String,
    /// Namespace.
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
    /// `service`, `batch`, `system`, `sysbatch`.
    #[serde(rename = "Type", deserialize_with = "or_default")]
    pub kind: String,
    /// 1 to 100.
    #[serde(deserialize_with = "or_default")]
    pub priority: u64,
    /// `pending`, `running`, `dead`.
    #[serde(deserialize_with = "or_default")]
    pub status: String,
    /// It was stopped on purpose.
    #[serde(deserialize_with = "or_default")]
    pub stop: bool,
    /// Job meta (asked for with `meta=true`).
    #[serde(deserialize_with = "or_default")]
    pub meta: BTreeMap<String, String>,
    /// Raft index of its making.
    #[serde(deserialize_with = "or_default")]
    pub create_index: u64,
    /// Raft index of its last change, status included.
    #[serde(deserialize_with = "or_default")]
    pub modify_index: u64,
    /// Raft index of its last change of specification or count.
    #[serde(deserialize_with = "or_default")]
    pub job_modify_index: u64,
}

/// A client node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// Its UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its address (in lists) or HTTP address (whole).
    #[serde(deserialize_with = "or_default")]
    pub address: String,
    /// Its datacenter.
    #[serde(deserialize_with = "or_default")]
    pub datacenter: String,
    /// Its pool.
    #[serde(deserialize_with = "or_default")]
    pub node_pool: String,
    /// Nomad's version there.
    #[serde(deserialize_with = "or_default")]
    pub version: String,
    /// `ready`, `down`, `initializing`, `disconnected`.
    #[serde(deserialize_with = "or_default")]
    pub status: String,
    /// `eligible` or `ineligible`.
    #[serde(deserialize_with = "or_default")]
    pub scheduling_eligibility: String,
    /// It is being emptied.
    #[serde(deserialize_with = "or_default")]
    pub drain: bool,
    /// Node meta (`site`, `public_ipv4`, …); only in a whole one.
    #[serde(deserialize_with = "or_default")]
    pub meta: BTreeMap<String, String>,
    /// Fingerprints (only in a whole one, or where asked for).
    #[serde(deserialize_with = "or_default")]
    pub attributes: BTreeMap<String, String>,
    /// Drivers with `Detected` and `Healthy`.
    #[serde(deserialize_with = "or_default")]
    pub drivers: BTreeMap<String, Value>,
    /// Host volumes by name (only in a whole one).
    #[serde(deserialize_with = "or_default")]
    pub host_volumes: BTreeMap<String, Value>,
    /// CPU, memory, disk as Nomad gives them.
    #[serde(deserialize_with = "or_default")]
    pub node_resources: Option<Value>,
}

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// In words.
    #[serde(deserialize_with = "or_default")]
    pub description: String,
    /// Meta (empty is sent as absent).
    #[serde(deserialize_with = "or_default")]
    pub meta: BTreeMap<String, String>,
}

/// A file of an allocation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FileInfo {
    /// Its name, without folders.
    pub name: String,
    /// It is a folder.
    #[serde(deserialize_with = "or_default")]
    pub is_dir: bool,
    /// Bytes.
    #[serde(deserialize_with = "or_default")]
    pub size: u64,
    /// RFC 3339.
    #[serde(deserialize_with = "or_default")]
    pub mod_time: String,
}
