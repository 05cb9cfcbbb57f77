//! `terreau tokens`: for programs. The token itself is printed once, alone on stdout.

use http::Method;

use super::args::TokensCommand;
use super::client::escaped;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Ran, harmless};
use super::printer::{self, table};
use super::waiting;
use crate::model::wire::{TokenAnswer, TokenRequest, Tokens};

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
