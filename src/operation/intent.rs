//! Plans of one step (MECHANISM): an intent on the head, the call, the head without it. No operation record, and no
//! object in Garage: they work while it is away.
//!
//! # Guarantees
//! **G1** the intent and its audit record are written, fenced by session and CAS, before the first call. **G4** an
//! intent whose agent is gone is repeated by the leader: every verb is idempotent. The key `terreau/v1/intent/<ulid>`
//! is written and deleted with it, so that a leader at rest reads what is open, and not every head.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;

use super::intended::{Fulfilled, IntentVerb, back, fulfil, words};
use super::lock::{Lock, OpenError};
use super::points;
use super::run::{Runner, backoff, encode, is_final};
use crate::engines::consul::TxnOp;
use crate::engines::nomad::JobView;
use crate::engines::{Engine, EngineError, Fault};
use crate::model::head::{Intent, Outcome, Wanted};
use crate::model::{Head, ProcessName};
use crate::resources::counts;
use crate::store::records::{Audit, By, OpenIntent, SCHEMA};
use crate::store::{Versioned, keys};

/// How often it is looked for an intent whose opening had no answer: some 5 s in all.
const LOOKS: u32 = 5;
/// How long whoever asked waits for Nomad. What is begun goes on by itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is asked for.
#[derive(Debug)]
pub struct Intention {
    /// The head as it was read under the lock.
    pub head: Versioned<Head>,
    /// What is done.
    pub intent: Intent,
    /// Who asked.
    pub by: By,
}

/// How far an intent has come when whoever asked for it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Nomad has taken the call.
    Accepted,
    /// Nomad has not answered yet; it is tried on.
    Waiting,
}

/// Tells whoever asked, once.
pub(super) type Tell = Option<oneshot::Sender<Result<(), EngineError>>>;

/// How an attempt at the calls ended.
pub(super) enum Tried {
    /// It is done, or will never be.
    Over(Fulfilled),
    /// Whether it is done is not known: again.
    Unknown(EngineError),
    /// The agent stops: another one goes on.
    Left,
}

fn pass(verb: &str, what: &str, when: &str) {
    points::pass(&format!("{verb}.{what}.{when}"));
}

