//! What a run reads: fed into a pipe in its task's folder by a program beside it, so that its exit code is Nomad's own word
//! on the task, whatever becomes of the input.
//!
//! Must never pass an end on that was not said: where whoever feeds it goes away, the pipe stays open as long as the
//! program lives, which does not take half of a file for a whole one.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::one_off::Run;
use super::reach::Reached;
use super::{Deployer, Error, is_missing};
use crate::engines::EngineError;
use crate::engines::nomad::{ExecOutput, ExecReader, ExecWriter, Terminal};

/// How often Nomad is told that we are there.
const BEAT: Duration = Duration::from_secs(10);
/// Feeds the pipe. Once its own input has ended without a word it holds the pipe open while the program lives; where the
/// program reads no more, it says so.
const FEED: &str = "f=\"$NOMAD_TASK_DIR/.terreau-input\"; n=0; \
                    until [ -p \"$f\" ]; do n=$((n + 1)); [ $n -lt 200 ] || exit 1; sleep 0.05 2>/dev/null || sleep 1; done; \
                    exec 3>\"$f\"; \
                    if cat >&3; then [ -e \"$f.end\" ] || while kill -0 \"$(cat \"$f.pid\")\" 2>/dev/null; do sleep 1; done; \
                    else : >\"$f.shut\"; fi";
/// Says that its input has ended as it should.
const END: &str = ": >\"$NOMAD_TASK_DIR/.terreau-input.end\"";
/// Whether the program reads no more.
const IS_SHUT: &str = "test -e \"$NOMAD_TASK_DIR/.terreau-input.shut\"";

/// What is fed.
#[derive(Debug)]
pub enum Fed {
    /// More.
    Bytes(Bytes),
    /// Nothing more.
    End,
}

impl Deployer {
    /// Feeds a run until it reads no more, or has ended. Where what feeds it ends without [`Fed::End`], it waits for ever:
    /// whoever calls ends the run.
    pub async fn feed_run(&self, run: &Run, input: mpsc::Receiver<Fed>) -> Result<(), Error> {
        let alloc = self.placed(run).await?;
        if !self.has_begun(run, &alloc).await? {
            return Ok(());
        }
        let (process, uid) = (run.process.clone(), run.uid.clone());
        let at = Reached { uid, alloc, task: process.clone(), process };
        let command = ["sh", "-c", FEED].map(str::to_owned);
        let nomad = &self.runner.hands().nomad;
        let fed = match nomad.exec(&at.alloc, &at.task, &command, Terminal::No).await {
            Ok((writer, mut reader)) => tokio::select! {
                fed = self.feed_pipe(&at, writer, input) => fed,
                ended = hear(&mut reader) => ended,
            },
            Err(e) => Err(e),
        };
        let Err(e) = fed else { return Ok(()) };
        // Nomad drops the connection over input that nobody takes any more. That, and the run's own end, are no fault.
        match self.ends_well(nomad, &at, &["sh", "-c", IS_SHUT]).await {
            Ok(false) if self.has_begun(run, &at.alloc).await? => {
                Err(Error::Unreachable(format!("its input broke off: {}", e.message)))
            }
            Err(other) if !is_missing(&other) && self.has_begun(run, &at.alloc).await? => Err(other.into()),
            _ => Ok(()),
        }
    }

    async fn feed_pipe(
        &self,
        at: &Reached,
        mut writer: ExecWriter,
        mut input: mpsc::Receiver<Fed>,
    ) -> Result<(), EngineError> {
        let mut beat = tokio::time::interval(BEAT);
        let mut has_ended = false;
        loop {
            tokio::select! {
                fed = input.recv(), if !has_ended => match fed {
                    Some(Fed::Bytes(bytes)) => writer.input(&bytes).await?,
                    Some(Fed::End) => {
                        has_ended = true;
                        // Before its end is seen. Where it cannot be said, the program has ended by itself.
                        self.ends_well(&self.runner.hands().nomad, at, &["sh", "-c", END]).await?;
                        writer.end_of_input().await?;
                    }
                    None => std::future::pending().await,
                },
                _ = beat.tick() => writer.beat().await?,
            }
        }
    }

    /// Waits until a run's program has begun; `false`: it has ended already, or never will.
    async fn has_begun(&self, run: &Run, alloc: &str) -> Result<bool, Error> {
        let mut changes = self.runner.hands().world.subscribe().await;
        loop {
            let Some(a) = self.runner.hands().nomad.allocation(alloc).await? else { return Ok(false) };
            match a.task_states.get(&run.process).map(|t| t.state.as_str()) {
                Some("running") => return Ok(true),
                Some("dead") => return Ok(false),
                _ if a.is_terminal() => return Ok(false),
                _ => {}
            }
            // A stream that is being opened again tells nothing meanwhile.
            let news = changes.changed(&run.logs.namespace, &run.logs.job);
            let _ = tokio::time::timeout(Duration::from_secs(1), news).await;
        }
    }
}

/// Hears that nothing more is taken.
async fn hear(reader: &mut ExecReader) -> Result<(), EngineError> {
    loop {
        if let ExecOutput::Exited(_) = reader.next().await? {
            return Ok(());
        }
    }
}
