//! What engines show of apps: one by one where few are looked at, else of all of them at once.

use std::collections::BTreeMap;

use crate::engines::EngineError;
use crate::engines::nomad::Allocation;
use crate::model::{Head, Placement};
use crate::operation::Runner;
use crate::resources::health::Health;
use crate::store::Versioned;

/// More than so many are looked at by one call for all of them.
const ONE_BY_ONE: usize = 4;

/// What was seen of apps.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// By namespace and job.
    pub(super) allocations: BTreeMap<(String, String), Vec<Allocation>>,
    pub(super) health: Health,
    pub(super) heads: BTreeMap<Placement, Result<Versioned<Head>, EngineError>>,
}

/// Looks at these.
pub(super) async fn look(runner: &Runner, apps: &[Placement]) -> Result<Sight, EngineError> {
    if apps.len() > ONE_BY_ONE { all(runner).await } else { each(runner, apps).await }
}

/// What is seen of every app: three calls, however many there are.
async fn all(runner: &Runner) -> Result<Sight, EngineError> {
    let hands = runner.hands();
    let (all, checks, heads) = tokio::try_join!(
        hands.nomad.all_allocations("*"),
        hands.consul.checks(None),
        runner.store().each_head(),
    )?;
    let mut sight = Sight { health: Health::of(&checks), ..Sight::default() };
    for a in all.0 {
        sight.allocations.entry((a.namespace.clone(), a.job_id.clone())).or_default().push(a);
    }
    sight.heads = heads.into_iter().collect();
    Ok(sight)
}

/// What is seen of these few.
async fn each(runner: &Runner, apps: &[Placement]) -> Result<Sight, EngineError> {
    let (hands, store) = (runner.hands(), runner.store());
    let (mut sight, mut checks) = (Sight::default(), Vec::new());
    for app in apps {
        let id = app.flat();
        let (all, of_it, head) = tokio::try_join!(
            hands.nomad.allocations(app.namespace(), &id),
            hands.consul.checks(Some(&id)),
            store.head(app),
        )?;
        checks.extend(of_it);
        sight.allocations.insert((app.namespace().to_owned(), id), all);
        sight.heads.extend(head.map(|h| (app.clone(), Ok(h))));
    }
    sight.health = Health::of(&checks);
    Ok(sight)
}
