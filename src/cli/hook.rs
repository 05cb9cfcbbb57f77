//! `terreau hook`: who is told of what happens to an app. A secret that the server made is printed once, alone on stdout.

use std::fmt::Write;
use std::io::Read;

use http::Method;

use super::args::{HookAddArgs, HookCommand, HookIdArgs, HookListArgs, HookTestArgs, OfApp};
use super::client::{Client, app_path, escaped};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::printer::{self, table};
use super::shapes::HookRemoved;
use super::{local, waiting};
use crate::model::Placement;
use crate::model::wire::{
    DeliveryResult, Hidden, HookAnswer, HookEvent, HookRequest, HookTested, HookView, Hooks,
};

/// No secret is longer.
const LONGEST_SECRET: u64 = 256;

/// Runs it.
pub fn run(command: &HookCommand, cx: &Context) -> Ran {
    match command {
        HookCommand::Add(args) => add(args, cx),
        HookCommand::List(args) => list(args, cx),
        HookCommand::Remove(args) => remove(args, cx),
        HookCommand::Test(args) => test(args, cx),
    }
}

/// The app, where one is named before the last word, and that word.
fn words(words: &[String], of: &OfApp, cx: &Context) -> Result<(Placement, String), Failure> {
    let (app, last) = match words {
        [last] => (None, last),
        [app, last, ..] => {
            let named: Placement = app.parse().map_err(|e| {
                Failure::usage(format!("{} is no app: {e}", harmless(app)))
                    .hint("wanted is [APP[@ENV]] and one word more")
            })?;
            (Some(named), last)
        }
        [] => return Err(Failure::usage("a word is missing")),
    };
    let named = local::one_of(app.as_ref(), of.app.as_ref())?;
    Ok((local::app(named, cx.printer)?, last.clone()))
}

fn add(args: &HookAddArgs, cx: &Context) -> Ran {
    let (app, url) = words(&args.words, &args.app, cx)?;
    let client = cx.client()?;
    let secret = if args.secret_stdin { Some(secret()?) } else { None };
    let request = HookRequest { url, on: args.on.iter().map(ToString::to_string).collect(), secret };
    waiting(async {
        let made: HookAnswer = client.call(Method::POST, &app_path(&app, "/hooks"), &request).await?;
        if args.json {
            cx.printer.json(&made)?;
            return Ok(ExitStatus::Done);
        }
        cx.printer.say(format!("hook {} is told of {app}", harmless(&made.id)));
        if let Some(secret) = &made.secret {
            cx.printer.data(secret.expose())?;
            cx.printer.hint("what is sent is signed with this secret; it is not shown again (another one: remove the hook, and add it again)");
        }
        cx.printer.hint(format!("`terreau hook test {app} {}` sends a test", harmless(&made.id)));
        Ok(ExitStatus::Done)
    })
}

fn secret() -> Result<Hidden, Failure> {
    let mut text = String::new();
    // Without what was read.
    std::io::stdin()
        .lock()
        .take(LONGEST_SECRET)
        .read_to_string(&mut text)
        .map_err(|e| Failure::failed("cannot read standard input").because(e.kind().to_string()))?;
    Ok(Hidden::new(text.trim()))
}

async fn hooks(client: &Client, app: &Placement) -> Result<Hooks, Failure> {
    client.get(&app_path(app, "/hooks")).await
}

fn list(args: &HookListArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    waiting(async {
        let found = hooks(&client, &app).await?;
        if args.json {
            cx.printer.json(&found)?;
            return Ok(ExitStatus::Done);
        }
        if found.hooks.is_empty() {
            cx.printer.say(format!("nobody is told of {app}"));
            cx.printer.hint("`terreau hook add URL` has a URL told");
            return Ok(ExitStatus::Done);
        }
        let rows: Vec<Vec<String>> = found.hooks.iter().map(row).collect();
        cx.printer.data(table(&["ID", "URL", "ON", "BY", "LAST", "WAITING"], &rows))?;
        Ok(ExitStatus::Done)
    })
}

