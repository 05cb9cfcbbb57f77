//! What an app's instances use, and the limit that is enforced on each.

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::{Deployer, Error, is_missing};
use crate::engines::nomad::Allocation;
use crate::model::Placement;
use crate::model::wire::InstanceStats;

/// Calls at once: Nomad allows 100 connections from one address, for everything.
const AT_ONCE: usize = 8;
/// Drivers that enforce no memory limit.
const UNLIMITED: [&str; 2] = ["raw_exec", "mock_driver"];

impl Deployer {
    /// What each running instance uses now, oldest first.
    pub async fn stats(&self, app: &Placement) -> Result<Vec<InstanceStats>, Error> {
        self.head(app).await?;
        let nomad = &self.runner.hands().nomad;
        let mut running = nomad.allocations(app.namespace(), &app.flat()).await?;
        running.retain(|a| a.client_status == "running");
        running.sort_by_key(|a| a.create_index);
        let measured: Vec<Option<InstanceStats>> = stream::iter(running)
            .map(|stub| async move {
                // One that ends while it is looked at is left out.
                let usage = match nomad.stats(&stub.id).await {
                    Ok(usage) => usage,
                    Err(e) if is_missing(&e) => return Ok(None),
                    Err(e) => return Err(e),
                };
                let Some(whole) = nomad.allocation(&stub.id).await? else { return Ok(None) };
                Ok(Some(InstanceStats {
                    id: stub.id.clone(),
                    process: stub.task_group.clone(),
                    node: stub.node_name.clone(),
                    cpu_percent: (!usage.is_empty()).then(|| usage.values().map(|u| u.cpu.percent).sum()),
                    memory: (!usage.is_empty()).then(|| usage.values().map(|u| u.memory.used()).sum()),
                    memory_reserved: reserved(&whole),
                    memory_limit: limit(&whole),
                }))
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(measured.into_iter().flatten().collect())
    }
}

/// The tasks that live as long as the instance: what prepares it has ended.
fn tasks(a: &Allocation) -> Vec<&Value> {
    let groups = a.job.as_ref().and_then(|j| j.get("TaskGroups")?.as_array());
    let group =
        groups.into_iter().flatten().find(|g| g.get("Name").and_then(Value::as_str) == Some(&a.task_group));
    let tasks = group.and_then(|g| g.get("Tasks")?.as_array());
    tasks.into_iter().flatten().filter(|t| t.get("Lifecycle").is_none_or(Value::is_null)).collect()
}

fn megabytes(a: &Allocation, task: &Value, which: &str) -> u64 {
    let Some(name) = task.get("Name").and_then(Value::as_str) else { return 0 };
    let found = a
        .allocated_resources
        .as_ref()
        .and_then(|r| r.get("Tasks")?.get(name)?.get("Memory")?.get(which)?.as_u64());
    found.unwrap_or(0)
}

fn reserved(a: &Allocation) -> u64 {
    tasks(a).iter().map(|t| megabytes(a, t, "MemoryMB") << 20).sum()
}

/// The sum of what the kernel enforces; `None` where one of its tasks has no limit.
fn limit(a: &Allocation) -> Option<u64> {
    let of = |t: &&Value| {
        let driver = t.get("Driver").and_then(Value::as_str).unwrap_or_default();
        let most = megabytes(a, t, "MemoryMaxMB").max(megabytes(a, t, "MemoryMB"));
        (!UNLIMITED.contains(&driver) && most > 0).then_some(most << 20)
    };
    let all = tasks(a);
    if all.is_empty() { None } else { all.iter().map(of).sum() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pt_66_the_limit_is_the_one_that_is_enforced() {
        let a = |driver: &str, max: u64| Allocation {
            task_group: "web".into(),
            job: Some(json!({"TaskGroups": [{"Name": "web", "Tasks": [
                {"Name": "web", "Driver": driver},
                {"Name": "prepare", "Driver": "raw_exec", "Lifecycle": {"Hook": "prestart"}}]}]})),
            allocated_resources: Some(json!({"Tasks": {
                "web": {"Memory": {"MemoryMB": 64, "MemoryMaxMB": max}}, "prepare": {"Memory": {"MemoryMB": 10}}}})),
            ..Allocation::default()
        };
        assert_eq!((reserved(&a("exec", 0)), limit(&a("exec", 0))), (64 << 20, Some(64 << 20)));
        assert_eq!(limit(&a("docker", 128)), Some(128 << 20));
        assert_eq!(limit(&a("raw_exec", 0)), None);
    }
}
