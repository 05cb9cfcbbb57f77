//! `terreau rollback`: a new release from an older one. Says which one it goes back to before it does and when it has:
//! without a number nobody has named it.

use http::Method;

use super::args::RollbackArgs;
use super::client::{Client, app_path};
use super::context::Context;
use super::deploy::{Answer, unchanged};
use super::exit::ExitStatus;
use super::failure::{Ran, harmless};
use super::follow::{self, Form, Then};
use super::printer::when;
use super::{local, turn, waiting};
use crate::model::Placement;
use crate::model::wire::{ReleaseView, Releases, RollbackRequest};

/// Runs it.
pub fn run(args: &RollbackArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    let form = if args.json { Form::Json } else { Form::Words };
    let then = if args.detach { Then::Detach } else { Then::Follow };
    waiting(async {
        let path = app_path(&app, "/rollback");
        let mut old = None;
        let answer = turn::take(cx, &client, args.turn, async || {
            // Looked at anew each time: whoever had the turn before may have made another release.
            old = meant(&client, &app, args.to).await;
            // What was said is what is gone back to.
            let to = old.as_ref().map(|r| r.number).or(args.to);
            let request = RollbackRequest { to, message: args.message.clone(), ill: args.yes };
            client.call(Method::POST, &path, &request).await
        })
        .await?;
        let it = match answer {
            Answer::Accepted(it) => it,
            Answer::Unchanged(it) => return unchanged(cx, &client, &app, &it, form).await,
        };
        if let Some(old) = &old {
            cx.printer.say(format!("going back to {}", words(old)));
        }
        let ran = follow::accepted(cx, &client, &it, then, form).await?;
        if let (Some(old), ExitStatus::Done, Then::Follow) = (&old, ran, then) {
            cx.printer.say(format!("{app} is back at {}", words(old)));
        }
        Ok(ran)
    })
}

/// The release that is gone back to: the one named, else the one that served before the one that runs. `None`: the server
/// chooses, and says what is wrong.
async fn meant(client: &Client, app: &Placement, named: Option<u64>) -> Option<ReleaseView> {
    let list: Releases = client.get(&app_path(app, "/releases")).await.ok()?;
    let mut all = list.releases.into_iter();
    match named {
        Some(number) => all.find(|r| r.number == number),
        None => all.skip_while(|r| !r.running).find(|r| r.state == "served"),
    }
}

/// `release 3 of 2026-01-31 12:00:00 UTC, by alice: the search was quicker`
fn words(r: &ReleaseView) -> String {
    let why = r.message.as_ref().map(|m| format!(": {}", harmless(m).replace('\n', " ")));
    format!("release {} of {}, by {}{}", r.number, when(&r.at), harmless(&r.actor), why.unwrap_or_default())
}