fn row(h: &HookView) -> Vec<String> {
    let on: Vec<&str> = h.on.iter().map(|e| e.as_str()).collect();
    vec![
        harmless(&h.id),
        harmless(&h.url),
        if on.len() == HookEvent::ALL.len() { "everything".to_owned() } else { on.join(", ") },
        harmless(&h.by),
        last(h),
        waits(h),
    ]
}

fn last(h: &HookView) -> String {
    let Some(last) = &h.last else { return "nothing yet".to_owned() };
    let result = match last.result {
        DeliveryResult::Delivered => "arrived",
        DeliveryResult::Failed => "did not arrive",
        DeliveryResult::GivenUp => "given up",
    };
    let kind = last.kind.trim_start_matches("app.").replace('_', "-");
    let why = last.error.as_deref().map(|e| format!(": {e}")).unwrap_or_default();
    harmless(&format!("{kind} {result} {}{why}", printer::when(&last.at)))
}

fn waits(h: &HookView) -> String {
    let mut text = h.pending.to_string();
    if h.pending > 0 && h.tries > 0 {
        let _ = write!(text, ", tried {} times", h.tries);
    }
    if let Some(at) = &h.next_at {
        let _ = write!(text, ", next {}", printer::when(at));
    }
    if h.lost > 0 {
        let _ = write!(text, ", {} lost", h.lost);
    }
    text
}

/// The id of the hook that is meant: by an id as it is, by its URL, or the only one where none is named.
async fn meant(app: &Placement, word: Option<&str>, client: &Client) -> Result<String, Failure> {
    let is_url = word.is_some_and(|w| w.contains("://"));
    if let Some(id) = word.filter(|_| !is_url) {
        return Ok(id.to_owned());
    }
    let all = hooks(client, app).await?.hooks;
    let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
    let found: Vec<&HookView> = all.iter().filter(|h| word.is_none_or(|url| same(&h.url, url))).collect();
    match found.as_slice() {
        [one] => Ok(one.id.clone()),
        [] => {
            let why = match word {
                Some(_) => format!("no hook of {app} has this URL"),
                None => format!("nobody is told of {app}: it has no hook"),
            };
            Err(Failure::new(ExitStatus::NotFound, why)
                .hint(format!("`terreau hook list {app}` lists its hooks, `terreau hook add URL` adds one")))
        }
        several => {
            let ids: Vec<String> = several.iter().map(|h| harmless(&h.id)).collect();
            Err(Failure::usage(format!("which hook? {app} has {}", ids.join(", ")))
                .hint(format!("`terreau hook list {app}` shows which is which")))
        }
    }
}

fn remove(args: &HookIdArgs, cx: &Context) -> Ran {
    let (app, word) = words(&args.words, &args.app, cx)?;
    let client = cx.client()?;
    waiting(async {
        let id = meant(&app, Some(&word), &client).await?;
        client.order(Method::DELETE, &app_path(&app, &format!("/hooks/{}", escaped(&id)))).await?;
        if args.json {
            cx.printer.json(&HookRemoved { removed: id })?;
        } else {
            cx.printer.say("it is told nothing any more");
        }
        Ok(ExitStatus::Done)
    })
}

fn test(args: &HookTestArgs, cx: &Context) -> Ran {
    let (app, word) = if args.words.is_empty() {
        (local::app(args.app.app.as_ref(), cx.printer)?, None)
    } else {
        let (app, word) = words(&args.words, &args.app, cx)?;
        (app, Some(word))
    };
    let client = cx.client()?;
    waiting(async {
        let id = meant(&app, word.as_deref(), &client).await?;
        let path = app_path(&app, &format!("/hooks/{}/test", escaped(&id)));
        let came: HookTested = client.call(Method::POST, &path, &serde_json::json!({})).await?;
        if args.json {
            cx.printer.json(&came)?;
        }
        if came.delivered {
            let status = came.status.unwrap_or_default();
            if !args.json {
                cx.printer.data(format!(
                    "{} arrived: answered {status} after {} ms",
                    harmless(&came.id),
                    came.took_ms
                ))?;
            }
            return Ok(ExitStatus::Done);
        }
        let why = came.error.unwrap_or_default();
        Err(Failure::failed("the test did not arrive").because(harmless(&why)))
    })
}
