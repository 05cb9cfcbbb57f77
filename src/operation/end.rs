//! How an operation ends: what came of it in words, and the transaction that closes it.

use std::collections::BTreeMap;

use super::Progress;
use super::audit::other_owners;
use super::close::{Closing, close};
use super::lock::Lock;
use super::run::{Runner, backoff, encode, is_final, pass};
use crate::engines::consul::{TXN_BYTES, TXN_OPS, TxnOp};
use crate::engines::nomad::JobView;
use crate::engines::{EngineError, Fault};
use crate::model::head::{Held, Kind, Outcome};
use crate::model::{Head, Sha256Hex};
use crate::resources::{Hands, judge, settle};
use crate::store::records::{Audit, Doomed, Ended, First, OpRecord, SCHEMA, StepSpec, StepState, Verb};
use crate::store::{Versioned, keys};

/// How long after an operation what it doomed may be swept.
pub const GRACE: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// How often it is tried to keep how an operation ended: about an hour.
const TRIES: u32 = 360;

/// What came of ending an operation.
pub(super) enum End {
    /// It has ended, or is another agent's.
    Over,
    /// A person has cancelled it before its end was written: here is the record that says so.
    Cancelled(Lock, Box<Versioned<OpRecord>>),
}

/// What came of keeping the record of held canaries.
enum Kept {
    /// It is there, under this name.
    At(Sha256Hex),
    /// Somebody has ordered that it ends where it stands.
    Abandoned(Box<Versioned<OpRecord>>),
    /// It is another agent's.
    Lost,
}

