//! One stream of one instance: the files that it is in, and a place in them that is kept by file and offset.
//!
//! Nomad's own log endpoint counts from the oldest file that is left, which moves when files rotate away; a place by
//! file does not move, so nothing is read twice, and what was lost is known. Nothing here talks to an engine.

use std::collections::BTreeMap;

use bytes::BytesMut;
use jiff::Timestamp;

use super::lines::{More, Writer, next_line, stamp};
use crate::engines::nomad::FileInfo;

/// One of a task's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogStreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStreamName {
    /// As Nomad spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// The stream of this name.
    pub(super) fn named(text: &str) -> Option<Self> {
        [Self::Stdout, Self::Stderr].into_iter().find(|s| s.as_str() == text)
    }
}

/// A log file: its size, and when it was last written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogFile {
    pub(super) size: u64,
    pub(super) written: Option<Timestamp>,
}

/// The files of a stream, by their number.
pub(super) type LogFiles = BTreeMap<u64, LogFile>;

/// The logs in the listing of an instance's `/alloc/logs`, by task and stream. A process's own task is named as the
/// process; where there is none of that name, all tasks count.
pub(super) fn logs_in(listing: &[FileInfo], process: &str) -> BTreeMap<(String, LogStreamName), LogFiles> {
    let mut found: BTreeMap<(String, LogStreamName), LogFiles> = BTreeMap::new();
    for file in listing.iter().filter(|f| !f.is_dir) {
        // `<task>.<stream>.<number>`; a task's name may hold dots.
        let mut parts = file.name.rsplitn(3, '.');
        let (number, stream, task) = (parts.next(), parts.next(), parts.next());
        let number = number.and_then(|n| n.parse().ok());
        let stream = stream.and_then(LogStreamName::named);
        if let (Some(number), Some(stream), Some(task)) = (number, stream, task) {
            let it = LogFile { size: file.size, written: file.mod_time.parse().ok() };
            found.entry((task.to_owned(), stream)).or_default().insert(number, it);
        }
    }
    if found.keys().any(|(task, _)| task == process) {
        found.retain(|(task, _), _| task == process);
    }
    found
}

/// Where a part of a stream lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) file: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// One stream of one instance, being read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) writer: Writer,
    pub(super) task: String,
    pub(super) stream: LogStreamName,
    files: LogFiles,
    file: u64,
    offset: u64,
    /// Read, and not told yet.
    pub(super) pending: BytesMut,
    scanned: usize,
    /// The time of the last line that bore one; of the first lines, of the one after them that does.
    pub(super) known: Option<Timestamp>,
    /// It was looked for that first time.
    is_peeked: bool,
    /// All that it holds is surely of the time that is asked for.
    pub(super) is_within: bool,
    /// What orders its next line among those of others, where that line bears no time: nanoseconds since 1970.
    pub(super) order: i128,
    /// What is read now was written just before: all that was there at first has been read.
    pub(super) is_live: bool,
    /// When the last part was read, of a live source.
    pub(super) read: Option<Timestamp>,
    /// Something that should have been told is gone.
    pub(super) lost: bool,
    /// The last piece told was in the middle of a line.
    pub(super) midline: bool,
}

impl Source {
    /// A source from its beginning; `order`: when its instance began.
    pub(super) fn new(
        writer: Writer,
        task: String,
        stream: LogStreamName,
        files: LogFiles,
        order: i128,
    ) -> Self {
        Self {
            writer,
            task,
            stream,
            file: files.keys().next().copied().unwrap_or(0),
            files,
            offset: 0,
            pending: BytesMut::new(),
            scanned: 0,
            known: None,
            is_peeked: false,
            is_within: false,
            order,
            is_live: false,
            read: None,
            lost: false,
            midline: false,
        }
    }

    /// What the listing says now.
    pub(super) fn update(&mut self, files: LogFiles) {
        self.files = files;
    }

    pub(super) fn files(&self) -> &LogFiles {
        &self.files
    }

