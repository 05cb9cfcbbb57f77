//! The changes that are under way and those that have ended, and turning one back.

use std::collections::BTreeMap;

use futures::StreamExt;

use super::course::is_of_one_step;
use super::lineage::{Old, began};
use super::{Deployer, Error};
use crate::engines::Fault;
use crate::model::head::Outcome;
use crate::model::{Head, Placement, Uid};
use crate::operation::{CancelError, NoCancel, Order};
use crate::store::records::{Audit, By, OpRecord, StepState, Verb};

/// How many audit records are looked at for a list, at most.
const LOOKED_AT: usize = 1_000;
/// How many at once.
const AT_ONCE: usize = 16;

/// The operations of a list.
#[derive(Debug, Default)]
pub struct Listed {
    /// Under way, oldest first.
    pub open: Vec<Line>,
    /// Ended, newest first.
    pub ended: Vec<Line>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its id.
    pub id: Uid,
    /// Of which app.
    pub app: Placement,
    /// What it does.
    pub verb: String,
    /// Who asked for it.
    pub login: String,
    /// When it began (RFC 3339, UTC).
    pub at: String,
    /// The step in hand, in words; `None` once it has ended.
    pub step: Option<String>,
    /// Why it turned back, where it did.
    pub turned: Option<String>,
    /// How it ended, in one line, and when (RFC 3339, UTC).
    pub end: Option<(Outcome, String, String)>,
}

impl Line {
    fn open(record: OpRecord) -> Self {
        Self {
            step: Some(in_hand(&record)),
            id: record.id,
            app: record.app,
            verb: record.verb.as_str().to_owned(),
            login: record.by.login,
            at: record.at,
            turned: record.turned,
            end: None,
        }
    }

    fn ended(audit: Audit) -> Self {
        Self {
            at: began(&audit.operation).unwrap_or_else(|| audit.at.clone()),
            id: audit.operation,
            app: audit.app,
            verb: audit.verb,
            login: audit.by.login,
            step: None,
            turned: None,
            end: Some((audit.outcome, audit.summary, audit.at)),
        }
    }
}

/// The step in hand: `2/4 register job carnet`.
fn in_hand(record: &OpRecord) -> String {
    let of = record.steps.len();
    let at = |n: usize| format!("{}/{of} {}", n + 1, record.steps[n].spec.describe());
    let begun = record.steps.iter().position(|s| s.state == StepState::Begun);
    let last = || record.steps.iter().rposition(|s| s.state == StepState::Done);
    begun.or_else(last).map_or_else(|| "beginning".to_owned(), at)
}

