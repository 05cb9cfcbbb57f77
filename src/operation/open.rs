//! How an operation begins: by the transaction that opens it, or by taking up one whose agent is gone.
//!
//! Must never have an effect on an engine but Consul's records (**G1**).

use super::Progress;
use super::given::Given;
use super::lock::{Lock, OpenError};
use super::run::{Runner, backoff, encode, pass};
use crate::engines::consul::TxnOp;
use crate::engines::{EngineError, Fault};
use crate::model::{Head, Placement, Uid};
use crate::plan::Plan;
use crate::resources::{Attempt, Evidence};
use crate::store::records::{By, Direction, LockHolder, NameRecord, OpRecord, SCHEMA, Step, StepState, Verb};
use crate::store::{Versioned, keys};

/// How often it is looked for an operation whose opening had no answer: some 5 s in all.
const LOOKS: u32 = 5;

/// What an operation is opened with.
#[derive(Debug)]
pub struct Opening {
    /// The head as it was read under the lock, or as it is made now (index 0).
    pub head: Versioned<Head>,
    /// What is done.
    pub plan: Plan,
    /// What kind.
    pub verb: Verb,
    /// Who asked.
    pub by: By,
    /// What a person gave: written by the transaction that opens.
    pub given: Given,
}

impl Runner {
    /// Opens an operation and runs it in the background. An error means that nothing has happened, but for
    /// [`OpenError::Unsure`].
    pub async fn open(&self, lock: Lock, opening: Opening) -> Result<Uid, OpenError> {
        let notes = opening.plan.notes.clone();
        match self.write_opening(&lock, opening).await {
            Ok(record) => {
                let id = lock.operation.clone();
                // Whoever deploys without having looked at the plan hears of them here.
                for text in notes {
                    self.say(&id, Progress::Note { text });
                }
                self.spawn(lock, record, Attempt::First);
                Ok(id)
            }
            Err(e) => {
                self.unlock(lock).await;
                Err(e)
            }
        }
    }

    async fn write_opening(&self, lock: &Lock, o: Opening) -> Result<Versioned<OpRecord>, OpenError> {
        if let Some(open) = &o.head.value.operation {
            // Its lock was free: its agent is gone. Whoever opened another one over it would have both run.
            return Err(self.held_by(&lock.app, open).await?);
        }
        let id = lock.operation.clone();
        let mut steps: Vec<Step> = o
            .plan
            .steps
            .iter()
            .map(|spec| Step { spec: spec.clone(), state: StepState::Todo, evidence: Evidence::new() })
            .collect();
        if let Some(first) = steps.first_mut() {
            first.state = StepState::Begun;
        }
        let record = OpRecord {
            v: SCHEMA,
            id: id.clone(),
            app: lock.app.clone(),
            uid: o.head.value.uid.clone(),
            verb: o.verb,
            by: o.by,
            at: self.now().to_string(),
            plan: o.plan.token.clone(),
            direction: Direction::Forward,
            turned: None,
            cancel: None,
            claim: 0,
            agent: self.inner.agent.clone(),
            steps,
            after: o.plan.after,
        };
        let mut head = o.head.value;
        head.operation = Some(id.clone());
        let head_key = keys::head(&lock.app);
        let mut ops = vec![
            TxnOp::CheckSession { key: keys::lock(&lock.app), session: lock.lease.id.clone() },
            match o.head.index {
                0 => TxnOp::Create { key: head_key, value: encode(&head)? },
                index => TxnOp::Cas { key: head_key, value: encode(&head)?, index },
            },
            TxnOp::Create { key: keys::operation(&id), value: encode(&record)? },
        ];
        for name in &o.plan.new_names {
            let owner = NameRecord { v: SCHEMA, uid: record.uid.clone(), app: lock.app.clone() };
            ops.push(TxnOp::Create { key: keys::name(name.space, &name.name), value: encode(&owner)? });
        }
        let release = record.after.release.as_ref().map(|r| r.number.0);
        ops.extend(self.given_change(lock, &record.uid, &record.by, release, &o.given)?);
        let early = self.write_early(lock, &record.uid, ops.len(), o.given.ops(&lock.app));
        let fitting = Box::pin(early).await?;
        ops.extend(fitting);
        let consul = self.inner.hands.consul.clone().with_gate(lock.lease.gate());
        pass(&record, "open", "before");
        let lost = match consul.txn(&ops).await {
            Ok(_) => None,
            Err(e) if e.fault == Fault::Conflict => return Err(OpenError::Moved(e.message)),
            // Whether it was written is not known: if it was, what is written is run; if not, nothing has happened.
            Err(e) if e.is_passing() => {
                let doing = format!("begin the {} of {}", record.verb.as_str(), record.app);
                Some(EngineError { doing, ..e })
            }
            Err(e) => return Err(e.into()),
        };
        pass(&record, "open", "after");
        self.opened(&id, lost).await
    }

