//! Keeps the last words of ended instances in Garage, before Nomad's clients collect them.
//!
//! The leader alone copies, so that each is copied once; copying again writes the same. It hears of ends from the
//! world's event stream, and looks at everything once when it begins to lead and whenever the stream was cut. At most
//! [`INSTANCES`] of an app are kept, [`BYTES`] of each of their streams; the app's sweep takes them away.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::files::{LogFiles, logs_in};
use super::tail::{began, ended, is_dead};
use crate::deploy::is_missing;
use crate::engines::EngineError;
use crate::engines::nomad::{AllocStub, Allocation};
use crate::loops::{Beat, Kind};
use crate::model::Uid;
use crate::model::desired::Space;
use crate::operation::Runner;
use crate::render::{AGENT_META, is_run_of};
use crate::store::{KeptInstance, KeptStream};
use crate::world::Change;

/// How many ended instances of an app are kept.
const INSTANCES: usize = 20;
/// How much of each of their streams.
const BYTES: u64 = 1 << 20;
/// How many streams of an instance are kept.
const STREAMS: usize = 16;
/// How long after an end its last words are surely in their file: Nomad writes them each 100 ms.
const LAST_WORDS: Duration = Duration::from_millis(800);
/// How many it copies at once.
const AT_ONCE: usize = 8;
/// How often it looks whether it leads, and tries again what failed.
const LOOK: Duration = Duration::from_secs(10);
const LOOP: Kind = Kind { name: "log-keeper", what: "keeps the last words of ended instances", every: LOOK };

/// Whose an instance is.
#[derive(Debug)]
struct Owner {
    uid: Uid,
    run: Option<String>,
}

/// Copies the logs of the dead.
#[derive(Debug)]
pub struct Keeper {
    runner: Runner,
    beat: Beat,
    leads: bool,
    /// Everything has to be looked at.
    is_behind: bool,
    /// Ended instances that need no further look: kept, or nobody's of ours.
    done: HashSet<String>,
    /// Instances that have just ended, and when to keep them.
    due: VecDeque<(Instant, Allocation)>,
}

impl Keeper {
    /// Keeps until `stop`.
    pub fn start(runner: &Runner, stop: CancellationToken) {
        let runner = runner.clone();
        runner.clone().loops().spawn(LOOP, move |beat| Self::new(runner.clone(), beat).run(stop.clone()));
    }

