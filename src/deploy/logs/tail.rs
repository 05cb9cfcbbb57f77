//! Reads the logs of a job's instances side by side, without an open connection: it looks how far each log has grown,
//! reads what is new by file and offset, and tells whole lines in order.
//!
//! # Guarantees
//! Within a stream of an instance no line is lost, doubled or out of order; where Nomad rotated a file away before it
//! was read, that is told. An instance that ends is read to its end. Memory is bounded by [`PIECES`], whatever the size
//! of the logs and the speed of the reader.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use tokio::time::Instant;

use super::files::{LogFiles, LogStreamName, Part, Source, logs_in};
use super::lines::{Filter, LONGEST, More, Writer, last_lines, pattern};
use super::{Chunks, LogForm, LogQuery};
use crate::deploy::lineage::born;
use crate::deploy::{Error, is_missing};
use crate::engines::nomad::{AllocStub, Allocation};
use crate::engines::{EngineError, Fault};
use crate::model::Uid;
use crate::operation::Runner;
use crate::store::KeptInstance;
use crate::world::Follower;

/// What is read at once, over all sources.
const PIECES: u64 = 2 << 20;
/// What is read of one source at once: at most, and at least.
const PIECE: (u64, u64) = (32 << 10, 256 << 10);
/// What is told at once.
const BATCH: usize = 64 << 10;
/// Between two looks at a log that is followed: at least, and where nothing happens.
const LOOK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// Looks under way at once.
const LOOKS: usize = 8;
/// How long an instance that ended may take until its last words are in its files (Nomad writes them each 100 ms).
const LAST_WORDS: Duration = Duration::from_millis(1_200);
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
}

