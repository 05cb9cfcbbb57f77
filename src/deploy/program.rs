//! A program in a living instance: begun where the app's own program starts, heard to its end, and ended with its
//! session. Must never make a person's words a part of a shell's program.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::reach::{Reached, not_there};
use super::{Deployer, Error};
use crate::engines::nomad::{ExecOutput, ExecReader, ExecWriter, Nomad, Terminal};
use crate::engines::{EngineError, Fault};
use crate::model::Placement;
use crate::model::wire::{ExecBegin, TerminalSize};
use crate::render;
use crate::store::records::By;

/// How long a program of ours may take.
const SHORT: Duration = Duration::from_secs(15);
/// Puts a mark into the environment of a program, and of all that it begins.
const MARKED: &str = "TERREAU_EXEC=$1; export TERREAU_EXEC; shift; ";
/// Says so when it has ended: where its input is a pipe, Nomad tells the end only once that is closed too (tried on
/// 1.11.1), and a person's input need not end by itself.
const TOLD: &str = "; code=$?; printf '\\036%s\\036' \"$TERREAU_EXEC\" >&2; exit $code";
/// What a program that reads nothing reads: one that ends in the very moment in which Nomad hears that its input has ended
/// loses its exit code (tried on 1.11.1), and one that reads none ends at once.
const UNREAD: &str = " </dev/null";
/// Ends everything whose environment bears the mark: first as a terminal does that is hung up, then for good.
const END: &str = "for s in HUP KILL; do for p in /proc/[0-9]*; do \
                   grep -q \"TERREAU_EXEC=$1\" \"$p/environ\" 2>/dev/null && kill -$s \"${p#/proc/}\" 2>/dev/null && left=1; done; \
                   [ \"$left\" ] || break; [ $s = HUP ] && sleep 1; left=; done; true";
/// How often a program of ours whose end was lost is run again.
const LOST: u32 = 2;
/// A command has at most so many bytes: it travels in an address.
const COMMAND: usize = 6 << 10;

/// What a program has to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// What the person gives it.
    Ours,
    /// Nothing.
    Nothing,
}

/// A program that runs in an instance.
#[derive(Debug)]
pub struct Program {
    /// Where.
    pub at: Reached,
    /// What its environment bears, so that it is found and ended with its session; `None` where the instance has no
    /// shell.
    mark: Option<String>,
    /// What it reads.
    pub input: ExecWriter,
    /// What it says.
    pub output: ProgramOutput,
    /// Rings once the program has ended and only its input is still open.
    pub ended: Arc<Notify>,
}

/// What a program says.
#[derive(Debug)]
pub struct ProgramOutput {
    reader: ExecReader,
    /// What our shell writes last to its errors, and what of it may have been seen.
    last: Option<Last>,
    ended: Arc<Notify>,
}

#[derive(Debug)]
struct Last {
    words: Vec<u8>,
    held: BytesMut,
}

impl ProgramOutput {
    /// What it says next.
    pub async fn next(&mut self) -> Result<ExecOutput, EngineError> {
        loop {
            let said = self.reader.next().await?;
            let (Some(last), ExecOutput::Stderr(bytes)) = (&mut self.last, &said) else { return Ok(said) };
            let (told, has_ended) = last.without(bytes);
            if has_ended {
                self.last = None;
                self.ended.notify_one();
            }
            if !told.is_empty() {
                return Ok(ExecOutput::Stderr(told));
            }
        }
    }
}

impl Last {
    /// What of the errors is the program's own, and whether our word was among them. What may be its beginning is held.
    fn without(&mut self, bytes: &[u8]) -> (Bytes, bool) {
        self.held.extend_from_slice(bytes);
        if let Some(at) = memchr::memmem::find(&self.held, &self.words) {
            let mut told = self.held.split_to(at);
            told.extend_from_slice(&self.held[self.words.len()..]);
            return (told.freeze(), true);
        }
        let longest = self.words.len().min(self.held.len());
        let held = (1..=longest).rev().find(|n| self.held.ends_with(&self.words[..*n])).unwrap_or(0);
        (self.held.split_to(self.held.len() - held).freeze(), false)
    }
}

impl Deployer {
    /// Runs a program in an instance. The audit log hears of the instance and of the program's name; never of its
    /// arguments, which may hold secrets.
    pub async fn exec(&self, by: &By, app: &Placement, what: &ExecBegin) -> Result<Program, Error> {
        let name = program(&what.command)?;
        let at = self.instance(app, &what.which).await?;
        self.runner.tell(by, (app, &at.uid), "exec", format!("{name} in {at}")).await?;
        tracing::info!(login = by.login, %app, instance = %at, program = name, "exec");
        let reads = if what.no_input { Reads::Nothing } else { Reads::Ours };
        self.begin_program(app, at, &what.command, (what.terminal, reads)).await
    }