impl Deployer {
    /// The operations under way, and the last `ended` ones that have ended, of the apps whose head passes the filter
    /// (and of this app alone, where one is named).
    pub async fn operations(
        &self,
        app: Option<&Placement>,
        ended: usize,
        old: Old,
        may_see: impl Fn(&Head) -> bool,
    ) -> Result<Listed, Error> {
        let store = self.runner.store();
        let seen: BTreeMap<Placement, Head> = match app {
            Some(app) => store.head(app).await?.into_iter().collect::<Vec<_>>(),
            None => store.heads().await?,
        }
        .into_iter()
        .filter(|h| may_see(&h.value))
        .map(|h| (h.value.app.clone(), h.value))
        .collect();
        let mut open: BTreeMap<Uid, Line> = BTreeMap::new();
        for record in store.operations().await?.into_iter().map(|o| o.value) {
            if seen.contains_key(&record.app) {
                open.insert(record.id.clone(), Line::open(record));
            }
        }
        // Changes of one step, and those that are being planned, have no record: their lock says that they are there.
        for (app, holder) in store.holders().await? {
            if seen.contains_key(&app) && !open.contains_key(&holder.operation) {
                // A lock is given back a moment after the end was recorded.
                let id = &holder.operation;
                if store.intent(id).await?.is_none() && store.audit(id).await?.is_some() {
                    continue;
                }
                let line = Line {
                    at: began(&holder.operation).unwrap_or_default(),
                    id: holder.operation,
                    app,
                    verb: holder.verb,
                    login: holder.login,
                    step: Some("beginning".to_owned()),
                    turned: None,
                    end: None,
                };
                open.insert(line.id.clone(), line);
            }
        }
        for head in seen.values() {
            let Some(id) = head.operation.as_ref().or(head.intent.as_ref().map(|i| &i.id)) else { continue };
            if open.contains_key(id) {
                continue;
            }
            // Looked at by itself: it may have ended since the head was read.
            let (verb, login, step) = match (store.operation(id).await, &head.intent) {
                (Ok(Some(record)), _) => {
                    open.insert(id.clone(), Line::open(record.value));
                    continue;
                }
                (Err(e), _) if e.fault == Fault::Broken => ("?", "?", "its record is newer than this agent"),
                (Err(e), _) => return Err(e.into()),
                // Its agent is gone, and another takes it up in a moment.
                (Ok(None), Some(i)) if store.intent(id).await?.is_some() => {
                    (i.verb.as_str(), i.actor.as_str(), "waits for an agent")
                }
                (Ok(None), _) => continue,
            };
            let line = Line {
                id: id.clone(),
                app: head.app.clone(),
                verb: verb.to_owned(),
                login: login.to_owned(),
                at: began(id).unwrap_or_default(),
                step: Some(step.to_owned()),
                turned: None,
                end: None,
            };
            open.insert(id.clone(), line);
        }
        // The audit record of a change of one step is written before it is carried out.
        let ended = self.ended(&seen, &open, ended, old).await?;
        Ok(Listed { open: open.into_values().collect(), ended })
    }

    async fn ended(
        &self,
        of: &BTreeMap<Placement, Head>,
        open: &BTreeMap<Uid, Line>,
        wanted: usize,
        old: Old,
    ) -> Result<Vec<Line>, Error> {
        let mut found = Vec::new();
        if wanted == 0 || of.is_empty() {
            return Ok(found);
        }
        let store = self.runner.store();
        let ids = store.audited().await?;
        let mut looks = futures::stream::iter(ids.into_iter().rev().take(LOOKED_AT))
            .map(|id| async move { store.audit(&id).await.map(|a| (id, a)) })
            .buffered(AT_ONCE);
        while let Some(look) = looks.next().await {
            let (id, audit) = match look {
                // Of a newer schema: it hides no other.
                Err(e) if e.fault == Fault::Broken => continue,
                look => look?,
            };
            // Who cancelled an operation stands under an id of its own; here each operation stands once. What changes nothing of
            // the app (that somebody saw a value, ran a program) is for the audit log alone.
            let is_told = |a: &Audit| {
                a.operation == id
                    && is_operation(&a.verb)
                    && !open.contains_key(&id)
                    && of.get(&a.app).is_some_and(|h| old.tells(a, &h.uid))
            };
            let audit = audit.map(|a| a.value).filter(is_told);
            found.extend(audit.map(Line::ended));
            if found.len() == wanted {
                break;
            }
        }
        Ok(found)
    }

