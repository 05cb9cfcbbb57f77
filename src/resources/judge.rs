//! What Nomad shows of a job that is being rolled out, and what it means. Pure: no call, no clock.

use std::collections::{BTreeMap, BTreeSet};

use super::crash;
use crate::engines::nomad::{AllocMetric, Allocation, Deployment, Evaluation};

/// What Nomad shows of a job.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// `JobModifyIndex` of the stored job; `None` where there is none, or it is stopped.
    pub job_index: Option<u64>,
    /// Versions of the job by `JobModifyIndex`.
    pub versions: BTreeMap<u64, u64>,
    /// Its deployments.
    pub deployments: Vec<Deployment>,
    /// Its evaluations.
    pub evaluations: Vec<Evaluation>,
    /// Its allocations.
    pub allocations: Vec<Allocation>,
    /// Within how many nanoseconds of its making an instance must be healthy, by group.
    pub deadlines: BTreeMap<String, i64>,
}

/// A failure in words, and where to read more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failure {
    /// One reason a line.
    pub why: Vec<String>,
    /// Allocation and task whose logs tell more.
    pub logs: Option<(String, String)>,
}

/// What a snapshot means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Go on waiting; what can be said meanwhile.
    Waiting(Vec<String>),
    /// Healthy.
    Healthy,
    /// The canaries are healthy, and wait for a person.
    Held,
    /// It will not get healthy: end its deployment (by id, where there is one).
    GiveUp(Option<String>, Failure),
    /// Nomad has ended it; `Some` index: and gone back to an older version.
    Ended(Option<u64>, Failure),
    /// Somebody registered something else over it.
    Superseded,
}

/// Judges.
pub fn judge(seen: &Snapshot, registered: u64) -> Judgement {
    let has_failed_here = |d: &&Deployment| d.job_spec_modify_index == registered && d.status == "failed";
    let Some(current) = seen.job_index else {
        // A first release that was given up on, and whose job was stopped for it: the one who did so was cut off.
        return match seen.deployments.iter().find(has_failed_here) {
            Some(_) => Judgement::Ended(None, explain(Vec::new(), of_version(seen, registered))),
            None => Judgement::Superseded,
        };
    };
    let mine = || of_version(seen, registered);
    let deployment = seen.deployments.iter().find(|d| d.job_spec_modify_index == registered);
    let failure = |first: Vec<String>| explain(first, mine());
    if let Some(d) = deployment {
        match d.status.as_str() {
            "successful" => return Judgement::Healthy,
            "failed" => {
                let back = (current != registered).then_some(current);
                return Judgement::Ended(back, failure(Vec::new()));
            }
            "cancelled" => return Judgement::Superseded,
            "running" if current == registered && d.is_held() => return Judgement::Held,
            _ => {}
        }
    }
    if current != registered {
        // A deployment that was seen to run will say why: Nomad went back, or somebody's registration cancels it.
        return if deployment.is_some() { Judgement::Waiting(Vec::new()) } else { Judgement::Superseded };
    }
    if let Some(failed) = mine().find(|a| has_failed(a)) {
        let only = explain(Vec::new(), std::iter::once(failed));
        return Judgement::GiveUp(deployment.map(|d| d.id.clone()), only);
    }
    let evaluations: Vec<&Evaluation> =
        seen.evaluations.iter().filter(|e| e.job_modify_index == registered).collect();
    // A later evaluation may have found the room that an earlier one missed.
    let last = evaluations.iter().filter(|e| e.status == "complete").max_by_key(|e| e.modify_index);
    if let Some(e) = last
        && !e.failed_tg_allocs.is_empty()
    {
        let why = e.failed_tg_allocs.iter().flat_map(|(group, metric)| placement(group, metric)).collect();
        return Judgement::GiveUp(deployment.map(|d| d.id.clone()), Failure { why, logs: None });
    }
    if let Some(e) = evaluations.iter().find(|e| e.status == "failed") {
        let why = vec![format!("nomad's scheduler failed: {}", e.status_description)];
        return Judgement::GiveUp(deployment.map(|d| d.id.clone()), Failure { why, logs: None });
    }
    // Nothing to roll out (no instances, or nothing that a deployment would watch): the evaluation's end is the end.
    if deployment.is_none() && evaluations.iter().any(|e| e.status == "complete") {
        return Judgement::Healthy;
    }
    Judgement::Waiting(mine().map(|a| describe_upon(a, registered)).collect())
}

