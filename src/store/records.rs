//! The records' shapes. Never a secret in any of them: ids, hashes and object names only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::desired::Name;
use crate::model::head::{Kind, Outcome, Owned, ReleaseRef};
use crate::model::names::EnvName;
use crate::model::names::HostName;
use crate::model::project::Owner;
use crate::model::wire::LoopView;
use crate::model::{Placement, ProcessName, SecretName, Sha256Hex, Uid};

pub use super::steps::{Alphabet, Create, First, StepSpec};

/// The schema that this agent writes, and the newest that it reads.
pub const SCHEMA: u32 = 1;

/// Who asked for a change, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// Login.
    pub login: String,
    /// Source address.
    pub address: String,
}

/// What kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// A new release.
    Deploy,
    /// A new release with an old one's content.
    Rollback,
    /// Held canaries go on.
    Promote,
    /// Held canaries go back.
    Revert,
    /// The end of an app.
    Delete,
    /// A new release with other values of env or secrets; or values for the next one.
    Configure,
    /// Other owners.
    Transfer,
    /// A maintenance page in its place, or none any more.
    Maintenance,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Deploy,
        Self::Rollback,
        Self::Promote,
        Self::Revert,
        Self::Delete,
        Self::Configure,
        Self::Transfer,
        Self::Maintenance,
    ];

    /// As in messages and kill points.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Promote => "promote",
            Self::Revert => "revert",
            Self::Delete => "delete",
            Self::Configure => "configure",
            Self::Transfer => "transfer",
            Self::Maintenance => "maintenance",
        }
    }
}

/// Which way an operation goes. It turns from forward to backward at most once (guarantee G2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Towards what was asked.
    Forward,
    /// Towards what was.
    Backward,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Its effect has not happened.
    Todo,
    /// Its effect may have happened.
    Begun,
    /// Its effect has happened.
    Done,
    /// Its effect has been taken back, or never happened and never will.
    Undone,
}

impl StepState {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Todo => "todo",
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Undone => "undone",
        }
    }
}

/// An **open** operation (`terreau/v1/op/<ulid>`), at most 64 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpRecord {
    /// Schema.
    pub v: u32,
    /// Its id, a ULID.
    pub id: Uid,
    /// On which app.
    pub app: Placement,
    /// The app's identity.
    pub uid: Uid,
    /// What kind.
    pub verb: Verb,
    /// Who asked.
    pub by: By,
    /// Accepted when (RFC 3339, UTC).
    pub at: String,
    /// The plan's token.
    pub plan: Sha256Hex,
    /// Which way it goes.
    pub direction: Direction,
    /// Why it turned back, in one line.
    pub turned: Option<String>,
    /// Who has asked that it turns back. The only part of a record that another agent than its own may write: by CAS,
    /// and only before anything is begun that cannot be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
    /// How many agents have taken it: each take-over adds one, so that the old owner's next record fails.
    pub claim: u64,
    /// The agent that runs it.
    pub agent: Uid,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// What the head becomes when it ends as asked.
    pub after: After,
}

/// A person's order to turn back, or to end where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// Who, from where.
    pub by: By,
    /// When (RFC 3339, UTC).
    pub at: String,
    /// No step is run or taken back any more: it ends half-way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abandon: bool,
}

/// What a head becomes when its operation ends as asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// The release; `None` for a delete.
    pub release: Option<ReleaseRef>,
    /// The job's specification.
    pub spec_hash: Option<Sha256Hex>,
    /// Everything that the app then owns.
    pub owned: Vec<Owned>,
    /// Every name that it then holds.
    pub names: Vec<Name>,
    /// Current secret versions.
    pub secrets: BTreeMap<SecretName, u64>,
    /// Current versions of what people set in the environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<EnvName, u64>,
    /// Owners.
    pub owners: Vec<Owner>,
    /// The node of its volumes.
    pub node: Option<String>,
    /// The hosts that it answers at, as its descriptor orders them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fronts: Vec<HostName>,
    /// How many instances the descriptor gives each process.
    #[serde(default)]
    pub processes: BTreeMap<ProcessName, u32>,
    /// Live counts that differ from these.
    #[serde(default)]
    pub counts: BTreeMap<ProcessName, u32>,
    /// What the sweep shall take, besides the time.
    pub doomed: Vec<DoomedThing>,
}

/// An open plan of one step (`terreau/v1/intent/<ulid>`): on which app's head it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenIntent {
    /// Schema.
    pub v: u32,
    /// The app.
    pub app: Placement,
    /// Who has asked that it is not carried out. Another agent than the one that carries it out may write it, by CAS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it does.
    pub spec: StepSpec,
    /// Where it stands.
    pub state: StepState,
    /// What came of it (an id, an index, a verdict): never a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, String>,
}

impl OpRecord {
    /// True where somebody has ordered that it ends where it stands.
    pub fn is_abandoned(&self) -> bool {
        self.cancel.as_ref().is_some_and(|c| c.abandon)
    }
}

/// Who owns a flat name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// Schema.
    pub v: u32,
    /// The owner's identity.
    pub uid: Uid,
    /// The owner.
    pub app: Placement,
}

