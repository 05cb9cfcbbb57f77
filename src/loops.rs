//! What an agent does again and again in the background, and how each of these loops fares: for `terreau loops` and
//! `/metrics`. A loop that fails is told of once, and once more when it works again, not at every try.
//!
//! Decides nothing, and asks no engine.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;

use crate::clock::SharedClock;
use crate::model::wire::{LoopState, LoopView};

/// So many of its periods without a success, and a loop is late.
const PERIODS: u32 = 3;
/// And so long besides: an engine may take its time.
const GRACE: Duration = Duration::from_secs(15);
/// The pause before one that panicked is begun again.
const AGAIN: Duration = Duration::from_secs(1);

/// One of an agent's loops.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name: lower case, with dashes.
    pub name: &'static str,
    /// What it does, in a few words.
    pub what: &'static str,
    /// How often it goes round, at least.
    pub every: Duration,
}

/// How one fares.
#[derive(Debug)]
struct Fare {
    kind: Kind,
    /// Since when it is waited for.
    since: Timestamp,
    last: Option<Timestamp>,
    rests: bool,
    failures: u64,
    in_a_row: u64,
    error: Option<String>,
}

/// All loops of an agent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Loops {
    clock: SharedClock,
    fares: Arc<Mutex<BTreeMap<&'static str, Fare>>>,
}

/// What came of going round once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It went round.
    Worked,
    /// It had nothing to do here.
    Rested,
    /// It did not get round.
    Failed,
}

/// With what a loop tells how it fares.
#[derive(Debug, Clone)]
pub struct Beat {
    name: &'static str,
    loops: Loops,
}

