//! Follows an operation by its events until it ends. A connection that breaks is made again where it stopped, so no
//! timeout of anything in between ends the watching; Ctrl-C does, and leaves the operation alone.

use std::convert::Infallible;
use std::time::Duration;

use futures::StreamExt;
use http::Method;
use http::header::ACCEPT;
use indicatif::{ProgressBar, ProgressStyle};

use super::client::Client;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::printer::{DIM, GREEN, Printer, RED, YELLOW};
use super::shapes::Ended;
use super::sse;
use crate::model::head::Outcome;
use crate::model::wire::{Accepted, OperationEnd};
use crate::operation::Progress;

/// How long a server may be away before the watching is given up. The operation goes on with another agent.
const PATIENCE: Duration = Duration::from_mins(5);

/// What a command does once its change is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Watch it to its end.
    Follow,
    /// Say how to, and return.
    Detach,
}

/// Whether what is said at the end is for people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Words.
    Words,
    /// JSON.
    Json,
}

/// Goes on from an accepted change.
pub async fn accepted(cx: &Context, client: &Client, it: &Accepted, then: Then, form: Form) -> Ran {
    if then == Then::Follow {
        return follow(cx, client, &it.operation, form).await;
    }
    match form {
        Form::Json => cx.printer.json(it)?,
        Form::Words => cx.printer.data(harmless(&it.operation))?,
    }
    cx.printer.hint(how_to(&it.operation));
    Ok(ExitStatus::Done)
}

/// How to follow an operation.
pub fn how_to(id: &str) -> String {
    format!("follow it with `terreau operations follow {id}`")
}

/// Watches an operation until it ends.
pub async fn follow(cx: &Context, client: &Client, id: &str, form: Form) -> Ran {
    walk(cx, client, &of_operation(id), form).await
}

/// The course of an operation.
pub fn of_operation(id: &str) -> Course {
    Course {
        path: format!("/v1/operations/{id}/events"),
        goes_on: "the operation goes on".to_owned(),
        how_to: format!("{}, or give it up with `terreau operations cancel {id}`", how_to(id)),
        named: Named::Operation(id.to_owned()),
    }
}

/// What is followed, by its id.
#[derive(Debug, Clone)]
pub enum Named {
    /// An operation.
    Operation(String),
    /// A change of one step.
    Change(Option<String>),
}

/// Something that goes on, told by events.
#[derive(Debug, Clone)]
pub struct Course {
    /// Where its events are.
    pub path: String,
    /// What is said to who stops watching.
    pub goes_on: String,
    /// How to see more of it later.
    pub how_to: String,
    /// What it is called in JSON, and its id.
    pub named: Named,
}

/// Watches something until it ends. Ctrl-C stops the watching and nothing else.
pub async fn walk(cx: &Context, client: &Client, course: &Course, form: Form) -> Ran {
    let Some(end) = to_its_end(cx, client, course).await? else { return Ok(ExitStatus::Left) };
    if form == Form::Json {
        let (operation, change) = match &course.named {
            Named::Operation(id) => (Some(id.clone()), None),
            Named::Change(id) => (None, id.clone()),
        };
        cx.printer.json(&Ended {
            operation,
            change,
            outcome: end.outcome,
            summary: end.summary.clone(),
            url: end.url.clone(),
            why: end.why.clone(),
        })?;
    }
    if end.outcome == Outcome::Done {
        cx.printer.say(format!("{GREEN}done{GREEN:#}: {}", harmless(&end.summary)));
        if let (Some(url), Form::Words) = (&end.url, form) {
            cx.printer.data(harmless(url))?;
        }
        return Ok(ExitStatus::Done);
    }
    if end.outcome == Outcome::Held {
        cx.printer.say(format!("{YELLOW}held{YELLOW:#}: {}", harmless(&end.summary)));
        cx.printer.hint("let them go on with `terreau deploy --promote`, or take them back with `terreau deploy --revert`");
        return Ok(ExitStatus::Done);
    }
    let failure = Failure::failed(end.summary);
    Err(match end.why {
        Some(why) => failure.detail(indented(&why)),
        None => failure,
    })
}

/// Shows how something goes on, and gives its end; `None` where the person has left (and was told how to come back).
pub async fn to_its_end(
    cx: &Context,
    client: &Client,
    course: &Course,
) -> Result<Option<OperationEnd>, Failure> {
    let mut board = Board::new(cx.printer);
    let end = tokio::select! {
        end = watch(client, course, &mut board) => end?,
        _ = tokio::signal::ctrl_c() => {
            board.close();
            cx.printer.say(format!("no longer watching; {}", course.goes_on));
            cx.printer.hint(&course.how_to);
            return Ok(None);
        }
    };
    board.close();
    Ok(Some(end))
}

