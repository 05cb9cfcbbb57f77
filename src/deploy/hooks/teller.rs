//! Tells those who want to know: a timer of the leader.
//!
//! All that is to be done stands in records below one prefix, which are watched by one long call: a change that ended
//! ([`News`]) is put into the line of each hook that wants it, by one transaction that takes the news away; the first of each
//! line is sent, and what came of it is written down. Crash loops are judged where Nomad's stream or Consul's checks show
//! that something changed.
//!
//! # Guarantees
//! What was recorded is told at least once, in order for each hook, with one id however often; another agent goes on
//! where this one died. No hook waits for another. At rest it costs one long call, whatever the number of apps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::courier::Courier;
use super::deliver::deliver;
use super::records::{follow, write};
use super::watch::{self, Verdict};
use super::{line, message, sight};
use crate::deploy::instances::Seen;
use crate::engines::EngineError;
use crate::engines::consul::TxnOp;
use crate::engines::nomad::Allocation;
use crate::model::wire::HookEvent;
use crate::model::{Head, Placement, Uid};
use crate::operation::run::{encode, fresh_uid};
use crate::operation::{Runner, points};
use crate::store::hooks::{Crash, HookBook, HookState, Message, News};
use crate::store::records::SCHEMA;
use crate::store::{Versioned, keys};
use crate::world::Change;

/// How often it is looked what is due: without a call.
const TICK: Duration = Duration::from_secs(1);
/// How often it is asked who leads.
const LEADS: Duration = Duration::from_secs(5);
/// So soon after something changed an app is looked at: changes come in flocks.
const SETTLED: Duration = Duration::from_secs(1);
/// How often an app is looked at that crashes, or is being changed.
const AGAIN: Duration = Duration::from_secs(5);
/// So many are sent at once.
const AT_ONCE: usize = 64;

/// Tells.
#[derive(Debug)]
pub struct Teller {
    runner: Runner,
    courier: Courier,
    asked: Option<Instant>,
    /// While it leads: the watch of the records.
    watch: Option<(mpsc::Receiver<HookState>, tokio_util::sync::DropGuard)>,
    state: HookState,
    /// Records that we wrote: an older one is seen too late to be acted upon.
    wrote: BTreeMap<String, u64>,
    /// Hooks that are being told, and what came of it.
    busy: BTreeSet<String>,
    sending: JoinSet<(String, Option<u64>)>,
    /// Apps to be looked at, and when.
    dirty: BTreeMap<Placement, Instant>,
}

impl Teller {
    /// On this runner.
    pub fn new(runner: Runner, courier: Courier) -> Self {
        Self {
            runner,
            courier,
            asked: None,
            watch: None,
            state: HookState::default(),
            wrote: BTreeMap::new(),
            busy: BTreeSet::new(),
            sending: JoinSet::new(),
            dirty: BTreeMap::new(),
        }
    }

