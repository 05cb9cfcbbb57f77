//! `terreau operations`: lists, watches, shows and cancels changes.

use http::Method;

use super::args::{OperationArgs, OperationsCommand, OperationsListArgs, WhichOperation};
use super::client::{Client, escaped};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::follow::{self, Form};
use super::printer::{Printer, Talk, table, when};
use super::{local, waiting};
use crate::model::Placement;
use crate::model::head::Outcome;
use crate::model::wire::{Accepted, OperationEnd, OperationLine, OperationView, Operations, Waits};

/// Above a list.
const HEADER: [&str; 6] = ["OPERATION", "APP", "WHAT", "WHO", "SINCE", "STATE"];
/// Among how many that have ended an id's beginning is looked for: as many as a server lists.
const LOOKED_AT: usize = 200;
/// How many that have ended are shown where none is under way.
const SHOWN: usize = 5;

/// Runs it.
pub fn run(command: &OperationsCommand, cx: &Context) -> Ran {
    let client = cx.client()?;
    match command {
        OperationsCommand::List(args) => waiting(list(args, &client, cx)),
        OperationsCommand::Follow(args) => waiting(async {
            let id = meant(args, &client, cx.printer).await?;
            // What cannot be followed at all is said at once; only a connection that breaks later is made again.
            client.get::<OperationView>(&format!("/v1/operations/{id}")).await?;
            follow::follow(cx, &client, &id, form(args)).await
        }),
        OperationsCommand::Show(args) => waiting(async {
            // What is shown says which it is.
            let id = meant(args, &client, Printer::new(Talk::Quiet)).await?;
            let view: OperationView = client.get(&format!("/v1/operations/{id}")).await?;
            show(args, &view, cx)
        }),
        OperationsCommand::Cancel(args) => waiting(cancel(args, &client, cx)),
        OperationsCommand::Abandon(args) => waiting(abandon(&args.which, &client, cx)),
    }
}

/// The whole id of the operation that is meant: the one named, else the one that is under way on the app.
async fn meant(args: &OperationArgs, client: &Client, printer: Printer) -> Result<String, Failure> {
    let word = match (&args.which, &args.app.app) {
        (Some(WhichOperation::Whole(_) | WhichOperation::Beginning(_)), Some(app)) => {
            return Err(Failure::usage(format!(
                "an id says already which operation: --app {app} is too much"
            )));
        }
        (Some(WhichOperation::Whole(id)), None) => return Ok(id.to_string()),
        (Some(WhichOperation::Beginning(beginning)), None) => return whole(beginning, client).await,
        (Some(WhichOperation::Of(app)), _) => Some(app),
        (None, _) => None,
    };
    let app = local::app(local::one_of(word, args.app.app.as_ref())?, printer)?;
    open_one(&app, client, printer).await
}

/// The one operation that is under way on an app.
async fn open_one(app: &Placement, client: &Client, printer: Printer) -> Result<String, Failure> {
    let all: Operations =
        client.get(&format!("/v1/operations?ended={SHOWN}&app={}", escaped(&app.to_string()))).await?;
    match all.open.as_slice() {
        [one] => {
            printer.say(harmless(&format!(
                "{} of {} by {}, operation {}",
                one.verb, one.app, one.actor, one.id
            )));
            Ok(escaped(&one.id))
        }
        [] => {
            let failure = Failure::new(ExitStatus::NotFound, format!("nothing is under way on {app}"));
            if all.ended.is_empty() {
                return Err(failure);
            }
            let rows: Vec<Vec<String>> = all.ended.iter().map(row).collect();
            Err(failure
                .painted(table(&HEADER, &rows))
                .hint("these have ended; `terreau operations show ID` shows one of them"))
        }
        several => {
            let rows: Vec<Vec<String>> = several.iter().map(row).collect();
            let what = format!("{} operations are under way on {app}", several.len());
            Err(Failure::usage(what).painted(table(&HEADER, &rows)).hint("name one of them by its id"))
        }
    }
}

/// The whole id of the one operation that is meant, among those that the server lists for this person: no other can be.
async fn whole(beginning: &str, client: &Client) -> Result<String, Failure> {
    let all: Operations = client.get(&format!("/v1/operations?ended={LOOKED_AT}")).await?;
    let found: Vec<&OperationLine> =
        all.open.iter().chain(&all.ended).filter(|o| o.id.starts_with(beginning)).collect();
    match found.as_slice() {
        // Of an answer: an id goes into a path.
        [one] => Ok(escaped(&one.id)),
        [] => Err(Failure::new(ExitStatus::NotFound, format!("there is no operation {beginning}…")).hint(
            format!("`terreau operations list` lists them; of one older than the last {LOOKED_AT} the whole id is wanted"),
        )),
        several => {
            let rows: Vec<Vec<String>> = several.iter().take(10).map(|o| row(o)).collect();
            let what = format!("{} operations begin with {beginning}", several.len());
            Err(Failure::usage(what).painted(table(&HEADER, &rows)).hint("write more of the id"))
        }
    }
}

fn form(args: &OperationArgs) -> Form {
    if args.json { Form::Json } else { Form::Words }
}

