//! Waits until Nomad calls a release healthy, or gives up on it: by the event stream, never by a timer.
//!
//! Each change on the stream is only a reason to look again; what is seen is judged by [`judge`](super::judge). While
//! nothing changes, Consul is asked every few seconds what the checks of up to three instances say: for people alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::judge::{Failure, Judgement, Snapshot, given_up, judge, not_yet_healthy, reached, short, until};
use super::{Evidence, Hands, Work, counts, evidence, job};
use crate::engines::consul::Check;
use crate::engines::nomad::{JobView, Nomad, Purge};
use crate::engines::{Engine, EngineError, Fault};
use crate::model::Placement;
use crate::store::records::{First, Step, StepSpec};

/// The key of the verdict in evidence.
pub const VERDICT: &str = "verdict";
/// The key of the login of who gave up on it, where somebody did.
pub const GIVEN_UP: &str = "given_up";
/// The key of the reasons, one a line.
pub const WHY: &str = "why";
/// The instance whose logs tell more.
pub const ALLOCATION: &str = "allocation";
/// Its task.
pub const TASK: &str = "task";

/// When nothing has changed for so long, what is waited for is said again with what its checks say.
const EXPLAIN: Duration = Duration::from_secs(5);
/// After so long it is said, once, until when it is waited, and how it is given up before.
const PATIENT: Duration = Duration::from_secs(20);
/// Of so many instances: more of them say the same.
const EXPLAINED: usize = 3;

pub(super) async fn look(nomad: &Nomad, namespace: &str, id: &str) -> Result<Snapshot, EngineError> {
    // First: an evaluation that is complete has made its deployment, so a deployment that is looked for afterwards and
    // is not there was not needed.
    let evaluations = nomad.job_evaluations(namespace, id).await?;
    // Before the job: a deployment that failed has gone back by then, and one that runs says so once more.
    let deployments = nomad.deployments(namespace, id).await?;
    let (stored, versions, allocations) = tokio::try_join!(
        nomad.job(namespace, id),
        nomad.job_versions(namespace, id),
        nomad.allocations(namespace, id),
    )?;
    let mut seen = Snapshot { deployments, evaluations, allocations, ..Snapshot::default() };
    if let Some(stored) = &stored {
        let view = JobView::of(stored)?;
        seen.job_index = (!view.is_stopped()).then(|| view.job_modify_index());
        seen.deadlines = view.healthy_deadlines();
    }
    for v in &versions {
        let view = JobView::of(v)?;
        seen.versions.insert(view.job_modify_index(), view.version());
    }
    Ok(seen)
}

pub(super) fn registered_index(steps: &[Step]) -> Option<u64> {
    steps
        .iter()
        .find(|s| matches!(s.spec, StepSpec::JobRegister { .. } | StepSpec::JobPromote { .. }))
        .and_then(|s| s.evidence.get(job::INDEX))
        .and_then(|i| i.parse().ok())
}

