//! Consul, the engines and the agents, as far as an operation sees them, and what may happen to them.

use stateright::{Model, Property};
use terreau::model::head::Outcome;
use terreau::operation::machine::{Evidence, Next, Seen, VERDICT, cancelled, decide, may_cancel};

use crate::properties;
use crate::record::{REGISTER, Record, SETTLE, STEPS, State, somebodys};

/// How often each misfortune may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Budget {
    /// `kill -9` of an agent, which starts again.
    pub kills: u8,
    /// Answers that are lost, before or after the effect.
    pub lost: u8,
    /// Engines that say no, and releases that do not get healthy.
    pub refusals: u8,
    /// Agents that are paused, or cut off from Consul, for as long as they please.
    pub pauses: u8,
    /// Orders of people to turn back.
    pub cancels: u8,
}

/// What is wrong with a protocol that must be seen to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A step runs before its record says that it is begun.
    EffectBeforeRecord,
    /// A way back turns forward again.
    TurnsTwice,
    /// Whatever is refused turns back, also after the job is registered.
    TurnsAfterRegistration,
    /// An agent does not look at its session's age before it calls.
    NoFence,
    /// Records are taken from who has lost the lock.
    NoSessionCheck,
    /// The same, and who takes over does not say so in the record.
    NoClaim,
    /// Orphans stay.
    NobodyTakesOver,
    /// What is turned back is said to be undone, and is not.
    ForgetsTheWayBack,
    /// The end is written before the job is registered.
    ClosesEarly,
    /// An order to give up on a rollout turns the operation back.
    GivesUpBackward,
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Operations {
    pub agents: usize,
    pub budget: Budget,
    pub broken: Option<Broken>,
}

/// A record as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub record: Record,
    /// Consul's index.
    pub index: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    Done,
    Undone,
    Failed,
}

/// What an agent has heard of its last call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Heard {
    Nothing,
    Effected,
    /// The wait has ended: it did not get healthy.
    Unhealthy,
    Refused,
    Unknown,
}

/// What an agent is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    Idle,
    /// Has sent its claim to an orphan.
    Claiming(Version),
    Deciding(Version, Heard),
    Calling(Version, usize, Way),
    Writing {
        next: Record,
        base: Version,
    },
    Closing {
        last: Record,
        base: Version,
        end: End,
    },
    /// A write of this had no answer, or was refused for good: it is looked at what is there.
    Looking {
        wanted: Wanted,
        base: Version,
        refused: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wanted {
    Record(Record),
    End(Record, End),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    There,
    Back,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Agent {
    /// Its session.
    pub session: u8,
    /// Nothing leaves while it is shut: the last renewal is too long ago.
    pub open: bool,
    pub phase: Phase,
}

/// On its way. It arrives whenever it pleases, also after its sender has died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    Call { from: u8, n: usize, way: Way },
    Write { from: u8, next: Record, index: u8 },
    Close { from: u8, index: u8, end: End },
}

/// What stands in an engine for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    Absent,
    Present,
    /// It came when it had been taken back already, or the operation had ended: an orphan with our mark.
    Orphan,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub op: Option<Version>,
    pub end: Option<End>,
    pub lock: Option<u8>,
    /// Sessions that Consul knows, by bits.
    pub sessions: u16,
    pub next_session: u8,
    pub agents: Vec<Agent>,
    pub messages: Vec<Message>,
    pub effects: [Effect; STEPS],
    pub left: Budget,
    /// Steps of which a record has ever said that they are begun, by bits.
    pub begun: u8,
    /// Steps that an engine has taken back, by bits.
    pub undone: u8,
    /// How often the direction of the record has changed.
    pub turns: u8,
    pub taken_over: bool,
    /// It has ended because a person gave up on its rollout.
    pub given_up: bool,
    pub wrong: Wrong,
}

