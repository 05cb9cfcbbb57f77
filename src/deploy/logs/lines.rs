//! Lines of logs: where one ends, what time it bears, whether it is wanted, and how it is told. Pure.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use regex::bytes::Regex;

use crate::model::wire::LogLine;

/// A longer line is told in pieces, so that no app decides how much memory is held.
pub(super) const LONGEST: usize = 64 << 10;

/// Whether more can come after what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    /// It can: the last words wait for their line break.
    Expected,
    /// It cannot: the last words are told as they are.
    No,
}

/// How many bytes of `buffer` are the next line with its line break; `scanned` bytes of it are known to hold none.
pub(super) fn next_line(buffer: &[u8], scanned: usize, more: More) -> Option<usize> {
    let scanned = scanned.min(buffer.len());
    match memchr::memchr(b'\n', &buffer[scanned..]).map(|at| scanned + at + 1) {
        Some(len) if len <= LONGEST => Some(len),
        None if buffer.len() < LONGEST => (more == More::No && !buffer.is_empty()).then_some(buffer.len()),
        _ => Some(LONGEST),
    }
}

/// The beginning of the last `lines` lines of `bytes`, or how many lines are still missing before it. A last line
/// without an end counts, which `is_end` says: `bytes` are the very last ones.
pub(super) fn last_lines(bytes: &[u8], lines: usize, is_end: bool) -> Result<usize, usize> {
    let body = if is_end { bytes.strip_suffix(b"\n").unwrap_or(bytes) } else { bytes };
    if lines == 0 {
        return Ok(bytes.len());
    }
    let mut found = 0;
    for at in memchr::memrchr_iter(b'\n', body) {
        found += 1;
        if found == lines {
            return Ok(at + 1);
        }
    }
    Err(lines - found)
}

/// The time that a line bears at its beginning: RFC 3339 with a zone, bare, in brackets, or as the first value of
/// logfmt or JSON. Times without a zone are nobody's to guess at.
pub(super) fn stamp(line: &[u8]) -> Option<Timestamp> {
    let head = &line[..line.len().min(56)];
    let begin = head.iter().take(16).position(u8::is_ascii_digit)?;
    let text = &head[begin..];
    if text.len() < 20 || text[4] != b'-' || text[7] != b'-' || !matches!(text[10], b'T' | b't' | b' ') {
        return None;
    }
    let mut end = 19;
    if matches!(text[19], b'.' | b',') {
        end = 20 + text[20..].iter().take_while(|b| b.is_ascii_digit()).count();
    }
    match text.get(end)? {
        b'Z' | b'z' => end += 1,
        b'+' | b'-' => {
            end += 1 + text[end + 1..].iter().take_while(|b| b.is_ascii_digit() || **b == b':').count();
        }
        _ => return None,
    }
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) grep: Option<Regex>,
}

impl Filter {
    /// True where every line is wanted.
    pub(super) fn is_open(&self) -> bool {
        self.since.is_none() && self.until.is_none() && self.grep.is_none()
    }

    /// True where a time is asked for.
    pub(super) fn is_timed(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Whether a line is wanted; `at`: its time, as far as that is known.
    pub(super) fn wants(&self, line: &[u8], at: Option<Timestamp>) -> bool {
        let in_time = at.is_none_or(|at| {
            self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at <= until)
        });
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        in_time && self.grep.as_ref().is_none_or(|r| r.is_match(text))
    }
}

/// Who wrote something.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    pub(super) alloc: String,
    pub(super) process: String,
    pub(super) task: Option<String>,
    pub(super) stream: &'static str,
}

impl Writer {
    /// `web.1a2b3c4d`
    pub(super) fn instance(&self) -> String {
        format!("{}.{}", self.process, self.alloc.get(..8).unwrap_or(&self.alloc))
    }

