//! What engines show of an app's instances, as people read it. Pure: no call, no clock.

use std::collections::BTreeMap;

use crate::engines::nomad::{Allocation, TaskEvent};
use crate::model::Head;
use crate::model::head::{AppState, Wanted};
use crate::model::wire::{AppCondition, InstanceState, InstanceView, ProcessStatus};
use crate::operation::intended::counts_of;
use crate::resources::crash::{is_crashing, main_task, own_ends};
use crate::resources::health::Health;

/// What was seen of one app's instances.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) allocations: &'a [&'a Allocation],
    pub(super) health: &'a Health,
}

/// Whether Nomad has the app's job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobThere {
    Yes,
    /// None, or deregistered.
    No,
}

/// How many instances each process should have now.
pub(super) fn wanted(head: &Head, seen: &Seen<'_>) -> BTreeMap<String, u32> {
    let mut counts: BTreeMap<String, u32> =
        counts_of(head).into_iter().map(|(n, c)| (n.to_string(), c)).collect();
    if head.processes.is_empty() {
        // An older agent deployed it: what Nomad wants to run says it.
        for a in seen.allocations.iter().filter(|a| a.desired_status == "run") {
            *counts.entry(a.task_group.clone()).or_default() += 1;
        }
    }
    if head.wanted == Wanted::Stopped {
        counts = counts.into_keys().map(|name| (name, 0)).collect();
    }
    counts
}

/// Each process of an app.
pub(super) fn processes(head: &Head, seen: &Seen<'_>) -> Vec<ProcessStatus> {
    wanted(head, seen).into_iter().map(|(name, wanted)| process(head, name, wanted, seen)).collect()
}

fn process(head: &Head, name: String, wanted: u32, seen: &Seen<'_>) -> ProcessStatus {
    let mine: Vec<&Allocation> = seen.allocations.iter().copied().filter(|a| a.task_group == name).collect();
    let live = || mine.iter().filter(|a| !a.is_terminal());
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let is_running = |a: &&&Allocation| a.client_status == "running";
    let is_to_end = |a: &&&Allocation| a.desired_status != "run" || (wanted == 0 && head.operation.is_none());
    let is_there = |a: &&&Allocation| matches!(a.client_status.as_str(), "running" | "pending");
    let newest = mine.iter().max_by_key(|a| a.create_index);
    // Those that live, and the newest: what an older one did that is gone is over.
    let last = live().chain(newest).filter_map(|a| last_end(a)).max_by_key(|e| e.time);
    ProcessStatus {
        wanted,
        described: head.processes.iter().find(|(n, _)| n.as_str() == name).map(|(_, c)| *c),
        running: number(mine.iter().filter(is_running).filter(|a| !is_canary(a)).count()),
        healthy: number(live().filter(|a| !is_canary(a) && seen.health.is_well(a)).count()),
        canaries: number(mine.iter().filter(is_running).filter(|a| is_canary(a)).count()),
        healthy_canaries: number(live().filter(|a| is_canary(a) && seen.health.is_well(a)).count()),
        stopping: number(mine.iter().filter(is_there).filter(is_to_end).count()),
        restarts: live().flat_map(|a| a.task_states.values()).map(|t| t.restarts).sum(),
        exit_code: last.map(|e| e.exit_code),
        oom_killed: last.is_some_and(TaskEvent::is_oom),
        name,
    }
}

/// True of an instance of the next release that stands beside those of this one, until they are replaced.
fn is_canary(a: &Allocation) -> bool {
    let is_marked = a.deployment_status.as_ref().is_some_and(|d| d.canary);
    is_marked && !a.is_terminal() && a.desired_status == "run"
}

/// How the process's own task ended last by itself, which a stop, a restart or a replacement is not; what runs before it ends
/// well every time.
fn last_end(a: &Allocation) -> Option<&TaskEvent> {
    own_ends(main_task(a)?).map(|(_, e)| e).max_by_key(|e| e.time)
}

