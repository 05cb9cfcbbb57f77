//! A build's output, as records name it.

use serde::{Deserialize, Serialize};

use super::canonical::Sha256Hex;

/// A build's output: one or more archives, unpacked into one directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Artifact {
    /// The parts, in order; each at most 4,000 entries (Nomad refuses archives of more than 4,096 files).
    pub parts: Vec<ArtifactPart>,
}

/// One archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ArtifactPart {
    /// Of the archive's bytes.
    #[schema(value_type = String)]
    pub sha256: Sha256Hex,
    /// Bytes.
    pub size: u64,
    /// Without a dot: `tar.zst`.
    pub ext: String,
    /// Files in it.
    pub entries: u32,
}

impl ArtifactPart {
    /// The key in the artifact bucket: `a/<capability>/<sha256>.<ext>`.
    pub fn key(&self, capability: &str) -> String {
        format!("a/{capability}/{}.{}", self.sha256, self.ext)
    }
}

impl Artifact {
    /// Bytes of all parts.
    pub fn size(&self) -> u64 {
        self.parts.iter().map(|p| p.size).sum()
    }
}
