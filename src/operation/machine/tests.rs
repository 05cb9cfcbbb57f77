//! Every path of the machine.

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
                            assert!(!(turns && is_past_return(&record)), "G2: it turned after registration");
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
    Cancel { by: By { login: "bob".into(), address: "c".into() }, at: String::new(), abandon: false }
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
                    assert!(last.cancel.is_none() || is_past_return(&last) != (outcome == Outcome::Undone));
                    late += usize::from(last.cancel.is_some() && outcome != Outcome::Undone);
                    taken += usize::from(last.cancel.is_some());
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(taken > 3 && refused > 0 && late > 1, "{taken} {refused} {late}");
}

/// Whatever it was at: no step is run or taken back any more, and where nothing was left it ends as it would have.
#[test]
fn an_abandoned_operation_ends_where_it_stands_in_either_direction() {
    let states = [StepState::Todo, StepState::Begun, StepState::Done, StepState::Undone];
    let mut ends = BTreeMap::new();
    for (a, b, c) in (0..64).map(|n| (states[n % 4], states[n / 4 % 4], states[n / 16])) {
        for direction in [Direction::Forward, Direction::Backward] {
            let mut record = OpRecord { direction, ..three() };
            record.cancel = Some(Cancel { abandon: true, ..somebodys() });
            (record.steps[0].state, record.steps[1].state, record.steps[2].state) = (a, b, c);
            for seen in [Seen::Nothing, Seen::Unknown("?".into()), Seen::Effected(Evidence::new())] {
                let Next::Close(last, outcome) = decide(&record, seen.clone()) else {
                    panic!("{record:?} {seen:?}")
                };
                let moved = last.steps.iter().zip(&record.steps).filter(|(n, o)| n.state != o.state).count();
                assert!(moved <= usize::from(seen == Seen::Effected(Evidence::new())), "{last:?}");
                *ends.entry(format!("{outcome:?}")).or_insert(0) += 1;
            }
        }
    }
    let ended: Vec<&str> = ends.keys().map(String::as_str).collect();
    assert_eq!(ended, ["Abandoned", "Done", "Undone"], "{ends:?}");
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
