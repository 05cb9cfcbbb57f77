//! The steps of an operation, as records hold them. Never a secret: names, versions, ids and hashes only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::artifact::Artifact;
use crate::model::names::EnvName;
use crate::model::{HostName, SecretName, Sha256Hex};

/// What a step does, with everything that it needs: after a kill another agent reads it here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepSpec {
    /// Makes version `version` of a secret and the plain key, in one transaction with the lock's session.
    SecretGenerate {
        /// Which.
        name: SecretName,
        /// Which version; never used before.
        version: u64,
        /// Characters.
        length: u32,
        /// Of what.
        alphabet: Alphabet,
    },
    /// A person's values, written by the very transaction that opened the operation; here so that they can be undone.
    SecretGiven {
        /// Which.
        name: SecretName,
        /// Which version.
        version: u64,
    },
    /// Values of the environment, written by the transaction that opened the operation; here so that they can be undone.
    EnvGiven {
        /// Which versions of which.
        values: BTreeMap<EnvName, u64>,
    },
    /// Adds an account to the directory under a DN that is ours.
    AccountAdd {
        /// The DN.
        dn: String,
        /// Its password: a secret's name…
        password: SecretName,
        /// …and version.
        version: u64,
        /// The account did not exist when the plan was made.
        create: Create,
    },
    /// Takes an account's password away: it can log in no more.
    AccountDisable {
        /// The DN.
        dn: String,
    },
    /// Makes a bucket under its global alias, or sets its quotas.
    BucketSet {
        /// Global alias.
        alias: String,
        /// Quota in bytes.
        max_size: Option<u64>,
        /// Quota in objects.
        max_objects: Option<u64>,
        /// The bucket did not exist when the plan was made.
        create: Create,
        /// Quotas before, for going back.
        before: Option<(Option<u64>, Option<u64>)>,
    },
    /// Imports a key with an id chosen by us, and grants it a bucket.
    KeyImport {
        /// `GK` + 24 hex digits.
        id: String,
        /// The key's name: our mark.
        mark: String,
        /// Its secret: a secret's name…
        secret: SecretName,
        /// …and version.
        version: u64,
        /// The bucket's alias.
        bucket: String,
        /// The key did not exist when the plan was made.
        create: Create,
    },
    /// Denies a key every bucket: it opens nothing any more.
    KeyDeny {
        /// Its id.
        id: String,
    },
    /// Puts a static site's objects into its bucket, and serves it. Goes forward only.
    SitePut {
        /// First host: the bucket's alias.
        hosts: Vec<HostName>,
        /// Page of a folder.
        index: String,
        /// Page of what is not there.
        error: Option<String>,
        /// The files.
        artifact: Artifact,
        /// Opens the artifact.
        capability: String,
    },
    /// Stops serving a static site.
    SiteClose {
        /// The bucket's aliases.
        hosts: Vec<HostName>,
    },
    /// Registers a job.
    JobRegister {
        /// Nomad's namespace.
        namespace: String,
        /// Job id.
        id: String,
        /// Object: the job's JSON.
        json: Sha256Hex,
        /// Object: its HCL.
        hcl: Sha256Hex,
        /// `EnforceIndex`: the job's `JobModifyIndex` when the plan was made, 0 for none.
        enforce: u64,
        /// The specification's hash.
        spec_hash: Sha256Hex,
    },
    /// Promotes the canaries of the registration of this index.
    JobPromote {
        /// Nomad's namespace.
        namespace: String,
        /// Job id.
        id: String,
        /// `JobModifyIndex` of the registration.
        index: u64,
    },
    /// Waits until Nomad calls the release healthy, or gives up on it.
    JobSettle {
        /// Nomad's namespace.
        namespace: String,
        /// Job id.
        id: String,
        /// Whether there is an old release to go back to.
        first: First,
        /// Instances by group before: set again where Nomad goes back by itself.
        #[serde(default)]
        counts: BTreeMap<String, u64>,
    },
    /// Stops a job.
    JobStop {
        /// Nomad's namespace.
        namespace: String,
        /// Job id.
        id: String,
    },
}

/// What a generated value is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alphabet {
    /// `[A-Za-z0-9]`
    Alphanumeric,
    /// `[0-9a-f]`: what Garage wants of a key's secret (64 of them).
    Hex,
}

/// Whether something did not exist before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Create {
    /// It did not.
    New,
    /// It did, and is ours.
    Existing,
}

/// Whether a release is an app's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum First {
    /// It is.
    Yes,
    /// An older one has run.
    No,
}

impl StepSpec {
    /// The name of its kind, as in kill points and messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SecretGenerate { .. } => "secret",
            Self::SecretGiven { .. } => "secret-given",
            Self::EnvGiven { .. } => "env-given",
            Self::AccountAdd { .. } => "account",
            Self::AccountDisable { .. } => "account-disable",
            Self::BucketSet { .. } => "bucket",
            Self::KeyImport { .. } => "key",
            Self::KeyDeny { .. } => "key-deny",
            Self::SitePut { .. } => "site",
            Self::SiteClose { .. } => "site-close",
            Self::JobRegister { .. } => "job",
            Self::JobPromote { .. } => "job-promote",
            Self::JobSettle { .. } => "settle",
            Self::JobStop { .. } => "job-stop",
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        match self {
            Self::SecretGenerate { name, version, .. } => format!("make secret {name} (version {version})"),
            Self::SecretGiven { name, version } => format!("keep secret {name} (version {version})"),
            Self::EnvGiven { values } => {
                let names: Vec<&str> = values.keys().map(EnvName::as_str).collect();
                format!("keep env {}", names.join(", "))
            }
            Self::AccountAdd { dn, .. } => format!("add account {dn}"),
            Self::AccountDisable { dn } => format!("disable account {dn}"),
            Self::BucketSet { alias, create: Create::New, .. } => format!("make bucket {alias}"),
            Self::BucketSet { alias, .. } => format!("set quotas of bucket {alias}"),
            Self::KeyImport { bucket, .. } => format!("make a key for bucket {bucket}"),
            Self::KeyDeny { id } => format!("disable key {id}"),
            Self::SitePut { hosts, .. } => {
                format!("publish site {}", hosts.first().map_or("?", HostName::as_str))
            }
            Self::SiteClose { hosts } => {
                format!("close site {}", hosts.first().map_or("?", HostName::as_str))
            }
            Self::JobRegister { id, .. } => format!("register job {id}"),
            Self::JobPromote { id, .. } => format!("promote the canaries of job {id}"),
            Self::JobSettle { id, .. } => format!("wait for job {id} to be healthy"),
            Self::JobStop { id, .. } => format!("stop job {id}"),
        }
    }
}
