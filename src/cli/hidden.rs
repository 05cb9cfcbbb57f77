//! Asks for a value that is not shown: the echo is off before the question stands there, and on again whatever happens.

use std::io::{self, BufRead};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;
use super::printer::Printer;

/// A value is no longer than this: what is pasted by mistake is not read to its end.
const MAX: u64 = 64 << 10;

/// Asks on the terminal; the caller has seen that there is one ([`Printer::can_ask`]). Ctrl-C gives it up.
pub async fn ask(printer: Printer, question: &str) -> Result<SecretString, Failure> {
    // Before the question: whoever sees it may answer with Ctrl-C at once.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| cannot(&e))?;
    let quiet = Quiet::begin().map_err(|e| cannot(&e))?;
    printer.question(question);
    let (to, line) = tokio::sync::oneshot::channel();
    // A thread of its own: a read of a terminal cannot be called off, and the runtime would wait for its end.
    std::thread::spawn(move || to.send(line_of(io::stdin().lock())));
    let line = tokio::select! {
        line = line => line.map_err(io::Error::other).flatten().map_err(|e| cannot(&e)),
        _ = interrupt.recv() => {
            printer.question("\n");
            Err(Failure::failed("given up: nothing was sent"))
        }
    };
    drop(quiet);
    line
}

fn line_of(input: impl BufRead) -> io::Result<SecretString> {
    let mut line = String::new();
    input.take(MAX).read_line(&mut line)?;
    let end = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(end);
    Ok(line.into())
}

fn cannot(e: &io::Error) -> Failure {
    // Without what was read.
    Failure::failed("cannot read from the terminal").because(e.to_string())
}

/// The terminal of standard input without echo; as it was again when dropped.
struct Quiet {
    before: Termios,
}

impl Quiet {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        // The line break is shown: what comes next stands on a line of its own.
        quiet.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Now, &quiet)?;
        Ok(Self { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Nothing is left to be done where the terminal itself is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
