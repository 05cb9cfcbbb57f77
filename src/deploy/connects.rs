//! Which connections the audit log has heard of: a use of `terreau proxy` is many connections and one entry.
//!
//! Must never let one through untold: what is not remembered here is told again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::Placement;

/// How long a use is remembered; then it is told anew.
const REMEMBERED: Duration = Duration::from_hours(1);
/// How many uses are remembered, over all people.
const MOST: usize = 4_096;
/// A purpose is no longer than this.
const LONGEST: usize = 64;

/// A use: who, on which app, in which instance, at which port, under which purpose of theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Use {
    pub(super) login: String,
    pub(super) app: Placement,
    pub(super) alloc: String,
    pub(super) port: u16,
    pub(super) purpose: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Connects {
    told: Arc<Mutex<HashMap<Use, Instant>>>,
}

impl Connects {
    /// True where this use was told not long ago.
    pub(super) fn is_told(&self, it: &Use, now: Instant) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(it).is_some_and(|at| now.duration_since(*at) < REMEMBERED)
    }

    /// Remembers a use that was told. One without a purpose is a use of its own each time.
    pub(super) fn remember(&self, it: Use, now: Instant) {
        if it.purpose.is_empty() || it.purpose.len() > LONGEST {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MOST {
            told.retain(|_, at| now.duration_since(*at) < REMEMBERED);
        }
        if told.len() < MOST {
            told.insert(it, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_told_once_an_hour_and_one_without_a_purpose_each_time() {
        let (connects, now) = (Connects::default(), Instant::now());
        let it = |purpose: &str| Use {
            login: "alice".into(),
            app: "carnet".parse().unwrap(),
            alloc: "a".into(),
            port: 80,
            purpose: purpose.into(),
        };
        for purpose in ["", &"x".repeat(65)] {
            connects.remember(it(purpose), now);
            assert!(!connects.is_told(&it(purpose), now));
        }
        connects.remember(it("p"), now);
        assert!(connects.is_told(&it("p"), now) && !connects.is_told(&it("q"), now));
        assert!(!connects.is_told(&Use { login: "bob".into(), ..it("p") }, now));
        assert!(!connects.is_told(&it("p"), now + REMEMBERED));
    }
}
