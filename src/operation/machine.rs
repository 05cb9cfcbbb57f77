//! What an operation does next: a pure function of its record and of what was observed.
//!
//! # Guarantees
//! - **G1** a step is run only after a record that says `begun`; this function never asks for a `Run` of a step whose
//!   record does not.
//! - **G2** the direction turns at most once, from forward to backward, and only before the first effect that cannot be
//!   taken back: the registration of the job, for most apps. A person's cancel is no exception: it turns an operation only
//!   while no such step is begun, by the very CAS that beginning one needs. Later, while the rollout is waited for, it
//!   turns nothing: the wait gives up on the release, as it does on one that gets not healthy.
//!
//! # Assumptions
//! The caller writes what `Next::Write` holds (fenced by session and CAS) before it asks again, and runs steps that
//! are idempotent by their kind.

use std::collections::BTreeMap;

use super::turning::{is_bound, is_past_return, turn_as_ordered};
use crate::model::head::Outcome;
use crate::store::records::{Direction, OpRecord, StepState};

/// What came of a step: ids, indexes, verdicts; never a secret.
pub type Evidence = BTreeMap<String, String>;

/// The key of a settle step's verdict in its evidence.
pub const VERDICT: &str = "verdict";

/// What was observed since the record was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: the record was just written, or taken over.
    Nothing,
    /// The effect of the step in hand (or of its undoing) has happened.
    Effected(Evidence),
    /// The engine said no, for good: the effect has not happened.
    Refused(String),
    /// Whether the effect has happened is not known.
    Unknown(String),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Write this record, then ask again with [`Seen::Nothing`].
    Write(OpRecord),
    /// Run this step.
    Run(usize),
    /// Take this step back.
    Undo(usize),
    /// Pause, then do the same again: an engine is away.
    Wait(usize, String),
    /// End the operation: the record in its last form, and how it ended.
    Close(OpRecord, Outcome),
}

/// Decides.
pub fn decide(record: &OpRecord, seen: Seen) -> Next {
    if record.is_abandoned() {
        return abandoned(record, seen);
    }
    match record.direction {
        Direction::Forward => forward(record, seen),
        Direction::Backward => backward(record, seen),
    }
}

/// Ends where it stands; where nothing is left of it, as it would have.
fn abandoned(record: &OpRecord, seen: Seen) -> Next {
    let verdict = match &seen {
        Seen::Effected(evidence) => verdict(evidence),
        _ => None,
    };
    let last = as_seen(record, seen);
    let outcome = match (verdict, record.direction) {
        // To hold canaries is no end.
        (Some(verdict), _) if verdict != Outcome::Held => verdict,
        _ if is_half_way(&last) => Outcome::Abandoned,
        (Some(_), _) => Outcome::Abandoned,
        (None, Direction::Forward) => Outcome::Done,
        (None, Direction::Backward) => Outcome::Undone,
    };
    Next::Close(last, outcome)
}

/// How an operation ends whose wait found that the release does not serve, or not yet.
fn verdict(evidence: &Evidence) -> Option<Outcome> {
    match evidence.get(VERDICT)?.as_str() {
        // What comes after it is kept, and done by the promotion.
        "held" => Some(Outcome::Held),
        "reverted" => Some(Outcome::Reverted),
        "failed" => Some(Outcome::Failed),
        _ => None,
    }
}

/// True where something is left to be done, or to be taken back.
fn is_half_way(record: &OpRecord) -> bool {
    record.steps.iter().any(|s| match record.direction {
        Direction::Forward => matches!(s.state, StepState::Todo | StepState::Begun),
        Direction::Backward => matches!(s.state, StepState::Begun | StepState::Done),
    })
}

/// The record with what was just seen of the step in hand.
fn as_seen(record: &OpRecord, seen: Seen) -> OpRecord {
    let mut record = record.clone();
    let Seen::Effected(evidence) = seen else { return record };
    match record.direction {
        Direction::Forward => {
            if let Some(n) = in_hand(&record) {
                record.steps[n].state = StepState::Done;
                record.steps[n].evidence = evidence;
            }
        }
        Direction::Backward => {
            if let Some(n) = last_there(&record) {
                record = undone(&record, n, evidence);
            }
        }
    }
    record
}

/// The last step whose effect may be there.
fn last_there(record: &OpRecord) -> Option<usize> {
    record.steps.iter().rposition(|s| matches!(s.state, StepState::Begun | StepState::Done))
}

/// The step whose effect may have happened.
fn in_hand(record: &OpRecord) -> Option<usize> {
    record.steps.iter().position(|s| s.state == StepState::Begun)
}

fn forward(record: &OpRecord, seen: Seen) -> Next {
    if record.cancel.is_some() && !is_past_return(record) {
        // A step whose effect is not known stays `begun`, so that the way back looks at it too.
        let mut record = as_seen(record, seen);
        turn_as_ordered(&mut record);
        return Next::Write(record);
    }
    let Some(n) = in_hand(record) else { return begin_next(record.clone()) };
    match seen {
        Seen::Nothing => Next::Run(n),
        Seen::Unknown(why) => Next::Wait(n, why),
        Seen::Effected(evidence) => {
            let verdict = verdict(&evidence);
            let record = as_seen(record, Seen::Effected(evidence));
            match verdict {
                Some(outcome) => Next::Close(record, outcome),
                None => begin_next(record),
            }
        }
        Seen::Refused(why) => {
            let mut record = record.clone();
            if is_bound(&record, n) {
                record.steps[n].evidence.insert("refused".to_owned(), why);
                return Next::Close(record, Outcome::Failed);
            }
            // Refused means that this step's effect has not happened, but an earlier attempt at it may have been cut
            // off: it stays `begun`, so that the way back looks at it too.
            record.direction = Direction::Backward;
            record.turned = Some(why);
            Next::Write(record)
        }
    }
}

fn begin_next(mut record: OpRecord) -> Next {
    match record.steps.iter().position(|s| s.state == StepState::Todo) {
        Some(n) => {
            record.steps[n].state = StepState::Begun;
            Next::Write(record)
        }
        None => Next::Close(record, Outcome::Done),
    }
}

fn backward(record: &OpRecord, seen: Seen) -> Next {
    let Some(n) = last_there(record) else { return Next::Close(record.clone(), Outcome::Undone) };
    match seen {
        Seen::Nothing => Next::Undo(n),
        Seen::Unknown(why) => Next::Wait(n, why),
        Seen::Effected(evidence) => Next::Write(undone(record, n, evidence)),
        // What cannot be taken back stays with its mark, and doctor shows it.
        Seen::Refused(why) => Next::Write(undone(record, n, Evidence::from([("left".to_owned(), why)]))),
    }
}

fn undone(record: &OpRecord, n: usize, evidence: Evidence) -> OpRecord {
    let mut record = record.clone();
    record.steps[n].state = StepState::Undone;
    record.steps[n].evidence.extend(evidence);
    record
}

#[cfg(test)]
pub(super) mod tests;
