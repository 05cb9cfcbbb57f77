//! Terreau: a platform-as-a-service agent for small self-hosted clusters.
//!
//! The house, floor by floor; each room knows only those below it (checked by `tests/it/house.rs`).

// doors
pub mod api;
pub mod cli;
// what wires the doors
pub mod agent;
// use cases
pub mod build;
pub mod deploy;
// shared by use cases
pub mod access;
// mechanism
pub mod operation;
pub mod plan;
pub mod resources;
pub mod store;
pub mod world;
// the engines' clients
pub mod engines;
// bytes of archives: no engine, no decision
pub mod archive;
// pure
pub mod descriptor;
pub mod model;
pub mod render;
// what goes on in the background, and what time it is: known to every floor that does I/O
pub mod clock;
pub mod loops;
// apart
#[cfg(feature = "sandbox")]
pub mod sandbox;
