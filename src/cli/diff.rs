//! `terreau diff`: what differs between releases, or between what runs and the folder's descriptor.

use anstyle::Style;
use http::Method;

use super::args::DiffArgs;
use super::client::app_path;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Ran, harmless};
use super::printer::{CYAN, GREEN, RED};
use super::{local, upload, waiting};
use crate::model::wire::{DiffAnswer, DiffRequest};

/// Runs it.
pub fn run(args: &DiffArgs, cx: &Context) -> Ran {
    let mut request = DiffRequest { from: args.from, to: args.to, job: args.job, ..DiffRequest::default() };
    let (app, client);
    if args.from.is_none() {
        let descriptor = local::load(args.file.file.as_deref(), cx.printer)?;
        app = local::app_of(&descriptor, args.app.as_ref())?;
        client = cx.client()?;
        request.artifact = upload::pack(&descriptor, cx.printer)?.map(|p| p.artifact.clone());
        request.descriptor = Some(descriptor.text);
    } else {
        app = local::app(args.app.as_ref(), cx.printer)?;
        client = cx.client()?;
    }
    waiting(async {
        let found: DiffAnswer = client.call(Method::POST, &app_path(&app, "/diff"), &request).await?;
        if args.json {
            cx.printer.json(&found)?;
            return Ok(ExitStatus::Done);
        }
        let (from, to) = (harmless(&found.from), harmless(&found.to));
        if found.differs.is_empty() {
            cx.printer.say(format!("nothing differs between {from} and {to}"));
        } else {
            cx.printer.say(format!("from {from} to {to}:"));
            for line in &found.differs {
                cx.printer.data(harmless(line))?;
            }
        }
        if let Some(job) = found.job.filter(|j| !j.is_empty()) {
            for line in harmless(&job).lines() {
                let style = colour(line);
                cx.printer.data(format!("{style}{line}{style:#}"))?;
            }
        }
        Ok(ExitStatus::Done)
    })
}

fn colour(line: &str) -> Style {
    match line.as_bytes().first() {
        Some(b'+') => GREEN,
        Some(b'-') => RED,
        Some(b'@') => CYAN,
        _ => Style::new(),
    }
}
