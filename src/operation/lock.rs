//! An app's lock in Consul: who holds it may change the app, and nobody else.
//!
//! Must never give a lock twice, also not to two requests at this very agent.

use std::time::Duration;

use super::run::{Runner, backoff, encode, fresh_uid};
use super::session::Lease;
use crate::engines::consul::{KvEntry, TxnOp};
use crate::engines::{EngineError, Fault};
use crate::model::{Placement, Uid};
use crate::store::keys;
use crate::store::records::{By, LockHolder, SCHEMA, Verb};

/// How long a lock that was just given back is tried for: Consul's lock-delay of 1 s, and some who were faster.
const SHUT: Duration = Duration::from_secs(3);

/// Why an operation could not be opened. Nothing has happened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else's operation is under way.
    #[error("{} of {app} by {} is under way (operation {})", .holder.verb, .holder.login, .holder.operation)]
    Held {
        /// On which app.
        app: Placement,
        /// Whose.
        holder: Box<LockHolder>,
    },
    /// This agent has no session in Consul now.
    #[error("this agent has no session in Consul now, and takes no changes until it has one")]
    NoSession,
    /// Its lock was just given back, and is shut for a moment.
    #[error("its lock was just given back and is shut for a second; try again")]
    Shut,
    /// The world moved since the plan was made.
    #[error("the world moved: {0}")]
    Moved(String),
    /// The opening had no answer, and nobody can be asked now: it may go on by itself.
    #[error("{lost}; whether the change was begun is not known: if it was, it goes on by itself")]
    Unsure {
        /// The operation, if there is one.
        operation: Uid,
        /// What came instead of an answer.
        lost: EngineError,
    },
    /// An engine said no, or is away.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// An app's lock, held for an operation by this agent's session.
#[derive(Debug)]
pub struct Lock {
    pub(super) app: Placement,
    pub(super) operation: Uid,
    pub(super) lease: Lease,
    /// Consul's index of its taking; `None` where the answer was lost.
    taken: Option<u64>,
}

impl Lock {
    /// The operation that it is held for.
    pub fn operation(&self) -> &Uid {
        &self.operation
    }
}

impl Runner {
    /// Takes an app's lock for a new operation. One that was just given back is tried for again, for longer than
    /// Consul keeps it shut; one that somebody holds is not waited for.
    pub async fn lock(&self, app: &Placement, by: &By, verb: Verb) -> Result<Lock, OpenError> {
        self.lock_for(app, fresh_uid(self.now()), by, verb.as_str()).await
    }

    /// The same, for what has an id already.
    pub async fn lock_for(
        &self,
        app: &Placement,
        operation: Uid,
        by: &By,
        verb: &str,
    ) -> Result<Lock, OpenError> {
        self.has_audit_room(verb)?;
        let begun = tokio::time::Instant::now();
        loop {
            match self.try_lock(app, operation.clone(), by, verb).await {
                Err(OpenError::Shut) if begun.elapsed() < SHUT => tokio::time::sleep(backoff(1)).await,
                done => return done,
            }
        }
    }

    /// The same, at once or not at all.
    pub(super) async fn try_lock(
        &self,
        app: &Placement,
        operation: Uid,
        by: &By,
        verb: &str,
    ) -> Result<Lock, OpenError> {
        let lease = self.inner.session.lease().ok_or(OpenError::NoSession)?;
        let holder = LockHolder {
            v: SCHEMA,
            agent: self.inner.agent.clone(),
            operation: operation.clone(),
            login: by.login.clone(),
            verb: verb.to_owned(),
        };
        let key = keys::lock(app);
        let consul = self.inner.hands.consul.clone().with_gate(lease.gate());
        // Our own session would be given the lock a second time: what it holds already is held by another operation.
        let held = |entry: Option<KvEntry>| {
            entry.filter(|e| e.session.is_some()).map(|e| {
                let holder = serde_json::from_slice(&e.value).unwrap_or_else(|_| holder.clone());
                OpenError::Held { app: app.clone(), holder: Box::new(holder) }
            })
        };
        let seen = consul.kv_get(&key).await?;
        if let Some(error) = held(seen.clone()) {
            return Err(error);
        }
        // In one transaction with the check, so that two requests to this very agent cannot both get it.
        let value = encode(&holder)?;
        let check = match &seen {
            Some(e) => TxnOp::CheckIndex { key: key.clone(), index: e.modify_index },
            None => TxnOp::CheckNotExists { key: key.clone() },
        };
        let take = TxnOp::Lock { key: key.clone(), value, session: lease.id.clone() };
        match consul.txn(&[check, take]).await {
            Ok(entries) => {
                // The check before it answers with the entry as it was.
                let taken = entries.iter().rfind(|e| e.key == key).map(|e| e.modify_index);
                Ok(Lock { app: app.clone(), operation, lease, taken })
            }
            Err(e) if e.fault == Fault::Conflict => {
                Err(held(consul.kv_get(&key).await?).unwrap_or(OpenError::Shut))
            }
            Err(e) => {
                // The reply may have been lost after the effect: then it is held, and for nobody.
                self.unlock(Lock { app: app.clone(), operation, lease, taken: None }).await;
                Err(e.into())
            }
        }
    }

    /// Gives a lock back. Where Consul is away it goes on trying in the background: the session that holds it lives as
    /// long as this agent, and the app would be shut as long.
    pub async fn unlock(&self, lock: Lock) {
        let Err(e) = self.release(&lock).await else { return };
        tracing::warn!(app = %lock.app, error = %e, "a lock was not given back yet");
        let runner = self.clone();
        tokio::spawn(async move {
            let mut failures = 1;
            while lock.lease.reopened().await {
                match runner.release(&lock).await {
                    Ok(()) => return,
                    Err(e) => tracing::debug!(app = %lock.app, error = %e, "a lock was not given back yet"),
                }
                failures += 1;
                tokio::time::sleep(backoff(failures)).await;
            }
        });
    }

    /// Releases a lock where it is still held for this very operation, and has not been taken again since: this agent may
    /// have taken the operation up once more meanwhile.
    async fn release(&self, lock: &Lock) -> Result<(), EngineError> {
        let key = keys::lock(&lock.app);
        let consul = self.inner.hands.consul.clone().with_gate(lock.lease.gate());
        let Some(entry) = consul.kv_get(&key).await? else { return Ok(()) };
        let ours = entry.session.as_ref() == Some(&lock.lease.id)
            && lock.taken.is_none_or(|index| index == entry.modify_index)
            && serde_json::from_slice::<LockHolder>(&entry.value)
                .is_ok_and(|h| h.operation == lock.operation);
        if !ours {
            return Ok(());
        }
        let ops = [
            TxnOp::CheckIndex { key: key.clone(), index: entry.modify_index },
            TxnOp::Unlock { key, value: entry.value.to_vec(), session: lock.lease.id.clone() },
        ];
        match consul.txn(&ops).await {
            // Somebody was faster, or the session is gone.
            Err(e) if e.fault == Fault::Conflict => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// Waits out a fence that time has shut (Consul is away): the session, and with it the lock, may live on, and then
    /// nobody else takes the operation up. `false`: it is another agent's now, or this agent stops.
    pub(super) async fn is_still_ours(&self, lock: &Lock) -> bool {
        tokio::select! {
            biased;
            open = lock.lease.reopened() => open,
            () = self.inner.stop.cancelled() => false,
        }
    }
}
