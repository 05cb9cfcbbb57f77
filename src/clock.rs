//! What time it is. Behind a trait, so that tests move it instead of waiting.
//!
//! Decides nothing. Pure rooms (`render`, `plan`, `descriptor`, `model`) never ask it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// Two times: the one on the wall, which people set, and one that only ever advances.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall time, UTC: for what people read and for what must hold across machines.
    fn now(&self) -> Timestamp;
    /// Time since this machine started, suspension included (`CLOCK_BOOTTIME`): for limits and leases.
    fn boot(&self) -> Duration;
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn boot(&self) -> Duration {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // The kernel counts from zero upwards; neither part is ever negative.
        Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
    }
}

/// The machine's clocks.
pub fn system() -> SharedClock {
    Arc::new(SystemClock)
}

/// A clock that stands still until it is moved. Clones show the same time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<(Timestamp, Duration)>>);

impl ManualClock {
    /// Stands at `now`, one hour after the machine's start.
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new((now, Duration::from_hours(1)))))
    }

    /// Moves both times forward.
    pub fn advance(&self, by: Duration) {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Beyond the year 9999 the wall clock stops; no test goes there.
        both.0 =
            both.0.saturating_add(jiff::SignedDuration::try_from(by).unwrap_or_default()).unwrap_or(both.0);
        both.1 += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn boot(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_both_times_together_in_all_clones() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let other = clock.clone();
        let boot = clock.boot();
        clock.advance(Duration::from_secs(90));
        assert_eq!(other.now().as_second(), 90);
        assert_eq!(other.boot(), boot + Duration::from_secs(90));
    }

    #[test]
    fn the_machines_own_boot_time_advances() {
        let first = SystemClock.boot();
        assert!(first > Duration::ZERO);
        assert!(SystemClock.boot() >= first);
    }
}
