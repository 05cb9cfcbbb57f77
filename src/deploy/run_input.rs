//! What a run reads: fed into a pipe in its task's folder by a program beside it, so that its exit code is Nomad's own word
//! on the task, whatever becomes of the input.
//!
//! Must never pass an end on that was not said: where whoever feeds it goes away, the pipe stays open as long as the
//! program lives, which does not take half of a file for a whole one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::one_off::Run;
use super::reach::Reached;
use super::{Deployer, Error, is_missing};
use crate::engines::nomad::{ExecOutput, ExecReader, ExecWriter, Terminal};
use crate::engines::{Engine, EngineError, Fault};

/// How often Nomad is told that we are there.
const BEAT: Duration = Duration::from_secs(10);
/// Feeds the pipe, and says when all of its own input is through. It holds the pipe open until it is told that this was the
/// end, or the program has ended; where the program reads no more, it notes that. Any other fault is held open, too.
const FEED: &str = "f=\"$NOMAD_TASK_DIR/.terreau-input\"; n=0; \
                    until [ -p \"$f\" ]; do n=$((n + 1)); [ $n -lt 200 ] || exit 1; sleep 0.05 2>/dev/null || sleep 1; done; \
                    exec 3>\"$f\" || exit 1; cat >&3; c=$?; \
                    case $c in 1|141) : >\"$f.shut\"; exit 0;; 0) echo through;; *) echo \"$c\";; esac; \
                    until [ -e \"$f.end\" ]; do kill -0 \"$(cat \"$f.pid\")\" 2>/dev/null || exit 0; \
                    sleep 0.05 2>/dev/null || sleep 1; done";
/// What it says when all is through.
const THROUGH: &[u8] = b"through\n";
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
        self.takes_programs(&at).await;
        let command = ["sh", "-c", FEED].map(str::to_owned);
        let nomad = &self.runner.hands().nomad;
        let is_said = AtomicBool::new(false);
        let fed = match nomad.exec(&at.alloc, &at.task, &command, Terminal::No).await {
            Ok((writer, mut reader)) => tokio::select! {
                broken = feed_pipe(writer, input, &is_said) => broken,
                heard = self.hear(&at, &mut reader, &is_said) => heard,
            },
            Err(e) => Err(e),
        };
        let Err(e) = fed else { return Ok(()) };
        // Nomad drops the connection over input that nobody takes any more. That, and the run's own end, are no fault. It
        // tells of an end a moment late.
        for pause in [Duration::ZERO, Duration::from_secs(1)] {
            tokio::time::sleep(pause).await;
            match self.ends_well(nomad, &at, &["sh", "-c", IS_SHUT]).await {
                Ok(true) => return Ok(()),
                Err(other) if is_missing(&other) => return Ok(()),
                _ if !self.has_begun(run, &at.alloc).await? => return Ok(()),
                _ => {}
            }
        }
        Err(Error::Unreachable(format!("its input broke off: {}", e.message)))
    }

    /// Hears that nothing more is taken, or that all of it is through, and then says that this was all. Whatever is through
    /// before anybody has said so is half of a file.
    async fn hear(
        &self,
        at: &Reached,
        reader: &mut ExecReader,
        is_said: &AtomicBool,
    ) -> Result<(), EngineError> {
        let broken = |why: String| EngineError::new(Engine::Nomad, Fault::Broken, "feed a run", why);
        let mut told = Vec::new();
        loop {
            match reader.next().await? {
                ExecOutput::Exited(0) => return Ok(()),
                ExecOutput::Exited(code) => return Err(broken(format!("what feeds it ended with {code}"))),
                ExecOutput::Stderr(_) => {}
                ExecOutput::Stdout(bytes) => told.extend_from_slice(&bytes),
            }
            if told == THROUGH && is_said.load(Ordering::Relaxed) {
                let nomad = &self.runner.hands().nomad;
                let is_told = self.ends_well(nomad, at, &["sh", "-c", END]).await?;
                return if is_told { Ok(()) } else { Err(broken("its end could not be said".to_owned())) };
            }
            if told.ends_with(b"\n") {
                return Err(broken("it ended before its end was said".to_owned()));
            }
        }
    }

    /// Waits until programs can be run in it: Nomad calls a task running a moment before.
    async fn takes_programs(&self, at: &Reached) {
        let nomad = &self.runner.hands().nomad;
        for _ in 0..50 {
            match self.ends_well(nomad, at, &["sh", "-c", ":"]).await {
                Err(e) if e.message.contains("not started yet") => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                // Any other fault is met again by what follows, which says it.
                _ => return,
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

/// Passes input on for as long as somebody listens.
async fn feed_pipe(
    mut writer: ExecWriter,
    mut input: mpsc::Receiver<Fed>,
    is_said: &AtomicBool,
) -> Result<(), EngineError> {
    let mut beat = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            fed = input.recv(), if !is_said.load(Ordering::Relaxed) => match fed {
                Some(Fed::Bytes(bytes)) => writer.input(&bytes).await?,
                Some(Fed::End) => {
                    is_said.store(true, Ordering::Relaxed);
                    writer.end_of_input().await?;
                }
                None => std::future::pending().await,
            },
            _ = beat.tick() => writer.beat().await?,
        }
    }
}
