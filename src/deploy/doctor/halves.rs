//! What the records say of changes that are half-way, of the log, and of what this agent cannot read: pure.

use std::time::Duration;

use jiff::Timestamp;

use super::finding;
use crate::model::head::AppState;
use crate::model::wire::{Finding, FindingKind};
use crate::model::{Head, Uid};
use crate::operation::export::FULL;
use crate::operation::run::made_at;
use crate::store::Whole;

/// An agent that is killed loses its session after 20 s at most, and the leader looks each second: what nobody has taken up by
/// then waits for something.
const TAKEN_UP: Duration = Duration::from_mins(1);
/// A change that takes longer is worth a look, whoever drives it.
const LONG: Duration = Duration::from_mins(30);
/// Audit records are exported within some minutes.
const EXPORTED: Duration = Duration::from_hours(1);

/// All of it.
pub(super) fn halves(whole: &Whole, now: Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    let age = |id: &Uid| made_at(id).map_or(Duration::MAX, |at| now.duration_since(at).unsigned_abs());
    let holds = |head: &Head, id: &Uid| {
        head.operation.as_ref() == Some(id) || head.intent.as_ref().is_some_and(|i| i.id == *id)
    };
    let open = whole
        .operations
        .iter()
        .map(|o| (&o.id, &o.app, o.verb.as_str()))
        .chain(whole.intents.iter().map(|(id, i)| (id, &i.app, "change")));
    for (id, app, verb) in open {
        let driven = whole.holders.get(app).is_some_and(|h| h.operation == *id);
        let head = whole.heads.iter().map(|h| &h.value).find(|h| h.app == *app);
        let (text, remedy) = match head {
            Some(head) if !holds(head, id) => (
                format!("the record of a {verb} that the record of {app} does not name"),
                "it should not be, and nothing goes on because of it: please report it".to_owned(),
            ),
            _ if !driven && age(id) > TAKEN_UP => (
                format!("a {verb} of {app} is half-way, and no agent drives it"),
                "the agent that leads takes it up once it can: `terreau loops` says what keeps it from that"
                    .to_owned(),
            ),
            _ if driven && age(id) > LONG => (
                format!("a {verb} of {app} goes on for longer than half an hour"),
                format!("`terreau operations show {id}` says what it waits for"),
            ),
            _ => continue,
        };
        found.push(finding(FindingKind::Operation, Some(app), id.to_string(), (text, remedy)));
    }
    for head in whole.heads.iter().map(|h| &h.value) {
        let open = |id: &Uid| {
            whole.operations.iter().any(|o| o.id == *id) || whole.intents.iter().any(|(i, _)| i == id)
        };
        let lost = [head.operation.as_ref(), head.intent.as_ref().map(|i| &i.id)];
        for id in lost.into_iter().flatten().filter(|id| !open(id)) {
            let text = format!("the record of {} names a change that has no record", head.app);
            let remedy =
                "it should not be, and keeps the app from being changed: please report it".to_owned();
            found.push(finding(FindingKind::Operation, Some(&head.app), id.to_string(), (text, remedy)));
        }
        if head.state == AppState::Abandoned {
            let text = format!("a change of {} was abandoned half-way", head.app);
            let remedy = format!("deploy it again, or `terreau delete --app {}`", head.app);
            found.push(finding(
                FindingKind::Operation,
                Some(&head.app),
                head.app.to_string(),
                (text, remedy),
            ));
        }
    }
    let (drifts, log) = (whole.drifts.iter(), waiting(whole, now));
    found.extend(drifts.map(|d| {
        let text = format!("{} of what {} owns is not as Terreau left it", d.since.len(), d.app);
        let remedy = format!("`terreau drift {}` says what, and what sets it right", d.app);
        finding(FindingKind::Drift, Some(&d.app), d.app.to_string(), (text, remedy))
    }));
    found.extend(log);
    found.extend(whole.unread.iter().map(|(key, why)| {
        let remedy = "where a newer agent wrote it, upgrade this one; what it is about is left to that agent";
        let said = (why.to_string(), remedy.to_owned());
        finding(FindingKind::Record, None, key.clone(), said)
    }));
    found
}

/// Where audit records wait too long.
fn waiting(whole: &Whole, now: Timestamp) -> Option<Finding> {
    let wait: Vec<_> = whole.audits.iter().filter(|a| a.index > whole.audited).collect();
    let since = wait.iter().filter_map(|a| a.value.at.parse::<Timestamp>().ok()).min()?;
    if now.duration_since(since).unsigned_abs() < EXPORTED {
        return None;
    }
    let text = format!("{} audit records wait for their export, the oldest since {since}", wait.len());
    let remedy =
        format!("it goes on once Garage takes them (see /readyz); where {FULL} wait, no change is taken");
    Some(finding(FindingKind::Audit, None, "audit".to_owned(), (text, remedy)))
}
