//! What apps do now: what their heads say, and what Nomad and Consul show of them.
//!
//! One app is looked at in depth. All of them are looked at in five calls, however many there are: the heads, what drifted,
//! Nomad's jobs, its allocations, Consul's checks. Garage is asked for nothing that Nomad knows.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::instances::{self, JobThere, Releases, Seen};
use super::{Deployer, Error, drift, history};
use crate::engines::EngineError;
use crate::engines::nomad::{Allocation, JobDetail, JobView};
use crate::model::head::{AppState, Kind, Outcome, Wanted};
use crate::model::project::Owner;
use crate::model::wire::{AppCondition, AppStatus, InstanceView, LastChange, ResourceView, StoppedBy};
use crate::model::{Head, Placement, Release};
use crate::operation::intended::counts_of;
use crate::resources::health::{self, Health};
use crate::store::records::DriftRecord;

/// How long Garage may take to say when a release was made: the rest is not held up by it.
const GARAGE: Duration = Duration::from_secs(2);

/// What Nomad and Consul show of every app.
struct Everything {
    /// By namespace and job.
    allocations: BTreeMap<(String, String), Vec<Allocation>>,
    /// Whether each job is deregistered.
    jobs: BTreeMap<(String, String), bool>,
    health: Health,
}

impl Deployer {
    /// One app, in depth.
    pub async fn status(&self, app: &Placement) -> Result<AppStatus, Error> {
        let head = self.head(app).await?.value;
        let mut status = self.blank(&head);
        let owned = head.owned.iter();
        status.resources =
            owned.map(|o| ResourceView { kind: o.kind.as_str().to_owned(), id: o.id.clone() }).collect();
        let release = tokio::time::timeout(GARAGE, self.current(&head));
        let waits = async {
            match &head.operation {
                Some(id) => Box::pin(self.waits(id)).await,
                None => None,
            }
        };
        let drift = self.runner.store().drift_of(app);
        let looked = Box::pin(self.in_depth(&head, &mut status));
        let (release, waits, drift, looked) = tokio::join!(release, waits, drift, looked);
        looked?;
        status.waits = waits;
        // One that cannot be read is a newer agent's: `drift` says what there is.
        if let Ok(Some(known)) = drift {
            status.drift = drift::drifted(&head, &known.value, self.runner.now());
        }
        match release {
            Ok(Ok(Some(release))) => {
                let urls = self.urls_of(&release);
                if !urls.is_empty() {
                    status.urls = urls;
                }
                status.released_at = Some(release.at);
                status.released_by = Some(release.actor);
                (status.message, status.source) = (release.message, release.source);
            }
            Ok(Ok(None)) => {}
            Ok(Err(e)) => status.why = status.why.or(Some(e.to_string())),
            Err(_) => status.why = status.why.or(Some("garage does not answer".to_owned())),
        }
        Ok(status)
    }

    async fn in_depth(&self, head: &Head, status: &mut AppStatus) -> Result<(), Error> {
        if !has_job(head) {
            status.status = without_job(head);
            return Ok(());
        }
        let hands = self.runner.hands();
        let (namespace, id) = (head.app.namespace(), head.app.flat());
        let (job, allocations, health, nodes) = tokio::try_join!(
            hands.nomad.job(namespace, &id),
            hands.nomad.allocations(namespace, &id),
            health::passing(&hands.consul, &head.app),
            hands.nomad.nodes(),
        )?;
        let sites = nodes.into_iter().map(|n| (n.id, n.datacenter)).collect();
        let all: Vec<&Allocation> = allocations.iter().collect();
        let health = health.expecting(job.as_ref());
        let seen = Seen { allocations: &all, health: &health };
        let view = job.as_ref().map(JobView::of).transpose()?;
        let there = if view.is_some_and(|v| !v.is_stopped()) { JobThere::Yes } else { JobThere::No };
        show(head, there, &seen, status);
        if let Some(view) = view.filter(|_| there == JobThere::Yes && head.wanted == Wanted::Running) {
            status.why = status.why.take().or_else(|| drifted(head, &view));
        }
        // Which release each of them runs is said where it is known.
        let releases = self.releases_of(head, job.as_ref()).await.unwrap_or_default();
        status.instances = living(&allocations, &health, &sites, releases);
        Ok(())
    }

