//! All records of one moment: read by one list, so that none of them contradicts another because it was read later.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::chain::{self, AUDIT, ChainHead};
use super::records::{Audit, Doomed, DriftRecord, LockHolder, NameRecord, OpRecord, OpenIntent};
use super::{Store, Versioned, decode, keys};
use crate::engines::EngineError;
use crate::engines::consul::KvEntry;
use crate::model::{Head, Placement, Uid};

/// The records of one moment, but for those of people and of who is told.
#[derive(Debug, Default)]
pub struct Whole {
    /// Of apps.
    pub heads: Vec<Versioned<Head>>,
    /// Open operations.
    pub operations: Vec<OpRecord>,
    /// Open plans of one step, by their ids.
    pub intents: Vec<(Uid, OpenIntent)>,
    /// What a sweep will delete.
    pub doomed: Vec<Doomed>,
    /// Who owns a flat name, by its key.
    pub names: BTreeMap<String, Versioned<NameRecord>>,
    /// Who holds the locks that are held.
    pub holders: BTreeMap<Placement, LockHolder>,
    /// The audit records that are still in Consul.
    pub audits: Vec<Versioned<Audit>>,
    /// Consul's index up to which audit records stand in their chain.
    pub audited: u64,
    /// What is known to differ.
    pub drifts: Vec<DriftRecord>,
    /// What this agent does not read: the key, and why.
    pub unread: Vec<(String, EngineError)>,
}

impl Store {
    /// Reads them.
    pub async fn whole(&self) -> Result<Whole, EngineError> {
        let entries = self.consul().kv_list(keys::ALL).await?;
        let mut whole = Whole::default();
        let mut chain = None;
        for entry in &entries {
            whole.take(entry, &mut chain);
        }
        whole.audited = chain::through(chain.as_ref());
        Ok(whole)
    }
}

impl Whole {
    fn take(&mut self, entry: &KvEntry, chain: &mut Option<Versioned<ChainHead>>) {
        let key = entry.key.as_str();
        if key.starts_with(keys::HEADS) {
            self.heads.extend(read(entry, &mut self.unread));
        } else if key.starts_with(keys::OPERATIONS) {
            self.operations.extend(read(entry, &mut self.unread).map(|v| v.value));
        } else if let Some(id) = key.strip_prefix(keys::INTENTS) {
            let intent = read::<OpenIntent>(entry, &mut self.unread).map(|v| v.value);
            self.intents.extend(Uid::new(id).ok().zip(intent));
        } else if key.starts_with(keys::DOOMED) {
            self.doomed.extend(read(entry, &mut self.unread).map(|v| v.value));
        } else if key.starts_with(keys::NAMES) {
            self.names.extend(read(entry, &mut self.unread).map(|v| (entry.key.clone(), v)));
        } else if let Some(path) = key.strip_prefix(keys::LOCKS) {
            // What a lock holds besides says nothing once its holder is gone.
            let holder = entry.session.as_ref().and_then(|_| serde_json::from_slice(&entry.value).ok());
            self.holders.extend(Placement::from_path(path).zip(holder));
        } else if key.starts_with(keys::AUDIT) {
            self.audits.extend(read(entry, &mut self.unread));
        } else if key.starts_with(keys::DRIFT) {
            self.drifts.extend(read(entry, &mut self.unread).map(|v| v.value));
        } else if key == keys::chain(AUDIT) {
            *chain = read(entry, &mut self.unread);
        }
    }

    /// The app with this identity, as far as records in Consul still tell of it.
    pub fn app_of(&self, uid: &Uid) -> Option<&Placement> {
        let head = self.heads.iter().map(|h| &h.value).find(|h| h.uid == *uid).map(|h| &h.app);
        head.or_else(|| self.doomed.iter().find(|d| d.uid == *uid).map(|d| &d.app))
            .or_else(|| self.audits.iter().find(|a| a.value.uid.as_ref() == Some(uid)).map(|a| &a.value.app))
    }
}

fn read<T: DeserializeOwned>(
    entry: &KvEntry,
    unread: &mut Vec<(String, EngineError)>,
) -> Option<Versioned<T>> {
    decode(entry).map_err(|why| unread.push((entry.key.clone(), why))).ok()
}
