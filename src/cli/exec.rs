//! `terreau exec` and `terreau run`: a program elsewhere, with this terminal's input and output, whose exit code is ours.
//!
//! 125 is our own failure, so that a script can tell it from the program's.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::args::{ExecArgs, OnceArgs};
use super::client::{Client, app_path, escaped};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, harmless};
use super::printer::Printer;
use super::tunnel::{self, Ears, Heard, Mouth};
use super::{local, terminal};
use crate::model::wire::{ExecBegin, RunBegin, ToServer, channel};

/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
/// What is said of a program that is asked to end by a signal, and then made to.
const ENDED: [i32; 2] = [128 + 15, 128 + 9];
/// How long it may take to say that we go.
const FAREWELL: Duration = Duration::from_secs(1);
/// How soon an input that holds nothing is seen to have ended.
const AT_ONCE: Duration = Duration::from_millis(100);

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
        no_input: args.no_stdin,
        idle_seconds: args.idle.map(|d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX)),
    };
    waiting(async {
        let path = app_path(&app, "/exec");
        let opened = tunnel::open(&client, &path, &ToServer::Exec(what)).await;
        let (mouth, ears, started) = opened.map_err(|failure| {
            let hints = failure.hints.len();
            let failure = local::or_process(failure, args.app.app.as_ref(), |process, _| {
                format!("did you mean `terreau exec -p {process}`?")
            });
            match &args.app.app {
                Some(word)
                    if failure.message.starts_with("there is no app")
                        && failure.hints.len() == hints
                        && args.command.is_empty()
                        && args.which.is_any() =>
                {
                    failure.hint(format!(
                        "to run the program {word} in this folder's app: `terreau exec -- {word}`"
                    ))
                }
                _ => failure,
            }
        })?;
        if has_terminal {
            cx.printer.say(format!("in {}", harmless(&started.instance)));
        }
        let raw = if has_terminal && terminal::is_here() { Some(terminal::Raw::begin()?) } else { None };
        let keys = (!args.no_stdin).then(read_input);
        let how = Attending { keys, interrupt: Interrupt::Ends, is_raw: raw.is_some() };
        let ended = attend(cx.printer, (mouth, ears), how).await;
        // Before anything is said of the end.
        drop(raw);
        ended
    })
}

fn begin_run(args: &OnceArgs, cx: &Context) -> Result<u8, Failure> {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let ordering = cx.client()?;
    let client = ordering.clone().tunnel()?;
    let process = args.process.as_ref().map(ToString::to_string);
    let timeout_seconds = args.timeout.map(|d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX));
    waiting(async {
        let (input, keys) =
            if args.detach || args.no_stdin { (false, None) } else { something(args.stdin).await };
        let what =
            RunBegin { process, command: args.command.clone(), detach: args.detach, input, timeout_seconds };
        let path = app_path(&app, "/run");
        let (mouth, mut ears, started) =
            tunnel::open(&client, &path, &ToServer::Run(what)).await.map_err(|failure| {
                local::or_process(failure, args.app.app.as_ref(), |process, _| {
                    format!("did you mean `terreau run -p {process} -- …`?")
                })
            })?;
        let name = harmless(started.run.as_deref().unwrap_or("?"));
        if args.detach {
            let ended = ears.next().await?;
            let Heard::Exit(0) = ended else { return Err(Failure::failed("it was not begun")) };
            cx.printer.data(&name)?;
            cx.printer.hint(format!("follow it with `terreau logs {app} --run {name} -f`"));
            return Ok(0);
        }
        cx.printer.say(format!("run {name}"));
        let path =
            app_path(&app, &format!("/runs/{}/stop", escaped(started.run.as_deref().unwrap_or_default())));
        let interrupt = match &keys {
            Some(_) => Interrupt::Stops(Some(Order { client: ordering, path })),
            None => Interrupt::Stops(None),
        };
        let how = Attending { keys, interrupt, is_raw: false };
        attend(cx.printer, (mouth, ears), how).await
    })
}

/// What a program has of ours.
struct Attending {
    /// What it reads.
    keys: Option<Keys>,
    interrupt: Interrupt,
    is_raw: bool,
}

/// What Ctrl-C does where there is no terminal for it.
enum Interrupt {
    /// It ends the session, and the program with it.
    Ends,
    /// It asks the program to end; a second one leaves it to the server. Beside the tunnel, where that may be full of input
    /// that nobody takes.
    Stops(Option<Order>),
}

/// A call that asks a run to end.
struct Order {
    client: Client,
    path: String,
}