    /// Each route of a release with its path, in the descriptor's order.
    pub(super) fn urls_of(&self, release: &Release) -> Vec<String> {
        let cluster = &self.runner.hands().cluster;
        let Some(project) = history::project(release) else { return Vec::new() };
        let sites = project.site_routes.iter().map(|host| cluster.url_of(host.as_str()));
        let routes = project.processes.iter().flat_map(|p| &p.routes).map(|r| {
            let url = cluster.url_of(r.host.as_str());
            match &r.path {
                Some(path) => format!("{}{path}", url.trim_end_matches('/')),
                None => url,
            }
        });
        let mut urls: Vec<String> = Vec::new();
        for url in sites.chain(routes) {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
    }

    /// Which release the instances run: the serving one, but for those of the job's version that another one brought.
    async fn releases_of(&self, head: &Head, job: Option<&Value>) -> Result<Releases, Error> {
        let serving = head.release.as_ref().map(|r| r.number.0);
        let index = head.job_index.unwrap_or_default();
        let mut releases = Releases { serving, coming: None, held: head.held.is_some() };
        let Some(job) = job else { return Ok(releases) };
        // Beside the one that serves, or in its place where there was nothing to go back to.
        let ended = head.last_operation.as_ref().filter(|l| l.outcome == Outcome::Failed);
        let brought = ended.and_then(|l| l.release);
        let failed = head.newest.as_ref().filter(|r| Some(r.number) == brought && Some(r.number.0) > serving);
        if let Some(other) = head.held.as_ref().map(|h| &h.release).or(failed) {
            let view = JobView::of(job)?;
            releases.coming = (view.job_modify_index() == index).then(|| (other.number.0, view.version()));
        }
        let Some(id) = &head.operation else { return Ok(releases) };
        let Some(open) = self.runner.store().operation(id).await? else { return Ok(releases) };
        let Some(next) = open.value.after.release.filter(|r| Some(r.number.0) != serving) else {
            return Ok(releases);
        };
        // The first version since what the head knows: Nomad may have gone back from it by itself meanwhile.
        let (namespace, id) = (head.app.namespace(), head.app.flat());
        let versions = self.runner.hands().nomad.job_versions(namespace, &id).await?;
        let newer =
            versions.iter().filter_map(|v| JobView::of(v).ok()).filter(|v| v.job_modify_index() > index);
        if let Some(version) = newer.map(|v| v.version()).min() {
            releases.coming = Some((next.number.0, version));
        }
        Ok(releases)
    }

    /// Every app that may be seen, by what its head says of its owners (`None`: it cannot be read). An app that cannot
    /// be looked at is `unknown`, and says why.
    pub async fn status_all(
        &self,
        may_see: impl Fn(&Placement, Option<&[Owner]>) -> bool,
    ) -> Result<Vec<AppStatus>, Error> {
        let store = self.runner.store();
        let (heads, everything, drifts) = tokio::join!(store.each_head(), self.everything(), store.drifts());
        let drifts: BTreeMap<Placement, DriftRecord> =
            drifts.unwrap_or_default().into_iter().map(|d| (d.value.app.clone(), d.value)).collect();
        let mut all = Vec::new();
        for (app, head) in heads? {
            let owners = head.as_ref().ok().map(|h| h.value.owners.as_slice());
            if !may_see(&app, owners) {
                continue;
            }
            match head {
                Ok(head) if head.value.state == AppState::Deleted => {}
                Ok(head) => {
                    let mut status = self.at_a_glance(&head.value, &everything);
                    let known = drifts.get(&app);
                    let told = known.map(|d| drift::drifted(&head.value, d, self.runner.now()));
                    status.drift = told.unwrap_or_default();
                    all.push(status);
                }
                Err(e) => all.push(AppStatus {
                    app: app.to_string(),
                    why: Some(e.to_string()),
                    ..AppStatus::default()
                }),
            }
        }
        all.sort_by(|a, b| a.app.cmp(&b.app));
        Ok(all)
    }

    async fn everything(&self) -> Result<Everything, EngineError> {
        let hands = self.runner.hands();
        let (jobs, allocations, checks) = tokio::try_join!(
            hands.nomad.jobs("*", "", JobDetail::Plain),
            hands.nomad.all_allocations("*"),
            hands.consul.checks(None),
        )?;
        let mut by_job: BTreeMap<(String, String), Vec<Allocation>> = BTreeMap::new();
        for a in allocations.0 {
            by_job.entry((a.namespace.clone(), a.job_id.clone())).or_default().push(a);
        }
        let jobs = jobs.into_iter().map(|j| ((j.namespace, j.id), j.stop)).collect();
        Ok(Everything { allocations: by_job, jobs, health: Health::of(&checks) })
    }

    fn at_a_glance(&self, head: &Head, everything: &Result<Everything, EngineError>) -> AppStatus {
        let mut status = self.blank(head);
        if !has_job(head) {
            status.status = without_job(head);
            return status;
        }
        match everything {
            Err(e) => status.why = Some(e.to_string()),
            Ok(everything) => {
                let key = (head.app.namespace().to_owned(), head.app.flat());
                let all: Vec<&Allocation> = everything.allocations.get(&key).into_iter().flatten().collect();
                let there = match everything.jobs.get(&key) {
                    Some(false) => JobThere::Yes,
                    Some(true) | None => JobThere::No,
                };
                let seen = Seen { allocations: &all, health: &everything.health };
                show(head, there, &seen, &mut status);
            }
        }
        status
    }

    /// An app's instances: those that live, oldest first; with `Ended::Too` those that ended, as long as Nomad has them.
    pub async fn instances(&self, app: &Placement, ended: Ended) -> Result<Vec<InstanceView>, Error> {
        let head = self.head(app).await?.value;
        let hands = self.runner.hands();
        let id = app.flat();
        let (job, mut allocations, health, nodes) = tokio::try_join!(
            hands.nomad.job(app.namespace(), &id),
            hands.nomad.allocations(app.namespace(), &id),
            health::passing(&hands.consul, &head.app),
            hands.nomad.nodes(),
        )?;
        let sites = nodes.into_iter().map(|n| (n.id, n.datacenter)).collect();
        let releases = self.releases_of(&head, job.as_ref()).await.unwrap_or_default();
        if ended == Ended::Too {
            allocations.sort_by_key(|a| a.create_index);
            let all = allocations.iter();
            return Ok(all.map(|a| instances::instance(a, &health, &sites, releases)).collect());
        }
        Ok(living(&allocations, &health, &sites, releases))
    }

    pub(super) fn blank(&self, head: &Head) -> AppStatus {
        let cluster = &self.runner.hands().cluster;
        let last = head.last_operation.as_ref();
        AppStatus {
            app: head.app.to_string(),
            urls: head.hosts().into_iter().map(|host| cluster.url_of(host)).collect(),
            release: head.release.as_ref().map(|r| r.number.0),
            released_at: head.released_at.clone(),
            held: head.held.as_ref().map(|h| h.release.number.0),
            owners: head.owners.iter().map(owner).collect(),
            operation: head.operation.as_ref().map(ToString::to_string),
            last_operation: last.map(|l| format!("{}: {}", l.verb, l.summary)),
            last_change: last.map(|l| LastChange {
                id: l.id.to_string(),
                verb: l.verb.clone(),
                by: Some(l.by.clone()).filter(|by| !by.is_empty()),
                at: l.at.clone(),
                outcome: l.outcome,
                summary: l.summary.clone(),
            }),
            stopped: head.stopped.as_ref().map(|s| StoppedBy { by: s.by.clone(), at: s.at.clone() }),
            why: (head.state == AppState::Abandoned)
                .then(|| "its last change was abandoned half-way: deploy it again, or delete it".to_owned()),
            maintenance: head.maintenance.as_ref().map(|m| StoppedBy { by: m.by.clone(), at: m.at.clone() }),
            ..AppStatus::default()
        }
    }
}

/// Whether instances that ended are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Too.
    Too,
    /// Those that live.
    Not,
}