impl Runner {
    /// Opens an intent and carries it out in the background. An error means that nothing has changed, but for
    /// [`OpenError::Unsure`].
    pub async fn intend(&self, lock: Lock, it: Intention) -> Result<Begun, OpenError> {
        let head = match self.write_intent(&lock, it).await {
            Ok(head) => head,
            Err(e) => {
                self.unlock(lock).await;
                return Err(e);
            }
        };
        let (tell, told) = oneshot::channel();
        let runner = self.clone();
        self.inner.tasks.spawn(async move { runner.carry_out(lock, head, Some(tell)).await });
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(Ok(()))) => Ok(Begun::Accepted),
            Ok(Ok(Err(e))) => Err(e.into()),
            // The agent stops, or Nomad is away: the intent stands on the head.
            Ok(Err(_)) | Err(_) => Ok(Begun::Waiting),
        }
    }

    async fn write_intent(&self, lock: &Lock, it: Intention) -> Result<Versioned<Head>, OpenError> {
        let Intention { head, intent, by } = it;
        let (verb, id) = (intent.verb.clone(), intent.id.clone());
        let audit = self.audit(&head.value, &intent, by, (Outcome::Done, words(&head.value, &intent)));
        let open = OpenIntent { v: SCHEMA, app: lock.app.clone(), cancel: None };
        let mut next = head.value;
        next.intent = Some(intent);
        let key = keys::head(&lock.app);
        let ops = [
            TxnOp::CheckSession { key: keys::lock(&lock.app), session: lock.lease.id.clone() },
            TxnOp::Cas { key: key.clone(), value: encode(&next)?, index: head.index },
            TxnOp::Create { key: keys::intent(&id), value: encode(&open)? },
            TxnOp::Set { key: keys::audit(&id), value: encode(&audit)? },
        ];
        let consul = self.inner.hands.consul.clone().with_gate(lock.lease.gate());
        pass(&verb, "intent", "before");
        let mut lost = match consul.txn(&ops).await {
            Ok(_) => None,
            Err(e) if e.fault == Fault::Conflict => return Err(OpenError::Moved(e.message)),
            Err(e) if e.is_passing() => {
                Some(EngineError { doing: format!("begin the {verb} of {}", lock.app), ..e })
            }
            Err(e) => return Err(e.into()),
        };
        pass(&verb, "intent", "after");
        // Whether it was written is not known: if it was, it is carried out; if not, nothing has happened.
        let mut failures = 0;
        loop {
            match self.inner.store.head(&lock.app).await {
                Ok(Some(head)) if head.value.intent.as_ref().is_some_and(|i| i.id == id) => return Ok(head),
                Ok(_) => {
                    let gone = || OpenError::Moved("somebody else changed the app at once".to_owned());
                    return Err(lost.map_or_else(gone, OpenError::Engine));
                }
                Err(e) if failures == LOOKS => {
                    return Err(OpenError::Unsure { operation: id, lost: lost.unwrap_or(e) });
                }
                Err(e) => lost = lost.or(Some(e)),
            }
            failures += 1;
            tokio::time::sleep(backoff(failures)).await;
        }
    }

    fn audit(&self, head: &Head, intent: &Intent, by: By, (outcome, summary): (Outcome, String)) -> Audit {
        Audit {
            v: SCHEMA,
            at: self.now().to_string(),
            by,
            app: head.app.clone(),
            uid: Some(head.uid.clone()),
            about: Vec::new(),
            verb: intent.verb.clone(),
            operation: intent.id.clone(),
            outcome,
            summary,
        }
    }

    /// Carries an intent out until it is done, or is another agent's.
    pub(super) async fn carry_out(self, lock: Lock, head: Versioned<Head>, mut tell: Tell) {
        let Some(intent) = head.value.intent.clone() else { return self.unlock(lock).await };
        let mut failures = 0;
        // Whether Nomad may have taken a call whose answer was lost.
        let mut is_unsure = false;
        let mut is_ordered_back = false;
        let how = loop {
            if lock.lease.is_lost() && !self.is_still_ours(&lock).await {
                tracing::warn!(intent = %intent.id, "the lease is lost; another agent goes on");
                return;
            }
            // Where it cannot be told, Nomad is asked again: only it knows.
            if let Ok(Some(how)) = self.turned(&lock, &head.value, &intent, is_unsure).await {
                break how;
            }
            match self.attempt(&lock, &head.value, &intent, &mut tell).await {
                Tried::Over(how) => break how,
                Tried::Left => return self.unlock(lock).await,
                Tried::Unknown(e) => {
                    failures += 1;
                    is_unsure |= matches!(e.fault, Fault::Away | Fault::Broken);
                    tracing::warn!(intent = %intent.id, app = %lock.app, error = %e, "an intent waits");
                    tokio::select! {
                        () = tokio::time::sleep(backoff(failures)) => {}
                        _ = self.until_ordered_back(&intent), if !is_ordered_back => is_ordered_back = true,
                        () = self.inner.stop.cancelled() => return self.unlock(lock).await,
                    }
                }
            }
        };
        let written = self.close_intent(&lock, &intent, &how).await;
        // Before it is told: whoever hears of the end may begin the next change.
        self.unlock(lock).await;
        if let (Some(tell), true) = (tell, written) {
            let answer = match how {
                Fulfilled::Done(_) => Ok(()),
                Fulfilled::Cancelled(by) => {
                    let doing = format!("{} {}", intent.verb, head.value.app);
                    Err(EngineError::new(Engine::Nomad, Fault::Conflict, doing, back(&by)))
                }
                Fulfilled::Refused(why) => {
                    let doing = format!("{} {}", intent.verb, head.value.app);
                    Err(EngineError::new(Engine::Nomad, Fault::Conflict, doing, why))
                }
            };
            // Whoever asked may have had enough.
            let _ = tell.send(answer);
        }
    }

    async fn attempt(&self, lock: &Lock, head: &Head, intent: &Intent, tell: &mut Tell) -> Tried {
        let hands = self.inner.hands.gated(&lock.lease.gate());
        match IntentVerb::of(intent) {
            None => Tried::Over(Fulfilled::Refused(format!("this agent knows no {}", intent.verb))),
            // Only remembered.
            Some(IntentVerb::Scale) if head.wanted == Wanted::Stopped => Tried::Over(Fulfilled::Done(None)),
            Some(IntentVerb::Restart) => self.restart_each(&hands, lock, head, intent, tell).await,
            Some(IntentVerb::Start | IntentVerb::Stop | IntentVerb::Scale) => {
                let counts: BTreeMap<String, u64> =
                    intent.counts.iter().map(|(n, c)| (n.to_string(), u64::from(*c))).collect();
                pass(&intent.verb, "job", "before");
                let done = counts::set(&hands, &head.app, &head.uid, &counts, head.job_index).await;
                pass(&intent.verb, "job", "after");
                match done {
                    Ok(counted) => Tried::Over(Fulfilled::Done(counted.known)),
                    Err(e) => judge(e),
                }
            }
        }
    }

    /// Who has ordered an intent back, where somebody has.
    pub(super) async fn ordered_back(&self, intent: &Intent) -> Result<Option<String>, EngineError> {
        let open = self.inner.store.intent(&intent.id).await?;
        Ok(open.and_then(|o| o.value.cancel).map(|c| c.by.login))
    }

    /// Waits until somebody orders an intent back.
    pub(super) async fn until_ordered_back(&self, intent: &Intent) -> String {
        let mut key = self.inner.hands.world.follow_key(&keys::intent(&intent.id));
        loop {
            let index = match self.inner.store.intent(&intent.id).await {
                Ok(Some(Versioned { value: OpenIntent { cancel: Some(c), .. }, .. })) => return c.by.login,
                Ok(Some(open)) => open.index,
                // Closed, by a try without an answer: whoever waits beside this hears of it.
                Ok(None) => std::future::pending().await,
                Err(_) => {
                    tokio::time::sleep(backoff(3)).await;
                    continue;
                }
            };
            key.changed(index, PATIENCE).await;
        }
    }

    /// How an intent ends that somebody has ordered back; `None`: nobody has, or it must be asked on. A call whose
    /// answer was lost may have had its effect: then it is what Nomad holds that counts.
    async fn turned(
        &self,
        lock: &Lock,
        head: &Head,
        intent: &Intent,
        is_unsure: bool,
    ) -> Result<Option<Fulfilled>, EngineError> {
        let Some(by) = self.ordered_back(intent).await? else { return Ok(None) };
        let sets = !matches!(IntentVerb::of(intent), None | Some(IntentVerb::Restart));
        if is_unsure && sets {
            let hands = self.inner.hands.gated(&lock.lease.gate());
            let stored = hands.nomad.job(head.app.namespace(), &head.app.flat()).await?;
            let view = stored.as_ref().map(JobView::of).transpose()?;
            let live = view.filter(|v| !v.is_stopped()).map(|v| v.counts()).unwrap_or_default();
            let is_so = |(name, count): (&ProcessName, &u32)| {
                live.get(name.as_str()).copied().unwrap_or(0) == u64::from(*count)
            };
            if intent.counts.iter().all(is_so) {
                // Done: it is recorded as it is, by the very call that changes nothing any more.
                return Ok(None);
            }
        }
        Ok(Some(Fulfilled::Cancelled(by)))
    }

    /// Writes the head without the intent. `false`: it is another agent's now.
    async fn close_intent(&self, lock: &Lock, intent: &Intent, how: &Fulfilled) -> bool {
        pass(&intent.verb, "close", "before");
        let mut failures = 0;
        loop {
            let read = self.inner.store.head(&lock.app).await;
            let done = match read {
                Ok(Some(head)) if head.value.intent.as_ref().is_some_and(|i| i.id == intent.id) => {
                    self.write_closed(lock, head, intent, how).await
                }
                // A try without an answer has closed it, or somebody else has.
                Ok(_) => return true,
                Err(e) => Err(e),
            };
            match done {
                Ok(()) => break,
                Err(e) if e.fault != Fault::Conflict && is_final(&e) => {
                    tracing::error!(intent = %intent.id, error = %e, "an intent cannot be closed");
                    return false;
                }
                Err(e) => tracing::warn!(intent = %intent.id, error = %e, "an intent is not closed yet"),
            }
            failures += 1;
            if self.inner.stop.is_cancelled() && failures > LOOKS {
                return false;
            }
            tokio::time::sleep(backoff(failures)).await;
            if lock.lease.is_lost() && !self.is_still_ours(lock).await {
                return false;
            }
        }
        pass(&intent.verb, "close", "after");
        true
    }

    async fn write_closed(
        &self,
        lock: &Lock,
        head: Versioned<Head>,
        intent: &Intent,
        how: &Fulfilled,
    ) -> Result<(), EngineError> {
        let next = fulfil(&head.value, intent, how, &self.now().to_string());
        let mut ops = vec![
            TxnOp::CheckSession { key: keys::lock(&lock.app), session: lock.lease.id.clone() },
            TxnOp::Cas { key: keys::head(&lock.app), value: encode(&next)?, index: head.index },
            TxnOp::Delete { key: keys::intent(&intent.id) },
        ];
        let otherwise = match how {
            Fulfilled::Done(_) => None,
            Fulfilled::Refused(why) => Some((Outcome::Failed, why.clone())),
            Fulfilled::Cancelled(by) => Some((Outcome::Undone, back(by))),
        };
        if let Some(end) = otherwise {
            let by = By { login: intent.actor.clone(), address: intent.address.clone() };
            let audit = self.audit(&head.value, intent, by, end);
            ops.push(TxnOp::Set { key: keys::audit(&intent.id), value: encode(&audit)? });
        }
        let consul = self.inner.hands.consul.clone().with_gate(lock.lease.gate());
        let doing = || format!("record the end of the {} of {}", intent.verb, lock.app);
        consul.txn(&ops).await.map(|_| ()).map_err(|e| EngineError { doing: doing(), ..e })
    }

    /// Takes up the intents whose agents are gone.
    pub(super) async fn take_over_intents(&self) -> Result<(), EngineError> {
        for open in self.inner.store.intents().await? {
            let holder = self.inner.store.consul().kv_get(&keys::lock(&open.value.app)).await?;
            if holder.and_then(|e| e.session).is_none()
                && let Err(e) = self.take_over_intent(&open).await
            {
                tracing::warn!(app = %open.value.app, error = %e, "an intent was not taken over");
            }
        }
        Ok(())
    }

    async fn take_over_intent(&self, open: &Versioned<OpenIntent>) -> Result<(), OpenError> {
        let app = &open.value.app;
        let Some(head) = self.inner.store.head(app).await? else { return Ok(()) };
        let Some(intent) = head.value.intent else { return Ok(()) };
        if IntentVerb::of(&intent).is_none() {
            return Ok(());
        }
        let by = By { login: intent.actor.clone(), address: intent.address.clone() };
        let lock = match self.try_lock(app, intent.id.clone(), &by, &intent.verb).await {
            Ok(lock) => lock,
            Err(OpenError::Held { .. } | OpenError::Moved(_) | OpenError::Shut) => return Ok(()),
            Err(e) => return Err(e),
        };
        // Read again under the lock: it may have been closed while we waited.
        match self.inner.store.head(app).await {
            Ok(Some(head)) if head.value.intent.as_ref().is_some_and(|i| i.id == intent.id) => {
                tracing::info!(intent = %intent.id, %app, verb = intent.verb, "taking over an intent");
                let runner = self.clone();
                self.inner.tasks.spawn(async move { runner.carry_out(lock, head, None).await });
                Ok(())
            }
            read => {
                self.unlock(lock).await;
                read.map(|_| ()).map_err(OpenError::from)
            }
        }
    }
}

/// What Nomad's answer to a call means. It may be away; what it refuses it will refuse again.
pub(super) fn judge(e: EngineError) -> Tried {
    match e.fault {
        Fault::Fenced | Fault::Busy | Fault::Away | Fault::Broken | Fault::Denied => Tried::Unknown(e),
        Fault::NotFound | Fault::Conflict | Fault::Invalid | Fault::TooLarge => {
            Tried::Over(Fulfilled::Refused(e.message))
        }
    }
}
