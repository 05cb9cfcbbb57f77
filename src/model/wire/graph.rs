//! The components and what depends on what.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/graph`. The same world gives the same document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Graph {
    /// What there is, by id.
    pub nodes: Vec<GraphNode>,
    /// What needs, runs or reaches what; by its ends.
    pub edges: Vec<GraphEdge>,
    /// What could not be looked at, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
}

/// A component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GraphNode {
    /// `<kind>:<name>`; unique.
    pub id: String,
    /// `host`, `app`, `process`, `service`, `bucket`, `engine`, `node`.
    pub kind: String,
    /// Its name.
    pub label: String,
    /// What it is now: `release 3`, `2 of 2 passing`, `missing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// False where something that is needed is not there.
    pub well: bool,
}

/// A dependency.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct GraphEdge {
    /// A node's id.
    pub from: String,
    /// A node's id.
    pub to: String,
    /// `routes to`, `runs`, `serves as`, `needs`, `keeps`, `on`.
    pub what: String,
}
