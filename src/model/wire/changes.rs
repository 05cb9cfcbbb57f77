//! Plans, deploys and other changes, and what comes of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Hidden;
use crate::model::artifact::Artifact;
use crate::model::origin::Origin;

/// `POST /v1/apps/{app}/plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// `terreau.hcl`, byte for byte.
    pub descriptor: String,
    /// The build's output, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// From [`UploadsAnswer`], for an app that does not exist yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// `POST /v1/apps/{app}/deploy`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// `terreau.hcl`, byte for byte.
    pub descriptor: String,
    /// The build's output, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// From [`UploadsAnswer`], for an app that does not exist yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The apply token of a plan that was reviewed: refused when the world has moved since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The commit that the folder is at, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Origin>,
    /// Values of `user` secrets that a person was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub secrets: BTreeMap<String, Hidden>,
}

/// `GET /v1/apps/{app}/deletion`: what a delete would come to, were it asked for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deletion {
    /// Which app.
    pub app: String,
    /// When its name would be free again (RFC 3339, UTC).
    pub free_at: String,
}

/// 202: an operation began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// Follow it at `/v1/operations/{id}/events`.
    pub operation: String,
    /// The app.
    pub app: String,
    /// Of a rollback: what it goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<BackTo>,
}

/// The release that a rollback goes back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackTo {
    /// Its number.
    pub release: u64,
    /// When it was accepted (RFC 3339, UTC).
    pub at: String,
    /// Who asked for it.
    pub actor: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What was set and not deployed yet, in words (names, never values): it does not come with an older release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
}

/// 200: nothing was to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unchanged {
    /// Always true.
    pub unchanged: bool,
    /// The release that runs.
    pub release: u64,
}

/// `POST /v1/apps/{app}/rollback`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// To which release; by default the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether a release is taken that never got healthy.
    #[serde(default)]
    pub ill: bool,
}

/// `GET /v1/apps/{app}/releases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Releases {
    /// Newest first.
    pub releases: Vec<ReleaseView>,
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseView {
    /// Counting from 1.
    pub number: u64,
    /// When it was accepted (RFC 3339, UTC).
    pub at: String,
    /// Who asked for it.
    pub actor: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The release that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<u64>,
    /// Whether it is the one that runs.
    pub running: bool,
    /// `running`, `served`, `held`, `under way`, or, of one that never served: `reverted`, `failed`, `undone`, `abandoned`.
    pub state: String,
    /// Why it never served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The commit that its folder was at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Origin>,
    /// What differs from the release that served before it, in words; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<Vec<String>>,
    /// The SHA-256 of the release's own record.
    pub sha256: String,
}
