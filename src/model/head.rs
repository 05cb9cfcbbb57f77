//! The head of an app: the one record that says what it is now (`terreau/v1/app/<tenant>/<env>/<project>`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::canonical::Sha256Hex;
use super::desired::Name;
use super::names::{Placement, ReleaseNumber, SecretName, Uid};
use super::project::Owner;

/// At most 8 KiB as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Schema version: 1.
    pub v: u32,
    /// Of which app.
    pub app: Placement,
    /// Identity for life.
    pub uid: Uid,
    /// What it is now.
    pub state: AppState,
    /// Who may change it.
    pub owners: Vec<Owner>,
    /// The release that runs (or ran last), and its object.
    pub release: Option<ReleaseRef>,
    /// The highest release number ever given out, failed ones included.
    pub last_number: u64,
    /// 64 hex digits: opens the app's artifacts.
    pub capability: String,
    /// Hash of the job's specification without counts.
    pub spec_hash: Option<Sha256Hex>,
    /// `JobModifyIndex` that our last registration returned.
    pub job_index: Option<u64>,
    /// The open operation.
    pub operation: Option<Uid>,
    /// How the last operation ended.
    pub last_operation: Option<LastOperation>,
    /// What the app owns on the engines.
    pub owned: Vec<Owned>,
    /// Names that it holds in flat spaces.
    pub names: Vec<Name>,
    /// The current version of each secret.
    pub secrets: BTreeMap<SecretName, u64>,
    /// The node that holds its volumes.
    pub node: Option<String>,
}

/// A release by number and object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRef {
    /// Its number.
    pub number: ReleaseNumber,
    /// Its object's SHA-256.
    pub object: Sha256Hex,
}

/// What an app is, as far as Terreau decides it; whether it is healthy only Nomad and Consul know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppState {
    /// Its first deploy is under way.
    New,
    /// A release is meant to run.
    Live,
    /// The first release never got healthy: nothing runs.
    Failed,
    /// Deleted: what it owned waits for the sweep.
    Deleted,
    /// An operation was abandoned half-way.
    Abandoned,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastOperation {
    /// Its id.
    pub id: Uid,
    /// `deploy`, `rollback`, `delete`…
    pub verb: String,
    /// How.
    pub outcome: Outcome,
    /// One line for people.
    pub summary: String,
    /// When (RFC 3339, UTC).
    pub at: String,
}

/// How an operation can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As asked.
    Done,
    /// Undone before the job was registered: nothing changed.
    Undone,
    /// Registered, found ill, and the old release serves on.
    Reverted,
    /// Registered, found ill, and there was no old release.
    Failed,
    /// Ended by a person where it stood.
    Abandoned,
}

/// Something that an app owns on an engine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owned {
    /// Which kind.
    pub kind: Kind,
    /// Its id on the engine: a job id, a secret's name, a DN, a bucket id, a key id.
    pub id: String,
    /// Semantic hash of what was last applied.
    pub hash: Sha256Hex,
}

/// The kinds of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Versioned values in Consul KV.
    Secret,
    /// A service account in the directory.
    Account,
    /// A bucket of Garage.
    Bucket,
    /// A key of Garage, with its grant.
    Key,
    /// Objects and aliases of a website bucket.
    Site,
    /// A Nomad job.
    Job,
}

impl Kind {
    /// As in plans and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Account => "account",
            Self::Bucket => "bucket",
            Self::Key => "key",
            Self::Site => "site",
            Self::Job => "job",
        }
    }
}