async fn list(args: &OperationsListArgs, client: &Client, cx: &Context) -> Ran {
    let mut path = format!("/v1/operations?ended={}", args.ended);
    if let Some(app) = &args.app.app {
        path = format!("{path}&app={}", escaped(&app.to_string()));
    }
    let all: Operations = client.get(&path).await?;
    if args.json {
        cx.printer.json(&all)?;
        return Ok(ExitStatus::Done);
    }
    let rows: Vec<Vec<String>> = all.open.iter().chain(&all.ended).map(row).collect();
    if rows.is_empty() {
        cx.printer.say("nothing is under way, and nothing has ended yet");
        return Ok(ExitStatus::Done);
    }
    cx.printer.data(table(&HEADER, &rows))?;
    if let Some(open) = all.open.first() {
        cx.printer.hint(follow::how_to(&harmless(&open.id)));
    }
    Ok(ExitStatus::Done)
}

fn row(o: &OperationLine) -> Vec<String> {
    let state = match (&o.step, &o.turned, &o.summary) {
        (Some(step), Some(why), _) => format!("turning back ({why}): {step}"),
        (Some(step), None, _) => format!("under way: {step}"),
        (None, _, Some(summary)) => summary.clone(),
        (None, ..) => String::new(),
    };
    vec![
        harmless(&o.id),
        harmless(&o.app),
        harmless(&o.verb),
        harmless(&o.actor),
        when(&o.at),
        harmless(&state).replace('\n', " "),
    ]
}

fn show(args: &OperationArgs, view: &OperationView, cx: &Context) -> Ran {
    if args.json {
        cx.printer.json(view)?;
        return Ok(ExitStatus::Done);
    }
    cx.printer.data(harmless(&format!(
        "{} of {} by {}, {}, operation {}",
        view.verb,
        view.app,
        view.actor,
        when(&view.at),
        view.id
    )))?;
    let rows: Vec<Vec<String>> =
        view.steps.iter().map(|s| vec![s.n.to_string(), harmless(&s.state), harmless(&s.target)]).collect();
    if !rows.is_empty() {
        cx.printer.data(table(&["STEP", "STATE", "WHAT"], &rows))?;
    }
    if let (Some(why), None) = (&view.turned, &view.end) {
        cx.printer.data(format!("turning back: {}", harmless(why)))?;
    }
    match &view.end {
        None => {
            cx.printer.data("under way")?;
            waits(view.waits.as_ref(), &view.id).into_iter().try_for_each(|line| cx.printer.data(line))?;
        }
        Some(end) => {
            cx.printer.data(harmless(&end.summary))?;
            for line in end.why.iter().flat_map(|w| w.lines()) {
                cx.printer.data(format!("  {}", harmless(line)))?;
            }
        }
    }
    Ok(ExitStatus::Done)
}

/// What a change that is under way waits for, a line each, and until when.
pub fn waits(waits: Option<&Waits>, id: &str) -> Vec<String> {
    let Some(it) = waits else { return Vec::new() };
    let mut lines: Vec<String> = it.why.iter().map(|w| format!("  waits: {}", harmless(w))).collect();
    if let Some(until) = &it.until {
        lines.push(format!(
            "  given up at {} by the app's healthy deadline; terreau operations cancel {} gives it up at once",
            when(until),
            harmless(id)
        ));
    }
    lines
}

/// Ends it where it stands, and says what is left.
async fn abandon(args: &OperationArgs, client: &Client, cx: &Context) -> Ran {
    let Some(end) = ordered("abandon", args, client, cx).await? else { return Ok(ExitStatus::Left) };
    if end.outcome != Outcome::Abandoned {
        return Err(Failure::failed(format!("it was over before: {}", end.summary)));
    }
    cx.printer.say(harmless(&end.summary));
    end.why.iter().for_each(|line| cx.printer.say(format!("  {}", harmless(line))));
    Ok(ExitStatus::Done)
}

/// Cancels, and watches it turn back. Done is what was asked for: that nothing has changed, or that a rollout was given up.
async fn cancel(args: &OperationArgs, client: &Client, cx: &Context) -> Ran {
    let Some(end) = ordered("cancel", args, client, cx).await? else { return Ok(ExitStatus::Left) };
    match end.outcome {
        Outcome::Undone | Outcome::Reverted | Outcome::Failed => {
            cx.printer.say(harmless(&end.summary));
            Ok(ExitStatus::Done)
        }
        _ => Err(Failure::failed(format!("it was over before: {}", end.summary))),
    }
}

/// Gives an order to an operation, and watches what becomes of it; `None` where the person left.
async fn ordered(
    order: &str,
    args: &OperationArgs,
    client: &Client,
    cx: &Context,
) -> Result<Option<OperationEnd>, Failure> {
    let path = format!("/v1/operations/{}/{order}", meant(args, client, cx.printer).await?);
    let it: Accepted = client.read(client.send(client.request(Method::POST, &path)).await?).await?;
    // What was told before is known to who follows it.
    let mut course = follow::of_operation(&it.operation);
    course.path += "?from_now=true";
    let end = follow::to_its_end(cx, client, &course).await?;
    if let (Some(end), true) = (&end, args.json) {
        cx.printer.json(end)?;
    }
    Ok(end)
}
