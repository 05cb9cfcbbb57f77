//! `terreau releases`: the history of an app, with what became of each release and what differs in it.

use super::args::AppJsonArgs;
use super::client::app_path;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Ran, harmless};
use super::printer::{self, table};
use super::{local, waiting};
use crate::model::wire::{ReleaseView, Releases};

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
        let rows: Vec<Vec<String>> = list.releases.iter().map(row).collect();
        cx.printer.data(table(&["RELEASE", "STATE", "WHEN", "WHO", "COMMIT", "WHAT"], &rows))?;
        Ok(ExitStatus::Done)
    })
}

fn row(r: &ReleaseView) -> Vec<String> {
    let one_line = |text: &str| harmless(text).replace('\n', " ");
    let mut what: Vec<String> = r.message.iter().map(|m| one_line(m)).collect();
    what.extend(r.rollback_of.map(|old| format!("release {old} again")));
    what.extend(differs(r));
    what.extend(r.why.as_ref().map(|w| format!("why: {}", one_line(w))));
    let commit = r.source.as_ref().map(|s| {
        let dirty = if s.is_dirty() { "+" } else { "" };
        format!("{}{dirty}", s.commit().get(..8).unwrap_or_default())
    });
    vec![
        r.number.to_string(),
        harmless(&r.state),
        printer::when(&r.at),
        harmless(&r.actor),
        commit.unwrap_or_default(),
        what.join("; "),
    ]
}

/// What differs, in a line.
fn differs(r: &ReleaseView) -> Option<String> {
    let list = r.differs.as_ref()?;
    Some(if list.is_empty() { "nothing differs".to_owned() } else { harmless(&list.join(", ")) })
}
