//! `terreau logs`: what instances wrote, each line with its instance before it; or the bytes exactly as they wrote them.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;

use super::args::LogsArgs;
use super::client::{app_path, escaped};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::printer::Printer;
use super::{local, ps, waiting};
use crate::model::wire::LogLine;

/// One for each instance, as long as they last.
const COLOURS: [AnsiColor; 10] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
    AnsiColor::BrightYellow,
    AnsiColor::BrightGreen,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightBlue,
];

/// Runs it.
pub fn run(args: &LogsArgs, cx: &Context) -> Ran {
    let now = jiff::Timestamp::now();
    if let (Some(since), Some(until)) = (args.since(now), args.until(now))
        && since >= until
    {
        return Err(Failure::usage("--since is not before --until: no line can lie between them"));
    }
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    // An app may be silent for hours.
    let client = cx.client()?.patient()?;
    waiting(async {
        let run = match &args.run {
            Some(run) => Some(ps::run_named(&client, &app, run).await?),
            None => None,
        };
        let args = &LogsArgs { run, ..args.clone() };
        let response = client.stream(&app_path(&app, &query(args)), "*/*").await.map_err(|failure| {
            local::or_process(failure, args.app.app.as_ref(), |process, _| {
                format!("did you mean `terreau logs -p {process}`?")
            })
        })?;
        let mut body = response.bytes_stream();
        let mut board = Board::new(cx.printer);
        let mut is_silent = true;
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|e| client.away(&e))?;
            is_silent = is_silent && bytes.is_empty();
            if args.is_raw() || args.json {
                cx.printer.bytes(&bytes)?;
            } else {
                board.feed(&bytes)?;
            }
        }
        if is_silent {
            let (words, more) = asked(args);
            cx.printer.say(format!("no lines of {app}{words}"));
            if let Some(more) = more {
                cx.printer.hint(more);
            }
            if !args.previous && args.run.is_none() {
                cx.printer
                    .hint(format!("`terreau logs {app} --previous` shows what its ended instances wrote"));
            }
        }
        Ok(ExitStatus::Done)
    })
}

/// By what the lines were chosen, in words, and how to see more of them.
fn asked(args: &LogsArgs) -> (String, Option<String>) {
    let said = |text: &str| {
        text.parse::<jiff::Timestamp>().map_or_else(|_| format!("{text} ago"), |_| text.to_owned())
    };
    let mut words = String::new();
    match (&args.since, &args.until) {
        (Some(since), Some(until)) => {
            let _ = write!(words, " from {} to {}", said(since), said(until));
        }
        (Some(since), None) if since.parse::<jiff::Timestamp>().is_err() => {
            let _ = write!(words, " in the last {since}");
        }
        (Some(since), None) => {
            let to_come = args.since(jiff::Timestamp::now()) > Some(jiff::Timestamp::now());
            let _ = write!(words, " since {since}{}", if to_come { ", which is still to come" } else { "" });
        }
        (None, Some(until)) => {
            let _ = write!(words, " before {}", said(until));
        }
        (None, None) => {}
    }
    if let Some(pattern) = &args.grep {
        let _ = write!(words, " that match {pattern:?}");
    }
    let mut left_out = Vec::new();
    if args.since.is_some() {
        left_out.push("without --since, or with a longer one as --since 1h, it looks further back");
    }
    if args.until.is_some() {
        left_out.push("without --until it looks up to now");
    }
    (words, (!left_out.is_empty()).then(|| left_out.join("; ")))
}

fn query(args: &LogsArgs) -> String {
    let form = if args.is_raw() { "raw" } else { "lines" };
    let mut query = format!("/logs?stream={}&format={form}", args.stream.as_str());
    // Writing to a String cannot fail.
    let mut add = |name: &str, value: &str| {
        let _ = write!(query, "&{name}={}", escaped(value));
    };
    if args.follow {
        add("follow", "true");
    }
    if args.previous {
        add("previous", "true");
    }
    if let Some(lines) = args.tail {
        add("tail", &lines.to_string());
    }
    let process = args.process.as_ref().map(ToString::to_string);
    let texts = [
        ("since", &args.since),
        ("until", &args.until),
        ("grep", &args.grep),
        ("process", &process),
        ("alloc", &args.alloc),
        ("run", &args.run),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            add(name, value);
        }
    }
    query
}

