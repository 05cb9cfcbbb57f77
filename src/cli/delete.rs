//! `terreau delete`: asks for the app's name first, then removes it from use.

use http::Method;

use super::args::DeleteArgs;
use super::client::{Client, app_path};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran};
use super::follow::{self, Form, Then};
use super::{local, turn, waiting};
use crate::model::Placement;
use crate::model::wire::{Accepted, Owners};
use crate::operation::GRACE;

/// Runs it.
pub fn run(args: &DeleteArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    waiting(is_there(args, &app, &client))?;
    let free_at = jiff::Timestamp::now().saturating_add(GRACE).unwrap_or(jiff::Timestamp::MAX);
    let free_at = free_at.strftime("%H:%M UTC");
    if args.yes {
        cx.printer.say(format!(
            "its name is free again at {free_at}: nobody can use it before, its owners neither"
        ));
    } else {
        let data = if args.with_data {
            "and so do its buckets and volumes, with all that is in them"
        } else {
            "its buckets and volumes stay (--with-data deletes them too)"
        };
        let question = format!(
            "This takes {app} offline at {}. The values of its secrets go; {data}; its name is free again at {free_at}: nobody \
             can use it before, its owners neither. Type the app's name to go on: ",
            client.server()
        );
        match cx.printer.ask(&question)? {
            Some(answer) if answer.trim() == app.to_string() => {}
            Some(_) => return Err(Failure::failed("that is not the app's name: nothing was deleted")),
            None => {
                return Err(Failure::failed("no answer: nothing was deleted").hint("scripts say --yes"));
            }
        }
    }
    waiting(async {
        let rest = format!("?with_data={}", args.with_data);
        let path = app_path(&app, &rest);
        let it: Accepted = turn::take(cx, &client, args.turn, async || {
            client.read(client.send(client.request(Method::DELETE, &path)).await?).await
        })
        .await?;
        let then = if args.detach { Then::Detach } else { Then::Follow };
        follow::accepted(cx, &client, &it, then, if args.json { Form::Json } else { Form::Words }).await
    })
}

/// Refuses where there is no such app, before anything is said of its name. What else is wrong is told by the delete itself;
/// so is an app that is deleted already, whose data may still go.
async fn is_there(args: &DeleteArgs, app: &Placement, client: &Client) -> Result<(), Failure> {
    if args.with_data {
        return Ok(());
    }
    match client.get::<Owners>(&app_path(app, "/owners")).await {
        Err(failure) if matches!(failure.status, ExitStatus::NotFound | ExitStatus::NotLoggedIn) => {
            Err(failure)
        }
        _ => Ok(()),
    }
}
