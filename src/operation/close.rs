//! What an app's head becomes when an operation ends. Pure.

use std::collections::BTreeSet;

use crate::model::desired::Name;
use crate::model::head::{AppState, Kind, LastOperation, Outcome, Owned, Wanted};
use crate::model::{Head, SecretName, sha256_hex};
use crate::resources::job;
use crate::store::records::{OpRecord, Step, StepSpec, StepState, Verb};

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
        by: record.by.login.clone(),
        release: after.release.as_ref().map(|r| r.number),
    });
    if let Some(release) = &after.release {
        next.last_number = next.last_number.max(release.number.0);
        if next.newest.as_ref().is_none_or(|n| n.number < release.number) {
            next.newest = Some(release.clone());
        }
    }
    let registered = evidence(record, |s| matches!(s, StepSpec::JobRegister { .. }));
    // Another registration, their promotion and a stop all end the waiting of canaries.
    let is_done = |s: &Step| s.state == StepState::Done;
    if record.steps.iter().any(|s| is_done(s) && ends_holding(&s.spec)) {
        next.held = None;
    }
    match outcome {
        Outcome::Done => {
            if after.release.is_some() && after.release != head.release {
                next.released_at = Some(at.to_owned());
            }
            done(&mut next, record, registered);
        }
        Outcome::Undone => {
            // Their values are gone, and their records go: nothing else would say that they were given out.
            next.spent = record.steps.iter().filter_map(|s| given_out(&s.spec)).fold(next.spent, u64::max);
            let left: Vec<_> = record.steps.iter().filter(|s| s.evidence.contains_key("left")).collect();
            if left.is_empty() {
                let freed = minus(&after.names, &head.names);
                // An app that was deleted before may have left data behind, which stays its own.
                let gone = head.state == AppState::New && head.owned.is_empty() && head.names.is_empty();
                if head.state == AppState::New {
                    next.state = AppState::Deleted;
                }
                return Closing { head: (!gone).then_some(next), freed, dooms: false };
            }
            keep_everything(&mut next, record);
            if next.release.is_none() {
                next.state = AppState::Failed;
            }
        }
        Outcome::Held => {
            keep_everything(&mut next, record);
            next.spec_hash.clone_from(&after.spec_hash);
            next.job_index = registered.or(next.job_index);
        }
        Outcome::Reverted => {
            keep_everything(&mut next, record);
            next.job_index = evidence(record, |s| matches!(s, StepSpec::JobSettle { .. })).or(next.job_index);
            if head.held.is_some() {
                // It was the canaries' specification, and the old one runs again: equal to nothing that is wanted.
                next.spec_hash = None;
            }
        }
        Outcome::Failed | Outcome::Abandoned => {
            keep_everything(&mut next, record);
            if outcome == Outcome::Abandoned {
                forget_untried(&mut next, head, record);
                next.state = AppState::Abandoned;
                // What Nomad holds is equal to nothing that is wanted, so that the next deploy registers it.
                if record.steps.iter().any(|s| s.state != StepState::Todo && ends_holding(&s.spec)) {
                    (next.spec_hash, next.job_index, next.held) = (None, None, None);
                }
            } else if next.release.is_none() {
                next.state = AppState::Failed;
                next.spec_hash = None;
                next.job_index = None;
            } else if registered.is_some() {
                // Registered and not taken back: this specification is what Nomad now holds.
                next.spec_hash.clone_from(&after.spec_hash);
                next.job_index = evidence(record, |s| matches!(s, StepSpec::JobSettle { .. })).or(registered);
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
    // Here and not by the sweep, which may take the values and then be stopped.
    for thing in &after.doomed {
        if let (Some(versions), Ok(name)) = (thing.versions, SecretName::new(thing.id.as_str())) {
            let known = next.dropped.entry(name).or_default();
            *known = (*known).max(versions.highest);
        }
    }
    next.env.clone_from(&after.env);
    next.owners.clone_from(&after.owners);
    next.node.clone_from(&after.node);
    // Whatever serves from here on was asked for after the last stop.
    (next.wanted, next.stopped) = (Wanted::Running, None);
    next.processes.clone_from(&after.processes);
    next.counts.clone_from(&after.counts);
    if record.verb == Verb::Delete {
        // Its names are held until the sweep has taken what is doomed; its maintenance page goes with it.
        next.maintenance = None;
        next.state = AppState::Deleted;
        next.release = None;
        next.spec_hash = None;
        next.job_index = None;
        return;
    }
    next.names.clone_from(&after.names);
    next.fronts.clone_from(&after.fronts);
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

fn ends_holding(spec: &StepSpec) -> bool {
    matches!(spec, StepSpec::JobRegister { .. } | StepSpec::JobPromote { .. } | StepSpec::JobStop { .. })
}

/// What an abandoned operation had not begun to make is nowhere.
fn forget_untried(next: &mut Head, head: &Head, record: &OpRecord) {
    let todo = record.steps.iter().filter(|s| s.state == StepState::Todo);
    for (kind, id) in todo.filter_map(|s| made(&s.spec)) {
        let is_owned = |h: &Head| h.owned.iter().any(|o| o.kind == kind && o.id == id);
        if !is_owned(head) {
            next.owned.retain(|o| o.kind != kind || o.id != id);
        }
        if let (Kind::Secret, Ok(name)) = (kind, SecretName::new(id)) {
            match head.secrets.get(&name) {
                Some(version) => next.secrets.insert(name, *version),
                None => next.secrets.remove(&name),
            };
        }
    }
}

/// What was made for a release that does not serve is still ours: the next deploy uses it or takes it away.
fn keep_everything(next: &mut Head, record: &OpRecord) {
    let after = &record.after;
    let undone = |thing: &Owned| {
        record.steps.iter().any(|s| {
            s.state == StepState::Undone
                && !s.evidence.contains_key("left")
                && made(&s.spec) == Some((thing.kind, thing.id.as_str()))
        })
    };
    for thing in &after.owned {
        let known = next.owned.iter_mut().find(|o| o.kind == thing.kind && o.id == thing.id);
        if thing.kind == Kind::Site {
            // Nobody knows which files of it were written: it is ours, and equal to nothing.
            if was_tried(record, thing.kind.as_str()) {
                let hash = sha256_hex(format!("left half-way by {}", record.id));
                match known {
                    Some(site) => site.hash = hash,
                    None => next.owned.push(Owned { hash, ..thing.clone() }),
                }
            }
        } else if known.is_none() && !undone(thing) {
            next.owned.push(thing.clone());
        }
    }
    for name in &after.names {
        if !next.names.contains(name) {
            next.names.push(name.clone());
        }
    }
    let was_given = |name: &SecretName| {
        record.steps.iter().any(|s| matches!(&s.spec, StepSpec::SecretGiven { name: n, .. } if n == name))
    };
    for (name, version) in &after.secrets {
        // What a person gave in place of another value counts once a release with it serves.
        if next.secrets.contains_key(name) && was_given(name) {
            continue;
        }
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

/// What a step makes, as a head owns it.
fn made(spec: &StepSpec) -> Option<(Kind, &str)> {
    match spec {
        StepSpec::SecretGenerate { name, .. } | StepSpec::SecretGiven { name, .. } => {
            Some((Kind::Secret, name.as_str()))
        }
        StepSpec::AccountAdd { dn, .. } => Some((Kind::Account, dn)),
        StepSpec::BucketSet { alias, .. } => Some((Kind::Bucket, alias)),
        StepSpec::KeyImport { id, .. } => Some((Kind::Key, id)),
        StepSpec::JobRegister { id, .. } => Some((Kind::Job, id)),
        _ => None,
    }
}

/// The highest version of a value that a step makes, or keeps.
fn given_out(spec: &StepSpec) -> Option<u64> {
    match spec {
        StepSpec::SecretGenerate { version, .. } | StepSpec::SecretGiven { version, .. } => Some(*version),
        StepSpec::EnvGiven { values } => values.values().copied().max(),
        _ => None,
    }
}

/// True where a step of this kind has or may have had an effect.
fn was_tried(record: &OpRecord, kind: &str) -> bool {
    record.steps.iter().any(|s| s.spec.kind() == kind && s.state != StepState::Todo)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::desired::Space;
    use crate::operation::machine::tests::{record, site};

    fn head(record: &OpRecord, state: AppState) -> Head {
        Head {
            state,
            operation: Some(record.id.clone()),
            ..Head::new(record.app.clone(), record.uid.clone(), String::new(), vec![])
        }
    }

    fn owned(kind: Kind, id: &str) -> Owned {
        Owned { kind, id: id.to_owned(), hash: sha256_hex("as wanted") }
    }

    #[test]
    fn a_first_deploy_that_is_undone_leaves_no_head_and_one_after_a_delete_leaves_the_data_its_owner() {
        let mut record = record(vec![]);
        let name = |space, name: &str| Name { space, name: name.to_owned() };
        let (service, bucket) = (name(Space::Service, "carnet"), name(Space::Bucket, "carnet-media"));
        record.after.names = vec![bucket.clone(), service.clone()];
        let mut head = head(&record, AppState::New);
        let closing = close(&head, &record, Outcome::Undone, "", "");
        assert_eq!((closing.head, closing.freed), (None, vec![bucket.clone(), service.clone()]));

        head.owned = vec![owned(Kind::Bucket, "carnet-media")];
        head.names = vec![bucket];
        let closing = close(&head, &record, Outcome::Undone, "", "");
        let kept = closing.head.unwrap();
        assert_eq!((kept.state, &kept.owned, &kept.names), (AppState::Deleted, &head.owned, &head.names));
        assert_eq!((kept.operation, closing.freed), (None, vec![service]));
    }

    #[test]
    fn a_site_that_was_left_half_way_is_owned_and_equal_to_nothing() {
        let mut record = record(vec![site("a.example.org")]);
        record.after.owned = vec![owned(Kind::Site, "a.example.org")];
        for before in [vec![], vec![owned(Kind::Site, "a.example.org")]] {
            let mut head = head(&record, AppState::Live);
            head.owned = before;
            let after = close(&head, &record, Outcome::Failed, "", "").head.unwrap();
            let [site] = &after.owned[..] else { panic!("{after:?}") };
            assert_eq!((site.kind, site.id.as_str()), (Kind::Site, "a.example.org"));
            assert_ne!(site.hash, sha256_hex("as wanted"));
        }
    }
}
