//! `terreau top`: what an app's instances use.

use std::time::Duration;

use super::args::TopArgs;
use super::client::app_path;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Ran, harmless};
use super::printer::table;
use super::{local, site, waiting};
use crate::model::wire::Stats;

/// How often Nomad's clients measure is a second; a person reads slower.
const REFRESH: Duration = Duration::from_secs(2);

/// Runs it.
pub fn run(args: &TopArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    let is_once = args.once || args.json || !cx.printer.is_screen();
    waiting(async {
        loop {
            let stats: Stats = client.get(&app_path(&app, "/stats")).await?;
            if args.json {
                cx.printer.json(&stats)?;
                return Ok(ExitStatus::Done);
            }
            let is_empty = stats.instances.is_empty();
            // A site never has one; anything else may, while it is looked at.
            if is_empty && (is_once || site::is_site(&app, &client).await) {
                site::say_none(&app, &client, cx).await;
                return Ok(ExitStatus::Done);
            }
            if is_once {
                cx.printer.data(lines(&stats))?;
                if stats.instances.iter().all(|i| i.memory.is_none()) {
                    cx.printer.hint(
                        "nothing was measured: Nomad's clients do with telemetry { publish_allocation_metrics = true }, \
                         a second after the start",
                    );
                }
                return Ok(ExitStatus::Done);
            }
            cx.printer.screen(&format!("{app}\n{}\n", lines(&stats)))?;
            tokio::select! {
                () = tokio::time::sleep(REFRESH) => {}
                _ = tokio::signal::ctrl_c() => return Ok(ExitStatus::Done),
            }
        }
    })
}

fn lines(stats: &Stats) -> String {
    let rows: Vec<Vec<String>> = stats
        .instances
        .iter()
        .map(|i| {
            let limit = i.memory_limit.map_or("none".to_owned(), mebibytes);
            vec![
                harmless(i.id.get(..8).unwrap_or(&i.id)),
                harmless(&i.process),
                harmless(&i.node),
                i.cpu_percent.map_or(unknown(), |p| format!("{p:.1} %")),
                i.memory.map_or(unknown(), mebibytes),
                mebibytes(i.memory_reserved),
                limit,
            ]
        })
        .collect();
    table(&["INSTANCE", "PROCESS", "NODE", "CPU", "MEMORY", "RESERVED", "LIMIT"], &rows)
}

fn unknown() -> String {
    "?".to_owned()
}

/// Whole ones and a tenth.
fn mebibytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & ((1 << 20) - 1)) * 10) >> 20)
}

#[cfg(test)]
mod tests {
    use super::mebibytes;

    #[test]
    fn memory_is_written_in_mebibytes() {
        assert_eq!(mebibytes(64 << 20), "64.0 MiB");
        assert_eq!(mebibytes((3 << 20) + (1 << 19)), "3.5 MiB");
    }
}
