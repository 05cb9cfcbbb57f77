//! Pure: the difference between desired and observed, in order, as one document with one token.
//!
//! `plan` knows `resources`, never the reverse. What is equal makes no step: an identical re-registration would move
//! Nomad's indexes.

mod artifacts;
mod build;
pub mod compare;
pub mod difference;
mod document;
mod names;
mod pairs;
mod refusal;
mod routes;
mod steps;

pub use build::{Data, DeleteInput, Input, delete, deploy};
pub use document::{Action, Change, Guard, Impact, Obstacle, Plan};
pub use refusal::refusal;
pub use routes::answers;
