//! The protocol of an operation, on every path: lock, session, fence, records, take-over, turning back, closing.
//!
//! What an agent does next is decided by [`terreau::operation::machine::decide`], the very function that agents run;
//! everything around it (Consul's transactions, calls that are slow or whose answers are lost, kills, pauses) is
//! modelled here. Each property is also checked against a protocol that was broken on purpose, and must fail there.
//!
//! Not in it, so far: a second operation on the same app, what the wait for a release does to its job, how an operation is
//! opened, graceful stops, undoing that is refused, held canaries, plans of one step, the sweep.
//!
//! Three agents, and more of everything: `scripts/test --full`.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

mod agents;
mod moves;
mod properties;
mod record;
mod world;

use std::time::Instant;

use agents::Operations;
use properties::NAMES;
use stateright::{Checker, Model};
use world::{Broken, Budget};

/// What two agents go through in seconds: all pairs of misfortunes.
const SHORT: [Budget; 2] = [
    Budget { kills: 1, lost: 1, refusals: 1, pauses: 0, cancels: 1 },
    Budget { kills: 0, lost: 1, refusals: 1, pauses: 1, cancels: 1 },
];
/// All of them at once, in minutes.
const WHOLE: Budget = Budget { kills: 1, lost: 1, refusals: 1, pauses: 1, cancels: 1 };
const LONG: Budget = Budget { kills: 2, lost: 2, refusals: 1, pauses: 2, cancels: 1 };

/// Explores all of it, and gives the properties that do not hold.
fn explore(what: &str, model: Operations) -> Vec<&'static str> {
    let (agents, budget, broken) = (model.agents, model.budget, model.broken);
    let begun = Instant::now();
    let checker = model.checker().threads(2).spawn_bfs().join();
    let mut fail: Vec<&'static str> =
        checker.discoveries().keys().copied().filter(|name| NAMES.contains(name)).collect();
    fail.sort_unstable();
    println!(
        "{what}: {agents} agents, {budget:?}, {broken:?}: {} states, {} distinct, depth {}, {:?}: {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        begun.elapsed(),
        if fail.is_empty() { "all hold".to_owned() } else { format!("fail: {fail:?}") },
    );
    if broken.is_none() {
        for (name, path) in checker.discoveries() {
            assert!(
                !NAMES.contains(&name),
                "{name}: {:#?}\n{:#?}",
                path.clone().into_actions(),
                path.last_state()
            );
        }
        // What must be possible was seen, too.
        checker.assert_properties();
    }
    fail
}

#[test]
fn g1_to_g4_and_never_both_never_half_hold_on_every_path_of_two_agents() {
    for budget in SHORT {
        assert!(explore("two", Operations { agents: 2, budget, broken: None }).is_empty());
    }
}

#[test]
#[ignore = "slow: scripts/test --full"]
fn g1_to_g4_and_never_both_never_half_hold_on_every_path_of_two_agents_with_all_misfortunes_at_once() {
    assert!(explore("two", Operations { agents: 2, budget: WHOLE, broken: None }).is_empty());
}

#[test]
#[ignore = "slow: scripts/test --full"]
fn g1_to_g4_and_never_both_never_half_hold_on_every_path_of_three_agents() {
    assert!(explore("three", Operations { agents: 3, budget: LONG, broken: None }).is_empty());
}

/// A checker that finds nothing wrong might look at nothing.
#[test]
fn a_protocol_that_is_broken_on_purpose_is_seen_to_be() {
    for (broken, property) in [
        (Broken::EffectBeforeRecord, properties::G1),
        (Broken::TurnsTwice, properties::G2),
        (Broken::TurnsAfterRegistration, properties::G2),
        (Broken::GivesUpBackward, properties::G2),
        (Broken::NoFence, properties::G3),
        (Broken::NoSessionCheck, properties::G3),
        (Broken::NoClaim, properties::G3),
        (Broken::NobodyTakesOver, properties::G4),
        (Broken::ForgetsTheWayBack, properties::NEVER_HALF),
        (Broken::ClosesEarly, properties::NEVER_HALF),
    ] {
        let seen = SHORT.iter().any(|budget| {
            explore("broken", Operations { agents: 2, budget: *budget, broken: Some(broken) })
                .contains(&property)
        });
        assert!(seen, "{broken:?} is not seen");
    }
}
