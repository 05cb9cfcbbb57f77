//! Following an operation: live where this agent runs it, else by its record, and afterwards by how it ended.

use std::time::Duration;

use futures::Stream;
use tokio::sync::mpsc;

use super::{Deployer, Error};
use crate::model::head::Outcome;
use crate::model::{Placement, Uid};
use crate::operation::Progress;
use crate::store::keys;
use crate::store::records::{Audit, Ended, OpRecord, StepState};

/// An operation as it stands.
#[derive(Debug, Clone)]
pub struct Course {
    /// Its record: the last one, where it has ended.
    pub record: OpRecord,
    /// How it ended.
    pub ended: Option<Ended>,
}

impl Deployer {
    /// An operation, open or ended.
    pub async fn operation(&self, id: &Uid) -> Result<Course, Error> {
        let store = self.runner.store();
        if let Some(open) = store.operation(id).await? {
            return Ok(Course { record: open.value, ended: None });
        }
        match store.objects().get_ended::<Ended>(id).await? {
            Some(ended) => Ok(Course { record: ended.record.clone(), ended: Some(ended) }),
            None => Err(Error::NotFound(format!("there is no operation {id}"))),
        }
    }

    /// A change of one step, once it has ended: it has no record of its own, only the audit's.
    pub async fn one_step(&self, id: &Uid) -> Result<Option<Audit>, Error> {
        let audit = self.runner.store().audit(id).await?.map(|a| a.value);
        Ok(audit.filter(|a| a.operation == *id))
    }

    /// On which app an operation is.
    pub async fn operation_app(&self, id: &Uid) -> Result<Placement, Error> {
        Ok(self.operation(id).await?.record.app)
    }

    /// What happens in an operation, from its beginning to its end. `skip`: how many were seen already.
    pub fn follow(&self, id: Uid, skip: usize) -> impl Stream<Item = Progress> + Send + 'static + use<> {
        let (tx, rx) = mpsc::channel(64);
        let deployer = self.clone();
        tokio::spawn(async move {
            // The receiver is gone when the person has left: then there is nobody to tell.
            let _ = deployer.tell(&id, skip, &tx).await;
        });
        futures::stream::unfold(rx, |mut rx| async move { rx.recv().await.map(|p| (p, rx)) })
    }

    async fn tell(
        &self,
        id: &Uid,
        skip: usize,
        tx: &mpsc::Sender<Progress>,
    ) -> Result<(), mpsc::error::SendError<Progress>> {
        if let Some((past, mut live)) = self.runner.hub().follow(id) {
            let told = past.len();
            let over = past.iter().any(|p| matches!(p, Progress::End { .. }));
            for p in past.into_iter().skip(skip) {
                tx.send(p).await?;
            }
            if over {
                return Ok(());
            }
            let stopping = async {
                // An operation that is left to another agent falls silent here: its record tells on.
                let mut quiet = tokio::time::interval(Duration::from_secs(5));
                quiet.tick().await;
                loop {
                    quiet.tick().await;
                    match self.runner.store().operation(id).await {
                        Ok(Some(r)) if r.value.agent == *self.runner.agent() => {}
                        Ok(_) => return,
                        Err(_) => {}
                    }
                }
            };
            tokio::pin!(stopping);
            loop {
                tokio::select! {
                    heard = live.recv() => match heard {
                        // What was said between the two looks is in both.
                        Ok((n, _)) if n < told => {}
                        Ok((_, p)) => {
                            let over = matches!(p, Progress::End { .. });
                            tx.send(p).await?;
                            if over {
                                return Ok(());
                            }
                        }
                        Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                        Err(tokio::sync::broadcast::error::RecvError::Closed) => break,
                    },
                    () = &mut stopping => break,
                    () = tx.closed() => return Ok(()),
                }
            }
        }
        self.tell_by_record(id, tx).await
    }

    async fn tell_by_record(
        &self,
        id: &Uid,
        tx: &mpsc::Sender<Progress>,
    ) -> Result<(), mpsc::error::SendError<Progress>> {
        let key = keys::operation(id);
        let (mut index, mut told): (u64, Vec<StepState>) = (0, Vec::new());
        let mut misses = 0;
        while !tx.is_closed() {
            match self.runner.store().consul().kv_wait(&key, index, Duration::from_secs(30)).await {
                Ok((Some(entry), at)) => {
                    index = at;
                    if let Ok(record) = serde_json::from_slice::<OpRecord>(&entry.value) {
                        for p in news(&record, &told) {
                            tx.send(p).await?;
                        }
                        told = record.steps.iter().map(|s| s.state).collect();
                    }
                }
                Ok((None, _)) => match self.runner.store().objects().get_ended::<Ended>(id).await {
                    Ok(Some(e)) => {
                        for p in news(&e.record, &told) {
                            tx.send(p).await?;
                        }
                        let end = Progress::End {
                            outcome: e.outcome,
                            summary: e.summary,
                            why: e.why,
                            urls: e.urls,
                        };
                        return tx.send(end).await;
                    }
                    Ok(None) => {
                        let end = Progress::End {
                            outcome: Outcome::Abandoned,
                            summary: "there is no record of how it ended; see the app's status".to_owned(),
                            why: Vec::new(),
                            urls: Vec::new(),
                        };
                        return tx.send(end).await;
                    }
                    Err(e) => {
                        misses += 1;
                        tx.send(Progress::Waiting { why: e.to_string() }).await?;
                        tokio::time::sleep(Duration::from_secs(misses.min(10))).await;
                    }
                },
                Err(e) => {
                    misses += 1;
                    tx.send(Progress::Waiting { why: e.to_string() }).await?;
                    tokio::time::sleep(Duration::from_secs(misses.min(10))).await;
                }
            }
        }
        Ok(())
    }
}

/// The steps whose state is another than when it was last told.
fn news(record: &OpRecord, told: &[StepState]) -> Vec<Progress> {
    let word = |s: StepState| match s {
        StepState::Begun => Some("begun"),
        StepState::Done => Some("done"),
        StepState::Undone => Some("undone"),
        StepState::Todo => None,
    };
    let steps = record.steps.iter().enumerate().filter(|(n, s)| told.get(*n) != Some(&s.state));
    steps
        .filter_map(|(n, s)| {
            word(s.state).map(|state| Progress::Step {
                n: n + 1,
                of: record.steps.len(),
                what: s.spec.describe(),
                state: state.to_owned(),
            })
        })
        .collect()
}