impl Runner {
    /// Ends an operation: tells, writes the last records, gives the lock back.
    pub(super) async fn end(&self, lock: Lock, record: Versioned<OpRecord>, outcome: Outcome) -> End {
        let op = record.value.clone();
        let (summary, why) = self.explain(&op, outcome).await;
        let at = self.now();
        let head = loop {
            match self.inner.store.head(&op.app).await {
                Ok(Some(head)) => break head,
                Ok(None) => {
                    tracing::error!(operation = %op.id, "its app's head is gone");
                    self.unlock(lock).await;
                    return End::Over;
                }
                Err(e) => {
                    self.say(&lock.operation, Progress::Waiting { why: e.to_string() });
                    tokio::time::sleep(backoff(1)).await;
                    if lock.lease.is_lost() && !self.is_still_ours(&lock).await {
                        return End::Over;
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
        let kept = self.inner.store.objects().put_ended(&op.id, &ended).await;
        let kept_record = match outcome {
            Outcome::Held => match self.keep_record(&lock, &op).await {
                Kept::At(object) => Some(object),
                Kept::Abandoned(now) => return End::Cancelled(lock, now),
                Kept::Lost => return End::Over,
            },
            _ => None,
        };
        pass(&op, "close", "before");
        let mut closing = close(&head.value, &op, outcome, &at.to_string(), &summary);
        if let (Some(record), Some(next), Some(release)) = (kept_record, &mut closing.head, &op.after.release)
        {
            next.held = Some(Held { release: release.clone(), operation: op.id.clone(), record });
        }
        let mut failures = 0;
        while let Err(e) = self.write_closing(&lock, &record, &head, &closing, &ended).await {
            let seen = self.inner.store.operation(&op.id).await;
            // A try without an answer may have ended it.
            if matches!(seen, Ok(None)) && (failures > 0 || e.is_passing()) {
                break;
            }
            if let Ok(Some(seen)) = &seen
                && seen.value.cancel.is_some()
                && seen.value.claim == op.claim
                && seen.value.cancel != op.cancel
            {
                return End::Cancelled(lock, Box::new(seen.clone()));
            }
            if is_final(&e) && seen.is_ok() {
                tracing::warn!(operation = %op.id, error = %e, "the operation is not ours any more");
                self.unlock(lock).await;
                return End::Over;
            }
            failures += 1;
            self.say(&lock.operation, Progress::Waiting { why: e.to_string() });
            if e.fault == Fault::Denied && self.inner.stop.is_cancelled() {
                return End::Over;
            }
            tokio::time::sleep(backoff(failures)).await;
            if lock.lease.is_lost() && !self.is_still_ours(&lock).await {
                return End::Over;
            }
        }
        pass(&op, "close", "after");
        if let Err(e) = kept {
            tracing::warn!(operation = %op.id, error = %e, "how it ended is not kept in Garage yet");
            self.keep_trying(ended.clone());
        }
        let id = lock.operation.clone();
        // Before it is told: whoever hears of the end may begin the next change.
        self.unlock(lock).await;
        self.inner.hub.say(&id, Progress::End { outcome, summary, why, urls });
        End::Over
    }

    /// Writes the record of an operation whose canaries are held to Garage: what is left of it is done by their promotion.
    async fn keep_record(&self, lock: &Lock, op: &OpRecord) -> Kept {
        let mut failures = 0;
        loop {
            match self.inner.store.objects().put_json(op).await {
                Ok(object) => return Kept::At(object),
                Err(e) => {
                    failures += 1;
                    self.say(&lock.operation, Progress::Waiting { why: e.to_string() });
                    tokio::time::sleep(backoff(failures)).await;
                    if lock.lease.is_lost() && !self.is_still_ours(lock).await {
                        return Kept::Lost;
                    }
                    if self.inner.stop.is_cancelled() {
                        return Kept::Lost;
                    }
                    if let Ok(Some(now)) = self.inner.store.operation(&op.id).await
                        && now.value.is_abandoned()
                        && now.value.claim == op.claim
                    {
                        return Kept::Abandoned(Box::new(now));
                    }
                }
            }
        }
    }

    /// Keeps in the background how an operation ended: Garage being away does not hold up its end.
    fn keep_trying(&self, ended: Ended) {
        let (objects, stop) = (self.inner.store.objects().clone(), self.inner.stop.clone());
        self.inner.tasks.spawn(async move {
            for failures in 1..=TRIES {
                tokio::select! {
                    () = tokio::time::sleep(backoff(failures)) => {}
                    () = stop.cancelled() => return,
                }
                if objects.put_ended(&ended.record.id, &ended).await.is_ok() {
                    return;
                }
            }
            tracing::warn!(operation = %ended.record.id, "how it ended was not kept in Garage");
        });
    }

    async fn write_closing(
        &self,
        lock: &Lock,
        record: &Versioned<OpRecord>,
        head: &Versioned<Head>,
        closing: &Closing,
        ended: &Ended,
    ) -> Result<(), EngineError> {
        let op = &record.value;
        let (outcome, summary) = (ended.outcome, &ended.summary);
        // A way back makes nothing current, and what is only staged is not.
        if outcome == Outcome::Done && !matches!(op.verb, Verb::Delete | Verb::Revert) {
            self.secrets_follow(lock, op).await?;
        }
        let key = keys::head(&op.app);
        let audit = Audit {
            v: SCHEMA,
            at: self.now().to_string(),
            by: op.by.clone(),
            app: op.app.clone(),
            uid: Some(op.uid.clone()),
            about: changed_owners(&head.value, closing),
            verb: op.verb.as_str().to_owned(),
            operation: op.id.clone(),
            outcome,
            summary: summary.clone(),
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
        ops.extend(self.news_of(ended, closing).await?);
        if outcome == Outcome::Undone {
            // The versions that it lists were taken back, or wait for nobody.
            ops.push(TxnOp::Delete { key: keys::config_change(&op.app, &op.id) });
        }
        ops.extend(closing.freed.iter().map(|n| TxnOp::Delete { key: keys::name(n.space, &n.name) }));
        if closing.dooms && !op.after.doomed.is_empty() {
            let not_before = self.free_at();
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
        let mut free = TXN_BYTES.saturating_sub(ops.iter().map(TxnOp::size).sum());
        let fits = |op: &TxnOp| {
            free.checked_sub(op.size()).is_some_and(|rest| {
                free = rest;
                true
            })
        };
        let spared = self.spared(&head.value, closing.head.as_ref()).await?;
        let room = TXN_OPS.saturating_sub(ops.len());
        ops.extend(spared.into_iter().take(room).take_while(fits));
        let consul = self.inner.hands.consul.clone().with_gate(lock.lease.gate());
        let doing = || format!("record the end of operation {}", op.id);
        consul.txn(&ops).await.map(|_| ()).map_err(|e| EngineError { doing: doing(), ..e })
    }

    /// Takes what has come back into use off the sweep's lists, in the transaction that says so: when it is dropped once
    /// more, its hour begins anew. What does not fit into that transaction stays listed: the sweep leaves alone what is used.
    /// Of a site old objects are listed, which nobody uses.
    async fn spared(&self, head: &Head, next: Option<&Head>) -> Result<Vec<TxnOp>, EngineError> {
        let is_owned = |h: &Head, kind: Kind, id: &str| {
            h.owned.iter().any(|o| o.kind == kind && kind.is_same(&o.id, id))
        };
        let back = |kind, id: &str| {
            kind != Kind::Site && !is_owned(head, kind, id) && next.is_some_and(|n| is_owned(n, kind, id))
        };
        let is_any = next.is_some_and(|n| n.owned.iter().any(|o| back(o.kind, &o.id)));
        if head.last_number == 0 || !is_any {
            return Ok(Vec::new());
        }
        let mut ops = Vec::new();
        for listed in self.inner.store.doomed().await? {
            let (key, index) = (keys::doomed(&listed.value.id), listed.index);
            let mut doomed = listed.value;
            let before = doomed.things.len();
            doomed.things.retain(|t| !back(t.kind, &t.id));
            if doomed.uid != head.uid || doomed.things.len() == before {
                continue;
            }
            ops.push(if doomed.things.is_empty() {
                TxnOp::DeleteCas { key, index }
            } else {
                TxnOp::Cas { key, value: encode(&doomed)?, index }
            });
        }
        Ok(ops)
    }

    /// When the sweep may take what is doomed now: then the name of an app that is deleted now is free again.
    pub fn free_at(&self) -> jiff::Timestamp {
        self.now().saturating_add(GRACE).unwrap_or(jiff::Timestamp::MAX)
    }

    fn urls(&self, op: &OpRecord, outcome: Outcome) -> Vec<String> {
        if outcome != Outcome::Done || op.verb == Verb::Delete {
            return Vec::new();
        }
        op.after.fronts.iter().map(|host| self.inner.hands.cluster.url_of(host.as_str())).collect()
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
                    why.push(format!("last lines of {t} ({}):", judge::short(a)));
                    why.extend(lines.into_iter().map(|l| format!("  {l}")));
                }
            }
        }
        let summary = match (outcome, op.verb) {
            (Outcome::Done, Verb::Delete) => {
                format!("deleted; its name is free again at {}", self.free_at().strftime("%H:%M UTC"))
            }
            (Outcome::Done, Verb::Rollback) => format!("{release} runs, with the content of an older one"),
            (
                Outcome::Done,
                Verb::Deploy | Verb::Configure | Verb::Transfer | Verb::Promote | Verb::Maintenance,
            ) => {
                format!("{release} runs")
            }
            (Outcome::Done, Verb::Revert) => format!("the canaries are gone; {release} serves on"),
            (Outcome::Held, _) => {
                format!("the canaries of {release} are healthy, and held beside the old instances")
            }
            (Outcome::Undone, _) => match &op.cancel {
                Some(cancel) => format!("cancelled by {}: nothing has changed", cancel.by.login),
                None => "undone: nothing has changed".to_owned(),
            },
            (Outcome::Reverted | Outcome::Failed, _) if stays_stopped(op) => {
                format!("{release} {}; the app is stopped, as it was", failed(op))
            }
            (Outcome::Reverted, _) => format!("{release} {}; the old release serves on", failed(op)),
            (Outcome::Failed, _) => format!("{release} {}", failed(op)),
            (Outcome::Abandoned, _) => {
                why.extend(op.steps.iter().map(|s| format!("{}: {}", left_as(s.state), s.spec.describe())));
                let by = op.cancel.as_ref().map(|c| format!(" by {}", c.by.login)).unwrap_or_default();
                format!("abandoned{by}, half-way: deploy again, or delete the app")
            }
        };
        match self.side_by_side(op, outcome).await {
            Some(now) => (format!("{summary}; {now}"), why),
            None => (summary, why),
        }
    }

    /// A release that does not serve and that Nomad has not taken back (`auto_revert = false`): what runs now, and what to
    /// do about it.
    async fn side_by_side(&self, op: &OpRecord, outcome: Outcome) -> Option<String> {
        if stays_stopped(op) {
            return None;
        }
        let ((namespace, id, _), new) =
            replaced(op).zip(op.after.release.as_ref()).filter(|_| outcome == Outcome::Failed)?;
        let old = self.inner.store.head(&op.app).await.ok()??.value.release?.number;
        let new = new.number;
        let now = match self.running(namespace, id).await {
            Ok((before, of_this)) => {
                format!("{} of release {old} and {of_this} of release {new} run now", instances(before))
            }
            Err(_) => format!("instances of release {old} and of release {new} may run beside each other"),
        };
        Some(format!(
            "{now}, and nomad keeps the job of release {new} (`auto_revert = false`): `terreau rollback {old}` goes back"
        ))
    }

    /// How many instances of a job run: of earlier versions, and of the stored one.
    async fn running(&self, namespace: &str, id: &str) -> Result<(usize, usize), EngineError> {
        let nomad = &self.inner.hands.nomad;
        let Some(stored) = nomad.job(namespace, id).await? else { return Ok((0, 0)) };
        let version = JobView::of(&stored)?.version();
        let mut all = nomad.allocations(namespace, id).await?;
        all.retain(|a| a.client_status == "running" && a.desired_status == "run");
        let of_this = all.iter().filter(|a| a.version() == Some(version)).count();
        Ok((all.len() - of_this, of_this))
    }
}

/// Who owns an app after an operation and did not before, or the other way round.
fn changed_owners(head: &Head, closing: &Closing) -> Vec<String> {
    closing.head.as_ref().map(|next| other_owners(&head.owners, &next.owners)).unwrap_or_default()
}

/// Where an abandoned operation leaves a step.
fn left_as(state: StepState) -> &'static str {
    match state {
        StepState::Todo => "not done",
        StepState::Begun => "done or not",
        StepState::Done => "done",
        StepState::Undone => "taken back",
    }
}

fn instances(n: usize) -> String {
    if n == 1 { "1 instance".to_owned() } else { format!("{n} instances") }
}

/// The job whose rollout over another one was waited for to its end, and the counts that it had before.
fn replaced(op: &OpRecord) -> Option<(&str, &str, &BTreeMap<String, u64>)> {
    op.steps.iter().find_map(|s| match &s.spec {
        StepSpec::JobSettle { namespace, id, first: First::No, counts } if s.state == StepState::Done => {
            Some((namespace.as_str(), id.as_str(), counts))
        }
        _ => None,
    })
}

/// True where nothing ran before, and the release that should have does not.
fn stays_stopped(op: &OpRecord) -> bool {
    replaced(op).is_some_and(|(_, _, counts)| settle::was_stopped(counts))
}

/// What came of a release that does not serve.
fn failed(op: &OpRecord) -> String {
    match op.steps.iter().find_map(|s| s.evidence.get(settle::GIVEN_UP)) {
        Some(login) => format!("was given up by {login} before it got healthy"),
        None => "did not get healthy".to_owned(),
    }
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
