//! The records of hooks, as the leader reads them: by one long call.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

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
