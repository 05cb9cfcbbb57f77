//! Drift: what apps own that is not on the engines as Terreau left it. A few lists, whatever the number of apps; only what
//! differs is looked at more closely. Shown, and never undone here: what sets it right is an ordinary change.
//!
//! An app that is being changed is left out; and where its head has moved while the lists were read, what they seem to say of it
//! is not said.

mod compare;
mod job;
mod lists;
mod told;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use super::{Deployer, Error};
use crate::model::head::Kind;
use crate::model::wire::{Drift, DriftView, DriftWhat};
use crate::model::{Head, Placement, Uid};
use crate::operation::Runner;
use crate::operation::intended::counts_of;
use crate::store::Versioned;
use crate::store::records::DriftRecord;
use compare::Found;
use lists::Lists;

pub(super) use told::drifted;
pub use watch::{DriftFigures, DriftWatch};

/// What differs of an app, closely looked at.
#[derive(Debug, Clone)]
struct Seen {
    found: Found,
    details: Vec<String>,
    changed_at: Option<String>,
}

/// What differs, by app, and what could not be looked at.
#[derive(Debug, Default)]
struct Look {
    apps: Vec<(Versioned<Head>, Vec<Seen>)>,
    /// Those of which nothing can be said: they are being changed, or could not be looked at.
    unsure: BTreeSet<Placement>,
    unseen: Vec<String>,
}

/// What was found of each app's job, so that it is not looked at again while neither the job nor the head has moved.
type Known = BTreeMap<Uid, Looked>;

/// What was found of a job, at its index and at the head's.
#[derive(Debug)]
struct Looked {
    job: u64,
    head: u64,
    found: Option<job::Closely>,
}

impl Deployer {
    /// What differs now, of the apps that may be seen.
    pub async fn drift(
        &self,
        app: Option<&Placement>,
        may_see: impl Fn(&Head) -> bool,
    ) -> Result<Drift, Error> {
        let heads = match app {
            Some(app) => vec![self.head(app).await?],
            None => self.runner.store().heads().await?.into_iter().filter(|h| may_see(&h.value)).collect(),
        };
        let look = look(&self.runner, heads, &mut Known::new()).await?;
        let mut drift = Drift { unseen: look.unseen, ..Drift::default() };
        let records = self.runner.store().drifts().await?;
        for (head, seen) in look.apps {
            let known = records.iter().map(|r| &r.value).find(|r| r.uid == head.value.uid);
            drift.differences.extend(seen.into_iter().map(|s| view(&head.value, s, known)));
        }
        Ok(drift)
    }
}

/// Looks at these apps.
async fn look(runner: &Runner, heads: Vec<Versioned<Head>>, known: &mut Known) -> Result<Look, Error> {
    let (at_rest, moving): (Vec<_>, Vec<_>) = heads.into_iter().partition(|h| compare::is_at_rest(&h.value));
    let plain: Vec<&Head> = at_rest.iter().map(|h| &h.value).collect();
    let mut lists = Box::pin(Lists::look(runner, &plain)).await;
    let mut look = Look { unseen: std::mem::take(&mut lists.unseen), ..Look::default() };
    look.unsure.extend(moving.into_iter().map(|h| h.value.app));
    for head in at_rest {
        let mut seen = Vec::new();
        for found in compare::compare(&head.value, &lists) {
            match closely(runner, &head, &lists, found, known).await {
                Ok(s) => seen.extend(s),
                Err(e) => {
                    look.unseen.push(format!("{}: {e}", head.value.app));
                    look.unsure.insert(head.value.app.clone());
                }
            }
        }
        if seen.is_empty() {
            continue;
        }
        // Where it has moved since, that is no drift, or not the one that was seen.
        let now = runner.store().head(&head.value.app).await?;
        if now.is_some_and(|now| now.index == head.index) {
            look.apps.push((head, seen));
        } else {
            look.unsure.insert(head.value.app);
        }
    }
    Ok(look)
}