/// A rollout that somebody has given up on: its deployment (also one that waits or is paused), and what is known of it. `None`: there is nothing
/// (yet, or any more) to be ended.
pub fn given_up(seen: &Snapshot, registered: u64) -> Option<(String, Failure)> {
    let is_over = |d: &Deployment| matches!(d.status.as_str(), "failed" | "successful" | "cancelled");
    let goes_on = |d: &&Deployment| d.job_spec_modify_index == registered && !is_over(d);
    let deployment = seen.deployments.iter().find(goes_on).filter(|_| seen.job_index == Some(registered))?;
    Some((deployment.id.clone(), explain(Vec::new(), of_version(seen, registered))))
}

/// Instances that run and are not healthy yet.
pub fn not_yet_healthy(seen: &Snapshot, registered: u64) -> impl Iterator<Item = &Allocation> {
    let is_healthy = |a: &Allocation| a.deployment_status.as_ref().is_some_and(|d| d.healthy.is_some());
    of_version(seen, registered).filter(move |a| a.client_status == "running" && !is_healthy(a))
}

/// A line for each instance that is healthy, of a rollout that has come through.
pub fn reached(seen: &Snapshot, registered: u64) -> impl Iterator<Item = String> {
    let is_healthy = |a: &&Allocation| a.deployment_status.as_ref().and_then(|d| d.healthy) == Some(true);
    of_version(seen, registered).filter(|a| !a.is_terminal()).filter(is_healthy).map(describe)
}

/// When the first instance whose health is not known yet has to be healthy. `None`: there is none, or Nomad does not say.
pub fn until(seen: &Snapshot, registered: u64) -> Option<jiff::Timestamp> {
    let waits = |a: &&Allocation| {
        a.desired_status == "run" && a.deployment_status.as_ref().is_none_or(|d| d.healthy.is_none())
    };
    let end = |a: &Allocation| {
        let made = Some(a.create_time).filter(|made| *made > 0)?;
        made.checked_add(*seen.deadlines.get(&a.task_group)?)
    };
    let first = of_version(seen, registered).filter(waits).filter_map(end).min()?;
    jiff::Timestamp::from_nanosecond(first.into()).ok()
}

pub(super) fn of_version(seen: &Snapshot, registered: u64) -> impl Iterator<Item = &Allocation> {
    let version = seen.versions.get(&registered).copied();
    seen.allocations.iter().filter(move |a| version.is_some() && a.version() == version)
}

/// Nomad's word on it: its checks did not pass within `healthy_deadline`. Nomad itself would place another one and go
/// on until `progress_deadline`.
fn is_unhealthy(a: &Allocation) -> bool {
    a.deployment_status.as_ref().and_then(|d| d.healthy) == Some(false)
}

fn has_failed(a: &Allocation) -> bool {
    let failed = a.client_status == "failed" || is_unhealthy(a);
    failed || a.task_states.values().any(|t| t.failed || crash::loops(t))
}

/// One line on an instance of a rollout. One that was there before it is kept as it is, and Nomad says anew that it is healthy.
fn describe_upon(a: &Allocation, registered: u64) -> String {
    let is_kept = (1..registered).contains(&a.create_index);
    let is_asked_anew = a.deployment_status.as_ref().is_none_or(|d| d.healthy.is_none());
    if a.client_status == "running" && is_kept && is_asked_anew {
        return format!(
            "instance {} of {} on {}: runs on, and its health is looked at anew",
            short(&a.id),
            a.task_group,
            a.node_name
        );
    }
    describe(a)
}

/// One line on an instance.
fn describe(a: &Allocation) -> String {
    let healthy = a.deployment_status.as_ref().and_then(|d| d.healthy);
    let state = match (a.client_status.as_str(), healthy) {
        (_, Some(true)) => "healthy",
        (_, Some(false)) => "unhealthy",
        ("running", None) => "running, not healthy yet",
        ("pending", _) => "starting",
        (other, _) => other,
    };
    format!("instance {} of {} on {}: {state}", short(&a.id), a.task_group, a.node_name)
}

