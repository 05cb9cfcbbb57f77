//! `terreau operations`: watches or shows an operation.

use super::args::{OperationArgs, OperationsCommand};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Ran, harmless};
use super::follow::{self, Form};
use super::printer::{table, when};
use super::waiting;
use crate::model::wire::OperationView;

/// Runs it.
pub fn run(command: &OperationsCommand, cx: &Context) -> Ran {
    let client = cx.client()?;
    match command {
        OperationsCommand::Follow(args) => {
            let form = if args.json { Form::Json } else { Form::Words };
            waiting(follow::follow(cx, &client, args.id.as_str(), form))
        }
        OperationsCommand::Show(args) => waiting(async {
            let view: OperationView = client.get(&format!("/v1/operations/{}", args.id)).await?;
            show(args, &view, cx)
        }),
    }
}

fn show(args: &OperationArgs, view: &OperationView, cx: &Context) -> Ran {
    if args.json {
        cx.printer.json(view)?;
        return Ok(ExitStatus::Done);
    }
    let end = view.end.as_ref().map_or("under way", |e| e.summary.as_str());
    cx.printer.data(harmless(&format!(
        "{} of {} by {}, {}",
        view.verb,
        view.app,
        view.actor,
        when(&view.at)
    )))?;
    let rows: Vec<Vec<String>> =
        view.steps.iter().map(|s| vec![s.n.to_string(), harmless(&s.state), harmless(&s.target)]).collect();
    if !rows.is_empty() {
        cx.printer.data(table(&["STEP", "STATE", "WHAT"], &rows))?;
    }
    cx.printer.data(harmless(end))?;
    Ok(ExitStatus::Done)
}