/// What must never happen, once it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Wrong {
    pub effect_without_record: bool,
    pub turned_late: bool,
    pub sent_without_lock: bool,
    pub written_by_another: bool,
    pub half: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Decide(usize),
    /// It arrives, and its answer too.
    Deliver(Message),
    /// It arrives, and its answer is lost.
    DeliverUnheard(Message),
    /// The engine says no.
    Refuse(Message),
    /// The wait ends, and the release is not healthy.
    Fail(Message),
    /// The sender hears nothing, and it is still on its way.
    GiveUp(usize),
    /// Whoever waits for a release sees that a person has given up on it.
    Notice(usize),
    Look(usize),
    Acquire(usize),
    Cancel,
    Kill(usize),
    Pause(usize),
    Renew(usize),
    Expire(u8),
}

impl Action {
    /// Whether it comes by itself, sooner or later.
    pub fn is_sure(&self) -> bool {
        match self {
            Self::Decide(_)
            | Self::Deliver(_)
            | Self::Look(_)
            | Self::Notice(_)
            | Self::Acquire(_)
            | Self::Renew(_)
            | Self::Expire(_) => true,
            Self::DeliverUnheard(_)
            | Self::Refuse(_)
            | Self::Fail(_)
            | Self::GiveUp(_)
            | Self::Cancel
            | Self::Kill(_)
            | Self::Pause(_) => false,
        }
    }
}

impl World {
    fn knows(&self, session: u8) -> bool {
        self.sessions & (1 << session) != 0
    }

    fn new_session(&mut self) -> u8 {
        let session = self.next_session;
        self.next_session += 1;
        self.sessions |= 1 << session;
        session
    }

    fn send(&mut self, message: Message) {
        self.messages.push(message);
        // Their order says nothing.
        self.messages.sort_unstable();
    }

    fn unlock(&mut self, session: u8) {
        if self.lock == Some(session) {
            self.lock = None;
        }
    }

    /// True where Consul takes what this session writes over that index.
    fn takes(&self, from: u8, index: u8, broken: Option<Broken>) -> bool {
        let is_held = (self.knows(from) && self.lock == Some(from))
            || matches!(broken, Some(Broken::NoSessionCheck | Broken::NoClaim));
        is_held && self.op.is_some_and(|op| op.index == index)
    }

    /// A record is replaced.
    fn store(&mut self, next: Record) {
        let Some(old) = self.op else { return };
        if old.record.backward != next.backward {
            self.turns += 1;
            self.wrong.turned_late |= old.record.steps[REGISTER] == State::Done;
        }
        for (n, state) in next.steps.iter().enumerate() {
            self.begun |= u8::from(*state == State::Begun) << n;
        }
        self.op = Some(Version { record: next, index: old.index + 1 });
    }

    fn close(&mut self, end: End) {
        let record = self.op.map(|op| op.record);
        (self.op, self.end) = (None, Some(end));
        self.given_up = end == End::Failed && record.is_some_and(|r| r.cancel);
        let is_there = |n: &usize| self.effects[*n] == Effect::Present;
        let mut made = 0..=REGISTER;
        self.wrong.half |= match end {
            End::Done => !made.all(|n| is_there(&n)),
            End::Undone => made.any(|n| is_there(&n)),
            // What is recorded as made is there, for the next deploy to use.
            End::Failed => made.any(|n| record.is_some_and(|r| r.steps[n] == State::Done) && !is_there(&n)),
        };
    }

    fn effect(&mut self, n: usize, way: Way) {
        if n == SETTLE {
            return;
        }
        match way {
            // The job that may be there is of a release that does not serve: the drift pass takes it back.
            Way::Back => {
                self.effects[n] = Effect::Absent;
                self.undone |= 1 << n;
            }
            Way::There => {
                self.wrong.effect_without_record |= self.begun & (1 << n) == 0;
                let is_late = self.op.is_none() || self.undone & (1 << n) != 0;
                if self.effects[n] == Effect::Absent {
                    self.effects[n] = if is_late { Effect::Orphan } else { Effect::Present };
                }
            }
        }
    }

