//! `terreau status`: what one app is doing, or all of them.

use anstyle::Style;

use super::args::StatusArgs;
use super::client::app_path;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::printer::{DIM, GREEN, RED, YELLOW, age, table, when};
use super::{local, operations, ps, waiting};
use crate::model::wire::{AppCondition, AppStatus, Apps, Beside, InstanceState, InstanceView, ProcessStatus};

/// Runs it.
pub fn run(args: &StatusArgs, cx: &Context) -> Ran {
    let client = cx.client()?;
    // Neither named nor in a project's folder: all of them.
    let all = args.all || (args.app.app.is_none() && local::find(None).is_err());
    let app = if all { None } else { Some(local::app(args.app.app.as_ref(), cx.printer)?) };
    waiting(async {
        let Some(app) = app else {
            let apps: Apps = client.get("/v1/apps").await?;
            if args.json {
                cx.printer.json(&apps)?;
            } else if apps.apps.is_empty() {
                cx.printer.say("there are no apps yet");
                cx.printer.hint("`terreau init` and `terreau deploy` make the first one");
            } else {
                cx.printer.data(overview(&apps.apps))?;
            }
            return Ok(ExitStatus::Done);
        };
        let status: AppStatus = client.get(&app_path(&app, "")).await?;
        if args.json {
            cx.printer.json(&status)?;
            return Ok(ExitStatus::Done);
        }
        one(&status, cx)?;
        Ok(ExitStatus::Done)
    })
}

/// Runs `terreau ls`: all of them, where none is named.
pub fn list(args: StatusArgs, cx: &Context) -> Ran {
    let all = args.all || args.app.app.is_none();
    run(&StatusArgs { all, ..args }, cx)
}

fn overview(apps: &[AppStatus]) -> String {
    let now = jiff::Timestamp::now();
    let rows: Vec<Vec<String>> = apps
        .iter()
        .map(|a| {
            let ago = |at: &str| format!("{} ago", age(at, now));
            let drift =
                (!a.drift.is_empty()).then(|| format!("changed outside of Terreau: terreau drift {}", a.app));
            let page = a.maintenance.as_ref().map(|_| "visitors see a maintenance page");
            vec![
                harmless(&a.app),
                word(a.status).to_owned(),
                a.release.map(|n| n.to_string()).unwrap_or_default(),
                instances(&a.processes),
                a.last_change.as_ref().map(|l| ago(&l.at)).unwrap_or_default(),
                harmless(
                    a.why
                        .as_deref()
                        .or(page)
                        .or(drift.as_deref())
                        .or(a.urls.first().map(String::as_str))
                        .unwrap_or_default(),
                ),
            ]
        })
        .collect();
    table(&["APP", "STATUS", "RELEASE", "HEALTHY", "CHANGED", "WHERE"], &rows)
}

fn one(a: &AppStatus, cx: &Context) -> Result<(), Failure> {
    let style = colour(a.status);
    let mut line = format!("{} is {style}{}{style:#}", harmless(&a.app), word(a.status));
    if let Some(n) = a.release {
        let at = a.released_at.as_deref().map(|t| format!(" of {}", when(t))).unwrap_or_default();
        line = format!("{line}, release {n}{at}");
    }
    cx.printer.data(line)?;
    if let Some(stop) = &a.stopped {
        cx.printer.data(format!("  stopped by {} at {}", harmless(&stop.by), when(&stop.at)))?;
    }
    if let Some(page) = &a.maintenance {
        cx.printer.data(format!(
            "  {YELLOW}visitors see a maintenance page{YELLOW:#}, put up by {} at {}: terreau maintenance off",
            harmless(&page.by),
            when(&page.at)
        ))?;
    }
    let by = a.released_by.as_ref().map(|b| format!("by {b}"));
    let commit = a.source.as_ref().map(|s| format!("commit {}", s.words()));
    let about: Vec<String> = [by, commit, a.message.clone()].into_iter().flatten().collect();
    if !about.is_empty() {
        cx.printer.data(format!("  {DIM}{}{DIM:#}", harmless(&about.join(": ")).replace('\n', " ")))?;
    }
    if let Some(why) = &a.why {
        cx.printer.data(format!("  {}", harmless(why)))?;
    }
    if !a.drift.is_empty() {
        let what: Vec<String> = a.drift.iter().map(|d| format!("{} {}", d.kind, d.id)).collect();
        cx.printer.data(format!(
            "  {YELLOW}changed outside of Terreau{YELLOW:#}: {}: terreau drift {}",
            harmless(&what.join(", ")),
            harmless(&a.app)
        ))?;
    }
    for url in &a.urls {
        cx.printer.data(format!("  {}", harmless(url)))?;
    }
    for p in &a.processes {
        cx.printer.data(format!("  {}", process(p, a)))?;
    }
    if !a.instances.is_empty() {
        let lines = ps::lines(&a.instances);
        for line in lines.lines() {
            cx.printer.data(format!("    {line}"))?;
        }
    }
    if !a.resources.is_empty() {
        let owns: Vec<String> =
            a.resources.iter().map(|r| format!("{} {}", harmless(&r.kind), harmless(&r.id))).collect();
        cx.printer.data(format!("  {DIM}owns {}{DIM:#}", owns.join(", ")))?;
    }
    if !a.owners.is_empty() {
        cx.printer.data(format!("  {DIM}owned by {}{DIM:#}", harmless(&a.owners.join(", "))))?;
    }
    if let Some(n) = a.held {
        cx.printer.data(format!(
            "  {YELLOW}canaries of release {n} are held{YELLOW:#}: terreau deploy --promote, or terreau deploy --revert"
        ))?;
    }
    if let Some(id) = &a.operation {
        cx.printer.data(format!("  a change is under way: terreau operations follow {}", harmless(id)))?;
        let lines = operations::waits(a.waits.as_ref(), id);
        lines.into_iter().try_for_each(|line| cx.printer.data(format!("  {line}")))?;
    }
    if let Some(last) = &a.last_change {
        let by = last.by.as_deref().map(|b| format!(" by {}", harmless(b))).unwrap_or_default();
        let (verb, summary) = (harmless(&last.verb), harmless(&last.summary));
        cx.printer.data(format!("  {DIM}last change: {verb}{by} at {}: {summary}{DIM:#}", when(&last.at)))?;
    }
    Ok(())
}

