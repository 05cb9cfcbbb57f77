//! The record of a change of an app's configuration (`terreau/v1/config/<tenant>/<env>/<project>/<ulid>`): which
//! versions of which values it made, who asked, and when. Never a value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::records::By;
use super::{Store, Versioned, keys};
use crate::engines::EngineError;
use crate::model::names::EnvName;
use crate::model::{Placement, SecretName, Uid};

/// What one change made. Written by the transaction that makes it: by the opening of an operation, or by a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// Schema.
    pub v: u32,
    /// Of the operation, or of the stage's audit record.
    pub id: Uid,
    /// Of which app: another app of that name, before, had another one.
    pub uid: Uid,
    /// When (RFC 3339, UTC).
    pub at: String,
    /// Who, from where.
    pub by: By,
    /// The release that it came with; `None` where it was staged.
    pub release: Option<u64>,
    /// What it did.
    pub made: ConfigMade,
}

/// Versions that a change made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigMade {
    /// Of env values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<EnvName, EnvMade>,
    /// Of secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<SecretName, u64>,
}

/// A version of an env value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnvMade {
    /// It was set: a key of this version holds it.
    Set(u64),
    /// It was unset: no key of this version was ever written.
    Unset(u64),
}

impl EnvMade {
    /// Its number.
    pub fn version(self) -> u64 {
        match self {
            Self::Set(n) | Self::Unset(n) => n,
        }
    }
}

impl ConfigMade {
    /// True where nothing was made.
    pub fn is_empty(&self) -> bool {
        self.env.is_empty() && self.secrets.is_empty()
    }
}

impl Store {
    /// Every change of an app's configuration, oldest first.
    pub async fn config_changes(&self, app: &Placement) -> Result<Vec<Versioned<ConfigChange>>, EngineError> {
        // Ids are ULIDs: by key is by time.
        self.list(&keys::config(app)).await
    }
}
