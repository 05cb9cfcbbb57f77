//! Following an operation: live where this agent runs it, else by its record, and afterwards by how it ended.

use std::time::Duration;

use futures::Stream;
use tokio::sync::mpsc;

use super::course::is_of_one_step;
use super::lineage::began;
use super::{Deployer, Error};
use crate::model::head::Outcome;
use crate::model::wire::StepView;
use crate::model::{Placement, Uid};
use crate::operation::Progress;
use crate::operation::intended::{back, words};
use crate::store::keys;
use crate::store::records::{Audit, By, Cancel, Ended, OpRecord, StepState};

/// The longest wait for a change of a record; then it is looked again.
const LONGEST: Duration = Duration::from_secs(30);

/// An operation, or a change of one step, as it stands.
#[derive(Debug, Clone)]
pub struct Course {
    /// Its id.
    pub id: Uid,
    /// On which app.
    pub app: Placement,
    /// What it does.
    pub verb: String,
    /// Who asked for it.
    pub by: By,
    /// Accepted when (RFC 3339, UTC).
    pub at: String,
    /// Its steps, in order; those that a record no longer tells are none.
    pub steps: Vec<StepView>,
    /// Why it turned back, in one line.
    pub turned: Option<String>,
    /// Who has asked that it turns back.
    pub cancel: Option<Cancel>,
    /// How it ended.
    pub end: Option<End>,
}

/// How something ended.
#[derive(Debug, Clone)]
pub struct End {
    /// How.
    pub outcome: Outcome,
    /// One line for people.
    pub summary: String,
    /// Why, in full.
    pub why: Vec<String>,
    /// Where the app answers.
    pub urls: Vec<String>,
}

impl From<OpRecord> for Course {
    fn from(record: OpRecord) -> Self {
        let steps = record.steps.iter().zip(1..).map(|(step, n)| StepView {
            n,
            kind: step.spec.kind().to_owned(),
            target: step.spec.describe(),
            state: step.state.as_str().to_owned(),
        });
        Self {
            steps: steps.collect(),
            id: record.id,
            app: record.app,
            verb: record.verb.as_str().to_owned(),
            by: record.by,
            at: record.at,
            turned: record.turned,
            cancel: record.cancel,
            end: None,
        }
    }
}

impl From<Ended> for Course {
    fn from(e: Ended) -> Self {
        let end = End { outcome: e.outcome, summary: e.summary, why: e.why, urls: e.urls };
        Self { end: Some(end), ..e.record.into() }
    }
}

impl From<Audit> for Course {
    fn from(a: Audit) -> Self {
        let end = End { outcome: a.outcome, summary: a.summary, why: Vec::new(), urls: Vec::new() };
        Self {
            at: began(&a.operation).unwrap_or(a.at),
            id: a.operation,
            app: a.app,
            verb: a.verb,
            by: a.by,
            steps: Vec::new(),
            turned: None,
            cancel: None,
            end: Some(end),
        }
    }
}

impl Deployer {
    /// An operation or a change of one step, open or ended.
    pub async fn operation(&self, id: &Uid) -> Result<Course, Error> {
        let store = self.runner.store();
        if let Some(open) = store.operation(id).await? {
            return Ok(open.value.into());
        }
        if let Some(open) = self.open_intent(id).await? {
            return Ok(open);
        }
        // Of a change of one step nothing is in Garage: its audit record tells, also while that is away.
        let audit = store.audit(id).await?.map(|a| a.value).filter(|a| a.operation == *id);
        if let Some(audit) = audit.as_ref().filter(|a| is_of_one_step(&a.verb)) {
            return Ok(audit.clone().into());
        }
        match (store.objects().get_ended::<Ended>(id).await?, audit) {
            (Some(ended), _) => Ok(ended.into()),
            (None, Some(audit)) => Ok(audit.into()),
            (None, None) => Err(Error::NotFound(format!("there is no operation {id}"))),
        }
    }

