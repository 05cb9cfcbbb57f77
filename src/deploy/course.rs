//! The course of an app towards what was asked of it: until its instances are healthy, or have stopped. Told by the
//! engines' changes, never by a timer.
//!
//! It looks and tells, and changes nothing: whoever stops listening stops nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::Stream;
use tokio::sync::mpsc;

use super::instances::{self, JobThere, Seen};
use super::{Deployer, Error, history};
use crate::engines::nomad::{Allocation, JobView};
use crate::model::head::{Outcome, Wanted};
use crate::model::wire::{AppCondition, Beside, ProcessStatus};
use crate::model::{Head, Placement, ProcessName};
use crate::operation::intended::counts_of;
use crate::operation::{IntentVerb, Progress, restart};
use crate::resources::health;
use crate::resources::judge::{self, Judgement, Snapshot, judge};
use crate::store::keys;

/// The longest wait for a change of the head; then it is looked again.
const LONGEST: Duration = Duration::from_secs(30);
/// How long Garage may take to say which process answers at which host.
const GARAGE: Duration = Duration::from_secs(2);

type Told = mpsc::Sender<Progress>;

impl Deployer {
    /// What happens to an app until it is as it was asked to be, or will not be.
    pub fn course(&self, app: Placement) -> impl Stream<Item = Progress> + Send + 'static + use<> {
        let (tx, rx) = mpsc::channel(64);
        let deployer = self.clone();
        tokio::spawn(async move {
            let walked = tokio::select! {
                walked = deployer.walk(&app, &tx) => walked,
                // Nobody listens any more.
                () = tx.closed() => return,
            };
            if let Err(e) = walked {
                let end =
                    end(&deployer, None, Outcome::Failed, "it could not be watched", vec![e.to_string()]);
                let _ = tx.send(end).await;
            }
        });
        futures::stream::unfold(rx, |mut rx| async move { rx.recv().await.map(|p| (p, rx)) })
    }

    async fn walk(&self, app: &Placement, tx: &Told) -> Result<(), Error> {
        let (namespace, job) = (app.namespace(), app.flat());
        let mut follower = self.runner.hands().world.subscribe().await;
        let mut said = BTreeSet::new();
        let mut failures = 0_u32;
        let mut key = self.runner.hands().world.follow_key(&keys::head(app));
        loop {
            let index = match self.look(app).await {
                Ok(Look { notes, end: Some(end), .. }) => {
                    tell(tx, &mut said, notes).await;
                    // Whoever asked may have had enough.
                    let _ = tx.send(end).await;
                    return Ok(());
                }
                Ok(look) => {
                    tell(tx, &mut said, look.notes).await;
                    failures = 0;
                    look.index
                }
                Err(Error::Engine(e)) if e.is_passing() => {
                    failures += 1;
                    let _ = tx.send(Progress::Waiting { why: e.to_string() }).await;
                    tokio::time::sleep(Duration::from_secs(u64::from(failures.min(10)))).await;
                    continue;
                }
                Err(e) => return Err(e),
            };
            tokio::select! {
                _ = follower.changed(namespace, &job) => {}
                () = key.changed(index, LONGEST) => {}
            }
        }
    }

    async fn look(&self, app: &Placement) -> Result<Look, Error> {
        let versioned = self.head(app).await?;
        let (head, index) = (versioned.value, versioned.index);
        let hands = self.runner.hands();
        let (namespace, id) = (app.namespace(), app.flat());
        // In the order in which a rollout's parts come to be; see `settle`.
        let evaluations = hands.nomad.job_evaluations(namespace, &id).await?;
        let deployments = hands.nomad.deployments(namespace, &id).await?;
        let (stored, versions, allocations, health) = tokio::try_join!(
            hands.nomad.job(namespace, &id),
            hands.nomad.job_versions(namespace, &id),
            hands.nomad.allocations(namespace, &id),
            health::passing(&hands.consul, app),
        )?;
        let all: Vec<&Allocation> = allocations.iter().collect();
        let health = health.expecting(stored.as_ref());
        let seen = Seen { allocations: &all, health: &health };
        let mut job_index = None;
        if let Some(stored) = &stored {
            let view = JobView::of(stored)?;
            job_index = (!view.is_stopped()).then(|| view.job_modify_index());
        }
        let there = if job_index.is_some() { JobThere::Yes } else { JobThere::No };
        let processes = instances::processes(&head, &seen);
        let (condition, why) = instances::condition(&head, there, &processes, &seen);
        let beside = if head.held.is_some() { Beside::Held } else { Beside::Coming };
        let mut notes: Vec<String> = processes.iter().map(|p| count(p, beside)).collect();
        let over = |outcome, summary: &str, why| end(self, Some(&head), outcome, summary, why);
        if head.operation.is_some() {
            let end = over(Outcome::Done, "a deploy is under way, which ends with a running app", vec![]);
            return Ok(Look { index, notes, end: Some(end) });
        }
        if let Some(intent) = &head.intent {
            let left = allocations
                .iter()
                .filter(|a| !a.is_terminal())
                .filter(|a| {
                    intent.restarts.get(&a.id).is_some_and(|at| restart::began(a) == Some(at.as_str()))
                })
                .count();
            let of = intent.restarts.len();
            // Of what else is asked for nothing is wanted yet: what there is says nothing of the way to it.
            notes = if of == 0 { vec![] } else { vec![format!("{} of {of} instances restarted", of - left)] };
            return Ok(Look { index, notes, end: None });
        }
        let refused =
            head.last_operation.as_ref().filter(|l| l.outcome == Outcome::Failed && is_of_one_step(&l.verb));
        if let Some(last) = refused {
            let end = over(Outcome::Failed, &format!("the {} failed", last.verb), vec![last.summary.clone()]);
            return Ok(Look { index, notes, end: Some(end) });
        }
        let end = match condition {
            AppCondition::Stopped => Some(over(Outcome::Done, &format!("{app} is stopped"), vec![])),
            // Held canaries stand beside the others for as long as a person takes.
            AppCondition::Running if surplus(&processes) == 0 || head.held.is_some() => {
                let did = head.last_operation.as_ref().filter(|l| l.verb == IntentVerb::Restart.as_str());
                let did = did.map_or(String::new(), |l| format!("{}; ", l.summary));
                let runs = if processes.iter().all(|p| p.wanted == 0) {
                    format!("every process of {app} is scaled to 0")
                } else {
                    format!("{app} runs: {}", healthy(&processes, beside))
                };
                Some(over(Outcome::Done, &format!("{did}{runs}"), vec![]))
            }
            _ if head.wanted == Wanted::Stopped => {
                let leaving =
                    all.iter().filter(|a| matches!(a.client_status.as_str(), "running" | "pending"));
                notes = leaving
                    .map(|a| format!("instance {} of {} is stopping", judge::short(&a.id), a.task_group))
                    .collect();
                None
            }
            _ => {
                let mut shot = Snapshot {
                    job_index,
                    deployments,
                    evaluations,
                    allocations: allocations.clone(),
                    ..Snapshot::default()
                };
                for v in &versions {
                    let view = JobView::of(v)?;
                    shot.versions.insert(view.job_modify_index(), view.version());
                }
                let mut ill = all.iter().filter(|a| !a.is_terminal() && !health.is_well(a));
                let crashed = ill.find_map(|a| {
                    restart::crashes(a)
                        .map(|why| format!("instance {} of {}: {why}", judge::short(&a.id), a.task_group))
                });
                match (crashed, job_index.map(|i| judge(&shot, i))) {
                    (Some(why), _) => Some(over(Outcome::Failed, "it does not get healthy", vec![why])),
                    (None, Some(Judgement::GiveUp(_, failure) | Judgement::Ended(_, failure))) => {
                        let why =
                            if failure.why.is_empty() { why.into_iter().collect() } else { failure.why };
                        Some(over(Outcome::Failed, "it does not get healthy", why))
                    }
                    (None, Some(Judgement::Waiting(lines))) => {
                        notes.extend(lines);
                        None
                    }
                    (None, Some(Judgement::Superseded | Judgement::Healthy | Judgement::Held) | None) => None,
                }
            }
        };
        let end = match end {
            Some(end) => Some(self.of_those_that_run(&head, end).await),
            None => None,
        };
        Ok(Look { index, notes, end })
    }

    /// An end without the addresses of processes that are scaled to 0: nobody answers there.
    async fn of_those_that_run(&self, head: &Head, mut end: Progress) -> Progress {
        let counts = counts_of(head);
        let rests = |p: &ProcessName| counts.get(p) == Some(&0);
        let Progress::End { urls, .. } = &mut end else { return end };
        if urls.is_empty() || !counts.keys().any(rests) {
            return end;
        }
        let release = tokio::time::timeout(GARAGE, self.current(head)).await;
        let project = release.ok().and_then(Result::ok).flatten().as_ref().and_then(history::project);
        let Some(project) = project else {
            // Which process answers where is not known: nothing is promised.
            urls.clear();
            return end;
        };
        let cluster = &self.runner.hands().cluster;
        let routed = |is_meant: &dyn Fn(&ProcessName) -> bool| -> BTreeSet<String> {
            let processes = project.processes.iter().filter(|p| is_meant(&p.name));
            processes.flat_map(|p| &p.routes).map(|r| cluster.url_of(r.host.as_str())).collect()
        };
        let (resting, running) = (routed(&rests), routed(&|p| !rests(p)));
        urls.retain(|url| !resting.contains(url) || running.contains(url));
        end
    }
}

