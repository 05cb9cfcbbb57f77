//! What happened to an app: what people did (audit records), what Nomad rolled out, and what became of instances.
//!
//! Nomad keeps the last ten events of a task and its ended instances for a while; older ones are gone.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::Stream;
use tokio::sync::mpsc;

use super::lineage::{Old, began, born};
use super::{Deployer, Error};
use crate::engines::Fault;
use crate::engines::nomad::{Allocation, Deployment, Evaluation, TaskEvent};
use crate::model::wire::{EventKind, EventView};
use crate::model::{Placement, Uid};
use crate::resources::crash;
use crate::resources::judge::short;
use crate::store::keys;
use crate::store::records::Audit;

/// What Nomad says of a task when something is wrong with it, besides bad ends.
const FAULTS: [&str; 6] = [
    "Driver Failure",
    "Setup Failure",
    "Failed Artifact Download",
    "Failed Validation",
    "Alloc Unhealthy",
    "Not Restarting",
];
/// The longest wait for a change of the head; then it is looked again.
const LONGEST: Duration = Duration::from_secs(30);

/// The pause before engines that are away are asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// An event, and its place in time.
#[derive(Debug)]
pub(super) struct Placed {
    /// Nanoseconds since 1970.
    pub(super) at: i128,
    /// What it is, whenever it is looked at.
    pub(super) mark: String,
    /// Neither a step of the ordinary course, nor ordered.
    pub(super) matters: bool,
    /// As people read it.
    pub(super) event: EventView,
}

impl Deployer {
    /// What happened to an app, newest last; the last `tail` of it.
    pub async fn events(&self, app: &Placement, tail: usize, old: Old) -> Result<Vec<EventView>, Error> {
        let uid = self.head(app).await?.value.uid;
        let mut all = self.placed_events(app, &uid, old).await?;
        let first = all.len().saturating_sub(tail);
        Ok(all.drain(first..).map(|p| p.event).collect())
    }

    /// What happened to an app, oldest first.
    pub(super) async fn placed_events(
        &self,
        app: &Placement,
        uid: &Uid,
        old: Old,
    ) -> Result<Vec<Placed>, Error> {
        let nomad = &self.runner.hands().nomad;
        let id = app.flat();
        // Before what tells when each of them ended.
        let deployments = nomad.deployments(app.namespace(), &id).await?;
        let (audits, allocations, evaluations) = tokio::try_join!(
            self.runner.store().audits(),
            nomad.allocations(app.namespace(), &id),
            nomad.job_evaluations(app.namespace(), &id),
        )?;
        let mut all: Vec<Placed> = Vec::new();
        let born = born(uid).as_nanosecond();
        let audits: Vec<&Audit> =
            audits.iter().map(|a| &a.value).filter(|a| a.app == *app && old.tells(a, uid)).collect();
        let known = Moments::of(&allocations, &evaluations, &audits);
        all.extend(audits.into_iter().map(change));
        all.extend(deployments.iter().flat_map(|d| rollout(d, &known)).filter(|p| p.at >= born));
        all.extend(allocations.iter().flat_map(instance).filter(|p| p.at >= born));
        all.sort_by_key(|p| (p.at, p.event.kind));
        Ok(all)
    }

    /// The same, and then what happens, as it happens.
    pub fn follow_events(
        &self,
        app: Placement,
        tail: usize,
        old: Old,
    ) -> impl Stream<Item = Result<EventView, Error>> + Send + 'static + use<> {
        let (tx, rx) = mpsc::channel(64);
        let deployer = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                told = deployer.tell_events(&app, tail, old, &tx) => {
                    if let Err(e) = told {
                        tracing::debug!(%app, error = %e, "its events are not followed any more");
                        // Whoever followed them may have had enough.
                        let _ = tx.send(Err(e)).await;
                    }
                }
                // Nobody listens any more.
                () = tx.closed() => {}
            }
        });
        futures::stream::unfold(rx, |mut rx| async move { rx.recv().await.map(|e| (e, rx)) })
    }

    async fn tell_events(
        &self,
        app: &Placement,
        tail: usize,
        old: Old,
        tx: &mpsc::Sender<Result<EventView, Error>>,
    ) -> Result<(), Error> {
        let mut follower = self.runner.hands().world.subscribe().await;
        let mut key = self.runner.hands().world.follow_key(&keys::head(app));
        let (id, mut told, mut is_first) = (app.flat(), BTreeSet::new(), true);
        loop {
            let looked = async {
                let head = self.head(app).await?;
                let all = self.placed_events(app, &head.value.uid, old).await?;
                Ok((head.index, all))
            };
            let index = match looked.await {
                Ok((index, all)) => {
                    let skip = if is_first { all.len().saturating_sub(tail) } else { 0 };
                    for (n, Placed { mark, event, .. }) in all.into_iter().enumerate() {
                        // When a rollout ended is known better later: it is the same one.
                        let mark = (mark, event.what.clone(), event.text.clone());
                        if told.insert(mark) && n >= skip && tx.send(Ok(event)).await.is_err() {
                            return Ok(());
                        }
                    }
                    is_first = false;
                    index
                }
                // It comes back: what happens meanwhile is told then.
                Err(Error::Engine(e)) if e.is_passing() || e.fault == Fault::Denied => {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Err(e) => return Err(e),
            };
            tokio::select! {
                _ = follower.changed(app.namespace(), &id) => {}
                () = key.changed(index, LONGEST) => {}
            }
        }
    }
}

