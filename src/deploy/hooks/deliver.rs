//! One try of one message, and what came of it, written down.

use std::time::Duration;

use rand::RngExt;

use super::courier::Courier;
use super::line;
use crate::engines::EngineError;
use crate::engines::consul::TxnOp;
use crate::operation::run::encode;
use crate::operation::{Runner, points};
use crate::store::hooks::Message;
use crate::store::keys;

/// How soon it is tried again where Consul does not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// Sends one message once, and writes down what came of it; gives the index of the record.
pub(super) async fn deliver(
    runner: &Runner,
    courier: &Courier,
    hook: &str,
    url: &str,
    message: &Message,
) -> Option<u64> {
    let Ok(secret) = runner.store().hook_secret(hook).await else {
        // Consul is away: the next look knows.
        tokio::time::sleep(AGAIN).await;
        return None;
    };
    points::pass("told.send.before");
    // Where somebody has deleted it, the hook cannot be told, and says so.
    let secret = secret.unwrap_or_default();
    let sent = courier.send(url, &secret, &message.id, runner.now(), &message.body).await;
    points::pass("told.send.after");
    tracing::debug!(hook, id = message.id, status = sent.status, error = sent.error, "told");
    let luck = rand::rng().random_range(0.0..1.0);
    for _ in 0..10 {
        let tried = async {
            let Some(mut queue) = runner.store().hook_queue(hook).await? else { return Ok(Some(0)) };
            line::tried(&mut queue.value, message, &sent, runner.now(), luck);
            let key = keys::hook_queue(hook);
            let op = TxnOp::Cas { key: key.clone(), value: encode(&queue.value)?, index: queue.index };
            let wrote = runner.write_leading(vec![op]).await?;
            Ok::<_, EngineError>(wrote.and_then(|w| w.get(&key).copied()))
        };
        match tried.await {
            Ok(Some(index)) => return Some(index),
            Ok(None) => {}
            Err(e) => tracing::debug!(hook, error = %e, "what came of it is not written yet"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    None
}
