//! Opens operations, drives them to their end, takes up those of agents that are gone.
//!
//! # Guarantees
//! **G1** no effect without a record that names it. **G3** an agent that was paused does at most the one call already
//! recorded as begun: every write passes the lease's gate, every record is fenced by session and CAS.
//! **G4** a killed operation ends within take-over time plus its remaining steps.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::close::{Closing, close};
use super::machine::{Next, Seen, decide};
use super::session::{AgentSession, Lease};
use super::{Hub, Progress, points};
use crate::clock::SharedClock;
use crate::engines::consul::TxnOp;
use crate::engines::{Engine, EngineError, Fault};
use crate::model::head::{Head, Outcome};
use crate::model::{Placement, SecretName, Uid};
use crate::plan::Plan;
use crate::resources::{self, Attempt, Evidence, Hands, Work, secret, settle};
use crate::store::records::{
    Audit, By, Direction, Doomed, Ended, LockHolder, NameRecord, OpRecord, SCHEMA, Step, StepSpec, StepState,
    Verb,
};
use crate::store::{Store, Versioned, keys};

/// How long after an operation what it doomed may be swept.
const GRACE: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// How often it is looked for an operation whose opening had no answer: some 5 s in all.
const LOOKS: u32 = 5;

/// Makes a fresh id: a lower-case ULID of this time.
pub fn fresh_uid(at: jiff::Timestamp) -> Uid {
    let ms = u64::try_from(at.as_millisecond()).unwrap_or(0);
    let text = ulid::Ulid::from_parts(ms, rand::random()).to_string().to_lowercase();
    Uid::new(text).unwrap_or_else(|_| unreachable!("a ULID is a uid"))
}

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
    #[error("this agent has lost its session in Consul and takes no changes until it has a new one")]
    NoSession,
    /// The world moved since the plan was made.
    #[error("the world moved: {0}")]
    Moved(String),
    /// An engine said no, or is away.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// An app's lock, held for an operation by this agent's session.
#[derive(Debug)]
pub struct Lock {
    app: Placement,
    operation: Uid,
    lease: Lease,
}

impl Lock {
    /// The operation that it is held for.
    pub fn operation(&self) -> &Uid {
        &self.operation
    }
}

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
    /// Values that a person gave: written by the transaction that opens.
    pub given: Vec<(SecretName, u64, SecretString)>,
}

