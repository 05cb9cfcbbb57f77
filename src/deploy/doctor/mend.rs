//! Gives what is nobody's to the sweep, and sets the name index right: each under its app's lock, in one transaction with its audit
//! record.

use super::orphans::{Orphan, values_of};
use super::{Whom, target};
use crate::deploy::{Deployer, Error};
use crate::engines::consul::TxnOp;
use crate::engines::nomad::{JobView, Purge};
use crate::model::desired::Space;
use crate::model::head::Kind;
use crate::model::wire::Mended;
use crate::operation::run::{encode, fresh_uid};
use crate::store::records::{By, Doomed, DoomedThing, NameRecord, SCHEMA};
use crate::store::{Whole, keys};

/// The verb of its audit records and locks.
const VERB: &str = "doctor";

impl Deployer {
    /// Mends what is among these, looked for anew. Each by itself: what cannot be mended now is told, and left.
    pub async fn mend(&self, by: &By, targets: &[String]) -> Result<Mended, Error> {
        let (found, whole, _) = Box::pin(self.orphans()).await?;
        let mut mended = Mended::default();
        for wanted in targets {
            let Some(orphan) = found.iter().find(|o| target(o) == *wanted) else {
                mended.left.push(format!("{wanted} is not found any more"));
                continue;
            };
            let whom = match orphan {
                Orphan::Thing(_, Some((app, uid)))
                | Orphan::Entry(_, app, uid)
                | Orphan::Unheld(_, app, uid) => (app.clone(), uid.clone()),
                Orphan::Thing(_, None) => {
                    mended.left.push(format!("{wanted} is of an app that these records do not know"));
                    continue;
                }
            };
            match Box::pin(self.mend_one(by, orphan, &whom, &whole)).await {
                Ok(what) => mended.done.push(what),
                Err(e) => mended.left.push(format!("{wanted}: {e}")),
            }
        }
        Ok(mended)
    }

    async fn mend_one(&self, by: &By, orphan: &Orphan, whom: &Whom, whole: &Whole) -> Result<String, Error> {
        let lock = self.runner.lock_for(&whom.0, fresh_uid(self.runner.now()), by, VERB).await?;
        let done = self.under_lock(by, orphan, whom, whole).await;
        self.give_back(lock).await;
        done
    }

    /// Nobody changes the app now; where it has changed since it was looked at, its records have other indexes.
    async fn under_lock(
        &self,
        by: &By,
        orphan: &Orphan,
        whom: &Whom,
        whole: &Whole,
    ) -> Result<String, Error> {
        let (app, uid) = whom;
        let head = keys::head(app);
        let mut ops = vec![match whole.heads.iter().find(|h| h.value.app == *app) {
            Some(known) => TxnOp::CheckIndex { key: head, index: known.index },
            None => TxnOp::CheckNotExists { key: head },
        }];
        let record = encode(&NameRecord { v: SCHEMA, uid: uid.clone(), app: app.clone() })?;
        let what = match orphan {
            Orphan::Entry(key, ..) => {
                let index = whole.names.get(key).map_or(0, |e| e.index);
                ops.push(TxnOp::DeleteCas { key: key.clone(), index });
                format!("the name {} is free", super::named(key))
            }
            Orphan::Unheld(..) => {
                let key = target(orphan);
                let what = format!("the name {} is kept for {app}", super::named(&key));
                ops.push(TxnOp::Create { key, value: record });
                what
            }
            Orphan::Thing(thing, _) => {
                let mut doomed = DoomedThing::new(thing.kind, thing.id.clone(), Vec::new());
                if thing.kind == Kind::Job {
                    self.stop_orphan(whom, &thing.id).await?;
                }
                if thing.kind == Kind::Secret {
                    // So that no app of this name finds, or loses, what is swept.
                    let name = values_of(app);
                    let key = keys::name(Space::Secrets, &name.name);
                    if !whole.names.contains_key(&key) {
                        ops.push(TxnOp::Create { key, value: record });
                    }
                    doomed.names.push(name);
                }
                let id = fresh_uid(self.runner.now());
                let not_before = self.runner.free_at().to_string();
                let list = Doomed {
                    v: SCHEMA,
                    id: id.clone(),
                    uid: uid.clone(),
                    app: app.clone(),
                    things: vec![doomed],
                    not_before,
                };
                ops.push(TxnOp::Create { key: keys::doomed(&id), value: encode(&list)? });
                format!("{} {} of {app} is given to the sweep", thing.kind.as_str(), thing.id)
            }
        };
        self.runner.write_told(by, (app, uid), VERB, what.clone(), ops).await?;
        Ok(what)
    }

    /// A job that nobody owns is stopped at once; what is stopped the sweep may take.
    async fn stop_orphan(&self, (app, uid): &Whom, id: &str) -> Result<(), Error> {
        let lease = self.runner.session().lease().ok_or(crate::operation::OpenError::NoSession)?;
        let nomad = self.runner.hands().gated(&lease.gate()).nomad;
        if let Some(job) = nomad.job(app.namespace(), id).await? {
            let job = JobView::of(&job)?;
            if job.meta("terreau") == Some(uid.as_str()) && !job.is_stopped() {
                nomad.deregister(app.namespace(), id, Purge::Keep).await?;
            }
        }
        Ok(())
    }
}
