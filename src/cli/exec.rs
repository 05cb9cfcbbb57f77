//! `terreau exec` and `terreau run`: a program elsewhere, with this terminal's input and output, whose exit code is ours.
//!
//! 125 is our own failure, so that a script can tell it from the program's.

use std::io::Read;
use std::process::ExitCode;

use bytes::Bytes;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::args::{ExecArgs, OnceArgs};
use super::client::app_path;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, harmless};
use super::printer::Printer;
use super::tunnel::{self, Ears, Heard, Mouth};
use super::{local, terminal};
use crate::model::wire::{ExecBegin, RunBegin, Started, ToServer, Which, channel};

/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Runs `exec`.
pub fn exec(args: &ExecArgs, cx: &Context) -> Result<ExitCode, Failure> {
    ours(begin_exec(args, cx))
}

/// Runs `run`.
pub fn run(args: &OnceArgs, cx: &Context) -> Result<ExitCode, Failure> {
    ours(begin_run(args, cx))
}

fn ours(ended: Result<u8, Failure>) -> Result<ExitCode, Failure> {
    ended.map(ExitCode::from).map_err(|failure| Failure { status: ExitStatus::Ours, ..failure })
}

/// Waits on a thread of its own making: what still reads the terminal does not hold the end up.
fn waiting<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed("cannot start").because(e.to_string()))?;
    let ended = runtime.block_on(work);
    runtime.shutdown_background();
    ended
}

fn begin_exec(args: &ExecArgs, cx: &Context) -> Result<u8, Failure> {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?.tunnel()?;
    let has_terminal = args.tty || (!args.no_tty && terminal::is_here());
    let command = match args.command.as_slice() {
        [] => vec!["/bin/sh".to_owned()],
        words => words.to_vec(),
    };
    let what = ExecBegin {
        which: args.which.which(),
        command,
        terminal: has_terminal.then(terminal::size),
        idle_seconds: args.idle.map(|d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX)),
    };
    waiting(async {
        let path = app_path(&app, "/exec");
        let opened = tunnel::open(&client, &path, &ToServer::Exec(what)).await;
        let (mouth, ears, started) = opened.map_err(|failure| match &args.app.app {
            Some(word)
                if failure.status == ExitStatus::NotFound
                    && args.command.is_empty()
                    && args.which.is_any() =>
            {
                failure
                    .hint(format!("to run the program {word} in this folder's app: `terreau exec -- {word}`"))
            }
            _ => failure,
        })?;
        if has_terminal {
            cx.printer.say(format!("in {}", harmless(&started.instance)));
        }
        let raw = if has_terminal && terminal::is_here() { Some(terminal::Raw::begin()?) } else { None };
        let input = if args.no_stdin { Input::None } else { Input::Ours };
        let ended = attend(cx.printer, (mouth, ears), input, raw.is_some()).await;
        // Before anything is said of the end.
        drop(raw);
        ended
    })
}

fn begin_run(args: &OnceArgs, cx: &Context) -> Result<u8, Failure> {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?.tunnel()?;
    let process = args.process.as_ref().map(ToString::to_string);
    let timeout_seconds = args.timeout.map(|d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX));
    let what = RunBegin { process, command: args.command.clone(), detach: args.detach, timeout_seconds };
    waiting(async {
        let path = app_path(&app, "/run");
        let (mouth, mut ears, started) = tunnel::open(&client, &path, &ToServer::Run(what)).await?;
        let name = harmless(started.run.as_deref().unwrap_or("?"));
        if args.detach {
            let ended = ears.next().await?;
            let Heard::Exit(0) = ended else { return Err(Failure::failed("it was not begun")) };
            cx.printer.data(&name)?;
            cx.printer.hint(format!("follow it with `terreau logs {app} --run {name} -f`"));
            return Ok(0);
        }
        cx.printer.say(format!("run {name}"));
        attend(cx.printer, (mouth, ears), Input::Stops, false).await
    })
}

/// What our input is to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// It reads it.
    Ours,
    /// It reads nothing.
    None,
    /// It reads nothing, and Ctrl-C asks it to end.
    Stops,
}

