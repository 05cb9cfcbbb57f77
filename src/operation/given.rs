//! What people give: values of env and of `user` secrets. They are written by the transaction that opens the
//! operation which takes them, or kept for the next release (`--stage`).
//!
//! Must never write a value without a record of who gave it, and never show one.

use secrecy::{ExposeSecret, SecretString};

use super::lock::{Lock, OpenError};
use super::points;
use super::run::{Runner, encode, fresh_uid};
use crate::engines::consul::{TXN_OPS, TxnOp};
use crate::engines::{EngineError, Fault};
use crate::model::head::Outcome;
use crate::model::names::EnvName;
use crate::model::{Head, Placement, SecretName, Uid};
use crate::resources::{env, secret};
use crate::store::records::{Audit, By, Doomed, DoomedThing, OpRecord, SCHEMA, Verb};
use crate::store::{ConfigChange, ConfigMade, EnvMade, Versioned, keys};

/// How long values that no record names yet are left alone: whoever wrote them is about to.
const UNNAMED: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
/// So many values, and so many bytes of them, go into one transaction, beside the records.
const TOGETHER: (usize, usize) = (24, 192 << 10);

/// Values that a person gave, with the versions that they become.
#[derive(Debug, Default)]
pub struct Given {
    /// Of `user` secrets.
    pub secrets: Vec<(SecretName, u64, SecretString)>,
    /// Of the environment.
    pub env: Vec<(EnvName, u64, SecretString)>,
    /// Names of the environment that are set no more, each with the version that says so.
    pub unset: Vec<(EnvName, u64)>,
}

impl Given {
    /// True where nothing was given.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.env.is_empty() && self.unset.is_empty()
    }

    /// The versions alone.
    pub fn made(&self) -> ConfigMade {
        let set = self.env.iter().map(|(n, v, _)| (n.clone(), EnvMade::Set(*v)));
        let unset = self.unset.iter().map(|(n, v)| (n.clone(), EnvMade::Unset(*v)));
        ConfigMade {
            env: set.chain(unset).collect(),
            secrets: self.secrets.iter().map(|(n, v, _)| (n.clone(), *v)).collect(),
        }
    }

    /// One write for each value, with the value's bytes.
    pub(super) fn ops(&self, app: &Placement) -> Vec<(TxnOp, usize)> {
        let secrets = self.secrets.iter().map(|(n, v, value)| (secret::given_op(app, n, *v, value), value));
        let env = self.env.iter().map(|(n, v, value)| (env::write_op(app, n, *v, value), value));
        secrets.chain(env).map(|(op, value)| (op, value.expose_secret().len())).collect()
    }
}

/// Writes in transactions of a size that Consul takes; at most `first` of them in the first.
fn rooms<T>(values: Vec<(T, usize)>, first: usize) -> Vec<Vec<T>> {
    let mut rooms: Vec<Vec<T>> = vec![Vec::new()];
    let (mut free, mut bytes) = (first.min(TOGETHER.0), 0);
    for (op, size) in values {
        if free == 0 || bytes + size > TOGETHER.1 {
            rooms.push(Vec::new());
            (free, bytes) = (TOGETHER.0, 0);
        }
        (free, bytes) = (free - 1, bytes + size);
        if let Some(room) = rooms.last_mut() {
            room.push(op);
        }
    }
    rooms
}

impl Runner {
    /// The record of who gave what; nothing where nobody did.
    pub(super) fn given_change(
        &self,
        lock: &Lock,
        uid: &Uid,
        by: &By,
        release: Option<u64>,
        given: &Given,
    ) -> Result<Option<TxnOp>, EngineError> {
        if given.is_empty() {
            return Ok(None);
        }
        let change = ConfigChange {
            v: SCHEMA,
            id: lock.operation.clone(),
            uid: uid.clone(),
            at: self.now().to_string(),
            by: by.clone(),
            release,
            made: given.made(),
        };
        let key = keys::config_change(&lock.app, &lock.operation);
        Ok(Some(TxnOp::Create { key, value: encode(&change)? }))
    }

    /// Gives what fits into a transaction that holds `others` already. What does not is written before it, each room in
    /// one transaction with a doomed record that names it; the transaction that is given takes those records back. So
    /// what an agent that dies in between has written is the sweep's.
    pub(super) async fn write_early(
        &self,
        lock: &Lock,
        uid: &Uid,
        others: usize,
        values: Vec<(TxnOp, usize)>,
    ) -> Result<Vec<TxnOp>, EngineError> {
        // For each room but the first, one more operation in the transaction that names them all.
        let count = |first| rooms(values.iter().map(|(_, size)| ((), *size)).collect(), first).len();
        let first = TXN_OPS.saturating_sub(others + count(0));
        let mut rooms = rooms(values, first).into_iter();
        let mut fitting = rooms.next().unwrap_or_default();
        let consul = self.inner.hands.consul.clone().with_gate(lock.lease.gate());
        for room in rooms {
            let id = fresh_uid(self.now());
            let prefix = lock.app.secrets_prefix();
            let thing = |op: &TxnOp| match op {
                TxnOp::Create { key, .. } => key.strip_prefix(&prefix).map(DoomedThing::early),
                _ => None,
            };
            let doomed = Doomed {
                v: SCHEMA,
                id: id.clone(),
                uid: uid.clone(),
                app: lock.app.clone(),
                things: room.iter().filter_map(thing).collect(),
                not_before: self.now().checked_add(UNNAMED).unwrap_or_else(|_| self.now()).to_string(),
            };
            let mut ops = vec![
                TxnOp::CheckSession { key: keys::lock(&lock.app), session: lock.lease.id.clone() },
                TxnOp::Create { key: keys::doomed(&id), value: encode(&doomed)? },
            ];
            ops.extend(room);
            points::pass("given.early.before");
            consul.txn(&ops).await?;
            points::pass("given.early.after");
            fitting.push(TxnOp::Delete { key: keys::doomed(&id) });
        }
        Ok(fitting)
    }

