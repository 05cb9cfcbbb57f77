//! A file per kind of resource: observe, compare, apply, take back.
//!
//! Every effect here is idempotent by its kind (MECHANISM's four kinds of steps) and passes the gate of the
//! operation's session. What is to be done is decided by `plan` and `operation`; here it is only done.

pub mod account;
pub mod bucket;
pub mod counts;
pub mod crash;
pub mod env;
pub mod health;
pub mod job;
pub mod judge;
pub mod key;
pub mod names;
pub mod observed;
pub mod secret;
pub mod settle;
pub mod site;
pub mod waits;

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::engines::consul::Consul;
use crate::engines::directory::Directory;
use crate::engines::garage::{Admin, S3};
use crate::engines::nomad::Nomad;
use crate::engines::{Engine, EngineError, Fault, SharedGate};
use crate::model::{Cluster, Placement, Uid};
use crate::store::records::{Cancel, Create, Step, StepSpec};
use crate::store::{Objects, keys};
use crate::world::World;

pub use observed::Observed;

/// The clients of all engines, and what every effect needs to know of the cluster.
#[derive(Clone, Debug)]
pub struct Hands {
    /// Nomad.
    pub nomad: Nomad,
    /// Consul.
    pub consul: Consul,
    /// The directory, as the agent's own account.
    pub directory: Directory,
    /// Garage's admin API.
    pub garage: Admin,
    /// S3 under the agent's own key.
    pub s3: S3,
    /// The agent's own key id: it is granted the buckets of static sites.
    pub s3_key: String,
    /// The website bucket of artifacts.
    pub artifacts: String,
    /// The agent's private objects.
    pub objects: Objects,
    /// What changes on Nomad.
    pub world: World,
    /// The cluster's settings.
    pub cluster: Cluster,
}

impl Hands {
    /// The same hands, writing only while the gate is open.
    #[must_use]
    pub fn gated(&self, gate: &SharedGate) -> Self {
        Self {
            nomad: self.nomad.clone().with_gate(gate.clone()),
            consul: self.consul.clone().with_gate(gate.clone()),
            directory: self.directory.with_gate(gate.clone()),
            garage: self.garage.clone().with_gate(gate.clone()),
            s3: self.s3.clone().with_gate(gate.clone()),
            objects: self.objects.with_gate(gate.clone()),
            ..self.clone()
        }
    }
}

/// Whether an effect is tried for the first time, or may have happened already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Nobody has tried it.
    First,
    /// Its step was `begun` before: by an agent that is gone, or by a call whose reply was lost.
    Again,
}

/// What an effect works with.
#[derive(Debug)]
pub struct Work<'a> {
    /// Gated hands.
    pub hands: &'a Hands,
    /// On which app.
    pub app: &'a Placement,
    /// Its identity.
    pub uid: &'a Uid,
    /// The lock's session: secrets are written in one transaction with it.
    pub session: &'a str,
    /// All steps of the operation, for what earlier ones have found.
    pub steps: &'a [Step],
    /// Who has given up on it, where somebody has.
    pub cancel: Option<&'a Cancel>,
    /// For whoever follows.
    pub notes: &'a mpsc::UnboundedSender<String>,
}

impl Work<'_> {
    /// The app's lock key.
    pub fn lock(&self) -> String {
        keys::lock(self.app)
    }
    /// Our mark on what can bear one: `terreau:<uid>`.
    pub fn mark(&self) -> String {
        mark(self.uid)
    }
    /// Says something to whoever follows.
    pub fn note(&self, text: impl Into<String>) {
        // Nobody following is no fault.
        let _ = self.notes.send(text.into());
    }
}

/// Our mark: `terreau:<uid>`.
pub fn mark(uid: &Uid) -> String {
    format!("terreau:{uid}")
}

/// What came of an effect: ids, indexes, verdicts; never a secret.
pub type Evidence = BTreeMap<String, String>;

