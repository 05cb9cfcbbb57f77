//! The points that a change passes, and which of them a run takes.

use std::collections::BTreeMap;
use std::path::Path;

/// The points that a change has passed, each with its number where it is passed several times. Empties the file.
///
/// `record.after` is left out: between it and the next step's `before`, or `close.before`, nothing is done.
pub(crate) fn passed(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    if !text.is_empty() {
        std::fs::remove_file(file).unwrap();
    }
    let mut passed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut points = Vec::new();
    for line in text.lines().filter(|l| !l.ends_with(".record.after")) {
        let n = passed.entry(line).or_default();
        *n += 1;
        points.push(format!("{line}#{n}"));
    }
    points
}

/// The kind of a point: the same step of the same verb, before or after its effect.
fn kind(point: &str) -> &str {
    point.rsplit_once('.').unwrap().0
}

/// Every `n`th point of each kind, and at least one of each. Where the counting begins differs from kind to kind, so
/// that of two neighbours one dies before its effect and the other after it; `offset` shifts all of them.
pub(crate) fn every(points: &[String], n: usize, offset: usize) -> Vec<&str> {
    let mut kinds: Vec<(&str, Vec<&str>)> = Vec::new();
    for point in points {
        match kinds.iter_mut().find(|(k, _)| *k == kind(point)) {
            Some((_, list)) => list.push(point),
            None => kinds.push((kind(point), vec![point])),
        }
    }
    let mut chosen = Vec::new();
    for (shift, (_, list)) in (offset..).zip(kinds) {
        let some: Vec<&str> =
            list.iter().enumerate().filter(|(i, _)| (i + shift) % n == 0).map(|(_, p)| *p).collect();
        if some.is_empty() { chosen.push(list[shift % list.len()]) } else { chosen.extend(some) }
    }
    chosen
}

#[test]
fn every_nth_point_holds_one_of_each_kind_and_every_first_holds_all() {
    let points: Vec<String> = ["open", "secret", "secret", "bucket", "job"]
        .iter()
        .flat_map(|step| ["before", "after"].map(|when| format!("deploy.{step}.{when}")))
        .collect();
    assert_eq!(every(&points, 1, 0), points);
    for (n, offset) in [(2, 0), (2, 1), (4, 3), (100, 7)] {
        let chosen = every(&points, n, offset);
        let kinds: std::collections::BTreeSet<&str> = chosen.iter().map(|p| kind(p)).collect();
        assert_eq!(kinds.len(), 4, "{chosen:?}");
        assert!(chosen.len() < points.len());
        for when in [".before", ".after"] {
            assert!(chosen.iter().any(|p| p.ends_with(when)), "{chosen:?}");
        }
    }
}
