//! What a rendering needs besides project and placement.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::artifact::Artifact;
use super::cluster::Cluster;
use super::names::{EnvName, PartName, ProcessName, SecretName, Uid};

/// Everything that a rendering needs besides project and placement. A release records it, so that the same job can
/// be rendered again bit by bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bindings {
    /// The cluster's settings.
    pub cluster: Cluster,
    /// The app's identity for life; stands in the job's meta as our mark.
    pub uid: Uid,
    /// 64 hex digits: opens this app's artifacts, nobody else's. Masked for those who may not read the job.
    pub capability: String,
    /// The artifact, where the project has one.
    pub artifact: Option<Artifact>,
    /// The version of each secret that the job reads, credentials of uses included.
    pub secret_versions: BTreeMap<SecretName, u64>,
    /// The versions of values of `terreau env set`, which win over the descriptor's `env`.
    #[serde(default)]
    pub env_versions: BTreeMap<EnvName, u64>,
    /// Live counts, where they differ from the descriptor's.
    #[serde(default)]
    pub counts: BTreeMap<ProcessName, u32>,
    /// The node (its name) that holds the app's volumes.
    #[serde(default)]
    pub node: Option<String>,
    /// What each use was resolved to.
    #[serde(default)]
    pub uses: BTreeMap<PartName, ResolvedUse>,
}

/// A use as the app will reach it. Never a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ResolvedUse {
    /// An account in the directory.
    Ldap {
        /// `cn=<app>,ou=services,ou=users,<base>`
        dn: String,
    },
    /// A bucket and its key.
    Bucket {
        /// The bucket's global alias.
        bucket: String,
        /// `GK` and 24 hex digits, chosen by us.
        access_key_id: String,
    },
}