fn view(at: jiff::Timestamp, kind: EventKind, what: &str, text: String, mark: String) -> Placed {
    let event = EventView {
        at: at.to_string(),
        kind,
        what: what.to_owned(),
        text,
        process: None,
        instance: None,
        by: None,
    };
    Placed { at: at.as_nanosecond(), mark, matters: true, event }
}

fn change(a: &Audit) -> Placed {
    let at = a.at.parse().unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let mark = format!("change {} {}", a.verb, a.operation);
    let mut placed = view(at, EventKind::Change, &a.verb, a.summary.clone(), mark);
    placed.event.by = Some(a.by.login.clone());
    placed
}

/// When Nomad's state had which index, by what bears both.
#[derive(Debug, Default)]
struct Moments {
    /// Of what does not change any more.
    firm: Vec<(u64, i64)>,
    /// Of what does.
    loose: Vec<(u64, i64)>,
    /// Our operations from their beginning to their end: a rollout that one of them began has ended with it.
    ours: Vec<(i64, i64)>,
}

impl Moments {
    fn of(allocations: &[Allocation], evaluations: &[Evaluation], audits: &[&Audit]) -> Self {
        let made = allocations.iter().map(|a| (a.create_index, a.create_time));
        let begun = evaluations.iter().map(|e| (e.create_index, e.create_time));
        let ended =
            evaluations.iter().filter(|e| e.status == "complete").map(|e| (e.modify_index, e.modify_time));
        let changed = allocations.iter().map(|a| (a.modify_index, a.modify_time));
        let ours =
            audits.iter().filter(|a| !matches!(a.verb.as_str(), "cancel" | "abandon")).filter_map(|a| {
                let at =
                    |text: &str| i64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok();
                Some((at(&began(&a.operation)?)?, at(&a.at)?))
            });
        let ours = ours.collect();
        Self { firm: made.chain(begun).chain(ended).collect(), loose: changed.collect(), ours }
    }

    /// The first moment known at which the state had this index, or a later one; for a rollout that was made at `made`.
    /// Nomad forgets what says so best, and what is left may be much later.
    fn at(&self, index: u64, made: i64) -> Option<i64> {
        let first = |known: &[(u64, i64)]| {
            known.iter().filter(|(i, time)| *i >= index && *time > 0).map(|(_, time)| *time).min()
        };
        let known = first(&self.firm).or_else(|| first(&self.loose));
        let around = self.ours.iter().filter(|(began, ended)| (*began..=*ended).contains(&made));
        known.into_iter().chain(around.map(|(_, ended)| *ended)).min()
    }
}