/// Of a job that was changed: what differs in it. `None`: nothing that matters.
async fn closely(
    runner: &Runner,
    at: &Versioned<Head>,
    lists: &Lists,
    found: Found,
    known: &mut Known,
) -> Result<Option<Seen>, Error> {
    let head = &at.value;
    let plain = |found| Seen { found, details: Vec::new(), changed_at: None };
    if found.kind != Kind::Job || !matches!(found.what, DriftWhat::Changed | DriftWhat::Stopped) {
        return Ok(Some(plain(found)));
    }
    let key = (head.app.namespace().to_owned(), found.target.clone());
    let index = lists.jobs.as_ref().and_then(|all| all.get(&key)).map_or(0, |j| j.job_modify_index);
    let closely = match known.get(&head.uid) {
        Some(k) if (k.job, k.head) == (index, at.index) => k.found.clone(),
        _ => {
            let closely = job::closely(runner, head, &found.target).await?;
            let looked = Looked { job: index, head: at.index, found: closely.clone() };
            known.insert(head.uid.clone(), looked);
            closely
        }
    };
    Ok(closely.map(|c| {
        let found = Found { what: c.what, ..found };
        Seen { found, details: c.details, changed_at: c.changed_at }
    }))
}

fn view(head: &Head, seen: Seen, known: Option<&DriftRecord>) -> DriftView {
    let since = known.and_then(|k| k.since.get(&seen.found.key()).cloned());
    let (what, remedy) = words(head, &seen.found);
    DriftView {
        app: head.app.to_string(),
        kind: seen.found.kind.as_str().to_owned(),
        text: format!("{what}; {remedy}"),
        target: seen.found.target,
        what: seen.found.what,
        details: seen.details,
        changed_at: seen.changed_at,
        since,
    }
}

/// One difference in words, and what sets it right.
fn words(head: &Head, found: &Found) -> (String, String) {
    let (kind, target, app) = (found.kind.as_str(), &found.target, &head.app);
    let again = || "`terreau deploy`, or a rollback to the release that runs, writes it again".to_owned();
    let wanted = || {
        let counts = counts_of(head).into_iter().map(|(process, count)| format!(" {process}={count}"));
        counts.collect::<String>()
    };
    match (found.what, found.kind) {
        (DriftWhat::Gone, Kind::Job) => (format!("job {target} is not in Nomad any more"), again()),
        (DriftWhat::Gone, Kind::Secret) => (
            format!("the value of secret {target} that {app} runs with is not in Consul any more"),
            "instances that start anew wait for it: `terreau deploy` makes a generated one anew, `terreau secret set` takes \
             one from you"
                .to_owned(),
        ),
        (DriftWhat::Gone, _) => (format!("{kind} {target} is not there any more"), again()),
        (DriftWhat::Stopped, _) => (
            format!("job {target} was stopped outside of Terreau"),
            format!("`terreau start {app}` starts it"),
        ),
        (DriftWhat::Started, _) => (
            format!("job {target} was started outside of Terreau, and is to stand still"),
            format!("`terreau stop {app}` stops it"),
        ),
        (DriftWhat::Counts, _) => (
            format!("job {target} was scaled outside of Terreau"),
            format!("`terreau scale --app {app}{}` sets the counts", wanted()),
        ),
        (DriftWhat::Changed, Kind::Secret) => {
            let what = format!("secrets/{}/{target} in Consul is not what Terreau wrote", app.flat());
            (what, "what Terreau runs reads its own version, and goes on; the next release writes this again".to_owned())
        }
        (DriftWhat::Changed, _) => (format!("{kind} {target} was changed outside of Terreau"), again()),
        (DriftWhat::Foreign, _) => (
            format!("{kind} {target} does not bear the mark of this app"),
            "it is somebody else's now, or its mark was taken off: look who did".to_owned(),
        ),
    }
}