pub(super) async fn settle(
    work: &Work<'_>,
    id: &str,
    first: First,
    counts: &BTreeMap<String, u64>,
) -> Result<Evidence, EngineError> {
    let namespace = work.app.namespace();
    let doing = format!("wait for job {id}");
    let registered = registered_index(work.steps).ok_or_else(|| {
        EngineError::new(Engine::Nomad, Fault::Invalid, doing.clone(), "the record names no registration")
    })?;
    let mut follower = work.hands.world.subscribe().await;
    let mut said = BTreeSet::new();
    let mut reasons = Failure::default();
    let mut given_up_by = None;
    let begun = tokio::time::Instant::now();
    let mut is_told = false;
    loop {
        let seen = look(&work.hands.nomad, namespace, id).await?;
        let judgement = judge(&seen, registered);
        if let (Judgement::Waiting(_) | Judgement::Held, Some(cancel)) = (&judgement, work.cancel)
            && let Some((deployment, failure)) = given_up(&seen, registered)
        {
            work.note(format!("given up by {}", cancel.by.login));
            reasons = failure;
            failing_checks(work, &mut reasons).await;
            fail(work, &deployment).await?;
            given_up_by = Some(cancel.by.login.clone());
            continue;
        }
        if matches!(judgement, Judgement::Healthy | Judgement::Held) {
            // It may have got there between two looks.
            reached(&seen, registered).filter(|line| !said.contains(line)).for_each(|line| work.note(line));
        }
        match judgement {
            Judgement::Healthy => {
                return Ok(evidence([(VERDICT, "healthy".to_owned())]));
            }
            Judgement::Held => {
                work.note("the canaries are healthy, and wait for a person");
                return Ok(evidence([(VERDICT, "held".to_owned())]));
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
                failing_checks(work, &mut reasons).await;
                match deployment {
                    Some(d) => {
                        fail(work, &d).await?;
                        continue;
                    }
                    None => return ended(work, id, (first, counts), None, reasons).await,
                }
            }
            Judgement::Ended(back, failure) => {
                // What was seen when it was given up on says more than what is left after the way back.
                let why = if reasons.why.is_empty() { failure } else { reasons };
                let mut found = ended(work, id, (first, counts), back, why).await?;
                found.extend(given_up_by.map(|login| (GIVEN_UP.to_owned(), login)));
                return Ok(found);
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
        // Nomad tells nothing of a check that does not pass: what Consul says of it is asked for.
        let waiting: Vec<&str> =
            not_yet_healthy(&seen, registered).map(|a| a.id.as_str()).take(EXPLAINED).collect();
        let until = if is_told { None } else { until(&seen, registered) };
        let mut tell = || {
            if let (Some(until), false) = (until, is_told)
                && begun.elapsed() >= PATIENT
            {
                is_told = true;
                work.note(patience(until, work.app));
            }
        };
        tell();
        while tokio::time::timeout(EXPLAIN, follower.changed(namespace, id)).await.is_err() {
            tell();
            for allocation in &waiting {
                for line in checks_of(work.hands, allocation).await {
                    if said.insert(line.clone()) {
                        work.note(format!("instance {}: {line}", short(allocation)));
                    }
                }
            }
        }
    }
}

/// Until when it is waited, and what ends it before.
fn patience(until: jiff::Timestamp, app: &Placement) -> String {
    let at = until.strftime("%H:%M:%S UTC");
    format!(
        "where it is not healthy by {at}, it is given up; `terreau operations cancel --app {app}` gives it up at once"
    )
}

/// Ends a deployment: Nomad goes back to the last stable version by itself, and the next look sees it.
async fn fail(work: &Work<'_>, deployment: &str) -> Result<(), EngineError> {
    match work.hands.nomad.deployment_fail(deployment).await {
        // It has ended by itself.
        Err(e) if matches!(e.fault, Fault::NotFound | Fault::Invalid) => Ok(()),
        done => done.map(|_| ()),
    }
}

/// Whether nothing ran before the job was registered, by the counts that it had.
pub fn was_stopped(counts: &BTreeMap<String, u64>) -> bool {
    !counts.is_empty() && counts.values().all(|count| *count == 0)
}

/// Adds what Consul's checks of the instance last said, while they still stand there. It explains; the rollout does
/// not hang on it.
async fn failing_checks(work: &Work<'_>, failure: &mut Failure) {
    let Some((allocation, _)) = &failure.logs else { return };
    failure.why.extend(checks_of(work.hands, allocation).await);
}

/// A line for each check of an instance that does not pass.
pub(super) async fn checks_of(hands: &Hands, allocation: &str) -> Vec<String> {
    let checks = hands.consul.failing_checks(allocation).await.unwrap_or_default();
    let line = |check: &Check| {
        let said: String = check.output.split_whitespace().collect::<Vec<_>>().join(" ");
        let said: String = said.chars().take(200).collect();
        // A Consul agent may keep what a check says to itself for minutes, while the status stays (`check_update_interval`).
        let is_closed = said.contains("connection refused");
        let ask = if is_closed { " (does the process listen at the port that it is given?)" } else { "" };
        let said = if said.is_empty() { said } else { format!(": {said}{ask}") };
        format!("the check of {} ({}) has not passed{said}", check.service, check.name)
    };
    checks.iter().map(line).collect()
}

async fn ended(
    work: &Work<'_>,
    id: &str,
    (first, counts): (First, &BTreeMap<String, u64>),
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
            // The version that Nomad goes back to has the counts of its time: the live ones are set again.
            let index = match counts::set(work.hands, work.app, work.uid, counts, Some(index)).await {
                Ok(counted) => counted.known.unwrap_or(index),
                // Somebody else's change stands.
                Err(e) if e.fault == Fault::Conflict => index,
                Err(e) => return Err(e.after_effect()),
            };
            found.insert(VERDICT.to_owned(), "reverted".to_owned());
            found.insert(job::INDEX.to_owned(), index.to_string());
        }
        (None, First::Yes) => {
            // There is nothing to go back to: what never got healthy does not go on crashing for ever.
            work.hands.nomad.deregister(work.app.namespace(), id, Purge::Keep).await?;
            found.insert(VERDICT.to_owned(), "failed".to_owned());
        }
        (None, First::No) => {
            // Nomad goes back to no job of the same specification. Where nothing ran before, nothing is left to run.
            if was_stopped(counts) {
                let known = registered_index(work.steps);
                match counts::set(work.hands, work.app, work.uid, counts, known).await {
                    Ok(counted) => {
                        let index =
                            counted.known.or(known).map(|index| (job::INDEX.to_owned(), index.to_string()));
                        found.extend(index);
                    }
                    // Somebody else's change stands.
                    Err(e) if e.fault == Fault::Conflict => {}
                    Err(e) => return Err(e.after_effect()),
                }
            }
            found.insert(VERDICT.to_owned(), "failed".to_owned());
        }
    }
    Ok(found)
}
