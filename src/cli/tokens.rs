//! `terreau tokens`: for programs. The token itself is printed once, alone on stdout.

use http::Method;

use super::args::TokensCommand;
use super::client::{Client, escaped};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Ran, harmless};
use super::printer::{self, table};
use super::waiting;
use crate::model::wire::{Apps, TokenAnswer, TokenRequest, Tokens};
use crate::model::{Placement, nearest};

/// Runs it.
pub fn run(command: &TokensCommand, cx: &Context) -> Ran {
    let client = cx.client()?;
    waiting(async {
        match command {
            TokensCommand::Create(args) => {
                let request = TokenRequest {
                    name: args.name.clone(),
                    apps: args.app.iter().map(ToString::to_string).collect(),
                    verbs: args.verb.clone(),
                    expires_in: args.expires,
                };
                let made: TokenAnswer = client.call(Method::POST, "/v1/tokens", &request).await?;
                warn_of_missing(&args.app, &client, cx).await;
                if args.json {
                    cx.printer.json(&made)?;
                    return Ok(ExitStatus::Done);
                }
                cx.printer.say(format!(
                    "token {} is good until {}",
                    harmless(&made.id),
                    printer::when(&made.expires_at)
                ));
                cx.printer.data(made.token.expose())?;
                cx.printer.hint(format!(
                    "it is not shown again; a program uses it by TERREAU_TOKEN and TERREAU_SERVER={}",
                    client.server()
                ));
            }
            TokensCommand::List(args) => {
                let query = if args.all { "?all=true" } else { "" };
                let list: Tokens = client.get(&format!("/v1/tokens{query}")).await?;
                if args.json {
                    cx.printer.json(&list)?;
                    return Ok(ExitStatus::Done);
                }
                if list.tokens.is_empty() {
                    cx.printer.say("there are no tokens");
                    return Ok(ExitStatus::Done);
                }
                let rows: Vec<Vec<String>> = list
                    .tokens
                    .iter()
                    .map(|t| {
                        vec![
                            harmless(&t.id).chars().take(8).collect(),
                            harmless(&t.name),
                            harmless(&t.user),
                            harmless(&t.verbs.join(", ")),
                            harmless(&t.apps.join(", ")),
                            printer::when(&t.expires_at),
                        ]
                    })
                    .collect();
                cx.printer.data(table(&["ID", "NAME", "USER", "FOR", "ON", "UNTIL"], &rows))?;
            }
            TokensCommand::Revoke(args) => {
                client.order(Method::DELETE, &format!("/v1/tokens/{}", escaped(&args.id))).await?;
                cx.printer.say("it opens nothing any more");
            }
        }
        Ok(ExitStatus::Done)
    })
}

/// A token may be made for an app before its first deploy, as CI does; and for one whose name is mistyped.
async fn warn_of_missing(of: &[Placement], client: &Client, cx: &Context) {
    // The token is made: where this cannot be told, nothing has failed.
    let Ok(apps) = client.get::<Apps>("/v1/apps").await else { return };
    for app in of.iter().map(ToString::to_string) {
        if apps.apps.iter().any(|a| a.app == app) {
            continue;
        }
        cx.printer.warn(format!(
            "there is no app {app} yet: until its first deploy, the token is good for that alone"
        ));
        if let Some(near) = nearest(&app, apps.apps.iter().map(|a| a.app.as_str())) {
            cx.printer.hint(format!(
                "did you mean {}? Then make another token, and `terreau tokens revoke` this one",
                harmless(&near)
            ));
        }
    }
}
