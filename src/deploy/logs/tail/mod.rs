//! Reads the logs of a job's instances side by side, without an open connection: it looks how far each log has grown,
//! reads what is new by file and offset, and tells whole lines in order.
//!
//! # Guarantees
//! Within a stream of an instance no line is lost, doubled or out of order; where Nomad rotated a file away before it
//! was read, that is told. An instance that ends is read to its end. Memory is bounded by [`tell::PIECES`], whatever the size
//! of the logs and the speed of the reader.

mod look;
mod tell;

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use tokio::time::Instant;

use super::files::Source;
use super::lines::Filter;
use super::{Chunks, LogQuery};
use crate::deploy::Error;
use crate::deploy::lineage::born;
use crate::engines::EngineError;
use crate::engines::nomad::{AllocStub, Allocation};
use crate::model::{Uid, pattern};
use crate::operation::Runner;
use crate::store::KeptInstance;
use crate::world::Follower;

/// Between two looks at a log that is followed: at least, and where nothing happens.
const LOOK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// How long an engine may be away from somebody who follows.
const PATIENCE: Duration = Duration::from_mins(1);
/// Instances in one answer.
const INSTANCES: usize = 500;

/// Whose logs.
#[derive(Debug, Clone)]
pub(in crate::deploy) struct JobLogs {
    pub(in crate::deploy) namespace: String,
    pub(in crate::deploy) job: String,
    /// The app, under whose identity ended instances are kept.
    pub(in crate::deploy) uid: Uid,
}

/// Where an instance's logs are.
#[derive(Debug)]
enum Place {
    Nomad,
    Kept(KeptInstance),
    /// Nowhere any more.
    Gone,
}

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Living,
    /// It has ended; nothing new was seen since.
    Ending(Option<Instant>),
    /// All that it will ever have written is known.
    Over,
}

#[derive(Debug)]
struct Instance {
    alloc: String,
    process: String,
    order: i128,
    /// When it ended, where it has.
    ended: Option<Timestamp>,
    place: Place,
    stage: Stage,
    sources: Vec<Source>,
    tail: Option<usize>,
    /// What its log was like when it was first looked at was there before.
    is_past: bool,
}

/// Logs being read.
#[derive(Debug)]
pub(in crate::deploy) struct Tail {
    runner: Runner,
    job: JobLogs,
    query: LogQuery,
    filter: Filter,
    instances: Vec<Instance>,
    /// Every instance that was ever listed.
    seen: HashSet<String>,
    follower: Option<Follower>,
    relist: bool,
    pause: Duration,
    trouble: Option<Instant>,
    /// The source that is in the middle of a line: it goes on first.
    open: Option<(usize, usize)>,
    notes: Vec<u8>,
    /// It was said that lines bear no times by which they could be chosen.
    is_doubt_told: bool,
}

impl Tail {
    /// Chooses the instances and looks at each; `None` where there is none, in whatever time.
    pub(in crate::deploy) async fn open(
        runner: Runner,
        job: JobLogs,
        query: LogQuery,
    ) -> Result<Option<Self>, Error> {
        let grep = query
            .grep
            .as_deref()
            .map(pattern)
            .transpose()
            .map_err(|e| Error::Invalid(format!("grep: {e}")))?;
        let filter = Filter { since: query.since, until: query.until, grep };
        // Before the list: what begins after it is heard of.
        let follower = if query.follow { Some(runner.hands().world.subscribe().await) } else { None };
        let all = list(&runner, &job).await?;
        let mut tail = Self {
            runner,
            job,
            filter,
            instances: Vec::new(),
            seen: all.iter().map(|a| a.id.clone()).collect(),
            follower,
            relist: false,
            pause: LOOK.0,
            trouble: None,
            open: None,
            notes: Vec::new(),
            is_doubt_told: false,
            query,
        };
        let chosen = all.iter().filter(|a| tail.is_chosen(a)).collect::<Vec<_>>();
        let mut instances: Vec<Instance> =
            chosen.into_iter().map(|a| Instance::of(a, tail.query.tail, true)).collect();
        if tail.query.previous || (tail.query.alloc.is_some() && instances.is_empty()) {
            instances.extend(tail.kept().await?);
        }
        if instances.is_empty() {
            return Ok(None);
        }
        instances.retain(|i| i.lived_in(&tail.filter));
        instances.sort_by_key(|i| i.order);
        let too_many = instances.len().saturating_sub(INSTANCES);
        instances.drain(..too_many);
        tail.instances = instances;
        tail.look().await?;
        Ok(Some(tail))
    }

