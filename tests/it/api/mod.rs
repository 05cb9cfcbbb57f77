//! The HTTP door of a real agent process, on real engines.

pub mod agent;
mod audited;
mod changes;
mod door;
mod hostile;
mod people;
