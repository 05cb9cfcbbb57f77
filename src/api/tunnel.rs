//! A WebSocket with a client: accepted here, its messages read and written whole. Knows nothing of what goes through.
//!
//! Each way goes on by itself, so that neither can block the other. A client that is gone without a word is noticed by
//! its silence; one that only reads slowly is waited for.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::problem::{Answer, Fail};
use crate::model::wire::{LONGEST, ProblemCode, ToClient, ToServer, accept_of};

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// How often a client is asked whether it is there.
const BEAT: Duration = Duration::from_secs(15);
/// How long a client to whom nothing waits to be written may be silent.
const SILENCE: Duration = Duration::from_mins(1);
/// How long a client may take to close its side once all is said.
const FAREWELL: Duration = Duration::from_secs(10);
/// Messages that wait to be written.
const WAITING: usize = 8;

/// A request that becomes a tunnel.
#[derive(Debug)]
pub(super) struct Asked(OnUpgrade);

/// Takes the upgrade out of a request, and answers it.
pub(super) fn accept(mut request: Request) -> Answer<(Response, Asked)> {
    let wrong =
        |why: &str| Err(Fail::new(ProblemCode::Invalid, why).hint("open it as a WebSocket (RFC 6455)"));
    let headers = request.headers();
    let says = |name: header::HeaderName, word: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok());
        values.flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(word))
    };
    if !says(header::CONNECTION, "upgrade") || !says(header::UPGRADE, "websocket") {
        return wrong("this answers as a WebSocket only");
    }
    if !says(header::SEC_WEBSOCKET_VERSION, "13") {
        return wrong("the WebSocket's version must be 13");
    }
    // A page of another site can open a WebSocket with a person's cookies; ours carry a token, which it has not.
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|v| v.to_str().ok()) else {
        return wrong("the WebSocket's key is missing");
    };
    let accept = accept_of(key);
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return wrong("this connection cannot become a WebSocket (HTTP/1.1 can)");
    };
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body(Body::empty())
        .map_err(|e| Fail::new(ProblemCode::Internal, e.to_string()))?;
    Ok((response, Asked(upgrade)))
}

impl Asked {
    /// The tunnel, once the answer is sent; `None` where the client has gone.
    pub(super) async fn open(self) -> Option<(Ears, Mouth)> {
        let io = TokioIo::new(self.0.await.ok()?);
        let config = WebSocketConfig::default()
            .write_buffer_size(64 << 10)
            .max_write_buffer_size(1 << 20)
            .max_message_size(Some(LONGEST))
            .max_frame_size(Some(LONGEST));
        let (sink, stream) = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await.split();
        let (tx, rx) = mpsc::channel(WAITING);
        tokio::spawn(write(sink, rx));
        tokio::spawn(beat(tx.downgrade()));
        let tx = Arc::new(tx);
        Some((Ears { stream: Some(stream), waiting: Arc::downgrade(&tx) }, Mouth { tx }))
    }
}

async fn write(mut sink: SplitSink<Socket, Message>, mut rx: mpsc::Receiver<Message>) {
    while let Some(message) = rx.recv().await {
        if sink.send(message).await.is_err() {
            // The reading half hears of it.
            return;
        }
    }
    let _ = sink.close().await;
}

async fn beat(tx: mpsc::WeakSender<Message>) {
    loop {
        tokio::time::sleep(BEAT).await;
        match tx.upgrade() {
            // Where others wait to be written, they are sign of life enough.
            Some(tx) => drop(tx.try_send(Message::Ping(Bytes::new()))),
            None => return,
        }
    }
}

/// What comes from a client.
#[derive(Debug)]
pub(super) enum Heard {
    /// Bytes, and their channel.
    Bytes(u8, Bytes),
    /// A word.
    Said(ToServer),
    /// Nothing more: it has gone, or does not speak as it should.
    Gone,
}

/// Hears a client.
#[derive(Debug)]
pub(super) struct Ears {
    /// `None` only while it is dropped.
    stream: Option<SplitStream<Socket>>,
    waiting: std::sync::Weak<mpsc::Sender<Message>>,
}

impl Drop for Ears {
    /// What a client still sends is read until it has closed, too: a connection that is closed over unread bytes is reset,
    /// and the last words on their way to the client are lost with it.
    fn drop(&mut self) {
        let (Some(mut stream), Ok(runtime)) = (self.stream.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(tokio::time::timeout(FAREWELL, async move {
            while let Some(Ok(_)) = stream.next().await {}
        }));
    }
}

impl Ears {
    /// What comes next. Nothing is lost where the waiting is given up.
    pub(super) async fn next(&mut self) -> Heard {
        let mut until = Instant::now() + SILENCE;
        let Some(stream) = &mut self.stream else { return Heard::Gone };
        loop {
            let message = match tokio::time::timeout_at(until, stream.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(_) => return Heard::Gone,
                Err(_) => {
                    let is_slow = self.waiting.upgrade().is_some_and(|tx| tx.capacity() < WAITING);
                    if !is_slow {
                        return Heard::Gone;
                    }
                    until = Instant::now() + SILENCE;
                    continue;
                }
            };
            until = Instant::now() + SILENCE;
            match message {
                Message::Binary(mut bytes) if !bytes.is_empty() => {
                    let rest = bytes.split_off(1);
                    return Heard::Bytes(bytes[0], rest);
                }
                Message::Text(text) => {
                    return serde_json::from_str(&text).map_or(Heard::Gone, Heard::Said);
                }
                Message::Close(_) => return Heard::Gone,
                _ => {}
            }
        }
    }
}

/// Speaks to a client. The tunnel ends once all clones are dropped and what they said is written.
#[derive(Debug, Clone)]
pub(super) struct Mouth {
    tx: Arc<mpsc::Sender<Message>>,
}

impl Mouth {
    /// Sends bytes; waits while the client reads slowly. `false`: it has gone.
    pub(super) async fn bytes(&self, channel: u8, bytes: &[u8]) -> bool {
        for part in bytes.chunks(LONGEST / 2) {
            let mut message = BytesMut::with_capacity(part.len() + 1);
            message.put_u8(channel);
            message.put_slice(part);
            if self.tx.send(Message::Binary(message.freeze())).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Ends once the client takes nothing any more: it has gone. Without somebody who hears it this is noticed by the
    /// questions whether it is there, within two of them.
    pub(super) async fn gone(&self) {
        self.tx.closed().await;
    }

    /// Says a word. `false`: the client has gone.
    pub(super) async fn say(&self, word: &ToClient) -> bool {
        let Ok(text) = serde_json::to_string(word) else { return false };
        self.tx.send(Message::text(text)).await.is_ok()
    }

    /// Says why it could not be done.
    pub(super) async fn fail(&self, fail: impl Into<Fail>) {
        self.say(&ToClient::Failed(fail.into().document())).await;
    }
}