    fn is_chosen(&self, a: &AllocStub) -> bool {
        let query = &self.query;
        let by_id = match &query.alloc {
            Some(prefix) => a.id.starts_with(prefix.as_str()),
            None => is_dead(a) == query.previous,
        };
        by_id && query.process.as_ref().is_none_or(|p| a.task_group == *p)
    }

    /// Ended instances that only Garage remembers.
    async fn kept(&self) -> Result<Vec<Instance>, EngineError> {
        let objects = self.runner.store().objects();
        let mut ids = objects.kept(&self.job.uid).await?;
        ids.retain(|id| !self.seen.contains(id));
        if let Some(prefix) = &self.query.alloc {
            ids.retain(|id| id.starts_with(prefix.as_str()));
        }
        let mut found = Vec::new();
        for id in ids {
            let Some(kept) = objects.kept_instance(&self.job.uid, &id).await? else { continue };
            let time = |t: &str| t.parse::<Timestamp>().ok();
            let began = kept.started.as_deref().and_then(time);
            if kept.run != self.query.run || self.query.process.as_ref().is_some_and(|p| *p != kept.process) {
                continue;
            }
            found.push(Instance {
                alloc: id,
                process: kept.process.clone(),
                order: began.map_or(0, Timestamp::as_nanosecond),
                ended: time(&kept.ended),
                place: Place::Kept(kept),
                stage: Stage::Ending(None),
                sources: Vec::new(),
                tail: self.query.tail,
                is_past: true,
            });
        }
        Ok(found)
    }

    /// All of it, as it comes.
    pub(in crate::deploy) fn chunks(self) -> Chunks {
        futures::stream::unfold(Some(self), |state| async move {
            let mut tail = state?;
            match tail.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(tail))),
                Ok(None) => None,
                Err(e) => Some((Err(e), None)),
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            if let Some(told) = self.tell().await? {
                return Ok(Some(told));
            }
            let is_over = self.instances.iter().all(|i| i.stage == Stage::Over);
            if !self.query.follow || (is_over && self.query.alloc.is_some()) {
                return Ok(None);
            }
            self.wait().await;
            match self.refresh().await {
                Ok(()) => self.trouble = None,
                Err(e) if e.is_passing() => {
                    let since = *self.trouble.get_or_insert_with(Instant::now);
                    if since.elapsed() > PATIENCE {
                        return Err(e);
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }

    async fn wait(&mut self) {
        let Self { follower, job, pause, relist, .. } = self;
        let changed = async {
            match follower {
                Some(follower) => drop(follower.changed(&job.namespace, &job.job).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => *relist = true,
            () = tokio::time::sleep(*pause) => *pause = (*pause * 3 / 2).min(LOOK.1),
        }
    }
}

impl Instance {
    fn of(a: &AllocStub, tail: Option<usize>, is_past: bool) -> Self {
        Self {
            alloc: a.id.clone(),
            process: a.task_group.clone(),
            order: began(a).as_nanosecond(),
            ended: is_dead(a).then(|| ended(a)),
            place: Place::Nomad,
            stage: if is_dead(a) { Stage::Ending(None) } else { Stage::Living },
            sources: Vec::new(),
            tail,
            is_past,
        }
    }

    /// Whether it lived at a time that is asked for.
    fn lived_in(&self, filter: &Filter) -> bool {
        filter.since.is_none_or(|since| self.ended.is_none_or(|ended| ended >= since))
            && filter.until.is_none_or(|until| self.order <= until.as_nanosecond())
    }
}

/// All instances, the oldest first.
async fn list(runner: &Runner, job: &JobLogs) -> Result<Vec<AllocStub>, EngineError> {
    let mut all = runner.hands().nomad.allocations(&job.namespace, &job.job).await?;
    // Ended ones of another app that had this name before are not this one's.
    let born = born(&job.uid);
    all.retain(|a| !is_dead(a) || ended(a) >= born);
    all.reverse();
    Ok(all)
}

pub(super) fn is_dead(a: &Allocation) -> bool {
    matches!(a.client_status.as_str(), "complete" | "failed" | "lost")
}

/// When an instance's first task began, else when it was placed.
pub(super) fn began(a: &Allocation) -> Timestamp {
    let started =
        a.task_states.values().filter_map(|t| t.started_at.as_deref()?.parse::<Timestamp>().ok()).min();
    started.unwrap_or_else(|| at(a.create_time))
}

/// When an instance's last task ended, else when it last changed.
pub(in crate::deploy) fn ended(a: &Allocation) -> Timestamp {
    let done = |t: &crate::engines::nomad::TaskState| t.finished_at.as_deref()?.parse::<Timestamp>().ok();
    // A task that never began has no end, or the year 1.
    let last = a.task_states.values().filter_map(done).max().filter(|t| t.as_second() > 0);
    last.unwrap_or_else(|| at(a.modify_time))
}

fn at(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}
