//! `terreau release`: a release as a file, and back.

use std::io::Read;

use http::Method;

use super::args::{ReleaseCommand, ReleaseExportArgs, ReleaseImportArgs};
use super::client::app_path;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::follow::{self, Form};
use super::{local, turn, waiting};
use crate::model::Placement;
use crate::model::wire::{AppStatus, ImportAnswer, ImportRequest};

/// The largest file that is read: no release is larger.
const LARGEST: u64 = 1 << 20;

/// Runs it.
pub fn run(command: &ReleaseCommand, cx: &Context) -> Ran {
    match command {
        ReleaseCommand::Export(args) => export(args, cx),
        ReleaseCommand::Import(args) => import(args, cx),
    }
}

fn export(args: &ReleaseExportArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    waiting(async {
        let number = if let Some(number) = args.number {
            number
        } else {
            let status: AppStatus = client.get(&app_path(&app, "")).await?;
            let number = status.release.ok_or_else(|| {
                Failure::new(ExitStatus::NotFound, format!("{app} has no release that runs"))
                    .hint(format!("`terreau releases {app}` lists those that did not get healthy"))
            })?;
            cx.printer.say(format!("release {number} of {app}"));
            number
        };
        let path = app_path(&app, &format!("/releases/{number}/export"));
        let file: serde_json::Value = client.get(&path).await?;
        cx.printer.json(&file)?;
        Ok(ExitStatus::Done)
    })
}

fn import(args: &ReleaseImportArgs, cx: &Context) -> Ran {
    let wrong = |e: std::io::Error| Failure::file("read", &args.file, &e);
    let mut file = String::new();
    let opened = std::fs::File::open(&args.file).map_err(wrong)?;
    opened.take(LARGEST + 1).read_to_string(&mut file).map_err(wrong)?;
    if file.len() as u64 > LARGEST {
        return Err(Failure::failed(format!("{} is larger than any exported release", args.file.display())));
    }
    let app = local::app(args.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    let request = ImportRequest { file, deploy: args.deploy, message: args.message.clone() };
    let path = app_path(&app, "/import");
    waiting(async {
        if args.deploy {
            // As a plan would say it: before anything is changed.
            let look = ImportRequest { deploy: false, message: None, ..request.clone() };
            let seen: ImportAnswer = client.call(Method::POST, &path, &look).await?;
            foretell(&seen, &app, cx);
        }
        let done: ImportAnswer =
            turn::take(cx, &client, args.turn, async || client.call(Method::POST, &path, &request).await)
                .await?;
        if !args.deploy {
            verified(&done, cx);
        }
        if let Some(operation) = &done.operation {
            let form = if args.json { Form::Json } else { Form::Words };
            return follow::follow(cx, &client, operation, form).await;
        }
        if args.json {
            cx.printer.json(&done)?;
            return Ok(ExitStatus::Done);
        }
        match (&done.unchanged, &done.differs) {
            (Some(n), _) => {
                cx.printer.say(format!("no changes: release {n} of {app} has this content already"));
            }
            (None, None) => cx.printer.say(format!("{app} has no release that runs")),
            (None, Some(list)) if list.is_empty() => cx.printer.say("nothing differs from what runs"),
            (None, Some(list)) => {
                cx.printer.say("from what runs to it:");
                for line in list {
                    cx.printer.data(harmless(line))?;
                }
            }
        }
        Ok(ExitStatus::Done)
    })
}

/// What a file turned out to be.
fn verified(it: &ImportAnswer, cx: &Context) {
    cx.printer.say(format!(
        "release {} of {}: its hashes hold, and it renders to the same job",
        it.number,
        harmless(&it.from)
    ));
    for setting in &it.settings {
        cx.printer.say(format!("this cluster has another setting: {}", harmless(setting)));
    }
}

/// Says what the deploy of a file will change, and what of it goes.
fn foretell(it: &ImportAnswer, app: &Placement, cx: &Context) {
    verified(it, cx);
    let Some(list) = it.differs.as_ref().filter(|l| !l.is_empty()) else { return };
    cx.printer.say(format!("from what runs of {app} to it:"));
    for line in list {
        cx.printer.say(format!("  {}", harmless(line)));
    }
    if !it.gone.is_empty() {
        let gone = harmless(&it.gone.join(", "));
        cx.printer.warn(format!("it takes away what the app has now: {gone}"));
    }
}