    fn new(runner: Runner, beat: Beat) -> Self {
        Self { runner, beat, leads: false, is_behind: true, done: HashSet::new(), due: VecDeque::new() }
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.runner.hands().world.subscribe().await;
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let next = self.due.front().map(|(at, _)| *at);
            let is_due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => self.look().await,
                () = is_due => self.keep_due().await,
                change = changes.next() => match change {
                    Change::Resync => {
                        self.is_behind = true;
                        self.look().await;
                    }
                    Change::Nomad(event) if event.topic == "Allocation" && self.leads => {
                        let ended = event.object::<Allocation>().filter(is_dead);
                        if let Some(a) = ended.filter(|a| !self.done.contains(&a.id))
                            && self.due.iter().all(|(_, b)| a.id != b.id)
                        {
                            self.due.push_back((Instant::now() + LAST_WORDS, a));
                        }
                    }
                    Change::Nomad(_) | Change::Checks(_) => {}
                },
            }
        }
    }

    /// Keeps what is due, some at once: a redeploy ends many together.
    async fn keep_due(&mut self) {
        let now = Instant::now();
        let count = self.due.iter().take(AT_ONCE).take_while(|(at, _)| *at <= now).count();
        let some: Vec<Allocation> = self.due.drain(..count).map(|(_, a)| a).collect();
        let keeping = some.iter().map(|a| self.keep_if_ours(a));
        let kept: Vec<_> = futures::future::join_all(keeping).await;
        for (a, kept) in some.into_iter().zip(kept) {
            match kept {
                Ok(()) => drop(self.done.insert(a.id)),
                Err(e) => {
                    self.is_behind = true;
                    tracing::debug!(error = %e, alloc = a.id, "the logs of an ended instance are not kept yet");
                }
            }
        }
    }

    async fn keep_if_ours(&self, a: &Allocation) -> Result<(), EngineError> {
        match self.owner(&a.namespace, &a.job_id).await? {
            Some(owner) => self.keep(&owner, a).await,
            None => Ok(()),
        }
    }

    async fn look(&mut self) {
        let leads = self.runner.leads().await;
        let did_lead = std::mem::replace(&mut self.leads, *leads.as_ref().unwrap_or(&false));
        match leads {
            Err(e) => return self.beat.failed(e),
            Ok(false) => return self.beat.rests(),
            Ok(true) => {}
        }
        let kept = if did_lead && !self.is_behind { Ok(()) } else { self.keep_all().await };
        self.is_behind = kept.is_err();
        self.beat.told(kept);
    }

    /// Everything that Nomad still remembers as ended, oldest first.
    async fn keep_all(&mut self) -> Result<(), EngineError> {
        let (mut all, _) = self.runner.hands().nomad.all_allocations("*").await?;
        all.retain(is_dead);
        all.sort_by_key(|a| (a.namespace.clone(), a.job_id.clone(), a.create_index));
        self.done.retain(|id| all.iter().any(|a| a.id == *id));
        let mut failed = None;
        for of_job in all.chunk_by(|a, b| a.namespace == b.namespace && a.job_id == b.job_id) {
            // One that cannot be kept (its node is away, its app's record is newer) holds up no other.
            if let Err(e) = self.keep_of_job(of_job).await {
                tracing::debug!(error = %e, job = of_job[0].job_id, "its ended instances are not all kept yet");
                failed.get_or_insert(e);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The same of one job.
    async fn keep_of_job(&mut self, of_job: &[AllocStub]) -> Result<(), EngineError> {
        if of_job.iter().all(|a| self.done.contains(&a.id)) {
            return Ok(());
        }
        let first = &of_job[0];
        let Some(owner) = self.owner(&first.namespace, &first.job_id).await? else {
            self.done.extend(of_job.iter().map(|a| a.id.clone()));
            return Ok(());
        };
        let kept = self.runner.store().objects().kept(&owner.uid).await?;
        // Older ones would be the first to go again.
        let (older, newer) = of_job.split_at(of_job.len().saturating_sub(INSTANCES));
        self.done.extend(older.iter().map(|a| a.id.clone()));
        let mut failed = None;
        for a in newer {
            let done = if kept.contains(&a.id) || self.done.contains(&a.id) {
                Ok(())
            } else {
                self.keep(&owner, a).await
            };
            match done {
                Ok(()) => drop(self.done.insert(a.id.clone())),
                Err(e) => drop(failed.get_or_insert(e)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The app that a job is, or of which it is a run.
    async fn owner(&self, namespace: &str, job: &str) -> Result<Option<Owner>, EngineError> {
        let found = self.runner.store().name(Space::Service, job).await?;
        if let Some(n) = found.filter(|n| n.value.app.flat() == job && n.value.app.namespace() == namespace) {
            return Ok(Some(Owner { uid: n.value.uid, run: None }));
        }
        let Some((app, run)) = job.rsplit_once("-run-") else { return Ok(None) };
        let Some(n) = self.runner.store().name(Space::Service, app).await? else { return Ok(None) };
        let Some(job) = self.runner.hands().nomad.job(namespace, job).await? else { return Ok(None) };
        // What somebody waits for has been read already.
        let is_kept = is_run_of(&job, n.value.uid.as_str()) && job["Meta"][AGENT_META].is_null();
        Ok(is_kept.then(|| Owner { uid: n.value.uid, run: Some(run.to_owned()) }))
    }

    async fn keep(&self, owner: &Owner, a: &AllocStub) -> Result<(), EngineError> {
        let objects = self.runner.store().objects();
        let nomad = &self.runner.hands().nomad;
        let listing = match nomad.files(&a.id, "/alloc/logs").await {
            Ok(listing) => listing,
            // It never began, or its client has collected it.
            Err(e) if is_missing(&e) => return Ok(()),
            // Its node is gone: nobody will ever read it.
            Err(_) if a.client_status == "lost" => return Ok(()),
            Err(e) => return Err(e),
        };
        let mut streams = Vec::new();
        // An app can put any number of files there: the process's own come first.
        let mut found: Vec<_> = logs_in(&listing, &a.task_group).into_iter().collect();
        found.sort_by_key(|((task, _), _)| *task != a.task_group);
        for ((task, stream), files) in found.into_iter().take(STREAMS) {
            let Some((bytes, cut)) = self.last_bytes(&a.id, &task, stream.as_str(), &files).await? else {
                return Ok(());
            };
            let size = bytes.len() as u64;
            objects.keep_log(&owner.uid, &a.id, &task, stream.as_str(), bytes).await?;
            streams.push(KeptStream { task, stream: stream.as_str().to_owned(), size, cut });
        }
        let it = KeptInstance {
            v: 1,
            alloc: a.id.clone(),
            process: a.task_group.clone(),
            run: owner.run.clone(),
            started: Some(began(a).to_string()),
            ended: ended(a).to_string(),
            streams,
        };
        objects.keep_instance(&owner.uid, &it).await?;
        let kept = objects.kept(&owner.uid).await?;
        for old in &kept[..kept.len().saturating_sub(INSTANCES)] {
            objects.forget_instance(&owner.uid, old).await?;
        }
        Ok(())
    }

    /// The last bytes of a stream, and whether there were more; `None` where they are gone meanwhile.
    async fn last_bytes(
        &self,
        alloc: &str,
        task: &str,
        stream: &str,
        files: &LogFiles,
    ) -> Result<Option<(Bytes, bool)>, EngineError> {
        let total: u64 = files.values().map(|f| f.size).sum();
        let mut skip = total.saturating_sub(BYTES);
        let cut = skip > 0;
        let mut all = BytesMut::new();
        for (number, file) in files {
            let left_out = skip.min(file.size);
            skip -= left_out;
            if left_out == file.size {
                continue;
            }
            let path = format!("/alloc/logs/{task}.{stream}.{number}");
            let nomad = &self.runner.hands().nomad;
            match nomad.file_part(alloc, &path, left_out, file.size - left_out).await {
                Ok(bytes) => all.extend_from_slice(&bytes),
                Err(e) if is_missing(&e) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        Ok(Some((all.freeze(), cut)))
    }
}