fn process(p: &ProcessStatus, of: &AppStatus) -> String {
    // Instances of a release that takes over by itself.
    let is_new =
        |i: &&InstanceView| i.process == p.name && !i.held && of.release.is_some() && i.release > of.release;
    let new = || of.instances.iter().filter(is_new);
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let well = number(new().filter(|i| i.state == InstanceState::Healthy).count());
    let words = match (of.held, number(new().count())) {
        (Some(_), _) => p.words(Beside::Held),
        (None, 0) => p.words(Beside::Coming),
        (None, n) => p.words_with(well, n.max(p.wanted)),
    };
    let mut line = format!("{}: {words}", harmless(&p.name));
    if p.wanted > 0 || p.running > 0 {
        line = format!("{line}, {} running", p.running);
    }
    if let Some(described) = p.described.filter(|d| *d != p.wanted) {
        line = format!("{line} (the descriptor says {described})");
    }
    if p.restarts > 0 {
        let times = if p.restarts == 1 { "restart" } else { "restarts" };
        line = format!("{line}, {} {times}", p.restarts);
    }
    if p.oom_killed {
        line += ", last one killed: out of memory";
    } else if let Some(code) = p.exit_code {
        line = format!("{line}, last one ended with exit code {code}");
    }
    line
}

fn instances(processes: &[ProcessStatus]) -> String {
    if processes.is_empty() {
        return String::new();
    }
    let sum = |f: fn(&ProcessStatus) -> u32| processes.iter().map(f).fold(0, u32::saturating_add);
    let canaries = match sum(|p| p.canaries) {
        0 => String::new(),
        n => format!(" +{n}"),
    };
    format!("{}/{}{canaries}", sum(|p| p.healthy), sum(|p| p.wanted))
}

fn word(condition: AppCondition) -> &'static str {
    match condition {
        AppCondition::Unknown => "unknown",
        AppCondition::Starting => "starting",
        AppCondition::Running => "running",
        AppCondition::Stopping => "stopping",
        AppCondition::Stopped => "stopped",
        AppCondition::Asleep => "asleep",
        AppCondition::Failed => "failed",
    }
}

fn colour(condition: AppCondition) -> Style {
    match condition {
        AppCondition::Running => GREEN,
        AppCondition::Failed => RED,
        AppCondition::Starting | AppCondition::Stopping | AppCondition::Unknown => YELLOW,
        AppCondition::Stopped | AppCondition::Asleep => DIM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(release: u64, state: InstanceState, canary: bool) -> InstanceView {
        InstanceView {
            id: "1a2b3c4d".to_owned(),
            process: "web".to_owned(),
            node: "n".to_owned(),
            site: None,
            state,
            release: Some(release),
            canary,
            held: false,
            since: None,
            restarts: 0,
            exit_code: None,
            signal: None,
            oom_killed: false,
        }
    }

    #[test]
    fn an_ordinary_rollout_has_new_instances_and_only_held_ones_are_canaries() {
        use InstanceState::{Healthy, Starting};
        let web = ProcessStatus {
            name: "web".to_owned(),
            wanted: 3,
            described: None,
            running: 3,
            healthy: 3,
            canaries: 1,
            healthy_canaries: 1,
            stopping: 0,
            restarts: 0,
            exit_code: None,
            oom_killed: false,
        };
        let old = || instance(1, Healthy, false);
        let mut app = AppStatus {
            release: Some(1),
            instances: vec![old(), old(), old(), instance(2, Starting, true)],
            ..AppStatus::default()
        };
        assert_eq!(process(&web, &app), "web: 3/3 healthy, 0 of 3 new instances healthy, 3 running");
        let table = ps::lines(&app.instances);
        assert!(table.contains("starting, new") && !table.contains("canary"), "{table}");
        app.instances = vec![old(), instance(2, Healthy, false), instance(2, Healthy, false)];
        assert_eq!(process(&web, &app), "web: 3/3 healthy, 2 of 3 new instances healthy, 3 running");
        app.instances = vec![old(), InstanceView { held: true, ..instance(2, Healthy, true) }];
        app.held = Some(2);
        assert_eq!(process(&web, &app), "web: 3/3 healthy, 1 canary, 3 running");
        assert!(ps::lines(&app.instances).contains("healthy, canary"));
        let first = AppStatus { instances: vec![instance(1, Starting, false)], ..AppStatus::default() };
        assert!(!process(&web, &first).contains(" of 3 new"), "a first release is new as a whole");
    }
}