/// What the app is doing, and one sentence where that needs one.
pub(super) fn condition(
    head: &Head,
    job: JobThere,
    processes: &[ProcessStatus],
    seen: &Seen<'_>,
) -> (AppCondition, Option<String>) {
    if head.state == AppState::Failed {
        return (AppCondition::Failed, why(processes, seen));
    }
    let leaving =
        || seen.allocations.iter().any(|a| matches!(a.client_status.as_str(), "running" | "pending"));
    if head.wanted == Wanted::Stopped {
        return (if leaving() { AppCondition::Stopping } else { AppCondition::Stopped }, None);
    }
    if job == JobThere::No {
        return match head.operation {
            Some(_) => (AppCondition::Starting, None),
            None if leaving() => (AppCondition::Stopping, None),
            None => {
                let why = "nomad has no job of it any more; `terreau start` brings it back";
                (AppCondition::Stopped, Some(why.to_owned()))
            }
        };
    }
    let sum = |f: fn(&ProcessStatus) -> u32| processes.iter().map(f).sum::<u32>();
    if sum(|p| p.wanted) == 0 {
        return (AppCondition::Running, Some("every process is scaled to 0".to_owned()));
    }
    let short: Vec<&ProcessStatus> = processes.iter().filter(|p| p.all_healthy() < p.wanted).collect();
    if short.is_empty() {
        return (AppCondition::Running, None);
    }
    let fails = |p: &&ProcessStatus| {
        let mine = || seen.allocations.iter().filter(|a| a.task_group == p.name);
        let live = || mine().filter(|a| !a.is_terminal());
        p.all_healthy() == 0
            && (live().any(|a| is_crashing(a))
                || (live().next().is_none() && mine().any(|a| a.client_status == "failed")))
    };
    if short.iter().any(fails) {
        (AppCondition::Failed, why(processes, seen))
    } else {
        (AppCondition::Starting, None)
    }
}

/// Why what should run does not: how the last one ended, in words.
fn why(processes: &[ProcessStatus], seen: &Seen<'_>) -> Option<String> {
    let ill = processes.iter().filter(|p| p.all_healthy() < p.wanted || p.wanted == 0);
    let words = ill.filter_map(|p| {
        let ended = match (p.oom_killed, p.exit_code) {
            (true, _) => "was killed: it used more memory than its limit".to_owned(),
            (false, Some(code)) => format!("ended with exit code {code}"),
            (false, None) => {
                let mine = seen.allocations.iter().filter(|a| a.task_group == p.name);
                let events = mine.filter_map(|a| main_task(a)).flat_map(|t| &t.events);
                events
                    .filter(|e| {
                        matches!(
                            e.kind.as_str(),
                            "Driver Failure" | "Setup Failure" | "Failed Artifact Download"
                        )
                    })
                    .max_by_key(|e| e.time)?
                    .display_message
                    .clone()
            }
        };
        Some(format!("{} {ended}", p.name))
    });
    Some(words.collect::<Vec<_>>().join("; ")).filter(|w| !w.is_empty())
}

/// Which release instances run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Releases {
    /// The one that serves.
    pub(super) serving: Option<u64>,
    /// The one that comes, and the version of Nomad's job that is its.
    pub(super) coming: Option<(u64, u64)>,
    /// Whether a person decides on the one that comes.
    pub(super) held: bool,
}

impl Releases {
    fn of(self, a: &Allocation) -> Option<u64> {
        match self.coming {
            // What is ended or replaced may be of any release.
            _ if a.is_terminal() || a.desired_status != "run" => None,
            Some((number, version)) if a.job_version == Some(version) => Some(number),
            _ => self.serving,
        }
    }
}

/// One instance. `sites`: the site of each node, by id.
pub(super) fn instance(
    a: &Allocation,
    health: &Health,
    sites: &BTreeMap<String, String>,
    releases: Releases,
) -> InstanceView {
    let task = main_task(a);
    let end = last_end(a);
    InstanceView {
        id: a.id.clone(),
        process: a.task_group.clone(),
        node: a.node_name.clone(),
        site: sites.get(&a.node_id).cloned(),
        state: state(a, health),
        release: releases.of(a),
        canary: is_canary(a),
        held: releases.held && is_canary(a),
        since: if a.is_terminal() && a.client_status != "running" {
            task.and_then(|t| t.finished_at.clone())
        } else {
            task.filter(|t| t.state == "running").and_then(|t| t.started_at.clone())
        },
        restarts: task.map_or(0, |t| t.restarts),
        exit_code: end.map(|e| e.exit_code),
        signal: end.map(|e| e.signal).filter(|s| *s != 0),
        oom_killed: end.is_some_and(TaskEvent::is_oom),
    }
}