    /// Tells until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.runner.hands().world.subscribe().await;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let news = async {
                match &mut self.watch {
                    Some((seen, _)) => seen.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                seen = news => match seen {
                    Some(state) => self.saw(state),
                    None => self.watch = None,
                },
                Some(done) = self.sending.join_next() => match done {
                    Ok((hook, index)) => {
                        self.busy.remove(&hook);
                        self.wrote.extend(index.map(|i| (keys::hook_queue(&hook), i)));
                    }
                    // A panic in one try is no reason to end; which hook it was for is not known.
                    Err(_) => self.busy.clear(),
                },
                change = changes.next() => self.heard(&change),
                _ = tick.tick() => {}
            }
            self.lead().await;
            if self.watch.is_some()
                && let Err(e) = self.act().await
            {
                tracing::warn!(error = %e, "what is to be told waits");
                tokio::time::sleep(TICK).await;
            }
        }
    }

    /// Begins to watch where this agent leads, and ends where it does not.
    async fn lead(&mut self) {
        if self.asked.is_some_and(|at| at.elapsed() < LEADS) {
            return;
        }
        self.asked = Some(Instant::now());
        // What is written is fenced: where nobody can be asked, it goes on as before.
        let Ok(leads) = self.runner.leads().await else { return };
        match (leads, &self.watch) {
            (true, None) => {
                let (tx, rx) = mpsc::channel(1);
                let stop = CancellationToken::new();
                tokio::spawn(follow(self.runner.clone(), tx, stop.clone()));
                self.watch = Some((rx, stop.drop_guard()));
                // What was seen when it led before is old.
                (self.state, self.wrote) = (HookState::default(), BTreeMap::new());
                self.dirty.clear();
            }
            (false, Some(_)) => self.watch = None,
            _ => {}
        }
    }

    fn saw(&mut self, state: HookState) {
        let now = Instant::now();
        let wants = |b: &Versioned<HookBook>| b.value.hooks.iter().any(|h| looks(&h.on));
        for (app, book) in &state.books {
            if wants(book) && !self.state.books.get(app).is_some_and(wants) {
                self.dirty.insert(app.clone(), now);
            }
        }
        for crash in state.crashes.values() {
            self.dirty.entry(crash.value.app.clone()).or_insert(now + AGAIN);
        }
        self.wrote.retain(|key, _| {
            key.strip_prefix(keys::HOOKS)
                .and_then(|k| k.strip_prefix("queue/"))
                .is_some_and(|h| state.queues.contains_key(h))
        });
        self.state = state;
    }

    /// Notes which apps have to be looked at.
    fn heard(&mut self, change: &Change) {
        let at = Instant::now() + SETTLED;
        match change {
            Change::Nomad(e) if e.topic != "Allocation" => return,
            _ => {}
        }
        for (app, book) in &self.state.books {
            let is_watched = book.value.hooks.iter().any(|h| looks(&h.on))
                || self.state.crashes.contains_key(&book.value.uid);
            if is_watched && change.concerns(app.namespace(), &app.flat()) {
                let due = self.dirty.entry(app.clone()).or_insert(at);
                *due = (*due).min(at);
            }
        }
    }

    async fn act(&mut self) -> Result<(), EngineError> {
        self.clear().await?;
        while let Some(news) = self.state.news.first().cloned() {
            self.spread(&news).await?;
            self.state.news.remove(0);
        }
        // Before Nomad is asked for anything: it may be away.
        self.send();
        self.look().await
    }

    /// Takes away what is left of hooks that are gone.
    async fn clear(&mut self) -> Result<(), EngineError> {
        let known: BTreeSet<&String> =
            self.state.books.values().flat_map(|b| b.value.hooks.iter().map(|h| &h.id)).collect();
        let gone: Vec<(String, u64)> = self
            .state
            .queues
            .iter()
            .filter(|(id, _)| !known.contains(id))
            .map(|(id, q)| (id.clone(), q.index))
            .collect();
        let uids: BTreeSet<&Uid> = self.state.books.values().map(|b| &b.value.uid).collect();
        let over: Vec<(Uid, u64)> = self
            .state
            .crashes
            .iter()
            .filter(|(uid, _)| !uids.contains(uid))
            .map(|(uid, c)| (uid.clone(), c.index))
            .collect();
        for (uid, index) in over {
            self.state.crashes.remove(&uid);
            self.write(vec![TxnOp::DeleteCas { key: keys::hook_crash(&uid), index }]).await?;
        }
        for (id, index) in gone {
            self.state.queues.remove(&id);
            let ops = vec![
                TxnOp::DeleteCas { key: keys::hook_queue(&id), index },
                TxnOp::Delete { key: keys::hook_secret(&id) },
            ];
            self.write(ops).await?;
        }
        Ok(())
    }

    /// Puts how a change ended into the lines of those who want it.
    async fn spread(&mut self, news: &Versioned<News>) -> Result<(), EngineError> {
        let it = &news.value;
        let message = message::of_news(it, &self.runner.hands().cluster.name);
        let ops = vec![TxnOp::DeleteCas { key: keys::hook_news(&it.id), index: news.index }];
        points::pass("told.news.before");
        self.put(&it.app, &it.uid, it.event, message, ops).await?;
        points::pass("told.news.after");
        Ok(())
    }

    /// Puts a message into the lines of an app's hooks, in one transaction with what else is to be written. What was
    /// written meanwhile by somebody else is seen by the next look.
    async fn put(
        &mut self,
        app: &Placement,
        uid: &Uid,
        event: HookEvent,
        message: Message,
        mut ops: Vec<TxnOp>,
    ) -> Result<bool, EngineError> {
        let book = self.state.books.get(app).filter(|b| b.value.uid == *uid);
        let hooks = book.map(|b| b.value.hooks.clone()).unwrap_or_default();
        let mut wrote = Vec::new();
        for hook in hooks.iter().filter(|h| h.on.contains(&event)) {
            // The copy may be old: a try was written down since.
            let Some(mut queue) = self.runner.store().hook_queue(&hook.id).await? else { continue };
            line::push(&mut queue.value, message.clone());
            ops.push(TxnOp::Cas {
                key: keys::hook_queue(&hook.id),
                value: encode(&queue.value)?,
                index: queue.index,
            });
            wrote.push((hook.id.clone(), queue.value));
        }
        let Some(indices) = self.write(ops).await? else { return Ok(false) };
        for (id, value) in wrote {
            let key = keys::hook_queue(&id);
            let Some(index) = indices.get(&key).copied() else { continue };
            self.wrote.insert(key, index);
            self.state.queues.insert(id, Versioned { value, index });
        }
        Ok(true)
    }

    /// Carries out a transaction while this agent leads: the indices of what was written; `None`: somebody was faster.
    async fn write(&self, ops: Vec<TxnOp>) -> Result<Option<BTreeMap<String, u64>>, EngineError> {
        write(&self.runner, ops).await
    }

    /// Looks at the apps of which something changed.
    async fn look(&mut self) -> Result<(), EngineError> {
        let now = Instant::now();
        let due: Vec<Placement> =
            self.dirty.iter().filter(|(_, at)| **at <= now).map(|(app, _)| app.clone()).collect();
        if due.is_empty() {
            return Ok(());
        }
        let seen = sight::look(&self.runner, &due).await?;
        for app in due {
            self.dirty.remove(&app);
            // One that cannot be read (of a newer schema) is another agent's to judge.
            let head = match seen.heads.get(&app) {
                Some(Err(_)) => continue,
                Some(Ok(head)) => Some(&head.value),
                None => None,
            };
            let of = (app.namespace().to_owned(), app.flat());
            let all: Vec<&Allocation> = seen.allocations.get(&of).into_iter().flatten().collect();
            let looked = Seen { allocations: &all, health: &seen.health };
            if let Err(e) = self.judge(&app, head, &looked).await {
                self.dirty.insert(app, now + SETTLED);
                return Err(e);
            }
        }
        Ok(())
    }

    /// Judges one app, and puts down what is to be told of it.
    async fn judge(
        &mut self,
        app: &Placement,
        head: Option<&Head>,
        seen: &Seen<'_>,
    ) -> Result<(), EngineError> {
        let Some(book) = self.state.books.get(app).cloned() else { return Ok(()) };
        let uid = book.value.uid.clone();
        let told = self.state.crashes.get(&uid).cloned();
        let key = keys::hook_crash(&uid);
        let forgotten = |told: &Option<Versioned<Crash>>| {
            told.iter().map(|t| TxnOp::DeleteCas { key: key.clone(), index: t.index }).collect::<Vec<_>>()
        };
        let Some(head) = head.filter(|h| h.uid == uid) else {
            // The app is gone, and its hooks with it: another agent's delete, of an older version.
            let mut ops = forgotten(&told);
            ops.push(TxnOp::DeleteCas { key: keys::hook_book(app), index: book.index });
            return self.write(ops).await.map(drop);
        };
        let now = self.runner.now();
        let nanos = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
        let verdict = watch::judge(head, seen, nanos, told.as_ref().map(|t| &t.value));
        if head.operation.is_some() || (told.is_some() && verdict == Verdict::Nothing) {
            self.dirty.insert(app.clone(), Instant::now() + AGAIN);
        }
        let cluster = self.runner.hands().cluster.name.clone();
        let (at, id) = (now.to_string(), fresh_uid(now));
        let kept = |quiet: Duration, process: String, since: String| {
            encode(&Crash {
                v: SCHEMA,
                app: app.clone(),
                uid: uid.clone(),
                since,
                process,
                quiet: quiet.as_secs(),
            })
        };
        let done = match verdict {
            Verdict::Nothing => return Ok(()),
            Verdict::Loops(it, quiet) => {
                tracing::info!(%app, process = it.process, "it ends again and again");
                let value = kept(quiet, it.process.clone(), at.clone())?;
                let ops = vec![TxnOp::Create { key, value }];
                let message = message::of_loop(id.as_str(), &at, (app, &cluster), &it);
                self.put(app, &uid, HookEvent::CrashLoop, message, ops).await?
            }
            Verdict::Recovered => {
                tracing::info!(%app, "it runs again");
                let (process, since) = told
                    .as_ref()
                    .map(|t| (t.value.process.clone(), t.value.since.clone()))
                    .unwrap_or_default();
                let message = message::of_recovery(id.as_str(), &at, (app, &cluster), &process, &since);
                self.put(app, &uid, HookEvent::Recovery, message, forgotten(&told)).await?
            }
            Verdict::Slower(quiet) => {
                let Some(t) = told else { return Ok(()) };
                let value = kept(quiet, t.value.process, t.value.since)?;
                self.write(vec![TxnOp::Cas { key, value, index: t.index }]).await?.is_some()
            }
            Verdict::Forget => self.write(forgotten(&told)).await?.is_some(),
        };
        if !done {
            // Somebody was faster: what they wrote is seen soon.
            self.dirty.insert(app.clone(), Instant::now() + SETTLED);
        }
        Ok(())
    }

    /// Sends the first of each line whose time has come.
    fn send(&mut self) {
        let now = self.runner.now();
        for (id, queue) in &self.state.queues {
            let seen_late = self.wrote.get(&keys::hook_queue(id)).is_some_and(|i| *i > queue.index);
            if self.sending.len() >= AT_ONCE || self.busy.contains(id) || seen_late {
                continue;
            }
            let book = self.state.books.get(&queue.value.app);
            let hook = book.and_then(|b| b.value.hooks.iter().find(|h| h.id == *id));
            let (Some(hook), Some(message)) = (hook, line::due(&queue.value, now)) else { continue };
            self.busy.insert(id.clone());
            let (runner, courier) = (self.runner.clone(), self.courier.clone());
            let (hook, message) = (hook.clone(), message.clone());
            self.sending.spawn(async move {
                let index = deliver(&runner, &courier, &hook.id, &hook.url, &message).await;
                (hook.id, index)
            });
        }
    }
}

/// Whether somebody who is told of these wants an app to be looked at.
fn looks(on: &BTreeSet<HookEvent>) -> bool {
    on.contains(&HookEvent::CrashLoop) || on.contains(&HookEvent::Recovery)
}
