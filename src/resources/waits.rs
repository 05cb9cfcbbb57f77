//! What a rollout waits for at this moment, for those who look at it from outside: how many instances are healthy, how
//! the others ended last, what their checks say, and when it is given up.
//!
//! It looks, and changes nothing.

use jiff::Timestamp;

use super::judge::{Judgement, Snapshot, judge, not_yet_healthy, of_version, short, until};
use super::settle::{checks_of, look, registered_index};
use super::{Hands, crash};
use crate::engines::EngineError;
use crate::engines::nomad::Allocation;
use crate::store::records::{Step, StepSpec, StepState};

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// One thing a line.
    pub why: Vec<String>,
    /// When it is given up, where nothing changes. `None`: Nomad does not say.
    pub until: Option<Timestamp>,
}

/// What the rollout of these steps waits for; `None` where none is waited for.
pub async fn waits(hands: &Hands, steps: &[Step]) -> Result<Option<Waits>, EngineError> {
    let rolled_out = steps.iter().find_map(|s| match &s.spec {
        StepSpec::JobSettle { namespace, id, .. } if s.state == StepState::Begun => Some((namespace, id)),
        _ => None,
    });
    let Some(((namespace, id), registered)) = rolled_out.zip(registered_index(steps)) else {
        return Ok(None);
    };
    let seen = look(&hands.nomad, namespace, id).await?;
    if !matches!(judge(&seen, registered), Judgement::Waiting(_)) {
        return Ok(None);
    }
    let mut why = told(&seen, registered);
    // One says what the others would.
    if let Some(ill) = not_yet_healthy(&seen, registered).next() {
        let lines = checks_of(hands, &ill.id).await;
        why.extend(lines.into_iter().map(|line| format!("instance {}: {line}", short(&ill.id))));
    }
    Ok(Some(Waits { why, until: until(&seen, registered) }))
}

/// A line for each process that is not all healthy yet.
fn told(seen: &Snapshot, registered: u64) -> Vec<String> {
    let deployment = seen.deployments.iter().find(|d| d.job_spec_modify_index == registered);
    let Some(deployment) = deployment else {
        return vec!["nomad has placed nothing yet".to_owned()];
    };
    let mut lines = Vec::new();
    for (name, group) in &deployment.task_groups {
        let is_canary = group.desired_canaries > 0 && !group.promoted;
        let (wanted, what) = if is_canary {
            (group.desired_canaries, "new instances")
        } else {
            (group.desired_total, "instances")
        };
        if group.healthy_allocs >= wanted {
            continue;
        }
        let of_group = of_version(seen, registered).filter(|a| a.task_group == *name);
        let last = of_group.filter_map(last_end).max_by_key(|(at, _)| *at).map(|(_, how)| how);
        let last = last.map(|how| format!("; last: {how}")).unwrap_or_default();
        lines.push(format!("{name}: {} of {wanted} {what} healthy{last}", group.healthy_allocs));
    }
    lines
}

/// How an instance's own task ended last, and when: `exited 1, restarted 3 times`.
fn last_end(a: &Allocation) -> Option<(i64, String)> {
    let task = crash::main_task(a)?;
    let end = crash::bad_ends(task).last()?;
    let how = match end.signal {
        _ if end.is_oom() => "killed, it used more memory than its limit".to_owned(),
        0 => format!("exited {}", end.exit_code),
        signal => format!("ended by signal {signal}"),
    };
    let again = match task.restarts {
        0 => String::new(),
        1 => ", restarted once".to_owned(),
        n => format!(", restarted {n} times"),
    };
    Some((end.time, format!("{how}{again}")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engines::nomad::{Deployment, DeploymentGroup, TaskEvent, TaskState};

    #[test]
    fn of_each_process_that_is_not_healthy_it_is_said_how_many_are_and_how_one_ended_last() {
        let group = |healthy_allocs| DeploymentGroup {
            desired_total: 2,
            healthy_allocs,
            ..DeploymentGroup::default()
        };
        let end = TaskEvent { kind: "Terminated".into(), exit_code: 1, time: 5, ..TaskEvent::default() };
        let task = TaskState { restarts: 3, events: vec![end], ..TaskState::default() };
        let mut seen = Snapshot {
            job_index: Some(20),
            versions: BTreeMap::from([(20, 1)]),
            deployments: vec![Deployment {
                status: "running".into(),
                job_spec_modify_index: 20,
                task_groups: BTreeMap::from([("web".into(), group(1)), ("worker".into(), group(2))]),
                ..Deployment::default()
            }],
            allocations: vec![Allocation {
                task_group: "web".into(),
                job_version: Some(1),
                task_states: BTreeMap::from([("web".into(), task)]),
                ..Allocation::default()
            }],
            ..Snapshot::default()
        };
        let wanted = ["web: 1 of 2 instances healthy; last: exited 1, restarted 3 times"];
        assert_eq!(told(&seen, 20), wanted);
        let canary = DeploymentGroup { desired_canaries: 1, desired_total: 2, ..DeploymentGroup::default() };
        seen.deployments[0].task_groups = BTreeMap::from([("worker".into(), canary)]);
        assert_eq!(told(&seen, 20), ["worker: 0 of 1 new instances healthy"]);
        seen.deployments.clear();
        assert_eq!(told(&seen, 20), ["nomad has placed nothing yet"]);
    }
}
