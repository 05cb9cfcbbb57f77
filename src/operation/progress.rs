//! What people see of an operation while it runs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::model::Uid;
use crate::model::head::Outcome;

/// How many ended operations an agent remembers the course of.
const REMEMBERED: usize = 256;
/// How many lines of one operation.
const LINES: usize = 1_000;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Progress {
    /// A step began or ended.
    Step {
        /// Counting from 1.
        n: usize,
        /// Of how many.
        of: usize,
        /// In words.
        what: String,
        /// `begun`, `done` or `undone`.
        state: String,
    },
    /// An engine is away, or a lock is held: what is waited for.
    Waiting {
        /// In words.
        why: String,
    },
    /// Something seen on the way: an instance starting, a check failing.
    Note {
        /// In words.
        text: String,
    },
    /// The operation turned back.
    Turned {
        /// Why.
        why: String,
    },
    /// It has ended.
    End {
        /// How.
        outcome: Outcome,
        /// One line.
        summary: String,
        /// Why, in full.
        why: Vec<String>,
        /// Where the app answers.
        urls: Vec<String>,
    },
}

/// The course of one operation, and those who follow it.
struct Course {
    lines: Vec<Progress>,
    sender: broadcast::Sender<(usize, Progress)>,
}

/// The courses by operation, and their order, oldest first.
type Courses = (BTreeMap<Uid, Course>, VecDeque<Uid>);
/// What was said so far, and what will be, numbered.
pub type Following = (Vec<Progress>, broadcast::Receiver<(usize, Progress)>);

/// The courses of the operations that this agent runs or ran.
#[derive(Clone, Default)]
pub struct Hub {
    inner: Arc<Mutex<Courses>>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hub")
    }
}

impl Hub {
    /// Says something about an operation.
    pub fn say(&self, id: &Uid, progress: Progress) {
        tracing::info!(operation = %id, progress = ?progress, "operation");
        let mut guard = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (courses, order) = &mut *guard;
        if !courses.contains_key(id) {
            order.push_back(id.clone());
            courses.insert(id.clone(), Course { lines: Vec::new(), sender: broadcast::channel(256).0 });
            if order.len() > REMEMBERED
                && let Some(oldest) = order.pop_front()
            {
                courses.remove(&oldest);
            }
        }
        if let Some(course) = courses.get_mut(id)
            && course.lines.len() < LINES
        {
            course.lines.push(progress.clone());
            // Nobody following is no fault.
            let _ = course.sender.send((course.lines.len() - 1, progress));
        }
    }

    /// What was said so far, and what will be; `None` where this agent does not run it.
    pub fn follow(&self, id: &Uid) -> Option<Following> {
        let guard = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        guard.0.get(id).map(|c| (c.lines.clone(), c.sender.subscribe()))
    }
}
