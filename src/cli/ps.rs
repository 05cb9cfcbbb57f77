//! `terreau ps`: an app's instances, one line each.

use super::args::PsArgs;
use super::client::{Client, app_path, escaped};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::printer::{age, table, when};
use super::{local, site, waiting};
use crate::model::Placement;
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

/// How long the name of a command that runs once is.
const NAME: usize = 8;

/// The whole name of the command that runs once and is meant by its first digits.
pub async fn run_named(client: &Client, app: &Placement, digits: &str) -> Result<String, Failure> {
    if digits.len() == NAME {
        return Ok(digits.to_owned());
    }
    let all: Instances = client.get(&app_path(app, "/instances")).await?;
    meant(app, &all.runs, digits)
}

/// The one that begins so.
fn meant(app: &Placement, runs: &[RunView], digits: &str) -> Result<String, Failure> {
    let found: Vec<&RunView> = runs.iter().filter(|r| r.name.starts_with(digits)).collect();
    match found.as_slice() {
        // Of an answer: a name goes into a path.
        [one] => Ok(escaped(&one.name)),
        [] => Err(Failure::new(ExitStatus::NotFound, format!("{app} has no run {digits}…")).hint(format!(
            "`terreau ps {app} --all` lists those that are known; of an older one the whole name is wanted"
        ))),
        several => {
            let what = format!("{} runs of {app} begin with {digits}", several.len());
            Err(Failure::usage(what).painted(run_lines(several)).hint("write more of the name"))
        }
    }
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

    fn run(name: &str) -> RunView {
        RunView {
            name: name.to_owned(),
            state: RunState::Running,
            process: "web".to_owned(),
            program: "sh".to_owned(),
            by: "alice".to_owned(),
            begun: "2026-01-31T12:00:00.123456789Z".to_owned(),
            until: "2026-02-01T12:00:00.123456789Z".to_owned(),
            detached: true,
        }
    }

    #[test]
    fn a_run_is_meant_by_the_beginning_of_its_name_where_no_other_begins_so() {
        let app: Placement = "carnet".parse().unwrap();
        let runs = [run("1a2b3c4d"), run("1aff0000"), run("9a2b3c4d")];
        assert_eq!(meant(&app, &runs, "9"), Ok("9a2b3c4d".to_owned()));
        assert_eq!(meant(&app, &runs, "1a2"), Ok("1a2b3c4d".to_owned()));
        let several = meant(&app, &runs, "1a").unwrap_err();
        assert_eq!(
            (several.status, several.message.as_str()),
            (ExitStatus::Usage, "2 runs of carnet begin with 1a")
        );
        let listed = &several.details[0];
        assert!(listed.contains("1a2b3c4d") && listed.contains("1aff0000"), "{listed}");
        assert!(!listed.contains("9a2b3c4d"), "{listed}");
        assert_eq!(meant(&app, &runs, "2").unwrap_err().status, ExitStatus::NotFound);
    }

    #[test]
    fn the_end_of_a_run_is_told_to_the_second() {
        let run = run("1a2b3c4d");
        let table = run_lines(&[&run]);
        assert!(table.contains(&when(&run.until)) && !table.contains(".123"), "{table}");
        assert!(run_lines(&[&RunView { until: String::new(), ..run }]).contains("alice"), "an older agent's");
    }
}
