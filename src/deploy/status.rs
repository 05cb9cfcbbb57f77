//! What an app does now: what its head says, and what Nomad shows of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Deployer, Error};
use crate::engines::nomad::{Allocation, JobView};
use crate::model::head::{AppState, Kind};
use crate::model::project::Owner;
use crate::model::wire::{AppCondition, AppStatus, ProcessStatus};
use crate::model::{Head, Placement};

impl Deployer {
    /// One app.
    pub async fn status(&self, app: &Placement) -> Result<AppStatus, Error> {
        let head = self.head(app).await?.value;
        self.status_of(&head).await
    }

    /// Every app whose head passes the filter; an app that cannot be looked at is `unknown`, and says why.
    pub async fn status_all(&self, may_see: impl Fn(&Head) -> bool) -> Result<Vec<AppStatus>, Error> {
        let heads = self.runner.store().heads().await?;
        let mut all = Vec::new();
        for head in heads.into_iter().map(|h| h.value).filter(|h| h.state != AppState::Deleted && may_see(h))
        {
            all.push(match self.status_of(&head).await {
                Ok(status) => status,
                Err(e) => AppStatus { why: Some(e.to_string()), ..self.blank(&head) },
            });
        }
        Ok(all)
    }

    fn blank(&self, head: &Head) -> AppStatus {
        let cluster = &self.runner.hands().cluster;
        AppStatus {
            app: head.app.to_string(),
            status: AppCondition::Unknown,
            why: None,
            urls: head.hosts().into_iter().map(|host| cluster.url_of(host)).collect(),
            release: head.release.as_ref().map(|r| r.number.0),
            released_at: None,
            owners: head.owners.iter().map(owner).collect(),
            processes: Vec::new(),
            operation: head.operation.as_ref().map(ToString::to_string),
            last_operation: head.last_operation.as_ref().map(|l| format!("{}: {}", l.verb, l.summary)),
        }
    }

    async fn status_of(&self, head: &Head) -> Result<AppStatus, Error> {
        let mut status = self.blank(head);
        // Garage being away must not hide what Nomad knows.
        match self.current(head).await {
            Ok(release) => status.released_at = release.map(|r| r.at),
            Err(e) => status.why = Some(e.to_string()),
        }
        if !head.owned.iter().any(|o| o.kind == Kind::Job) {
            let is_site = head.owned.iter().any(|o| o.kind == Kind::Site);
            status.status = match (head.state, is_site) {
                (AppState::Live, true) => AppCondition::Running,
                (AppState::New, _) => AppCondition::Starting,
                (AppState::Failed, _) => AppCondition::Failed,
                _ => AppCondition::Stopped,
            };
            return Ok(status);
        }
        let nomad = &self.runner.hands().nomad;
        let (namespace, id) = (head.app.namespace(), head.app.flat());
        let (job, allocations) =
            tokio::try_join!(nomad.job(namespace, &id), nomad.allocations(namespace, &id))?;
        let Some(job) = job else {
            status.status =
                if head.state == AppState::Failed { AppCondition::Failed } else { AppCondition::Stopped };
            return Ok(status);
        };
        let view = JobView::of(&job)?;
        let counts: BTreeMap<String, u64> = if view.is_stopped() {
            BTreeMap::new()
        } else {
            view.counts().into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
        };
        let passing = self.passing(&job).await?;
        status.processes = counts
            .iter()
            .map(|(name, wanted)| process(name, *wanted, &allocations, passing.get(name)))
            .collect();
        status.status = condition(head, view.is_stopped(), &status.processes, &allocations);
        Ok(status)
    }
}

