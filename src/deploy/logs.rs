//! Logs: bytes as the app wrote them, of living, previous and crashed instances.

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::{Deployer, Error, is_missing};
use crate::engines::EngineError;
use crate::engines::nomad::{Allocation, LogFrom, LogOrigin, LogStream};
use crate::model::Placement;

/// Which part of which logs.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Go on as the app writes.
    pub follow: bool,
    /// The last so many lines of each source.
    pub tail: Option<usize>,
    /// Only instances that lived after this.
    pub since: Option<jiff::Timestamp>,
    /// Only this process.
    pub process: Option<String>,
    /// Only this instance (a prefix of its id).
    pub alloc: Option<String>,
    /// Standard output, standard error, or both (`None`).
    pub stream: Option<LogStreamName>,
    /// Instances that have ended, instead of those that live.
    pub previous: bool,
}

/// One of a task's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One task's one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSource {
    /// The allocation.
    pub allocation: String,
    /// The task.
    pub task: String,
    /// Which stream.
    pub stream: LogStreamName,
}

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, EngineError>> + Send>>;

/// How much is read to find the last lines.
const TAIL_WINDOW: u64 = 256 << 10;

impl Deployer {
    /// The logs that a query means, one source after the other; followed ones side by side. Memory stays bounded:
    /// chunks pass through as they come.
    pub async fn logs(&self, app: &Placement, query: &LogQuery) -> Result<Chunks, Error> {
        let sources = self.log_sources(app, query).await?;
        if sources.is_empty() {
            return Err(Error::NotFound(format!(
                "{app} has no {}instance whose logs could be read",
                if query.previous { "ended " } else { "" }
            )));
        }
        let mut streams: Vec<Chunks> = Vec::new();
        for source in sources {
            match self.open_log(&source, query).await {
                Ok(chunks) => streams.push(chunks),
                // Nomad keeps only so many ended instances.
                Err(e) if is_missing(&e) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(if query.follow {
            futures::stream::select_all(streams).boxed()
        } else {
            futures::stream::iter(streams).flatten().boxed()
        })
    }

    async fn log_sources(&self, app: &Placement, query: &LogQuery) -> Result<Vec<LogSource>, Error> {
        self.head(app).await?;
        let mut all = self.runner.hands().nomad.allocations(app.namespace(), &app.flat()).await?;
        all.sort_by_key(|a| a.create_index);
        let since = query.since.map_or(i128::MIN, jiff::Timestamp::as_nanosecond);
        let chosen = all.iter().filter(|a| match &query.alloc {
            Some(prefix) => a.id.starts_with(prefix.as_str()),
            None => is_dead(a) == query.previous,
        });
        let chosen = chosen
            .filter(|a| query.process.as_ref().is_none_or(|p| a.task_group == *p))
            .filter(|a| i128::from(a.modify_time) >= since || !is_dead(a));
        let mut sources = Vec::new();
        for a in chosen {
            for task in a.task_states.keys().filter(|t| **t == a.task_group || a.task_states.len() == 1) {
                for stream in [LogStreamName::Stdout, LogStreamName::Stderr] {
                    if query.stream.is_none_or(|s| s == stream) {
                        sources.push(LogSource { allocation: a.id.clone(), task: task.clone(), stream });
                    }
                }
            }
        }
        Ok(sources)
    }

    async fn open_log(&self, source: &LogSource, query: &LogQuery) -> Result<Chunks, EngineError> {
        let nomad = &self.runner.hands().nomad;
        let stream = match source.stream {
            LogStreamName::Stdout => LogStream::Stdout,
            LogStreamName::Stderr => LogStream::Stderr,
        };
        let Some(lines) = query.tail else {
            let start = LogOrigin::Start;
            let from = if query.follow { LogFrom::Follow { offset: 0, origin: start } } else { LogFrom::ALL };
            return Ok(nomad.logs(&source.allocation, &source.task, stream, from).await?.boxed());
        };
        let mut read =
            nomad.logs(&source.allocation, &source.task, stream, LogFrom::last(TAIL_WINDOW)).await?;
        let mut window = Vec::new();
        while let Some(chunk) = read.next().await {
            window.extend_from_slice(&chunk?);
        }
        let past = futures::stream::iter([Ok(Bytes::from(last_lines(&window, lines).to_vec()))]);
        if !query.follow {
            return Ok(past.boxed());
        }
        // A line written between the two reads is the only one that can be missed; none can come twice.
        let live = nomad.logs(&source.allocation, &source.task, stream, LogFrom::follow_last(0)).await?;
        Ok(past.chain(live).boxed())
    }
}

fn is_dead(a: &Allocation) -> bool {
    matches!(a.client_status.as_str(), "complete" | "failed" | "lost")
}

/// The last `n` lines, with their ends; a last line without an end counts.
fn last_lines(bytes: &[u8], n: usize) -> &[u8] {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if n == 0 || bytes.is_empty() {
        return &[];
    }
    let breaks = body.iter().enumerate().rev().filter(|(_, b)| **b == b'\n');
    let start = breaks.map(|(i, _)| i + 1).nth(n - 1).unwrap_or(0);
    &bytes[start..]
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn the_last_lines_keep_their_bytes() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(last_lines(b"a\nb\nc", 2), b"b\nc");
        assert_eq!(last_lines(b"a\n\xff\n", 1), b"\xff\n");
        assert_eq!(last_lines(b"a\n", 5), b"a\n");
        assert_eq!(last_lines(b"a\nb", 0), b"");
        assert_eq!(last_lines(b"", 3), b"");
    }
}
