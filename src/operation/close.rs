//! What an app's head becomes when an operation ends. Pure.

use std::collections::BTreeSet;

use crate::model::Head;
use crate::model::desired::Name;
use crate::model::head::{AppState, Kind, LastOperation, Outcome};
use crate::resources::job;
use crate::store::records::{OpRecord, StepSpec, StepState, Verb};

/// The end of an operation, in records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// The new head; `None`: it goes, because nothing of the app is left.
    pub head: Option<Head>,
    /// Names that are free from now on.
    pub freed: Vec<Name>,
    /// Whether what the plan calls doomed is doomed.
    pub dooms: bool,
}

/// Says what the records become.
pub fn close(head: &Head, record: &OpRecord, outcome: Outcome, at: &str, summary: &str) -> Closing {
    let after = &record.after;
    let mut next = head.clone();
    next.operation = None;
    next.last_operation = Some(LastOperation {
        id: record.id.clone(),
        verb: record.verb.as_str().to_owned(),
        outcome,
        summary: summary.to_owned(),
        at: at.to_owned(),
    });
    if let Some(release) = &after.release {
        next.last_number = next.last_number.max(release.number.0);
    }
    let registered = evidence(record, |s| matches!(s, StepSpec::JobRegister { .. }));
    match outcome {
        Outcome::Done => done(&mut next, record, registered),
        Outcome::Undone => {
            let left: Vec<_> = record.steps.iter().filter(|s| s.evidence.contains_key("left")).collect();
            if left.is_empty() {
                let freed = minus(&after.names, &head.names);
                let gone = head.state == AppState::New;
                return Closing { head: (!gone).then_some(next), freed, dooms: false };
            }
            keep_everything(&mut next, record);
            if next.release.is_none() {
                next.state = AppState::Failed;
            }
        }
        Outcome::Reverted => {
            keep_everything(&mut next, record);
            next.job_index = evidence(record, |s| matches!(s, StepSpec::JobSettle { .. })).or(next.job_index);
        }
        Outcome::Failed | Outcome::Abandoned => {
            keep_everything(&mut next, record);
            if outcome == Outcome::Abandoned {
                next.state = AppState::Abandoned;
            } else if next.release.is_none() {
                next.state = AppState::Failed;
                next.spec_hash = None;
                next.job_index = None;
            } else if registered.is_some() {
                // Registered and not taken back: this specification is what Nomad now holds.
                next.spec_hash.clone_from(&after.spec_hash);
                next.job_index = registered;
            }
        }
    }
    let as_asked = outcome == Outcome::Done;
    let kept_names: BTreeSet<Name> = after.doomed.iter().flat_map(|d| d.names.iter().cloned()).collect();
    let freed = if as_asked && record.verb != Verb::Delete {
        minus(&head.names, &next.names).into_iter().filter(|n| !kept_names.contains(n)).collect()
    } else {
        Vec::new()
    };
    Closing { head: Some(next), freed, dooms: as_asked }
}

fn done(next: &mut Head, record: &OpRecord, registered: Option<u64>) {
    let after = &record.after;
    next.owned.clone_from(&after.owned);
    next.secrets.clone_from(&after.secrets);
    next.owners.clone_from(&after.owners);
    next.node.clone_from(&after.node);
    if record.verb == Verb::Delete {
        // Its names are held until the sweep has taken what is doomed.
        next.state = AppState::Deleted;
        next.release = None;
        next.spec_hash = None;
        next.job_index = None;
        return;
    }
    next.names.clone_from(&after.names);
    next.state = AppState::Live;
    if after.release.is_some() {
        next.release.clone_from(&after.release);
    }
    next.spec_hash.clone_from(&after.spec_hash);
    if registered.is_some() {
        next.job_index = registered;
    } else if !after.owned.iter().any(|o| o.kind == Kind::Job) {
        next.job_index = None;
    }
}

/// What was made for a release that does not serve is still ours: the next deploy uses it or takes it away.
fn keep_everything(next: &mut Head, record: &OpRecord) {
    let after = &record.after;
    let undone = |kind: &str| {
        record.steps.iter().any(|s| {
            s.state == StepState::Undone && s.spec.kind() == kind && !s.evidence.contains_key("left")
        })
    };
    for thing in &after.owned {
        let same = |o: &&mut crate::model::head::Owned| o.kind == thing.kind && o.id == thing.id;
        if next.owned.iter_mut().find(same).is_none()
            && !undone(thing.kind.as_str())
            && thing.kind != Kind::Site
        {
            next.owned.push(thing.clone());
        }
    }
    for name in &after.names {
        if !next.names.contains(name) {
            next.names.push(name.clone());
        }
    }
    for (name, version) in &after.secrets {
        let entry = next.secrets.entry(name.clone()).or_insert(0);
        *entry = (*entry).max(*version);
    }
    if next.owners.is_empty() {
        next.owners.clone_from(&after.owners);
    }
    if next.node.is_none() {
        next.node.clone_from(&after.node);
    }
}

fn minus(a: &[Name], b: &[Name]) -> Vec<Name> {
    a.iter().filter(|n| !b.contains(n)).cloned().collect()
}

fn evidence(record: &OpRecord, which: impl Fn(&StepSpec) -> bool) -> Option<u64> {
    record
        .steps
        .iter()
        .find(|s| which(&s.spec))
        .and_then(|s| s.evidence.get(job::INDEX))
        .and_then(|i| i.parse().ok())
}
