//! `kill -9` of an agent at every named point of a deploy, a redeploy, a rollback and a delete: another agent goes on,
//! and what is left is the old or the new, whole, with nothing owned by nobody (MECHANISM's G1, G2 and G4). And agents
//! that are paused and wake when another has gone on (G3).
//!
//! The agents are real processes: one that leads and is never killed, and for every point one that is asked for the
//! change by HTTP and ends there. The points come from a run without a kill, so that new ones are covered unasked.
//! A dead agent's session is destroyed at once, which is what Consul does itself after 20 s.

pub(crate) mod apps;
mod back;
mod late;
mod matrix;
mod orphans;
mod paused;
pub(crate) mod points;
mod undone;
pub(crate) mod wire;
pub(crate) mod world;

use std::time::Duration;

/// How long anything is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// What the names of all apps here begin with: things without a mark of ours are found by it.
pub(crate) const PREFIX: &str = "kill";
