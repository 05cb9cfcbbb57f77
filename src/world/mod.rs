//! The one watched copy of the engines' changes: one event stream of Nomad for the whole agent, whatever the number
//! of apps and followers.
//!
//! # Guarantees
//! A follower hears of every change of its job after it subscribed, or hears [`Change::Resync`]: look again. It must
//! subscribe first and look then, because a stream may begin past the index that was asked for, without a sign.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::engines::nomad::{Event, Nomad, Topic};

/// The longest pause before the stream is opened again: whoever waits for a rollout hears nothing meanwhile.
const LONGEST: Duration = Duration::from_secs(3);

/// Something changed.
#[derive(Debug, Clone)]
pub enum Change {
    /// The stream was (re)opened, or some events were dropped: what was seen may be old.
    Resync,
    /// An event of Nomad.
    Nomad(Arc<Event>),
}

impl Change {
    /// True where a follower of this job must look again.
    pub fn concerns(&self, namespace: &str, job: &str) -> bool {
        match self {
            Self::Resync => true,
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
}

impl World {
    /// Starts to watch, until `stop`.
    pub fn start(nomad: Nomad, stop: CancellationToken) -> Self {
        let (changes, _) = broadcast::channel(4_096);
        let (is_open, open) = watch::channel(false);
        let world = Self { changes: changes.clone(), open };
        tokio::spawn(async move {
            let mut index = 0;
            let mut pause = Duration::from_millis(100);
            loop {
                let watched = watch_once(&nomad, &changes, &is_open, &mut index, &mut pause);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = watched => {}
                }
                let _ = is_open.send(false);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST);
            }
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
    /// The next change that concerns a job.
    pub async fn changed(&mut self, namespace: &str, job: &str) -> Change {
        loop {
            match self.receiver.recv().await {
                Ok(change) if change.concerns(namespace, job) => return change,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return Change::Resync,
                // The world has stopped with the agent: whoever waits here is about to be stopped too.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

async fn watch_once(
    nomad: &Nomad,
    changes: &broadcast::Sender<Change>,
    is_open: &watch::Sender<bool>,
    index: &mut u64,
    pause: &mut Duration,
) {
    let topics = ["Deployment", "Allocation", "Evaluation", "Job"].map(Topic::of);
    let mut stream = match nomad.events(*index, &topics).await {
        Ok(stream) => stream,
        Err(e) => {
            tracing::warn!(error = %e, "nomad's event stream does not open");
            return;
        }
    };
    let _ = is_open.send(true);
    // Nobody following is no fault.
    let _ = changes.send(Change::Resync);
    while let Some(batch) = stream.next().await {
        match batch {
            Ok(batch) => {
                *pause = Duration::from_millis(100);
                *index = batch.index + 1;
                for event in batch.events {
                    let _ = changes.send(Change::Nomad(Arc::new(event)));
                }
            }
            Err(e) => {
                tracing::warn!(error = %e, "nomad's event stream ended");
                return;
            }
        }
    }
}