/// Runs operations. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runner {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    hands: Hands,
    store: Store,
    session: AgentSession,
    agent: Uid,
    hub: Hub,
    clock: SharedClock,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Runner {
    /// A runner for this agent.
    pub fn new(hands: Hands, store: Store, session: AgentSession, agent: Uid, clock: SharedClock) -> Self {
        let (hub, stop, tasks) = (Hub::default(), CancellationToken::new(), TaskTracker::new());
        Self { inner: Arc::new(Inner { hands, store, session, agent, hub, clock, stop, tasks }) }
    }

    /// Who follows what.
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }
    /// The records.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }
    /// The clients, ungated: for reads.
    pub fn hands(&self) -> &Hands {
        &self.inner.hands
    }
    /// This agent's id.
    pub fn agent(&self) -> &Uid {
        &self.inner.agent
    }
    /// The agent's session.
    pub fn session(&self) -> &AgentSession {
        &self.inner.session
    }
    /// What time it is.
    pub fn now(&self) -> jiff::Timestamp {
        self.inner.clock.now()
    }

    /// Stops gracefully: every operation ends the step in hand and is left for another agent, with no step begun.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Takes an app's lock for a new operation.
    pub async fn lock(&self, app: &Placement, by: &By, verb: Verb) -> Result<Lock, OpenError> {
        self.lock_for(app, fresh_uid(self.now()), by, verb).await
    }

    async fn lock_for(
        &self,
        app: &Placement,
        operation: Uid,
        by: &By,
        verb: Verb,
    ) -> Result<Lock, OpenError> {
        let lease = self.inner.session.lease().ok_or(OpenError::NoSession)?;
        let holder = LockHolder {
            v: SCHEMA,
            agent: self.inner.agent.clone(),
            operation: operation.clone(),
            login: by.login.clone(),
            verb: verb.as_str().to_owned(),
        };
        let key = keys::lock(app);
        let consul = self.inner.hands.consul.clone().with_gate(lease.gate());
        // Our own session would be given the lock a second time: what it holds already is held by another operation.
        let held = |entry: Option<crate::engines::consul::KvEntry>| {
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
            Ok(_) => Ok(Lock { app: app.clone(), operation, lease }),
            Err(e) if e.fault == Fault::Conflict => {
                Err(held(consul.kv_get(&key).await?).unwrap_or_else(|| {
                    OpenError::Moved(
                        "its lock was just given back and is shut for a second; try again".to_owned(),
                    )
                }))
            }
            Err(e) => {
                // The reply may have been lost after the effect: then it is held, and for nobody.
                self.unlock(Lock { app: app.clone(), operation, lease }).await;
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

    /// Releases a lock where it is still held for this very operation.
    async fn release(&self, lock: &Lock) -> Result<(), EngineError> {
        let key = keys::lock(&lock.app);
        let consul = self.inner.hands.consul.clone().with_gate(lock.lease.gate());
        let Some(entry) = consul.kv_get(&key).await? else { return Ok(()) };
        let ours = entry.session.as_ref() == Some(&lock.lease.id)
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
    async fn is_still_ours(&self, lock: &Lock) -> bool {
        tokio::select! {
            biased;
            open = lock.lease.reopened() => open,
            () = self.inner.stop.cancelled() => false,
        }
    }

    /// Opens an operation and runs it in the background. An error means that nothing has happened.
    pub async fn open(&self, lock: Lock, opening: Opening) -> Result<Uid, OpenError> {
        match self.write_opening(&lock, opening).await {
            Ok(record) => {
                let id = lock.operation.clone();
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
        for (name, version, value) in &o.given {
            ops.extend(secret::write_ops(&lock.app, name, *version, value));
        }
        let consul = self.inner.hands.consul.clone().with_gate(lock.lease.gate());
        pass(&record, "open", "before");
        match consul.txn(&ops).await {
            Ok(_) => {}
            Err(e) if e.fault == Fault::Conflict => return Err(OpenError::Moved(e.message)),
            // Whether it was written is not known: if it was, what is written is run; if not, nothing has happened.
            Err(e) if e.is_passing() => self.was_opened(&id, e).await?,
            Err(e) => return Err(e.into()),
        }
        pass(&record, "open", "after");
        let written = self.inner.store.operation(&id).await?;
        written.ok_or_else(|| OpenError::Moved("the operation was ended by somebody else at once".to_owned()))
    }

    /// Whether a transaction without an answer was carried out. An error: it was not, or nobody can tell now.
    async fn was_opened(&self, id: &Uid, mut lost: EngineError) -> Result<(), OpenError> {
        for failures in 1..=LOOKS {
            match self.inner.store.operation(id).await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => return Err(lost.into()),
                Err(_) => tokio::time::sleep(backoff(failures)).await,
            }
        }
        let said = "whether the change was begun is not known: if it was, it goes on by itself; see the app's status";
        lost.message = format!("{} ({said})", lost.message);
        Err(lost.into())
    }

    /// Takes up an operation whose agent is gone. `false`: somebody else holds it.
    pub async fn take_over(&self, found: Versioned<OpRecord>) -> Result<bool, OpenError> {
        let old = &found.value;
        let lock = match self.lock_for(&old.app, old.id.clone(), &old.by, old.verb).await {
            Ok(lock) => lock,
            Err(OpenError::Held { .. } | OpenError::Moved(_)) => return Ok(false),
            Err(e) => return Err(e),
        };
        // Read again under the lock: it may have ended while we waited.
        let Some(mut record) = self.inner.store.operation(&old.id).await? else {
            self.unlock(lock).await;
            return Ok(false);
        };
        record.value.claim += 1;
        record.value.agent = self.inner.agent.clone();
        tracing::info!(operation = %old.id, app = %old.app, claim = record.value.claim, "taking over an operation");
        match self.record(&lock, &record).await {
            Ok(written) => {
                self.say(
                    &lock,
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

    fn spawn(&self, lock: Lock, record: Versioned<OpRecord>, attempt: Attempt) {
        let runner = self.clone();
        self.inner.tasks.spawn(async move { runner.drive(lock, record, attempt).await });
    }

    fn say(&self, lock: &Lock, progress: Progress) {
        self.inner.hub.say(&lock.operation, progress);
    }

    /// Writes a record over the one that was read: fenced by the session and by CAS.
    async fn record(
        &self,
        lock: &Lock,
        record: &Versioned<OpRecord>,
    ) -> Result<Versioned<OpRecord>, EngineError> {
        let key = keys::operation(&record.value.id);
        let ops = [
            TxnOp::CheckSession { key: keys::lock(&lock.app), session: lock.lease.id.clone() },
            TxnOp::Cas { key: key.clone(), value: encode(&record.value)?, index: record.index },
        ];
        let consul = self.inner.hands.consul.clone().with_gate(lock.lease.gate());
        let entries = consul.txn(&ops).await?;
        let index = entries.iter().find(|e| e.key == key).map(|e| e.modify_index).ok_or_else(|| {
            EngineError::new(Engine::Consul, Fault::Broken, format!("write {key}"), "the answer has no index")
        })?;
        Ok(Versioned { value: record.value.clone(), index })
    }

    /// Drives an operation until it has ended, or is another agent's.
    async fn drive(&self, lock: Lock, mut record: Versioned<OpRecord>, mut attempt: Attempt) {
        let (mut seen, mut failures) = (Seen::Nothing, 0_u32);
        loop {
            if lock.lease.is_lost() && !self.is_still_ours(&lock).await {
                tracing::warn!(operation = %lock.operation, "the lease is lost; another agent goes on");
                return;
            }
            match decide(&record.value, std::mem::replace(&mut seen, Seen::Nothing)) {
                Next::Run(n) => {
                    let spec = record.value.steps[n].spec.clone();
                    self.step(&lock, &record.value, n, "begun");
                    pass(&record.value, spec.kind(), "before");
                    let done = tokio::select! {
                        done = self.execute(&lock, &record.value, &spec, Way::There(attempt)) => done,
                        // Only waiting is cut short: any other step is ended first.
                        () = self.inner.stop.cancelled(), if matches!(spec, StepSpec::JobSettle { .. }) => {
                            self.leave(lock, record, n).await;
                            return;
                        }
                    };
                    pass(&record.value, spec.kind(), "after");
                    seen = judge(done);
                    if !matches!(seen, Seen::Unknown(_)) {
                        (attempt, failures) = (Attempt::First, 0);
                    }
                }
                Next::Undo(n) => {
                    let spec = record.value.steps[n].spec.clone();
                    pass(&record.value, &format!("undo-{}", spec.kind()), "before");
                    let done = self.execute(&lock, &record.value, &spec, Way::Back).await;
                    pass(&record.value, &format!("undo-{}", spec.kind()), "after");
                    seen = judge(done);
                    if !matches!(seen, Seen::Unknown(_)) {
                        self.step(&lock, &record.value, n, "undone");
                    }
                }
                Next::Wait(_, why) => {
                    failures += 1;
                    self.say(&lock, Progress::Waiting { why });
                    tokio::select! {
                        () = tokio::time::sleep(backoff(failures)) => {}
                        () = self.inner.stop.cancelled() => {
                            self.unlock(lock).await;
                            return;
                        }
                    }
                    attempt = Attempt::Again;
                }
                Next::Write(mut next) => {
                    if let (Some(why), Direction::Forward) = (&next.turned, record.value.direction) {
                        self.say(&lock, Progress::Turned { why: why.clone() });
                    }
                    let begins = (0..next.steps.len()).find(|n| next.steps[*n].state == StepState::Begun);
                    if let Some(n) = (0..next.steps.len()).rfind(|n| next.steps[*n].state == StepState::Done)
                        && record.value.steps[n].state == StepState::Begun
                    {
                        self.step(&lock, &record.value, n, "done");
                    }
                    let stopping = self.inner.stop.is_cancelled() && next.direction == Direction::Forward;
                    if let (true, Some(n)) = (stopping, begins) {
                        next.steps[n].state = StepState::Todo;
                    }
                    match self.write(&lock, next, &record).await {
                        Some(written) => record = written,
                        None => return,
                    }
                    if stopping {
                        self.unlock(lock).await;
                        return;
                    }
                }
                Next::Close(last, outcome) => {
                    self.end(lock, Versioned { value: last, index: record.index }, outcome).await;
                    return;
                }
            }
        }
    }

    /// Leaves a wait to another agent: with nothing begun.
    async fn leave(&self, lock: Lock, record: Versioned<OpRecord>, n: usize) {
        let mut next = record.value.clone();
        next.steps[n].state = StepState::Todo;
        if self.write(&lock, next, &record).await.is_some() {
            self.unlock(lock).await;
        }
    }

    /// Writes the next record; tries again while Consul is away and the lease holds. `None`: it is not ours any more.
    async fn write(
        &self,
        lock: &Lock,
        next: OpRecord,
        old: &Versioned<OpRecord>,
    ) -> Option<Versioned<OpRecord>> {
        let mut failures = 0;
        loop {
            let candidate = Versioned { value: next.clone(), index: old.index };
            match self.record(lock, &candidate).await {
                Ok(written) => {
                    pass(&next, "record", "after");
                    return Some(written);
                }
                Err(e) => {
                    // The reply, to this try or to an earlier one, may have been lost after the effect.
                    let seen = self.inner.store.operation(&next.id).await;
                    match seen {
                        Ok(Some(seen)) if seen.value == next => return Some(seen),
                        Ok(_) if is_final(&e) => {
                            tracing::warn!(operation = %next.id, error = %e, "the operation is not ours any more");
                            return None;
                        }
                        Ok(_) | Err(_) => {}
                    }
                    failures += 1;
                    self.say(lock, Progress::Waiting { why: e.to_string() });
                    tokio::time::sleep(backoff(failures)).await;
                    if lock.lease.is_lost() && !self.is_still_ours(lock).await {
                        return None;
                    }
                }
            }
        }
    }

    async fn execute(
        &self,
        lock: &Lock,
        record: &OpRecord,
        spec: &StepSpec,
        way: Way,
    ) -> Result<Evidence, EngineError> {
        let hands = self.inner.hands.gated(&lock.lease.gate());
        let (notes, mut heard) = mpsc::unbounded_channel();
        let (hub, id) = (self.inner.hub.clone(), record.id.clone());
        let listener = tokio::spawn(async move {
            while let Some(text) = heard.recv().await {
                hub.say(&id, Progress::Note { text });
            }
        });
        let work = Work {
            hands: &hands,
            app: &record.app,
            uid: &record.uid,
            session: &lock.lease.id,
            steps: &record.steps,
            notes: &notes,
        };
        let done = match way {
            Way::There(attempt) => resources::apply(&work, spec, attempt).await,
            Way::Back => resources::undo(&work, spec).await,
        };
        drop(notes);
        // It ends by itself once the channel is closed.
        let _ = listener.await;
        done
    }

    fn step(&self, lock: &Lock, record: &OpRecord, n: usize, state: &str) {
        let step = Progress::Step {
            n: n + 1,
            of: record.steps.len(),
            what: record.steps[n].spec.describe(),
            state: state.to_owned(),
        };
        self.say(lock, step);
    }

    /// Ends an operation: tells, writes the last records, gives the lock back.
    async fn end(&self, lock: Lock, record: Versioned<OpRecord>, outcome: Outcome) {
        let op = record.value.clone();
        let (summary, why) = self.explain(&op, outcome).await;
        let at = self.now();
        let head = loop {
            match self.inner.store.head(&op.app).await {
                Ok(Some(head)) => break head,
                Ok(None) => {
                    tracing::error!(operation = %op.id, "its app's head is gone");
                    return;
                }
                Err(e) => {
                    self.say(&lock, Progress::Waiting { why: e.to_string() });
                    tokio::time::sleep(backoff(1)).await;
                    if lock.lease.is_lost() && !self.is_still_ours(&lock).await {
                        return;
                    }
                }
            }
        };
        let urls = self.urls(&op, outcome);
        let ended = Ended {
            v: SCHEMA,
            record: op.clone(),
            outcome,
            summary: summary.clone(),
            why: why.clone(),
            urls: urls.clone(),
            at: at.to_string(),
        };
        // For those who ask later, or at another agent. The head keeps the summary in any case.
        if let Err(e) = self.inner.store.objects().put_ended(&op.id, &ended).await {
            tracing::warn!(operation = %op.id, error = %e, "how it ended was not kept in Garage");
        }
        pass(&op, "close", "before");
        let closing = close(&head.value, &op, outcome, &at.to_string(), &summary);
        let mut failures = 0;
        while let Err(e) = self.write_closing(&lock, &record, &head, &closing, outcome, &summary).await {
            let seen = self.inner.store.operation(&op.id).await;
            // A try without an answer may have ended it.
            if matches!(seen, Ok(None)) && (failures > 0 || e.is_passing()) {
                break;
            }
            if is_final(&e) && seen.is_ok() {
                tracing::warn!(operation = %op.id, error = %e, "the operation is not ours any more");
                return;
            }
            failures += 1;
            self.say(&lock, Progress::Waiting { why: e.to_string() });
            tokio::time::sleep(backoff(failures)).await;
            if lock.lease.is_lost() && !self.is_still_ours(&lock).await {
                return;
            }
        }
        pass(&op, "close", "after");
        let id = lock.operation.clone();
        // Before it is told: whoever hears of the end may begin the next change.
        self.unlock(lock).await;
        self.inner.hub.say(&id, Progress::End { outcome, summary, why, urls });
    }

    async fn write_closing(
        &self,
        lock: &Lock,
        record: &Versioned<OpRecord>,
        head: &Versioned<Head>,
        closing: &Closing,
        outcome: Outcome,
        summary: &str,
    ) -> Result<(), EngineError> {
        let op = &record.value;
        let key = keys::head(&op.app);
        let audit = Audit {
            v: SCHEMA,
            at: self.now().to_string(),
            by: op.by.clone(),
            app: op.app.clone(),
            verb: op.verb.as_str().to_owned(),
            operation: op.id.clone(),
            outcome,
            summary: summary.to_owned(),
        };
        let mut ops = vec![
            TxnOp::CheckSession { key: keys::lock(&op.app), session: lock.lease.id.clone() },
            match &closing.head {
                Some(next) => TxnOp::Cas { key, value: encode(next)?, index: head.index },
                None => TxnOp::DeleteCas { key, index: head.index },
            },
            TxnOp::DeleteCas { key: keys::operation(&op.id), index: record.index },
            TxnOp::Set { key: keys::audit(&op.id), value: encode(&audit)? },
        ];
        ops.extend(closing.freed.iter().map(|n| TxnOp::Delete { key: keys::name(n.space, &n.name) }));
        if closing.dooms && !op.after.doomed.is_empty() {
            let not_before = self.now().saturating_add(GRACE).unwrap_or(jiff::Timestamp::MAX);
            let doomed = Doomed {
                v: SCHEMA,
                id: op.id.clone(),
                uid: op.uid.clone(),
                app: op.app.clone(),
                things: op.after.doomed.clone(),
                not_before: not_before.to_string(),
            };
            ops.push(TxnOp::Set { key: keys::doomed(&op.id), value: encode(&doomed)? });
        }
        self.inner.hands.consul.clone().with_gate(lock.lease.gate()).txn(&ops).await.map(|_| ())
    }

    fn urls(&self, op: &OpRecord, outcome: Outcome) -> Vec<String> {
        if outcome != Outcome::Done || op.verb == Verb::Delete {
            return Vec::new();
        }
        let hosts = op.after.names.iter().filter(|n| n.space == crate::model::desired::Space::Host);
        hosts.map(|n| self.inner.hands.cluster.url_of(&n.name)).collect()
    }

    /// One line, and the whole story, with the last lines of the log of what failed.
    async fn explain(&self, op: &OpRecord, outcome: Outcome) -> (String, Vec<String>) {
        let release = op.after.release.as_ref().map(|r| format!("release {}", r.number)).unwrap_or_default();
        let mut why: Vec<String> = Vec::new();
        why.extend(op.turned.clone());
        for step in &op.steps {
            why.extend(step.evidence.get("refused").cloned());
            why.extend(
                step.evidence.get("left").map(|l| format!("left behind: {}: {l}", step.spec.describe())),
            );
            let Some(reasons) = step.evidence.get(settle::WHY) else { continue };
            why.extend(reasons.lines().map(str::to_owned));
            if let (Some(a), Some(t)) =
                (step.evidence.get(settle::ALLOCATION), step.evidence.get(settle::TASK))
            {
                let lines = last_lines(&self.inner.hands, a, t).await;
                if !lines.is_empty() {
                    why.push(format!("last lines of {t} ({}):", settle::short(a)));
                    why.extend(lines.into_iter().map(|l| format!("  {l}")));
                }
            }
        }
        let summary = match (outcome, op.verb) {
            (Outcome::Done, Verb::Delete) => "deleted".to_owned(),
            (Outcome::Done, Verb::Rollback) => format!("{release} runs, with the content of an older one"),
            (Outcome::Done, Verb::Deploy) => format!("{release} runs"),
            (Outcome::Undone, _) => "undone: nothing has changed".to_owned(),
            (Outcome::Reverted, _) => format!("{release} did not get healthy; the old release serves on"),
            (Outcome::Failed, _) => format!("{release} did not get healthy"),
            (Outcome::Abandoned, _) => "abandoned".to_owned(),
        };
        (summary, why)
    }
}

fn pass(record: &OpRecord, what: &str, when: &str) {
    points::pass(&format!("{}.{what}.{when}", record.verb.as_str()));
}

/// There, or back.
#[derive(Debug, Clone, Copy)]
enum Way {
    There(Attempt),
    Back,
}

/// What an engine's answer means for the machine. A fence that is shut says nothing of the effect: before the next
/// try it is waited for, or the operation is left.
fn judge(done: Result<Evidence, EngineError>) -> Seen {
    match done {
        Ok(evidence) => Seen::Effected(evidence),
        Err(e) => match e.fault {
            Fault::Fenced | Fault::Away | Fault::Broken => Seen::Unknown(e.to_string()),
            Fault::Denied | Fault::NotFound | Fault::Conflict | Fault::Invalid | Fault::TooLarge => {
                Seen::Refused(e.to_string())
            }
        },
    }
}

/// True where a record will never be written, however often it is tried. A token that is refused may be mended.
fn is_final(e: &EngineError) -> bool {
    matches!(e.fault, Fault::Conflict | Fault::NotFound | Fault::Invalid | Fault::TooLarge)
}

/// 0.2 s, doubling up to 10 s, with jitter.
fn backoff(failures: u32) -> Duration {
    let base = Duration::from_millis(200) * 2_u32.saturating_pow(failures.saturating_sub(1).min(6));
    base.min(Duration::from_secs(10)).mul_f64(rand::rng().random_range(0.75..1.25))
}

/// The last 50 lines of what a task wrote, standard error first chosen where it wrote any.
async fn last_lines(hands: &Hands, allocation: &str, task: &str) -> Vec<String> {
    use crate::engines::nomad::{LogFrom, LogStream};
    use futures::StreamExt;

    for stream in [LogStream::Stderr, LogStream::Stdout] {
        let Ok(mut bytes) = hands.nomad.logs(allocation, task, stream, LogFrom::last(16 << 10)).await else {
            continue;
        };
        let mut text = Vec::new();
        while let Some(Ok(chunk)) = bytes.next().await {
            text.extend_from_slice(&chunk);
        }
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        if !lines.is_empty() {
            return lines[lines.len().saturating_sub(50)..].iter().map(|l| (*l).to_owned()).collect();
        }
    }
    Vec::new()
}

/// A record as JSON.
pub(super) fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(value)
        .map_err(|e| EngineError::new(Engine::Consul, Fault::Invalid, "write a record", e.to_string()))
}
