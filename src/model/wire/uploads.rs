//! Uploads of artifacts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::artifact::ArtifactPart;
use crate::model::canonical::Sha256Hex;

/// `POST /v1/apps/{app}/uploads`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadsRequest {
    /// What will be deployed.
    pub parts: Vec<ArtifactPart>,
}

/// What to upload, and where.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UploadsAnswer {
    /// 64 hex digits: the capability under which the parts lie. A first deploy passes it back.
    pub ticket: String,
    /// In the order asked.
    pub parts: Vec<PartUpload>,
}

/// One part.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PartUpload {
    /// Which part.
    #[schema(value_type = String)]
    pub sha256: Sha256Hex,
    /// True where it is there already: nothing is sent.
    pub present: bool,
    /// Where to put it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Multipart>,
}

/// A multipart upload that was begun in Garage.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Multipart {
    /// Its id.
    pub id: String,
    /// Bytes of each piece but the last.
    pub part_size: u64,
    /// One presigned PUT a piece, in order.
    pub urls: Vec<String>,
}

/// `POST /v1/apps/{app}/uploads/{sha256}/complete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteUpload {
    /// From [`UploadsAnswer`].
    pub ticket: String,
    /// From [`Multipart`].
    pub upload_id: String,
    /// The part's extension.
    pub ext: String,
    /// What Garage answered to each piece, in order.
    pub etags: Vec<String>,
}
