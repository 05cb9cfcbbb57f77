//! The Nomad job: registered with `EnforceIndex` (checked, not atomic) under the app's lock, read back.

use serde_json::Value;

use super::{Attempt, Evidence, Work, conflict, evidence};
use crate::engines::nomad::{Diff, JobView, Purge, Registration};
use crate::engines::{Engine, EngineError, Fault};
use crate::model::Sha256Hex;

/// The key of the registered job's `JobModifyIndex` in evidence.
pub const INDEX: &str = "job_index";
/// The key of the evaluation that a registration made.
pub const EVALUATION: &str = "evaluation";

/// What is registered.
#[derive(Debug)]
pub(super) struct Register<'a> {
    pub(super) namespace: &'a str,
    pub(super) id: &'a str,
    pub(super) json: &'a Sha256Hex,
    pub(super) hcl: &'a Sha256Hex,
    pub(super) enforce: u64,
}

pub(super) async fn register(
    work: &Work<'_>,
    what: &Register<'_>,
    attempt: Attempt,
) -> Result<Evidence, EngineError> {
    let hands = work.hands;
    let job: Value = hands.objects.get_json(what.json).await?;
    let hcl = String::from_utf8_lossy(&hands.objects.get(what.hcl).await?).into_owned();
    if attempt == Attempt::Again
        && let Some(found) = already(work, what, &job).await.map_err(EngineError::after_effect)?
    {
        return Ok(found);
    }
    let registration =
        Registration { job: job.clone(), enforce_index: Some(what.enforce), submission_hcl: Some(hcl) };
    let registered = match hands.nomad.register(&registration).await {
        Ok(registered) => registered,
        Err(e) if e.fault == Fault::Conflict => {
            // Our own call, whose reply was lost, moves the index too.
            return already(work, what, &job).await.map_err(EngineError::after_effect)?.ok_or(e);
        }
        Err(e) => return Err(e),
    };
    let index = registered.job_modify_index;
    // It is registered: whatever the look at it says, there is no way back from here.
    let stored = hands.nomad.job(what.namespace, what.id).await.map_err(EngineError::after_effect)?;
    match stored {
        Some(stored) if JobView::of(&stored)?.job_modify_index() == index => {
            Ok(evidence([(INDEX, index.to_string()), (EVALUATION, registered.eval_id)]))
        }
        // `EnforceIndex` is no lock: somebody's registration came between. Theirs stands; it is theirs to explain.
        _ => Err(conflict(
            Engine::Nomad,
            format!("register job {}", what.id),
            "somebody registered it at the same time, outside of Terreau; deploy again when they are done",
        )),
    }
}

/// The evidence of an earlier attempt whose effect has happened: the stored job differs in nothing from ours.
async fn already(work: &Work<'_>, what: &Register<'_>, job: &Value) -> Result<Option<Evidence>, EngineError> {
    let Some(stored) = work.hands.nomad.job(what.namespace, what.id).await? else { return Ok(None) };
    let view = JobView::of(&stored)?;
    if view.job_modify_index() == what.enforce
        || view.is_stopped()
        || view.meta("terreau") != Some(work.uid.as_str())
    {
        return Ok(None);
    }
    let index = view.job_modify_index();
    if !differs(&work.hands.nomad.plan(job, Diff::Wanted).await?.diff) {
        return Ok(Some(evidence([(INDEX, index.to_string())])));
    }
    // It is ours, and an older one: Nomad has taken our registration back by itself before we came to look.
    for version in work.hands.nomad.job_versions(what.namespace, what.id).await? {
        let seen = JobView::of(&version)?.job_modify_index();
        if seen > what.enforce && seen < index {
            return Ok(Some(evidence([(INDEX, seen.to_string())])));
        }
    }
    Ok(None)
}

/// True where Nomad's difference holds something besides counts.
pub fn differs(diff: &Option<Value>) -> bool {
    let Some(diff) = diff else { return false };
    if diff.get("Type").and_then(Value::as_str) == Some("None") {
        return false;
    }
    let listed = |v: &Value, name: &str| v.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    if !listed(diff, "Fields").is_empty() || !listed(diff, "Objects").is_empty() {
        return true;
    }
    listed(diff, "TaskGroups").iter().any(|group| {
        let is_edit = matches!(group.get("Type").and_then(Value::as_str), Some("Edited" | "None"));
        let fields = listed(group, "Fields");
        let other_field = fields.iter().any(|f| f.get("Name").and_then(Value::as_str) != Some("Count"));
        let tasks = listed(group, "Tasks");
        let task = tasks.iter().any(|t| t.get("Type").and_then(Value::as_str) != Some("None"));
        !is_edit || other_field || !listed(group, "Objects").is_empty() || task
    })
}

/// Promotes the canaries of one registration. Done before, it is done.
pub(super) async fn promote(
    work: &Work<'_>,
    namespace: &str,
    id: &str,
    index: u64,
) -> Result<Evidence, EngineError> {
    let nomad = &work.hands.nomad;
    let doing = || format!("promote the canaries of job {id}");
    let found =
        nomad.deployments(namespace, id).await?.into_iter().find(|d| d.job_spec_modify_index == index);
    let Some(deployment) = found else {
        return Err(conflict(Engine::Nomad, doing(), "nomad has no rollout of it any more; deploy again"));
    };
    let evidence = evidence([(INDEX, index.to_string())]);
    let waits = deployment.task_groups.values().any(|g| g.desired_canaries > 0 && !g.promoted);
    match deployment.status.as_str() {
        "successful" => return Ok(evidence),
        "running" if !waits => return Ok(evidence),
        "running" if deployment.is_held() => {}
        "running" => {
            let why = "a canary is not healthy any more; look at `terreau status` and `terreau logs`, or take it back: \
                       terreau deploy --revert";
            return Err(conflict(Engine::Nomad, doing(), why));
        }
        other => {
            let why =
                format!("its rollout is {other}, outside of Terreau; take it back: terreau deploy --revert");
            return Err(conflict(Engine::Nomad, doing(), why));
        }
    }
    nomad.deployment_promote(&deployment.id).await?;
    Ok(evidence)
}

pub(super) async fn stop(work: &Work<'_>, namespace: &str, id: &str) -> Result<Evidence, EngineError> {
    let nomad = &work.hands.nomad;
    if let Some(stored) = nomad.job(namespace, id).await? {
        let view = JobView::of(&stored)?;
        if view.meta("terreau") != Some(work.uid.as_str()) {
            return Err(conflict(Engine::Nomad, format!("stop job {id}"), "it is not ours"));
        }
        if !view.is_stopped() {
            nomad.deregister(namespace, id, Purge::Keep).await?;
        }
    }
    Ok(Evidence::new())
}