impl Tail {
    /// Chooses the instances and looks at each; `None` where there is none.
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
            query,
        };
        let chosen = all.iter().filter(|a| tail.is_chosen(a)).collect::<Vec<_>>();
        let mut instances: Vec<Instance> =
            chosen.into_iter().map(|a| Instance::of(a, tail.query.tail, true)).collect();
        if tail.query.previous || (tail.query.alloc.is_some() && instances.is_empty()) {
            instances.extend(tail.kept().await?);
        }
        instances.sort_by_key(|i| i.order);
        let too_many = instances.len().saturating_sub(INSTANCES);
        instances.drain(..too_many);
        tail.instances = instances;
        if tail.instances.is_empty() {
            return Ok(None);
        }
        tail.look().await?;
        Ok(Some(tail))
    }

    fn is_chosen(&self, a: &AllocStub) -> bool {
        let query = &self.query;
        let by_id = match &query.alloc {
            Some(prefix) => a.id.starts_with(prefix.as_str()),
            None => is_dead(a) == query.previous,
        };
        by_id
            && query.process.as_ref().is_none_or(|p| a.task_group == *p)
            && query.since.is_none_or(|since| !is_dead(a) || ended(a) >= since)
            && query.until.is_none_or(|until| began(a) <= until)
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
            let in_time = self.query.since.is_none_or(|s| time(&kept.ended).is_none_or(|t| t >= s))
                && self.query.until.is_none_or(|u| began.is_none_or(|t| t <= u));
            if kept.run != self.query.run {
                continue;
            }
            if !in_time || self.query.process.as_ref().is_some_and(|p| *p != kept.process) {
                continue;
            }
            found.push(Instance {
                alloc: id,
                process: kept.process.clone(),
                order: began.map_or(0, Timestamp::as_nanosecond),
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

    /// Looks again at everything that can have changed.
    async fn refresh(&mut self) -> Result<(), EngineError> {
        if self.relist {
            let all = list(&self.runner, &self.job).await?;
            self.relist = false;
            for a in &all {
                if let Some(known) = self.instances.iter_mut().find(|i| i.alloc == a.id) {
                    if known.stage == Stage::Living && is_dead(a) {
                        known.stage = Stage::Ending(None);
                    }
                } else if self.seen.insert(a.id.clone())
                    && self.query.process.as_ref().is_none_or(|p| a.task_group == *p)
                    && self.query.alloc.as_ref().is_none_or(|prefix| a.id.starts_with(prefix))
                {
                    // From its beginning, whatever `tail` says: nobody has seen its first lines.
                    self.instances.push(Instance::of(a, None, false));
                }
            }
            // One that Nomad has forgotten altogether writes no more.
            for i in self.instances.iter_mut().filter(|i| i.stage == Stage::Living) {
                if all.iter().all(|a| a.id != i.alloc) {
                    i.stage = Stage::Ending(None);
                }
            }
            self.instances
                .retain(|i| i.stage != Stage::Over || i.sources.iter().any(|s| !s.pending.is_empty()));
            self.open = None;
        }
        self.look().await
    }

    /// How far each log has grown.
    async fn look(&mut self) -> Result<(), EngineError> {
        let nomad = self.runner.hands().nomad.clone();
        let there: Vec<(usize, String)> = self
            .instances
            .iter()
            .enumerate()
            .filter(|(_, i)| matches!(i.place, Place::Nomad) && i.stage != Stage::Over)
            .map(|(n, i)| (n, i.alloc.clone()))
            .collect();
        let looks = there.into_iter().map(|(n, id)| {
            let nomad = nomad.clone();
            async move { (n, nomad.files(&id, "/alloc/logs").await) }
        });
        let looked: Vec<_> = futures::stream::iter(looks).buffer_unordered(LOOKS).collect().await;
        let mut failed = None;
        for (n, listing) in looked {
            match listing {
                Ok(listing) => {
                    let found = logs_in(&listing, &self.instances[n].process);
                    self.grown(n, found).await?;
                }
                // Not begun, or collected; or its node is away. Of an ended one Garage may know.
                Err(_) if self.instances[n].stage != Stage::Living => {
                    self.find_kept(n).await?;
                }
                Err(e) if is_missing(&e) => {}
                Err(e) => failed = Some(e),
            }
        }
        for n in 0..self.instances.len() {
            if let Place::Kept(kept) = &self.instances[n].place
                && self.instances[n].sources.is_empty()
            {
                let mut found = std::collections::BTreeMap::new();
                for s in &kept.streams {
                    if let Some(stream) = LogStreamName::named(&s.stream) {
                        let it = super::files::LogFile { size: s.size, written: kept.ended.parse().ok() };
                        found.insert((s.task.clone(), stream), LogFiles::from([(0, it)]));
                    }
                }
                self.grown(n, found).await?;
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn find_kept(&mut self, n: usize) -> Result<(), EngineError> {
        let has_begun = !self.instances[n].sources.is_empty();
        let alloc = self.instances[n].alloc.clone();
        let kept = if has_begun {
            // Its files were being read: what Garage keeps begins elsewhere.
            None
        } else {
            self.runner.store().objects().kept_instance(&self.job.uid, &alloc).await?
        };
        let it = &mut self.instances[n];
        it.stage = Stage::Over;
        it.place = kept.map_or(Place::Gone, Place::Kept);
        Ok(())
    }

    /// Takes what an instance's listing says.
    async fn grown(
        &mut self,
        n: usize,
        found: std::collections::BTreeMap<(String, LogStreamName), LogFiles>,
    ) -> Result<(), EngineError> {
        let mut is_new = false;
        for ((task, stream), files) in found {
            if self.query.stream.is_some_and(|s| s != stream) {
                continue;
            }
            let it = &mut self.instances[n];
            if let Some(known) = it.sources.iter_mut().find(|s| s.task == task && s.stream == stream) {
                is_new |= *known.files() != files;
                known.update(files);
                continue;
            }
            is_new = true;
            let other = (task != it.process).then(|| task.clone());
            let writer = Writer {
                alloc: it.alloc.clone(),
                process: it.process.clone(),
                task: other,
                stream: stream.as_str(),
            };
            let mut source = Source::new(writer, task, stream, files, it.order);
            if it.is_past {
                source.within(self.filter.since, self.filter.until);
            }
            if let Some(lines) = it.tail {
                self.go_to_last(n, &mut source, lines).await?;
            }
            self.instances[n].sources.push(source);
        }
        let it = &mut self.instances[n];
        it.is_past = false;
        it.tail = None;
        if is_new {
            self.pause = LOOK.0;
        }
        it.stage = match it.stage {
            Stage::Ending(_) if !self.query.follow || matches!(it.place, Place::Kept(_)) => Stage::Over,
            Stage::Ending(Some(since)) if !is_new && since.elapsed() >= LAST_WORDS => Stage::Over,
            Stage::Ending(Some(since)) if !is_new => Stage::Ending(Some(since)),
            Stage::Ending(_) => Stage::Ending(Some(Instant::now())),
            other => other,
        };
        Ok(())
    }

    /// Goes to the beginning of the last so many lines.
    async fn go_to_last(&self, n: usize, source: &mut Source, lines: usize) -> Result<(), EngineError> {
        let (mut missing, mut is_end) = (lines, true);
        let files: Vec<(u64, u64)> = source.files().iter().rev().map(|(n, f)| (*n, f.size)).collect();
        for (file, size) in files {
            let mut end = size;
            while end > 0 {
                let begin = end.saturating_sub(LONGEST as u64);
                let part = Part { file, offset: begin, len: end - begin };
                let bytes = match self.read(n, source, part).await {
                    Err(e) if is_missing(&e) => return Ok(()),
                    read => read?,
                };
                match last_lines(&bytes, missing, is_end) {
                    Ok(at) => {
                        source.go_to(file, begin + at as u64);
                        return Ok(());
                    }
                    Err(still) => missing = still,
                }
                is_end = false;
                end = begin;
            }
        }
        Ok(())
    }

    async fn read(&self, n: usize, source: &Source, part: Part) -> Result<Bytes, EngineError> {
        let it = &self.instances[n];
        let stream = source.stream.as_str();
        if let Place::Kept(_) = it.place {
            let objects = self.runner.store().objects();
            let which = (source.task.as_str(), stream);
            let bytes = objects.kept_part(&self.job.uid, &it.alloc, which, part.offset, part.len).await?;
            return match bytes {
                Some(bytes) if bytes.len() as u64 == part.len => Ok(bytes),
                _ => Err(EngineError::new(
                    crate::engines::Engine::Garage,
                    Fault::NotFound,
                    format!("read the kept log of instance {}", it.alloc),
                    "it is not there any more",
                )),
            };
        }
        let path = format!("/alloc/logs/{}.{stream}.{}", source.task, part.file);
        self.runner.hands().nomad.file_part(&it.alloc, &path, part.offset, part.len).await
    }

    /// Reads on where nothing whole is left to tell of a source.
    async fn fill(&mut self) -> Result<(), EngineError> {
        let count = self.instances.iter().map(|i| i.sources.len()).sum::<usize>().max(1) as u64;
        let piece = (PIECES / count).clamp(PIECE.0, PIECE.1);
        for n in 0..self.instances.len() {
            for s in 0..self.instances[n].sources.len() {
                while self.line(n, s).is_none() {
                    let source = &mut self.instances[n].sources[s];
                    let part = source.next_part(piece);
                    if std::mem::take(&mut source.lost) && self.query.form == LogForm::Lines {
                        let note = "some lines are lost: their file was rotated away before it was read";
                        source.writer.note(&mut self.notes, note);
                    }
                    let Some(part) = part else {
                        source.is_live = self.query.follow;
                        break;
                    };
                    match self.read(n, &self.instances[n].sources[s], part).await {
                        Ok(bytes) => {
                            let now = self.runner.now();
                            self.instances[n].sources[s].take(part, &bytes, now);
                        }
                        Err(e) if is_missing(&e) => self.instances[n].sources[s].vanished(part.file),
                        Err(e) => return Err(e),
                    }
                }
            }
        }
        Ok(())
    }

    /// The length of a source's next line, where one is there whole, or will never be.
    fn line(&mut self, n: usize, s: usize) -> Option<usize> {
        let it = &mut self.instances[n];
        let source = &mut it.sources[s];
        let is_last = (it.stage == Stage::Over || !self.query.follow) && source.next_part(1).is_none();
        source.line(if is_last { More::No } else { More::Expected })
    }

    /// The one source whose bytes pass through as they are.
    fn sole(&self) -> Option<(usize, usize)> {
        let mut all =
            self.instances.iter().enumerate().flat_map(|(n, i)| (0..i.sources.len()).map(move |s| (n, s)));
        let first = all.next().filter(|_| self.query.form == LogForm::Raw && self.filter.is_open())?;
        all.next().is_none().then_some(first)
    }

    /// What is to be told next; `None` where everything that is known has been told.
    async fn tell(&mut self) -> Result<Option<Bytes>, EngineError> {
        let mut out = Vec::new();
        while out.len() < BATCH {
            self.fill().await?;
            out.append(&mut self.notes);
            if let Some((n, s)) = self.sole() {
                let source = &mut self.instances[n].sources[s];
                let all = source.pending.len();
                return Ok((all > 0).then(|| source.pop(all).freeze()));
            }
            let Some(((n, s), until)) = self.first() else { break };
            self.tell_of(n, s, until, &mut out);
        }
        Ok((!out.is_empty()).then(|| out.into()))
    }

    /// The source whose line comes first, and until when it goes on being the first.
    fn first(&mut self) -> Option<((usize, usize), i128)> {
        let mut best: Option<((usize, usize), i128)> = None;
        let mut until = i128::MAX;
        for n in 0..self.instances.len() {
            for s in 0..self.instances[n].sources.len() {
                let Some(len) = self.line(n, s) else { continue };
                let source = &self.instances[n].sources[s];
                // A line that was begun is ended first.
                let order = if self.open == Some((n, s)) {
                    i128::MIN
                } else {
                    source.stamp(len).map_or(source.order, Timestamp::as_nanosecond)
                };
                match best {
                    Some((_, before)) if order >= before => until = until.min(order),
                    _ => {
                        until = best.map_or(until, |(_, before)| before);
                        best = Some(((n, s), order));
                    }
                }
            }
        }
        best.map(|(which, _)| (which, until))
    }

    /// Tells lines of one source while they come before all others.
    fn tell_of(&mut self, n: usize, s: usize, until: i128, out: &mut Vec<u8>) {
        let mut is_first = true;
        while out.len() < BATCH
            && let Some(len) = self.line(n, s)
        {
            let source = &mut self.instances[n].sources[s];
            let stamp = source.stamp(len);
            let order = stamp.map_or(source.order, Timestamp::as_nanosecond);
            if !is_first && !source.midline && order > until {
                return;
            }
            is_first = false;
            source.order = order;
            source.known = stamp.or(source.known);
            let line = source.pop(len);
            self.open = source.midline.then_some((n, s));
            let at = stamp.or(source.read);
            if !self.filter.wants(&line, at.or(source.known)) {
                continue;
            }
            match self.query.form {
                LogForm::Raw => out.extend_from_slice(&line),
                LogForm::Lines => source.writer.line(out, &line, at),
            }
        }
    }
}

impl Instance {
    fn of(a: &AllocStub, tail: Option<usize>, is_past: bool) -> Self {
        Self {
            alloc: a.id.clone(),
            process: a.task_group.clone(),
            order: began(a).as_nanosecond(),
            place: Place::Nomad,
            stage: if is_dead(a) { Stage::Ending(None) } else { Stage::Living },
            sources: Vec::new(),
            tail,
            is_past,
        }
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
