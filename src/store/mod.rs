//! Terreau's own records: heads, names and operations in Consul KV, objects in Garage.
//!
//! The one room that knows where a record lies and how it is written. Consul holds little (each record has a size
//! limit); what is larger is an object in Garage named by its SHA-256 and written *before* the record that names it.

pub mod chain;
mod config;
pub mod hooks;
mod kept;
pub mod keys;
pub mod objects;
pub mod people;
pub mod records;
mod steps;
mod whole;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;

use crate::engines::consul::{Consul, KvEntry};
use crate::engines::{Engine, EngineError, Fault};
use crate::model::desired::Space;
use crate::model::{Head, Placement, Uid};

pub use config::{ConfigChange, ConfigMade, EnvMade};
pub use kept::{KeptInstance, KeptStream};
pub use objects::Objects;
pub use records::{
    AgentRecord, Audit, Direction, Doomed, DriftRecord, LeaderRecord, LockHolder, MaintenancePage,
    NameRecord, OpRecord, OpenIntent, Step, StepSpec, StepState,
};
pub use whole::Whole;

/// How many records that were passed over are remembered.
const TOLD: usize = 1_024;

/// A record and the index at which it was read: what a CAS needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The record.
    pub value: T,
    /// Consul's `ModifyIndex`.
    pub index: u64,
}

/// Reads Terreau's records. Writing is `operation`'s alone, by transactions.
#[derive(Debug, Clone)]
pub struct Store {
    consul: Consul,
    objects: Objects,
    /// Records that were passed over, with the index of their last change.
    told: Arc<Mutex<HashSet<(String, u64)>>>,
}

impl Store {
    /// A store on these engines.
    pub fn new(consul: Consul, objects: Objects) -> Self {
        Self { consul, objects, told: Arc::default() }
    }

    /// The objects in Garage.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The client of Consul that records are read with.
    pub fn consul(&self) -> &Consul {
        &self.consul
    }

    /// An app's head.
    pub async fn head(&self, app: &Placement) -> Result<Option<Versioned<Head>>, EngineError> {
        self.read(&keys::head(app)).await
    }

    /// Every head; an error where one cannot be read: for what must not pass one over.
    pub async fn every_head(&self) -> Result<Vec<Versioned<Head>>, EngineError> {
        self.list(keys::HEADS).await
    }

    /// Every head that this agent reads.
    pub async fn heads(&self) -> Result<Vec<Versioned<Head>>, EngineError> {
        self.readable(keys::HEADS).await
    }

    /// Every head with its app, each by itself: one that cannot be read (of a newer schema) hides no other.
    pub async fn each_head(
        &self,
    ) -> Result<Vec<(Placement, Result<Versioned<Head>, EngineError>)>, EngineError> {
        let entries = self.consul.kv_list(keys::HEADS).await?;
        Ok(entries.iter().filter_map(|e| Some((keys::app_of(&e.key)?, decode(e)))).collect())
    }

    /// An open operation; `None` once it has ended.
    pub async fn operation(&self, id: &Uid) -> Result<Option<Versioned<OpRecord>>, EngineError> {
        self.read(&keys::operation(id)).await
    }

    /// Every open operation that this agent reads: one of a newer schema is a newer agent's to carry out.
    pub async fn operations(&self) -> Result<Vec<Versioned<OpRecord>>, EngineError> {
        self.readable(keys::OPERATIONS).await
    }

    /// Every open plan of one step that this agent reads.
    pub async fn intents(&self) -> Result<Vec<Versioned<OpenIntent>>, EngineError> {
        self.readable(keys::INTENTS).await
    }

    /// One open plan of one step; `None` once it has ended.
    pub async fn intent(&self, id: &Uid) -> Result<Option<Versioned<OpenIntent>>, EngineError> {
        self.read(&keys::intent(id)).await
    }

    /// Every maintenance page.
    pub async fn maintenance(&self) -> Result<Vec<Versioned<MaintenancePage>>, EngineError> {
        self.readable(keys::MAINTENANCE).await
    }

    /// What is known to differ of every app.
    pub async fn drifts(&self) -> Result<Vec<Versioned<DriftRecord>>, EngineError> {
        self.readable(keys::DRIFT).await
    }

    /// What is known to differ of an app.
    pub async fn drift_of(&self, app: &Placement) -> Result<Option<Versioned<DriftRecord>>, EngineError> {
        self.read(&keys::drift(app)).await
    }

