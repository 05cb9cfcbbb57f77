//! The one watched copy of the engines' changes: one event stream of Nomad and one long call for Consul's checks for the
//! whole agent, whatever the number of apps and followers. The checks are watched only while somebody follows.
//!
//! # Guarantees
//! A follower hears of every change of its job after it subscribed, or hears [`Change::Resync`]: look again. It must
//! subscribe first and look then, because a stream may begin past the index that was asked for, without a sign.

mod keys;

pub use keys::KeyFollower;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::engines::consul::{Check, Consul};
use crate::engines::nomad::{Event, Nomad, Topic};
use crate::loops::{Beat, Kind, Loops};

/// The longest pause before the stream is opened again: whoever waits for a rollout hears nothing meanwhile.
const LONGEST: Duration = Duration::from_secs(3);
/// How long one call for changed checks may stay unanswered.
const CHECKS: Duration = Duration::from_mins(1);
/// The least time between two answers: checks that flap are told together, and a Consul that answers at once costs no
/// more than this.
const LEAST: Duration = Duration::from_millis(100);
/// How often it is looked whether somebody follows again.
const NOBODY: Duration = Duration::from_millis(100);
const EVENTS: Kind =
    Kind { name: "nomad-events", what: "hears of what changes in Nomad", every: Duration::from_secs(30) };
const WATCH: Kind =
    Kind { name: "consul-checks", what: "hears of health while somebody waits for it", every: CHECKS };

/// Something changed.
#[derive(Debug, Clone)]
pub enum Change {
    /// The stream was (re)opened, or some events were dropped: what was seen may be old.
    Resync,
    /// An event of Nomad.
    Nomad(Arc<Event>),
    /// Checks of these services of Consul's came, went, or say something else.
    Checks(Arc<BTreeSet<String>>),
}

impl Change {
    /// True where a follower of this job must look again.
    pub fn concerns(&self, namespace: &str, job: &str) -> bool {
        match self {
            Self::Resync => true,
            // A job's services bear its name, or begin with it.
            Self::Checks(services) => services
                .iter()
                .any(|s| s.strip_prefix(job).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))),
            Self::Nomad(e) => {
                e.namespace == namespace && (e.key == job || e.filter_keys.iter().any(|k| k == job))
            }
        }
    }
}

/// The watched copy. Cheap to clone.
#[derive(Debug, Clone)]
pub struct World {
    changes: broadcast::Sender<Change>,
    open: watch::Receiver<bool>,
    keys: keys::Keys,
}

impl World {
    /// Starts to watch, until `stop`.
    pub fn start(nomad: Nomad, consul: Consul, loops: &Loops, stop: CancellationToken) -> Self {
        let (changes, _) = broadcast::channel(4_096);
        let keys = keys::Keys::new(consul.clone());
        // These two are the agent's own: they stand behind nobody.
        let (nomad, consul) = (nomad.aside(), consul.aside());
        let (is_open, open) = watch::channel(false);
        let world = Self { changes: changes.clone(), open, keys };
        let (to, until) = (changes.clone(), stop.clone());
        loops.spawn(WATCH, move |beat| watch_checks(consul.clone(), to.clone(), beat, until.clone()));
        loops.spawn(EVENTS, move |beat| {
            watch_events(nomad.clone(), changes.clone(), is_open.clone(), beat, stop.clone())
        });
        world
    }

    /// Hears of changes from now on. Waits (at most a moment) until the stream is open, so that what a caller does
    /// next is heard of.
    pub async fn subscribe(&self) -> Follower {
        let receiver = self.changes.subscribe();
        let mut open = self.open.clone();
        let opened = open.wait_for(|o| *o);
        // A stream that does not open is no reason not to look: the first look is made without it.
        let _ = tokio::time::timeout(Duration::from_secs(2), opened).await;
        Follower { receiver }
    }

    /// Hears of changes of one key of Consul's, by one call for all who follow it.
    pub fn follow_key(&self, key: &str) -> KeyFollower {
        self.keys.follow(key)
    }

    /// True while the stream is open.
    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }
}

/// Hears of changes.
#[derive(Debug)]
pub struct Follower {
    receiver: broadcast::Receiver<Change>,
}