/// Waits until an operation has ended, and says nothing of its course but `news`, once there are any; at once where it
/// cannot be followed (a change of one step, or one that has just ended).
pub async fn until_over(
    cx: &Context,
    client: &Client,
    (id, what): (&str, &str),
    news: impl Future<Output = Vec<String>>,
) -> Result<(), Failure> {
    let mut board = Board::mute(cx.printer, what);
    let bar = board.bar.clone();
    let telling = async {
        for text in news.await {
            line(cx.printer, bar.as_ref(), &text);
        }
        std::future::pending::<Infallible>().await
    };
    let course = of_operation(id);
    let waited = tokio::select! {
        waited = watch(client, &course, &mut board) => waited,
        never = telling => match never {},
    };
    board.close();
    match waited {
        Err(failure) if failure.status != ExitStatus::NotFound => Err(failure),
        _ => Ok(()),
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|l| format!("  {l}")).collect::<Vec<_>>().join("\n")
}

/// Reads events until the last one, over as many connections as it takes.
async fn watch(client: &Client, course: &Course, board: &mut Board) -> Result<OperationEnd, Failure> {
    let mut last: Option<String> = None;
    let mut away_since: Option<tokio::time::Instant> = None;
    let mut pause = Duration::from_millis(200);
    loop {
        let mut request = client.request(Method::GET, &course.path).header(ACCEPT, "text/event-stream");
        if let Some(id) = &last {
            request = request.header("last-event-id", id);
        }
        let broken = match client.send(request).await {
            Ok(response) => {
                let mut reader = sse::Reader::default();
                let mut body = response.bytes_stream();
                loop {
                    let bytes = match body.next().await {
                        Some(Ok(bytes)) => bytes,
                        Some(Err(e)) => break client.away(&e),
                        None => break Failure::new(ExitStatus::EngineAway, "the server ended the stream"),
                    };
                    (away_since, pause) = (None, Duration::from_millis(200));
                    for event in
                        reader.feed(&bytes).map_err(|e| Failure::failed(e).because("an event stream"))?
                    {
                        last.clone_from(&event.id);
                        if let Some(end) = heard(&event, board)? {
                            return Ok(end);
                        }
                    }
                }
            }
            Err(failure) if failure.status == ExitStatus::EngineAway => failure,
            Err(failure) => return Err(failure),
        };
        let since = *away_since.get_or_insert_with(tokio::time::Instant::now);
        if since.elapsed() > PATIENCE {
            return Err(broken.because(&course.goes_on).hint(&course.how_to));
        }
        board.waiting(&broken.message);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

fn heard(event: &sse::Event, board: &mut Board) -> Result<Option<OperationEnd>, Failure> {
    match event.name.as_str() {
        "end" => serde_json::from_str(&event.data).map(Some).map_err(|e| {
            Failure::failed("the server told the end in words that this terreau does not know")
                .because(e.to_string())
        }),
        "progress" => {
            // Kinds of progress that a newer server tells are passed over.
            if let Ok(progress) = serde_json::from_str::<Progress>(&event.data) {
                board.show(&progress);
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// Says a line above what moves.
fn line(printer: Printer, bar: Option<&ProgressBar>, text: &str) {
    match bar {
        Some(bar) => bar.suspend(|| printer.say(text)),
        None => printer.say(text),
    }
}

/// Progress as people see it: a moving line on a terminal, one plain line a step in a pipe.
struct Board {
    printer: Printer,
    bar: Option<ProgressBar>,
    waiting: String,
    /// Whether the course is somebody else's: then only a spinner moves.
    is_mute: bool,
}

impl Board {
    fn new(printer: Printer) -> Self {
        let bar = printer.is_live().then(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { printer, bar, waiting: String::new(), is_mute: false }
    }

    /// A board that only shows that it waits.
    fn mute(printer: Printer, what: &str) -> Self {
        let mut board = Self::new(printer);
        board.is_mute = true;
        if let Some(bar) = &board.bar {
            bar.set_message(format!("waiting: {}", harmless(what)));
        }
        board
    }

    fn line(&self, text: &str) {
        line(self.printer, self.bar.as_ref(), text);
    }

    fn show(&mut self, progress: &Progress) {
        if self.is_mute {
            return;
        }
        match progress {
            Progress::Step { n, of, what, state } => {
                let what = harmless(what);
                match (state.as_str(), &self.bar) {
                    ("begun", Some(bar)) => bar.set_message(format!("[{n}/{of}] {what}")),
                    ("begun", None) => self.line(&format!("[{n}/{of}] {what}")),
                    ("done", Some(_)) => self.line(&format!("[{n}/{of}] {GREEN}done{GREEN:#} {what}")),
                    ("undone", _) => self.line(&format!("[{n}/{of}] {YELLOW}undone{YELLOW:#} {what}")),
                    _ => {}
                }
            }
            Progress::Waiting { why } => self.waiting(why),
            Progress::Note { text } => self.line(&format!("  {DIM}{}{DIM:#}", harmless(text))),
            Progress::Turned { why } => {
                self.line(&format!("{RED}turning back{RED:#}: {}", harmless(why)));
            }
            Progress::End { .. } => {}
        }
    }

    /// Says what is waited for, once.
    fn waiting(&mut self, why: &str) {
        if self.waiting != why && !self.is_mute {
            why.clone_into(&mut self.waiting);
            self.line(&format!("{YELLOW}waiting{YELLOW:#}: {}", harmless(why)));
        }
    }

    fn close(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.close();
    }
}