    /// Reads what was opened. `lost`: what came instead of an answer. An error: it was not, or nobody can tell now.
    async fn opened(
        &self,
        id: &Uid,
        mut lost: Option<EngineError>,
    ) -> Result<Versioned<OpRecord>, OpenError> {
        let mut failures = 0;
        loop {
            match (self.inner.store.operation(id).await, lost.take()) {
                (Ok(Some(written)), _) => return Ok(written),
                (Ok(None), Some(lost)) => return Err(lost.into()),
                (Ok(None), None) => {
                    let why = "the operation was ended by somebody else at once";
                    return Err(OpenError::Moved(why.to_owned()));
                }
                (Err(e), before) if failures == LOOKS => {
                    return Err(OpenError::Unsure { operation: id.clone(), lost: before.unwrap_or(e) });
                }
                (Err(_), before) => lost = before,
            }
            failures += 1;
            tokio::time::sleep(backoff(failures)).await;
        }
    }

    /// The refusal of a change of an app whose head names an operation that nobody drives at this moment.
    pub async fn held_by(&self, app: &Placement, operation: &Uid) -> Result<OpenError, EngineError> {
        Ok(match self.inner.store.operation(operation).await? {
            Some(open) => {
                let holder = LockHolder {
                    v: SCHEMA,
                    agent: open.value.agent,
                    operation: open.value.id,
                    login: open.value.by.login,
                    verb: open.value.verb.as_str().to_owned(),
                };
                OpenError::Held { app: app.clone(), holder: Box::new(holder) }
            }
            None => OpenError::Moved("the operation before it has just ended; try again".to_owned()),
        })
    }

    /// Takes up an operation whose agent is gone. `false`: somebody else holds it.
    pub async fn take_over(&self, found: Versioned<OpRecord>) -> Result<bool, OpenError> {
        let old = &found.value;
        let lock = match self.try_lock(&old.app, old.id.clone(), &old.by, old.verb.as_str()).await {
            Ok(lock) => lock,
            Err(OpenError::Held { .. } | OpenError::Moved(_) | OpenError::Shut) => return Ok(false),
            Err(e) => return Err(e),
        };
        // Read again under the lock: it may have ended while we waited.
        let mut record = match self.inner.store.operation(&old.id).await {
            Ok(Some(record)) => record,
            read => {
                // Kept by us and driven by nobody, it would be shut as long as this agent lives.
                self.unlock(lock).await;
                return read.map(|_| false).map_err(OpenError::from);
            }
        };
        record.value.claim += 1;
        record.value.agent = self.inner.agent.clone();
        tracing::info!(operation = %old.id, app = %old.app, claim = record.value.claim, "taking over an operation");
        match self.record(&lock, &record).await {
            Ok(written) => {
                self.say(
                    &lock.operation,
                    Progress::Waiting { why: "taken over from an agent that is gone".to_owned() },
                );
                self.spawn(lock, written, Attempt::Again);
                Ok(true)
            }
            Err(e) => {
                self.unlock(lock).await;
                Err(e.into())
            }
        }
    }
}