fn evidence<const N: usize>(pairs: [(&str, String); N]) -> Evidence {
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

fn conflict(engine: Engine, doing: impl Into<String>, why: impl Into<String>) -> EngineError {
    EngineError::new(engine, Fault::Conflict, doing, why)
}

/// Carries a step out.
pub async fn apply(work: &Work<'_>, spec: &StepSpec, attempt: Attempt) -> Result<Evidence, EngineError> {
    match spec {
        StepSpec::SecretGenerate { name, version, length, alphabet } => {
            secret::generate(work, name, *version, (*length, *alphabet)).await
        }
        // Written by the transaction that opened the operation.
        StepSpec::SecretGiven { .. } | StepSpec::EnvGiven { .. } => Ok(Evidence::new()),
        StepSpec::AccountAdd { dn, password, version, .. } => {
            account::add(work, dn, password, *version).await
        }
        StepSpec::AccountDisable { dn } => account::disable(work, dn).await,
        StepSpec::BucketSet { alias, max_size, max_objects, create, .. } => {
            bucket::set(work, alias, (*max_size, *max_objects), *create, attempt).await
        }
        StepSpec::KeyImport { id, mark, secret, version, bucket, .. } => {
            key::import(work, &key::Import { id, mark, secret, version: *version, bucket }).await
        }
        StepSpec::KeyDeny { id } => key::deny(work, id).await,
        StepSpec::SitePut { hosts, index, error, artifact, capability } => {
            let site = site::Site { hosts, index, error: error.as_deref(), artifact, capability };
            site::put(work, &site).await
        }
        StepSpec::SiteClose { hosts } => site::close(work, hosts).await,
        StepSpec::JobRegister { namespace, id, json, hcl, enforce, .. } => {
            let what = job::Register { namespace, id, json, hcl, enforce: *enforce };
            job::register(work, &what, attempt).await
        }
        StepSpec::JobSettle { id, first, counts, .. } => settle::settle(work, id, *first, counts).await,
        StepSpec::JobPromote { namespace, id, index } => job::promote(work, namespace, id, *index).await,
        StepSpec::JobStop { namespace, id } => job::stop(work, namespace, id).await,
    }
}

/// Takes a step back, before the job was registered. What was there before is left alone.
pub async fn undo(work: &Work<'_>, spec: &StepSpec) -> Result<Evidence, EngineError> {
    match spec {
        StepSpec::SecretGenerate { name, version, .. } => secret::take_back(work, name, *version).await,
        StepSpec::SecretGiven { name, version } => secret::drop_given(work, name, *version).await,
        StepSpec::EnvGiven { values } => env::take_back(work, values).await,
        StepSpec::AccountAdd { dn, create: Create::New, .. } => account::remove_ours(work, dn).await,
        // The release that serves uses it, unless its password was made by this very operation.
        StepSpec::AccountAdd { dn, password, create: Create::Existing, .. } => {
            let is_made_here = |s: &Step| matches!(&s.spec, StepSpec::SecretGenerate { name, .. } if name == password);
            if work.steps.iter().any(is_made_here) { account::disable(work, dn).await } else { Ok(Evidence::new()) }
        }
        StepSpec::BucketSet { alias, create, before, .. } => {
            bucket::take_back(work, alias, *create, *before).await
        }
        StepSpec::KeyImport { id, mark, create: Create::New, .. } => key::remove_ours(work, id, mark).await,
        // The release that serves uses this key: the grant that it lacked does no harm.
        StepSpec::KeyImport { create: Create::Existing, .. }
        // These stop the use of something and come after the point of no return, or have no effect of their own.
        | StepSpec::AccountDisable { .. }
        | StepSpec::KeyDeny { .. }
        | StepSpec::SitePut { .. }
        | StepSpec::SiteClose { .. }
        | StepSpec::JobRegister { .. }
        | StepSpec::JobPromote { .. }
        | StepSpec::JobSettle { .. }
        | StepSpec::JobStop { .. } => Ok(Evidence::new()),
    }
}