    /// The agents that live.
    pub async fn agents(&self) -> Result<Vec<(Uid, AgentRecord)>, EngineError> {
        let entries = self.consul.kv_list(keys::AGENTS).await?;
        let live = entries.iter().filter(|e| e.session.is_some());
        let read = |e: &KvEntry| {
            let id = Uid::new(e.key.strip_prefix(keys::AGENTS)?).ok()?;
            Some((id, serde_json::from_slice(&e.value).ok()?))
        };
        Ok(live.filter_map(read).collect())
    }

    /// The agent that leads, where one does.
    pub async fn leader(&self) -> Result<Option<Uid>, EngineError> {
        let entry = self.consul.kv_get(keys::LEADER).await?.filter(|e| e.session.is_some());
        Ok(entry.and_then(|e| serde_json::from_slice::<LeaderRecord>(&e.value).ok()).map(|l| l.agent))
    }

    /// The last audit records, oldest first: all that wait for their export, and the newest of the others.
    pub async fn audits(&self) -> Result<Vec<Versioned<Audit>>, EngineError> {
        self.readable(keys::AUDIT).await
    }

    /// Whose locks are held at this moment, and by whom.
    pub async fn holders(&self) -> Result<Vec<(Placement, LockHolder)>, EngineError> {
        let entries = self.consul.kv_list(keys::LOCKS).await?;
        let held = entries.iter().filter(|e| e.session.is_some());
        Ok(held
            .filter_map(|e| {
                let app = Placement::from_path(e.key.strip_prefix(keys::LOCKS)?)?;
                Some((app, serde_json::from_slice(&e.value).ok()?))
            })
            .collect())
    }

    /// Who holds an app's lock now.
    pub async fn holder(&self, app: &Placement) -> Result<Option<LockHolder>, EngineError> {
        let entry = self.consul.kv_get(&keys::lock(app)).await?.filter(|e| e.session.is_some());
        Ok(entry.and_then(|e| serde_json::from_slice(&e.value).ok()))
    }

    /// The ids of the last audit records, oldest first.
    pub async fn audited(&self) -> Result<Vec<Uid>, EngineError> {
        let mut ids: Vec<Uid> = self
            .consul
            .kv_keys(keys::AUDIT)
            .await?
            .iter()
            .filter_map(|k| Uid::new(k.strip_prefix(keys::AUDIT)?).ok())
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// One audit record.
    pub async fn audit(&self, id: &Uid) -> Result<Option<Versioned<Audit>>, EngineError> {
        self.read(&keys::audit(id)).await
    }

    /// Who owns a flat name.
    pub async fn name(&self, space: Space, name: &str) -> Result<Option<Versioned<NameRecord>>, EngineError> {
        self.read(&keys::name(space, name)).await
    }

    /// What a sweep will delete, as far as this agent reads it: the rest is a newer agent's to sweep.
    pub async fn doomed(&self) -> Result<Vec<Versioned<Doomed>>, EngineError> {
        self.readable(keys::DOOMED).await
    }

    /// Reads one record. A record of a newer schema is refused, never guessed at.
    pub async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Versioned<T>>, EngineError> {
        match self.consul.kv_get(key).await? {
            Some(entry) => decode(&entry).map(Some),
            None => Ok(None),
        }
    }

    /// Each record by itself: one that cannot be read (of a newer schema) is told to the log once, and hides no other.
    async fn readable<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<Versioned<T>>, EngineError> {
        let entries = self.consul.kv_list(prefix).await?;
        Ok(entries.iter().filter_map(|e| decode(e).map_err(|why| self.tell_once(e, &why)).ok()).collect())
    }

    fn tell_once(&self, entry: &KvEntry, why: &EngineError) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD {
            told.clear();
        }
        if told.insert((entry.key.clone(), entry.modify_index)) {
            tracing::warn!(error = %why, "a record is passed over");
        }
    }

    async fn list<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<Versioned<T>>, EngineError> {
        self.consul.kv_list(prefix).await?.iter().map(decode).collect()
    }
}

fn decode<T: DeserializeOwned>(entry: &KvEntry) -> Result<Versioned<T>, EngineError> {
    #[derive(serde::Deserialize)]
    struct Schema {
        v: u32,
    }
    let broken = |why: String| {
        EngineError::new(Engine::Consul, Fault::Broken, format!("read record {}", entry.key), why)
    };
    let schema: Schema = serde_json::from_slice(&entry.value).map_err(|e| broken(e.to_string()))?;
    if schema.v > records::SCHEMA {
        return Err(broken(format!(
            "it is of schema {}, this agent reads up to {}; upgrade the agent",
            schema.v,
            records::SCHEMA
        )));
    }
    let value = serde_json::from_slice(&entry.value).map_err(|e| broken(e.to_string()))?;
    Ok(Versioned { value, index: entry.modify_index })
}
