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

mod crashes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::courier::Courier;
use super::deliver::deliver;
use super::records::follow;
use super::{line, message};
use crate::engines::EngineError;
use crate::engines::consul::TxnOp;
use crate::loops::{Beat, Kind};
use crate::model::wire::HookEvent;
use crate::model::{Placement, Uid};
use crate::operation::run::encode;
use crate::operation::{Runner, points};
use crate::store::hooks::{Hook, HookBook, HookQueue, HookState, Message, News};
use crate::store::{Versioned, keys};
use crate::world::Change;

/// How often it is looked what is due: without a call.
const TICK: Duration = Duration::from_secs(1);
const LOOP: Kind =
    Kind { name: "webhooks", what: "tells those who want to know of changes and crashes", every: TICK };
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
    beat: Beat,
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
    /// Tells until `stop`.
    pub fn start(runner: &Runner, courier: Courier, stop: CancellationToken) {
        let runner = runner.clone();
        runner
            .clone()
            .loops()
            .spawn(LOOP, move |beat| Self::new(runner.clone(), courier.clone(), beat).run(stop.clone()));
    }

    fn new(runner: Runner, courier: Courier, beat: Beat) -> Self {
        Self {
            runner,
            courier,
            beat,
            asked: None,
            watch: None,
            state: HookState::default(),
            wrote: BTreeMap::new(),
            busy: BTreeSet::new(),
            sending: JoinSet::new(),
            dirty: BTreeMap::new(),
        }
    }

    async fn run(mut self, stop: CancellationToken) {
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
            if self.watch.is_none() {
                self.beat.rests();
                continue;
            }
            let went = self.act().await;
            let is_well = went.is_ok();
            self.beat.told(went);
            if !is_well {
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
            if !self.spread(&news).await? {
                // Somebody was faster: what they wrote is seen soon.
                break;
            }
            self.state.news.remove(0);
        }
        // Before Nomad is asked for anything: it may be away.
        self.send();
        self.look().await
    }

    /// Takes away what is left of hooks that are gone.
    async fn clear(&mut self) -> Result<(), EngineError> {
        let booked = self.state.books.values().flat_map(|b| &b.value.hooks);
        let leaving = self.state.news.iter().flat_map(|n| &n.value.leaving);
        let known: BTreeSet<&String> = booked.chain(leaving).map(|h| &h.id).collect();
        // The last words to a hook whose app is gone.
        let is_told = |q: &HookQueue| q.leaving.is_some() && !q.pending.is_empty();
        let gone: Vec<(String, u64)> = self
            .state
            .queues
            .iter()
            .filter(|(id, q)| !known.contains(id) && !is_told(&q.value))
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
    async fn spread(&mut self, news: &Versioned<News>) -> Result<bool, EngineError> {
        let it = &news.value;
        let message = message::of_news(it, &self.runner.hands().cluster.name);
        let ops = vec![TxnOp::DeleteCas { key: keys::hook_news(&it.id), index: news.index }];
        points::pass("told.news.before");
        let done = self.put(&it.app, &it.uid, it.event, message, ops).await?;
        points::pass("told.news.after");
        Ok(done)
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
        let is_last = event == HookEvent::Deletion;
        let mut wrote = Vec::new();
        for hook in self.hooks_of(app, uid) {
            let wants = hook.on.contains(&event);
            if !wants && !is_last {
                continue;
            }
            // The copy may be old: a try was written down since.
            let Some(mut queue) = self.runner.store().hook_queue(&hook.id).await? else { continue };
            if wants {
                line::push(&mut queue.value, message.clone());
            }
            if is_last {
                queue.value.leaving = Some(hook.clone());
            }
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

    /// Who is told of an app of this identity: by its book, or, where that went with the app, by the news of it.
    fn hooks_of(&self, app: &Placement, uid: &Uid) -> Vec<Hook> {
        // Where an app came back under its own identity, its book is that of those who came later.
        let last = self.state.news.iter().find(|n| n.value.uid == *uid && !n.value.leaving.is_empty());
        if let Some(last) = last {
            return last.value.leaving.clone();
        }
        let book = self.state.books.get(app).filter(|b| b.value.uid == *uid);
        book.map(|b| b.value.hooks.clone()).unwrap_or_default()
    }

    /// Carries out a transaction while this agent leads: the indices of what was written; `None`: somebody was faster.
    async fn write(&self, ops: Vec<TxnOp>) -> Result<Option<BTreeMap<String, u64>>, EngineError> {
        self.runner.write_leading(ops).await
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
            let hook = hook.or(queue.value.leaving.as_ref());
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