/// What a look found.
struct Look {
    index: u64,
    notes: Vec<String>,
    end: Option<Progress>,
}

/// True of the verbs of plans of one step.
pub(super) fn is_of_one_step(verb: &str) -> bool {
    matches!(verb, "start" | "stop" | "scale" | "restart")
}

fn count(p: &ProcessStatus, beside: Beside) -> String {
    format!("{}: {}", p.name, p.words(beside))
}

fn healthy(processes: &[ProcessStatus], beside: Beside) -> String {
    processes.iter().map(|p| count(p, beside)).collect::<Vec<_>>().join(", ")
}

/// Instances that are there and should not be any more: too many run, or they wait for their visitors to go before they end.
fn surplus(processes: &[ProcessStatus]) -> u32 {
    processes.iter().map(|p| (p.running + p.canaries).saturating_sub(p.wanted).max(p.stopping)).sum()
}

async fn tell(tx: &Told, said: &mut BTreeSet<String>, notes: Vec<String>) {
    for text in notes {
        if said.insert(text.clone()) {
            // Whoever asked may have had enough.
            let _ = tx.send(Progress::Note { text }).await;
        }
    }
}

fn end(
    deployer: &Deployer,
    head: Option<&Head>,
    outcome: Outcome,
    summary: &str,
    why: Vec<String>,
) -> Progress {
    let is_up = outcome == Outcome::Done && head.is_some_and(|h| h.wanted == Wanted::Running);
    let urls = head.filter(|_| is_up).map(|h| deployer.blank(h).urls).unwrap_or_default();
    Progress::End { outcome, summary: summary.to_owned(), why, urls }
}
