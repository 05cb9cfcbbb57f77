//! What an operation does next: a pure function of its record and of what was observed.
//!
//! # Guarantees
//! - **G1** a step is run only after a record that says `begun`; this function never asks for a `Run` of a step whose
//!   record does not.
//! - **G2** the direction turns at most once, from forward to backward, and only before the first effect that cannot be
//!   taken back: the registration of the job, for most apps. A person's cancel is no exception: it turns an operation only
//!   while no such step is begun, by the very CAS that beginning one needs. Later, while the rollout is waited for, it
//!   turns nothing: the wait gives up on the release, as it does on one that gets not healthy.
//!
//! # Assumptions
//! The caller writes what `Next::Write` holds (fenced by session and CAS) before it asks again, and runs steps that
//! are idempotent by their kind.

use std::collections::BTreeMap;

use super::turning::{is_bound, is_past_return, turn_as_ordered};
use crate::model::head::Outcome;
use crate::store::records::{Direction, OpRecord, StepState};

/// What came of a step: ids, indexes, verdicts; never a secret.
pub type Evidence = BTreeMap<String, String>;

/// The key of a settle step's verdict in its evidence.
pub const VERDICT: &str = "verdict";

/// What was observed since the record was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: the record was just written, or taken over.
    Nothing,
    /// The effect of the step in hand (or of its undoing) has happened.
    Effected(Evidence),
    /// The engine said no, for good: the effect has not happened.
    Refused(String),
    /// Whether the effect has happened is not known.
    Unknown(String),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Write this record, then ask again with [`Seen::Nothing`].
    Write(OpRecord),
    /// Run this step.
    Run(usize),
    /// Take this step back.
    Undo(usize),
    /// Pause, then do the same again: an engine is away.
    Wait(usize, String),
    /// End the operation: the record in its last form, and how it ended.
    Close(OpRecord, Outcome),
}

/// Decides.
pub fn decide(record: &OpRecord, seen: Seen) -> Next {
    match record.direction {
        Direction::Forward => forward(record, seen),
        Direction::Backward => backward(record, seen),
    }
}

/// The step whose effect may have happened.
fn in_hand(record: &OpRecord) -> Option<usize> {
    record.steps.iter().position(|s| s.state == StepState::Begun)
}

fn forward(record: &OpRecord, seen: Seen) -> Next {
    if record.cancel.is_some() && !is_past_return(record) {
        let mut record = record.clone();
        if let (Seen::Effected(evidence), Some(n)) = (seen, in_hand(&record)) {
            record.steps[n].state = StepState::Done;
            record.steps[n].evidence = evidence;
        }
        // A step whose effect is not known stays `begun`, so that the way back looks at it too.
        turn_as_ordered(&mut record);
        return Next::Write(record);
    }
    let Some(n) = in_hand(record) else { return begin_next(record.clone()) };
    match seen {
        Seen::Nothing => Next::Run(n),
        Seen::Unknown(why) => Next::Wait(n, why),
        Seen::Effected(evidence) => {
            let mut record = record.clone();
            let verdict = evidence.get(VERDICT).cloned();
            record.steps[n].state = StepState::Done;
            record.steps[n].evidence = evidence;
            match verdict.as_deref() {
                // What comes after it is kept, and done by the promotion.
                Some("held") => Next::Close(record, Outcome::Held),
                Some("reverted") => Next::Close(record, Outcome::Reverted),
                Some("failed") => Next::Close(record, Outcome::Failed),
                _ => begin_next(record),
            }
        }
        Seen::Refused(why) => {
            let mut record = record.clone();
            if is_bound(&record, n) {
                record.steps[n].evidence.insert("refused".to_owned(), why);
                return Next::Close(record, Outcome::Failed);
            }
            // Refused means that this step's effect has not happened, but an earlier attempt at it may have been cut
            // off: it stays `begun`, so that the way back looks at it too.
            record.direction = Direction::Backward;
            record.turned = Some(why);
            Next::Write(record)
        }
    }
}

fn begin_next(mut record: OpRecord) -> Next {
    match record.steps.iter().position(|s| s.state == StepState::Todo) {
        Some(n) => {
            record.steps[n].state = StepState::Begun;
            Next::Write(record)
        }
        None => Next::Close(record, Outcome::Done),
    }
}

