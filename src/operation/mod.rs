//! Lock, fence, record, run, resume, undo: how a change is carried out (the guarantees G1 to G4).
//!
//! `machine` decides, purely; `run` has the effects; `session` is the agent's life in Consul and the fence;
//! `progress` is what people see of it. Nothing here knows what a deploy is.

pub mod close;
pub mod leader;
pub mod machine;
pub mod points;
pub mod progress;
pub mod run;
pub mod session;
pub mod sweep;

pub use progress::{Hub, Progress};
pub use run::{Lock, OpenError, Opening, Runner};
pub use session::AgentSession;
