//! A job that is not the one that the head knows: what differs in it, and since when. Names what differs, and shows counts alone:
//! what somebody wrote into a job by hand may be a secret.

use jiff::Timestamp;
use serde_json::Value;

use super::super::{Error, held, history};
use crate::engines::nomad::{Diff, JobView};
use crate::model::head::Wanted;
use crate::model::wire::DriftWhat;
use crate::model::{Head, Release};
use crate::operation::Runner;
use crate::operation::intended::counts_of;
use crate::resources::job::differs;

/// So many things are named.
const NAMED: usize = 20;

/// What differs.
#[derive(Debug, Clone)]
pub(super) struct Closely {
    pub(super) what: DriftWhat,
    pub(super) details: Vec<String>,
    pub(super) changed_at: Option<String>,
}

/// Looks at it. `None`: it differs in nothing, whoever registered it again.
pub(super) async fn closely(runner: &Runner, head: &Head, id: &str) -> Result<Option<Closely>, Error> {
    let nomad = &runner.hands().nomad;
    let Some(stored) = nomad.job(head.app.namespace(), id).await? else {
        return Ok(Some(Closely { what: DriftWhat::Gone, details: Vec::new(), changed_at: None }));
    };
    let view = JobView::of(&stored)?;
    let submitted = stored.get("SubmitTime").and_then(Value::as_i64).unwrap_or(0);
    let changed_at =
        Timestamp::from_nanosecond(submitted.into()).ok().filter(|_| submitted > 0).map(|at| at.to_string());
    if view.is_stopped() {
        return Ok(Some(Closely { what: DriftWhat::Stopped, details: Vec::new(), changed_at }));
    }
    let stands_still = head.wanted == Wanted::Stopped;
    let live = view.counts();
    let mut details: Vec<String> = counts_of(head)
        .into_iter()
        .filter_map(|(process, count)| {
            let wanted = if stands_still { 0 } else { u64::from(count) };
            let now = *live.get(process.as_str())?;
            (now != wanted).then(|| format!("{process} has {now} where {wanted} was asked for"))
        })
        .collect();
    let edits = edited(runner, head).await?;
    let what = match (edits.is_empty(), details.is_empty()) {
        (true, true) => return Ok(None),
        (true, false) if stands_still => DriftWhat::Started,
        (true, false) => DriftWhat::Counts,
        (false, _) => DriftWhat::Changed,
    };
    details.extend(edits);
    Ok(Some(Closely { what, details, changed_at }))
}

/// What differs from the job of the release that runs, besides counts.
async fn edited(runner: &Runner, head: &Head) -> Result<Vec<String>, Error> {
    let Some(release) = &head.release else { return Ok(Vec::new()) };
    let release: Release = runner.hands().objects.get_json(&release.object).await?;
    if history::project(&release).is_none() {
        return Ok(vec!["its release is not read by this version any more".to_owned()]);
    }
    let wanted = held::rendered_again(head, &release)?;
    let diff = runner.hands().nomad.plan(&wanted.json, Diff::Wanted).await?.diff;
    if !differs(&diff) {
        return Ok(Vec::new());
    }
    let mut named = Vec::new();
    names(diff.as_ref().unwrap_or(&Value::Null), "", &mut named);
    let more = named.len().saturating_sub(NAMED);
    named.truncate(NAMED);
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    Ok(named)
}

/// The names of what differs, as a path: `group web, task web, Config command`.
fn names(diff: &Value, path: &str, named: &mut Vec<String>) {
    let listed = |name: &str| diff.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let of = |v: &Value| v.get("Name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_edit = |v: &Value| v.get("Type").and_then(Value::as_str) != Some("None");
    let below = |what: &str| if path.is_empty() { what.to_owned() } else { format!("{path}, {what}") };
    for field in listed("Fields").iter().filter(|f| is_edit(f) && of(f) != "Count") {
        named.push(below(&of(field)));
    }
    for object in listed("Objects").iter().filter(|o| is_edit(o)) {
        names(object, &below(&of(object)), named);
    }
    for (list, word) in [("TaskGroups", "group"), ("Tasks", "task")] {
        for part in listed(list).iter().filter(|p| is_edit(p)) {
            let at = below(&format!("{word} {}", of(part)));
            match part.get("Type").and_then(Value::as_str) {
                // The difference leads from what is there to what should be.
                Some("Added") => named.push(format!("{at} is missing")),
                Some("Deleted") => named.push(format!("{at} was added")),
                _ => names(part, &at, named),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_without_its_values() {
        let diff = serde_json::json!({
            "Type": "Edited",
            "Fields": [{"Name": "Priority", "Type": "Edited", "Old": "canary-1", "New": "50"}],
            "TaskGroups": [
                {"Name": "web", "Type": "Edited",
                 "Fields": [{"Name": "Count", "Type": "Edited", "Old": "3", "New": "1"}],
                 "Tasks": [{"Name": "web", "Type": "Edited", "Objects": [
                    {"Name": "Config", "Type": "Edited", "Fields": [{"Name": "command", "Type": "Edited", "Old": "canary-2"}]},
                    {"Name": "Resources", "Type": "None"}]}]},
                {"Name": "extra", "Type": "Deleted", "Fields": [{"Name": "Count", "Type": "Deleted"}]},
                {"Name": "worker", "Type": "Added"},
            ],
        });
        let mut named = Vec::new();
        names(&diff, "", &mut named);
        let wanted = [
            "Priority",
            "group web, task web, Config, command",
            "group extra was added",
            "group worker is missing",
        ];
        assert_eq!(named, wanted);
    }
}
