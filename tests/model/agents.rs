//! What agents do with what they know: the very decisions of [`terreau::operation`], or those of a protocol that is broken
//! on purpose.

use terreau::model::head::Outcome;
use terreau::operation::machine::{Evidence, Next, Seen, VERDICT, decide};
use terreau::operation::turning::cancelled;

use crate::record::{REGISTER, Record, SETTLE, STEPS, State, somebodys};
use crate::world::{Broken, Budget, End, Heard, Message, Phase, Version, Wanted, Way, World};

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Operations {
    pub agents: usize,
    pub budget: Budget,
    pub broken: Option<Broken>,
}

impl Operations {
    pub fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    /// What agent `a` does next with what it knows.
    pub fn decide(&self, world: &mut World, a: usize) {
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

    pub fn deliver(&self, world: &mut World, message: Message, is_heard: bool) {
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
    pub fn look(world: &mut World, a: usize) {
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
pub fn is_cancelled(now: Record, before: Record) -> bool {
    now.cancel && !before.cancel && Record { cancel: true, ..before } == now
}
