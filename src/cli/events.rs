//! `terreau events`: what happened to an app.

use futures::StreamExt;

use super::args::EventsArgs;
use super::client::{app_path, problem_failure};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::printer::{DIM, when};
use super::{local, sse, waiting};
use crate::model::wire::{EventKind, EventView, Events, Problem};

/// Runs it.
pub fn run(args: &EventsArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    let path = app_path(&app, &format!("/events?tail={}&follow={}", args.tail, args.follow));
    waiting(async {
        if args.atom {
            let path = app_path(&app, "/events.atom");
            let response = client.stream(&path, "application/atom+xml").await?;
            let text = response.text().await.map_err(|e| client.away(&e))?;
            cx.printer.document(&text)?;
            cx.printer.hint(format!(
                "a feed reader subscribes to {}{path} with any name, and as the password a token of \
                 `terreau tokens create feed --app {app} --verb read --expires 52w`",
                client.server()
            ));
            return Ok(ExitStatus::Done);
        }
        if !args.follow {
            let found: Events = client.get(&path).await?;
            if args.json {
                cx.printer.json(&found)?;
            } else {
                found.events.iter().try_for_each(|e| cx.printer.data(line(e)))?;
            }
            return Ok(ExitStatus::Done);
        }
        let response = client.stream(&path, "text/event-stream").await?;
        let (mut body, mut reader) = (response.bytes_stream(), sse::Reader::default());
        loop {
            let bytes = tokio::select! {
                next = body.next() => match next {
                    Some(bytes) => bytes.map_err(|e| client.away(&e))?,
                    None => return Err(Failure::new(ExitStatus::EngineAway, "the server ended the stream")),
                },
                _ = tokio::signal::ctrl_c() => return Ok(ExitStatus::Done),
            };
            let events = reader.feed(&bytes).map_err(|e| Failure::failed(e).because("an event stream"))?;
            if let Some(last) = events.iter().find(|e| e.name == "failed") {
                let problem: Problem = serde_json::from_str(&last.data)
                    .map_err(|_| Failure::new(ExitStatus::EngineAway, "the server ended the stream"))?;
                return Err(problem_failure(problem, client.server()));
            }
            for event in events.iter().filter(|e| e.name == "event") {
                // Kinds that a newer server tells are passed over.
                let Ok(seen) = serde_json::from_str::<EventView>(&event.data) else { continue };
                if args.json {
                    cx.printer.data(serde_json::to_string(&seen).unwrap_or_default())?;
                } else {
                    cx.printer.data(line(&seen))?;
                }
            }
        }
    })
}

fn line(e: &EventView) -> String {
    let about = match (e.kind, &e.by, &e.process, &e.instance) {
        (EventKind::Change, Some(by), ..) => format!("{} by {by}", e.what),
        (EventKind::Instance, _, Some(process), Some(id)) => {
            format!("{process} {}: {}", id.get(..8).unwrap_or(id), e.what)
        }
        _ => e.what.clone(),
    };
    let text = harmless(&e.text).replace('\n', " ");
    format!("{DIM}{}{DIM:#}  {}  {text}", when(&e.at), harmless(&about))
}
