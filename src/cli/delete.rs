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
use crate::model::wire::{Accepted, Deletion};

/// Runs it.
pub fn run(args: &DeleteArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    let free_at = waiting(free_at(args, &app, &client))?;
    // Where nobody says: it is said at the delete's end.
    let rests = match &free_at {
        Some(at) => format!("its name is free again at {at}"),
        None => "its name is not free at once".to_owned(),
    };
    if args.yes {
        cx.printer.say(format!("{rests}: nobody can use it before, its owners neither"));
    } else {
        let data = if args.with_data {
            "and so do its buckets and volumes, with all that is in them"
        } else {
            "its buckets and volumes stay (--with-data deletes them too)"
        };
        let question = format!(
            "This takes {app} offline at {}. The values of its secrets go; {data}; {rests}: nobody can use it before, its owners \
             neither. Type the app's name to go on: ",
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

/// When the app's name would be free again, as the server says it: before anything is asked. Refused where there is no such
/// app; what else is wrong is told by the delete itself.
async fn free_at(args: &DeleteArgs, app: &Placement, client: &Client) -> Result<Option<String>, Failure> {
    let path = app_path(app, &format!("/deletion?with_data={}", args.with_data));
    match client.get::<Deletion>(&path).await {
        Ok(it) => {
            Ok(it.free_at.parse::<jiff::Timestamp>().ok().map(|at| at.strftime("%H:%M UTC").to_string()))
        }
        Err(failure)
            if matches!(
                failure.status,
                ExitStatus::NotFound | ExitStatus::NotLoggedIn | ExitStatus::NotAllowed
            ) =>
        {
            Err(failure)
        }
        Err(_) => Ok(None),
    }
}
