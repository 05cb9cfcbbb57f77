//! Plans of one step: which there are, and what an app's head becomes by them. Pure.

use std::collections::BTreeMap;

use crate::model::head::{Intent, LastOperation, Outcome, Stopped, Wanted};
use crate::model::{Head, ProcessName};

/// What a plan of one step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentVerb {
    /// Brings a stopped app back.
    Start,
    /// Sets every count to 0.
    Stop,
    /// Sets the counts that it names.
    Scale,
    /// Restarts instances, one after the other.
    Restart,
}

impl IntentVerb {
    /// As in records and kill points.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Scale => "scale",
            Self::Restart => "restart",
        }
    }

    /// Reads a record's word; `None`: a newer agent's.
    pub fn of(intent: &Intent) -> Option<Self> {
        [Self::Start, Self::Stop, Self::Scale, Self::Restart].into_iter().find(|v| v.as_str() == intent.verb)
    }
}

/// How many instances each process of an app has while it is not stopped: what somebody set, else the descriptor's.
pub fn counts_of(head: &Head) -> BTreeMap<ProcessName, u32> {
    let set = |(name, count): (&ProcessName, &u32)| {
        (name.clone(), head.counts.get(name).copied().unwrap_or(*count))
    };
    head.processes.iter().map(set).collect()
}

/// Counts that somebody set and that differ from the descriptor's.
pub fn set_counts(head: &Head, asked: &BTreeMap<ProcessName, u32>) -> BTreeMap<ProcessName, u32> {
    let mut counts = head.counts.clone();
    counts.extend(asked.iter().map(|(n, c)| (n.clone(), *c)));
    counts.retain(|name, count| head.processes.get(name).is_none_or(|d| d != count));
    counts
}

/// How a plan of one step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fulfilled {
    /// Nomad has done it; the job's index, where the head's specification is still what Nomad holds.
    Done(Option<u64>),
    /// Nomad would not, for good.
    Refused(String),
    /// A person has ordered it back (their login) before it was done.
    Cancelled(String),
}

/// What the head becomes.
pub fn fulfil(head: &Head, intent: &Intent, how: &Fulfilled, at: &str) -> Head {
    let mut next = head.clone();
    next.intent = None;
    let (outcome, summary) = match how {
        Fulfilled::Done(_) => (Outcome::Done, words(head, intent)),
        Fulfilled::Refused(why) => (Outcome::Failed, why.clone()),
        Fulfilled::Cancelled(by) => (Outcome::Undone, back(by)),
    };
    if let (Fulfilled::Done(index), Some(verb)) = (how, IntentVerb::of(intent)) {
        next.job_index = index.or(next.job_index);
        match verb {
            IntentVerb::Start => (next.wanted, next.stopped) = (Wanted::Running, None),
            IntentVerb::Stop => {
                next.wanted = Wanted::Stopped;
                next.stopped = Some(Stopped { by: intent.actor.clone(), at: intent.at.clone() });
            }
            IntentVerb::Scale => next.counts = set_counts(head, &intent.counts),
            IntentVerb::Restart => {}
        }
    }
    next.last_operation = Some(LastOperation {
        id: intent.id.clone(),
        verb: intent.verb.clone(),
        outcome,
        summary,
        at: at.to_owned(),
        by: intent.actor.clone(),
        release: None,
    });
    next
}

/// One line on an intent that was ordered back.
pub fn back(by: &str) -> String {
    format!("cancelled by {by}")
}

/// One line on what an intent does.
pub fn words(head: &Head, intent: &Intent) -> String {
    let list = |counts: &BTreeMap<ProcessName, u32>| {
        counts.iter().map(|(n, c)| format!("{n}={c}")).collect::<Vec<_>>().join(" ")
    };
    match IntentVerb::of(intent) {
        Some(IntentVerb::Start) => format!("started: {}", list(&intent.counts)),
        Some(IntentVerb::Stop) => "stopped".to_owned(),
        Some(IntentVerb::Scale) if head.wanted == Wanted::Stopped => {
            format!("remembered for the next start: {}", list(&intent.counts))
        }
        Some(IntentVerb::Scale) => format!("scaled to {}", list(&intent.counts)),
        Some(IntentVerb::Restart) if intent.restarts.len() == 1 => "1 instance restarted".to_owned(),
        Some(IntentVerb::Restart) => format!("{} instances restarted", intent.restarts.len()),
        None => intent.verb.clone(),
    }
}

/// The same, while it is still to be done: a restart takes as long as its instances.
pub fn words_before(head: &Head, intent: &Intent) -> String {
    match (IntentVerb::of(intent), intent.restarts.len()) {
        (Some(IntentVerb::Restart), 1) => "restarting 1 instance".to_owned(),
        (Some(IntentVerb::Restart), n) => format!("restarting {n} instances, one after the other"),
        _ => words(head, intent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Placement, ProjectName, Uid};

    fn name(text: &str) -> ProcessName {
        ProcessName::new(text).unwrap()
    }

    fn head() -> Head {
        let uid = Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzz").unwrap();
        let app = Placement::production(ProjectName::new("carnet").unwrap());
        let mut head = Head::new(app, uid, String::new(), vec![]);
        head.processes = BTreeMap::from([(name("web"), 2), (name("worker"), 1)]);
        head.job_index = Some(7);
        head
    }

    fn intent(verb: IntentVerb, counts: &[(&str, u32)]) -> Intent {
        Intent {
            id: Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzy").unwrap(),
            verb: verb.as_str().to_owned(),
            counts: counts.iter().map(|(n, c)| (name(n), *c)).collect(),
            restarts: BTreeMap::new(),
            actor: "alice".to_owned(),
            address: String::new(),
            at: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    #[test]
    fn a_stop_keeps_the_counts_and_a_start_has_them_again() {
        let mut head = head();
        head = fulfil(&head, &intent(IntentVerb::Scale, &[("web", 3)]), &Fulfilled::Done(Some(8)), "");
        assert_eq!((head.counts.get(&name("web")), head.job_index), (Some(&3), Some(8)));
        let stopped = fulfil(
            &head,
            &intent(IntentVerb::Stop, &[("web", 0), ("worker", 0)]),
            &Fulfilled::Done(None),
            "",
        );
        assert_eq!(
            (stopped.wanted, &stopped.counts, stopped.job_index),
            (Wanted::Stopped, &head.counts, Some(8))
        );
        assert_eq!(stopped.stopped.as_ref().map(|s| s.by.as_str()), Some("alice"));
        let counts = counts_of(&stopped);
        assert_eq!(counts, BTreeMap::from([(name("web"), 3), (name("worker"), 1)]));
        let started = fulfil(&stopped, &intent(IntentVerb::Start, &[]), &Fulfilled::Done(Some(9)), "");
        assert_eq!((started.wanted, started.stopped, started.job_index), (Wanted::Running, None, Some(9)));
    }

    #[test]
    fn a_count_of_the_descriptor_is_no_override_and_a_refusal_changes_nothing() {
        let mut head = head();
        head.counts.insert(name("web"), 3);
        let back = fulfil(&head, &intent(IntentVerb::Scale, &[("web", 2)]), &Fulfilled::Done(Some(8)), "");
        assert_eq!(back.counts, BTreeMap::new());
        let refused = Fulfilled::Refused("no".to_owned());
        let after = fulfil(&head, &intent(IntentVerb::Stop, &[]), &refused, "");
        assert_eq!((after.wanted, &after.counts, after.job_index), (Wanted::Running, &head.counts, Some(7)));
        assert_eq!(after.last_operation.map(|l| l.outcome), Some(Outcome::Failed));
    }
}
