//! Drives an operation, step by step, until it has ended or is another agent's.
//!
//! What comes next is decided by `machine`; here are the effects, and the records between them. Must never run a step
//! that its record does not call begun (**G1**), and never write a record but fenced by session and CAS (**G3**).

use std::time::Duration;

use tokio::sync::mpsc;

use super::Progress;
use super::end::End;
use super::lock::Lock;
use super::machine::{Next, Seen, decide};
use super::run::{Runner, backoff, encode, is_final, pass};
use super::turning::{cancelled, is_bound};
use crate::engines::consul::TxnOp;
use crate::engines::{Engine, EngineError, Fault};
use crate::resources::{self, Attempt, Evidence, Work};
use crate::store::records::{Direction, OpRecord, StepSpec, StepState};
use crate::store::{Versioned, keys};

/// How often the record of a rollout is looked at for an order that another agent took.
const LOOK: Duration = Duration::from_secs(5);

impl Runner {
    pub(super) fn spawn(&self, lock: Lock, record: Versioned<OpRecord>, attempt: Attempt) {
        let runner = self.clone();
        self.inner.tasks.spawn(async move { Box::pin(runner.drive(lock, record, attempt)).await });
    }

    /// Writes a record over the one that was read: fenced by the session and by CAS.
    pub(super) async fn record(
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
        let doing = || format!("record operation {}", record.value.id);
        let entries = consul.txn(&ops).await.map_err(|e| EngineError { doing: doing(), ..e })?;
        let index = entries.iter().find(|e| e.key == key).map(|e| e.modify_index).ok_or_else(|| {
            EngineError::new(Engine::Consul, Fault::Broken, format!("write {key}"), "the answer has no index")
        })?;
        Ok(Versioned { value: record.value.clone(), index })
    }

    /// Drives an operation until it has ended, or is another agent's.
    async fn drive(&self, mut lock: Lock, mut record: Versioned<OpRecord>, mut attempt: Attempt) {
        let (mut seen, mut failures, mut begun) = (Seen::Nothing, 0_u32, None);
        loop {
            if lock.lease.is_lost() && !self.is_still_ours(&lock).await {
                tracing::warn!(operation = %lock.operation, "the lease is lost; another agent goes on");
                return;
            }
            let now_seen = std::mem::replace(&mut seen, Seen::Nothing);
            match decide(&record.value, now_seen.clone()) {
                Next::Run(n) => {
                    let spec = record.value.steps[n].spec.clone();
                    // Once, however often it is tried.
                    if begun.replace(n) != Some(n) {
                        self.step(&lock, &record.value, n, "begun");
                    }
                    pass(&record.value, spec.kind(), "before");
                    // Only waiting is cut short: any other step is ended first.
                    let waits = matches!(spec, StepSpec::JobSettle { .. });
                    let done = tokio::select! {
                        done = self.execute(&lock, &record.value, &spec, Way::There(attempt)) => done,
                        () = self.inner.stop.cancelled(), if waits => {
                            self.leave(lock, record, n).await;
                            return;
                        }
                        now = self.given_up(&record.value), if waits && !record.value.is_abandoned() => {
                            record = now;
                            continue;
                        }
                    };
                    pass(&record.value, spec.kind(), "after");
                    let bound = if is_bound(&record.value, n) { Bound::Yes } else { Bound::No };
                    seen = judge(done, bound);
                    if !matches!(seen, Seen::Unknown(_)) {
                        (attempt, failures) = (Attempt::First, 0);
                    }
                }
                Next::Undo(n) => {
                    let spec = record.value.steps[n].spec.clone();
                    pass(&record.value, &format!("undo-{}", spec.kind()), "before");
                    let done = self.execute(&lock, &record.value, &spec, Way::Back).await;
                    pass(&record.value, &format!("undo-{}", spec.kind()), "after");
                    seen = judge(done, Bound::Yes);
                    if !matches!(seen, Seen::Unknown(_)) {
                        self.step(&lock, &record.value, n, "undone");
                    }
                }
                Next::Wait(_, why) => {
                    failures += 1;
                    self.say(&lock.operation, Progress::Waiting { why });
                    tokio::select! {
                        () = tokio::time::sleep(backoff(failures)) => {}
                        () = self.inner.cancelled.notified() => {}
                        () = self.inner.stop.cancelled() => {
                            self.unlock(lock).await;
                            return;
                        }
                    }
                    attempt = Attempt::Again;
                    if let Ok(Some(now)) = self.inner.store.operation(&record.value.id).await
                        && is_cancelled(&now.value, &record.value)
                    {
                        record = now;
                    }
                }
                Next::Write(mut next) => {
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
                    let Some(written) = self.write(&lock, next, &record).await else {
                        // Where the session lives on, the next owner does not wait for it.
                        self.unlock(lock).await;
                        return;
                    };
                    if let (Some(why), Direction::Forward) = (&written.value.turned, record.value.direction) {
                        self.say(&lock.operation, Progress::Turned { why: why.clone() });
                    }
                    record = written;
                    if stopping {
                        self.unlock(lock).await;
                        return;
                    }
                }
                Next::Close(last, outcome) => {
                    let last = Versioned { value: last, index: record.index };
                    match self.end(lock, last, outcome).await {
                        End::Over => return,
                        // What was seen of the step in hand is so, whoever orders what meanwhile.
                        End::Cancelled(kept, now) => (lock, record, seen) = (kept, *now, now_seen),
                    }
                }
            }
        }
    }

