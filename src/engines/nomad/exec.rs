//! A program run in a living instance, over Nomad's exec WebSocket: JSON messages both ways, bytes in base64.
//!
//! Source: <https://developer.hashicorp.com/nomad/api-docs/client#exec-command>. Closing the socket ends the program.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::Nomad;
use super::allocs::is_gone;
use crate::engines::http::{Place, Socket, segment, shorten};
use crate::engines::{Engine, EngineError, Fault};

/// What a program says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOutput {
    /// It printed this.
    Stdout(Bytes),
    /// It complained.
    Stderr(Bytes),
    /// It has ended. Last.
    Exited(i32),
}

/// The writing half.
#[derive(Debug)]
pub struct ExecWriter {
    sink: SplitSink<Socket, Message>,
    at_end: bool,
    doing: String,
    _place: Arc<Place>,
}

/// The reading half.
#[derive(Debug)]
pub struct ExecReader {
    stream: SplitStream<Socket>,
    doing: String,
    _place: Arc<Place>,
}

/// Whether a program gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// It does: its two outputs are one.
    Yes,
    /// It reads and writes pipes.
    No,
}

impl Nomad {
    /// Runs a program in a living instance's task. `NotFound` where the instance or the task does not run.
    pub async fn exec(
        &self,
        alloc: &str,
        task: &str,
        command: &[String],
        terminal: Terminal,
    ) -> Result<(ExecWriter, ExecReader), EngineError> {
        let path = format!("/v1/client/allocation/{}/exec", segment(alloc));
        let doing = format!("run a program in task {task} of instance {alloc}");
        // The gate is asked, as for every write, though the method is GET.
        let (socket, place) = self
            .write(reqwest::Method::GET, doing.clone(), &path)
            .query("task", task)
            .query("tty", terminal == Terminal::Yes)
            .query("command", json!(command))
            .socket()
            .await
            .map_err(|mut e| {
                if is_gone(&e.message) {
                    e.fault = Fault::NotFound;
                }
                e
            })?;
        let (sink, stream) = socket.split();
        let place = Arc::new(place);
        let writer = ExecWriter { sink, at_end: false, doing: doing.clone(), _place: place.clone() };
        Ok((writer, ExecReader { stream, doing, _place: place }))
    }
}

impl ExecWriter {
    async fn send(&mut self, message: serde_json::Value) -> Result<(), EngineError> {
        let sent = self.sink.send(Message::text(message.to_string())).await;
        sent.map_err(|e| EngineError::new(Engine::Nomad, Fault::Away, self.doing.clone(), e.to_string()))
    }

    /// Gives the program something to read; after the end of its input, nothing.
    pub async fn input(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        if self.at_end {
            return Ok(());
        }
        self.send(json!({ "stdin": { "data": STANDARD.encode(bytes) } })).await
    }

    /// Says that no more input comes, once: a program that has its input's end may have ended, and Nomad drops the
    /// connection over what it can no longer hand on, its exit code with it (seen on 1.11.1).
    pub async fn end_of_input(&mut self) -> Result<(), EngineError> {
        if std::mem::replace(&mut self.at_end, true) {
            return Ok(());
        }
        self.send(json!({ "stdin": { "close": true } })).await
    }

    /// Tells the terminal's size.
    pub async fn resize(&mut self, columns: u16, rows: u16) -> Result<(), EngineError> {
        self.send(json!({ "tty_size": { "width": columns, "height": rows } })).await
    }

    /// Says that we are still there: Nomad's own client does so each 10 s.
    pub async fn beat(&mut self) -> Result<(), EngineError> {
        self.send(json!({})).await
    }

    /// Ends the session, and with it the program.
    pub async fn close(&mut self) {
        // Whoever does not hear it finds the connection gone.
        let _ = self.sink.close().await;
    }
}

#[derive(Deserialize, Default)]
struct Part {
    #[serde(default)]
    data: String,
}

#[derive(Deserialize)]
struct Ended {
    #[serde(default)]
    exit_code: i32,
}

#[derive(Deserialize)]
struct Frame {
    stdout: Option<Part>,
    stderr: Option<Part>,
    #[serde(default)]
    exited: bool,
    result: Option<Ended>,
}

impl ExecReader {
    /// What the program says next.
    pub async fn next(&mut self) -> Result<ExecOutput, EngineError> {
        let fail = |fault, why: String| EngineError::new(Engine::Nomad, fault, self.doing.clone(), why);
        loop {
            let message = match self.stream.next().await {
                Some(Ok(message)) => message,
                Some(Err(e)) => return Err(fail(Fault::Away, e.to_string())),
                None => {
                    return Err(fail(Fault::Broken, "the connection ended before the program did".into()));
                }
            };
            let text = match message {
                Message::Text(text) => text,
                Message::Close(Some(frame)) => {
                    let why = shorten(frame.reason.as_str());
                    // "no such file" is said of the program.
                    let gone = ["nknown allocation", "not running", "task not found"];
                    let gone = gone.iter().any(|w| why.to_lowercase().contains(w));
                    return Err(fail(if gone { Fault::NotFound } else { Fault::Invalid }, why));
                }
                Message::Close(None) => {
                    return Err(fail(Fault::Broken, "the connection ended before the program did".into()));
                }
                _ => continue,
            };
            let frame: Frame = serde_json::from_str(&text).map_err(|e| fail(Fault::Broken, e.to_string()))?;
            let decoded = |part: Part| STANDARD.decode(part.data).map(Bytes::from);
            let found = match frame {
                Frame { stdout: Some(part), .. } => decoded(part).map(ExecOutput::Stdout),
                Frame { stderr: Some(part), .. } => decoded(part).map(ExecOutput::Stderr),
                Frame { exited: true, result, .. } => {
                    return Ok(ExecOutput::Exited(result.map_or(0, |r| r.exit_code)));
                }
                _ => continue,
            };
            match found.map_err(|e| fail(Fault::Broken, e.to_string()))? {
                // A closed stream comes as an empty part.
                ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes) if bytes.is_empty() => {}
                said => return Ok(said),
            }
        }
    }
}
