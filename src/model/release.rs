//! An immutable numbered record of one app.

use serde::{Deserialize, Serialize};

use super::bindings::Bindings;
use super::canonical::Sha256Hex;
use super::names::{Placement, ReleaseNumber};

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
    /// The release that this one repeats, for a rollback.
    pub rollback_of: Option<ReleaseNumber>,
    /// `terreau.hcl`, byte for byte.
    pub descriptor: String,
    /// What it was rendered with.
    pub bindings: Bindings,
    /// Of the rendered job's JSON without counts; `None` for a static site.
    pub spec_hash: Option<Sha256Hex>,
    /// The release before this one, and its object: a chain that lists an app's history.
    pub previous: Option<(ReleaseNumber, Sha256Hex)>,
}