impl Deployer {
    /// For each group that has services: the allocations whose every service passes now, node included. What Nomad
    /// says of health is of the time of the last rollout only, and is forgotten when it goes back.
    async fn passing(&self, job: &Value) -> Result<BTreeMap<String, BTreeSet<String>>, Error> {
        let listed =
            |v: &Value, name: &str| v.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut found = BTreeMap::new();
        for group in listed(job, "TaskGroups") {
            let tasks = listed(&group, "Tasks");
            let services = tasks.iter().chain([&group]).flat_map(|t| listed(t, "Services"));
            let names: BTreeSet<String> =
                services.filter_map(|s| s.get("Name").and_then(Value::as_str).map(str::to_owned)).collect();
            let Some(name) = group.get("Name").and_then(Value::as_str) else { continue };
            let mut whole: Option<BTreeSet<String>> = None;
            for service in &names {
                let instances = self.runner.hands().consul.health(service).await?;
                let here: BTreeSet<String> = instances
                    .iter()
                    .filter(|i| i.is_passing())
                    .filter_map(|i| allocation_of(&i.service_id))
                    .collect();
                whole = Some(whole.map_or(here.clone(), |w| w.intersection(&here).cloned().collect()));
            }
            if let Some(whole) = whole {
                found.insert(name.to_owned(), whole);
            }
        }
        Ok(found)
    }
}

/// The allocation in a service's id: `_nomad-task-<alloc>-<task>-<service>-<port>` (CLUSTER.md).
fn allocation_of(service_id: &str) -> Option<String> {
    service_id.strip_prefix("_nomad-task-").and_then(|rest| rest.get(..36)).map(str::to_owned)
}

fn owner(owner: &Owner) -> String {
    match owner {
        Owner::User(u) => u.to_string(),
        Owner::Group(g) => format!("group:{g}"),
    }
}

fn process(
    name: &str,
    wanted: u64,
    allocations: &[Allocation],
    passing: Option<&BTreeSet<String>>,
) -> ProcessStatus {
    let mine: Vec<&Allocation> = allocations.iter().filter(|a| a.task_group == name).collect();
    let live = || mine.iter().filter(|a| !a.is_terminal());
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let newest = mine.iter().max_by_key(|a| a.create_index);
    // The process's own task bears its name; what runs before it ends well every time.
    let ends = newest.and_then(|a| a.task_states.get(name)).into_iter().flat_map(|t| t.events.iter());
    let last = ends.filter(|e| e.kind == "Terminated").max_by_key(|e| e.time);
    ProcessStatus {
        name: name.to_owned(),
        wanted: u32::try_from(wanted).unwrap_or(u32::MAX),
        running: number(live().filter(|a| a.client_status == "running").count()),
        // Without a service there is nothing to ask: what runs is well.
        healthy: number(
            live()
                .filter(|a| a.client_status == "running" && passing.is_none_or(|p| p.contains(&a.id)))
                .count(),
        ),
        restarts: live().flat_map(|a| a.task_states.values()).map(|t| t.restarts).sum(),
        exit_code: last.map(|e| e.exit_code),
        oom_killed: last.is_some_and(crate::engines::nomad::TaskEvent::is_oom),
    }
}

fn condition(
    head: &Head,
    stopped: bool,
    processes: &[ProcessStatus],
    allocations: &[Allocation],
) -> AppCondition {
    if head.state == AppState::Failed {
        return AppCondition::Failed;
    }
    let running: u32 = processes.iter().map(|p| p.running).sum();
    let wanted: u32 = processes.iter().map(|p| p.wanted).sum();
    if stopped || wanted == 0 {
        let leaving = allocations.iter().any(|a| a.client_status == "running");
        return if leaving { AppCondition::Stopping } else { AppCondition::Stopped };
    }
    let healthy: u32 = processes.iter().map(|p| p.healthy).sum();
    match () {
        () if healthy >= wanted => AppCondition::Running,
        () if processes.iter().any(|p| p.restarts > 0 && p.healthy == 0) => AppCondition::Failed,
        () if running > 0 || head.operation.is_some() => AppCondition::Starting,
        () if allocations.iter().any(|a| a.client_status == "failed") => AppCondition::Failed,
        () => AppCondition::Starting,
    }
}
