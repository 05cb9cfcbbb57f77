//! `terreau env` and `terreau secret`: what an app is configured with. Values are read and written here, and shown only
//! where that was asked for.

mod edit;
mod give;
mod show;

pub(super) use give::secret_value;

use std::collections::BTreeMap;

use http::Method;

use super::args::{EnvCommand, HowArgs, SecretCommand};
use super::client::{Client, app_path};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::follow::{self, Form, Then};
use super::shapes::Configured;
use super::{dotenv, hidden, local, printer, turn, waiting};
use crate::model::Placement;
use crate::model::config::{check_name, check_value};
use crate::model::names::{EnvName, SecretName};
use crate::model::wire::{
    Accepted, ConfigAnswer, EnvList, EnvRequest, Hidden, RevealRequest, Revealed, SecretList, SecretRequest,
    SecretType, SecretView,
};

/// Runs `terreau env`.
pub fn env(command: &EnvCommand, cx: &Context) -> Ran {
    match command {
        EnvCommand::List(args) => show::env(args, cx),
        EnvCommand::Set(args) => give::set_env(args, cx),
        EnvCommand::Unset(args) => give::unset_env(args, cx),
        EnvCommand::Import(args) => give::import(What::Env, args, cx),
        EnvCommand::Export(args) => give::export(What::Env, args, cx),
        EnvCommand::Edit(args) => edit::run(What::Env, args, cx),
        EnvCommand::History(args) => {
            let name = args.name.as_ref().map(EnvName::as_str);
            show::history(What::Env, name, args.app.app.as_ref(), args.json, cx)
        }
    }
}

/// Runs `terreau secret`.
pub fn secret(command: &SecretCommand, cx: &Context) -> Ran {
    match command {
        SecretCommand::List(args) => show::secrets(args, cx),
        SecretCommand::Set(args) => give::set_secret(args, cx),
        SecretCommand::Import(args) => give::import(What::Secret, args, cx),
        SecretCommand::Export(args) => give::export(What::Secret, args, cx),
        SecretCommand::Edit(args) => edit::run(What::Secret, args, cx),
        SecretCommand::History(args) => {
            let name = args.name.as_ref().map(SecretName::as_str);
            show::history(What::Secret, name, args.app.app.as_ref(), args.json, cx)
        }
    }
}

/// Which of the two kinds of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Env,
    Secret,
}

impl What {
    fn path(self) -> &'static str {
        match self {
            Self::Env => "/env",
            Self::Secret => "/secrets",
        }
    }

    fn command(self) -> &'static str {
        match self {
            Self::Env => "terreau env",
            Self::Secret => "terreau secret",
        }
    }

    /// What the server would refuse, without asking it. Never quotes the value.
    fn check(self, name: &str, value: &str) -> Result<(), String> {
        match self {
            Self::Env => {
                let name = EnvName::new(name).map_err(|e| e.to_string())?;
                check_name(&name).map_err(|e| e.to_string())?;
            }
            Self::Secret => drop(SecretName::new(name).map_err(|e| e.to_string())?),
        }
        check_value(value).map_err(|e| format!("the value of {name} {e}"))
    }
}

/// A change to send.
#[derive(Debug, Default)]
struct Change {
    set: BTreeMap<String, Hidden>,
    unset: Vec<String>,
    upon: Option<BTreeMap<String, u64>>,
}

/// Sends a change, and goes on from the answer.
async fn send(
    what: What,
    how: &HowArgs,
    app: &Placement,
    client: &Client,
    change: Change,
    cx: &Context,
) -> Ran {
    let unset = change.unset.clone();
    let asked: Vec<String> = change.set.keys().chain(&change.unset).cloned().collect();
    let path = app_path(app, what.path());
    let (stage, message, upon) = (how.stage, how.message.clone(), change.upon);
    let answer: ConfigAnswer = match what {
        What::Env => {
            let body = EnvRequest { set: change.set, unset: change.unset, upon, stage, message };
            turn::take(cx, client, how.turn, async || client.call(Method::POST, &path, &body).await).await?
        }
        What::Secret => {
            let body = SecretRequest { set: change.set, upon, stage, message };
            turn::take(cx, client, how.turn, async || client.call(Method::POST, &path, &body).await).await?
        }
    };
    let same: Vec<&str> =
        asked.iter().filter(|n| !answer.versions.contains_key(*n)).map(String::as_str).collect();
    if !same.is_empty() {
        cx.printer.say(format!("as it was already: {}", same.join(", ")));
    }
    for note in &answer.notes {
        cx.printer.warn(harmless(note));
    }
    let form = if how.json { Form::Json } else { Form::Words };
    let then = if how.detach { Then::Detach } else { Then::Follow };
    if let Some(operation) = answer.operation {
        let accepted = Accepted { operation, app: answer.app, back_to: None };
        return follow::accepted(cx, client, &accepted, then, form).await;
    }
    if form == Form::Json {
        cx.printer.json(&Configured {
            staged: answer.staged.is_some(),
            unchanged: answer.versions.is_empty(),
            why: answer.staged,
            versions: answer.versions,
            release: answer.release,
        })?;
        return Ok(ExitStatus::Done);
    }
    match (&answer.staged, answer.versions.is_empty()) {
        (_, true) => cx.printer.say(format!("no changes: {app} runs on as it is")),
        (Some(why), false) => cx.printer.say(format!("kept: {}", harmless(why))),
        (None, false) if !unset.is_empty() && unset.iter().all(|n| answer.versions.contains_key(n)) => {
            let names = unset.join(", ");
            cx.printer.say(format!(
                "no longer staged: {names}; nothing that runs is concerned, and {app} runs on as it is"
            ));
        }
        (None, false) => {
            cx.printer.say(format!("done: nothing that runs is concerned, {app} runs on as it is"));
        }
    }
    if how.message.is_some() {
        cx.printer.warn("no release was made, and the message was not kept");
    }
    Ok(ExitStatus::Done)
}

/// Of which values one speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Those that the running release has.
    Serving,
    /// Those that the next release gets.
    Next,
}

/// Asks for all values that people gave.
async fn reveal(what: What, at: At, app: &Placement, client: &Client) -> Result<Revealed, Failure> {
    let path = app_path(app, &format!("{}/reveal", what.path()));
    let body = RevealRequest { names: Vec::new(), runs: at == At::Serving };
    client.call(Method::POST, &path, &body).await
}

/// What waits for the next release: the release that runs, and the names whose value it has not or has otherwise.
async fn staged(what: What, app: &Placement, client: &Client) -> Result<(Option<u64>, Vec<String>), Failure> {
    let path = app_path(app, what.path());
    Ok(match what {
        What::Env => {
            let list: EnvList = client.get(&path).await?;
            (list.release, list.env.into_iter().filter(|v| v.staged).map(|v| v.name).collect())
        }
        What::Secret => {
            let list: SecretList = client.get(&path).await?;
            let is_staged = |v: &SecretView| v.kind == SecretType::User && v.staged;
            (list.release, list.secrets.into_iter().filter(is_staged).map(|v| v.name).collect())
        }
    })
}
