//! What of an operation cannot be taken back, and what a person's order to turn back does to it. Pure.
//!
//! **G2** hangs on it: an order turns an operation only while no step that cannot be taken back is begun, by the very CAS
//! that beginning one needs; later, while the rollout is waited for, it turns nothing.

use crate::store::records::{Cancel, Direction, OpRecord, Step, StepSpec, StepState, Verb};

/// True once an effect has happened that cannot be taken back: from here on an operation goes forward.
pub fn is_past_return(record: &OpRecord) -> bool {
    record.steps.iter().any(|s| s.state == StepState::Done && is_for_good(&s.spec))
}

/// True where an operation goes forward whatever step `n` meets: of a site some files may be there already.
pub fn is_bound(record: &OpRecord, n: usize) -> bool {
    is_past_return(record) || matches!(record.steps[n].spec, StepSpec::SitePut { .. })
}

/// True for effects that cannot be taken back.
fn is_for_good(spec: &StepSpec) -> bool {
    match spec {
        StepSpec::JobRegister { .. }
        | StepSpec::JobPromote { .. }
        | StepSpec::JobStop { .. }
        | StepSpec::SitePut { .. }
        | StepSpec::SiteClose { .. }
        | StepSpec::AccountDisable { .. }
        | StepSpec::KeyDeny { .. } => true,
        StepSpec::SecretGenerate { .. }
        | StepSpec::SecretGiven { .. }
        | StepSpec::EnvGiven { .. }
        | StepSpec::AccountAdd { .. }
        | StepSpec::BucketSet { .. }
        | StepSpec::KeyImport { .. }
        // It changes nothing by itself.
        | StepSpec::JobSettle { .. } => false,
    }
}

/// Why an operation cannot be cancelled (any more).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoCancel {
    /// Somebody has cancelled it already.
    Cancelled(Cancel),
    /// It has turned back by itself.
    Turned(String),
    /// This step (in words) is begun or done, and cannot be taken back.
    PastReturn(String),
    /// Nothing is left to be done.
    Ending,
}

/// True while a registered job is waited for: a person may give up on it, and Nomad goes back by itself. A way back from
/// canaries has nothing behind it that Nomad could go back to.
pub fn is_rolling_out(record: &OpRecord) -> bool {
    if record.verb == Verb::Revert {
        return false;
    }
    let wait = record.steps.iter().position(|s| matches!(s.spec, StepSpec::JobSettle { .. }));
    wait.is_some_and(|n| {
        let (before, wait) = (&record.steps[..n], &record.steps[n]);
        matches!(wait.state, StepState::Todo | StepState::Begun)
            && is_past_return(record)
            && before.iter().all(|s| s.state == StepState::Done)
    })
}

/// Whether a person may still turn an operation back, or give up on its rollout.
pub fn may_cancel(record: &OpRecord) -> Result<(), NoCancel> {
    if let Some(cancel) = &record.cancel {
        return Err(NoCancel::Cancelled(cancel.clone()));
    }
    if record.direction == Direction::Backward {
        return Err(NoCancel::Turned(record.turned.clone().unwrap_or_default()));
    }
    if is_rolling_out(record) {
        return Ok(());
    }
    let begun = |s: &&Step| matches!(s.state, StepState::Begun | StepState::Done) && is_for_good(&s.spec);
    if let Some(step) = record.steps.iter().find(begun) {
        return Err(NoCancel::PastReturn(step.spec.describe()));
    }
    let is_left = |s: &Step| matches!(s.state, StepState::Todo | StepState::Begun);
    if record.steps.iter().any(is_left) { Ok(()) } else { Err(NoCancel::Ending) }
}

/// What the owner of an operation writes instead of `next`, once it has found `cancel` in the record `before`, which it
/// was about to replace.
pub fn cancelled(mut next: OpRecord, before: &OpRecord, cancel: Cancel) -> OpRecord {
    let abandons = cancel.abandon;
    next.cancel = Some(cancel);
    // A rollout that somebody gave up on, and that was over before this was seen: it goes on as it ended.
    if is_past_return(before) && !abandons {
        return next;
    }
    for (step, was) in next.steps.iter_mut().zip(&before.steps) {
        // The record that would have begun it was never written: it is not begun.
        if step.state == StepState::Begun && was.state == StepState::Todo {
            step.state = StepState::Todo;
        }
    }
    if !abandons {
        turn_as_ordered(&mut next);
    }
    next
}

/// Whether an operation may still end where it stands.
pub fn may_abandon(record: &OpRecord) -> Result<(), NoCancel> {
    match &record.cancel {
        Some(cancel) if cancel.abandon => Err(NoCancel::Cancelled(cancel.clone())),
        _ if record.steps.iter().all(|s| matches!(s.state, StepState::Done | StepState::Undone)) => {
            Err(NoCancel::Ending)
        }
        _ => Ok(()),
    }
}

/// Turns a record that holds a cancel.
pub(super) fn turn_as_ordered(record: &mut OpRecord) {
    if let (Some(cancel), Direction::Forward) = (&record.cancel, record.direction) {
        record.turned = Some(format!("cancelled by {}", cancel.by.login));
        record.direction = Direction::Backward;
    }
}