    fn told(&self) -> LogLine<'_> {
        LogLine {
            instance: self.instance().into(),
            alloc: self.alloc.as_str().into(),
            process: self.process.as_str().into(),
            task: self.task.as_deref().map(Cow::Borrowed),
            stream: self.stream.into(),
            ..LogLine::default()
        }
    }

    /// Adds a line (with its line break, where it has one) as JSON.
    pub(super) fn line(&self, out: &mut Vec<u8>, line: &[u8], at: Option<Timestamp>) {
        let text = line.strip_suffix(b"\n");
        let mut told = self.told();
        told.at = at.map(|at| at.to_string().into());
        told.partial = text.is_none();
        let text = text.unwrap_or(line);
        match std::str::from_utf8(text) {
            Ok(text) => told.line = Some(text.into()),
            Err(_) => told.bytes = Some(STANDARD.encode(text).into()),
        }
        write(out, &told);
    }

    /// Adds something to know.
    pub(super) fn note(&self, out: &mut Vec<u8>, note: &str) {
        write(out, &LogLine { note: Some(note.into()), ..self.told() });
    }
}

fn write(out: &mut Vec<u8>, line: &LogLine<'_>) {
    // Strings and a bool: neither they nor a Vec can fail.
    let _ = serde_json::to_writer(&mut *out, line);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_its_break_or_at_the_limit_or_with_the_log() {
        assert_eq!(next_line(b"ab\ncd", 0, More::Expected), Some(3));
        assert_eq!(next_line(b"cd", 2, More::Expected), None);
        assert_eq!(next_line(b"cd", 2, More::No), Some(2));
        assert_eq!(next_line(b"", 0, More::No), None);
        let long = [vec![b'x'; LONGEST + 5], b"\n".to_vec()].concat();
        assert_eq!(next_line(&long, 0, More::Expected), Some(LONGEST));
        assert_eq!(next_line(&long[LONGEST..], 0, More::Expected), Some(6));
        assert_eq!(next_line(&long[..LONGEST], LONGEST, More::Expected), Some(LONGEST));
    }

    #[test]
    fn the_last_lines_are_found_backwards_over_any_cut() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2, true), Ok(2));
        assert_eq!(last_lines(b"a\nb\nc", 2, true), Ok(2));
        assert_eq!(last_lines(b"a\n\xff\n", 1, true), Ok(2));
        assert_eq!(last_lines(b"a\n", 5, true), Err(5));
        assert_eq!(last_lines(b"a\nb", 0, true), Ok(3));
        assert_eq!(last_lines(b"", 3, true), Err(3));
        let text = b"one\ntwo\nthree\nfour";
        for cut in 0..text.len() {
            let begin = match last_lines(&text[cut..], 2, true) {
                Ok(at) => cut + at,
                Err(missing) => last_lines(&text[..cut], missing, false).unwrap(),
            };
            assert_eq!(&text[begin..], b"three\nfour", "cut at {cut}");
        }
    }

    #[test]
    fn a_lines_own_time_is_read_where_it_bears_a_zone() {
        let known = [
            "2026-01-02T03:04:05Z hello",
            "[2026-01-02T03:04:05.000Z] hello",
            "{\"time\":\"2026-01-02T04:04:05+01:00\",\"msg\":1}",
            "ts=2026-01-02T03:04:05.0Z msg=x",
            "2026-01-02 03:04:05+00:00 x",
        ];
        for line in known {
            let at = stamp(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(at.to_string(), "2026-01-02T03:04:05Z", "{line}");
        }
        for line in
            ["", "2026", "hello 2026-01-02", "2026-01-02T03:04:05 no zone", "2026-99-02T03:04:05Z", "\u{e9}"]
        {
            assert_eq!(stamp(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn what_is_no_utf_8_comes_whole() {
        let writer =
            Writer { alloc: "1a2b3c4d-0000".into(), process: "web".into(), task: None, stream: "stdout" };
        let mut out = Vec::new();
        writer.line(&mut out, b"a\xff\n", None);
        writer.line(&mut out, "é\r".as_bytes(), None);
        let lines: Vec<LogLine<'_>> = out
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| serde_json::from_slice(l).unwrap())
            .collect();
        assert_eq!(lines[0].bytes.as_deref(), Some("Yf8="));
        assert_eq!((lines[0].line.as_deref(), lines[0].partial), (None, false));
        assert_eq!((lines[1].line.as_deref(), lines[1].partial), (Some("é\r"), true));
        assert_eq!(lines[1].instance, "web.1a2b3c4d");
    }
}
