//! The plan as people and programs read it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::desired::Name;
use crate::model::head::Kind;
use crate::model::{Placement, ReleaseNumber, Sha256Hex};
use crate::store::records::{After, StepSpec};

/// Everything that a change would do. Holds presence and hashes of secrets, never a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Schema: 1.
    pub v: u32,
    /// On which app.
    #[schema(value_type = Object)]
    pub app: Placement,
    /// The release that it would make; `None` for a delete.
    #[schema(value_type = Option<u64>)]
    pub release: Option<ReleaseNumber>,
    /// One entry for each thing that changes; empty: nothing does.
    pub changes: Vec<Change>,
    /// What stands in the way; where this is not empty nothing can be applied.
    pub obstacles: Vec<Obstacle>,
    /// What people should know before.
    pub notes: Vec<String>,
    /// Hash of all semantic hashes and of the desired state. `deploy --plan` refuses another one.
    #[schema(value_type = String)]
    pub token: Sha256Hex,
    /// What is done, in order.
    #[schema(value_type = Vec<Object>)]
    pub steps: Vec<StepSpec>,
    /// Names taken by the transaction that opens the operation.
    #[schema(value_type = Vec<Object>)]
    pub new_names: Vec<Name>,
    /// What the head becomes.
    #[schema(value_type = Object)]
    pub after: After,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// What kind of thing.
    #[schema(value_type = String)]
    pub kind: Kind,
    /// Which.
    pub target: String,
    /// What happens to it.
    pub action: Action,
    /// What that means for what runs.
    pub impact: Impact,
    /// How the write is guarded against others.
    pub guard: Guard,
    /// Details, one a line.
    pub details: Vec<String>,
}

/// What happens to a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is made useless at once; the sweep deletes it.
    Remove,
}

/// What a change means for what runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "impact")]
pub enum Impact {
    /// Nothing is restarted.
    InPlace,
    /// Instances are replaced.
    Replaces {
        /// How many; `None` where only Nomad's dry run could tell.
        instances: Option<u64>,
        /// True where the app is away for a while: a static port, a volume, no canary.
        gap: bool,
    },
    /// Instances are started.
    Starts {
        /// How many.
        instances: u64,
    },
    /// Instances are stopped.
    Stops,
}

/// How a write is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Guard {
    /// The engine refuses if the world has moved.
    Atomic,
    /// Read again just before writing, and read back after.
    Checked,
}

/// What stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Obstacle {
    /// A stable word: `name_not_available`, `not_ours`, `missing`.
    pub code: String,
    /// What it is about.
    pub target: String,
    /// In words.
    pub why: String,
    /// What to do.
    pub hint: String,
}

impl Plan {
    /// True where nothing would change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
