//! What an admin should know of the cluster, and what can be mended.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checkup {
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// What keeps apps apart on this cluster; absent where the engines could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// What could not be looked at, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What it is about.
    pub kind: FindingKind,
    /// Of which app, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// What it is, by its id or name: with this it is mended.
    pub target: String,
    /// The same in words.
    pub text: String,
    /// What sets it right.
    pub remedy: String,
    /// Whether `terreau doctor --fix` does.
    pub fixable: bool,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FindingKind {
    /// The agents themselves.
    Agent,
    /// What an agent does in the background.
    Loop,
    /// A record that this agent cannot read.
    Record,
    /// A change that is half-way.
    Operation,
    /// The log of every change.
    Audit,
    /// Something of an app that is not as Terreau left it.
    Drift,
    /// A name, and whose it is.
    Name,
    /// Something on an engine that no app owns.
    Orphan,
}

/// What keeps apps apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Isolation {
    /// Whether Nomad's access control is on.
    pub nomad_acl: bool,
    /// Whether Consul's is.
    pub consul_acl: bool,
    /// What holds, a line each.
    pub holds: Vec<String>,
    /// What does not.
    pub does_not_hold: Vec<String>,
}

/// `POST /v1/doctor`: what is to be mended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MendRequest {
    /// The `target` of each finding. What is not found any more, or cannot be mended, is left.
    pub targets: Vec<String>,
}

/// What became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mended {
    /// What was done, a line each.
    pub done: Vec<String>,
    /// What was not, and why.
    pub left: Vec<String>,
}