    /// Waits until a person gives up on the rollout, by whichever agent: the record that says so.
    async fn given_up(&self, before: &OpRecord) -> Versioned<OpRecord> {
        loop {
            // Of an order given to this agent it hears at once.
            let told = self.inner.cancelled.notified();
            if let Ok(Some(now)) = self.inner.store.operation(&before.id).await
                && is_cancelled(&now.value, before)
            {
                return now;
            }
            let _ = tokio::time::timeout(LOOK, told).await;
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

    /// Writes the next record; tries again while Consul is away and the lease holds. Where a person has cancelled
    /// meanwhile, what is written is the turn. `None`: it is not ours any more.
    async fn write(
        &self,
        lock: &Lock,
        next: OpRecord,
        old: &Versioned<OpRecord>,
    ) -> Option<Versioned<OpRecord>> {
        let mut failures = 0;
        let mut candidate = Versioned { value: next, index: old.index };
        loop {
            match self.record(lock, &candidate).await {
                Ok(written) => {
                    pass(&written.value, "record", "after");
                    return Some(written);
                }
                Err(e) => {
                    let next = &candidate.value;
                    // The reply, to this try or to an earlier one, may have been lost after the effect.
                    let seen = self.inner.store.operation(&next.id).await;
                    match seen {
                        Ok(Some(seen)) if seen.value == *next || is_cancelled(&seen.value, next) => {
                            return Some(seen);
                        }
                        Ok(Some(seen)) if is_cancelled(&seen.value, &old.value) => {
                            let cancel = seen.value.cancel?;
                            let turned = cancelled(candidate.value, &old.value, cancel);
                            candidate = Versioned { value: turned, index: seen.index };
                            continue;
                        }
                        Ok(_) if is_final(&e) => {
                            tracing::warn!(operation = %next.id, error = %e, "the operation is not ours any more");
                            return None;
                        }
                        Ok(_) | Err(_) => {}
                    }
                    failures += 1;
                    self.say(&lock.operation, Progress::Waiting { why: e.to_string() });
                    if e.fault == Fault::Denied && self.inner.stop.is_cancelled() {
                        return None;
                    }
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
            cancel: record.cancel.as_ref(),
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
        self.say(&lock.operation, step);
    }
}

/// True where `now` is `before` with somebody's order in it, and nothing else.
fn is_cancelled(now: &OpRecord, before: &OpRecord) -> bool {
    now.cancel.is_some()
        && before.cancel != now.cancel
        && OpRecord { cancel: now.cancel.clone(), ..before.clone() } == *now
}

/// There, or back.
#[derive(Debug, Clone, Copy)]
enum Way {
    There(Attempt),
    Back,
}

/// Whether there is another way than to get this step done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Yes,
    No,
}

/// What an engine's answer means for the machine. A fence that is shut says nothing of the effect: before the next
/// try it is waited for, or the operation is left. An engine that refuses the agent itself turns an operation back;
/// where it is bound, the engine is waited for until somebody corrects the credentials: going on without it would
/// leave things behind, or call a release failed that nobody has looked at.
fn judge(done: Result<Evidence, EngineError>, bound: Bound) -> Seen {
    match done {
        Ok(evidence) => Seen::Effected(evidence),
        Err(e) => match e.fault {
            Fault::Fenced | Fault::Busy | Fault::Away | Fault::Broken => Seen::Unknown(e.to_string()),
            Fault::Denied if bound == Bound::Yes => Seen::Unknown(e.to_string()),
            Fault::Denied | Fault::NotFound | Fault::Conflict | Fault::Invalid | Fault::TooLarge => {
                Seen::Refused(e.to_string())
            }
        },
    }
}
