//! One agent leads: it takes up operations whose agent is gone, and runs timers. Any number of agents serve.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::run::{Runner, encode};
use super::{maintenance, sweep};
use crate::engines::EngineError;
use crate::store::keys;

/// How often a candidate tries, and a leader looks for orphans.
const LOOK: Duration = Duration::from_secs(1);
/// How often the leader sweeps.
const SWEEP: Duration = Duration::from_mins(1);

#[derive(serde::Serialize)]
struct LeaderRecord<'a> {
    v: u32,
    agent: &'a str,
    address: &'a str,
    since: String,
}

/// Tries to lead, and leads, until `stop`. Each pass is level-triggered: it looks at what is there, and remembers
/// nothing.
pub async fn run(runner: Runner, address: String, stop: CancellationToken) {
    let mut swept: Option<jiff::Timestamp> = None;
    loop {
        match pass(&runner, &address, &mut swept).await {
            Ok(()) => {}
            Err(e) if e.is_passing() => tracing::warn!(error = %e, "the leader's pass waits for an engine"),
            Err(e) => tracing::warn!(error = %e, "the leader's pass failed"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

impl Runner {
    /// Whether this agent leads, asked now. What is written because of it is fenced all the same.
    pub async fn leads(&self) -> Result<bool, EngineError> {
        let Some(lease) = self.session().lease() else { return Ok(false) };
        let leader = self.store().consul().kv_get(keys::LEADER).await?;
        Ok(leader.and_then(|e| e.session).as_deref() == Some(lease.id.as_str()))
    }
}

async fn pass(
    runner: &Runner,
    address: &str,
    swept: &mut Option<jiff::Timestamp>,
) -> Result<(), EngineError> {
    let Some(lease) = runner.session().lease() else { return Ok(()) };
    let consul = runner.hands().consul.clone().with_gate(lease.gate());
    let leader = consul.kv_get(keys::LEADER).await?;
    match leader.and_then(|e| e.session) {
        Some(session) if session == lease.id => {}
        Some(_) => return Ok(()),
        None => {
            let agent = runner.agent().to_string();
            let value =
                encode(&LeaderRecord { v: 1, agent: &agent, address, since: runner.now().to_string() })?;
            if !consul.kv_acquire(keys::LEADER, value, &lease.id).await? {
                return Ok(());
            }
            tracing::info!("this agent leads");
            runner.inner.leads_now.notify_one();
        }
    }
    for operation in runner.store().operations().await? {
        let holder = consul.kv_get(&keys::lock(&operation.value.app)).await?.and_then(|e| e.session);
        if holder.is_none() {
            match runner.take_over(operation).await {
                Ok(_) => {}
                Err(e) => tracing::warn!(error = %e, "an orphan was not taken over"),
            }
        }
    }
    runner.take_over_intents().await?;
    let now = runner.now();
    let due = swept.is_none_or(|at| now.duration_since(at).unsigned_abs() >= SWEEP);
    let pages = runner.store().maintenance().await?;
    if due || !pages.is_empty() {
        maintenance::keep(runner, &lease, pages).await?;
    }
    if due {
        sweep::sweep(runner, &lease).await?;
        *swept = Some(now);
    }
    Ok(())
}