    /// True where who waits for the release knows that a person has given up on it: it is ended, healthy or not.
    fn waits_to_give_up(&self, message: &Message) -> bool {
        let waiting = self.waiting(message).map(|a| self.agents[a].phase);
        matches!(waiting, Some(Phase::Calling(version, ..)) if version.record.cancel)
    }

    /// Who waits for the answer to a message.
    fn waiting(&self, message: &Message) -> Option<usize> {
        self.agents.iter().position(|a| match (*message, a.phase) {
            (Message::Call { from, n, way }, Phase::Calling(_, m, w)) => {
                a.session == from && (n, way) == (m, w)
            }
            (Message::Write { from, next, index }, Phase::Writing { next: n, base }) => {
                a.session == from && next == n && index == base.index
            }
            (Message::Write { from, index, .. }, Phase::Claiming(base))
            | (Message::Close { from, index, .. }, Phase::Closing { base, .. }) => {
                a.session == from && index == base.index
            }
            _ => false,
        })
    }
}

impl Operations {
    fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    /// What agent `a` does next with what it knows.
    fn decide(&self, world: &mut World, a: usize) {
        let Phase::Deciding(version, heard) = world.agents[a].phase else { return };
        let session = world.agents[a].session;
        let whole = version.record.whole();
        let seen = match heard {
            Heard::Nothing => Seen::Nothing,
            Heard::Effected => Seen::Effected(Evidence::new()),
            Heard::Unhealthy => Seen::Effected(Evidence::from([(VERDICT.to_owned(), "failed".to_owned())])),
            Heard::Refused => Seen::Refused("no".to_owned()),
            Heard::Unknown => Seen::Unknown("?".to_owned()),
        };
        let next = match decide(&whole, seen) {
            Next::Write(next) => Does::Write(Record::of(&next)),
            Next::Run(n) => Does::Call(n, Way::There),
            Next::Undo(n) => Does::Call(n, Way::Back),
            Next::Wait(..) => Does::Wait,
            Next::Close(last, outcome) => Does::Close(
                Record::of(&last),
                match outcome {
                    Outcome::Done => End::Done,
                    Outcome::Undone => End::Undone,
                    Outcome::Failed => End::Failed,
                    other => panic!("{other:?} is not of this model"),
                },
            ),
        };
        let phase = match self.bend(next, version, heard) {
            Does::Write(next) => {
                if self.is(Broken::EffectBeforeRecord)
                    && let Some(n) = (0..STEPS)
                        .find(|n| next.steps[*n] == State::Begun && version.record.steps[*n] == State::Todo)
                {
                    world.send(Message::Call { from: session, n, way: Way::There });
                }
                world.send(Message::Write { from: session, next, index: version.index });
                Phase::Writing { next, base: version }
            }
            Does::Call(n, way) => {
                world.wrong.sent_without_lock |= !world.knows(session) || world.lock != Some(session);
                world.send(Message::Call { from: session, n, way });
                Phase::Calling(version, n, way)
            }
            Does::Wait => {
                // It looks for an order to turn back, and tries again.
                let now = world.op.filter(|now| is_cancelled(now.record, version.record));
                Phase::Deciding(now.unwrap_or(version), Heard::Nothing)
            }
            Does::Close(last, end) => {
                world.send(Message::Close { from: session, index: version.index, end });
                Phase::Closing { last, base: version, end }
            }
        };
        world.agents[a].phase = phase;
    }

    /// The same, or what a broken protocol would do instead.
    fn bend(&self, does: Does, version: Version, heard: Heard) -> Does {
        let record = version.record;
        match (self.broken, does) {
            (Some(Broken::TurnsTwice), Does::Call(_, Way::Back)) if record.backward => {
                Does::Write(Record { backward: false, cancel: false, ..record })
            }
            (Some(Broken::TurnsAfterRegistration), Does::Close(_, End::Failed))
                if heard == Heard::Refused =>
            {
                Does::Write(Record { backward: true, turned: true, ..record })
            }
            (Some(Broken::ForgetsTheWayBack), Does::Call(n, Way::Back)) => {
                let mut next = record;
                next.steps[n] = State::Undone;
                Does::Write(next)
            }
            (Some(Broken::ClosesEarly), Does::Write(next)) if next.steps[REGISTER] == State::Begun => {
                Does::Close(next, End::Done)
            }
            (Some(Broken::GivesUpBackward), Does::Call(SETTLE, Way::There)) if record.cancel => {
                Does::Write(Record { backward: true, turned: true, ..record })
            }
            (_, does) => does,
        }
    }

