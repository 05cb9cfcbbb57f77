//! Waits until Nomad calls a release healthy, or gives up on it: by the event stream, never by a timer.
//!
//! Each change on the stream is only a reason to look again; what is seen is judged by [`judge`], which is pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Evidence, Work, evidence, job};
use crate::engines::nomad::{AllocMetric, Allocation, Deployment, Evaluation, JobView, Purge, TaskState};
use crate::engines::{Engine, EngineError, Fault};
use crate::store::records::{First, StepSpec};

/// How often a task may end badly before the release is given up on.
const CRASHES: usize = 2;
/// The key of the verdict in evidence.
pub const VERDICT: &str = "verdict";
/// The key of the reasons, one a line.
pub const WHY: &str = "why";
/// The instance whose logs tell more.
pub const ALLOCATION: &str = "allocation";
/// Its task.
pub const TASK: &str = "task";

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
    /// It will not get healthy: end its deployment (by id, where there is one).
    GiveUp(Option<String>, Failure),
    /// Nomad has ended it; `Some` index: and gone back to an older version.
    Ended(Option<u64>, Failure),
    /// Somebody registered something else over it.
    Superseded,
}

/// Judges.
pub fn judge(seen: &Snapshot, registered: u64) -> Judgement {
    let Some(current) = seen.job_index else { return Judgement::Superseded };
    let version = seen.versions.get(&registered).copied();
    let mine = |a: &&Allocation| version.is_some() && a.version() == version;
    let deployment = seen.deployments.iter().find(|d| d.job_spec_modify_index == registered);
    let failure = |first: Vec<String>| explain(first, seen.allocations.iter().filter(mine));
    if let Some(d) = deployment {
        match d.status.as_str() {
            "successful" => return Judgement::Healthy,
            "failed" => {
                let back = (current != registered).then_some(current);
                return Judgement::Ended(back, failure(Vec::new()));
            }
            "cancelled" => return Judgement::Superseded,
            _ => {}
        }
    }
    if current != registered {
        return Judgement::Superseded;
    }
    if let Some(crashed) = seen.allocations.iter().filter(mine).find(|a| is_crashing(a)) {
        let only = explain(Vec::new(), std::iter::once(crashed));
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
    Judgement::Waiting(seen.allocations.iter().filter(mine).map(describe).collect())
}

fn is_crashing(a: &Allocation) -> bool {
    let ended_badly = |t: &TaskState| {
        t.events.iter().filter(|e| e.kind == "Terminated" && (e.exit_code != 0 || e.signal != 0)).count()
    };
    a.client_status == "failed" || a.task_states.values().any(|t| t.failed || ended_badly(t) >= CRASHES)
}

/// One line on an instance.
pub fn describe(a: &Allocation) -> String {
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
        why.push(format!("{group}: {nodes} of {} nodes do not satisfy {constraint}", m.nodes_evaluated));
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
            for event in &state.events {
                let line = match event.kind.as_str() {
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
            why.push(format!("{}; its check never passed in time", describe(a)));
        }
    }
    Failure { why, logs }
}

async fn look(work: &Work<'_>, namespace: &str, id: &str) -> Result<Snapshot, EngineError> {
    let nomad = &work.hands.nomad;
    let (stored, versions, deployments, evaluations, allocations) = tokio::try_join!(
        nomad.job(namespace, id),
        nomad.job_versions(namespace, id),
        nomad.deployments(namespace, id),
        nomad.job_evaluations(namespace, id),
        nomad.allocations(namespace, id),
    )?;
    let mut seen = Snapshot { deployments, evaluations, allocations, ..Snapshot::default() };
    if let Some(stored) = &stored {
        let view = JobView::of(stored)?;
        seen.job_index = (!view.is_stopped()).then(|| view.job_modify_index());
    }
    for v in &versions {
        let view = JobView::of(v)?;
        seen.versions.insert(view.job_modify_index(), view.version());
    }
    Ok(seen)
}

fn registered_index(work: &Work<'_>) -> Option<u64> {
    work.steps
        .iter()
        .find(|s| matches!(s.spec, StepSpec::JobRegister { .. }))
        .and_then(|s| s.evidence.get(job::INDEX))
        .and_then(|i| i.parse().ok())
}

pub(super) async fn settle(
    work: &Work<'_>,
    namespace: &str,
    id: &str,
    first: First,
) -> Result<Evidence, EngineError> {
    let doing = format!("wait for job {id}");
    let registered = registered_index(work).ok_or_else(|| {
        EngineError::new(Engine::Nomad, Fault::Invalid, doing.clone(), "the record names no registration")
    })?;
    let mut follower = work.hands.world.subscribe().await;
    let mut said = BTreeSet::new();
    let mut reasons = Failure::default();
    loop {
        let seen = look(work, namespace, id).await?;
        match judge(&seen, registered) {
            Judgement::Healthy => {
                return Ok(evidence([(VERDICT, "healthy".to_owned())]));
            }
            Judgement::Waiting(lines) => {
                for line in lines {
                    if said.insert(line.clone()) {
                        work.note(line);
                    }
                }
            }
            Judgement::GiveUp(deployment, failure) => {
                work.note("giving up on this release");
                reasons = failure;
                match deployment {
                    // Nomad goes back to the last stable version by itself; the next look sees it.
                    Some(d) => match work.hands.nomad.deployment_fail(&d).await {
                        Err(e) if !matches!(e.fault, Fault::NotFound | Fault::Invalid) => return Err(e),
                        _ => continue,
                    },
                    None => return ended(work, namespace, id, first, None, reasons).await,
                }
            }
            Judgement::Ended(back, failure) => {
                // What was seen when it was given up on says more than what is left after the way back.
                let why = if reasons.why.is_empty() { failure } else { reasons };
                return ended(work, namespace, id, first, back, why).await;
            }
            Judgement::Superseded => {
                return Err(EngineError::new(
                    Engine::Nomad,
                    Fault::Conflict,
                    doing,
                    "the job was changed outside of Terreau while it was rolled out",
                ));
            }
        }
        follower.changed(namespace, id).await;
    }
}

async fn ended(
    work: &Work<'_>,
    namespace: &str,
    id: &str,
    first: First,
    back: Option<u64>,
    failure: Failure,
) -> Result<Evidence, EngineError> {
    let mut found = evidence([(WHY, failure.why.join("\n"))]);
    if let Some((allocation, task)) = failure.logs {
        found.insert(ALLOCATION.to_owned(), allocation);
        found.insert(TASK.to_owned(), task);
    }
    match (back, first) {
        (Some(index), _) => {
            found.insert(VERDICT.to_owned(), "reverted".to_owned());
            found.insert(job::INDEX.to_owned(), index.to_string());
        }
        (None, First::Yes) => {
            // There is nothing to go back to: what never got healthy does not go on crashing for ever.
            work.hands.nomad.deregister(namespace, id, Purge::Keep).await?;
            found.insert(VERDICT.to_owned(), "failed".to_owned());
        }
        (None, First::No) => {
            found.insert(VERDICT.to_owned(), "failed".to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::nomad::TaskEvent;

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
    fn a_failed_deployment_says_whether_nomad_went_back() {
        let mut s = snapshot();
        s.deployments[0].status = "failed".into();
        assert!(matches!(judge(&s, 20), Judgement::Ended(None, _)));
        s.job_index = Some(30);
        assert!(matches!(judge(&s, 20), Judgement::Ended(Some(30), _)));
    }

    #[test]
    fn what_somebody_else_registered_is_not_ours_to_judge() {
        let mut s = snapshot();
        s.job_index = Some(30);
        assert_eq!(judge(&s, 20), Judgement::Superseded);
        s.job_index = None;
        assert_eq!(judge(&s, 20), Judgement::Superseded);
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
