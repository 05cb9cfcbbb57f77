//! What never ends by itself: logs and events.
//!
//! Caveats: an event stream asked for index n may begin later without a sign (Nomad keeps the last 100 or so
//! changes), so subscribe first, then list, then apply events above the list's index. A log stream of a
//! collected instance is `NotFound`.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Nomad;
use super::allocs::is_gone;
use super::types::or_default;
use crate::engines::http::{ByteStream, lines, segment};
use crate::engines::{Engine, EngineError, Fault};

/// Nomad sends a heartbeat every 30 s: two missing ones are a dead connection (a dead peer is found sooner, by
/// the sockets' keep-alive).
const SILENCE: Duration = Duration::from_secs(65);
/// A log that does not follow has its bytes at hand.
const LOG_SILENCE: Duration = Duration::from_secs(30);

/// Which output of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// What it printed.
    Stdout,
    /// What it complained about.
    Stderr,
}

impl LogStream {
    /// As Nomad spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
        }
    }
}

/// From which end an offset counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOrigin {
    /// Bytes after the beginning of what is kept.
    Start,
    /// Bytes before the end.
    End,
}

/// Where to begin, and whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFrom {
    /// What is there now.
    Until {
        /// Bytes.
        offset: u64,
        /// From which end.
        origin: LogOrigin,
    },
    /// What is there now, then what comes. **The stream does not end with the instance**: who follows watches
    /// the instance too.
    Follow {
        /// Bytes.
        offset: u64,
        /// From which end.
        origin: LogOrigin,
    },
}

impl LogFrom {
    /// All that is kept.
    pub const ALL: Self = LogFrom::Until { offset: 0, origin: LogOrigin::Start };

    /// The last `bytes`.
    pub fn last(bytes: u64) -> Self {
        LogFrom::Until { offset: bytes, origin: LogOrigin::End }
    }

    /// The last `bytes`, then what comes.
    pub fn follow_last(bytes: u64) -> Self {
        LogFrom::Follow { offset: bytes, origin: LogOrigin::End }
    }
}

/// What to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic(String);

impl Topic {
    /// Everything.
    pub fn all() -> Self {
        Self("*".into())
    }

    /// `Job`, `Allocation`, `Evaluation`, `Deployment`, `Node`, `Service`, for all keys.
    pub fn of(topic: &str) -> Self {
        Self(format!("{topic}:*"))
    }

    /// One key (a job's id matches its allocations, evaluations and deployments too).
    pub fn key(topic: &str, key: &str) -> Self {
        Self(format!("{topic}:{key}"))
    }
}

/// What happened at one raft index; a heartbeat: nothing, at none.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EventBatch {
    /// The index; the next subscription asks for this plus one.
    #[serde(default)]
    pub index: u64,
    /// The events.
    #[serde(default, deserialize_with = "or_default")]
    pub events: Vec<Event>,
}

/// One event.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// `Job`, `Allocation`, …
    pub topic: String,
    /// `JobRegistered`, `AllocationUpdated`, …
    #[serde(rename = "Type")]
    pub kind: String,
    /// The object's id.
    #[serde(default)]
    pub key: String,
    /// Its namespace.
    #[serde(default, deserialize_with = "or_default")]
    pub namespace: String,
    /// Other ids that it is found by (the job's, the deployment's).
    #[serde(default, deserialize_with = "or_default")]
    pub filter_keys: Vec<String>,
    /// Raft index.
    pub index: u64,
    /// `{ "<topic>": object }`; objects may lack what lists have (an allocation comes without its job).
    #[serde(default)]
    pub payload: Value,
}

impl Event {
    /// The object of the payload, read as `T` (`Allocation`, `Deployment`, `Evaluation`).
    pub fn object<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(self.payload.get(&self.topic)?).ok()
    }
}

impl Nomad {
    /// A task's output as it was written, byte for byte. `NotFound` when
    /// the instance is collected or the task has not begun; a follower is given no time limit, since a quiet
    /// task is no fault.
    pub async fn logs(
        &self,
        alloc: &str,
        task: &str,
        stream: LogStream,
        from: LogFrom,
    ) -> Result<ByteStream, EngineError> {
        let path = format!("/v1/client/fs/logs/{}", segment(alloc));
        let (offset, origin, follow) = match from {
            LogFrom::Until { offset, origin } => (offset, origin, false),
            LogFrom::Follow { offset, origin } => (offset, origin, true),
        };
        let origin = match origin {
            LogOrigin::Start => "start",
            LogOrigin::End => "end",
        };
        let silence = if follow { None } else { Some(LOG_SILENCE) };
        self.read(format!("read {} of task {task} of instance {alloc}", stream.as_str()), &path)
            .query("task", task)
            .query("type", stream.as_str())
            .query("plain", "true")
            .query("offset", offset)
            .query("origin", origin)
            .query("follow", follow)
            .stream(silence)
            .await
            .map_err(|mut e| {
                // A client says 404, 400 or 500 for "collected" and "not begun yet", by version and place.
                if is_gone(&e.message) || e.message.contains("not started yet") {
                    e.fault = Fault::NotFound;
                }
                e
            })
    }

    /// What happens from raft index `index` on (0: from now), in all namespaces. A heartbeat is an empty batch;
    /// two missing ones end the stream with `Away`. After any end, subscribe again with the last batch's
    /// index plus one, and list: the stream may have skipped.
    pub async fn events(
        &self,
        index: u64,
        topics: &[Topic],
    ) -> Result<impl Stream<Item = Result<EventBatch, EngineError>> + Send + Unpin + 'static, EngineError>
    {
        let mut call =
            self.read("follow events", "/v1/event/stream").query("namespace", "*").query("index", index);
        for topic in topics {
            call = call.query("topic", &topic.0);
        }
        let bytes = call.stream(Some(SILENCE)).await?;
        Ok(lines(bytes).map(batch).boxed())
    }
}

/// A line of the stream: a batch, or an error.
fn batch(line: Result<Bytes, EngineError>) -> Result<EventBatch, EngineError> {
    let broken = |message: String| EngineError::new(Engine::Nomad, Fault::Broken, "follow events", message);
    let line = line?;
    serde_json::from_slice(&line).map_err(|_| {
        broken(crate::engines::http::shorten(&format!("no event: {}", String::from_utf8_lossy(&line))))
    })
}
