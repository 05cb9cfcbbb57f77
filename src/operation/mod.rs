//! Lock, fence, record, run, resume, undo: how a change is carried out (the guarantees G1 to G4).
//!
//! `machine` decides, purely, and `turning` for it what a person's order does; `drive` has the effects, between `open` and `end`; `lock` and `session` are the fence;
//! `progress` is what people see of it. Nothing here knows what a deploy is.

mod agents;
mod audit;
mod cancel;
pub mod close;
mod drive;
mod end;
pub mod export;
mod given;
pub mod intended;
mod intent;
pub mod leader;
mod lock;
pub mod machine;
mod maintenance;
mod news;
mod open;
pub mod points;
pub mod progress;
pub mod restart;
pub mod run;
pub mod session;
pub mod sweep;
pub mod turning;

pub use agents::{Announced, announce};
pub use audit::other_owners;
pub use cancel::{CancelError, Order};
pub use end::GRACE;
pub use given::Given;
pub use intended::IntentVerb;
pub use intent::{Begun, Intention};
pub use lock::{Lock, OpenError};
pub use maintenance::Front;
pub use open::Opening;
pub use progress::{Hub, Progress};
pub use run::Runner;
pub use session::AgentSession;
pub use turning::NoCancel;
