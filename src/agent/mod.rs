//! Wires, starts and stops; owns no logic.

pub mod config;
mod settings;
mod source;

pub use config::Config;
pub use settings::example;
pub use source::{ConfigError, ConfigFault, Sources};
