//! `terreau drift`: what is not on the engines as Terreau left it.

use super::args::DriftArgs;
use super::client::escaped;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::printer::when;
use super::waiting;
use crate::model::wire::{Drift, DriftView};

/// Runs it.
pub fn run(args: &DriftArgs, cx: &Context) -> Ran {
    let client = cx.client()?;
    let query =
        args.app.app.as_ref().map(|a| format!("?app={}", escaped(&a.to_string()))).unwrap_or_default();
    let drift: Drift = waiting(client.get(&format!("/v1/drift{query}")))?;
    if args.json {
        cx.printer.json(&drift)?;
    } else {
        let mut app = "";
        for d in &drift.differences {
            if d.app != app {
                cx.printer.data(harmless(&d.app))?;
                app = &d.app;
            }
            line(d, cx)?;
        }
        if drift.differences.is_empty() && drift.unseen.is_empty() {
            cx.printer.say("everything is as Terreau left it");
        }
    }
    for what in &drift.unseen {
        cx.printer.warn(format!("not looked at: {}", harmless(what)));
    }
    match (drift.differences.is_empty(), drift.unseen.is_empty()) {
        (false, _) => Ok(ExitStatus::Changes),
        (true, true) => Ok(ExitStatus::Done),
        (true, false) => Err(Failure::new(ExitStatus::EngineAway, "not everything could be looked at")),
    }
}

fn line(d: &DriftView, cx: &Context) -> Result<(), Failure> {
    cx.printer.data(format!("  {}", harmless(&d.text)))?;
    for detail in &d.details {
        cx.printer.data(format!("    {}", harmless(detail)))?;
    }
    match (&d.changed_at, &d.since) {
        (Some(at), _) => cx.printer.data(format!("    changed {}", when(at))),
        (None, Some(at)) => cx.printer.data(format!("    seen since {}", when(at))),
        (None, None) => Ok(()),
    }
}