/// Writes lines for people.
pub(super) struct Board {
    printer: Printer,
    rest: Vec<u8>,
    instances: Vec<String>,
    colours: bool,
    is_terminal: bool,
}

impl Board {
    pub(super) fn new(printer: Printer) -> Self {
        let (colours, is_terminal) = (printer.paints_data(), printer.shows_data());
        Self { printer, rest: Vec::new(), instances: Vec::new(), colours, is_terminal }
    }

    /// Takes lines of JSON, however they are cut.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = memchr::memrchr(b'\n', &self.rest) else { return Ok(()) };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        let mut out = Vec::with_capacity(whole.len());
        for line in whole.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let line = serde_json::from_slice(line).map_err(|e| {
                Failure::failed("the server told a line in words that this terreau does not know")
                    .because(e.to_string())
            })?;
            self.line(&line, &mut out);
        }
        self.printer.bytes(&out)
    }

    fn line(&mut self, line: &LogLine<'_>, out: &mut Vec<u8>) {
        let mut who = harmless(&line.instance);
        if let Some(task) = &line.task {
            let _ = write!(who, "/{}", harmless(task));
        }
        if let Some(note) = &line.note {
            self.printer.warn(format!("{who}: {}", harmless(note)));
            return;
        }
        let place = self.instances.iter().position(|i| *i == line.alloc).unwrap_or_else(|| {
            self.instances.push(line.alloc.clone().into_owned());
            self.instances.len() - 1
        });
        if self.colours {
            let style = Style::new().fg_color(Some(COLOURS[place % COLOURS.len()].into()));
            who = format!("{style}{who}{style:#}");
        }
        out.extend_from_slice(who.as_bytes());
        out.extend_from_slice(b" | ");
        let bytes = match (&line.line, &line.bytes) {
            (Some(text), _) => text.as_bytes().to_vec(),
            (None, Some(bytes)) => STANDARD.decode(bytes.as_bytes()).unwrap_or_default(),
            (None, None) => Vec::new(),
        };
        if self.is_terminal {
            out.extend_from_slice(tame(&String::from_utf8_lossy(&bytes), self.colours).as_bytes());
        } else {
            out.extend_from_slice(&bytes);
        }
        out.push(b'\n');
    }
}

/// An app's line for a terminal: its colours stay (where colours are wanted) and end with it; nothing else in it steers
/// the terminal.
fn tame(line: &str, colours: bool) -> String {
    if !line.contains(|c: char| c.is_control() && c != '\t') {
        return line.to_owned();
    }
    let mut out = String::with_capacity(line.len() + 4);
    let mut rest = line;
    let mut is_painted = false;
    while let Some(at) = rest.find('\u{1b}') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(inner) = rest.strip_prefix('[') else { continue };
        let end = inner
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, ';' | ':' | '?')))
            .unwrap_or(inner.len());
        if inner[end..].starts_with('m') && colours {
            let _ = write!(out, "\u{1b}[{}m", &inner[..end]);
            is_painted = true;
        }
        let last = inner[end..].chars().next().map_or(0, char::len_utf8);
        rest = &inner[end + last..];
    }
    out.push_str(rest);
    out.retain(|c| matches!(c, '\t' | '\u{1b}') || !c.is_control());
    if is_painted {
        out.push_str("\u{1b}[0m");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_apps_colours_stay_and_nothing_else_steers_the_terminal() {
        assert_eq!(tame("plain\ttext é", true), "plain\ttext é");
        assert_eq!(tame("\u{1b}[31mred\u{1b}[0m", true), "\u{1b}[31mred\u{1b}[0m\u{1b}[0m");
        assert_eq!(tame("\u{1b}[31mred", false), "red");
        assert_eq!(tame("a\u{1b}[2Jb\u{1b}]0;title\u{7}c\rd\u{9b}31me\u{1b}", true), "ab]0;titlecd31me");
        assert_eq!(tame("x\u{1b}[", true), "x");
    }
}
