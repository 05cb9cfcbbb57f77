//! How many calls to one engine are under way at once: an engine counts connections by address (Nomad 100, Consul 200),
//! and what one person follows must not cost the agent its session.
//!
//! Three lanes, so that what takes long never stands before what is answered at once. A call waits a moment for a place;
//! then it is given up as [`Fault::Busy`], unsent. The agent's own few watches and its session go past them all.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engines::Engine;

/// Long calls to an engine at once (MECHANISM): blocking queries, followed logs, events for people, programs' sockets.
pub const LONG: usize = 40;
/// Calls at once that a node of the cluster answers, reached through the engine: it may hang.
const FAR: usize = 20;
/// Calls at once that the engine itself answers, at once: of Nomad, and of one that counts less strictly.
const BRIEF: (usize, usize) = (32, 100);
/// How long a call waits for a place.
pub(super) const QUEUE: Duration = Duration::from_secs(5);

/// Which kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Answered at once, by the engine itself.
    Brief,
    /// Answered at once, by a node.
    Far,
    /// Held back, or going on.
    Long,
}

#[derive(Debug)]
pub(super) struct Lanes {
    brief: Arc<Semaphore>,
    far: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

/// A place in a lane, held until the call has ended.
#[derive(Debug)]
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Lanes {
    pub(super) fn of(engine: Engine) -> Arc<Self> {
        let brief = if engine == Engine::Nomad { BRIEF.0 } else { BRIEF.1 };
        let places = |n| Arc::new(Semaphore::new(n));
        Arc::new(Self { brief: places(brief), far: places(FAR), long: places(LONG) })
    }

    fn places(&self, lane: Lane) -> &Arc<Semaphore> {
        match lane {
            Lane::Brief => &self.brief,
            Lane::Far => &self.far,
            Lane::Long => &self.long,
        }
    }

    /// A place; `None` where there was none for too long.
    pub(super) async fn enter(&self, lane: Lane) -> Option<Place> {
        let places = self.places(lane).clone();
        if let Ok(permit) = places.clone().try_acquire_owned() {
            return Some(Place { _permit: Some(permit) });
        }
        // Apart, for what waits is rare and large.
        let got = Box::pin(tokio::time::timeout(QUEUE, places.acquire_owned())).await;
        got.ok()?.ok().map(|permit| Place { _permit: Some(permit) })
    }
}

impl Place {
    /// Of a call that goes past the lanes.
    pub(super) fn aside() -> Self {
        Self { _permit: None }
    }
}
