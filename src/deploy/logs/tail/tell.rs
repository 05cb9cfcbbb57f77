//! Whole lines of all sources, in order, as much at once as memory allows.

use bytes::Bytes;
use jiff::Timestamp;

use super::super::LogForm;
use super::super::lines::More;
use super::{Stage, Tail};
use crate::deploy::is_missing;
use crate::engines::EngineError;

/// What is read at once, over all sources.
pub(super) const PIECES: u64 = 2 << 20;
/// What is read of one source at once: at most, and at least.
const PIECE: (u64, u64) = (32 << 10, 256 << 10);
/// What is told at once.
const BATCH: usize = 64 << 10;
/// What is said, once, where lines are told of which nobody knows whether they are of the time that is asked for.
const DOUBT: &str = "lines that bear no time of their own are shown whenever they were written";

impl Tail {
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
    pub(super) async fn tell(&mut self) -> Result<Option<Bytes>, EngineError> {
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
            if source.known.is_none() && self.filter.is_timed() {
                source.known = source.first_stamp();
            }
            let line = source.pop(len);
            self.open = source.midline.then_some((n, s));
            let at = stamp.or(source.read);
            let known = at.or(source.known);
            if !self.filter.wants(&line, known) {
                continue;
            }
            match self.query.form {
                LogForm::Raw => out.extend_from_slice(&line),
                LogForm::Lines => {
                    if known.is_none()
                        && !source.is_within
                        && !std::mem::replace(&mut self.is_doubt_told, true)
                    {
                        source.writer.note(out, DOUBT);
                    }
                    source.writer.line(out, &line, at);
                }
            }
        }
    }
}