fn backward(record: &OpRecord, seen: Seen) -> Next {
    let last = record.steps.iter().rposition(|s| matches!(s.state, StepState::Begun | StepState::Done));
    let Some(n) = last else { return Next::Close(record.clone(), Outcome::Undone) };
    match seen {
        Seen::Nothing => Next::Undo(n),
        Seen::Unknown(why) => Next::Wait(n, why),
        Seen::Effected(evidence) => Next::Write(undone(record, n, evidence)),
        // What cannot be taken back stays with its mark, and doctor shows it.
        Seen::Refused(why) => Next::Write(undone(record, n, Evidence::from([("left".to_owned(), why)]))),
    }
}

fn undone(record: &OpRecord, n: usize, evidence: Evidence) -> OpRecord {
    let mut record = record.clone();
    record.steps[n].state = StepState::Undone;
    record.steps[n].evidence.extend(evidence);
    record
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::turning::{cancelled, may_cancel};
    use super::*;
    use crate::model::{Placement, ProjectName, SecretName, Uid, sha256_hex};
    use crate::store::records::{After, By, Cancel, First, Step, StepSpec, Verb};

    /// A deploy of these steps whose first is begun.
    pub(crate) fn record(steps: Vec<StepSpec>) -> OpRecord {
        let uid = Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzz").unwrap();
        OpRecord {
            v: 1,
            id: uid.clone(),
            app: Placement::production(ProjectName::new("carnet").unwrap()),
            uid: uid.clone(),
            verb: Verb::Deploy,
            by: By { login: "a".into(), address: "b".into() },
            at: String::new(),
            plan: sha256_hex(""),
            direction: Direction::Forward,
            turned: None,
            cancel: None,
            claim: 0,
            agent: uid,
            steps: steps
                .into_iter()
                .enumerate()
                .map(|(n, spec)| Step {
                    spec,
                    state: if n == 0 { StepState::Begun } else { StepState::Todo },
                    evidence: Evidence::new(),
                })
                .collect(),
            after: After::default(),
        }
    }

    pub(crate) fn site(host: &str) -> StepSpec {
        StepSpec::SitePut {
            hosts: vec![crate::model::HostName::new(host).unwrap()],
            index: "index.html".into(),
            error: None,
            artifact: crate::model::artifact::Artifact { parts: vec![] },
            capability: String::new(),
        }
    }

    fn three() -> OpRecord {
        record(vec![
            StepSpec::SecretGenerate {
                name: SecretName::new("a").unwrap(),
                version: 1,
                length: 32,
                alphabet: crate::store::records::Alphabet::Hex,
            },
            StepSpec::JobRegister {
                namespace: "default".into(),
                id: "carnet".into(),
                json: sha256_hex(""),
                hcl: sha256_hex(""),
                enforce: 0,
                spec_hash: sha256_hex(""),
            },
            StepSpec::JobSettle {
                namespace: "default".into(),
                id: "carnet".into(),
                first: First::Yes,
                counts: BTreeMap::new(),
            },
        ])
    }

    /// Every path through every answer: the machine always ends, turns at most once, never runs what is not begun.
    #[test]
    fn every_path_ends_turns_at_most_once_and_runs_only_what_is_begun() {
        let mut paths = 0;
        let mut todo = vec![(three(), false, 0)];
        while let Some((record, turned, depth)) = todo.pop() {
            assert!(depth < 20, "a path without an end");
            match decide(&record, Seen::Nothing) {
                Next::Close(..) => paths += 1,
                Next::Write(next) => todo.push((next, turned, depth + 1)),
                Next::Wait(..) => unreachable!("nothing was seen"),
                Next::Run(n) | Next::Undo(n) => {
                    let back = record.direction == Direction::Backward;
                    assert!(record.steps[n].state == StepState::Begun || back, "G1");
                    let verdicts = ["healthy", "held", "reverted", "failed"];
                    let mut seen: Vec<Seen> = verdicts
                        .iter()
                        .map(|v| Seen::Effected(Evidence::from([(VERDICT.to_owned(), (*v).to_owned())])))
                        .take(if matches!(record.steps[n].spec, StepSpec::JobSettle { .. }) { 4 } else { 1 })
                        .collect();
                    seen.push(Seen::Refused("no".into()));
                    assert!(matches!(decide(&record, Seen::Unknown("?".into())), Next::Wait(m, _) if m == n));
                    for s in seen {
                        match decide(&record, s) {
                            Next::Write(next) => {
                                let turns = next.direction != record.direction;
                                assert!(!(turns && (turned || back)), "G2: it turned twice");
                                assert!(
                                    !(turns && is_past_return(&record)),
                                    "G2: it turned after registration"
                                );
                                todo.push((next, turned || turns, depth + 1));
                            }
                            Next::Close(..) => paths += 1,
                            other => panic!("{other:?} after a step's end"),
                        }
                    }
                }
            }
        }
        assert!(paths > 5, "{paths}");
    }

    fn somebodys() -> Cancel {
        Cancel { by: By { login: "bob".into(), address: "c".into() }, at: String::new() }
    }

    /// A cancel that comes before any record of an operation: it turns once, ends undone, and never runs a step again;
    /// while the job's registration is begun it is not taken; while its rollout is waited for it turns nothing.
    #[test]
    fn g2_a_cancel_at_any_moment_is_undone_or_not_taken_or_for_the_wait_to_give_up() {
        let (mut taken, mut refused, mut late) = (0, 0, 0);
        let mut todo = vec![(three(), 0)];
        while let Some((record, depth)) = todo.pop() {
            assert!(depth < 30, "a path without an end");
            let is_free = may_cancel(&record).is_ok();
            let registering = record.steps[1].state != StepState::Todo;
            let rolls_out = record.steps[1].state == StepState::Done
                && matches!(record.steps[2].state, StepState::Todo | StepState::Begun);
            if record.cancel.is_some() {
                assert!(!registering || (is_past_return(&record) && record.direction == Direction::Forward));
            } else if record.direction == Direction::Forward {
                assert_eq!(is_free, !registering || rolls_out, "{record:?}");
                refused += usize::from(!is_free);
            }
            // Another agent wrote it into this very record, and its owner has read it (or is gone).
            if is_free {
                todo.push((OpRecord { cancel: Some(somebodys()), ..record.clone() }, depth + 1));
            }
            let mut answers = vec![Seen::Nothing];
            if matches!(decide(&record, Seen::Nothing), Next::Run(_) | Next::Undo(_)) {
                let is_turned = record.direction == Direction::Backward;
                assert!(record.cancel.is_none() || is_turned || rolls_out, "{record:?}");
                answers = vec![Seen::Effected(Evidence::new()), Seen::Refused("no".into())];
            }
            for seen in answers {
                match decide(&record, seen) {
                    Next::Write(next) => {
                        // The CAS of the other agent was first.
                        if is_free {
                            let told = cancelled(next.clone(), &record, somebodys());
                            if rolls_out {
                                assert_eq!((told.direction, &told.steps), (Direction::Forward, &next.steps));
                            } else {
                                assert_eq!(told.direction, Direction::Backward);
                                assert_eq!(told.steps[1].state, StepState::Todo, "it was not begun");
                            }
                            todo.push((told, depth + 1));
                        }
                        todo.push((next, depth + 1));
                    }
                    Next::Close(last, outcome) => {
                        assert!(
                            last.cancel.is_none() || is_past_return(&last) != (outcome == Outcome::Undone)
                        );
                        late += usize::from(last.cancel.is_some() && outcome != Outcome::Undone);
                        taken += usize::from(last.cancel.is_some());
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(taken > 3 && refused > 0 && late > 1, "{taken} {refused} {late}");
    }

    #[test]
    fn a_refused_registration_is_undone_and_a_refused_wait_is_not() {
        let mut r = three();
        r.steps[0].state = StepState::Done;
        r.steps[1].state = StepState::Begun;
        let Next::Write(back) = decide(&r, Seen::Refused("bad job".into())) else { panic!() };
        assert_eq!(back.direction, Direction::Backward);
        assert_eq!(decide(&back, Seen::Nothing), Next::Undo(1));
        r.steps[1].state = StepState::Done;
        r.steps[2].state = StepState::Begun;
        assert!(matches!(decide(&r, Seen::Refused("?".into())), Next::Close(_, Outcome::Failed)));
    }

    /// A site has no job: what comes after its files must not turn back either, or the old release would be called
    /// unchanged while the new one's files are served.
    #[test]
    fn after_an_effect_that_stays_an_operation_without_a_job_does_not_turn_back() {
        let dn = String::from("cn=a");
        let close = StepSpec::SiteClose { hosts: vec![] };
        let (disable, deny) =
            (StepSpec::AccountDisable { dn: dn.clone() }, StepSpec::KeyDeny { id: "GK".into() });
        for stays in [site("a.example.org"), close, disable, deny] {
            let mut r = record(vec![stays, StepSpec::AccountDisable { dn: dn.clone() }]);
            r.steps[0].state = StepState::Done;
            r.steps[1].state = StepState::Begun;
            assert!(matches!(decide(&r, Seen::Refused("no".into())), Next::Close(_, Outcome::Failed)));
        }
        let r = record(vec![StepSpec::AccountDisable { dn }]);
        assert!(
            matches!(decide(&r, Seen::Refused("no".into())), Next::Write(back) if back.direction == Direction::Backward)
        );
    }
}