impl Order {
    async fn give(&self) -> Result<(), Failure> {
        match self.client.order(Method::POST, &self.path).await {
            // It has just ended.
            Err(failure) if failure.status == ExitStatus::NotFound => Ok(()),
            given => given,
        }
    }
}

/// Hands input and output on until the program ends; gives its exit code.
async fn attend(
    printer: Printer,
    (mut mouth, mut ears): (Mouth, Ears),
    Attending { mut keys, interrupt, is_raw }: Attending,
) -> Result<u8, Failure> {
    let wrong = |e: std::io::Error| Failure::failed("cannot listen for signals").because(e.to_string());
    let mut resized = signal(SignalKind::window_change()).map_err(wrong)?;
    let mut ended = signal(SignalKind::terminate()).map_err(wrong)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(wrong)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(wrong)?;
    if is_raw {
        // It may have been resized before anybody listened.
        mouth.say(&ToServer::Resize(terminal::size())).await?;
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
                        Some(()) = interrupted.recv() => {
                            if let (Interrupt::Stops(Some(order)), false) = (&interrupt, asked_to_stop) {
                                // Who does not hear it finds us gone.
                                tokio::select! {
                                    given = order.give() => given?,
                                    Some(()) = interrupted.recv() => {}
                                }
                            }
                            return Ok(INTERRUPTED);
                        }
                        Some(()) = ended.recv() => return Ok(128 + 15),
                        Some(()) = hung_up.recv() => return Ok(128 + 1),
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
                match &interrupt {
                    Interrupt::Stops(order) if !asked_to_stop => {
                        asked_to_stop = true;
                        let stopping = async {
                            match order {
                                Some(order) => order.give().await,
                                None => mouth.say(&ToServer::Stop).await,
                            }
                        };
                        tokio::select! {
                            asked = stopping => asked?,
                            Some(()) = interrupted.recv() => return Ok(INTERRUPTED),
                        }
                    }
                    _ => {
                        farewell(&mut mouth).await;
                        return Ok(INTERRUPTED);
                    }
                }
            }
            Some(()) = ended.recv() => {
                farewell(&mut mouth).await;
                return Ok(128 + 15);
            }
            Some(()) = hung_up.recv() => {
                farewell(&mut mouth).await;
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
        // It has no code of its own where our asking ended it.
        _ if asked_to_stop && ENDED.contains(&code) => Ok(INTERRUPTED),
        _ => Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
    }
}

/// Says that we go. Over input that nobody takes it cannot be said.
async fn farewell(mouth: &mut Mouth) {
    let _ = tokio::time::timeout(FAREWELL, mouth.close()).await;
}

async fn next_of(keys: &mut Option<Keys>) -> Option<Bytes> {
    match keys {
        Some(keys) => match keys.first.take() {
            Some(bytes) => Some(bytes),
            None => keys.rest.recv().await,
        },
        None => std::future::pending().await,
    }
}

/// Our standard input.
struct Keys {
    first: Option<Bytes>,
    rest: mpsc::Receiver<Bytes>,
}

/// Reads standard input on a thread of its own, which nobody waits for.
fn read_input() -> Keys {
    let (tx, rest) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(n @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if tx.blocking_send(Bytes::copy_from_slice(&buffer[..n])).is_err() {
                return;
            }
        }
    });
    Keys { first: None, rest }
}

/// Our input where it is one: neither a terminal nor a device, unless it is asked for, nor ended already. The two roads
/// differ in what they need of an instance alone; one that has only a program and no shell runs what is given nothing.
async fn something(is_asked: bool) -> (bool, Option<Keys>) {
    use std::os::fd::AsFd;
    let device = rustix::fs::fstat(std::io::stdin().as_fd())
        .map(|s| rustix::fs::FileType::from_raw_mode(s.st_mode).is_char_device());
    if device.unwrap_or(true) && !is_asked {
        return (false, None);
    }
    let mut keys = read_input();
    match tokio::time::timeout(AT_ONCE, keys.rest.recv()).await {
        Ok(None) => (false, None),
        Ok(first) => (true, Some(Keys { first, ..keys })),
        Err(_) => (true, Some(keys)),
    }
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
}

/// Hears a program without a terminal, for `cp`: feeds it, hands its output on, gives its exit code and its complaints.
pub(super) async fn through(
    (mut mouth, mut ears): (Mouth, Ears),
    mut input: mpsc::Receiver<Bytes>,
    output: mpsc::Sender<Bytes>,
) -> Result<Came, Failure> {
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
    Ok(Came { code, said: String::from_utf8_lossy(&complaints).into_owned() })
}