fn show(head: &Head, job: JobThere, seen: &Seen<'_>, status: &mut AppStatus) {
    status.processes = instances::processes(head, seen);
    let (now, why) = instances::condition(head, job, &status.processes, seen);
    (status.status, status.why) = (now, why.or(status.why.take()));
}

fn living(
    allocations: &[Allocation],
    health: &Health,
    sites: &BTreeMap<String, String>,
    releases: Releases,
) -> Vec<InstanceView> {
    let lives =
        |a: &&Allocation| !a.is_terminal() || matches!(a.client_status.as_str(), "running" | "pending");
    let mut living: Vec<&Allocation> = allocations.iter().filter(lives).collect();
    living.sort_by_key(|a| a.create_index);
    living.into_iter().map(|a| instances::instance(a, health, sites, releases)).collect()
}

fn has_job(head: &Head) -> bool {
    head.owned.iter().any(|o| o.kind == Kind::Job)
}

fn without_job(head: &Head) -> AppCondition {
    let is_site = head.owned.iter().any(|o| o.kind == Kind::Site);
    match (head.state, is_site) {
        (AppState::Live | AppState::Abandoned, true) => AppCondition::Running,
        (AppState::New, _) => AppCondition::Starting,
        (AppState::Failed, _) => AppCondition::Failed,
        _ => AppCondition::Stopped,
    }
}

/// Counts that Nomad holds and nobody asked for.
fn drifted(head: &Head, view: &JobView<'_>) -> Option<String> {
    let live = view.counts();
    let wanted = counts_of(head);
    let other = wanted.iter().find_map(|(name, count)| {
        let now = *live.get(name.as_str())?;
        (now != u64::from(*count))
            .then(|| format!("nomad holds {name}={now} where {name}={count} was asked for"))
    })?;
    Some(format!(
        "{other}: it went back by itself, or somebody changed it; `terreau deploy` or `terreau scale` sets it"
    ))
}

fn owner(owner: &Owner) -> String {
    match owner {
        Owner::User(u) => u.to_string(),
        Owner::Group(g) => format!("group:{g}"),
    }
}
