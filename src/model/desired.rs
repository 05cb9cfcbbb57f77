//! What a rendering wants of each engine: plain data, compared by `resources`, ordered by `plan`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::artifact::Artifact;
use super::canonical::Sha256Hex;
use super::names::{HostName, PartName, SecretName};
use super::project::SecretKind;

/// Everything that one app wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// Names in flat spaces.
    pub names: Vec<Name>,
    /// Secrets, by name.
    pub secrets: Vec<SecretWanted>,
    /// Accounts in the directory.
    pub accounts: Vec<AccountWanted>,
    /// Buckets, each with a key of its own.
    pub buckets: Vec<BucketWanted>,
    /// A static site.
    pub site: Option<SiteWanted>,
    /// The job.
    pub job: Option<JobWanted>,
    /// The hosts that it answers at, in order.
    pub fronts: Vec<HostName>,
}

/// A flat space of names (`terreau/v1/name/<space>/<name>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// Nomad jobs and Consul services.
    Service,
    /// LDAP service accounts.
    Ldap,
    /// Global aliases of buckets.
    Bucket,
    /// Hosts of routes.
    Host,
    /// Static ports.
    Port,
    /// `secrets/<app>/`.
    Secrets,
}

impl Space {
    /// As in keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Ldap => "ldap",
            Self::Bucket => "bucket",
            Self::Host => "host",
            Self::Port => "port",
            Self::Secrets => "secrets",
        }
    }
}

/// A name that the app claims.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name {
    /// In which space.
    pub space: Space,
    /// Which.
    pub name: String,
}

/// A secret that the job reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretWanted {
    /// Its name.
    pub name: SecretName,
    /// Where its value comes from. Credentials of uses are `Generated`.
    pub kind: SecretKind,
    /// Which use it is the credential of.
    pub credential_of: Option<PartName>,
}

/// An account in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountWanted {
    /// The use's name.
    pub of: PartName,
    /// `cn=<app>,ou=services,ou=users,<base>`
    pub dn: String,
    /// The secret that keeps its password.
    pub password: SecretName,
}

/// A bucket with a key of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketWanted {
    /// The use's name.
    pub of: PartName,
    /// Global alias: `<app>-<purpose>`.
    pub alias: String,
    /// Chosen by us: `GK` and 24 hex digits.
    pub access_key_id: String,
    /// The secret that keeps the key's secret.
    pub secret: SecretName,
    /// Quota in bytes.
    pub max_size: Option<u64>,
    /// Quota in objects.
    pub max_objects: Option<u64>,
}

/// A static site: objects in the bucket named by its domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteWanted {
    /// The hosts: the first names the bucket, the others are further aliases.
    pub hosts: Vec<HostName>,
    /// Page of a folder.
    pub index: String,
    /// Page of what is not there.
    pub error: Option<String>,
    /// The files.
    pub artifact: Artifact,
}

/// The job, in both forms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobWanted {
    /// Nomad's id.
    pub id: String,
    /// Nomad's namespace.
    pub namespace: String,
    /// As the API takes it.
    pub json: Value,
    /// The same as HCL: sent as `Submission`, printed by `terreau render`.
    pub hcl: String,
    /// Of the JSON's canonical form without counts.
    pub spec_hash: Sha256Hex,
}