    /// Goes on to a place, never back.
    pub(super) fn go_on_to(&mut self, file: u64, offset: u64) {
        (self.file, self.offset) = (file, offset).max((self.file, self.offset));
    }

    /// True where nothing was written to it after `until`.
    pub(super) fn ends_before(&self, until: Option<Timestamp>) -> bool {
        until.is_none_or(|until| self.files.values().all(|f| f.written.is_some_and(|at| at <= until)))
    }

    /// The first time that a line bears of what is read and not told yet: looked for once.
    pub(super) fn first_stamp(&mut self) -> Option<Timestamp> {
        if std::mem::replace(&mut self.is_peeked, true) {
            return None;
        }
        self.pending[..].split(|b| *b == b'\n').find_map(stamp)
    }

    /// Leaves out what was last written to before `since`, and files begun after `until`.
    pub(super) fn within(&mut self, since: Option<Timestamp>, until: Option<Timestamp>) {
        if let Some(since) = since {
            let is_old = |f: &LogFile| f.written.is_some_and(|at| at < since);
            let first = self.files.iter().find(|(_, f)| !is_old(f)).map(|(n, _)| (*n, 0));
            // The newest may be written to again.
            let end = self.files.last_key_value().map(|(n, f)| (*n, f.size));
            if let Some((file, offset)) = first.or(end) {
                self.go_on_to(file, offset);
            }
        }
        if let Some(until) = until {
            let written: Vec<_> = self.files.values().map(|f| f.written).collect();
            // A file begins when the one before it was full.
            let before = written.iter().take_while(|w| w.is_none_or(|at| at <= until)).count();
            let keep: Vec<u64> = self.files.keys().take(before + 1).copied().collect();
            self.files.retain(|n, _| keep.contains(n));
        }
    }

    /// The next part that is there to be read, at most `limit` bytes. Notes where something before it is lost.
    pub(super) fn next_part(&mut self, limit: u64) -> Option<Part> {
        loop {
            let this = self.files.get(&self.file);
            if let Some(f) = this.filter(|f| f.size > self.offset) {
                let len = (f.size - self.offset).min(limit);
                return Some(Part { file: self.file, offset: self.offset, len });
            }
            // A later file is begun once this one is full.
            let (next, _) = self.files.range(self.file + 1..).next()?;
            self.lost |= this.is_none() || *next != self.file + 1;
            (self.file, self.offset) = (*next, 0);
        }
    }

    /// Takes what was read of a part.
    pub(super) fn take(&mut self, part: Part, bytes: &[u8], now: Timestamp) {
        self.pending.extend_from_slice(bytes);
        (self.file, self.offset) = (part.file, part.offset + part.len);
        self.read = self.is_live.then_some(now);
        if self.is_live {
            self.order = self.order.max(now.as_nanosecond());
        }
    }

    /// A file rotated away while it was read.
    pub(super) fn vanished(&mut self, file: u64) {
        self.files.remove(&file);
    }

    /// The length of the next line in `pending`.
    pub(super) fn line(&mut self, more: More) -> Option<usize> {
        let found = next_line(&self.pending, self.scanned, more);
        if found.is_none() {
            self.scanned = self.pending.len();
        }
        found
    }

    /// The time that the next line bears.
    pub(super) fn stamp(&self, len: usize) -> Option<Timestamp> {
        if self.midline { None } else { stamp(&self.pending[..len]) }
    }

    /// Takes the next bytes out: a line, or all that is there.
    pub(super) fn pop(&mut self, len: usize) -> BytesMut {
        self.scanned = 0;
        let line = self.pending.split_to(len);
        self.midline = !line.ends_with(b"\n");
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, size: u64, at: &str) -> FileInfo {
        FileInfo { name: name.into(), is_dir: false, size, mod_time: at.into() }
    }

    fn source(listing: &[FileInfo]) -> Source {
        let writer = Writer { alloc: "x".into(), process: "web".into(), task: None, stream: "stdout" };
        let files = logs_in(listing, "web").remove(&("web".into(), LogStreamName::Stdout)).unwrap();
        Source::new(writer, "web".into(), LogStreamName::Stdout, files, 0)
    }

