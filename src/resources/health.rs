//! Whether instances are well, by Consul's checks: one read for one app, or one for all of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::engines::EngineError;
use crate::engines::consul::{Check, Consul};
use crate::engines::nomad::Allocation;
use crate::model::Placement;

/// What Consul's checks say of instances.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// For each allocation that has checks: whether all pass, those of its node included.
    passing: BTreeMap<String, bool>,
    /// Groups whose instances have checks, by their job.
    expected: BTreeSet<String>,
}

impl Health {
    /// From checks of services, and of nodes.
    pub fn of(checks: &[Check]) -> Self {
        let down: BTreeSet<&str> = checks
            .iter()
            .filter(|c| c.service_id.is_empty() && c.status != "passing")
            .map(|c| c.node.as_str())
            .collect();
        let mut passing = BTreeMap::new();
        for c in checks {
            let Some(allocation) = allocation_of(&c.service_id) else { continue };
            let well = c.status == "passing" && !down.contains(c.node.as_str());
            let all = passing.entry(allocation.to_owned()).or_insert(true);
            *all &= well;
        }
        Self { passing, expected: BTreeSet::new() }
    }

    /// With what a job says of its groups: an instance that should have checks is not well before Consul knows them.
    #[must_use]
    pub fn expecting(mut self, job: Option<&Value>) -> Self {
        let listed =
            |v: &Value, name: &str| v.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let groups = job.map(|j| listed(j, "TaskGroups")).unwrap_or_default();
        let has_checks = |group: &Value| {
            let tasks = listed(group, "Tasks");
            let mut services = tasks.iter().chain([group]).flat_map(|t| listed(t, "Services"));
            services.any(|s| !listed(&s, "Checks").is_empty())
        };
        let names = groups.iter().filter(|g| has_checks(g)).filter_map(|g| g.get("Name")?.as_str());
        self.expected = names.map(str::to_owned).collect();
        self
    }

    /// Whether an instance has checks in Consul, and whether they pass.
    pub fn checked(&self, allocation: &str) -> Option<bool> {
        self.passing.get(allocation).copied()
    }

    /// Whether an instance runs and is well. What has no check is well where its rollout found it so: then there is
    /// nothing else to ask, and before Consul knows its checks it is not called well too early.
    pub fn is_well(&self, a: &Allocation) -> bool {
        if a.client_status != "running" || a.desired_status != "run" {
            return false;
        }
        let rolled_out = a.deployment_status.as_ref().map(|d| d.healthy);
        let unchecked =
            || !self.expected.contains(&a.task_group) && matches!(rolled_out, None | Some(Some(true)));
        self.checked(&a.id).unwrap_or_else(unchecked)
    }
}

/// What Consul says of one app's instances.
pub async fn passing(consul: &Consul, app: &Placement) -> Result<Health, EngineError> {
    Ok(Health::of(&consul.checks(Some(&app.flat())).await?))
}

/// The allocation in a service's id: `_nomad-task-<alloc>-<task>-<service>-<port>` (CLUSTER.md).
fn allocation_of(service_id: &str) -> Option<&str> {
    service_id.strip_prefix("_nomad-task-").and_then(|rest| rest.get(..36))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::nomad::AllocDeploymentStatus;

    const A: &str = "11111111-1111-1111-1111-111111111111";

    fn check(service_id: &str, status: &str) -> Check {
        Check { service_id: service_id.into(), status: status.into(), node: "n".into(), ..Check::default() }
    }

    fn running(healthy: Option<bool>) -> Allocation {
        Allocation {
            id: A.into(),
            client_status: "running".into(),
            desired_status: "run".into(),
            deployment_status: Some(AllocDeploymentStatus { healthy, canary: false }),
            ..Allocation::default()
        }
    }

    #[test]
    fn an_instance_is_well_while_all_its_checks_and_its_nodes_pass() {
        let id = format!("_nomad-task-{A}-web-carnet-http");
        let well = |checks: &[Check]| Health::of(checks).is_well(&running(Some(true)));
        assert!(well(&[check(&id, "passing"), check("", "passing")]));
        assert!(!well(&[check(&id, "passing"), check(&id, "warning")]));
        assert!(!well(&[check(&id, "passing"), check("", "critical")]));
        assert!(well(&[check("other", "critical")]), "it has no check: its rollout says it");
        assert!(!Health::of(&[]).is_well(&running(None)));
        assert!(!Health::of(&[]).is_well(&running(Some(false))));
    }
}