/// A thing that the sweep shall delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoomedThing {
    /// Which kind.
    pub kind: Kind,
    /// Its id on the engine.
    pub id: String,
    /// Names that it holds until it is gone.
    #[serde(default)]
    pub names: Vec<Name>,
    /// Of a secret: the versions that go. `None` where an older agent wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<DoomedVersions>,
}

/// What is to be known of a secret that goes: what came back takes up its last value, and what comes after it counts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoomedVersions {
    /// The one that was current.
    pub current: u64,
    /// The highest one.
    pub highest: u64,
}

impl DoomedThing {
    /// A thing without versions.
    pub fn new(kind: Kind, id: impl Into<String>, names: Vec<Name>) -> Self {
        Self { kind, id: id.into(), names, versions: None }
    }

    /// The id of everything that people set in an app's environment, among its secrets: no secret begins with a dot.
    pub const ENV: &str = ".env";

    /// A value that was written before the record that names it: by its path below the app's secrets. A secret's name
    /// holds no slash.
    pub fn early(path: &str) -> Self {
        Self::new(Kind::Secret, path, Vec::new())
    }
}

/// What a sweep will delete, and when (`terreau/v1/doomed/<ulid>`): one record for each operation that leaves
/// something behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doomed {
    /// Schema.
    pub v: u32,
    /// Its own id.
    pub id: Uid,
    /// Whose it was.
    pub uid: Uid,
    /// The app.
    pub app: Placement,
    /// What.
    pub things: Vec<DoomedThing>,
    /// Not before (RFC 3339, UTC).
    pub not_before: String,
}

/// An event for the audit chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Schema.
    pub v: u32,
    /// When (RFC 3339, UTC).
    pub at: String,
    /// Who, from where.
    pub by: By,
    /// On which app.
    pub app: Placement,
    /// That app's identity: another one may bear its name later. `None` where an older agent wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// About whom, besides: who became or ceased to be an owner, whose change was cancelled. A group as `group:NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<String>,
    /// What.
    pub verb: String,
    /// The operation.
    pub operation: Uid,
    /// How it ended.
    pub outcome: Outcome,
    /// One line for people.
    pub summary: String,
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// Schema.
    pub v: u32,
    /// The agent.
    pub agent: Uid,
    /// The operation, where one is open.
    pub operation: Uid,
    /// Who asked for it.
    pub login: String,
    /// What it does.
    pub verb: String,
}

/// How an operation ended: an object in Garage (`operations/<ulid>.json`), written before its record is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Schema.
    pub v: u32,
    /// The record as it was at the end.
    pub record: OpRecord,
    /// How.
    pub outcome: Outcome,
    /// One line for people.
    pub summary: String,
    /// Why, in full: placement, exit codes, checks, last log lines.
    pub why: Vec<String>,
    /// Where the app answers.
    pub urls: Vec<String>,
    /// When (RFC 3339, UTC).
    pub at: String,
}

/// A maintenance page that visitors of an app see (`terreau/v1/maintenance/<tenant>/<env>/<project>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenancePage {
    /// Schema version: 1.
    pub v: u32,
    /// Of which app.
    pub app: Placement,
    /// The hosts that it stands at.
    pub hosts: Vec<String>,
    /// What it says, in plain words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The whole page, as HTML, in the place of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// What of an app is not on the engines as it was left (`terreau/v1/drift/<app>`), as the leader saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftRecord {
    /// Schema version: 1.
    pub v: u32,
    /// Of which app.
    pub app: Placement,
    /// Its identity.
    pub uid: Uid,
    /// Since when each thing differs (RFC 3339, UTC), by `<kind>/<id>`.
    pub since: BTreeMap<String, String>,
}

/// A live agent, as others find it (`terreau/v1/agent/<ulid>`, held by its session).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Schema version: 1.
    pub v: u32,
    /// Where its API listens.
    pub address: String,
    /// Its version.
    pub version: String,
    /// The schemas that it reads.
    pub reads: Vec<u32>,
    /// Since when it runs (RFC 3339, UTC).
    pub since: String,
    /// Where it serves maintenance pages to the proxy; `None`: it serves none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<std::net::SocketAddr>,
    /// When it wrote this (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// How its loops fared then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loops: Vec<LoopView>,
}

/// Who leads (`terreau/v1/leader`, held by its session).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderRecord {
    /// Schema version: 1.
    pub v: u32,
    /// Which agent.
    pub agent: Uid,
    /// Where its API listens.
    pub address: String,
    /// Since when (RFC 3339, UTC).
    pub since: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_in_the_list_of_all() {
        // Whoever adds one is told here by the compiler, and adds it to the number and to the list.
        let place = |verb: Verb| match verb {
            Verb::Deploy => 0,
            Verb::Rollback => 1,
            Verb::Promote => 2,
            Verb::Revert => 3,
            Verb::Delete => 4,
            Verb::Configure => 5,
            Verb::Transfer => 6,
            Verb::Maintenance => 7,
        };
        let places: Vec<usize> = Verb::ALL.into_iter().map(place).collect();
        assert_eq!(places, (0..8).collect::<Vec<_>>());
    }
}
