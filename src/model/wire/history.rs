//! Releases compared.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::artifact::Artifact;

/// `POST /v1/apps/{app}/diff`: from one release to another one, to what runs (`to` and `descriptor` absent), or to what a
/// deploy of a descriptor would make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffRequest {
    /// From which release; by default the one that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// To which release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Or to this `terreau.hcl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<String>,
    /// With this build's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// Whether the rendered jobs are compared, too.
    #[serde(default)]
    pub job: bool,
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiffAnswer {
    /// The first side: `release 3`.
    pub from: String,
    /// The second one: `release 4`, `terreau.hcl`.
    pub to: String,
    /// What differs, in words; empty: nothing.
    pub differs: Vec<String>,
    /// The unified difference of the rendered jobs. What opens the app's artifacts is masked for those who may not read
    /// the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

/// `POST /v1/apps/{app}/import`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// What `GET /v1/apps/{app}/releases/{number}/export` answered, byte for byte.
    pub file: String,
    /// Whether it becomes the app's next release; otherwise it is only verified and compared.
    #[serde(default)]
    pub deploy: bool,
    /// Why, for the history; by default what the file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What an exported release is, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportAnswer {
    /// Of which app it was.
    pub from: String,
    /// Its number there.
    pub number: u64,
    /// Settings of this cluster that differ from those that it was rendered with.
    pub settings: Vec<String>,
    /// What differs from what runs here, in words; absent where nothing does run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<Vec<String>>,
    /// Which of these say that something is taken away that is there now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
    /// The operation that deploys it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The release that runs already, where a deploy of it would change nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchanged: Option<u64>,
}