impl Follower {
    /// The next change, whatever it concerns.
    pub async fn next(&mut self) -> Change {
        match self.receiver.recv().await {
            Ok(change) => change,
            Err(broadcast::error::RecvError::Lagged(_)) => Change::Resync,
            // The world has stopped with the agent: whoever waits here is about to be stopped too.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }

    /// The next change that concerns a job.
    pub async fn changed(&mut self, namespace: &str, job: &str) -> Change {
        loop {
            let change = self.next().await;
            if change.concerns(namespace, job) {
                return change;
            }
        }
    }
}

async fn watch_events(
    nomad: Nomad,
    changes: broadcast::Sender<Change>,
    is_open: watch::Sender<bool>,
    beat: Beat,
    stop: CancellationToken,
) {
    let mut index = 0;
    let mut pause = Duration::from_millis(100);
    loop {
        let watched = watch_once(&nomad, &changes, &is_open, &beat, (&mut index, &mut pause));
        tokio::select! {
            () = stop.cancelled() => return,
            why = watched => beat.failed(why),
        }
        let _ = is_open.send(false);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST);
    }
}

/// Hears until the stream ends. Gives why it did.
async fn watch_once(
    nomad: &Nomad,
    changes: &broadcast::Sender<Change>,
    is_open: &watch::Sender<bool>,
    beat: &Beat,
    (index, pause): (&mut u64, &mut Duration),
) -> String {
    let topics = ["Deployment", "Allocation", "Evaluation", "Job"].map(Topic::of);
    let mut stream = match nomad.events(*index, &topics).await {
        Ok(stream) => stream,
        Err(e) => return e.to_string(),
    };
    beat.works();
    let _ = is_open.send(true);
    // Nobody following is no fault.
    let _ = changes.send(Change::Resync);
    while let Some(batch) = stream.next().await {
        match batch {
            Ok(batch) => {
                beat.works();
                *pause = Duration::from_millis(100);
                // A heartbeat is of no index.
                if !batch.events.is_empty() {
                    *index = batch.index + 1;
                }
                for event in batch.events {
                    let _ = changes.send(Change::Nomad(Arc::new(event)));
                }
            }
            Err(e) => return e.to_string(),
        }
    }
    "the stream ended".to_owned()
}

/// What each service's checks say: two of these differ where a follower must look again.
type Said = BTreeMap<String, BTreeSet<(String, String, String)>>;

fn said(checks: Vec<Check>) -> Said {
    let mut said = Said::new();
    for c in checks.into_iter().filter(|c| !c.service.is_empty()) {
        said.entry(c.service).or_default().insert((c.service_id, c.id, c.status));
    }
    said
}

/// The services of which something else is said.
fn moved(before: &Said, now: &Said) -> BTreeSet<String> {
    let names = before.keys().chain(now.keys());
    names.filter(|n| before.get(*n) != now.get(*n)).cloned().collect()
}

async fn watch_checks(
    consul: Consul,
    changes: broadcast::Sender<Change>,
    beat: Beat,
    stop: CancellationToken,
) {
    let (mut index, mut before) = (0, None::<Said>);
    let mut pause = Duration::from_millis(100);
    loop {
        if changes.receiver_count() == 0 {
            // Every one of these answers holds all checks of the cluster: not for nobody.
            (index, before) = (0, None);
            beat.rests();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(NOBODY) => continue,
            }
        }
        let answer = tokio::select! {
            () = stop.cancelled() => return,
            answer = consul.checks_wait(index, CHECKS) => answer,
        };
        match answer {
            Ok((checks, next)) => {
                beat.works();
                (index, pause) = (next, Duration::from_millis(100));
                let now = said(checks);
                let news = match &before {
                    // What was said before the first look is not known: everybody looks once more.
                    None => Some(Change::Resync),
                    Some(before) => {
                        let moved = moved(before, &now);
                        (!moved.is_empty()).then(|| Change::Checks(Arc::new(moved)))
                    }
                };
                before = Some(now);
                // Nobody following is no fault.
                news.map(|n| changes.send(n));
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LEAST) => {}
                }
            }
            Err(e) => {
                beat.failed(e);
                (index, before) = (0, None);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(service: &str, status: &str) -> Check {
        Check {
            id: "c".into(),
            service: service.into(),
            service_id: service.into(),
            status: status.into(),
            ..Check::default()
        }
    }

    #[test]
    fn checks_that_say_something_else_concern_the_job_of_their_name_and_no_other() {
        let before = said(vec![check("carnet", "critical"), check("blog-worker", "passing")]);
        let now =
            said(vec![check("carnet", "passing"), check("blog-worker", "passing"), check("", "passing")]);
        let moved = moved(&before, &now);
        assert_eq!(moved, BTreeSet::from(["carnet".to_owned()]));
        assert_eq!(super::moved(&before, &BTreeMap::new()).len(), 2);
        let change =
            |names: &[&str]| Change::Checks(Arc::new(names.iter().map(|n| (*n).to_owned()).collect()));
        assert!(change(&["carnet"]).concerns("default", "carnet"));
        assert!(change(&["blog-worker"]).concerns("default", "blog"));
        assert!(!change(&["carnets", "blog-worker"]).concerns("default", "carnet"));
    }
}
