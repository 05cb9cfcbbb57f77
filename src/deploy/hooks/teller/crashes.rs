//! What is told of crashes: looked at where something changed, judged, and put down together with what was told.

use std::time::Duration;

use tokio::time::Instant;

use super::super::watch::{self, Verdict};
use super::super::{message, sight};
use super::{AGAIN, SETTLED, Teller};
use crate::deploy::instances::Seen;
use crate::engines::EngineError;
use crate::engines::consul::TxnOp;
use crate::engines::nomad::Allocation;
use crate::model::wire::HookEvent;
use crate::model::{Head, Placement};
use crate::operation::run::{encode, fresh_uid};
use crate::store::hooks::Crash;
use crate::store::records::SCHEMA;
use crate::store::{Versioned, keys};

impl Teller {
    /// Looks at the apps of which something changed.
    pub(super) async fn look(&mut self) -> Result<(), EngineError> {
        let now = Instant::now();
        let due: Vec<Placement> =
            self.dirty.iter().filter(|(_, at)| **at <= now).map(|(app, _)| app.clone()).collect();
        if due.is_empty() {
            return Ok(());
        }
        let seen = sight::look(&self.runner, &due).await?;
        for app in due {
            self.dirty.remove(&app);
            // One that cannot be read (of a newer schema) is another agent's to judge.
            let head = match seen.heads.get(&app) {
                Some(Err(_)) => continue,
                Some(Ok(head)) => Some(&head.value),
                None => None,
            };
            let of = (app.namespace().to_owned(), app.flat());
            let all: Vec<&Allocation> = seen.allocations.get(&of).into_iter().flatten().collect();
            let looked = Seen { allocations: &all, health: &seen.health };
            if let Err(e) = self.judge(&app, head, &looked).await {
                self.dirty.insert(app, now + SETTLED);
                return Err(e);
            }
        }
        Ok(())
    }

    /// Judges one app, and puts down what is to be told of it.
    async fn judge(
        &mut self,
        app: &Placement,
        head: Option<&Head>,
        seen: &Seen<'_>,
    ) -> Result<(), EngineError> {
        let Some(book) = self.state.books.get(app).cloned() else { return Ok(()) };
        let uid = book.value.uid.clone();
        let told = self.state.crashes.get(&uid).cloned();
        let key = keys::hook_crash(&uid);
        let forgotten = |told: &Option<Versioned<Crash>>| {
            told.iter().map(|t| TxnOp::DeleteCas { key: key.clone(), index: t.index }).collect::<Vec<_>>()
        };
        let Some(head) = head.filter(|h| h.uid == uid) else {
            // The app is gone, and its hooks with it: another agent's delete, of an older version.
            let mut ops = forgotten(&told);
            ops.push(TxnOp::DeleteCas { key: keys::hook_book(app), index: book.index });
            return self.write(ops).await.map(drop);
        };
        let now = self.runner.now();
        let nanos = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
        let verdict = watch::judge(head, seen, nanos, told.as_ref().map(|t| &t.value));
        if head.operation.is_some() || (told.is_some() && verdict == Verdict::Nothing) {
            self.dirty.insert(app.clone(), Instant::now() + AGAIN);
        }
        let cluster = self.runner.hands().cluster.name.clone();
        let (at, id) = (now.to_string(), fresh_uid(now));
        let kept = |quiet: Duration, process: String, since: String| {
            encode(&Crash {
                v: SCHEMA,
                app: app.clone(),
                uid: uid.clone(),
                since,
                process,
                quiet: quiet.as_secs(),
            })
        };
        let done = match verdict {
            Verdict::Nothing => return Ok(()),
            Verdict::Loops(it, quiet) => {
                tracing::info!(%app, process = it.process, "it ends again and again");
                let value = kept(quiet, it.process.clone(), at.clone())?;
                let ops = vec![TxnOp::Create { key, value }];
                let message = message::of_loop(id.as_str(), &at, (app, &cluster), &it);
                self.put(app, &uid, HookEvent::CrashLoop, message, ops).await?
            }
            Verdict::Recovered => {
                tracing::info!(%app, "it runs again");
                let (process, since) = told
                    .as_ref()
                    .map(|t| (t.value.process.clone(), t.value.since.clone()))
                    .unwrap_or_default();
                let message = message::of_recovery(id.as_str(), &at, (app, &cluster), &process, &since);
                self.put(app, &uid, HookEvent::Recovery, message, forgotten(&told)).await?
            }
            Verdict::Slower(quiet) => {
                let Some(t) = told else { return Ok(()) };
                let value = kept(quiet, t.value.process, t.value.since)?;
                self.write(vec![TxnOp::Cas { key, value, index: t.index }]).await?.is_some()
            }
            Verdict::Forget => self.write(forgotten(&told)).await?.is_some(),
        };
        if !done {
            // Somebody was faster: what they wrote is seen soon.
            self.dirty.insert(app.clone(), Instant::now() + SETTLED);
        }
        Ok(())
    }
}
