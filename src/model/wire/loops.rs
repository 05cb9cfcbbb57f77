//! What the agents do in the background, for admins.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/loops`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Agents {
    /// Every agent that lives, the one that leads first.
    pub agents: Vec<AgentView>,
}

/// A live agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentView {
    /// Its id.
    pub id: String,
    /// Where its API listens.
    pub address: String,
    /// Its version.
    pub version: String,
    /// Since when it runs (RFC 3339, UTC).
    pub since: String,
    /// Whether it leads: it takes up what others left, and runs the cluster's timers.
    pub leads: bool,
    /// When it told this (RFC 3339, UTC): up to a minute ago, but for the agent that answers. Absent: it has told nothing
    /// yet, or is older than this answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Its loops, by name.
    pub loops: Vec<LoopView>,
}

/// Something that an agent does again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoopView {
    /// Its name.
    pub name: String,
    /// What it does.
    pub what: String,
    /// How often it goes round, at least, in seconds.
    pub every_seconds: u64,
    /// How it fares.
    pub state: LoopState,
    /// When it last went round (RFC 3339, UTC); absent where it has not yet, and where it rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// How often it failed since the agent started.
    pub failures: u64,
    /// How often it failed since it last went round.
    pub in_a_row: u64,
    /// Why, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a loop fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoopState {
    /// It goes round.
    Works,
    /// It has not gone round yet.
    Begins,
    /// It has nothing to do here: another agent leads, or nobody follows.
    Rests,
    /// It failed the last time, and tries again.
    Fails,
    /// It has not gone round for three times as long as it should take: it hangs.
    Late,
}
