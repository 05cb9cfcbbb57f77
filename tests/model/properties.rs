//! What must hold on every path, and what must be possible on some.

use stateright::{Model, Property};

use crate::agents::Operations;
use crate::moves::Action;
use crate::world::{Effect, End, World};

pub const G1: &str = "G1: no effect without a record";
pub const G2: &str = "G2: one direction, turned at most once and only before the job is registered";
pub const G3: &str = "G3: nothing is sent or written by who does not hold the lock, and orphans were begun";
pub const G4: &str = "G4: whatever has happened, it goes on by itself until it has ended";
pub const NEVER_HALF: &str = "never both, never half";
pub const NAMES: [&str; 5] = [G1, G2, G3, G4, NEVER_HALF];

fn some(name: &'static str, is_it: fn(&Operations, &World) -> bool) -> Property<Operations> {
    Property::sometimes(name, is_it)
}

pub fn all() -> Vec<Property<Operations>> {
    vec![
        Property::always(G1, |_, w: &World| !w.wrong.effect_without_record),
        Property::always(G2, |_, w: &World| w.turns <= 1 && !w.wrong.turned_late),
        Property::always(G3, |_, w: &World| {
            let is_begun = |n: usize| w.begun & (1 << n) != 0;
            let are_known = (0..w.effects.len()).all(|n| w.effects[n] != Effect::Orphan || is_begun(n));
            !w.wrong.sent_without_lock && !w.wrong.written_by_another && are_known
        }),
        Property::always(G4, |model: &Operations, w: &World| {
            let mut actions = Vec::new();
            model.actions(w, &mut actions);
            w.end.is_some() || actions.iter().any(Action::is_sure)
        }),
        Property::always(NEVER_HALF, |_, w: &World| !w.wrong.half),
        some("it ends done", |_, w| w.end == Some(End::Done)),
        some("it ends undone", |_, w| w.end == Some(End::Undone)),
        some("it ends failed", |_, w| w.end == Some(End::Failed)),
        some("a person gives up on a rollout, and it ends failed", |_, w| {
            w.given_up && w.end == Some(End::Failed)
        }),
        some("another agent takes over", |_, w| w.taken_over),
        some("a late call leaves an orphan", |_, w| w.effects.contains(&Effect::Orphan)),
    ]
}
