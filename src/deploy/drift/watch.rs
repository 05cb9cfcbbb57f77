//! The leader's look for drift, again and again: writes down what differs and since when, tells it once among the app's events and in
//! the audit log, and tells where it is over. What is seen once only is not told: somebody may be at it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Known, Seen, look};
use crate::deploy::Error;
use crate::engines::consul::TxnOp;
use crate::loops::{Beat, Kind, Turn};
use crate::model::head::AppState;
use crate::model::{Head, Placement};
use crate::operation::Runner;
use crate::operation::run::encode;
use crate::store::records::{By, DriftRecord, SCHEMA};
use crate::store::{Versioned, keys};

/// How often it looks.
pub(super) const LOOK: Duration = Duration::from_mins(1);
/// How often it is looked whether this agent leads now.
const REST: Duration = Duration::from_secs(5);
const LOOP: Kind =
    Kind { name: "drift", what: "looks whether what apps own is as Terreau left it", every: LOOK };
/// Who tells it.
const TELLER: &str = "terreau";

/// How many things of each kind differ, as the leader saw it last; empty where another agent leads.
pub type DriftFigures = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// Looks for drift.
#[derive(Debug, Default)]
pub struct DriftWatch {
    known: Known,
    figures: DriftFigures,
    /// What was seen the last time, by app.
    before: BTreeMap<Placement, BTreeSet<String>>,
}

impl DriftWatch {
    /// Looks until `stop`.
    pub fn start(runner: &Runner, stop: CancellationToken) -> DriftFigures {
        let (runner, figures) = (runner.clone(), DriftFigures::default());
        let told = figures.clone();
        runner.clone().loops().spawn(LOOP, move |beat| {
            let watch = Self { figures: figures.clone(), ..Self::default() };
            run(watch, runner.clone(), beat, stop.clone())
        });
        told
    }

    /// One look. Gives how many things differ; `None`: another agent leads.
    pub async fn pass(&mut self, runner: &Runner) -> Result<Option<u64>, Error> {
        if !runner.leads().await? {
            (self.known, self.before) = (Known::new(), BTreeMap::new());
            self.tell(BTreeMap::new());
            return Ok(None);
        }
        let mut heads = runner.store().heads().await?;
        heads.retain(|h| h.value.state != AppState::Deleted);
        let records = runner.store().drifts().await?;
        let mut known = std::mem::take(&mut self.known);
        let found = look(runner, heads.clone(), &mut known).await?;
        let seen: BTreeMap<&Placement, &Vec<Seen>> =
            found.apps.iter().map(|(head, seen)| (&head.value.app, seen)).collect();
        let mut figures: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut now = BTreeMap::new();
        for head in &heads {
            let app = &head.value.app;
            if found.unsure.contains(app) {
                now.extend(self.before.remove_entry(app));
                continue;
            }
            let differs: &[Seen] = seen.get(app).map_or(&[], |s| s);
            for s in differs {
                *figures.entry(s.found.kind.as_str()).or_default() += 1;
            }
            let keys: BTreeSet<String> = differs.iter().map(|s| s.found.key()).collect();
            let sure: Vec<&Seen> = differs
                .iter()
                .filter(|s| self.before.get(app).is_some_and(|b| b.contains(&s.found.key())))
                .collect();
            // What cannot be seen may still be as it was.
            let is_over = found.unseen.is_empty() && keys.is_empty();
            if !sure.is_empty() || is_over {
                note(runner, &head.value, &sure, records.iter().find(|r| r.value.app == *app)).await?;
            }
            now.insert(app.clone(), keys);
        }
        for gone in records.iter().filter(|r| heads.iter().all(|h| h.value.uid != r.value.uid)) {
            forget(runner, gone).await?;
        }
        known.retain(|uid, _| heads.iter().any(|h| h.value.uid == *uid));
        (self.known, self.before) = (known, now);
        let count = figures.values().sum();
        self.tell(figures);
        match found.unseen.first() {
            None => Ok(Some(count)),
            Some(why) => Err(Error::Invalid(format!("not everything was seen: {why}"))),
        }
    }

    fn tell(&self, figures: BTreeMap<&'static str, u64>) {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}

async fn run(mut watch: DriftWatch, runner: Runner, beat: Beat, stop: CancellationToken) {
    loop {
        let looked = watch.pass(&runner).await;
        let pause = match beat.turned(looked.map(|found| found.is_some())) {
            Turn::Rested => REST,
            Turn::Worked | Turn::Failed => LOOK,
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Writes down what differs of an app where it is not written down yet, and tells what is new and what is over.
async fn note(
    runner: &Runner,
    head: &Head,
    sure: &[&Seen],
    record: Option<&Versioned<DriftRecord>>,
) -> Result<(), Error> {
    let known = record.filter(|r| r.value.uid == head.uid).map(|r| &r.value.since);
    let at = runner.now().to_string();
    let since: BTreeMap<String, String> = sure
        .iter()
        .map(|s| s.found.key())
        .map(|key| (key.clone(), known.and_then(|k| k.get(&key)).unwrap_or(&at).clone()))
        .collect();
    if known.map_or(since.is_empty(), |k| *k == since) && (record.is_none() || known.is_some()) {
        return Ok(());
    }
    let key = keys::drift(&head.app);
    let mut ops = Vec::new();
    let index = record.map_or(0, |r| r.index);
    if since.is_empty() {
        ops.push(TxnOp::DeleteCas { key, index });
    } else {
        let next =
            DriftRecord { v: SCHEMA, app: head.app.clone(), uid: head.uid.clone(), since: since.clone() };
        ops.push(TxnOp::Cas { key, value: encode(&next)?, index });
    }
    let fresh = sure.iter().filter(|s| known.is_none_or(|k| !k.contains_key(&s.found.key())));
    let begun: Vec<String> = fresh.map(|s| told(head, s)).collect();
    let over = known.into_iter().flatten().map(|(k, _)| k).filter(|k| !since.contains_key(*k));
    let over: Vec<String> =
        over.map(|k| format!("{} is as it should be again", k.replacen('/', " ", 1))).collect();
    for summary in [begun, over].into_iter().filter(|w| !w.is_empty()).map(|w| w.join("; ")) {
        let by = By { login: TELLER.to_owned(), address: String::new() };
        ops.push(runner.told(&by, (&head.app, &head.uid), "drift", summary)?);
    }
    // Where somebody else leads, or wrote it, the next look sees what there is.
    runner.write_leading(ops).await?;
    Ok(())
}

/// The record of an app that is gone.
async fn forget(runner: &Runner, record: &Versioned<DriftRecord>) -> Result<(), Error> {
    let delete = TxnOp::DeleteCas { key: keys::drift(&record.value.app), index: record.index };
    runner.write_leading(vec![delete]).await?;
    Ok(())
}

/// A difference as the log keeps it.
fn told(head: &Head, seen: &Seen) -> String {
    let details =
        if seen.details.is_empty() { String::new() } else { format!(" ({})", seen.details.join("; ")) };
    let (what, _) = super::words(head, &seen.found);
    format!("{what}{details}")
}
