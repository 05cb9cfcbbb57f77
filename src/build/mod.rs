//! Source → artifact: what a folder looks like, its archives, and their upload. The command line's side; the agent
//! knows nothing of it, and judges what comes by `archive`.

pub mod archive;
mod collect;
pub mod detect;
mod error;
pub mod upload;
