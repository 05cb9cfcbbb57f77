//! Wires, starts and stops; owns no logic.

mod buckets;
pub mod config;
mod run;
mod settings;
mod source;

pub use config::Config;
pub use run::{RunError, run, run_until};
pub use settings::example;
pub use source::{ConfigError, ConfigFault, Sources};
