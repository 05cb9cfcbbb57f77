//! Consul, the engines and the agents, as far as an operation sees them: what there is, and what comes of what is sent.

use crate::record::{REGISTER, Record, SETTLE, STEPS, State};

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

impl World {
    pub fn knows(&self, session: u8) -> bool {
        self.sessions & (1 << session) != 0
    }

    pub fn new_session(&mut self) -> u8 {
        let session = self.next_session;
        self.next_session += 1;
        self.sessions |= 1 << session;
        session
    }

    pub fn send(&mut self, message: Message) {
        self.messages.push(message);
        // Their order says nothing.
        self.messages.sort_unstable();
    }

    pub fn unlock(&mut self, session: u8) {
        if self.lock == Some(session) {
            self.lock = None;
        }
    }

    /// True where Consul takes what this session writes over that index.
    pub fn takes(&self, from: u8, index: u8, broken: Option<Broken>) -> bool {
        let is_held = (self.knows(from) && self.lock == Some(from))
            || matches!(broken, Some(Broken::NoSessionCheck | Broken::NoClaim));
        is_held && self.op.is_some_and(|op| op.index == index)
    }

    /// A record is replaced.
    pub fn store(&mut self, next: Record) {
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

    pub fn close(&mut self, end: End) {
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

    pub fn effect(&mut self, n: usize, way: Way) {
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
    pub fn waits_to_give_up(&self, message: &Message) -> bool {
        let waiting = self.waiting(message).map(|a| self.agents[a].phase);
        matches!(waiting, Some(Phase::Calling(version, ..)) if version.record.cancel)
    }

    /// Who waits for the answer to a message.
    pub fn waiting(&self, message: &Message) -> Option<usize> {
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