    /// Turns an operation back, before anything of it is begun that cannot be taken back: it goes on, backward, and ends
    /// undone. While its rollout is waited for, gives up on the release: Nomad goes back to the one before. Any agent
    /// may be asked.
    pub async fn cancel(&self, by: &By, id: &Uid) -> Result<Placement, Error> {
        let refused = |why: String, hint: String| Err(Error::Refused { why, hint });
        match self.runner.cancel(id, by, Order::Back).await {
            Ok(record) => Ok(record.app),
            // It is what was asked for.
            Err(CancelError::Not(record, NoCancel::Cancelled(_))) => Ok(record.app),
            Err(CancelError::Not(record, NoCancel::Turned(why))) => refused(
                format!("the {} of {} has turned back by itself: {why}", record.verb.as_str(), record.app),
                format!("follow it with `terreau operations follow {id}`"),
            ),
            Err(CancelError::Not(record, NoCancel::PastReturn(step))) => refused(
                format!(
                    "the {} of {} goes forward from here: \"{}\" is begun, and cannot be taken back",
                    record.verb.as_str(),
                    record.app,
                    step
                ),
                instead(&record).to_owned(),
            ),
            Err(CancelError::Not(record, NoCancel::Ending)) => refused(
                format!(
                    "the {} of {} is ending: nothing is left to be cancelled",
                    record.verb.as_str(),
                    record.app
                ),
                instead(&record).to_owned(),
            ),
            Err(CancelError::NotOpen) => {
                match self.runner.cancel_intent(id, by).await {
                    Ok(app) => return Ok(app),
                    Err(CancelError::NotOpen | CancelError::Not(..)) => {}
                    Err(e @ CancelError::NoSession) => return Err(Error::Unready(e.to_string())),
                    Err(CancelError::Engine(e)) => return Err(e.into()),
                }
                let end = self.operation(id).await?.end;
                let summary = end.map(|e| format!(": {}", e.summary)).unwrap_or_default();
                refused(
                    format!("operation {id} has ended already{summary}"),
                    "`terreau releases` shows what there is to go back to".to_owned(),
                )
            }
            Err(e @ CancelError::NoSession) => Err(Error::Unready(e.to_string())),
            Err(CancelError::Engine(e)) => Err(e.into()),
        }
    }
}

impl Deployer {
    /// Ends an operation where it stands: no step of it is run or taken back any more. What it made stays its app's, which is
    /// `abandoned` until a deploy or a delete.
    pub async fn abandon(&self, by: &By, id: &Uid) -> Result<Placement, Error> {
        let refused = |why: String, hint: &str| Err(Error::Refused { why, hint: hint.to_owned() });
        match self.runner.cancel(id, by, Order::Abandon).await {
            Ok(record) => Ok(record.app),
            Err(CancelError::Not(record, NoCancel::Cancelled(_))) => Ok(record.app),
            Err(CancelError::Not(record, _)) => refused(
                format!(
                    "the {} of {} is ending: nothing of it is half-way",
                    record.verb.as_str(),
                    record.app
                ),
                "follow it with `terreau operations follow`",
            ),
            Err(CancelError::NotOpen) if self.runner.store().intent(id).await?.is_some() => refused(
                format!("{id} is a change of one step: there is nothing half-way to be left"),
                "`terreau operations cancel` orders it back",
            ),
            Err(CancelError::NotOpen) => {
                let end = self.operation(id).await?.end;
                let summary = end.map(|e| format!(": {}", e.summary)).unwrap_or_default();
                refused(format!("operation {id} has ended already{summary}"), "nothing is under way")
            }
            Err(e @ CancelError::NoSession) => Err(Error::Unready(e.to_string())),
            Err(CancelError::Engine(e)) => Err(e.into()),
        }
    }
}

/// True of the verbs of what changes an app.
fn is_operation(verb: &str) -> bool {
    is_of_one_step(verb) || Verb::ALL.iter().any(|v| v.as_str() == verb)
}

/// What to do about an operation that goes forward.
fn instead(record: &OpRecord) -> &'static str {
    match record.verb {
        Verb::Deploy | Verb::Rollback | Verb::Configure | Verb::Transfer | Verb::Maintenance => {
            "a release that does not get healthy is taken back by itself; \
             once this one runs, `terreau rollback` goes back to the one before"
        }
        Verb::Promote => {
            "canaries that do not get healthy are taken back by themselves; \
             once this one is done, `terreau rollback` goes back to the release before"
        }
        Verb::Revert => "once it is done, deploy again what shall serve",
        Verb::Delete => {
            "once it is done, `terreau deploy` brings the app back; data stays unless --with-data was said"
        }
    }
}
