//! What may happen: the steps of agents, messages that arrive or do not, and every misfortune that the budget has.

use stateright::{Model, Property};
use terreau::operation::turning::may_cancel;

use crate::agents::{Operations, is_cancelled};
use crate::properties;
use crate::record::{Record, SETTLE, STEPS};
use crate::world::{Agent, Broken, Effect, Heard, Message, Phase, Version, Wanted, Way, World, Wrong};

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