    fn deliver(&self, world: &mut World, message: Message, is_heard: bool) {
        let waiting = world.waiting(&message);
        let at = world.messages.iter().position(|m| *m == message);
        world.messages.remove(at.expect("it is on its way"));
        match message {
            Message::Call { n, way, .. } => {
                world.effect(n, way);
                if let Some(a) = waiting
                    && let Phase::Calling(version, ..) = world.agents[a].phase
                {
                    let heard = if is_heard { Heard::Effected } else { Heard::Unknown };
                    world.agents[a].phase = Phase::Deciding(version, heard);
                }
            }
            Message::Write { from, next, index } => {
                let is_taken = world.takes(from, index, self.broken);
                if is_taken {
                    let is_claim = world.op.is_some_and(|op| op.record.claim < next.claim);
                    world.taken_over |= is_claim;
                    // Nobody but who holds the lock drives it.
                    world.wrong.written_by_another |= world.lock != Some(from);
                    world.store(next);
                }
                let Some(a) = waiting else { return };
                let stored = world.op;
                match world.agents[a].phase {
                    Phase::Claiming(_) if is_taken && is_heard => {
                        world.agents[a].phase =
                            stored.map_or(Phase::Idle, |v| Phase::Deciding(v, Heard::Nothing));
                    }
                    Phase::Claiming(_) => {
                        world.agents[a].phase = Phase::Idle;
                        world.unlock(from);
                    }
                    Phase::Writing { .. } if is_taken && is_heard => {
                        world.agents[a].phase =
                            stored.map_or(Phase::Idle, |v| Phase::Deciding(v, Heard::Nothing));
                    }
                    Phase::Writing { next, base } => {
                        let wanted = Wanted::Record(next);
                        world.agents[a].phase =
                            Phase::Looking { wanted, base, refused: !is_taken && is_heard };
                    }
                    _ => {}
                }
            }
            Message::Close { from, index, end } => {
                let is_taken = world.takes(from, index, self.broken);
                if is_taken {
                    world.wrong.written_by_another |= world.lock != Some(from);
                    world.close(end);
                }
                let Some(a) = waiting else { return };
                if let Phase::Closing { last, base, end } = world.agents[a].phase {
                    if is_taken && is_heard {
                        world.agents[a].phase = Phase::Idle;
                        world.unlock(from);
                    } else {
                        let wanted = Wanted::End(last, end);
                        world.agents[a].phase =
                            Phase::Looking { wanted, base, refused: !is_taken && is_heard };
                    }
                }
            }
        }
    }

    /// An agent whose write had no answer or was refused looks at what is there.
    fn look(world: &mut World, a: usize) {
        let Phase::Looking { wanted, base, refused } = world.agents[a].phase else { return };
        let session = world.agents[a].session;
        let leave = |world: &mut World| {
            world.agents[a].phase = Phase::Idle;
            world.unlock(session);
        };
        let Some(now) = world.op else { return leave(world) };
        match wanted {
            Wanted::Record(next) if now.record == next || is_cancelled(now.record, next) => {
                world.agents[a].phase = Phase::Deciding(now, Heard::Nothing);
            }
            Wanted::Record(next) if is_cancelled(now.record, base.record) => {
                let turned = cancelled(next.whole(), &base.record.whole(), somebodys());
                let next = Record::of(&turned);
                world.send(Message::Write { from: session, next, index: now.index });
                world.agents[a].phase = Phase::Writing { next, base: now };
            }
            // There was no answer, and nothing has changed: again.
            Wanted::Record(next) if now == base && !refused => {
                world.send(Message::Write { from: session, next, index: now.index });
                world.agents[a].phase = Phase::Writing { next, base };
            }
            Wanted::End(last, end) if now == base && !refused => {
                world.send(Message::Close { from: session, index: now.index, end });
                world.agents[a].phase = Phase::Closing { last, base, end };
            }
            // It cannot be ended any more as it was about to be.
            Wanted::End(..) if is_cancelled(now.record, base.record) => {
                world.agents[a].phase = Phase::Deciding(now, Heard::Nothing);
            }
            _ => leave(world),
        }
    }
}

