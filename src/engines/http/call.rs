//! One call: put together, let through the gate, sent once, and its answer read whole or as a stream.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;

use super::lanes::{Lane, Place, QUEUE};
use super::reply::{Reply, SHOWN};
use super::{Http, chain};
use crate::engines::{EngineError, Fault};

/// No answer of an engine that we read whole is larger (40,000 KV keys were 39 MB).
const LARGEST_REPLY: usize = 256 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Reads,
    Writes,
}

/// One call being put together.
pub struct Call<'a> {
    pub(super) http: &'a Http,
    pub(super) request: reqwest::RequestBuilder,
    pub(super) doing: String,
    pub(super) effect: Effect,
    pub(super) limit: Duration,
    pub(super) lane: Lane,
}

/// A call that was sent: its answer begins.
pub(super) struct Opened<'a> {
    pub(super) response: reqwest::Response,
    pub(super) http: &'a Http,
    pub(super) doing: String,
    pub(super) until: tokio::time::Instant,
    pub(super) place: Place,
}

impl<'a> Call<'a> {
    /// Adds one query parameter, escaped.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.request = self.request.query(&[(name, value.to_string())]);
        self
    }

    /// Adds a query parameter that may be absent.
    #[must_use]
    pub fn query_opt(self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Sends `body` as JSON.
    #[must_use]
    pub fn json(mut self, body: &impl serde::Serialize) -> Self {
        self.request = self.request.json(body);
        self
    }

    /// Sends `body` as it is.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.request = self.request.body(body.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Makes room for an answer that the engine holds back for up to `wait`.
    #[must_use]
    pub fn patient(mut self, wait: Duration) -> Self {
        // Consul adds up to wait/16 of jitter to a blocking query.
        self.limit += wait + wait / 16;
        self.lane = Lane::Long;
        self
    }

    /// Says that a node of the cluster answers, through the engine.
    #[must_use]
    pub fn far(mut self) -> Self {
        self.lane = Lane::Far;
        self
    }

    pub(super) async fn open(self) -> Result<Opened<'a>, EngineError> {
        let Self { http, request, doing, effect, limit, lane } = self;
        let place = match &http.lanes {
            None => Place::aside(),
            Some(lanes) => lanes.enter(lane).await.ok_or_else(|| {
                let why = format!("too many calls to it are under way here; waited {} s", QUEUE.as_secs());
                http.error(Fault::Busy, &doing, why)
            })?,
        };
        let until = tokio::time::Instant::now() + limit;
        if effect == Effect::Writes {
            http.gate.check().map_err(|why| http.error(Fault::Fenced, &doing, why))?;
        }
        match tokio::time::timeout_at(until, request.send()).await {
            Err(_) => Err(http.error(Fault::Away, &doing, format!("no answer within {limit:?}"))),
            Ok(Err(e)) if e.is_builder() => Err(http.error(Fault::Invalid, &doing, chain(&e.without_url()))),
            Ok(Err(e)) => Err(http.error(Fault::Away, &doing, chain(&e.without_url()))),
            Ok(Ok(response)) => Ok(Opened { response, http, doing, until, place }),
        }
    }

    /// Sends the call and reads the whole answer, whatever its status says.
    pub async fn send_any(self) -> Result<Reply, EngineError> {
        let Opened { mut response, http, doing, until, place: _place } = self.open().await?;
        let mut body = bytes::BytesMut::new();
        loop {
            match tokio::time::timeout_at(until, response.chunk()).await {
                Err(_) => {
                    return Err(http.error(Fault::Away, &doing, "the answer stopped midway: time is up"));
                }
                Ok(Err(e)) => {
                    let why = format!("the answer was cut: {}", chain(&e.without_url()));
                    return Err(http.error(Fault::Broken, &doing, why));
                }
                Ok(Ok(None)) => break,
                Ok(Ok(Some(chunk))) if body.len() + chunk.len() > LARGEST_REPLY => {
                    return Err(http.error(Fault::Broken, &doing, "the answer is over 256 MiB"));
                }
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            }
        }
        Ok(Reply {
            engine: http.engine,
            doing,
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: body.freeze(),
        })
    }

    /// Sends the call; any status but 2xx is an error.
    pub async fn send(self) -> Result<Reply, EngineError> {
        self.send_any().await?.success()
    }

    /// Sends the call and reads the answer as JSON.
    pub async fn fetch<T: DeserializeOwned>(self) -> Result<T, EngineError> {
        self.send().await?.json()
    }

    /// Sends the call and reads the answer as JSON; 404 is `None`.
    pub async fn fetch_opt<T: DeserializeOwned>(self) -> Result<Option<T>, EngineError> {
        let reply = self.send_any().await?;
        if reply.status == StatusCode::NOT_FOUND { Ok(None) } else { reply.success()?.json().map(Some) }
    }

    /// Sends the call and hands out the body as it comes. Ends with `Away` after `silence` without a byte
    /// (`None`: silence is no fault), with `Broken` when the body is cut.
    pub async fn stream(self, silence: Option<Duration>) -> Result<ByteStream, EngineError> {
        let mut call = self;
        call.lane = Lane::Long;
        let Opened { mut response, http, doing, until, place } = call.open().await?;
        let engine = http.engine;
        if !response.status().is_success() {
            let mut body = bytes::BytesMut::new();
            while let Ok(Ok(Some(chunk))) = tokio::time::timeout_at(until, response.chunk()).await {
                body.extend_from_slice(&chunk);
                if body.len() > SHOWN {
                    break;
                }
            }
            let status = response.status();
            let reply = Reply { engine, doing, status, headers: HeaderMap::new(), body: body.freeze() };
            return Err(reply.refusal());
        }
        let state = (response, doing, place, true);
        Ok(futures::stream::unfold(state, move |(mut response, doing, place, alive)| async move {
            if !alive {
                return None;
            }
            let next = match silence {
                None => Ok(response.chunk().await),
                Some(limit) => tokio::time::timeout(limit, response.chunk()).await.map_err(|_| limit),
            };
            let fault = match next {
                Ok(Ok(Some(chunk))) => return Some((Ok(chunk), (response, doing, place, true))),
                Ok(Ok(None)) => return None,
                Ok(Err(e)) => {
                    let why = format!("the stream was cut: {}", chain(&e.without_url()));
                    EngineError::new(engine, Fault::Broken, doing.clone(), why)
                }
                Err(limit) => {
                    EngineError::new(engine, Fault::Away, doing.clone(), format!("silent for {limit:?}"))
                }
            };
            Some((Err(fault), (response, doing, place, false)))
        })
        .boxed())
    }
}

/// A body as it comes.
pub type ByteStream = futures::stream::BoxStream<'static, Result<Bytes, EngineError>>;

/// A stream of lines of `bytes` without their ends; empty lines are left out, a last line without an end is
/// dropped (it was cut).
pub fn lines(bytes: ByteStream) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + 'static {
    let state = (bytes, bytes::BytesMut::new(), 0_usize);
    futures::stream::unfold(state, |(mut bytes, mut buffer, mut seen)| async move {
        loop {
            if let Some(at) = buffer[seen..].iter().position(|b| *b == b'\n') {
                let mut line = buffer.split_to(seen + at + 1);
                line.truncate(seen + at);
                seen = 0;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Some((Ok(line.freeze()), (bytes, buffer, seen)));
            }
            seen = buffer.len();
            match bytes.next().await? {
                Ok(chunk) => buffer.extend_from_slice(&chunk),
                Err(e) => return Some((Err(e), (bytes, buffer, seen))),
            }
        }
    })
}
