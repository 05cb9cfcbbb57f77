//! The head of an app: the one record that says what it is now (`terreau/v1/app/<tenant>/<env>/<project>`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::canonical::Sha256Hex;
use super::desired::{Name, Space};
use super::names::{EnvName, HostName, Placement, ProcessName, ReleaseNumber, SecretName, Uid};
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
    /// When that release began to serve (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<String>,
    /// The last release made, whatever became of it: where the chain of all begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<ReleaseRef>,
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
    /// The highest version of each secret that a release dropped: its next one counts on from there, also once the sweep has
    /// taken its values, so that no release of before finds another value under the number of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<SecretName, u64>,
    /// The highest version of any value whose operation was undone, or which no record came to name, or which went with a
    /// delete: numbers up to it are not given again, whatever is left to be seen of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spent: u64,
    /// The node that holds its volumes.
    pub node: Option<String>,
    /// The hosts that it answers at, as its descriptor orders them; among its names are also those that it redirects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fronts: Vec<HostName>,
    /// Whether a person has stopped it.
    #[serde(default)]
    pub wanted: Wanted,
    /// Live counts, where somebody scaled a process to another one than the descriptor's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<ProcessName, u32>,
    /// How many instances the release that runs gives each process, by its descriptor. Empty where an older agent
    /// deployed it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub processes: BTreeMap<ProcessName, u32>,
    /// Who stopped it, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// Who put a maintenance page in its place, where somebody did: its visitors see that, whatever runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// The current version of each value of `terreau env set`, deployed or staged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<EnvName, u64>,
    /// A plan of one step that is being carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// Canaries that wait for a person. `spec_hash` and `job_index` are theirs meanwhile: it is what Nomad holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

impl Head {
    /// The hosts that it answers at. Heads that were written before `fronts` was kept say them in their names.
    pub fn hosts(&self) -> Vec<&str> {
        if self.fronts.is_empty() {
            return self.names.iter().filter(|n| n.space == Space::Host).map(|n| n.name.as_str()).collect();
        }
        self.fronts.iter().map(HostName::as_str).collect()
    }

    /// Whether it is a static site: its files are served, and nothing of it runs.
    pub fn is_site(&self) -> bool {
        let owns = |kind| self.owned.iter().any(|o| o.kind == kind);
        owns(Kind::Site) && !owns(Kind::Job)
    }

    /// The head of an app that nobody has deployed yet.
    pub fn new(app: Placement, uid: Uid, capability: String, owners: Vec<Owner>) -> Self {
        Self {
            v: 1,
            app,
            uid,
            state: AppState::New,
            owners,
            release: None,
            released_at: None,
            last_number: 0,
            newest: None,
            capability,
            spec_hash: None,
            job_index: None,
            operation: None,
            last_operation: None,
            owned: Vec::new(),
            names: Vec::new(),
            secrets: BTreeMap::new(),
            dropped: BTreeMap::new(),
            spent: 0,
            node: None,
            fronts: Vec::new(),
            wanted: Wanted::Running,
            counts: BTreeMap::new(),
            processes: BTreeMap::new(),
            stopped: None,
            maintenance: None,
            env: BTreeMap::new(),
            intent: None,
            held: None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What people want of a live app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// To run.
    #[default]
    Running,
    /// To stand still until somebody starts or deploys it; no request wakes it.
    Stopped,
}

/// A stop by a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Who.
    pub by: String,
    /// When (RFC 3339, UTC).
    pub at: String,
}

/// A maintenance page in the place of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Who put it there.
    pub by: String,
    /// When (RFC 3339, UTC).
    pub at: String,
}

/// A plan of one step on Nomad (MECHANISM): written before its calls, taken out after them, and repeated by another
/// agent where this one dies in between. Every verb of it is idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its id, also of its audit record.
    pub id: Uid,
    /// `start`, `stop`, `scale`, `restart`…
    pub verb: String,
    /// The count that each process shall have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<ProcessName, u32>,
    /// The instances (allocations) that are restarted, and when the task of each had begun: one that began later was
    /// restarted already.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub restarts: BTreeMap<String, String>,
    /// Who asked for it.
    pub actor: String,
    /// From where.
    #[serde(default)]
    pub address: String,
    /// When (RFC 3339, UTC).
    pub at: String,
}

/// Canaries that wait for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The release that they are of.
    pub release: ReleaseRef,
    /// The operation that registered it.
    pub operation: Uid,
    /// Object: the operation's record, with the steps that follow the promotion.
    pub record: Sha256Hex,
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
    /// Who asked for it; "" where an older agent wrote it.
    #[serde(default)]
    pub by: String,
    /// The release that it brought, where it brought one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
}

/// How an operation can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As asked.
    Done,
    /// Undone before the job was registered: nothing changed.
    Undone,
    /// Registered, and its canaries are healthy: they wait for a person beside the old release.
    Held,
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
    /// True where two ids name one thing: directories write names as they please.
    pub fn is_same(self, a: &str, b: &str) -> bool {
        if self == Self::Account { a.eq_ignore_ascii_case(b) } else { a == b }
    }

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