/// The beginning of a rollout, and its end where it has one. Nomad before 1.9 does not say when it began; 1.11 does not
/// write when it ended, and what was changed with it or just after it says so.
fn rollout(d: &Deployment, known: &Moments) -> Vec<Placed> {
    let time =
        |at: i64| jiff::Timestamp::from_nanosecond(i128::from(at)).ok().filter(|t| t.as_nanosecond() > 0);
    let mut placed = Vec::new();
    let name = short(&d.id);
    let begun = time(d.create_time);
    if let Some(at) = begun {
        let mark = format!("rollout {} begins", d.id);
        let mut begins = view(at, EventKind::Rollout, "begun", format!("rollout {name} begins"), mark);
        begins.matters = false;
        placed.push(begins);
    }
    if !d.is_over() {
        return placed;
    }
    let told = Some(d.modify_time).filter(|at| *at > d.create_time);
    let ended = told.or_else(|| known.at(d.modify_index, d.create_time)).and_then(time).or(begun);
    if let Some(at) = ended {
        let why = &d.status_description;
        let word = match d.status.as_str() {
            "successful" => "done",
            "failed" if why.contains("rolling back") => "reverted",
            other => other,
        };
        let text = format!("rollout {name} {word}: {why}");
        placed.push(view(at, EventKind::Rollout, &d.status, text, format!("rollout {}", d.id)));
    }
    placed
}

fn instance(a: &Allocation) -> Vec<Placed> {
    let mut placed = tasks(a);
    // Nomad says so of the instance alone: a client that is away reports no task's events.
    if a.client_status == "lost"
        && let Ok(at) = jiff::Timestamp::from_nanosecond(i128::from(a.modify_time))
    {
        let (text, mark) = (format!("node {} is lost", a.node_name), format!("instance {} lost", a.id));
        let mut lost = view(at, EventKind::Instance, "Lost", text, mark);
        lost.event.process = Some(a.task_group.clone());
        lost.event.instance = Some(a.id.clone());
        placed.push(lost);
    }
    placed
}

fn tasks(a: &Allocation) -> Vec<Placed> {
    let mut all = Vec::new();
    for (task, state) in &a.task_states {
        let bad: BTreeSet<i64> = crash::bad_ends(state).map(|e| e.time).collect();
        for e in &state.events {
            let Ok(at) = jiff::Timestamp::from_nanosecond(i128::from(e.time)) else { continue };
            let name = if *task == a.task_group { String::new() } else { format!("{task}: ") };
            let mark = format!("instance {} {task} {} {}", a.id, e.kind, e.time);
            let mut placed = view(at, EventKind::Instance, &e.kind, format!("{name}{}", words(e)), mark);
            placed.matters = match e.kind.as_str() {
                "Terminated" => bad.contains(&e.time),
                kind => FAULTS.contains(&kind),
            };
            placed.event.process = Some(a.task_group.clone());
            placed.event.instance = Some(a.id.clone());
            all.push(placed);
        }
    }
    all
}

fn words(e: &TaskEvent) -> String {
    if e.is_oom() {
        return "killed: it used more memory than its limit".to_owned();
    }
    if e.display_message.is_empty() { e.kind.clone() } else { e.display_message.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProjectName;
    use crate::model::head::Outcome;
    use crate::operation::run::fresh_uid;
    use crate::store::records::By;

    fn ended(began: jiff::Timestamp, at: jiff::Timestamp) -> Audit {
        Audit {
            v: 1,
            at: at.to_string(),
            by: By { login: "alice".into(), address: "a".into() },
            app: Placement::production(ProjectName::new("carnet").unwrap()),
            uid: None,
            about: Vec::new(),
            verb: "deploy".into(),
            operation: fresh_uid(began),
            outcome: Outcome::Done,
            summary: String::new(),
        }
    }

    #[test]
    fn a_rollout_whose_evaluations_are_forgotten_ends_with_its_operation_and_not_with_the_next_one() {
        let at = |minute: i64| jiff::Timestamp::from_second(1_000_000 + 60 * minute).unwrap();
        let nanos = |minute| i64::try_from(at(minute).as_nanosecond()).unwrap();
        let rolled = Deployment {
            id: "d".into(),
            status: "successful".into(),
            create_time: nanos(1),
            modify_index: 20,
            ..Deployment::default()
        };
        let later = Evaluation {
            status: "complete".into(),
            create_index: 30,
            create_time: nanos(60),
            modify_index: 31,
            modify_time: nanos(60),
            ..Evaluation::default()
        };
        let (own, next) = (ended(at(0), at(2)), ended(at(59), at(61)));
        let end_of = |audits: &[&Audit]| {
            rollout(&rolled, &Moments::of(&[], std::slice::from_ref(&later), audits)).pop().unwrap().at
        };
        assert_eq!(end_of(&[&own, &next]), at(2).as_nanosecond());
        assert_eq!(end_of(&[&next]), at(60).as_nanosecond(), "nothing better is known");
    }
}
