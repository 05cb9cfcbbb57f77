//! Why a request about an app could not be done, in the words that people and programs get.
//!
//! Must never name what whoever asked may not see.

use crate::descriptor::Faults;
use crate::engines::{EngineError, Fault};
use crate::model::{Head, Placement, Uid};
use crate::operation::OpenError;
use crate::plan::{Obstacle, Plan};
use crate::store::records::LockHolder;

/// Why a request could not be done. Each says what happened, to what, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The descriptor has faults: all of them.
    #[error("{0}")]
    Descriptor(Faults),
    /// The request is wrong in another way.
    #[error("{0}")]
    Invalid(String),
    /// More than is taken.
    #[error("{0}")]
    TooLarge(String),
    /// Something stands in the way: all of it.
    #[error("{}", .0.iter().map(|o| o.why.as_str()).collect::<Vec<_>>().join("; "))]
    Obstacles(Vec<Obstacle>),
    /// There is no such app, release or operation (or not for this person).
    #[error("{0}")]
    NotFound(String),
    /// The app is there, and not the part of it, or the person, that was named; with what to do instead.
    #[error("{why}")]
    Absent {
        /// What is not there.
        why: String,
        /// What was probably meant, or where to look.
        hint: String,
    },
    /// The name is somebody's, or waits for the sweep.
    #[error("{why}")]
    NameNotAvailable {
        /// Which.
        why: String,
        /// What to do instead; may be empty.
        hint: String,
    },
    /// Another operation is under way.
    #[error("{} of {app} by {} is under way (operation {})", .holder.verb, .holder.login, .holder.operation)]
    Held {
        /// Of which app.
        app: Placement,
        /// Whose.
        holder: Box<LockHolder>,
    },
    /// It is too late for this, or too early: what stands against it, and what to do instead.
    #[error("{why}")]
    Refused {
        /// What stands against it.
        why: String,
        /// What to do instead.
        hint: String,
    },
    /// The world moved since the plan was made; here is the new one where there is one.
    #[error("{0}")]
    Moved(String, Option<Box<Plan>>),
    /// Consul does not answer, and whether the change was begun is not known.
    #[error("{lost}; whether the change was begun is not known: if it was, it goes on by itself")]
    Unsure {
        /// The operation, if there is one.
        operation: Uid,
        /// What came instead of an answer.
        lost: EngineError,
    },
    /// This agent cannot take changes now.
    #[error("{0}")]
    Unready(String),
    /// An instance does not answer at its port.
    #[error("{0}")]
    Unreachable(String),
    /// An engine said no, or is away.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<OpenError> for Error {
    fn from(e: OpenError) -> Self {
        match e {
            OpenError::Held { app, holder } => Self::Held { app, holder },
            OpenError::Moved(why) => Self::Moved(why, None),
            OpenError::Shut => Self::Moved(e.to_string(), None),
            OpenError::NoSession => Self::Unready(e.to_string()),
            OpenError::Unsure { operation, lost } => Self::Unsure { operation, lost },
            OpenError::Engine(e) => Self::Engine(e),
        }
    }
}

pub(super) fn no_such(app: &Placement) -> Error {
    Error::NotFound(format!("there is no app {app}"))
}

/// Refuses what only an instance has, where the app is a static site: that has none.
pub(super) fn not_of_a_site(head: &Head, lacks: &str) -> Result<(), Error> {
    if !head.is_site() {
        return Ok(());
    }
    let app = &head.app;
    Err(Error::Absent {
        why: format!("{app} is a static site: its files are served as they are, and {lacks}"),
        hint: format!(
            "`terreau status {app}` shows it, `terreau open {app}` opens it, `terreau events {app}` tells what happened to it"
        ),
    })
}

/// The app has no part of this name: with the name that was probably meant, else with all that there are.
pub(super) fn no_part(app: &Placement, what: &str, name: &str, all: &[&str]) -> Error {
    let short: String = name.chars().take(40).collect();
    Error::Absent { why: format!("{app} has no {what} {short}"), hint: meant(name, all) }
}

/// Which of these was probably meant, for a hint.
pub(super) fn meant(name: &str, all: &[&str]) -> String {
    match (crate::model::nearest(name, all.iter().copied()), all) {
        (Some(near), _) => format!("did you mean {near}?"),
        (None, []) => "it has none".to_owned(),
        (None, all) => format!("it has {}", all.join(", ")),
    }
}

pub(super) fn obstacles(list: Vec<Obstacle>) -> Error {
    match list.iter().find(|o| o.code == "name_not_available") {
        Some(o) if list.len() == 1 => Error::NameNotAvailable { why: o.why.clone(), hint: o.hint.clone() },
        _ => Error::Obstacles(list),
    }
}

/// True where an engine's answer means that the thing is not there.
pub(super) fn is_missing(e: &EngineError) -> bool {
    e.fault == Fault::NotFound
}