    /// Keeps values for the next release, without making one: one transaction with the head, the record of who gave
    /// them, and the audit's. The lock is given back. An error means that nothing has happened, but for
    /// [`OpenError::Unsure`].
    pub async fn stage(
        &self,
        lock: Lock,
        head: Versioned<Head>,
        by: &By,
        given: &Given,
        summary: String,
    ) -> Result<(), OpenError> {
        let told = (summary, Vec::new());
        let done = self.write_stage(&lock, head, (by, Verb::Configure), given, told, Vec::new()).await;
        self.unlock(lock).await;
        done
    }

    /// Writes a head that was changed under the lock, with the audit's record, and nothing else: what concerns no
    /// engine but Consul. As [`Runner::stage`]. `about`: whom it concerns, for the audit.
    pub async fn amend(
        &self,
        lock: Lock,
        head: Versioned<Head>,
        (by, verb): (&By, Verb),
        (summary, about): (String, Vec<String>),
    ) -> Result<(), OpenError> {
        let told = (summary, about);
        let done = self.write_stage(&lock, head, (by, verb), &Given::default(), told, Vec::new()).await;
        self.unlock(lock).await;
        done
    }

    /// The same, and more in the same transaction.
    pub(super) async fn amend_with(
        &self,
        lock: Lock,
        head: Versioned<Head>,
        (by, verb): (&By, Verb),
        summary: String,
        more: Vec<TxnOp>,
    ) -> Result<(), OpenError> {
        let told = (summary, Vec::new());
        let done = self.write_stage(&lock, head, (by, verb), &Given::default(), told, more).await;
        self.unlock(lock).await;
        done
    }

    async fn write_stage(
        &self,
        lock: &Lock,
        head: Versioned<Head>,
        (by, verb): (&By, Verb),
        given: &Given,
        (summary, about): (String, Vec<String>),
        more: Vec<TxnOp>,
    ) -> Result<(), OpenError> {
        let id = lock.operation.clone();
        let audit = Audit {
            v: SCHEMA,
            at: self.now().to_string(),
            by: by.clone(),
            app: lock.app.clone(),
            uid: Some(head.value.uid.clone()),
            about,
            verb: verb.as_str().to_owned(),
            operation: id.clone(),
            outcome: Outcome::Done,
            summary,
        };
        let mut ops = vec![
            TxnOp::CheckSession { key: keys::lock(&lock.app), session: lock.lease.id.clone() },
            TxnOp::Cas { key: keys::head(&lock.app), value: encode(&head.value)?, index: head.index },
            TxnOp::Create { key: keys::audit(&id), value: encode(&audit)? },
        ];
        ops.extend(more);
        ops.extend(self.given_change(lock, &head.value.uid, by, None, given)?);
        let early = self.write_early(lock, &head.value.uid, ops.len(), given.ops(&lock.app));
        ops.extend(Box::pin(early).await?);
        let consul = self.inner.hands.consul.clone().with_gate(lock.lease.gate());
        points::pass(&format!("{}.stage.before", verb.as_str()));
        let lost = match consul.txn(&ops).await {
            Ok(_) => None,
            Err(e) if e.fault == Fault::Conflict => return Err(OpenError::Moved(e.message)),
            Err(e) if e.is_passing() => Some(e),
            Err(e) => return Err(e.into()),
        };
        points::pass(&format!("{}.stage.after", verb.as_str()));
        let Some(lost) = lost else { return Ok(()) };
        // The answer is lost, not always the effect: its audit record tells.
        match self.inner.store.consul().kv_get(&keys::audit(&id)).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(lost.into()),
            Err(_) => Err(OpenError::Unsure { operation: id, lost }),
        }
    }

    /// Makes the values with which a release serves the current ones, where people look for them. Repeated by
    /// whoever takes the operation over.
    pub(super) async fn secrets_follow(&self, lock: &Lock, op: &OpRecord) -> Result<(), EngineError> {
        let ops = secret::current_ops(&self.inner.hands.consul, &op.app, &op.after.secrets).await?;
        let consul = self.inner.hands.consul.clone().with_gate(lock.lease.gate());
        for one in ops {
            let check = TxnOp::CheckSession { key: keys::lock(&op.app), session: lock.lease.id.clone() };
            points::pass(&format!("{}.current.before", op.verb.as_str()));
            consul.txn(&[check, one]).await?;
            points::pass(&format!("{}.current.after", op.verb.as_str()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_into_the_fewest_transactions_that_consul_takes() {
        let op = |n: usize| TxnOp::Set { key: format!("k/{n}"), value: Vec::new() };
        let sizes = |count: usize, size: usize, first: usize| {
            let values = (0..count).map(|n| (op(n), size)).collect();
            rooms(values, first).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(0, 0, 60), [0]);
        assert_eq!(sizes(24, 1, 60), [24]);
        assert_eq!(sizes(50, 1, 60), [24, 24, 2]);
        assert_eq!(sizes(3, 1, 0), [0, 3]);
        assert_eq!(sizes(8, 32 << 10, 60), [6, 2]);
    }
}
