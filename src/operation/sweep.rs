//! Deletes what is doomed, once its time has come: ids that are never used again.
//!
//! Every deletion is idempotent and of a thing that bears our mark, under the app's lock; what holds a name holds it
//! until the thing is gone.

use tokio::sync::mpsc;

use super::lock::OpenError;
use super::run::{Runner, encode, fresh_uid};
use super::session::Lease;
use crate::engines::consul::TxnOp;
use crate::engines::nomad::{JobView, Purge};
use crate::engines::{EngineError, Fault};
use crate::model::desired::Name;
use crate::model::head::{AppState, Head, Kind};
use crate::resources::{Work, account, key, site};
use crate::store::records::{By, Doomed, DoomedThing, Verb};
use crate::store::{Versioned, keys};

/// Sweeps everything whose time has come.
pub async fn sweep(runner: &Runner, lease: &Lease) -> Result<(), EngineError> {
    let now = runner.now();
    for doomed in runner.store().doomed().await? {
        let due = doomed.value.not_before.parse::<jiff::Timestamp>().is_ok_and(|at| at <= now);
        if !due {
            continue;
        }
        let by = By { login: "terreau".to_owned(), address: "sweep".to_owned() };
        let uid = fresh_uid(now);
        let lock = match runner.try_lock(&doomed.value.app, uid, &by, Verb::Delete.as_str()).await {
            Ok(lock) => lock,
            // An operation is under way: the next pass comes.
            Err(OpenError::Held { .. } | OpenError::Shut | OpenError::Moved(_) | OpenError::NoSession) => {
                continue;
            }
            Err(OpenError::Engine(e) | OpenError::Unsure { lost: e, .. }) => return Err(e),
        };
        let done = sweep_one(runner, lease, &doomed).await;
        runner.unlock(lock).await;
        match done {
            Ok(()) => tracing::info!(app = %doomed.value.app, "swept"),
            Err(e) => tracing::warn!(app = %doomed.value.app, error = %e, "not swept yet"),
        }
    }
    Ok(())
}

async fn sweep_one(runner: &Runner, lease: &Lease, doomed: &Versioned<Doomed>) -> Result<(), EngineError> {
    let d = &doomed.value;
    let hands = runner.hands().gated(&lease.gate());
    let (notes, _) = mpsc::unbounded_channel();
    let work = Work {
        hands: &hands,
        app: &d.app,
        uid: &d.uid,
        session: &lease.id,
        steps: &[],
        cancel: None,
        notes: &notes,
    };
    let head = runner.store().head(&d.app).await?;
    let mut freed: Vec<&Name> = Vec::new();
    for thing in &d.things {
        // What has come back into use since is not swept, and holds its names.
        let in_use = head.as_ref().is_some_and(|h| {
            h.value.uid == d.uid
                && thing.kind != Kind::Site
                && h.value.owned.iter().any(|o| o.kind == thing.kind && o.id == thing.id)
        });
        if !in_use {
            remove(&work, thing, head.as_ref().map(|h| &h.value)).await?;
            freed.extend(&thing.names);
        }
    }
    if head.as_ref().is_none_or(|h| h.value.uid != d.uid || h.value.state == AppState::Deleted) {
        runner.store().objects().with_gate(lease.gate()).forget_logs(&d.uid).await?;
    }
    let mut ops = vec![TxnOp::DeleteCas { key: keys::doomed(&d.id), index: doomed.index }];
    ops.extend(freed.iter().map(|n| TxnOp::Delete { key: keys::name(n.space, &n.name) }));
    if let Some(head) = head.filter(|h| h.value.uid == d.uid) {
        let mut next = head.value;
        next.names.retain(|n| !freed.contains(&n));
        let key = keys::head(&d.app);
        let is_over = next.state == AppState::Deleted && next.owned.is_empty() && next.names.is_empty();
        ops.push(if is_over {
            TxnOp::DeleteCas { key, index: head.index }
        } else {
            TxnOp::Cas { key, value: encode(&next)?, index: head.index }
        });
    }
    hands.consul.txn(&ops).await.map(|_| ())
}

async fn remove(work: &Work<'_>, thing: &DoomedThing, head: Option<&Head>) -> Result<(), EngineError> {
    let hands = work.hands;
    match thing.kind {
        Kind::Account => account::remove_ours(work, &thing.id).await.map(|_| ()),
        Kind::Key => {
            let Some(found) = hands.garage.key(&thing.id).await? else { return Ok(()) };
            if found.name.starts_with(&work.mark()) {
                key::remove_ours(work, &thing.id, &found.name).await?;
            }
            Ok(())
        }
        Kind::Bucket => {
            let Some(bucket) = hands.garage.bucket_by_alias(&thing.id).await? else { return Ok(()) };
            site::empty_and_delete(work, &bucket).await
        }
        Kind::Site => site::sweep(work, &thing.id, head).await,
        Kind::Job => {
            let namespace = work.app.namespace();
            match hands.nomad.job(namespace, &thing.id).await? {
                Some(job) if is_ours_and_stopped(work, &job) => {
                    hands.nomad.deregister(namespace, &thing.id, Purge::Purge).await.map(|_| ())
                }
                _ => Ok(()),
            }
        }
        Kind::Secret => {
            if thing.id.is_empty() {
                return Ok(());
            }
            let prefix = work.app.secrets_prefix();
            if thing.id.contains('/') {
                // One value, which no record has come to name.
                return hands.consul.kv_delete(&format!("{prefix}{}", thing.id)).await;
            }
            let mut ops = vec![TxnOp::CheckSession { key: work.lock(), session: work.session.to_owned() }];
            let folders = if thing.id == DoomedThing::ENV {
                // Who set what goes with it.
                [work.app.env_prefix(), keys::config(work.app)].to_vec()
            } else {
                ops.push(TxnOp::Delete { key: format!("{prefix}{}", thing.id) });
                vec![format!("{prefix}.v/{}/", thing.id)]
            };
            for folder in folders {
                let found = hands.consul.kv_keys(&folder).await?;
                ops.extend(found.into_iter().map(|key| TxnOp::Delete { key }));
            }
            match hands.consul.batch(&ops).await {
                Err(e) if e.fault != Fault::NotFound => Err(e),
                _ => Ok(()),
            }
        }
    }
}

fn is_ours_and_stopped(work: &Work<'_>, job: &serde_json::Value) -> bool {
    JobView::of(job).is_ok_and(|v| v.meta("terreau") == Some(work.uid.as_str()) && v.is_stopped())
}
