//! `terreau releases`: the history of an app.

use super::args::AppJsonArgs;
use super::client::app_path;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Ran, harmless};
use super::printer::{self, table};
use super::{local, waiting};
use crate::model::wire::Releases;

/// Runs it.
pub fn run(args: &AppJsonArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    waiting(async {
        let list: Releases = client.get(&app_path(&app, "/releases")).await?;
        if args.json {
            cx.printer.json(&list)?;
            return Ok(ExitStatus::Done);
        }
        let rows: Vec<Vec<String>> = list
            .releases
            .iter()
            .map(|r| {
                let mut message = r.message.as_deref().map(harmless).unwrap_or_default().replace('\n', " ");
                if let Some(old) = r.rollback_of {
                    let of = format!("(release {old} again)");
                    message = if message.is_empty() { of } else { format!("{message} {of}") };
                }
                let state = if r.running { "running" } else { "" };
                vec![
                    r.number.to_string(),
                    state.to_owned(),
                    printer::when(&r.at),
                    harmless(&r.actor),
                    message,
                ]
            })
            .collect();
        cx.printer.data(table(&["RELEASE", "STATE", "WHEN", "WHO", "WHY"], &rows))?;
        Ok(ExitStatus::Done)
    })
}