/// What an agent does.
enum Does {
    Write(Record),
    Call(usize, Way),
    Wait,
    Close(Record, End),
}

/// `now` is `before` with somebody's order to turn back in it.
fn is_cancelled(now: Record, before: Record) -> bool {
    now.cancel && !before.cancel && Record { cancel: true, ..before } == now
}

impl Model for Operations {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        // The first agent has just opened it: one transaction.
        let first = Version { record: Record::first(), index: 1 };
        let mut world = World {
            op: Some(first),
            end: None,
            lock: Some(0),
            sessions: 0,
            next_session: 0,
            agents: Vec::new(),
            messages: Vec::new(),
            effects: [Effect::Absent; STEPS],
            left: self.budget,
            begun: 1,
            undone: 0,
            turns: 0,
            taken_over: false,
            given_up: false,
            wrong: Wrong::default(),
        };
        for a in 0..self.agents {
            let session = world.new_session();
            let phase = if a == 0 { Phase::Deciding(first, Heard::Nothing) } else { Phase::Idle };
            world.agents.push(Agent { session, open: true, phase });
        }
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (a, agent) in world.agents.iter().enumerate() {
            let may_send = agent.open || self.is(Broken::NoFence);
            match agent.phase {
                Phase::Deciding(..) if may_send => actions.push(Action::Decide(a)),
                Phase::Looking { .. } if may_send => actions.push(Action::Look(a)),
                Phase::Calling(..) | Phase::Writing { .. } | Phase::Closing { .. } if world.left.lost > 0 => {
                    actions.push(Action::GiveUp(a));
                }
                Phase::Idle
                    if agent.open
                        && world.lock.is_none()
                        && world.op.is_some()
                        && world.knows(agent.session)
                        && !self.is(Broken::NobodyTakesOver) =>
                {
                    actions.push(Action::Acquire(a));
                }
                _ => {}
            }
            if world.op.is_some() && world.left.kills > 0 && agent.phase != Phase::Idle {
                actions.push(Action::Kill(a));
            }
            if world.op.is_some() && world.left.pauses > 0 && agent.open && agent.phase != Phase::Idle {
                actions.push(Action::Pause(a));
            }
            if !agent.open {
                actions.push(Action::Renew(a));
            }
        }
        let mut last = None;
        for message in &world.messages {
            // Two that are equal arrive one after the other.
            if last.replace(message) == Some(message) {
                continue;
            }
            actions.push(Action::Deliver(*message));
            if world.left.lost > 0 && world.waiting(message).is_some() {
                actions.push(Action::DeliverUnheard(*message));
            }
            if let Message::Call { n, way: Way::There, .. } = message
                && world.left.refusals > 0
                // An engine that has done it already says so.
                && (*n == SETTLE || world.effects[*n] == Effect::Absent)
                && world.waiting(message).is_some()
            {
                actions.push(Action::Refuse(*message));
                if *n == SETTLE {
                    actions.push(Action::Fail(*message));
                }
            } else if let Message::Call { n: SETTLE, way: Way::There, .. } = message
                && world.waits_to_give_up(message)
            {
                actions.push(Action::Fail(*message));
            }
        }
        for (a, agent) in world.agents.iter().enumerate() {
            if let (Phase::Calling(version, SETTLE, Way::There), Some(now)) = (agent.phase, world.op)
                && is_cancelled(now.record, version.record)
            {
                actions.push(Action::Notice(a));
            }
        }
        if let Some(op) = world.op
            && world.left.cancels > 0
            && may_cancel(&op.record.whole()).is_ok()
        {
            actions.push(Action::Cancel);
        }
        for session in (0..world.next_session).filter(|s| world.knows(*s)) {
            // A fence shuts well before Consul gives a session up.
            let is_renewed = world.agents.iter().any(|a| a.session == session && a.open);
            if world.op.is_some() && (!is_renewed || (self.is(Broken::NoFence) && world.left.pauses > 0)) {
                actions.push(Action::Expire(session));
            }
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Decide(a) => self.decide(&mut world, a),
            Action::Look(a) => Self::look(&mut world, a),
            Action::Deliver(message) => self.deliver(&mut world, message, true),
            Action::DeliverUnheard(message) => {
                world.left.lost -= 1;
                self.deliver(&mut world, message, false);
            }
            Action::Refuse(message) | Action::Fail(message) => {
                if !(matches!(action, Action::Fail(_)) && world.waits_to_give_up(&message)) {
                    world.left.refusals -= 1;
                }
                let a = world.waiting(&message)?;
                let at = world.messages.iter().position(|m| *m == message)?;
                world.messages.remove(at);
                if let Phase::Calling(version, ..) = world.agents[a].phase {
                    let is_refused = matches!(action, Action::Refuse(_));
                    let heard = if is_refused { Heard::Refused } else { Heard::Unhealthy };
                    world.agents[a].phase = Phase::Deciding(version, heard);
                }
            }
            Action::GiveUp(a) => {
                world.left.lost -= 1;
                world.agents[a].phase = match world.agents[a].phase {
                    Phase::Calling(version, ..) => Phase::Deciding(version, Heard::Unknown),
                    Phase::Writing { next, base } => {
                        Phase::Looking { wanted: Wanted::Record(next), base, refused: false }
                    }
                    Phase::Closing { last, base, end } => {
                        Phase::Looking { wanted: Wanted::End(last, end), base, refused: false }
                    }
                    other => other,
                };
            }
            Action::Notice(a) => {
                let now = world.op?;
                let call = Message::Call { from: world.agents[a].session, n: SETTLE, way: Way::There };
                world.messages.retain(|m| *m != call);
                world.agents[a].phase = Phase::Deciding(now, Heard::Nothing);
            }
            Action::Acquire(a) => {
                let session = world.agents[a].session;
                world.lock = Some(session);
                let base = world.op?;
                let next = Record { claim: base.record.claim + 1, ..base.record };
                if self.is(Broken::NoClaim) {
                    world.agents[a].phase = Phase::Deciding(base, Heard::Nothing);
                } else {
                    world.send(Message::Write { from: session, next, index: base.index });
                    world.agents[a].phase = Phase::Claiming(base);
                }
            }
            Action::Cancel => {
                world.left.cancels -= 1;
                let op = world.op?;
                world.op =
                    Some(Version { record: Record { cancel: true, ..op.record }, index: op.index + 1 });
            }
            Action::Kill(a) => {
                world.left.kills -= 1;
                // Another process, with a session of its own. The old one ends by itself.
                let session = world.new_session();
                world.agents[a] = Agent { session, open: true, phase: Phase::Idle };
            }
            Action::Pause(a) => {
                world.left.pauses -= 1;
                world.agents[a].open = false;
            }
            Action::Renew(a) => {
                world.agents[a].open = true;
                if !world.knows(world.agents[a].session) {
                    // The session is gone, and with it whatever was under way.
                    let session = world.new_session();
                    world.agents[a] = Agent { session, open: true, phase: Phase::Idle };
                }
            }
            Action::Expire(session) => {
                if self.is(Broken::NoFence) {
                    world.left.pauses = world.left.pauses.saturating_sub(1);
                }
                world.sessions &= !(1 << session);
                world.unlock(session);
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
