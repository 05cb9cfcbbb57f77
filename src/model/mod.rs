//! The words of Terreau, as types. Pure: no I/O, no clock, no randomness.

pub mod artifact;
pub mod bindings;
pub mod canonical;
pub mod cluster;
pub mod config;
pub mod desired;
pub mod head;
pub mod names;
mod near;
pub mod origin;
mod pattern;
pub mod project;
pub mod release;
pub mod text;
pub mod wire;

pub use bindings::Bindings;
pub use canonical::{Sha256Hex, canonical_json, sha256_hex};
pub use cluster::Cluster;
pub use head::Head;
pub use names::{
    EnvironmentName, HostName, Login, Placement, ProcessName, ProjectName, ReleaseNumber, SecretName,
    TenantName, Uid,
};
pub use near::nearest;
pub use pattern::pattern;
pub use project::Project;
pub use release::Release;