/// The first eight digits of an id, as Nomad itself shows it.
pub fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// Why there is no room, in words: which constraint, which resource, on how many nodes.
pub fn placement(group: &str, m: &AllocMetric) -> Vec<String> {
    let mut why = Vec::new();
    if m.nodes_evaluated == 0 {
        let sites: Vec<String> = m.nodes_available.iter().map(|(dc, n)| format!("{dc}: {n} nodes")).collect();
        why.push(format!(
            "{group}: no node is eligible ({})",
            if sites.is_empty() { "none at these sites".into() } else { sites.join(", ") }
        ));
    }
    for (constraint, nodes) in &m.constraint_filtered {
        // Nomad adds it to whatever has a service or reads keys; it is about what a node's own client sees beside it.
        let unseen = match (constraint.contains("${attr.consul."), nodes) {
            (false, _) => "",
            (true, 1) => " (nomad sees no consul agent on that node (yet), or an older one)",
            (true, _) => " (nomad sees no consul agent on those nodes (yet), or older ones)",
        };
        let of = m.nodes_evaluated;
        why.push(format!("{group}: {nodes} of {of} nodes do not satisfy {constraint}{unseen}"));
    }
    for (dimension, nodes) in &m.dimension_exhausted {
        why.push(format!("{group}: {nodes} of {} nodes have no room left: {dimension}", m.nodes_evaluated));
    }
    for quota in &m.quota_exhausted {
        why.push(format!("{group}: quota reached: {quota}"));
    }
    if why.is_empty() {
        why.push(format!("{group}: nomad found no node for it"));
    }
    why
}

