//! How far each log has grown, and its bytes: at its node, or as Garage keeps the last words of those that are gone.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tokio::time::Instant;

use super::super::files::{LogFile, LogFiles, LogStreamName, Part, Source, logs_in};
use super::super::lines::{LONGEST, Writer, last_lines};
use super::{Instance, LOOK, Place, Stage, Tail, is_dead, list};
use crate::deploy::is_missing;
use crate::engines::{Engine, EngineError, Fault};

/// Looks under way at once.
const LOOKS: usize = 8;
/// How long an instance that ended may take until its last words are in its files (Nomad writes them each 100 ms).
const LAST_WORDS: Duration = Duration::from_millis(1_200);

impl Tail {
    /// Looks again at everything that can have changed.
    pub(super) async fn refresh(&mut self) -> Result<(), EngineError> {
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
    pub(super) async fn look(&mut self) -> Result<(), EngineError> {
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
                let mut found = BTreeMap::new();
                for s in &kept.streams {
                    if let Some(stream) = LogStreamName::named(&s.stream) {
                        let it = LogFile { size: s.size, written: kept.ended.parse().ok() };
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
        found: BTreeMap<(String, LogStreamName), LogFiles>,
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
            let began = self.filter.since.is_none_or(|since| it.order >= since.as_nanosecond());
            source.is_within = began && source.ends_before(self.filter.until);
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
                        source.go_on_to(file, begin + at as u64);
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

    pub(super) async fn read(&self, n: usize, source: &Source, part: Part) -> Result<Bytes, EngineError> {
        let it = &self.instances[n];
        let stream = source.stream.as_str();
        if let Place::Kept(_) = it.place {
            let objects = self.runner.store().objects();
            let which = (source.task.as_str(), stream);
            let bytes = objects.kept_part(&self.job.uid, &it.alloc, which, part.offset, part.len).await?;
            return match bytes {
                Some(bytes) if bytes.len() as u64 == part.len => Ok(bytes),
                _ => Err(EngineError::new(
                    Engine::Garage,
                    Fault::NotFound,
                    format!("read the kept log of instance {}", it.alloc),
                    "it is not there any more",
                )),
            };
        }
        let path = format!("/alloc/logs/{}.{stream}.{}", source.task, part.file);
        self.runner.hands().nomad.file_part(&it.alloc, &path, part.offset, part.len).await
    }
}
