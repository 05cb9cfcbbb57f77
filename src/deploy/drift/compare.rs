//! What a head says against what the engines hold. Pure: no call, no clock.

use std::collections::BTreeMap;

use super::lists::Lists;
use crate::model::head::{AppState, Kind, Owned, Wanted};
use crate::model::wire::DriftWhat;
use crate::model::{Head, Sha256Hex};
use crate::resources::mark;

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) target: String,
    pub(super) what: DriftWhat,
}

impl Found {
    fn new(kind: Kind, target: &str, what: DriftWhat) -> Self {
        Self { kind, target: target.to_owned(), what }
    }

    /// Under which it is remembered.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.kind.as_str(), self.target)
    }
}

/// Whether an app stands still, so that what it owns can be compared: nothing of it is being changed.
pub(super) fn is_at_rest(head: &Head) -> bool {
    let is_settled = matches!(head.state, AppState::Live | AppState::Failed);
    is_settled && head.operation.is_none() && head.intent.is_none() && head.held.is_none()
}

/// What differs.
pub(super) fn compare(head: &Head, lists: &Lists) -> Vec<Found> {
    let mut found: Vec<Found> = head.owned.iter().filter_map(|o| owned(head, o, lists)).collect();
    if let Some(all) = &lists.secrets {
        secrets(head, all.get(&head.app.flat()).unwrap_or(&BTreeMap::new()), &mut found);
    }
    found.sort();
    found.dedup();
    found
}

fn owned(head: &Head, o: &Owned, lists: &Lists) -> Option<Found> {
    let is_there = |there: bool| (!there).then_some(DriftWhat::Gone);
    let what = match o.kind {
        Kind::Job => job(head, &o.id, lists),
        Kind::Account => match lists.accounts.as_ref()?.get(&o.id.to_lowercase()) {
            None => Some(DriftWhat::Gone),
            Some(bears) => (*bears != mark(&head.uid)).then_some(DriftWhat::Foreign),
        },
        Kind::Bucket | Kind::Site => is_there(lists.buckets.as_ref()?.contains(&o.id)),
        Kind::Key => is_there(lists.keys.as_ref()?.contains(&o.id)),
        // By version, below.
        Kind::Secret => None,
    }?;
    Some(Found::new(o.kind, &o.id, what))
}

fn job(head: &Head, id: &str, lists: &Lists) -> Option<DriftWhat> {
    let key = (head.app.namespace().to_owned(), id.to_owned());
    let stands_still = head.wanted == Wanted::Stopped;
    let Some(job) = lists.jobs.as_ref()?.get(&key) else {
        // Nomad forgets a stopped job after some hours, and that is as it was wanted.
        return (head.state == AppState::Live && !stands_still).then_some(DriftWhat::Gone);
    };
    if job.meta.get("terreau").map(String::as_str) != Some(head.uid.as_str()) {
        return Some(DriftWhat::Foreign);
    }
    if head.job_index == Some(job.job_modify_index) {
        return None;
    }
    match (job.stop, stands_still || head.state == AppState::Failed) {
        (true, true) => None,
        (true, false) => Some(DriftWhat::Stopped),
        (false, _) => Some(DriftWhat::Changed),
    }
}

fn secrets(head: &Head, there: &BTreeMap<String, Sha256Hex>, found: &mut Vec<Found>) {
    for (name, version) in &head.secrets {
        let versions = format!(".v/{name}/");
        let what = match there.get(name.as_str()) {
            _ if !there.contains_key(&format!("{versions}{version}")) => DriftWhat::Gone,
            // A value that was staged, or that a rollback took, is one of them too.
            Some(now) if there.iter().any(|(k, v)| k.starts_with(&versions) && v == now) => continue,
            _ => DriftWhat::Changed,
        };
        found.push(Found::new(Kind::Secret, name.as_str(), what));
    }
}