fn state(a: &Allocation, health: &Health) -> InstanceState {
    match a.client_status.as_str() {
        "running" | "pending" if a.desired_status != "run" => InstanceState::Stopping,
        "running" if health.is_well(a) => InstanceState::Healthy,
        "running" | "pending" if is_crashing(a) => InstanceState::Crashing,
        "running" => {
            let ill = a.deployment_status.as_ref().and_then(|d| d.healthy) == Some(false);
            let failing = health.checked(&a.id) == Some(false);
            // While it is rolled out nobody has called it ill yet.
            let rolled = a.deployment_status.as_ref().is_none_or(|d| d.healthy.is_some());
            if ill || (failing && rolled) { InstanceState::Unhealthy } else { InstanceState::Starting }
        }
        "complete" => InstanceState::Ended,
        "failed" => InstanceState::Failed,
        "lost" | "unknown" => InstanceState::Lost,
        _ => InstanceState::Starting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::consul::Check;
    use crate::engines::nomad::{AllocDeploymentStatus, TaskState};
    use crate::model::wire::Beside;
    use crate::model::{Placement, ProcessName, ProjectName, Uid};

    fn head(web: u32) -> Head {
        let uid = Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzz").unwrap();
        let mut head =
            Head::new(Placement::production(ProjectName::new("carnet").unwrap()), uid, String::new(), vec![]);
        head.state = AppState::Live;
        head.processes = BTreeMap::from([(ProcessName::new("web").unwrap(), web)]);
        head
    }

    fn event(kind: &str, exit_code: i64) -> TaskEvent {
        TaskEvent { kind: kind.into(), exit_code, ..TaskEvent::default() }
    }

    fn alloc(n: u8, client: &str, desired: &str, events: Vec<TaskEvent>) -> Allocation {
        let state = if client == "running" { "running" } else { "pending" };
        let task = TaskState { state: state.into(), events, ..TaskState::default() };
        Allocation {
            id: format!("{n:08}-1111-1111-1111-111111111111"),
            task_group: "web".into(),
            client_status: client.into(),
            desired_status: desired.into(),
            task_states: BTreeMap::from([("web".into(), task)]),
            ..Allocation::default()
        }
    }

    fn said(head: &Head, allocations: &[Allocation], passing: bool) -> AppCondition {
        let checks: Vec<Check> = allocations
            .iter()
            .map(|a| Check {
                service_id: format!("_nomad-task-{}-web-carnet-http", a.id),
                status: if passing { "passing" } else { "critical" }.into(),
                ..Check::default()
            })
            .collect();
        let all: Vec<&Allocation> = allocations.iter().collect();
        let health = Health::of(&checks);
        let seen = Seen { allocations: &all, health: &health };
        condition(head, JobThere::Yes, &processes(head, &seen), &seen).0
    }

    #[test]
    fn pt_63_each_condition_has_its_word() {
        let running = || vec![alloc(1, "running", "run", vec![])];
        assert_eq!(said(&head(1), &running(), true), AppCondition::Running);
        assert_eq!(said(&head(1), &running(), false), AppCondition::Starting);
        assert_eq!(said(&head(2), &running(), true), AppCondition::Starting);
        assert_eq!(said(&head(0), &[], true), AppCondition::Running, "scaled to 0 is not stopped");
        let mut stopped = head(1);
        stopped.wanted = Wanted::Stopped;
        assert_eq!(said(&stopped, &[alloc(1, "running", "stop", vec![])], true), AppCondition::Stopping);
        assert_eq!(said(&stopped, &[alloc(1, "complete", "stop", vec![])], true), AppCondition::Stopped);
        let crashed = vec![alloc(1, "pending", "run", vec![event("Terminated", 3)])];
        assert_eq!(said(&head(1), &crashed, false), AppCondition::Failed);
        assert_eq!(said(&head(1), &[alloc(1, "failed", "run", vec![])], false), AppCondition::Failed);
    }

    #[test]
    fn canaries_stand_beside_the_instances_that_are_wanted() {
        let canary = |n| {
            let deployed = AllocDeploymentStatus { canary: true, ..Default::default() };
            Allocation { deployment_status: Some(deployed), ..alloc(n, "running", "run", vec![]) }
        };
        let all = [alloc(1, "running", "run", vec![]), alloc(2, "running", "run", vec![]), canary(3)];
        let checks: Vec<Check> = all
            .iter()
            .map(|a| Check {
                service_id: format!("_nomad-task-{}-web-carnet-http", a.id),
                status: "passing".into(),
                ..Check::default()
            })
            .collect();
        let (health, all) = (Health::of(&checks), all.iter().collect::<Vec<_>>());
        let web =
            |all: &[&Allocation]| processes(&head(2), &Seen { allocations: all, health: &health }).remove(0);
        let held = web(&all);
        assert_eq!((held.wanted, held.healthy, held.running), (2, 2, 2));
        assert_eq!((held.canaries, held.words(Beside::Held).as_str()), (1, "2/2 healthy, 1 canary"));
        assert_eq!(web(&all[1..]).words(Beside::Held), "1/2 healthy, 1 canary");
        assert_eq!(web(&all[..2]).words(Beside::Held), "2/2 healthy");
        // Of an ordinary rollout nobody speaks of canaries.
        assert_eq!(held.words(Beside::Coming), "2/2 healthy, 1 new instance healthy");
        assert_eq!(held.words_with(2, 3), "2/2 healthy, 2 of 3 new instances healthy");
    }

    #[test]
    fn where_none_is_wanted_it_is_said_whether_some_are_left() {
        let words = |head: &Head, all: &[Allocation]| {
            let all: Vec<&Allocation> = all.iter().collect();
            let health = Health::of(&[]);
            processes(head, &Seen { allocations: &all, health: &health }).remove(0).words(Beside::Coming)
        };
        let none = head(0);
        // Before Nomad has heard of it, and after.
        assert_eq!(words(&none, &[alloc(1, "running", "run", vec![])]), "stopping");
        assert_eq!(words(&none, &[alloc(1, "running", "stop", vec![])]), "stopping");
        assert_eq!(words(&none, &[alloc(1, "complete", "stop", vec![])]), "stopped");
        // What is stopped, and is being deployed: its new instance does not end.
        let mut deployed = head(1);
        (deployed.wanted, deployed.operation) = (Wanted::Stopped, Some(deployed.uid.clone()));
        assert_eq!(words(&deployed, &[alloc(1, "running", "run", vec![])]), "stopped");
    }

    #[test]
    fn a_restart_that_was_asked_for_is_no_crash() {
        let events = vec![event("Restart Signaled", 0), event("Terminated", 143)];
        assert_eq!(said(&head(1), &[alloc(1, "pending", "run", events)], false), AppCondition::Starting);
    }

    #[test]
    fn only_an_end_that_nobody_asked_for_is_told_as_the_last_one() {
        let delay = || event("Waiting for shutdown delay", 0);
        let ended = |events| {
            let one = alloc(1, "running", "run", events);
            let health = Health::of(&[]);
            let web = process(&head(1), "web".into(), 1, &Seen { allocations: &[&one], health: &health });
            assert_eq!(
                web.exit_code,
                instance(&one, &health, &BTreeMap::new(), Releases::default()).exit_code
            );
            web.exit_code
        };
        assert_eq!(ended(vec![event("Restart Signaled", 0), event("Terminated", 143)]), None);
        assert_eq!(ended(vec![event("Killing", 0), delay(), event("Terminated", 143)]), None);
        let crash = || vec![event("Started", 0), event("Terminated", 3)];
        assert_eq!(ended(crash()), Some(3));
        let restart = [event("Started", 0), event("Restart Signaled", 0), event("Terminated", 143)];
        assert_eq!(
            ended([&crash()[..], &restart].concat()),
            Some(3),
            "the crash before it is still the last"
        );
        // One that crashed, beside a newer one that was scaled away.
        let gone = Allocation { create_index: 9, ..alloc(2, "complete", "stop", vec![]) };
        let (one, health) = (alloc(1, "running", "run", crash()), Health::of(&[]));
        let seen = |all: &[&Allocation]| {
            process(&head(1), "web".into(), 1, &Seen { allocations: all, health: &health }).exit_code
        };
        assert_eq!(seen(&[&one, &gone]), Some(3));
        let crashed = Allocation { client_status: "failed".into(), ..one.clone() };
        assert_eq!(seen(&[&crashed]), Some(3));
        assert_eq!(seen(&[&crashed, &gone]), None, "what came after it went well");
    }
}