    /// A change of one step that is under way.
    async fn open_intent(&self, id: &Uid) -> Result<Option<Course>, Error> {
        let store = self.runner.store();
        let Some(open) = store.intent(id).await? else { return Ok(None) };
        let head = store.head(&open.value.app).await?.map(|h| h.value);
        // Between the two looks it may have ended: then the audit record tells.
        let Some((head, intent)) = head.and_then(|h| Some((h.clone(), h.intent?))) else { return Ok(None) };
        if intent.id != *id {
            return Ok(None);
        }
        let step = StepView {
            n: 1,
            kind: intent.verb.clone(),
            target: words(&head, &intent),
            state: StepState::Begun.as_str().to_owned(),
        };
        let turned = open.value.cancel.as_ref().map(|c| back(&c.by.login));
        Ok(Some(Course {
            id: intent.id,
            app: head.app,
            verb: intent.verb,
            by: By { login: intent.actor, address: intent.address },
            at: intent.at,
            steps: vec![step],
            turned,
            cancel: open.value.cancel,
            end: None,
        }))
    }

    /// On which app an operation is.
    pub async fn operation_app(&self, id: &Uid) -> Result<Placement, Error> {
        Ok(self.operation(id).await?.app)
    }

    /// What happens in an operation, from its beginning to its end. `skip`: how many were seen already; [`usize::MAX`]: all that
    /// has happened so far. Its end is told in any case.
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
            for (n, p) in past.into_iter().enumerate() {
                if n >= skip || matches!(p, Progress::End { .. }) {
                    tx.send(p).await?;
                }
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
        self.tell_by_record(id, skip, tx).await
    }

    async fn tell_by_record(
        &self,
        id: &Uid,
        skip: usize,
        tx: &mpsc::Sender<Progress>,
    ) -> Result<(), mpsc::error::SendError<Progress>> {
        let mut key = self.runner.hands().world.follow_key(&keys::operation(id));
        let states = |steps: &[StepView]| steps.iter().map(|s| s.state.clone()).collect::<Vec<_>>();
        // `None`: whatever there is was told.
        let mut told = (skip != usize::MAX).then(Vec::new);
        let mut misses = 0;
        while !tx.is_closed() {
            match self.runner.store().operation(id).await {
                Ok(Some(open)) => {
                    misses = 0;
                    let steps = Course::from(open.value).steps;
                    for p in news(&steps, &told.unwrap_or_else(|| states(&steps))) {
                        tx.send(p).await?;
                    }
                    told = Some(states(&steps));
                    tokio::select! {
                        () = key.changed(open.index, LONGEST) => {}
                        () = tx.closed() => return Ok(()),
                    }
                }
                Ok(None) => match self.operation(id).await {
                    Ok(Course { end: None, steps, .. }) => {
                        // A change of one step: it is over once its key is gone.
                        for s in steps.into_iter().filter(|_| misses == 0) {
                            let (what, state) = (s.target, s.state);
                            tx.send(Progress::Step { n: 1, of: 1, what, state }).await?;
                        }
                        misses = 1;
                        let mut key = self.runner.hands().world.follow_key(&keys::intent(id));
                        tokio::select! {
                            // Whatever it was changed at: it is looked at again, at once where it is gone.
                            () = key.changed(u64::MAX, LONGEST) => {}
                            () = tx.closed() => return Ok(()),
                        }
                    }
                    Ok(Course { end: Some(e), steps, .. }) => {
                        for p in news(&steps, &told.unwrap_or_else(|| states(&steps))) {
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
                    Err(Error::NotFound(_)) => {
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
fn news(steps: &[StepView], told: &[String]) -> Vec<Progress> {
    let moved = steps.iter().enumerate().filter(|(n, s)| told.get(*n) != Some(&s.state));
    moved
        .filter(|(_, s)| s.state != StepState::Todo.as_str())
        .map(|(n, s)| Progress::Step {
            n: n + 1,
            of: steps.len(),
            what: s.target.clone(),
            state: s.state.clone(),
        })
        .collect()
}
