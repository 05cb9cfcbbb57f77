//! A project at a placement to a job: one group for each process, and DESIGN's defaults.

use std::time::Duration;

use super::RenderError;
use super::catalogue::services;
use super::scope::{DriverKind, Scope};
use super::spec::{Group, HostVolume, Job, Port, Restart, Task, Update};
use super::task;
use crate::model::bindings::Bindings;
use crate::model::names::Placement;
use crate::model::project::{Process, Project, Promote, RestartMode};

pub(super) fn job(project: &Project, placement: &Placement, bindings: &Bindings) -> Result<Job, RenderError> {
    let mut groups = Vec::with_capacity(project.processes.len());
    for process in &project.processes {
        groups.push(group(&Scope::new(project, placement, bindings, process))?);
    }
    let mut seen: Vec<&str> = Vec::new();
    for service in groups.iter().flat_map(|g| &g.tasks).flat_map(|t| &t.services) {
        if seen.contains(&service.name.as_str()) {
            return Err(RenderError::Collision { what: "service", name: service.name.clone() });
        }
        seen.push(&service.name);
    }
    Ok(Job {
        id: placement.flat(),
        namespace: placement.namespace().to_owned(),
        datacenters: bindings.cluster.sites.clone(),
        mark: bindings.uid.to_string(),
        groups,
    })
}

fn group(scope: &Scope<'_>) -> Result<Group, RenderError> {
    let process = scope.process;
    let node = match process.volumes.as_slice() {
        [] => None,
        volumes => {
            let node = scope.bindings.node.clone().or_else(|| volumes.iter().find_map(|v| v.node.clone()));
            Some(node.ok_or_else(|| RenderError::NoNode { process: process.name.to_string() })?)
        }
    };
    let host_volumes = if scope.kind == DriverKind::Exec {
        let volume = |v: &crate::model::project::Volume| HostVolume {
            name: v.name.to_string(),
            source: task::host_volume(scope, v),
        };
        process.volumes.iter().map(volume).collect()
    } else {
        Vec::new()
    };
    let mut tasks: Vec<Task> = Vec::with_capacity(2);
    tasks.extend(task::make_volumes(scope));
    let mut main = task::main(scope)?;
    main.services = services(scope)?;
    tasks.push(main);
    Ok(Group {
        name: process.name.to_string(),
        count: scope.bindings.counts.get(&process.name).copied().unwrap_or(process.instances),
        node,
        update: update(process),
        restart: restart(process),
        disk: disk(&tasks),
        ports: process.ports.iter().map(|p| Port { label: p.label(), fixed: p.fixed }).collect(),
        host_volumes,
        tasks,
    })
}

/// Lossless where two instances can stand side by side; with a static port or a volume the old one stops first.
fn update(process: &Process) -> Update {
    let side_by_side = process.volumes.is_empty() && process.ports.iter().all(|p| p.fixed.is_none());
    let said = process.update.clone().unwrap_or_default();
    let canary = said.canary.unwrap_or(u32::from(side_by_side));
    let healthy_deadline = said.healthy_deadline.unwrap_or(Duration::from_mins(5));
    Update {
        max_parallel: said.max_parallel.unwrap_or(1),
        canary,
        min_healthy_time: said.min_healthy_time.unwrap_or(Duration::from_secs(1)),
        healthy_deadline,
        // Nomad wants it greater; an instance that is placed anew gets its time again.
        progress_deadline: (healthy_deadline * 2).max(Duration::from_mins(10)),
        auto_revert: said.auto_revert.unwrap_or(true),
        auto_promote: canary > 0 && said.promote != Some(Promote::Manual),
    }
}

/// Nomad refuses a group whose logs could fill its disk (300 MiB, where nothing is said; logs 100 MiB a task).
fn disk(tasks: &[Task]) -> Option<u32> {
    let logs: u32 =
        tasks.iter().map(|t| t.logs.map_or(100, |(files, size)| files.saturating_mul(size))).sum();
    (logs >= 300).then(|| logs.saturating_add(300))
}

/// As on clusters as they are (CLUSTER.md, "Jobs").
fn restart(process: &Process) -> Restart {
    match &process.restart {
        Some(r) => Restart {
            attempts: r.attempts,
            interval: r.interval,
            delay: r.delay,
            mode: match r.mode {
                RestartMode::Delay => "delay",
                RestartMode::Fail => "fail",
            },
        },
        None => Restart {
            attempts: 10,
            interval: Duration::from_mins(5),
            delay: Duration::from_secs(15),
            mode: "delay",
        },
    }
}
