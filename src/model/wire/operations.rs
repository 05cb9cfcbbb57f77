//! Operations: listed, looked at, ended.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::head::Outcome;

/// `GET /v1/operations`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Operations {
    /// Those that are under way, oldest first.
    pub open: Vec<OperationLine>,
    /// The last that have ended, newest first.
    pub ended: Vec<OperationLine>,
}

/// One operation in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationLine {
    /// Its id.
    pub id: String,
    /// Of which app.
    pub app: String,
    /// `deploy`, `rollback`, `delete`…
    pub verb: String,
    /// Who asked for it.
    pub actor: String,
    /// When it began (RFC 3339, UTC).
    pub at: String,
    /// The step in hand, in words; absent once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why it turned back, where it did and is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turned: Option<String>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub outcome: Option<Outcome>,
    /// How it ended, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// When it ended (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// `GET /v1/operations/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationView {
    /// Its id.
    pub id: String,
    /// Of which app.
    pub app: String,
    /// `deploy`, `rollback`, `delete`…
    pub verb: String,
    /// Who asked for it.
    pub actor: String,
    /// When it began (RFC 3339, UTC).
    pub at: String,
    /// Its steps, in order.
    pub steps: Vec<StepView>,
    /// Why it turned back, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turned: Option<String>,
    /// Who cancelled it, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    /// What it waits for at this moment, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
    /// How it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<OperationEnd>,
}

/// What a change that is under way waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waits {
    /// One thing a line: `web: 1 of 2 instances healthy; last: exited 1, restarted 3 times`.
    pub why: Vec<String>,
    /// When it is given up by the app's healthy deadline, where nothing changes (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// Counting from 1.
    pub n: u32,
    /// `secret`, `account`, `bucket`, `key`, `site`, `job`…
    pub kind: String,
    /// What it acts upon.
    pub target: String,
    /// `todo`, `begun`, `done`, `undone`.
    pub state: String,
}

/// The data of the event `end`, the last one of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationEnd {
    /// How it ended.
    #[schema(value_type = String)]
    pub outcome: Outcome,
    /// One line for people.
    pub summary: String,
    /// Where to open the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Why it failed: placement, exit code, failing check, last lines of its logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
