//! Deletes what is doomed, once its time has come: ids that are never used again.
//!
//! Every deletion is idempotent and of a thing that bears our mark, under the app's lock; what holds a name holds it
//! until the thing is gone.

use tokio::sync::mpsc;

use super::lock::OpenError;
use super::points;
use super::run::{Runner, encode, fresh_uid};
use super::session::Lease;
use crate::engines::EngineError;
use crate::engines::consul::{TXN_OPS, TxnOp};
use crate::engines::nomad::{JobView, Purge};
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
        let done = sweep_listed(runner, lease, &doomed).await;
        runner.unlock(lock).await;
        match done {
            Ok(Swept::Yes) => tracing::info!(app = %doomed.value.app, "swept"),
            Ok(Swept::Later) => {}
            Err(e) => tracing::warn!(app = %doomed.value.app, error = %e, "not swept yet"),
        }
    }
    Ok(())
}

/// Whether something was swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swept {
    /// It is gone.
    Yes,
    /// Not in this pass.
    Later,
}

/// Under the lock: the list as it is now. Whoever had the lock before may have taken things off it.
async fn sweep_listed(
    runner: &Runner,
    lease: &Lease,
    seen: &Versioned<Doomed>,
) -> Result<Swept, EngineError> {
    let key = keys::doomed(&seen.value.id);
    let Some(doomed) = runner.store().read::<Doomed>(&key).await? else { return Ok(Swept::Later) };
    let head = runner.store().head(&doomed.value.app).await?;
    if head.as_ref().is_some_and(|h| h.value.operation.is_some()) {
        // Its agent is gone; whoever takes it up may need what is listed here.
        return Ok(Swept::Later);
    }
    Box::pin(sweep_one(runner, lease, &doomed, head)).await.map(|()| Swept::Yes)
}

async fn sweep_one(
    runner: &Runner,
    lease: &Lease,
    doomed: &Versioned<Doomed>,
    head: Option<Versioned<Head>>,
) -> Result<(), EngineError> {
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
    // Each deletion of a value asks for them again: a sweep that was paused deletes nothing that is used meanwhile.
    let still = [
        TxnOp::CheckSession { key: work.lock(), session: work.session.to_owned() },
        TxnOp::CheckIndex { key: keys::doomed(&d.id), index: doomed.index },
    ];
    let mut freed: Vec<&Name> = Vec::new();
    let (mut early, mut spent) = (Vec::new(), 0);
    for thing in &d.things {
        // Values that no record came to name go together with their list: a list that outlived them would take away what is
        // given their numbers.
        if thing.kind == Kind::Secret && thing.id.contains('/') {
            early.push(format!("{}{}", work.app.secrets_prefix(), thing.id));
            continue;
        }
        if thing.kind == Kind::Secret && thing.id == DoomedThing::ENV {
            spent = highest(&hands.consul.kv_keys(&work.app.env_prefix()).await?);
        }
        // What has come back into use since is not swept, and holds its names.
        let in_use = head.as_ref().is_some_and(|h| {
            h.value.uid == d.uid
                && thing.kind != Kind::Site
                && h.value.owned.iter().any(|o| o.kind == thing.kind && thing.kind.is_same(&o.id, &thing.id))
        });
        if !in_use {
            remove(&work, thing, head.as_ref().map(|h| &h.value), &still).await?;
            freed.extend(&thing.names);
        }
    }
    if head.as_ref().is_none_or(|h| h.value.uid != d.uid || h.value.state == AppState::Deleted) {
        runner.store().objects().with_gate(lease.gate()).forget_logs(&d.uid).await?;
    }
    let [session, _] = still;
    let mut ops = vec![session, TxnOp::DeleteCas { key: keys::doomed(&d.id), index: doomed.index }];
    ops.extend(freed.iter().map(|n| TxnOp::Delete { key: keys::name(n.space, &n.name) }));
    spent = spent.max(highest(&early));
    ops.extend(early.into_iter().map(|key| TxnOp::Delete { key }));
    if let Some(head) = head.filter(|h| h.value.uid == d.uid) {
        let mut next = head.value;
        next.names.retain(|n| !freed.contains(&n));
        next.spent = next.spent.max(spent);
        let key = keys::head(&d.app);
        let is_over = next.state == AppState::Deleted && next.owned.is_empty() && next.names.is_empty();
        ops.push(if is_over {
            TxnOp::DeleteCas { key, index: head.index }
        } else {
            TxnOp::Cas { key, value: encode(&next)?, index: head.index }
        });
    }
    points::pass("sweep.end.before");
    hands.consul.txn(&ops).await.map(|_| ())
}

/// The highest version among the keys of values.
fn highest(keys: &[String]) -> u64 {
    keys.iter().filter_map(|key| key.rsplit('/').next()?.parse().ok()).max().unwrap_or(0)
}

async fn remove(
    work: &Work<'_>,
    thing: &DoomedThing,
    head: Option<&Head>,
    still: &[TxnOp],
) -> Result<(), EngineError> {
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
        Kind::Secret => remove_values(work, thing, still).await,
    }
}

async fn remove_values(work: &Work<'_>, thing: &DoomedThing, still: &[TxnOp]) -> Result<(), EngineError> {
    let consul = &work.hands.consul;
    let prefix = work.app.secrets_prefix();
    let mut keys_of = Vec::new();
    match thing.id.as_str() {
        "" => return Ok(()),
        DoomedThing::ENV => {
            // Who set what goes with it.
            for folder in [work.app.env_prefix(), keys::config(work.app)] {
                keys_of.extend(consul.kv_keys(&folder).await?);
            }
        }
        name => {
            keys_of.push(format!("{prefix}{name}"));
            keys_of.extend(consul.kv_keys(&format!("{prefix}.v/{name}/")).await?);
        }
    }
    for some in keys_of.chunks(TXN_OPS - still.len()) {
        let gone = some.iter().map(|key| TxnOp::Delete { key: key.clone() });
        let ops: Vec<TxnOp> = still.iter().cloned().chain(gone).collect();
        points::pass("sweep.values.before");
        consul.txn(&ops).await?;
    }
    Ok(())
}

fn is_ours_and_stopped(work: &Work<'_>, job: &serde_json::Value) -> bool {
    JobView::of(job).is_ok_and(|v| v.meta("terreau") == Some(work.uid.as_str()) && v.is_stopped())
}
