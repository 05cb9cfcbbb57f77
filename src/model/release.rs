//! An immutable numbered record of one app.

use serde::{Deserialize, Serialize};

use super::bindings::Bindings;
use super::canonical::Sha256Hex;
use super::names::{Placement, ReleaseNumber, Uid};
use super::origin::Origin;

/// A release: everything that is needed to run the same thing again. An object in Garage, named by its SHA-256.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Schema version: 1.
    pub v: u32,
    /// Of which app.
    pub app: Placement,
    /// Counting from 1.
    pub number: ReleaseNumber,
    /// When its operation was accepted (RFC 3339, UTC).
    pub at: String,
    /// Who asked for it.
    pub actor: String,
    /// Why, in their words.
    pub message: Option<String>,
    /// The commit that its folder was at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Origin>,
    /// The operation that made it: how it ended says what became of this release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Uid>,
    /// The release that this one repeats, for a rollback.
    pub rollback_of: Option<ReleaseNumber>,
    /// `terreau.hcl`, byte for byte.
    pub descriptor: String,
    /// What it was rendered with.
    pub bindings: Bindings,
    /// Of the rendered job's JSON without counts; `None` for a static site.
    pub spec_hash: Option<Sha256Hex>,
    /// The release that served before this one, and its object: a chain of those that served.
    pub previous: Option<(ReleaseNumber, Sha256Hex)>,
    /// The release made before this one, whatever became of it, and its object: a chain of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<(ReleaseNumber, Sha256Hex)>,
}