impl Loops {
    /// None yet.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, fares: Arc::default() }
    }

    /// One more, which is waited for from now on.
    pub fn add(&self, kind: Kind) -> Beat {
        let fare = Fare {
            kind,
            since: self.clock.now(),
            last: None,
            rests: false,
            failures: 0,
            in_a_row: 0,
            error: None,
        };
        self.fares().insert(kind.name, fare);
        Beat { name: kind.name, loops: self.clone() }
    }

    /// Runs one that ends by itself when the agent stops. Where it panics, it is begun again.
    pub fn spawn<W: Future<Output = ()> + Send + 'static>(
        &self,
        kind: Kind,
        mut work: impl FnMut(Beat) -> W + Send + 'static,
    ) {
        let beat = self.add(kind);
        tokio::spawn(async move {
            while AssertUnwindSafe(work(beat.clone())).catch_unwind().await.is_err() {
                beat.failed("it panicked, and is begun again; see the agent's log");
                tokio::time::sleep(AGAIN).await;
            }
        });
    }

    /// How each fares, by name.
    pub fn seen(&self) -> Vec<LoopView> {
        let now = self.clock.now();
        self.fares().values().map(|f| f.view(now)).collect()
    }

    fn fares(&self) -> MutexGuard<'_, BTreeMap<&'static str, Fare>> {
        self.fares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fare {
    fn view(&self, now: Timestamp) -> LoopView {
        let waited = now.duration_since(self.last.unwrap_or(self.since)).unsigned_abs();
        let state = match self {
            _ if self.in_a_row > 0 => LoopState::Fails,
            _ if self.rests => LoopState::Rests,
            _ if waited > self.kind.every * PERIODS + GRACE => LoopState::Late,
            _ if self.last.is_none() => LoopState::Begins,
            _ => LoopState::Works,
        };
        LoopView {
            name: self.kind.name.to_owned(),
            what: self.kind.what.to_owned(),
            every_seconds: self.kind.every.as_secs().max(1),
            state,
            last: self.last.map(|at| at.to_string()),
            failures: self.failures,
            in_a_row: self.in_a_row,
            error: self.error.clone(),
        }
    }
}

impl Beat {
    /// It went round.
    pub fn works(&self) {
        let was = self.note(|f, now| {
            (f.last, f.rests, f.error) = (Some(now), false, None);
            std::mem::take(&mut f.in_a_row)
        });
        if was > 0 {
            tracing::info!(name = self.name, failures = was, "a loop works again");
        }
    }

    /// It has nothing to do here: another agent leads, or nobody follows.
    pub fn rests(&self) {
        self.note(|f, now| {
            // Late is counted from where it works again.
            (f.since, f.last, f.rests, f.error, f.in_a_row) = (now, None, true, None, 0);
        });
    }

    /// It did not get round.
    pub fn failed(&self, why: impl Display) {
        let why = why.to_string();
        let in_a_row = self.note(|f, _| {
            f.rests = false;
            f.failures += 1;
            f.in_a_row += 1;
            f.error = Some(why.clone());
            f.in_a_row
        });
        if in_a_row == 1 {
            tracing::warn!(name = self.name, error = why, "a loop fails; it is tried again");
        } else {
            tracing::debug!(name = self.name, error = why, in_a_row, "a loop still fails");
        }
    }

    /// It went round (`true`), had nothing to do here (`false`), or did not get round.
    pub fn turned<E: Display>(&self, went: Result<bool, E>) -> Turn {
        match went {
            Ok(true) => {
                self.works();
                Turn::Worked
            }
            Ok(false) => {
                self.rests();
                Turn::Rested
            }
            Err(e) => {
                self.failed(e);
                Turn::Failed
            }
        }
    }

    /// It went round, or not.
    pub fn told<E: Display>(&self, went: Result<(), E>) {
        match went {
            Ok(()) => self.works(),
            Err(e) => self.failed(e),
        }
    }

    fn note<T: Default>(&self, change: impl FnOnce(&mut Fare, Timestamp) -> T) -> T {
        let now = self.loops.clock.now();
        self.loops.fares().get_mut(self.name).map(|f| change(f, now)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::ManualClock;

    const KIND: Kind = Kind { name: "a-loop", what: "turns", every: Duration::from_mins(1) };

    fn state(loops: &Loops) -> LoopState {
        loops.seen()[0].state
    }

    #[test]
    fn a_loop_is_late_after_three_periods_and_fails_until_it_works_again() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let loops = Loops::new(Arc::new(clock.clone()));
        let beat = loops.add(KIND);
        assert_eq!(state(&loops), LoopState::Begins);
        clock.advance(Duration::from_secs(196));
        assert_eq!(state(&loops), LoopState::Late);
        beat.works();
        assert_eq!(state(&loops), LoopState::Works);
        clock.advance(Duration::from_secs(195));
        assert_eq!(state(&loops), LoopState::Works);
        clock.advance(Duration::from_secs(1));
        assert_eq!(state(&loops), LoopState::Late);
        beat.failed("consul is away");
        beat.failed("consul is away");
        let seen = loops.seen().remove(0);
        assert_eq!((seen.state, seen.in_a_row, seen.failures), (LoopState::Fails, 2, 2));
        assert_eq!(seen.error.as_deref(), Some("consul is away"));
        assert_eq!(seen.last.as_deref(), Some("1970-01-01T00:03:16Z"));
        beat.works();
        let seen = loops.seen().remove(0);
        assert_eq!((seen.state, seen.in_a_row, seen.failures, seen.error), (LoopState::Works, 0, 2, None));
    }

    #[test]
    fn a_loop_that_rests_is_never_late_and_is_waited_for_from_where_it_works_again() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let loops = Loops::new(Arc::new(clock.clone()));
        let beat = loops.add(KIND);
        beat.rests();
        clock.advance(Duration::from_hours(1));
        assert_eq!(state(&loops), LoopState::Rests);
        beat.works();
        assert_eq!(state(&loops), LoopState::Works);
    }

    #[tokio::test]
    async fn a_loop_that_panics_is_begun_again_and_tells_that_it_did() {
        let loops = Loops::new(crate::clock::system());
        let (count, done) = (Arc::new(AtomicU32::new(0)), Arc::new(tokio::sync::Notify::new()));
        let (counted, tell) = (count.clone(), done.clone());
        loops.spawn(KIND, move |beat| {
            let turn = counted.fetch_add(1, Ordering::Relaxed);
            let tell = tell.clone();
            async move {
                assert!(turn != 0, "the first turn panics");
                beat.works();
                tell.notify_one();
            }
        });
        done.notified().await;
        let seen = loops.seen().remove(0);
        assert_eq!((seen.state, seen.failures), (LoopState::Works, 1));
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }
}
