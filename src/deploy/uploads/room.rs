//! How much of uploads an agent takes upon itself at once, and what it need not look for a second time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::model::SecretName;

/// Parts that an agent reads at once, and streams that pass through it: each holds a few pieces of 16 MiB at most.
const AT_ONCE: usize = 3;
/// How many looks for given values are remembered.
const LOOKS: usize = 1_024;

/// How much an agent takes upon itself at once.
#[derive(Debug, Clone)]
pub(in crate::deploy) struct Room {
    pub(super) reading: Arc<Semaphore>,
    pub(super) passing: Arc<Semaphore>,
    /// What was looked for in which part, and not found: a deploy that waits for its turn asks again and again.
    looked: Arc<Mutex<VecDeque<[u8; 32]>>>,
    /// Makes what is remembered useless elsewhere.
    salt: [u8; 32],
}

impl Default for Room {
    fn default() -> Self {
        Self {
            reading: Arc::new(Semaphore::new(AT_ONCE)),
            passing: Arc::new(Semaphore::new(AT_ONCE)),
            looked: Arc::default(),
            salt: rand::random(),
        }
    }
}

impl Room {
    /// Names a look for these values in a part.
    pub(super) fn look(&self, key: &str, given: &[(&SecretName, &secrecy::SecretString)]) -> [u8; 32] {
        let mut digest = Sha256::new_with_prefix(self.salt);
        let words = given.iter().flat_map(|(name, value)| [name.as_str(), value.expose_secret()]);
        for word in std::iter::once(key).chain(words) {
            digest.update((word.len() as u64).to_le_bytes());
            digest.update(word);
        }
        digest.finalize().into()
    }

    pub(super) fn was_looked(&self, look: &[u8; 32]) -> bool {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).contains(look)
    }

    pub(super) fn remember(&self, look: [u8; 32]) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.len() >= LOOKS {
            looked.pop_front();
        }
        looked.push_back(look);
    }
}
