//! What is not on the engines as the records say.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/drift`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drift {
    /// What differs, by app. Apps that are being changed are left out.
    pub differences: Vec<DriftView>,
    /// What could not be looked at, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
}

/// Something that an app owns is not as Terreau left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriftView {
    /// Whose it is.
    pub app: String,
    /// `job`, `secret`, `account`, `bucket`, `key`, `site`.
    pub kind: String,
    /// Its id or name.
    pub target: String,
    /// What became of it.
    pub what: DriftWhat,
    /// The same in words, with what sets it right.
    pub text: String,
    /// What differs in it, one thing a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// When the engine says that it was changed (RFC 3339, UTC), where it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<String>,
    /// Since when it is known to the agent that leads (RFC 3339, UTC); absent where it has not looked twice since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// What became of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriftWhat {
    /// It is not there.
    Gone,
    /// Its job was stopped.
    Stopped,
    /// Its job runs, and should stand still.
    Started,
    /// Its processes have other counts.
    Counts,
    /// It is another one than was written.
    Changed,
    /// It does not bear this app's mark any more.
    Foreign,
}
