//! Keys of Consul's that somebody follows: one long call for each, however many follow it.
//!
//! Consul ends a call that was begun only when its key changes or its time is over, also where nobody listens any more
//! (tried on 1.8.7): so a call is never given up, and whoever follows comes and goes without one of their own. Where the
//! engine's lane for long calls is full, a key is looked at from time to time instead: nobody is refused here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::engines::Fault;
use crate::engines::consul::Consul;

/// How long a call may stay unanswered: also how long it goes on after its last follower.
const WAIT: Duration = Duration::from_secs(20);
/// The least time between two calls for a key: one that is absent is answered at every write of the cluster.
const LEAST: Duration = Duration::from_millis(50);
/// The pause where a key is absent, cannot be watched, or Consul is away.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of a key: the index of its last change, 0 where it is absent; `None`: nothing yet.
type Known = Option<u64>;

#[derive(Debug, Clone)]
pub(super) struct Keys {
    consul: Consul,
    followed: Arc<Mutex<HashMap<String, watch::Sender<Known>>>>,
}

/// Hears of one key's changes.
#[derive(Debug)]
pub struct KeyFollower {
    known: watch::Receiver<Known>,
}

impl KeyFollower {
    /// Waits until the key was changed after `index`, or is absent (`index` is 0 where it was), for `longest` at most.
    pub async fn changed(&mut self, index: u64, longest: Duration) {
        let differs =
            self.known.wait_for(|known| known.is_some_and(|at| at > index || (at == 0 && index > 0)));
        let waited = tokio::time::timeout(longest, differs).await.map(|told| told.is_ok());
        if waited == Ok(false) {
            // The agent stops.
            tokio::time::sleep(longest).await;
        }
    }
}

impl Keys {
    pub(super) fn new(consul: Consul) -> Self {
        Self { consul, followed: Arc::default() }
    }

    pub(super) fn follow(&self, key: &str) -> KeyFollower {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tx) = followed.get(key) {
            return KeyFollower { known: tx.subscribe() };
        }
        let (tx, known) = watch::channel(None);
        followed.insert(key.to_owned(), tx);
        tokio::spawn(self.clone().watch(key.to_owned()));
        KeyFollower { known }
    }

    /// Tells what is known now; `false`: nobody follows, and the key is forgotten.
    fn tell(&self, key: &str, now: Known) -> bool {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tx) = followed.get(key) else { return false };
        if tx.receiver_count() == 0 {
            followed.remove(key);
            return false;
        }
        if now.is_some() {
            tx.send_if_modified(|known| std::mem::replace(known, now) != now);
        }
        true
    }

    async fn watch(self, key: String) {
        let mut index = 0;
        loop {
            let (now, pause) = match self.consul.kv_wait(&key, index, WAIT).await {
                Ok((entry, next)) => {
                    index = next;
                    let at = entry.map_or(0, |e| e.modify_index);
                    (Some(at), if at == 0 { PAUSE } else { LEAST })
                }
                Err(e) => {
                    index = 0;
                    if e.fault != Fault::Busy {
                        tracing::debug!(error = %e, key, "a key is not watched now");
                    }
                    // The look that comes now is a brief call.
                    (None, PAUSE)
                }
            };
            if !self.tell(&key, now) {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    }
}
