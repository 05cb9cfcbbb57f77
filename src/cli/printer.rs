//! The only place that writes to the terminal: data on stdout, everything else on stderr.
//!
//! Colours obey `NO_COLOR`, `CLICOLOR_FORCE`, `TERM=dumb` and pipes (`anstream` decides). Never prints a secret: it is
//! given none.

use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::failure::{Failure, harmless};

/// For what is wrong.
pub const RED: Style = AnsiColor::Red.on_default().bold();
/// For what needs attention.
pub const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
/// For what is well.
pub const GREEN: Style = AnsiColor::Green.on_default().bold();
/// For what to do next.
pub const CYAN: Style = AnsiColor::Cyan.on_default().bold();
/// For what matters less.
pub const DIM: Style = Style::new().dimmed();

/// Whether messages that are no errors are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    /// Progress and messages.
    Normal,
    /// Errors only.
    Quiet,
}

/// Where a command writes.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    talk: Talk,
}

impl Printer {
    /// A printer.
    pub fn new(talk: Talk) -> Self {
        Self { talk }
    }

    /// One line of data on stdout.
    pub fn data(&self, line: impl Display) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        stdout_result(writeln!(out, "{line}").and_then(|()| out.flush()))
    }

    /// A document on stdout, as it is; no line break is added.
    pub fn document(&self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Bytes on stdout, exactly.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        stdout_result(out.write_all(bytes).and_then(|()| out.flush()))
    }

    /// Bytes on stderr, exactly: a program's own complaints.
    pub fn complaints(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut err = io::stderr().lock();
        stdout_result(err.write_all(bytes).and_then(|()| err.flush()))
    }

    /// JSON on stdout, for programs.
    pub fn json<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| Failure::failed("cannot write the answer as JSON").because(e.to_string()))?;
        self.document(&(text + "\n"))
    }

    /// True where data goes to a terminal: what an app wrote must not steer it.
    pub fn shows_data(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// True where data may be painted.
    pub fn paints_data(&self) -> bool {
        anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
    }

    /// A message on stderr.
    pub fn say(&self, message: impl Display) {
        if self.talk == Talk::Normal {
            to_stderr(&format!("{message}\n"));
        }
    }

    /// A warning on stderr; quiet does not silence it.
    pub fn warn(&self, message: impl Display) {
        to_stderr(&format!("{YELLOW}warning{YELLOW:#}: {message}\n"));
    }

    /// What to do next, on stderr.
    pub fn hint(&self, hint: impl Display) {
        if self.talk == Talk::Normal {
            to_stderr(&format!("{CYAN}hint{CYAN:#}: {hint}\n"));
        }
    }

    /// Why a command failed, on stderr, in one write.
    pub fn failure(&self, failure: &Failure) {
        if failure.is_silent() {
            return;
        }
        // Writing to a String cannot fail.
        let mut text = format!("{RED}error{RED:#}: {}\n", harmless(&failure.message));
        for cause in &failure.causes {
            let _ = writeln!(text, "  {DIM}why:{DIM:#} {}", harmless(cause).replace('\n', "\n       "));
        }
        for detail in &failure.details {
            let _ = writeln!(text, "{}", detail.trim_end_matches('\n'));
        }
        for hint in &failure.hints {
            let _ = writeln!(text, "{CYAN}hint{CYAN:#}: {}", harmless(hint));
        }
        to_stderr(&text);
    }

    /// True where a person watches stderr: progress may move.
    pub fn is_live(&self) -> bool {
        self.talk == Talk::Normal
            && io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
    }

    /// True where stdout is a screen that can be drawn again.
    pub fn is_screen(&self) -> bool {
        io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
    }

    /// Draws a screen again from its top; what stood there goes.
    pub fn screen(&self, text: &str) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        let lines = text.replace('\n', "\u{1b}[K\n");
        stdout_result(write!(out, "\u{1b}[H{lines}\u{1b}[J").and_then(|()| out.flush()))
    }

    /// True where a person can be asked.
    pub fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// A question on stderr, with the cursor after it.
    pub fn question(&self, question: &str) {
        to_stderr(question);
    }

    /// Asks on stderr and reads one line; `None` at the end of input.
    pub fn ask(&self, question: &str) -> Result<Option<String>, Failure> {
        self.question(question);
        let mut line = String::new();
        match io::stdin().read_line(&mut line) {
            Ok(0) => {
                to_stderr("\n");
                Ok(None)
            }
            Ok(_) => Ok(Some(line.trim_end_matches(['\n', '\r']).to_owned())),
            Err(e) => Err(Failure::failed("cannot read the answer").because(e.to_string())),
        }
    }

    /// Asks for a yes; without a terminal there is none.
    pub fn confirmed(&self, question: &str, is_yes: impl Fn(&str) -> bool) -> Result<(), Failure> {
        match self.ask(question)? {
            Some(answer) if is_yes(answer.trim()) => Ok(()),
            _ => Err(Failure::failed("given up: nothing was changed").hint("--yes does it without asking")),
        }
    }
}

/// A time to the second, in this machine's zone; as it came where it is none.
pub fn when(rfc3339: &str) -> String {
    match rfc3339.parse::<jiff::Timestamp>() {
        Ok(t) => t
            .to_zoned(jiff::tz::TimeZone::try_system().unwrap_or(jiff::tz::TimeZone::UTC))
            .strftime("%Y-%m-%d %H:%M:%S %Z")
            .to_string(),
        Err(_) => harmless(rfc3339),
    }
}

/// How long ago a time was, in its largest unit and the next: `3d 4h`, `12m 5s`.
pub fn age(rfc3339: &str, now: jiff::Timestamp) -> String {
    let Ok(at) = rfc3339.parse::<jiff::Timestamp>() else { return harmless(rfc3339) };
    let seconds = now.duration_since(at).as_secs().max(0);
    let (d, h, m, s) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => format!("{m}m {s}s"),
        (0, ..) => format!("{h}h {m}m"),
        _ => format!("{d}d {h}h"),
    }
}

/// A table without lines: columns padded to their widest cell, the last one left as it is.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| -> String {
        let mut out = String::new();
        for (cell, w) in cells.iter().zip(&widths) {
            let _ = write!(out, "{cell:<w$}  ");
        }
        out.trim_end().to_owned()
    };
    let head = line(header.to_vec());
    let mut lines = vec![format!("{DIM}{head}{DIM:#}")];
    lines.extend(rows.iter().map(|r| line(r.iter().map(String::as_str).collect())));
    lines.join("\n")
}

fn to_stderr(text: &str) {
    let mut err = anstream::stderr().lock();
    // Where nobody can read the message, nothing is left to be done about it.
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

fn stdout_result(r: io::Result<()>) -> Result<(), Failure> {
    r.map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => Failure::closed_pipe(),
        _ => Failure::failed("cannot write to standard output").because(e.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_two_units() {
        let now: jiff::Timestamp = "2026-01-05T12:00:00Z".parse().unwrap();
        let of = |t: &str| age(t, now);
        assert_eq!(of("2026-01-05T11:59:58.5Z"), "1s");
        assert_eq!(of("2026-01-05T11:47:55Z"), "12m 5s");
        assert_eq!(of("2026-01-02T08:00:00Z"), "3d 4h");
        assert_eq!(of("2026-01-05T12:00:09Z"), "0s", "clocks differ");
    }

    #[test]
    fn columns_line_up() {
        let t = table(&["A", "NAME"], &[vec!["1".into(), "x".into()], vec!["100".into(), "yy".into()]]);
        assert_eq!(anstream::adapter::strip_str(&t).to_string(), "A    NAME\n1    x\n100  yy");
    }
}
