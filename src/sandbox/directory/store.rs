//! The tree in memory, in step with the disk, and what of it a reader sees.
//!
//! Writers come one at a time and see the newest tree; readers see a tree that is whole, and as old as the
//! configured staleness (Bottin reads from any Consul server, the leader or not).

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ldap3_proto::LdapResultCode as Code;

use super::journal::Journal;
use super::tree::{Batch, Refusal, Stamp, Tree};
use crate::clock::SharedClock;

/// More versions than this are not kept, however stale reads shall be.
const VERSIONS_MAX: usize = 1024;

/// Shared by all connections.
#[derive(Debug)]
pub struct Store {
    clock: SharedClock,
    lag: Duration,
    journal: Mutex<Journal>,
    /// Oldest first, with the time since boot at which each came; never empty.
    versions: Mutex<VecDeque<(Duration, Arc<Tree>)>>,
}

impl Store {
    /// Opens the folder.
    pub fn open(folder: &Path, base: &str, lag: Duration, clock: SharedClock) -> io::Result<Self> {
        let (journal, tree) = Journal::open(folder, base)?;
        let versions = VecDeque::from([(Duration::ZERO, Arc::new(tree))]);
        Ok(Self { clock, lag, journal: Mutex::new(journal), versions: Mutex::new(versions) })
    }

    /// The tree as readers see it now.
    pub fn seen(&self) -> Arc<Tree> {
        let now = self.clock.boot();
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        while versions.get(1).is_some_and(|(since, _)| *since + self.lag <= now) {
            versions.pop_front();
        }
        versions[0].1.clone()
    }

    /// The tree as writers see it.
    pub fn newest(&self) -> Arc<Tree> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions[versions.len() - 1].1.clone()
    }

    /// Works out a change on the newest tree, puts it on disk, then shows it. Blocks on the disk.
    pub fn write(&self, decide: impl FnOnce(&Tree, &Stamp) -> Result<Batch, Refusal>) -> Result<(), Refusal> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.newest();
        let batch = decide(&newest, &self.stamp())?;
        if let Err(error) = journal.append(&batch) {
            tracing::error!(%error, "the directory cannot write its journal");
            return Err(Refusal::new(Code::Unavailable, "the change could not be put on disk"));
        }
        let mut tree = Tree::clone(&newest);
        tree.apply(&batch);
        if let Err(error) = journal.fold_if_long(&tree) {
            // The change is in the journal; folding is tried again with the next one.
            tracing::warn!(%error, "the directory cannot write a snapshot");
        }
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.push_back((self.clock.boot(), Arc::new(tree)));
        if self.lag.is_zero() || versions.len() > VERSIONS_MAX {
            versions.pop_front();
        }
        Ok(())
    }

    fn stamp(&self) -> Stamp {
        let time = self.clock.now().strftime("%Y%m%d%H%M%SZ").to_string();
        Stamp { time, uuid: fresh_uuid() }
    }
}

/// A random UUID (RFC 9562, version 4).
pub(super) fn fresh_uuid() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let h = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}
