//! One agent leads: it takes up operations whose agent is gone, and runs timers. Any number of agents serve.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::run::{Runner, encode};
use super::session::Lease;
use super::{maintenance, sweep};
use crate::engines::consul::TxnOp;
use crate::engines::{Engine, EngineError, Fault};
use crate::loops::{Beat, Kind, Turn};
use crate::store::keys;
use crate::store::records::{LeaderRecord, SCHEMA};

/// How often a candidate tries, and a leader looks for orphans.
const LOOK: Duration = Duration::from_secs(1);
/// How often the leader sweeps.
const SWEEP: Duration = Duration::from_mins(1);
const LEADER: Kind = Kind { name: "leader", what: "takes up what agents left half-way", every: LOOK };
const SWEEPER: Kind = Kind { name: "sweep", what: "deletes what is doomed and due", every: SWEEP };

/// Tries to lead, and leads, until `stop`. Each pass is level-triggered: it looks at what is there, and remembers
/// nothing.
pub fn start(runner: &Runner, address: String, stop: CancellationToken) {
    let (runner, sweeps) = (runner.clone(), runner.loops().add(SWEEPER));
    runner.clone().loops().spawn(LEADER, move |beat| {
        run(runner.clone(), address.clone(), (beat, sweeps.clone()), stop.clone())
    });
}

async fn run(runner: Runner, address: String, (beat, sweeps): (Beat, Beat), stop: CancellationToken) {
    let mut swept: Option<jiff::Timestamp> = None;
    loop {
        if beat.turned(pass(&runner, &address, &sweeps, &mut swept).await) == Turn::Rested {
            sweeps.rests();
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

impl Lease {
    /// Fails where its agent does not lead.
    pub(super) fn leads(&self) -> TxnOp {
        TxnOp::CheckSession { key: keys::LEADER.to_owned(), session: self.id.clone() }
    }
}

impl Runner {
    /// Whether this agent leads, asked now. What is written because of it is fenced all the same.
    pub async fn leads(&self) -> Result<bool, EngineError> {
        let Some(lease) = self.session().lease() else { return Ok(false) };
        let leader = self.store().consul().kv_get(keys::LEADER).await?;
        Ok(leader.and_then(|e| e.session).as_deref() == Some(lease.id.as_str()))
    }

    /// Carries out a transaction while this agent leads: the indices of what it wrote, by key. `None`: another agent leads, or
    /// something is not as it was believed to be; nothing was written.
    pub async fn write_leading(&self, ops: Vec<TxnOp>) -> Result<Option<BTreeMap<String, u64>>, EngineError> {
        if ops.is_empty() {
            return Ok(Some(BTreeMap::new()));
        }
        let Some(lease) = self.session().lease() else {
            return Err(EngineError::new(Engine::Consul, Fault::Fenced, "write", "the agent has no session"));
        };
        let ops: Vec<TxnOp> = std::iter::once(lease.leads()).chain(ops).collect();
        match self.hands().consul.clone().with_gate(lease.gate()).txn(&ops).await {
            Ok(entries) => Ok(Some(entries.into_iter().map(|e| (e.key, e.modify_index)).collect())),
            Err(e) if e.fault == Fault::Conflict => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// One pass. `false`: this agent does not lead.
async fn pass(
    runner: &Runner,
    address: &str,
    sweeps: &Beat,
    swept: &mut Option<jiff::Timestamp>,
) -> Result<bool, EngineError> {
    let Some(lease) = runner.session().lease() else { return Ok(false) };
    let consul = runner.hands().consul.clone().with_gate(lease.gate());
    let leader = consul.kv_get(keys::LEADER).await?;
    match leader.and_then(|e| e.session) {
        Some(session) if session == lease.id => {}
        Some(_) => return Ok(false),
        None => {
            let (agent, address) = (runner.agent().clone(), address.to_owned());
            let record = LeaderRecord { v: SCHEMA, agent, address, since: runner.now().to_string() };
            let value = encode(&record)?;
            if !consul.kv_acquire(keys::LEADER, value, &lease.id).await? {
                return Ok(false);
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
        let done = sweep::sweep(runner, &lease).await;
        sweeps.told(done.as_ref().copied());
        done?;
        *swept = Some(now);
    }
    Ok(true)
}
