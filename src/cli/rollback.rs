//! `terreau rollback`: a new release from an older one. Says which one it goes back to before it does and when it has:
//! without a number nobody has named it.

use http::Method;

use super::args::RollbackArgs;
use super::client::{Client, app_path, escaped};
use super::context::Context;
use super::deploy::{Answer, not_kept, unchanged};
use super::exit::ExitStatus;
use super::failure::{Ran, harmless};
use super::follow::{self, Form, Then};
use super::printer::when;
use super::{local, turn, waiting};
use crate::model::head::Outcome;
use crate::model::wire::{BackTo, OperationView, RollbackRequest};

/// Runs it.
pub fn run(args: &RollbackArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    let form = if args.json { Form::Json } else { Form::Words };
    let then = if args.detach { Then::Detach } else { Then::Follow };
    waiting(async {
        let path = app_path(&app, "/rollback");
        let answer = turn::take(cx, &client, args.turn, async || {
            let request = RollbackRequest { to: args.to, message: args.message.clone(), ill: args.yes };
            client.call(Method::POST, &path, &request).await
        })
        .await?;
        let it = match answer {
            Answer::Accepted(it) => it,
            Answer::Unchanged(it) => {
                let ran = unchanged(cx, &client, &app, &it, form).await?;
                not_kept(cx, args.message.as_deref());
                return Ok(ran);
            }
        };
        if let Some(old) = &it.back_to {
            cx.printer.say(format!("going back to {}", words(old)));
            if let Some(what) = &old.dropped {
                cx.printer.warn(format!("what was set and not deployed yet is dropped: {}", harmless(what)));
            }
        }
        let ran = follow::accepted(cx, &client, &it, then, form).await?;
        if let (Some(old), ExitStatus::Done, Then::Follow) = (&it.back_to, ran, then)
            && serves(&client, &it.operation).await
        {
            cx.printer.say(format!("{app} is back at {}", words(old)));
        }
        Ok(ran)
    })
}

/// Whether what an operation that went well brought serves: its canaries may be held instead.
async fn serves(client: &Client, operation: &str) -> bool {
    let view = client.get::<OperationView>(&format!("/v1/operations/{}", escaped(operation))).await;
    view.is_ok_and(|v| v.end.is_some_and(|end| end.outcome == Outcome::Done))
}

/// `release 3 of 2026-01-31 12:00:00 UTC, by alice: the search was quicker`
fn words(r: &BackTo) -> String {
    let why = r.message.as_ref().map(|m| format!(": {}", harmless(m).replace('\n', " ")));
    format!("release {} of {}, by {}{}", r.release, when(&r.at), harmless(&r.actor), why.unwrap_or_default())
}
