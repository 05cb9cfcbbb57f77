//! Gives what is nobody's to the sweep, and sets the name index right: each under its app's lock, in one transaction with its audit
//! record.

use std::collections::BTreeMap;

use super::orphans::{Orphan, is_known, values_of};
use super::{Whom, target};
use crate::deploy::{Deployer, Error};
use crate::engines::consul::TxnOp;
use crate::engines::nomad::{JobView, Purge};
use crate::model::desired::Space;
use crate::model::head::Kind;
use crate::model::wire::Mended;
use crate::operation::run::{encode, fresh_uid};
use crate::store::keys;
use crate::store::records::{By, Doomed, DoomedThing, NameRecord, SCHEMA};

/// The verb of its audit records and locks.
const VERB: &str = "doctor";

/// So many keys of one secret: the sweep deletes them by one transaction. The rest is found again.
const MOST_VALUES: usize = 40;
/// So many are mended by one transaction.
const AT_ONCE: usize = 20;

impl Deployer {
    /// Mends what is among these, looked for anew. What cannot be mended now is told, and left.
    pub async fn mend(&self, by: &By, targets: &[String]) -> Result<Mended, Error> {
        let (found, _, unseen) = Box::pin(self.orphans()).await?;
        let mut mended = Mended {
            left: unseen.iter().map(|u| format!("not looked at: {u}")).collect(),
            ..Mended::default()
        };
        let mut by_app: BTreeMap<Whom, Vec<&Orphan>> = BTreeMap::new();
        for wanted in targets {
            match found.iter().find(|o| target(o) == *wanted) {
                None => mended.left.push(format!("{wanted} is not found any more")),
                Some(Orphan::Thing(_, None)) => {
                    mended.left.push(format!("{wanted} is of an app that these records do not know"));
                }
                Some(
                    orphan @ (Orphan::Thing(_, Some((app, uid)))
                    | Orphan::Entry(_, app, uid)
                    | Orphan::Unheld(_, app, uid)),
                ) => by_app.entry((app.clone(), uid.clone())).or_default().push(orphan),
            }
        }
        for (whom, orphans) in by_app {
            for some in orphans.chunks(AT_ONCE) {
                match Box::pin(self.mend_some(by, some, &whom)).await {
                    Ok(done) => mended.done.extend(done),
                    Err(e) => mended.left.extend(some.iter().map(|o| format!("{}: {e}", target(o)))),
                }
            }
        }
        Ok(mended)
    }

    async fn mend_some(&self, by: &By, orphans: &[&Orphan], whom: &Whom) -> Result<Vec<String>, Error> {
        let lock = self.runner.lock_for(&whom.0, fresh_uid(self.runner.now()), by, VERB).await?;
        let done = self.under_lock(by, orphans, whom).await;
        self.give_back(lock).await;
        done
    }

    /// Nobody changes the app now: what the records say now, they go on to say.
    async fn under_lock(&self, by: &By, orphans: &[&Orphan], whom: &Whom) -> Result<Vec<String>, Error> {
        let (app, uid) = whom;
        let whole = self.runner.store().whole().await?;
        let head = keys::head(app);
        let mut ops = vec![match whole.heads.iter().find(|h| h.value.app == *app) {
            Some(known) => TxnOp::CheckIndex { key: head, index: known.index },
            None => TxnOp::CheckNotExists { key: head },
        }];
        let record = encode(&NameRecord { v: SCHEMA, uid: uid.clone(), app: app.clone() })?;
        let (mut things, mut jobs, mut done, mut has_values) = (Vec::new(), Vec::new(), Vec::new(), false);
        for orphan in orphans {
            match orphan {
                Orphan::Entry(key, ..) => {
                    let index = whole.names.get(key).map_or(0, |e| e.index);
                    ops.push(TxnOp::DeleteCas { key: key.clone(), index });
                    done.push(format!("the name {} is free", super::named(key)));
                }
                Orphan::Unheld(..) => {
                    let key = target(orphan);
                    done.push(format!("the name {} is kept for {app}", super::named(&key)));
                    ops.push(TxnOp::Create { key, value: record.clone() });
                }
                Orphan::Thing(thing, _) if is_known(thing, &whole) => {
                    return Err(Error::Moved(format!("{} has an owner again", target(orphan)), None));
                }
                Orphan::Thing(thing, _) => {
                    match thing.kind {
                        // By each key that only we write: the plain one may be anybody's.
                        Kind::Secret => {
                            let folder = if thing.id == DoomedThing::ENV {
                                format!("{}/", thing.id)
                            } else {
                                format!(".v/{}/", thing.id)
                            };
                            let prefix = app.secrets_prefix();
                            let keys =
                                self.runner.store().consul().kv_keys(&format!("{prefix}{folder}")).await?;
                            let paths = keys.iter().filter_map(|k| k.strip_prefix(&prefix));
                            things.extend(paths.take(MOST_VALUES).map(DoomedThing::early));
                            has_values = true;
                        }
                        kind => things.push(DoomedThing::new(kind, thing.id.clone(), Vec::new())),
                    }
                    if thing.kind == Kind::Job {
                        jobs.push(thing.id.clone());
                    }
                    done.push(format!("{} {} of {app} is given to the sweep", thing.kind.as_str(), thing.id));
                }
            }
        }
        if has_values {
            // So that no app of this name finds, or loses, what is swept.
            let name = values_of(app);
            let key = keys::name(Space::Secrets, &name.name);
            ops.push(match whole.names.get(&key) {
                None => TxnOp::Create { key, value: record },
                Some(entry) if entry.value.uid == *uid => TxnOp::CheckIndex { key, index: entry.index },
                Some(entry) => {
                    let why = format!("its name is kept for another {}", entry.value.app);
                    return Err(Error::Moved(why, None));
                }
            });
            things.push(DoomedThing::new(Kind::Secret, "", vec![name]));
        }
        if !things.is_empty() {
            let (id, not_before) = (fresh_uid(self.runner.now()), self.runner.free_at().to_string());
            let key = keys::doomed(&id);
            let list = Doomed { v: SCHEMA, id, uid: uid.clone(), app: app.clone(), things, not_before };
            ops.push(TxnOp::Create { key, value: encode(&list)? });
        }
        self.runner.write_told(by, (app, uid), VERB, done.join("; "), ops).await?;
        // Where this does not come about, the sweep leaves a job that runs, and the doctor finds it again.
        for job in jobs {
            self.stop_orphan(whom, &job).await?;
        }
        Ok(done)
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
