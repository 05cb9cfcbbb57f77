//! What instances use, and what happened to an app.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/apps/{app}/stats`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// Each instance that runs, oldest first.
    pub instances: Vec<InstanceStats>,
}

/// What one instance uses now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InstanceStats {
    /// Nomad's allocation.
    pub id: String,
    /// Its process.
    pub process: String,
    /// The node's name.
    pub node: String,
    /// Percent of one core; absent where its node has not measured it (yet, or at all: Nomad's clients do with
    /// `telemetry { publish_allocation_metrics = true }`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// Memory in use, in bytes; absent likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The memory that it has by its descriptor, in bytes.
    pub memory_reserved: u64,
    /// Where the kernel ends it, in bytes; absent where its driver enforces none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
}

/// `GET /v1/apps/{app}/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Events {
    /// Newest last.
    pub events: Vec<EventView>,
}

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// Somebody changed the app: an audit record.
    Change,
    /// Nomad rolled something out.
    Rollout,
    /// Something happened to an instance.
    Instance,
}

/// Something that happened to an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// When (RFC 3339, UTC).
    pub at: String,
    /// Where it comes from.
    pub kind: EventKind,
    /// One word: `deploy`, `stop`, `successful`, `Started`, `Terminated`…
    pub what: String,
    /// One line for people.
    pub text: String,
    /// The process, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The instance, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Who did it, where a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}
