//! The job as Nomad's API takes it (`Job` of `POST /v1/jobs`, durations in nanoseconds).
//!
//! What is left out is left to Nomad's defaults, in the same places as in the HCL: both register as the same job.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::spec::{
    APP_DIR, Change, Check, Group, Job, PRIORITY, Port, Role, SPLAY, STOP_SIGNAL, Service, Task, Template,
};

pub(super) fn job(job: &Job) -> Value {
    json!({
        "ID": job.id,
        "Name": job.id,
        "Namespace": job.namespace,
        "Type": "service",
        "Priority": PRIORITY,
        "Datacenters": job.datacenters,
        "Meta": { "terreau": job.mark },
        "TaskGroups": job.groups.iter().map(group).collect::<Vec<_>>(),
    })
}

/// The same without what changes while an app lives: the counts.
pub(super) fn without_counts(job: &Value) -> Value {
    let mut job = job.clone();
    if let Some(groups) = job.get_mut("TaskGroups").and_then(Value::as_array_mut) {
        for group in groups.iter_mut().filter_map(Value::as_object_mut) {
            group.remove("Count");
        }
    }
    job
}

fn nanos(d: Duration) -> Value {
    // A descriptor's durations are far below the 292 years that fit.
    Value::from(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

fn group(g: &Group) -> Value {
    let mut out = Map::new();
    out.insert("Name".into(), json!(g.name));
    out.insert("Count".into(), json!(g.count));
    if let Some(node) = &g.node {
        out.insert(
            "Constraints".into(),
            json!([{ "LTarget": "${node.unique.name}", "RTarget": node, "Operand": "=" }]),
        );
    }
    out.insert(
        "Update".into(),
        json!({
            "MaxParallel": g.update.max_parallel,
            "Canary": g.update.canary,
            "MinHealthyTime": nanos(g.update.min_healthy_time),
            "HealthyDeadline": nanos(g.update.healthy_deadline),
            "ProgressDeadline": nanos(g.update.progress_deadline),
            "AutoRevert": g.update.auto_revert,
            "AutoPromote": g.update.auto_promote,
        }),
    );
    out.insert(
        "RestartPolicy".into(),
        json!({
            "Attempts": g.restart.attempts,
            "Interval": nanos(g.restart.interval),
            "Delay": nanos(g.restart.delay),
            "Mode": g.restart.mode,
        }),
    );
    if let Some(disk) = g.disk {
        out.insert("EphemeralDisk".into(), json!({ "SizeMB": disk }));
    }
    if !g.ports.is_empty() {
        let pick = |fixed: bool| {
            g.ports.iter().filter(|p| p.fixed.is_some() == fixed).map(port).collect::<Vec<Value>>()
        };
        let mut network = Map::new();
        for (key, fixed) in [("DynamicPorts", false), ("ReservedPorts", true)] {
            let ports = pick(fixed);
            if !ports.is_empty() {
                network.insert(key.into(), Value::Array(ports));
            }
        }
        out.insert("Networks".into(), json!([network]));
    }
    if !g.host_volumes.is_empty() {
        let volumes: Map<String, Value> = g
            .host_volumes
            .iter()
            .map(|v| (v.name.clone(), json!({ "Name": v.name, "Type": "host", "Source": v.source })))
            .collect();
        out.insert("Volumes".into(), Value::Object(volumes));
    }
    out.insert("Tasks".into(), g.tasks.iter().map(task).collect());
    Value::Object(out)
}

fn port(p: &Port) -> Value {
    match p.fixed {
        Some(n) => json!({ "Label": p.label, "Value": n }),
        None => json!({ "Label": p.label }),
    }
}

fn task(t: &Task) -> Value {
    let mut out = Map::new();
    out.insert("Name".into(), json!(t.name));
    out.insert("Driver".into(), json!(t.driver));
    out.insert("Config".into(), Value::Object(t.config.iter().cloned().collect()));
    if t.role == Role::Prestart {
        out.insert("Lifecycle".into(), json!({ "Hook": "prestart", "Sidecar": false }));
    } else {
        out.insert("KillSignal".into(), json!(STOP_SIGNAL));
    }
    if let Some(d) = t.kill_timeout {
        out.insert("KillTimeout".into(), nanos(d));
    }
    if let Some(d) = t.shutdown_delay {
        out.insert("ShutdownDelay".into(), nanos(d));
    }
    if !t.env.is_empty() {
        out.insert("Env".into(), t.env.iter().map(|(k, v)| (k.clone(), json!(v))).collect());
    }
    if !t.artifacts.is_empty() {
        let parts = t.artifacts.iter().map(|a| {
            json!({
                "GetterSource": a.source,
                "GetterOptions": { "checksum": a.checksum },
                "RelativeDest": APP_DIR,
            })
        });
        out.insert("Artifacts".into(), parts.collect());
    }
    if !t.templates.is_empty() {
        out.insert("Templates".into(), t.templates.iter().map(template).collect());
    }
    if !t.mounts.is_empty() {
        let mounts = t.mounts.iter().map(|m| json!({ "Volume": m.volume, "Destination": m.destination }));
        out.insert("VolumeMounts".into(), mounts.collect());
    }
    if !t.services.is_empty() {
        out.insert("Services".into(), t.services.iter().map(service).collect());
    }
    if let Some((files, size)) = t.logs {
        out.insert("LogConfig".into(), json!({ "MaxFiles": files, "MaxFileSizeMB": size }));
    }
    out.insert("Resources".into(), json!({ "CPU": t.cpu, "MemoryMB": t.memory }));
    Value::Object(out)
}

fn template(t: &Template) -> Value {
    let mut out = Map::new();
    out.insert("EmbeddedTmpl".into(), json!(t.data));
    out.insert("DestPath".into(), json!(t.destination));
    out.insert("Perms".into(), json!(t.perms));
    if t.env {
        out.insert("Envvars".into(), json!(true));
    }
    let mode = if t.change == Change::Restart { "restart" } else { "noop" };
    out.insert("ChangeMode".into(), json!(mode));
    // Nomad's HCL says so for every template.
    out.insert("Splay".into(), nanos(SPLAY));
    if let Some((left, right)) = &t.delimiters {
        out.insert("LeftDelim".into(), json!(left));
        out.insert("RightDelim".into(), json!(right));
    }
    Value::Object(out)
}

fn service(s: &Service) -> Value {
    let mut out = Map::new();
    out.insert("Name".into(), json!(s.name));
    out.insert("Provider".into(), json!("consul"));
    out.insert("PortLabel".into(), json!(s.port));
    out.insert("AddressMode".into(), json!("host"));
    if !s.tags.is_empty() {
        out.insert("Tags".into(), json!(s.tags));
    }
    if !s.checks.is_empty() {
        out.insert("Checks".into(), s.checks.iter().map(check).collect());
    }
    Value::Object(out)
}

fn check(c: &Check) -> Value {
    let mut out = Map::new();
    out.insert("Name".into(), json!(c.name));
    out.insert("Type".into(), json!(c.kind));
    if let Some(path) = &c.path {
        out.insert("Path".into(), json!(path));
    }
    out.insert("Interval".into(), nanos(c.interval));
    out.insert("Timeout".into(), nanos(c.timeout));
    out.insert("FailuresBeforeCritical".into(), json!(c.failures));
    out.insert(
        "CheckRestart".into(),
        json!({ "Limit": c.limit, "Grace": nanos(c.grace), "IgnoreWarnings": false }),
    );
    Value::Object(out)
}
