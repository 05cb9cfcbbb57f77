//! The audit log, for admins.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::head::Outcome;

/// `GET /v1/audit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// Newest first.
    pub entries: Vec<AuditLine>,
    /// What to give as `from` for older ones; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Why nothing older can be read: the chain is torn there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn: Option<String>,
}

/// Something that somebody did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditLine {
    /// The operation, or an id of its own.
    pub id: String,
    /// When (RFC 3339, UTC).
    pub at: String,
    /// Who.
    pub login: String,
    /// From where.
    pub address: String,
    /// On which app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// About whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// Whom a change of an app is about, besides who made it: who became an owner of it or is none any more, whose change
    /// was cancelled. A group as `group:NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<String>,
    /// What: `deploy`, `stop`, `reveal`…
    pub verb: String,
    /// How it ended, where it was an operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub outcome: Option<Outcome>,
    /// One line for people.
    pub summary: String,
    /// It stands in the chain; otherwise it waits in Consul for its export.
    pub chained: bool,
    /// Its place in the order of all changes: Consul's index.
    pub index: u64,
}

/// `GET /v1/audit/verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditVerified {
    /// The chain's head, in the first answer; absent while nothing was exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<AuditHead>,
    /// Entries that wait in Consul for their export, in the first answer.
    pub waiting: u64,
    /// Segments that are whole, newest first.
    pub segments: Vec<AuditSegment>,
    /// Where the chain goes on beside segments that no head led to: what stood there is not in it.
    #[serde(default)]
    pub breaks: Vec<String>,
    /// What is wrong: nothing older than that can be vouched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn: Option<String>,
    /// What to give as `from` for the rest; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The head of the chain. Whoever notes its hash elsewhere can tell later that nothing before it was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditHead {
    /// When it was written (RFC 3339, UTC).
    pub at: String,
    /// The newest segment's number.
    pub seq: u64,
    /// The newest segment's SHA-256.
    pub sha256: String,
    /// Entries of the whole chain.
    pub entries: u64,
}

/// A segment of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditSegment {
    /// Its number, from 1.
    pub seq: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// When it was written (RFC 3339, UTC).
    pub at: String,
    /// Entries in it.
    pub entries: u64,
}
