//! How many instances a job's groups have: set by registering the stored job again with other counts and nothing else.
//!
//! Not by Nomad's scale API (tried): it takes one group a call, and refuses while a rollout is active, which is when a
//! broken start has to be stopped. A registration sets every group at once, in place, supersedes a rollout, and its
//! `EnforceIndex` is checked by every version of Nomad. Must never change anything of a job but its counts.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Hands, conflict};
use crate::engines::nomad::{JobView, Nomad, Registration};
use crate::engines::{Engine, EngineError};
use crate::model::{Placement, Uid};

/// How often somebody else's change is given way to.
const TRIES: usize = 3;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The stored job's `JobModifyIndex`, where the rest of it is still the specification that the head knows.
    pub known: Option<u64>,
}

/// Sets counts by group; groups that are not named keep theirs. `known`: the `JobModifyIndex` that the head knows.
/// Idempotent: where they are as wanted already, nothing is called.
pub async fn set(
    hands: &Hands,
    app: &Placement,
    uid: &Uid,
    counts: &BTreeMap<String, u64>,
    known: Option<u64>,
) -> Result<Counted, EngineError> {
    let (nomad, namespace, id) = (&hands.nomad, app.namespace(), app.flat());
    let refused = |why: &str| conflict(Engine::Nomad, format!("set the counts of job {id}"), why);
    for _ in 0..TRIES {
        let Some(stored) = nomad.job(namespace, &id).await? else {
            return Err(refused("nomad has no such job any more; `terreau start` brings it back"));
        };
        let view = JobView::of(&stored)?;
        if view.meta("terreau") != Some(uid.as_str()) {
            return Err(refused("it is not ours"));
        }
        let now = view.counts();
        if let Some(group) = counts.keys().find(|g| !now.contains_key(g.as_str())) {
            return Err(refused(&format!("the job has no group {group}; `terreau deploy` sets it right")));
        }
        let before = view.job_modify_index();
        let is_known = is_known(nomad, (namespace, &id), &stored, known).await?;
        let nothing_runs = view.is_stopped() && counts.values().all(|c| *c == 0);
        let is_there = !view.is_stopped() && counts.iter().all(|(g, c)| now.get(g.as_str()) == Some(c));
        if is_there || nothing_runs {
            return Ok(Counted { known: is_known.then_some(before) });
        }
        let registration = Registration {
            submission_hcl: nomad.submission(namespace, &id, view.version()).await?,
            job: with_counts(stored.clone(), counts),
            enforce_index: Some(before),
        };
        let index = match nomad.register(&registration).await {
            Ok(registered) => registered.job_modify_index,
            // Our own call, whose reply was lost, moves the index too: look again.
            Err(e) if e.fault == crate::engines::Fault::Conflict => continue,
            Err(e) => return Err(e),
        };
        let read = nomad.job(namespace, &id).await.map_err(EngineError::after_effect)?;
        if let Some(read) = read
            && JobView::of(&read)?.job_modify_index() == index
        {
            return Ok(Counted { known: is_known.then_some(index) });
        }
    }
    Err(refused("somebody changes it at the same time, outside of Terreau; try again when they are done"))
}

/// Whether the stored job is the one that the head knows, but for its counts. After a kill between the call and its
/// record the index alone does not tell: then Nomad's own copy of the version that the head knows does.
async fn is_known(
    nomad: &Nomad,
    (namespace, id): (&str, &str),
    stored: &Value,
    known: Option<u64>,
) -> Result<bool, EngineError> {
    let Some(known) = known else { return Ok(false) };
    if JobView::of(stored)?.job_modify_index() == known {
        return Ok(true);
    }
    for version in nomad.job_versions(namespace, id).await? {
        if JobView::of(&version)?.job_modify_index() == known {
            return Ok(without_counts(version) == without_counts(stored.clone()));
        }
    }
    Ok(false)
}

fn groups(job: &mut Value) -> impl Iterator<Item = &mut serde_json::Map<String, Value>> {
    let groups = job.get_mut("TaskGroups").and_then(Value::as_array_mut);
    groups.into_iter().flatten().filter_map(Value::as_object_mut)
}

fn with_counts(mut job: Value, counts: &BTreeMap<String, u64>) -> Value {
    for group in groups(&mut job) {
        let wanted = group.get("Name").and_then(Value::as_str).and_then(|n| counts.get(n));
        if let Some(count) = wanted {
            group.insert("Count".to_owned(), (*count).into());
        }
    }
    if let Some(job) = job.as_object_mut() {
        job.insert("Stop".to_owned(), false.into());
    }
    job
}

/// A stored job without its counts and without what Nomad itself writes into it.
fn without_counts(mut job: Value) -> Value {
    for group in groups(&mut job) {
        group.remove("Count");
    }
    if let Some(job) = job.as_object_mut() {
        for field in [
            "Stop",
            "Status",
            "StatusDescription",
            "Stable",
            "Version",
            "VersionTag",
            "SubmitTime",
            "CreateIndex",
            "ModifyIndex",
            "JobModifyIndex",
        ] {
            job.remove(field);
        }
    }
    job
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_all_that_is_changed_and_all_that_is_overlooked() {
        let job = json!({"ID": "a", "Stop": true, "Version": 3, "TaskGroups": [
            {"Name": "web", "Count": 1, "Tasks": [{"Name": "web"}]}, {"Name": "worker", "Count": 2}]});
        let counts = BTreeMap::from([("web".to_owned(), 4)]);
        let mut changed = with_counts(job.clone(), &counts);
        assert_eq!(changed["TaskGroups"][0]["Count"], 4);
        assert_eq!(changed["TaskGroups"][1]["Count"], 2);
        assert_eq!(changed["Stop"], false);
        assert_eq!(without_counts(changed.clone()), without_counts(job.clone()));
        changed["TaskGroups"][0]["Tasks"][0]["Name"] = "other".into();
        assert_ne!(without_counts(changed), without_counts(job));
    }
}
