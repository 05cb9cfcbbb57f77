//! A tunnel to the server: a WebSocket opened like every other call, with the same TLS, proxy and token rules.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::{Method, StatusCode};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::client::{Client, problem_failure};
use super::exit::ExitStatus;
use super::failure::Failure;
use super::server::Server;
use crate::model::wire::{LONGEST, Started, ToClient, ToServer, accept_of};

type Socket = WebSocketStream<reqwest::Upgraded>;

/// Bytes of a message.
const PIECE: usize = 32 << 10;

/// Speaks to the server.
#[derive(Debug)]
pub(super) struct Mouth {
    sink: SplitSink<Socket, Message>,
}

/// Hears the server.
#[derive(Debug)]
pub(super) struct Ears {
    stream: SplitStream<Socket>,
    server: Server,
}

/// What the server says.
#[derive(Debug)]
pub(super) enum Heard {
    /// Bytes, and their channel.
    Bytes(u8, Bytes),
    /// No more output comes.
    Eof,
    /// The program's exit code.
    Exit(i32),
}

/// Opens a tunnel and says what is wanted; gives what has begun.
pub(super) async fn open(
    client: &Client,
    path: &str,
    first: &ToServer,
) -> Result<(Mouth, Ears, Started), Failure> {
    let key = STANDARD.encode(rand::random::<[u8; 16]>());
    let request = client
        .request(Method::GET, path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", &key);
    let response = client.send_for(request, StatusCode::SWITCHING_PROTOCOLS).await?;
    let server = client.server().clone();
    let accepted = response.headers().get("sec-websocket-accept").and_then(|v| v.to_str().ok());
    if accepted != Some(accept_of(&key).as_str()) {
        return Err(Failure::new(ExitStatus::EngineAway, format!("{server} does not answer as a WebSocket"))
            .hint("something between here and the server may not let WebSockets through"));
    }
    let upgraded = response.upgrade().await.map_err(|e| client.away(&e))?;
    let config =
        WebSocketConfig::default().max_message_size(Some(LONGEST * 2)).max_frame_size(Some(LONGEST * 2));
    let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
    let (sink, stream) = socket.split();
    let (mut mouth, mut ears) = (Mouth { sink }, Ears { stream, server });
    mouth.say(first).await?;
    match ears.word().await? {
        Word::Said(ToClient::Started(started)) => Ok((mouth, ears, started)),
        _ => Err(ears.odd()),
    }
}

enum Word {
    Said(ToClient),
    Bytes(u8, Bytes),
}

impl Ears {
    fn odd(&self) -> Failure {
        Failure::failed(format!("{} said something that this terreau does not understand", self.server))
            .hint("client and server may be of different versions: compare `terreau --version` and `terreau whoami`")
    }

    fn gone(&self, why: &str) -> Failure {
        Failure::new(ExitStatus::EngineAway, format!("the connection to {} broke", self.server)).because(why)
    }

    async fn word(&mut self) -> Result<Word, Failure> {
        loop {
            let message = match self.stream.next().await {
                Some(Ok(message)) => message,
                Some(Err(e)) => return Err(self.gone(&e.to_string())),
                None => return Err(self.gone("it ended before the program did")),
            };
            match message {
                Message::Binary(mut bytes) if !bytes.is_empty() => {
                    let rest = bytes.split_off(1);
                    return Ok(Word::Bytes(bytes[0], rest));
                }
                Message::Text(text) => {
                    return match serde_json::from_str(&text) {
                        Ok(ToClient::Failed(problem)) => Err(problem_failure(*problem, &self.server)),
                        Ok(said) => Ok(Word::Said(said)),
                        Err(_) => Err(self.odd()),
                    };
                }
                Message::Close(_) => return Err(self.gone("it ended before the program did")),
                _ => {}
            }
        }
    }

    /// What comes next; a failure that the server tells is one here.
    pub(super) async fn next(&mut self) -> Result<Heard, Failure> {
        match self.word().await? {
            Word::Bytes(channel, bytes) => Ok(Heard::Bytes(channel, bytes)),
            Word::Said(ToClient::Eof) => Ok(Heard::Eof),
            Word::Said(ToClient::Exit(code)) => Ok(Heard::Exit(code)),
            Word::Said(_) => Err(self.odd()),
        }
    }
}

impl Mouth {
    /// Says a word.
    pub(super) async fn say(&mut self, word: &ToServer) -> Result<(), Failure> {
        let text = serde_json::to_string(word)
            .map_err(|e| Failure::failed("cannot write a message").because(e.to_string()))?;
        self.send(Message::text(text)).await
    }

    /// Sends bytes.
    pub(super) async fn bytes(&mut self, channel: u8, bytes: &[u8]) -> Result<(), Failure> {
        for part in bytes.chunks(PIECE) {
            let mut message = BytesMut::with_capacity(part.len() + 1);
            message.put_u8(channel);
            message.put_slice(part);
            self.send(Message::Binary(message.freeze())).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Result<(), Failure> {
        self.sink.send(message).await.map_err(|e| {
            Failure::new(ExitStatus::EngineAway, "the connection to the server broke").because(e.to_string())
        })
    }

    /// Ends the tunnel.
    pub(super) async fn close(&mut self) {
        // Who does not hear it finds the connection gone.
        let _ = self.sink.close().await;
    }
}
