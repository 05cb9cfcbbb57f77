//! `terreau ps`: an app's instances, one line each.

use super::args::PsArgs;
use super::client::app_path;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Ran, harmless};
use super::printer::{age, table, when};
use super::{local, site, waiting};
use crate::model::wire::{InstanceState, InstanceView, Instances, RunState, RunView};

/// Runs it.
pub fn run(args: &PsArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    waiting(async {
        let path = app_path(&app, if args.all { "/instances?all=true" } else { "/instances" });
        let found: Instances = client.get(&path).await?;
        if args.json {
            cx.printer.json(&found)?;
            return Ok(ExitStatus::Done);
        }
        if found.instances.is_empty() {
            site::say_none(&app, &client, cx).await;
        } else {
            cx.printer.data(lines(&found.instances))?;
        }
        let runs: Vec<&RunView> =
            found.runs.iter().filter(|r| args.all || r.state != RunState::Ended).collect();
        if !runs.is_empty() {
            // A line between the two tables.
            cx.printer.data(format!("\n{}", run_lines(&runs)))?;
        }
        Ok(ExitStatus::Done)
    })
}

/// A table of commands that run once.
fn run_lines(runs: &[&RunView]) -> String {
    let now = jiff::Timestamp::now();
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|r| {
            let state = match r.state {
                RunState::Waiting => "waiting",
                RunState::Running => "running",
                RunState::Ended => "ended",
            };
            vec![
                harmless(&r.name),
                harmless(&r.program),
                harmless(&r.process),
                state.to_owned(),
                harmless(&r.by),
                age(&r.begun, now),
                when(&r.until),
            ]
        })
        .collect();
    table(&["RUN", "PROGRAM", "PROCESS", "STATE", "BY", "SINCE", "UNTIL"], &rows)
}

/// A table of instances.
pub fn lines(instances: &[InstanceView]) -> String {
    let rows: Vec<Vec<String>> = instances
        .iter()
        .map(|i| {
            vec![
                harmless(i.id.get(..8).unwrap_or(&i.id)),
                harmless(&i.process),
                match (i.held, i.canary) {
                    (true, _) => format!("{}, canary", word(i.state)),
                    (false, true) => format!("{}, new", word(i.state)),
                    (false, false) => word(i.state).to_owned(),
                },
                i.release.map(|n| n.to_string()).unwrap_or_default(),
                harmless(&i.node),
                harmless(i.site.as_deref().unwrap_or("?")),
                i.since.as_deref().map(|s| age(s, jiff::Timestamp::now())).unwrap_or_default(),
                i.restarts.to_string(),
                last_end(i),
            ]
        })
        .collect();
    table(
        &["INSTANCE", "PROCESS", "STATE", "RELEASE", "NODE", "SITE", "SINCE", "RESTARTS", "LAST END"],
        &rows,
    )
}

fn last_end(i: &InstanceView) -> String {
    match (i.oom_killed, i.signal, i.exit_code) {
        (true, ..) => "out of memory".to_owned(),
        (false, Some(signal), _) => format!("signal {signal}"),
        (false, None, Some(code)) => format!("exit code {code}"),
        (false, None, None) => String::new(),
    }
}

fn word(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Starting => "starting",
        InstanceState::Healthy => "healthy",
        InstanceState::Unhealthy => "unhealthy",
        InstanceState::Crashing => "crashing",
        InstanceState::Stopping => "stopping",
        InstanceState::Ended => "ended",
        InstanceState::Failed => "failed",
        InstanceState::Lost => "lost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_run_is_told_to_the_second() {
        let run = RunView {
            name: "1a2b3c4d".to_owned(),
            state: RunState::Running,
            process: "web".to_owned(),
            program: "sh".to_owned(),
            by: "alice".to_owned(),
            begun: "2026-01-31T12:00:00.123456789Z".to_owned(),
            until: "2026-02-01T12:00:00.123456789Z".to_owned(),
            detached: true,
        };
        let table = run_lines(&[&run]);
        assert!(table.contains(&when(&run.until)) && !table.contains(".123"), "{table}");
        assert!(run_lines(&[&RunView { until: String::new(), ..run }]).contains("alice"), "an older agent's");
    }
}