    /// Begins a program in an instance, in the folder where the app's own program starts.
    pub(super) async fn begin_program(
        &self,
        app: &Placement,
        at: Reached,
        words: &[String],
        (size, reads): (Option<TerminalSize>, Reads),
    ) -> Result<Program, Error> {
        let terminal = if size.is_some() { Terminal::Yes } else { Terminal::No };
        let nomad = &self.runner.hands().nomad;
        let opened = |e| not_there(app, &at, e);
        let looked = tokio::try_join!(self.ends_well(nomad, &at, &["sh", "-c", "true"]), self.enters(&at));
        let (has_shell, enters) = looked.map_err(opened)?;
        let mark = has_shell.then(|| hex::encode(rand::random::<[u8; 16]>()));
        let mut command = Vec::with_capacity(words.len() + 5);
        let mut last = None;
        if let Some(mark) = &mark {
            // The person's words are arguments, never a part of our shell's program.
            let from = if reads == Reads::Nothing { UNREAD } else { "" };
            let script = match terminal {
                Terminal::Yes => format!("{MARKED}{enters}exec \"$@\"{from}"),
                Terminal::No => format!("{MARKED}{enters}\"$@\"{from}{TOLD}"),
            };
            command.extend(["sh", "-c", &script, "sh", mark].map(str::to_owned));
            last = (terminal == Terminal::No)
                .then(|| Last { words: format!("\u{1e}{mark}\u{1e}").into_bytes(), held: BytesMut::new() });
        }
        command.extend(words.iter().cloned());
        let (mut input, reader) =
            nomad.exec(&at.alloc, &at.task, &command, terminal).await.map_err(opened)?;
        if let Some(size) = size {
            input.resize(size.columns, size.rows).await?;
        }
        if reads == Reads::Nothing && mark.is_none() {
            input.end_of_input().await?;
        }
        let ended = Arc::new(Notify::new());
        let output = ProgramOutput { reader, last, ended: ended.clone() };
        Ok(Program { at, mark, input, output, ended })
    }

    /// What a shell does first to stand where the app's own program starts; nothing where Nomad begins programs there.
    pub(super) async fn enters(&self, at: &Reached) -> Result<&'static str, EngineError> {
        let whole = self.runner.hands().nomad.allocation(&at.alloc).await?;
        let job = whole.and_then(|a| a.job).unwrap_or_default();
        Ok(render::enters(&job, &at.process, &at.task))
    }

    /// Runs a program that reads and says nothing; whether it ended with 0. It may run again: Nomad loses the end of one that
    /// ends in the moment in which it hears of the end of its input.
    pub(super) async fn ends_well(
        &self,
        nomad: &Nomad,
        at: &Reached,
        command: &[&str],
    ) -> Result<bool, EngineError> {
        let mut tries = 0;
        loop {
            match self.ends_once(nomad, at, command).await {
                Err(e) if e.fault == Fault::Away && tries < LOST => tries += 1,
                ended => return ended,
            }
        }
    }

    async fn ends_once(&self, nomad: &Nomad, at: &Reached, command: &[&str]) -> Result<bool, EngineError> {
        let command: Vec<String> = command.iter().map(|w| (*w).to_owned()).collect();
        let (mut input, mut output) = nomad.exec(&at.alloc, &at.task, &command, Terminal::No).await?;
        input.end_of_input().await?;
        let ending = async {
            loop {
                match output.next().await {
                    Ok(ExecOutput::Exited(code)) => return Ok(code == 0),
                    Ok(_) => {}
                    // There is no such program.
                    Err(e) if e.fault == Fault::Invalid => return Ok(false),
                    Err(e) => return Err(e),
                }
            }
        };
        let ended = tokio::time::timeout(SHORT, ending).await.unwrap_or(Ok(false));
        input.close().await;
        ended
    }

    /// Ends a program whose session has ended before it. Nomad itself leaves it alone until it next writes something.
    pub async fn end_program(&self, program: Program) {
        let Program { at, mark, mut input, output, .. } = program;
        input.close().await;
        drop(output);
        // Its own place is free, and another is not waited for: it must not go on because others do.
        drop(input);
        let Some(mark) = mark else { return };
        let nomad = self.runner.hands().nomad.clone().aside();
        match self.ends_well(&nomad, &at, &["sh", "-c", END, "sh", &mark]).await {
            Ok(true) => {}
            Ok(false) => tracing::debug!(instance = %at, "a program may outlive its session"),
            Err(e) => tracing::debug!(error = %e, instance = %at, "a program may outlive its session"),
        }
    }
}

/// The program's name without its folder, of a command that can be run.
pub(super) fn program(command: &[String]) -> Result<&str, Error> {
    let wrong = |why: &str| Err(Error::Invalid(format!("the command {why}")));
    match command.first() {
        None => wrong("is missing"),
        Some(p) if p.is_empty() => wrong("begins with an empty word"),
        Some(_) if command.iter().map(String::len).sum::<usize>() > COMMAND => wrong("is longer than 6 KiB"),
        Some(_) if command.iter().any(|w| w.contains('\0')) => wrong("holds a NUL byte"),
        Some(p) => Ok(p.rsplit('/').next().unwrap_or(p)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_command_only_the_programs_name_is_told() {
        let words = |w: &[&str]| w.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(program(&words(&["/usr/bin/psql", "-W", "secret"])).unwrap(), "psql");
        for bad in [&[][..], &[""], &["a\0"]] {
            assert!(program(&words(bad)).is_err(), "{bad:?}");
        }
        assert!(program(&words(&["x", &"y".repeat(COMMAND)])).is_err());
    }

    #[test]
    fn our_own_last_word_is_taken_out_however_it_is_cut() {
        let whole: &'static [u8] = b"oops \x1e\x1eabc\x1e after";
        for cut in 0..whole.len() {
            let mut last = Last { words: b"\x1eabc\x1e".to_vec(), held: BytesMut::new() };
            let (mut told, first) = last.without(&whole[..cut]);
            let (rest, second) =
                if first { (Bytes::from_static(&whole[cut..]), false) } else { last.without(&whole[cut..]) };
            told = [told, rest].concat().into();
            assert!(first || second, "cut at {cut}");
            assert_eq!(&told[..], b"oops \x1e after", "cut at {cut}");
        }
    }
}
