//! A person turns an operation back, gives up on its rollout, or abandons it where it stands: the order is written into its record, by whichever agent
//! was asked, and carried out by the one that drives it (or takes it up).
//!
//! # Guarantees
//! **G2**: the order is taken by CAS on the very record that its owner replaces when it begins a step. So either the owner
//! finds it before anything is begun that cannot be taken back, or the order finds that step begun and is refused; once
//! that step is done and its rollout is waited for, the order turns nothing, and the wait ends.
//! Must never change anything of a record but its `cancel`.

use super::points;
use super::run::{Runner, backoff, encode, fresh_uid};
use super::turning::{NoCancel, is_rolling_out, may_abandon, may_cancel};
use crate::engines::consul::TxnOp;
use crate::engines::{EngineError, Fault};
use crate::model::head::Outcome;
use crate::model::{Placement, Uid};
use crate::store::keys;
use crate::store::records::{Audit, By, Cancel, OpRecord, OpenIntent, SCHEMA};

/// How often a record that moves on is tried again: each step of an operation moves it at most three times.
const TRIES: u32 = 50;

/// What is ordered of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// To turn back, or to give up on its rollout.
    Back,
    /// To end where it stands: no step is run or taken back any more.
    Abandon,
}

/// Why an operation was not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// There is no such open operation: it has ended, or never was.
    #[error("it is not under way")]
    NotOpen,
    /// It is too late, or was done already.
    #[error("it cannot be cancelled (any more)")]
    Not(Box<OpRecord>, NoCancel),
    /// This agent has no session in Consul now.
    #[error("this agent has no session in Consul now, and takes no changes until it has one")]
    NoSession,
    /// An engine said no, or is away.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Runner {
    /// Orders an open plan of one step back. Gives its app; it ends undone where Nomad has not done it yet, as whoever
    /// follows it hears. [`CancelError::NotOpen`]: there is none of this id.
    pub async fn cancel_intent(&self, id: &Uid, by: &By) -> Result<Placement, CancelError> {
        let mut failures = 0;
        loop {
            let Some(found) = self.inner.store.intent(id).await? else { return Err(CancelError::NotOpen) };
            if found.value.cancel.is_some() {
                return Ok(found.value.app);
            }
            let lease = self.inner.session.lease().ok_or(CancelError::NoSession)?;
            let order = Cancel { by: by.clone(), at: self.now().to_string(), abandon: false };
            let open = OpenIntent { cancel: Some(order), ..found.value };
            let summary = "ordered the change back".to_owned();
            let ops = [
                TxnOp::Cas { key: keys::intent(id), value: encode(&open)?, index: found.index },
                self.told_order("cancel", (&open.app, None, None), (id, by), summary)?,
            ];
            let consul = self.inner.hands.consul.clone().with_gate(lease.gate());
            points::pass("cancel.intent.before");
            match consul.txn(&ops).await {
                Ok(_) => {
                    points::pass("cancel.intent.after");
                    tracing::info!(intent = %id, login = %by.login, "cancelled");
                    return Ok(open.app);
                }
                Err(e) if (e.fault == Fault::Conflict || e.is_passing()) && failures < TRIES => {
                    failures += 1;
                    tokio::time::sleep(backoff(failures.min(2))).await;
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn told_order(
        &self,
        verb: &str,
        (app, uid, whose): (&Placement, Option<Uid>, Option<&str>),
        (operation, by): (&Uid, &By),
        summary: String,
    ) -> Result<TxnOp, EngineError> {
        let audit = Audit {
            v: SCHEMA,
            at: self.now().to_string(),
            by: by.clone(),
            app: app.clone(),
            uid,
            about: whose.filter(|login| *login != by.login).map(str::to_owned).into_iter().collect(),
            verb: verb.to_owned(),
            operation: operation.clone(),
            outcome: Outcome::Done,
            summary,
        };
        Ok(TxnOp::Set { key: keys::audit(&fresh_uid(self.now())), value: encode(&audit)? })
    }

    /// Orders an open operation to turn back, or to end where it stands. Gives its record with the order in it; it is followed
    /// to its end like any other.
    pub async fn cancel(&self, id: &Uid, by: &By, order: Order) -> Result<OpRecord, CancelError> {
        let mut failures = 0;
        // After a lost answer our own order is known by its time.
        let abandon = order == Order::Abandon;
        let ours = Cancel { by: by.clone(), at: self.now().to_string(), abandon };
        loop {
            let Some(found) = self.inner.store.operation(id).await? else { return Err(CancelError::NotOpen) };
            if found.value.cancel.as_ref() == Some(&ours) {
                return Ok(found.value);
            }
            let may = if abandon { may_abandon(&found.value) } else { may_cancel(&found.value) };
            if let Err(why) = may {
                return Err(CancelError::Not(Box::new(found.value), why));
            }
            let lease = self.inner.session.lease().ok_or(CancelError::NoSession)?;
            let record = OpRecord { cancel: Some(ours.clone()), ..found.value };
            let (verb, login) = (record.verb.as_str(), &record.by.login);
            let summary = if abandon {
                format!("abandoned the {verb} of {login}")
            } else if is_rolling_out(&record) {
                format!("gave up on the {verb} of {login}")
            } else {
                format!("turned the {verb} of {login} back")
            };
            let of = (&record.app, Some(record.uid.clone()), Some(login.as_str()));
            let told = self.told_order(if abandon { "abandon" } else { "cancel" }, of, (id, by), summary)?;
            let ops =
                [TxnOp::Cas { key: keys::operation(id), value: encode(&record)?, index: found.index }, told];
            let consul = self.inner.hands.consul.clone().with_gate(lease.gate());
            points::pass("cancel.record.before");
            match consul.txn(&ops).await {
                Ok(_) => {
                    points::pass("cancel.record.after");
                    tracing::info!(operation = %id, login = %by.login, "cancelled");
                    // Where it is this agent's own, it need not wait to hear of it.
                    self.inner.cancelled.notify_waiters();
                    return Ok(record);
                }
                // It moved on, or the answer was lost: looked at again.
                Err(e) if (e.fault == Fault::Conflict || e.is_passing()) && failures < TRIES => {
                    failures += 1;
                    tokio::time::sleep(backoff(failures.min(2))).await;
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}
