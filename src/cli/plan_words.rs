//! A plan in words: one line a change, "in place" or "replaces n instances". Pure.

use std::fmt::Write as _;

use crate::plan::{Action, Change, Impact, Obstacle, Plan};

/// The whole plan, as people read it.
pub fn words(plan: &Plan) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = match (plan.is_empty(), plan.release) {
        (true, _) => writeln!(out, "{}: no changes", plan.app),
        (false, Some(n)) => writeln!(out, "{}: release {n} would change", plan.app),
        (false, None) => writeln!(out, "{} would change", plan.app),
    };
    let width = plan.changes.iter().map(|c| name(c).chars().count()).max().unwrap_or(0);
    for change in &plan.changes {
        let sign = match change.action {
            Action::Create => '+',
            Action::Update => '~',
            Action::Remove => '-',
        };
        let _ = writeln!(out, "  {sign} {:<width$}  {}", name(change), effect(change));
        for line in change.details.iter().flat_map(|d| d.lines()) {
            let _ = writeln!(out, "      {line}");
        }
    }
    for note in &plan.notes {
        let _ = writeln!(out, "note: {note}");
    }
    for obstacle in &plan.obstacles {
        let _ = writeln!(out, "in the way: {}", obstacle_words(obstacle));
    }
    out
}

/// An obstacle in one line.
pub fn obstacle_words(o: &Obstacle) -> String {
    if o.hint.is_empty() { o.why.clone() } else { format!("{} ({})", o.why, o.hint) }
}

fn name(change: &Change) -> String {
    format!("{} {}", change.kind.as_str(), change.target)
}

fn effect(change: &Change) -> String {
    let instances = |n: u64| if n == 1 { "1 instance".to_owned() } else { format!("{n} instances") };
    match (&change.impact, change.action) {
        (Impact::InPlace, Action::Create) => "created".to_owned(),
        (Impact::InPlace, Action::Update) => "in place".to_owned(),
        (Impact::InPlace, Action::Remove) => {
            "out of use at once, deleted by the sweep an hour later".to_owned()
        }
        (Impact::Replaces { instances: count, gap }, _) => {
            let what = count.map_or_else(
                || "replaces its instances".to_owned(),
                |n| format!("replaces {}", instances(n)),
            );
            if *gap { format!("{what}, with a gap: the old ones stop first") } else { what }
        }
        (Impact::Starts { instances: n }, _) => format!("starts {}", instances(*n)),
        (Impact::Stops, _) => "stops".to_owned(),
    }
}
