//! The agent's life in Consul: one session, renewed, and the fence that closes when it may be gone.
//!
//! # Guarantees
//! No write leaves through a gate of this session when more than [`FENCE`] has passed since the last renewal was
//! *sent* (measured on `CLOCK_BOOTTIME`: a suspended machine's monotonic clock stands still). Consul keeps a 10 s
//! session for at least 10 s after it received the renewal, so nobody else can hold the lock by then.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engines::consul::{Consul, SessionSpec};
use crate::engines::{EngineError, Gate, SharedGate};
use crate::loops::{Beat, Kind, Loops};

/// How long after the last renewal was sent a write may still leave.
pub const FENCE: Duration = Duration::from_secs(6);
/// How often a session is renewed.
const RENEW: Duration = Duration::from_secs(3);
const LOOP: Kind = Kind { name: "session", what: "keeps the agent's session in Consul alive", every: RENEW };
/// How long after a failure it is tried again: without a session nothing can be changed.
const RETRY: Duration = Duration::from_secs(1);

fn boottime_ms() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(t.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(t.tv_nsec).unwrap_or(0) / 1_000_000
}

/// The fence of one session. Once closed for good it never opens again: a new session has a new fence.
#[derive(Debug)]
struct Fence {
    sent_ms: AtomicU64,
    closed: AtomicBool,
}

impl Gate for Fence {
    fn check(&self) -> Result<(), String> {
        let age = boottime_ms().saturating_sub(self.sent_ms.load(Ordering::Acquire));
        if self.closed.load(Ordering::Acquire) {
            return Err("this agent's session is gone".to_owned());
        }
        if u128::from(age) > FENCE.as_millis() {
            return Err(format!("this agent's session was last renewed {age} ms ago"));
        }
        Ok(())
    }
}

/// A session and its fence, as an operation holds them.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Consul's session id.
    pub id: String,
    gate: Arc<Fence>,
}

impl Lease {
    /// The gate that every write of an operation asks.
    pub fn gate(&self) -> SharedGate {
        self.gate.clone()
    }
    /// True where nothing may be written now. A fence that time has shut opens again with the next renewal.
    pub fn is_lost(&self) -> bool {
        self.gate.check().is_err()
    }
    /// True once the session is known to be gone: what it held is another's, for good.
    pub fn is_over(&self) -> bool {
        self.gate.closed.load(Ordering::Acquire)
    }
    /// Waits until writes may leave again. `false`: they never will under this lease.
    pub async fn reopened(&self) -> bool {
        while !self.is_over() {
            if !self.is_lost() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        false
    }
}

/// The agent's session: made, renewed, made anew when it is lost, destroyed at a graceful stop.
#[derive(Debug, Clone)]
pub struct AgentSession {
    current: watch::Receiver<Option<Lease>>,
    trouble: Arc<Mutex<Option<EngineError>>>,
    consul: Consul,
    stop: CancellationToken,
}

impl AgentSession {
    /// Starts without a session, makes it as soon as Consul can be reached, and renews it in the background until
    /// [`AgentSession::end`].
    pub fn begin(consul: Consul, name: String, loops: &Loops) -> Self {
        let mut pause = Duration::ZERO;
        let (tx, current) = watch::channel(None::<Lease>);
        let stop = CancellationToken::new();
        let trouble = Arc::new(Mutex::new(None));
        let session = Self { current, trouble: trouble.clone(), consul: consul.clone(), stop: stop.clone() };
        let beat = loops.add(LOOP);
        let say = move |went: Result<(), EngineError>| say(&beat, &trouble, went);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = RENEW;
                let lease = tx.borrow().clone();
                match lease {
                    Some(lease) => {
                        let sent = boottime_ms();
                        match consul.session_renew(&lease.id).await {
                            Ok(true) => {
                                lease.gate.sent_ms.store(sent, Ordering::Release);
                                say(Ok(()));
                            }
                            Ok(false) => {
                                tracing::warn!(
                                    "this agent's session is gone; its operations go to another agent"
                                );
                                lease.gate.closed.store(true, Ordering::Release);
                                let _ = tx.send(None);
                                pause = RETRY;
                            }
                            Err(e) => {
                                pause = RETRY;
                                say(Err(e));
                            }
                        }
                    }
                    None => match create(&consul, &name).await {
                        Ok(lease) => {
                            let _ = tx.send(Some(lease));
                            say(Ok(()));
                        }
                        Err(e) => {
                            pause = RETRY;
                            say(Err(e));
                        }
                    },
                }
            }
        });
        session
    }

    /// The lease, where there is one.
    pub fn lease(&self) -> Option<Lease> {
        self.current.borrow().clone().filter(|l| !l.is_lost())
    }

    /// What stood in the way of the last renewal, or of a session.
    pub fn trouble(&self) -> Option<EngineError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a lease.
    pub async fn wait(&self) -> Option<Lease> {
        let mut rx = self.current.clone();
        loop {
            if let Some(lease) = rx.borrow_and_update().clone().filter(|l| !l.is_lost()) {
                return Some(lease);
            }
            // A fence that time has shut opens again with the next renewal, without a new session.
            if let Ok(Err(_)) = tokio::time::timeout(Duration::from_millis(500), rx.changed()).await {
                return None;
            }
        }
    }

    /// Ends gracefully: what it held is free at once.
    pub async fn end(&self) {
        self.stop.cancel();
        let lease = self.current.borrow().clone();
        if let Some(lease) = lease {
            lease.gate.closed.store(true, Ordering::Release);
            if let Err(e) = self.consul.session_destroy(&lease.id).await {
                tracing::warn!(error = %e, "the session was not destroyed; it ends by itself within 20 s");
            }
        }
    }
}

fn say(beat: &Beat, trouble: &Mutex<Option<EngineError>>, went: Result<(), EngineError>) {
    beat.told(went.as_ref().copied());
    *trouble.lock().unwrap_or_else(PoisonError::into_inner) = went.err();
}

async fn create(consul: &Consul, name: &str) -> Result<Lease, EngineError> {
    let sent = boottime_ms();
    let id = consul.session_create(&SessionSpec { name: name.to_owned(), ..SessionSpec::default() }).await?;
    Ok(Lease { id, gate: Arc::new(Fence { sent_ms: AtomicU64::new(sent), closed: AtomicBool::new(false) }) })
}