/// Hands input and output on until the program ends; gives its exit code.
async fn attend(
    printer: Printer,
    (mut mouth, mut ears): (Mouth, Ears),
    input: Input,
    is_raw: bool,
) -> Result<u8, Failure> {
    let wrong = |e: std::io::Error| Failure::failed("cannot listen for signals").because(e.to_string());
    let mut resized = signal(SignalKind::window_change()).map_err(wrong)?;
    let mut ended = signal(SignalKind::terminate()).map_err(wrong)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(wrong)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(wrong)?;
    let mut keys = (input == Input::Ours).then(read_input);
    if input == Input::None {
        mouth.say(&ToServer::Eof).await?;
    }
    let (out, mut told) = write_output(printer);
    // By itself: what the program says is taken also while it takes nothing of ours.
    let mut hearing = tokio::spawn(async move {
        loop {
            match ears.next().await? {
                Heard::Bytes(channel::OUTPUT, bytes) => drop(out.send((Stream::Out, bytes)).await),
                Heard::Bytes(_, bytes) => drop(out.send((Stream::Err, bytes)).await),
                Heard::Exit(code) => return Ok::<i32, Failure>(code),
                Heard::Eof => {}
            }
        }
    });
    let mut asked_to_stop = false;
    let code = loop {
        tokio::select! {
            heard = &mut hearing => break heard.map_err(|e| Failure::failed("cannot listen").because(e.to_string()))??,
            typed = next_of(&mut keys) => {
                if let Some(bytes) = typed {
                    tokio::select! {
                        sent = mouth.bytes(channel::INPUT, &bytes) => sent?,
                        // A program that reads nothing holds up its input, not our end.
                        Some(()) = interrupted.recv() => return Ok(INTERRUPTED),
                    }
                } else {
                    keys = None;
                    mouth.say(&ToServer::Eof).await?;
                }
            }
            Some(()) = resized.recv(), if is_raw => {
                mouth.say(&ToServer::Resize(terminal::size())).await?;
            }
            Some(()) = interrupted.recv() => {
                if input != Input::Stops || asked_to_stop {
                    mouth.close().await;
                    return Ok(INTERRUPTED);
                }
                asked_to_stop = true;
                mouth.say(&ToServer::Stop).await?;
            }
            Some(()) = ended.recv() => {
                mouth.close().await;
                return Ok(128 + 15);
            }
            Some(()) = hung_up.recv() => {
                mouth.close().await;
                return Ok(128 + 1);
            }
        }
    };
    // Everything that it said is written before we end.
    let written = told.recv().await.unwrap_or(Ok(()));
    mouth.close().await;
    match written {
        // A closed pipe is no fault of the program's.
        Err(failure) if !failure.is_silent() => Err(failure),
        _ => Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
    }
}

async fn next_of(keys: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match keys {
        Some(keys) => keys.recv().await,
        None => std::future::pending().await,
    }
}

/// Reads standard input on a thread of its own, which nobody waits for.
fn read_input() -> mpsc::Receiver<Bytes> {
    let (tx, rx) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(n @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if tx.blocking_send(Bytes::copy_from_slice(&buffer[..n])).is_err() {
                return;
            }
        }
    });
    rx
}

#[derive(Debug, Clone, Copy)]
enum Stream {
    Out,
    Err,
}

type Written = mpsc::Receiver<Result<(), Failure>>;

/// Writes output on a thread of its own, so that a slow reader of ours does not stop our input; says at the end whether
/// all went well.
fn write_output(printer: Printer) -> (mpsc::Sender<(Stream, Bytes)>, Written) {
    let (tx, mut rx) = mpsc::channel::<(Stream, Bytes)>(16);
    let (done, told) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut ended = Ok(());
        while let Some((stream, bytes)) = rx.blocking_recv() {
            // What comes after a fault is taken and dropped: the exit code is still wanted.
            if ended.is_ok() {
                ended = match stream {
                    Stream::Out => printer.bytes(&bytes),
                    Stream::Err => printer.complaints(&bytes),
                };
            }
        }
        let _ = done.blocking_send(ended);
    });
    (tx, told)
}

/// What a program came to.
#[derive(Debug)]
pub(super) struct Came {
    /// Its exit code.
    pub(super) code: i32,
    /// The last of what it complained of.
    pub(super) said: String,
    /// Where it ran.
    pub(super) at: Started,
}

/// Runs a program without a terminal, for `cp`: feeds it, hands its output on, gives its exit code and its complaints.
pub(super) async fn through(
    client: &super::client::Client,
    path: &str,
    which: Which,
    command: Vec<String>,
    mut input: mpsc::Receiver<Bytes>,
    output: mpsc::Sender<Bytes>,
) -> Result<Came, Failure> {
    let what = ExecBegin { which, command, terminal: None, idle_seconds: None };
    let (mut mouth, mut ears, at) = tunnel::open(client, path, &ToServer::Exec(what)).await?;
    let mut complaints = Vec::new();
    let hearing = async {
        loop {
            match ears.next().await? {
                Heard::Bytes(channel::OUTPUT, bytes) => {
                    if output.send(bytes).await.is_err() {
                        // Whoever took it has found a fault: its own word says which.
                        return Ok(0);
                    }
                }
                Heard::Bytes(_, bytes) => {
                    complaints.extend_from_slice(&bytes);
                    let over = complaints.len().saturating_sub(4 << 10);
                    complaints.drain(..over);
                }
                Heard::Exit(code) => return Ok::<i32, Failure>(code),
                Heard::Eof => {}
            }
        }
    };
    let feeding = async {
        while let Some(bytes) = input.recv().await {
            if mouth.bytes(channel::INPUT, &bytes).await.is_err() {
                break;
            }
        }
        let _ = mouth.say(&ToServer::Eof).await;
        std::future::pending::<()>().await;
    };
    let code = tokio::select! {
        code = hearing => code?,
        () = feeding => unreachable!("it waits for ever"),
    };
    mouth.close().await;
    drop(output);
    Ok(Came { code, said: String::from_utf8_lossy(&complaints).into_owned(), at })
}