fn explain<'a>(mut why: Vec<String>, allocations: impl Iterator<Item = &'a Allocation>) -> Failure {
    let mut logs = None;
    let mut said = BTreeSet::new();
    for a in allocations {
        for (task, state) in &a.task_states {
            let own: Vec<usize> = crash::own_ends(state).map(|(n, _)| n).collect();
            for (n, event) in state.events.iter().enumerate() {
                let line = match event.kind.as_str() {
                    // Its task has failed, and that is said: whether Nomad says this too depends on the moment.
                    "Alloc Unhealthy" if event.display_message.contains("because of failed task") => continue,
                    // That it was ended for this is no reason of it.
                    "Terminated" if !own.contains(&n) => continue,
                    "Terminated" if event.is_oom() => {
                        format!("{task} was killed: it used more memory than its limit")
                    }
                    "Terminated" if event.exit_code != 0 || event.signal != 0 => match event.signal {
                        0 => format!("{task} ended with exit code {}", event.exit_code),
                        s => format!("{task} was ended by signal {s}"),
                    },
                    "Driver Failure"
                    | "Setup Failure"
                    | "Failed Artifact Download"
                    | "Template"
                    | "Failed Validation"
                    | "Alloc Unhealthy"
                    | "Restart Signaled" => {
                        format!("{task}: {}", event.display_message)
                    }
                    _ => continue,
                };
                logs.get_or_insert_with(|| (a.id.clone(), task.clone()));
                if said.insert(line.clone()) {
                    why.push(line);
                }
            }
        }
        if logs.is_none()
            && a.deployment_status.as_ref().and_then(|d| d.healthy) != Some(true)
            && let Some(task) =
                a.task_states.keys().find(|t| *t == &a.task_group).or(a.task_states.keys().next())
        {
            logs = Some((a.id.clone(), task.clone()));
            why.push(format!("{}; its check has not passed", describe(a)));
        }
    }
    Failure { why, logs }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::nomad::{AllocDeploymentStatus, TaskEvent, TaskState};

    fn snapshot() -> Snapshot {
        Snapshot {
            job_index: Some(20),
            versions: BTreeMap::from([(10, 0), (20, 1)]),
            deployments: vec![Deployment {
                id: "d".into(),
                status: "running".into(),
                job_spec_modify_index: 20,
                ..Deployment::default()
            }],
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_running_deployment_is_waited_for_and_a_successful_one_is_healthy() {
        let mut s = snapshot();
        assert!(matches!(judge(&s, 20), Judgement::Waiting(_)));
        s.deployments[0].status = "successful".into();
        assert_eq!(judge(&s, 20), Judgement::Healthy);
    }

    #[test]
    fn what_has_come_through_says_of_each_instance_that_it_is_healthy() {
        let mut s = snapshot();
        let made = |id: &str, client: &str, version| Allocation {
            id: id.into(),
            task_group: "web".into(),
            node_name: "n".into(),
            client_status: client.into(),
            desired_status: if client == "running" { "run" } else { "stop" }.into(),
            job_version: Some(version),
            deployment_status: Some(AllocDeploymentStatus { healthy: Some(true), canary: false }),
            ..Allocation::default()
        };
        s.allocations =
            vec![made("one", "running", 1), made("gone", "complete", 1), made("old", "running", 0)];
        assert_eq!(reached(&s, 20).collect::<Vec<_>>(), ["instance one of web on n: healthy"]);
    }

    #[test]
    fn an_instance_that_was_there_before_is_not_called_unhealthy_while_it_is_looked_at_anew() {
        let mut s = snapshot();
        let made = |id: &str, at: u64, healthy: Option<bool>| Allocation {
            id: id.into(),
            task_group: "web".into(),
            node_name: "n".into(),
            client_status: "running".into(),
            job_version: Some(1),
            create_index: at,
            deployment_status: Some(AllocDeploymentStatus { healthy, ..AllocDeploymentStatus::default() }),
            ..Allocation::default()
        };
        s.allocations = vec![made("kept", 5, None), made("new", 21, None), made("well", 5, Some(true))];
        let Judgement::Waiting(lines) = judge(&s, 20) else { panic!() };
        assert_eq!(
            lines,
            [
                "instance kept of web on n: runs on, and its health is looked at anew",
                "instance new of web on n: running, not healthy yet",
                "instance well of web on n: healthy",
            ]
        );
    }

    #[test]
    fn healthy_canaries_are_held_only_where_nobody_promotes_them_and_all_else_is_healthy() {
        use crate::engines::nomad::DeploymentGroup;
        let mut s = snapshot();
        let web = DeploymentGroup {
            desired_canaries: 2,
            desired_total: 3,
            healthy_allocs: 2,
            ..DeploymentGroup::default()
        };
        let worker = DeploymentGroup { desired_total: 2, healthy_allocs: 2, ..DeploymentGroup::default() };
        let mut with = |change: &dyn Fn(&mut DeploymentGroup, &mut DeploymentGroup)| {
            let (mut web, mut worker) = (web.clone(), worker.clone());
            change(&mut web, &mut worker);
            s.deployments[0].task_groups = BTreeMap::from([("web".into(), web), ("worker".into(), worker)]);
            judge(&s, 20)
        };
        assert_eq!(with(&|_, _| ()), Judgement::Held);
        assert!(matches!(with(&|web, _| web.auto_promote = true), Judgement::Waiting(_)));
        assert!(matches!(with(&|web, _| web.healthy_allocs = 1), Judgement::Waiting(_)));
        assert!(matches!(with(&|web, _| web.promoted = true), Judgement::Waiting(_)));
        assert!(matches!(with(&|_, worker| worker.healthy_allocs = 1), Judgement::Waiting(_)));
        s.job_index = Some(30);
        assert_ne!(judge(&s, 20), Judgement::Held, "somebody else's job stands there");
    }

    #[test]
    fn it_is_waited_until_the_first_instance_whose_health_is_not_known_has_to_be_healthy() {
        let mut s = snapshot();
        let second = |n: i64| n * 1_000_000_000;
        let made = |id: &str, at: i64, healthy: Option<bool>| Allocation {
            id: id.into(),
            task_group: "web".into(),
            desired_status: "run".into(),
            job_version: Some(1),
            create_time: second(at),
            deployment_status: Some(AllocDeploymentStatus { healthy, ..AllocDeploymentStatus::default() }),
            ..Allocation::default()
        };
        s.allocations = vec![made("a", 1, Some(true)), made("b", 200, None), made("c", 100, None)];
        assert_eq!(until(&s, 20), None, "nobody says within how long");
        s.deadlines = BTreeMap::from([("web".to_owned(), second(300))]);
        assert_eq!(until(&s, 20).unwrap().as_second(), 400);
        s.allocations.truncate(1);
        assert_eq!(until(&s, 20), None);
    }

    #[test]
    fn a_task_that_crashes_again_and_again_is_given_up_on_with_its_exit_code() {
        let mut s = snapshot();
        let event = TaskEvent { kind: "Terminated".into(), exit_code: 3, ..TaskEvent::default() };
        let state = TaskState { events: vec![event.clone(), event], ..TaskState::default() };
        s.allocations = vec![Allocation {
            id: "a".into(),
            job_version: Some(1),
            task_states: BTreeMap::from([("web".into(), state)]),
            ..Allocation::default()
        }];
        let Judgement::GiveUp(Some(d), failure) = judge(&s, 20) else { panic!() };
        assert_eq!((d.as_str(), failure.why), ("d", vec!["web ended with exit code 3".to_owned()]));
        assert_eq!(failure.logs, Some(("a".into(), "web".into())));
    }

    #[test]
    fn ends_that_a_person_asked_for_are_no_crashes() {
        let mut s = snapshot();
        let event = |kind: &str, signal| TaskEvent {
            kind: kind.into(),
            signal,
            display_message: "User requested running tasks to restart".into(),
            ..TaskEvent::default()
        };
        let restart = || [event("Restart Signaled", 0), event("Terminated", 15), event("Started", 0)];
        let state = TaskState { events: (0..3).flat_map(|_| restart()).collect(), ..TaskState::default() };
        s.allocations = vec![Allocation {
            id: "a".into(),
            job_version: Some(1),
            client_status: "running".into(),
            task_states: BTreeMap::from([("web".into(), state)]),
            ..Allocation::default()
        }];
        assert!(matches!(judge(&s, 20), Judgement::Waiting(_)), "{:?}", judge(&s, 20));
        let state = s.allocations[0].task_states.get_mut("web").unwrap();
        state.events.extend([event("Terminated", 9), event("Started", 0), event("Terminated", 9)]);
        assert!(matches!(judge(&s, 20), Judgement::GiveUp(..)));
    }

    #[test]
    fn an_instance_that_nomad_calls_unhealthy_is_given_up_on() {
        let mut s = snapshot();
        s.allocations = vec![Allocation {
            id: "a".into(),
            job_version: Some(1),
            client_status: "running".into(),
            ..Allocation::default()
        }];
        for (healthy, given_up) in [(None, false), (Some(true), false), (Some(false), true)] {
            s.allocations[0].deployment_status = Some(AllocDeploymentStatus { healthy, canary: false });
            assert_eq!(matches!(judge(&s, 20), Judgement::GiveUp(..)), given_up, "{healthy:?}");
        }
    }

    #[test]
    fn a_failed_deployment_says_whether_nomad_went_back() {
        let mut s = snapshot();
        s.deployments[0].status = "failed".into();
        assert!(matches!(judge(&s, 20), Judgement::Ended(None, _)));
        s.job_index = Some(30);
        assert!(matches!(judge(&s, 20), Judgement::Ended(Some(30), _)));
        s.job_index = None;
        assert!(matches!(judge(&s, 20), Judgement::Ended(None, _)), "its job was stopped for it");
    }

    #[test]
    fn what_somebody_else_registered_is_not_ours_to_judge() {
        let mut s = snapshot();
        s.job_index = Some(30);
        // Nomad's own way back, seen between its two reads, would look the same.
        assert_eq!(judge(&s, 20), Judgement::Waiting(Vec::new()));
        s.deployments[0].status = "cancelled".into();
        assert_eq!(judge(&s, 20), Judgement::Superseded);
        s.deployments.clear();
        assert_eq!(judge(&s, 20), Judgement::Superseded);
        s.job_index = None;
        assert_eq!(judge(&s, 20), Judgement::Superseded);
    }

    #[test]
    fn a_node_without_a_consul_agent_is_called_so() {
        let why = |nodes| {
            let constraint = "${attr.consul.version} semver >= 1.8.0".to_owned();
            let filtered = BTreeMap::from([(constraint, nodes), ("${node.class} = a".to_owned(), nodes)]);
            let m =
                AllocMetric { nodes_evaluated: 3, constraint_filtered: filtered, ..AllocMetric::default() };
            placement("web", &m)
        };
        let [consul, other] = &why(1)[..] else { panic!() };
        assert!(
            consul.starts_with(
                "web: 1 of 3 nodes do not satisfy ${attr.consul.version} semver >= 1.8.0 (nomad sees no"
            ) && consul.contains("consul agent on that node (yet)"),
            "{consul}"
        );
        assert!(!other.contains("consul"), "{other}");
        assert!(why(3)[0].contains("on those nodes (yet)"));
    }

    #[test]
    fn no_room_names_the_constraint_and_the_nodes() {
        let mut s = snapshot();
        let metric = AllocMetric {
            nodes_evaluated: 3,
            constraint_filtered: BTreeMap::from([("${node.unique.name} = x".into(), 3)]),
            ..AllocMetric::default()
        };
        s.evaluations = vec![Evaluation {
            status: "complete".into(),
            job_modify_index: 20,
            failed_tg_allocs: BTreeMap::from([("web".into(), metric)]),
            ..Evaluation::default()
        }];
        let Judgement::GiveUp(_, failure) = judge(&s, 20) else { panic!() };
        assert_eq!(failure.why, ["web: 3 of 3 nodes do not satisfy ${node.unique.name} = x"]);
    }
}
