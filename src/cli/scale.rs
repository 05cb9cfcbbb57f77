//! `terreau start`, `stop`, `restart`, `scale`: asks for the change, then watches until it is so.

use std::collections::BTreeMap;

use http::Method;
use serde::Serialize;
use serde_json::json;

use super::args::{RestartArgs, RunArgs, ScaleArgs, StopArgs, TurnArgs, Word};
use super::client::{Client, app_path};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::follow::{self, Course, Form, Named, Then};
use super::printer::GREEN;
use super::{local, ps, turn, waiting};
use crate::model::Placement;
use crate::model::wire::{Accepted, AppStatus, Changed, RestartRequest, ScaleRequest};

/// What is wanted of `scale`.
const WHICH: &str = "name each process and its count, as web=2";

/// How it is asked and shown.
#[derive(Debug, Clone, Copy)]
struct Manner {
    then: Then,
    form: Form,
    turn: TurnArgs,
}

impl Manner {
    fn of(detach: bool, json: bool, turn: TurnArgs) -> Self {
        Self {
            turn,
            then: if detach { Then::Detach } else { Then::Follow },
            form: if json { Form::Json } else { Form::Words },
        }
    }
}

/// `start`
pub fn start(args: &RunArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    ask(cx, &app, "start", &json!({}), Manner::of(args.detach, args.json, args.turn)).map_err(|failure| {
        local::or_process(failure, args.app.app.as_ref(), |process, of| {
            format!("{process} is a process of {of}: `terreau start` starts the whole app, `terreau scale {process}=1` that process")
        })
    })
}

/// `stop`
pub fn stop(args: &StopArgs, cx: &Context) -> Ran {
    let (args, run) = (&args.how, &args.run);
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    if let Some(run) = run {
        let client = cx.client()?;
        return waiting(async {
            let run = ps::run_named(&client, &app, run).await?;
            let path = app_path(&app, &format!("/runs/{run}/stop"));
            let done: Changed = client.call(Method::POST, &path, &json!({})).await?;
            if args.json {
                cx.printer.json(&done)?;
            } else {
                cx.printer.say(harmless(&done.summary));
                cx.printer.hint(format!("its last words: `terreau logs {app} --run {run}`"));
            }
            Ok(ExitStatus::Done)
        });
    }
    ask(cx, &app, "stop", &json!({}), Manner::of(args.detach, args.json, args.turn)).map_err(|failure| {
        local::or_process(failure, args.app.app.as_ref(), |process, of| {
            format!("{process} is a process of {of}: `terreau stop` stops the whole app, `terreau scale {process}=0` that process")
        })
    })
}

/// `restart`
pub fn restart(args: &RestartArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let request =
        RestartRequest { process: args.process.as_ref().map(ToString::to_string), alloc: args.alloc.clone() };
    ask(cx, &app, "restart", &request, Manner::of(args.detach, args.json, args.turn)).map_err(|failure| {
        local::or_process(failure, args.app.app.as_ref(), |process, _| {
            format!("did you mean `terreau restart -p {process}`?")
        })
    })
}

/// `scale`
pub fn scale(args: &ScaleArgs, cx: &Context) -> Ran {
    let (mut counts, mut named, mut alone) = (BTreeMap::new(), None, None);
    for word in &args.words {
        match word {
            Word::Count(c) => {
                if counts.insert(c.process.clone(), c.count).is_some() {
                    return Err(Failure::usage(format!("{} is named twice", c.process)));
                }
            }
            Word::Alone(_) if alone.is_some() => return Err(Failure::usage(WHICH)),
            Word::Alone(count) => alone = Some(*count),
            Word::App(app) if named.is_none() => named = Some(app),
            Word::App(app) => {
                return Err(Failure::usage(format!("{app} is a second app; one is scaled at a time")));
            }
        }
    }
    if counts.is_empty() == alone.is_none() {
        return Err(Failure::usage(WHICH));
    }
    let app = local::app(local::one_of(named, args.app.app.as_ref())?, cx.printer)?;
    if let Some(count) = alone {
        let client = cx.client()?;
        let only = waiting(only_process(&client, &app, count)).map_err(|failure| {
            local::or_process(failure, named, |process, _| {
                format!("did you mean `terreau scale {process}={count}`?")
            })
        })?;
        counts.insert(only, count);
    }
    ask(cx, &app, "scale", &ScaleRequest { counts }, Manner::of(args.detach, args.json, args.turn))
}

/// The process that a count alone is for: the app's only one.
async fn only_process(client: &Client, app: &Placement, count: u32) -> Result<String, Failure> {
    let status: AppStatus = client.get(&app_path(app, "")).await?;
    match status.processes.as_slice() {
        [one] => Ok(harmless(&one.name)),
        [] => Err(Failure::usage(format!("{app} has no process that could be scaled"))),
        several => {
            let names: Vec<String> = several.iter().map(|p| harmless(&p.name)).collect();
            Err(Failure::usage(format!("which process? {app} has {}", names.join(", ")))
                .hint(format!("`terreau scale {}={count}`", names[0])))
        }
    }
}

fn ask(cx: &Context, app: &Placement, verb: &str, request: &impl Serialize, how: Manner) -> Ran {
    let client = cx.client()?;
    waiting(async {
        let path = app_path(app, &format!("/{verb}"));
        let done: Changed =
            turn::take(cx, &client, how.turn, async || client.call(Method::POST, &path, request).await)
                .await?;
        if let Some(operation) = done.operation {
            // Its job was gone: it comes back by a release.
            cx.printer.say(harmless(&done.summary));
            let it = Accepted { operation, app: done.app, back_to: None };
            return follow::accepted(cx, &client, &it, how.then, how.form).await;
        }
        let how_to = format!("see it with `terreau status {app}`");
        if done.unchanged || how.then == Then::Detach {
            match how.form {
                Form::Json => cx.printer.json(&done)?,
                Form::Words => cx.printer.say(harmless(&done.summary)),
            }
            if !done.unchanged {
                cx.printer.hint(how_to);
            }
            return Ok(ExitStatus::Done);
        }
        cx.printer.say(format!("{GREEN}accepted{GREEN:#}: {}", harmless(&done.summary)));
        let course = Course {
            path: app_path(app, "/course"),
            goes_on: format!("the {verb} goes on"),
            how_to,
            named: Named::Change(done.change),
        };
        follow::walk(cx, &client, &course, how.form).await
    })
}
