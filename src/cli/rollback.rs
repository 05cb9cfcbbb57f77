//! `terreau rollback`: a new release from an older one.

use http::Method;

use super::args::RollbackArgs;
use super::client::app_path;
use super::context::Context;
use super::deploy::{Answer, unchanged};
use super::failure::Ran;
use super::follow::{self, Form, Then};
use super::{local, turn, waiting};
use crate::model::wire::RollbackRequest;

/// Runs it.
pub fn run(args: &RollbackArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    let form = if args.json { Form::Json } else { Form::Words };
    let then = if args.detach { Then::Detach } else { Then::Follow };
    waiting(async {
        let request = RollbackRequest { to: args.to, message: args.message.clone(), ill: args.yes };
        let path = app_path(&app, "/rollback");
        match turn::take(cx, &client, args.turn, async || client.call(Method::POST, &path, &request).await)
            .await?
        {
            Answer::Accepted(it) => follow::accepted(cx, &client, &it, then, form).await,
            Answer::Unchanged(it) => unchanged(cx, &client, &app, &it, form).await,
        }
    })
}