    #[test]
    fn files_are_told_apart_by_task_and_stream() {
        let list = [
            file("web.stdout.0", 1, ""),
            file("web.stderr.10", 2, ""),
            file("make_volumes.stdout.0", 3, ""),
            file(".web.stdout.fifo", 0, ""),
            file("a.b.stdout.0", 3, ""),
        ];
        let keys: Vec<_> = logs_in(&list, "web").into_keys().collect();
        assert_eq!(keys, [("web".into(), LogStreamName::Stdout), ("web".into(), LogStreamName::Stderr)]);
        assert_eq!(logs_in(&list, "other").len(), 4, "without a task of the process's name all count");
    }

    #[test]
    fn a_place_follows_the_files_and_knows_what_was_lost() {
        let mut it = source(&[file("web.stdout.3", 10, ""), file("web.stdout.4", 4, "")]);
        let part = |file, offset, len| Some(Part { file, offset, len });
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(it.next_part(8), part(3, 0, 8));
        it.take(Part { file: 3, offset: 0, len: 8 }, b"01234567", now);
        assert_eq!(it.next_part(8), part(3, 8, 2));
        it.take(Part { file: 3, offset: 8, len: 2 }, b"89", now);
        assert_eq!(it.next_part(8), part(4, 0, 4));
        it.take(Part { file: 4, offset: 0, len: 4 }, b"abcd", now);
        assert_eq!((it.next_part(8), it.lost), (None, false));
        // It goes on in file 6: the rest of 4 and all of 5 are gone.
        it.update(LogFiles::from([(6, LogFile { size: 1, written: None })]));
        assert_eq!((it.next_part(8), it.lost), (part(6, 0, 1), true));
    }

    #[test]
    fn files_outside_the_time_are_left_out() {
        let list = [
            file("web.stdout.0", 1, "2026-01-01T00:00:00Z"),
            file("web.stdout.1", 1, "2026-01-02T00:00:00Z"),
            file("web.stdout.2", 1, "2026-01-03T00:00:00Z"),
        ];
        let at = |t: &str| Some(t.parse::<Timestamp>().unwrap());
        let mut it = source(&list);
        it.within(at("2026-01-01T12:00:00Z"), None);
        assert_eq!(it.next_part(9), Some(Part { file: 1, offset: 0, len: 1 }));
        let mut it = source(&list);
        it.within(None, at("2026-01-01T12:00:00Z"));
        assert_eq!(it.files().len(), 2, "the second was begun after the first was full");
        let mut it = source(&list);
        it.within(at("2027-01-01T00:00:00Z"), None);
        assert_eq!(it.next_part(9), None);
        it.update(logs_in(&[file("web.stdout.2", 4, "")], "web").into_values().next().unwrap());
        assert_eq!(
            it.next_part(9),
            Some(Part { file: 2, offset: 1, len: 3 }),
            "what is written to it later is not old"
        );
        it.go_on_to(1, 0);
        assert_eq!(it.next_part(9).map(|p| p.file), Some(2), "the last lines of old files are old");
    }

    #[test]
    fn first_lines_without_a_time_are_of_the_time_of_the_first_that_bears_one() {
        let mut it = source(&[file("web.stdout.0", 99, "2026-01-02T00:00:00Z")]);
        assert!(it.ends_before(None) && it.ends_before(Some("2026-01-02T00:00:00Z".parse().unwrap())));
        assert!(!it.ends_before(Some("2026-01-01T00:00:00Z".parse().unwrap())));
        let part = Part { file: 0, offset: 0, len: 9 };
        it.take(
            part,
            b"banner\nmore\n2026-01-01T00:00:00Z up\n2026-01-01T00:00:09Z on\n",
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(it.first_stamp().unwrap().to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(it.first_stamp(), None, "looked for once");
    }
}
