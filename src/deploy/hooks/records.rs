//! The records of hooks, as the leader reads and writes them: read by one long call, written while it leads.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::engines::consul::TxnOp;
use crate::engines::{Engine, EngineError, Fault};
use crate::operation::Runner;
use crate::store::hooks::HookState;
use crate::store::keys;
use crate::store::records::SCHEMA;

/// How long the long call waits.
const WATCH: Duration = Duration::from_mins(1);
/// How soon it is tried again where Consul does not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// Reads everything below the prefix whenever something of it changes.
pub(super) async fn follow(runner: Runner, tx: mpsc::Sender<HookState>, stop: CancellationToken) {
    // One of the agent's own few watches: it stands behind nobody's.
    let consul = runner.store().consul().clone().aside();
    let mut index = 0;
    let mut is_there = false;
    loop {
        if !is_there && let Some(lease) = runner.session().lease() {
            let marker = serde_json::json!({ "v": SCHEMA }).to_string();
            let made = consul.clone().with_gate(lease.gate()).kv_create(keys::HOOKS_META, marker).await;
            is_there = matches!(made, Ok(()) | Err(EngineError { fault: Fault::Conflict, .. }));
        }
        let seen = async {
            if !is_there {
                return Err(EngineError::new(Engine::Consul, Fault::Away, "watch hooks", "no session"));
            }
            consul.kv_list_wait(keys::HOOKS, index, WATCH).await
        };
        let seen = tokio::select! {
            () = stop.cancelled() => return,
            seen = seen => seen,
        };
        match seen {
            Ok((entries, next)) => {
                index = next;
                if tx.send(HookState::of(&entries)).await.is_err() {
                    return;
                }
            }
            Err(e) => {
                tracing::debug!(error = %e, "hooks are not watched now");
                index = 0;
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Carries out a transaction while this agent leads.
pub(super) async fn write(
    runner: &Runner,
    mut ops: Vec<TxnOp>,
) -> Result<Option<BTreeMap<String, u64>>, EngineError> {
    if ops.is_empty() {
        return Ok(Some(BTreeMap::new()));
    }
    let Some(lease) = runner.session().lease() else {
        return Err(EngineError::new(Engine::Consul, Fault::Fenced, "tell", "the agent has no session"));
    };
    ops.insert(0, TxnOp::CheckSession { key: keys::LEADER.to_owned(), session: lease.id.clone() });
    let consul = runner.store().consul().clone().with_gate(lease.gate());
    match consul.txn(&ops).await {
        Ok(entries) => Ok(Some(entries.into_iter().map(|e| (e.key, e.modify_index)).collect())),
        Err(e) if e.fault == Fault::Conflict => Ok(None),
        Err(e) => Err(e),
    }
}
