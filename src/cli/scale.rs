//! `terreau start`, `stop`, `restart`, `scale`: asks for the change, then watches until it is so.

use std::collections::BTreeMap;

use http::Method;
use serde::Serialize;
use serde_json::json;

use super::args::{RestartArgs, RunArgs, ScaleArgs, StopArgs, TurnArgs, Word};
use super::client::app_path;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::follow::{self, Course, Form, Named, Then};
use super::printer::GREEN;
use super::{local, turn, waiting};
use crate::model::Placement;
use crate::model::wire::{Changed, RestartRequest, ScaleRequest};

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
    ask(cx, &app, "start", &json!({}), Manner::of(args.detach, args.json, args.turn))
}

/// `stop`
pub fn stop(args: &StopArgs, cx: &Context) -> Ran {
    let (args, run) = (&args.how, &args.run);
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    if let Some(run) = run {
        let client = cx.client()?;
        return waiting(async {
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
    ask(cx, &app, "stop", &json!({}), Manner::of(args.detach, args.json, args.turn))
}

/// `restart`
pub fn restart(args: &RestartArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let request =
        RestartRequest { process: args.process.as_ref().map(ToString::to_string), alloc: args.alloc.clone() };
    ask(cx, &app, "restart", &request, Manner::of(args.detach, args.json, args.turn))
}

/// `scale`
pub fn scale(args: &ScaleArgs, cx: &Context) -> Ran {
    let (mut counts, mut named) = (BTreeMap::new(), None);
    for word in &args.words {
        match word {
            Word::Count(c) => {
                if counts.insert(c.process.clone(), c.count).is_some() {
                    return Err(Failure::usage(format!("{} is named twice", c.process)));
                }
            }
            Word::App(app) if named.is_none() => named = Some(app),
            Word::App(app) => {
                return Err(Failure::usage(format!("{app} is a second app; one is scaled at a time")));
            }
        }
    }
    if counts.is_empty() {
        return Err(Failure::usage("name a process and its count, as web=2"));
    }
    let app = local::app(local::one_of(named, args.app.app.as_ref())?, cx.printer)?;
    ask(cx, &app, "scale", &ScaleRequest { counts }, Manner::of(args.detach, args.json, args.turn))
}

fn ask(cx: &Context, app: &Placement, verb: &str, request: &impl Serialize, how: Manner) -> Ran {
    let client = cx.client()?;
    waiting(async {
        let path = app_path(app, &format!("/{verb}"));
        let done: Changed =
            turn::take(cx, &client, how.turn, async || client.call(Method::POST, &path, request).await)
                .await?;
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
