//! The runner: what every operation of this agent is run with.
//!
//! `lock` takes and gives back an app's lock, `open` writes an operation's first record or takes one up, `drive` runs its
//! steps, `end` writes its last record. Here is only what they share.
//!
//! # Guarantees
//! **G1** no effect without a record that names it. **G3** an agent that was paused does at most the one call already
//! recorded as begun: every write passes the lease's gate, every record is fenced by session and CAS.
//! **G4** a killed operation ends within take-over time plus its remaining steps.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::session::AgentSession;
use super::{Hub, Progress, points};
use crate::clock::SharedClock;
use crate::engines::{Engine, EngineError, Fault};
use crate::loops::Loops;
use crate::model::Uid;
use crate::resources::Hands;
use crate::store::Store;
use crate::store::records::OpRecord;

/// Makes a fresh id: a lower-case ULID of this time.
pub fn fresh_uid(at: jiff::Timestamp) -> Uid {
    let ms = u64::try_from(at.as_millisecond()).unwrap_or(0);
    let text = ulid::Ulid::from_parts(ms, rand::random()).to_string().to_lowercase();
    Uid::new(text).unwrap_or_else(|_| unreachable!("a ULID is a uid"))
}

/// When an id was made: it says so.
pub fn made_at(id: &Uid) -> Option<jiff::Timestamp> {
    let ulid = ulid::Ulid::from_string(&id.as_str().to_uppercase()).ok()?;
    jiff::Timestamp::from_millisecond(i64::try_from(ulid.timestamp_ms()).ok()?).ok()
}

/// Runs operations. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runner {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) hands: Hands,
    pub(super) store: Store,
    pub(super) session: AgentSession,
    pub(super) agent: Uid,
    pub(super) hub: Hub,
    pub(super) clock: SharedClock,
    pub(super) loops: Loops,
    pub(super) stop: CancellationToken,
    /// Rung where somebody has cancelled an operation by this agent: those that wait for an engine look at their records.
    pub(super) cancelled: Notify,
    pub(super) tasks: TaskTracker,
    /// Rung where this agent begins to lead.
    pub(super) leads_now: Notify,
    /// Too many audit records wait for their export.
    pub(super) audit_is_full: AtomicBool,
}

impl Runner {
    /// A runner for this agent.
    pub fn new(
        hands: Hands,
        store: Store,
        session: AgentSession,
        agent: Uid,
        clock: SharedClock,
        loops: Loops,
    ) -> Self {
        let (hub, stop, tasks) = (Hub::default(), CancellationToken::new(), TaskTracker::new());
        let (cancelled, leads_now) = (Notify::new(), Notify::new());
        let audit_is_full = AtomicBool::new(false);
        let inner = Inner {
            hands,
            store,
            session,
            agent,
            hub,
            clock,
            loops,
            stop,
            cancelled,
            tasks,
            leads_now,
            audit_is_full,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Who follows what.
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }
    /// The records.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }
    /// The clients, ungated: for reads.
    pub fn hands(&self) -> &Hands {
        &self.inner.hands
    }
    /// This agent's id.
    pub fn agent(&self) -> &Uid {
        &self.inner.agent
    }
    /// The agent's session.
    pub fn session(&self) -> &AgentSession {
        &self.inner.session
    }
    /// What this agent does in the background.
    pub fn loops(&self) -> &Loops {
        &self.inner.loops
    }
    /// What time it is.
    pub fn now(&self) -> jiff::Timestamp {
        self.inner.clock.now()
    }

    /// Stops gracefully: every operation ends the step in hand and is left for another agent, with no step begun.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    pub(super) fn say(&self, operation: &Uid, progress: Progress) {
        self.inner.hub.say(operation, progress);
    }
}

pub(super) fn pass(record: &OpRecord, what: &str, when: &str) {
    points::pass(&format!("{}.{what}.{when}", record.verb.as_str()));
}

/// True where a record will never be written, however often it is tried. A token that is refused may be mended.
pub(super) fn is_final(e: &EngineError) -> bool {
    matches!(e.fault, Fault::Conflict | Fault::NotFound | Fault::Invalid | Fault::TooLarge)
}

/// 0.2 s, doubling up to 10 s, with jitter.
pub(super) fn backoff(failures: u32) -> Duration {
    let base = Duration::from_millis(200) * 2_u32.saturating_pow(failures.saturating_sub(1).min(6));
    base.min(Duration::from_secs(10)).mul_f64(rand::rng().random_range(0.75..1.25))
}

/// A record as JSON.
pub fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(value)
        .map_err(|e| EngineError::new(Engine::Consul, Fault::Invalid, "write a record", e.to_string()))
}
