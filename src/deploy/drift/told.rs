//! Of an app's drift, what its status says: what the leader wrote down. Pure: no call, no clock.

use jiff::Timestamp;

use super::compare::is_at_rest;
use super::watch::LOOK;
use crate::model::Head;
use crate::model::wire::DriftedResource;
use crate::store::records::DriftRecord;

/// What differs of an app by the leader's record of it. What a change may have set right since is not told before the leader
/// must have looked again.
pub(in crate::deploy) fn drifted(head: &Head, record: &DriftRecord, now: Timestamp) -> Vec<DriftedResource> {
    if record.uid != head.uid || !is_at_rest(head) {
        return Vec::new();
    }
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let changed = head.last_operation.as_ref().and_then(|l| time(&l.at));
    let is_looked_at = changed.is_none_or(|at| now.duration_since(at).unsigned_abs() > 2 * LOOK);
    record
        .since
        .iter()
        .filter(|(_, since)| is_looked_at || time(since) > changed)
        .filter_map(|(key, since)| {
            let (kind, id) = key.split_once('/')?;
            Some(DriftedResource { kind: kind.to_owned(), id: id.to_owned(), since: since.clone() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::head::{AppState, LastOperation, Outcome};
    use crate::model::{Placement, Uid};

    #[test]
    fn what_a_change_may_have_set_right_is_not_told_before_it_was_looked_at_again() {
        let uid = Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzz").unwrap();
        let app: Placement = "carnet".parse().unwrap();
        let mut head = Head::new(app.clone(), uid.clone(), String::new(), vec![]);
        head.state = AppState::Live;
        let since = |key: &str, at: &str| (key.to_owned(), format!("2026-01-02T{at}Z"));
        let since =
            BTreeMap::from([since("job/carnet", "10:00:00"), since("bucket/carnet-media", "10:30:30")]);
        let record = DriftRecord { v: 1, app, uid, since };
        let told = |head: &Head, at: &str| -> Vec<String> {
            let now = format!("2026-01-02T{at}Z").parse().unwrap();
            drifted(head, &record, now).into_iter().map(|d| format!("{} {}", d.kind, d.id)).collect()
        };
        let both = ["bucket carnet-media", "job carnet"];
        assert_eq!(told(&head, "10:31:00"), both);
        head.last_operation = Some(LastOperation {
            id: head.uid.clone(),
            verb: "deploy".into(),
            by: "me".into(),
            outcome: Outcome::Done,
            summary: String::new(),
            at: "2026-01-02T10:30:00Z".into(),
            release: None,
        });
        assert_eq!(told(&head, "10:31:00"), both[..1]);
        assert_eq!(told(&head, "10:32:01"), both, "the leader has looked, and it still differs");
        head.operation = Some(head.uid.clone());
        assert!(told(&head, "10:32:01").is_empty(), "it is being changed");
        head.operation = None;
        head.uid = Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzy").unwrap();
        assert!(told(&head, "10:32:01").is_empty(), "another app of that name");
    }
}
