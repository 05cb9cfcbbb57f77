//! What an instance uses now, as the client that runs it measures it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Nomad;
use super::allocs::gone_is_not_found;
use super::types::or_default;
use crate::engines::EngineError;
use crate::engines::http::segment;

/// CPU of a task.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CpuStats {
    /// Percent of one core: 200 are two cores.
    #[serde(deserialize_with = "or_default")]
    pub percent: f64,
}

/// Memory of a task, in bytes. Which of these a driver measures differs; the others are 0.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MemoryStats {
    /// Resident.
    #[serde(rename = "RSS", deserialize_with = "or_default")]
    pub rss: u64,
    /// As the cgroup counts it, caches included.
    #[serde(deserialize_with = "or_default")]
    pub usage: u64,
}

/// What a task uses.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResourceUsage {
    /// CPU.
    #[serde(rename = "CpuStats", deserialize_with = "or_default")]
    pub cpu: CpuStats,
    /// Memory.
    #[serde(rename = "MemoryStats", deserialize_with = "or_default")]
    pub memory: MemoryStats,
}

impl MemoryStats {
    /// What it holds and cannot be taken from it.
    pub fn used(&self) -> u64 {
        if self.rss > 0 { self.rss } else { self.usage }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct TaskUsage {
    #[serde(rename = "ResourceUsage", deserialize_with = "or_default")]
    usage: ResourceUsage,
}

impl Nomad {
    /// What each task of an instance uses. `NotFound` where it does not run any more; a task that just began may be
    /// missing.
    pub async fn stats(&self, allocation: &str) -> Result<BTreeMap<String, ResourceUsage>, EngineError> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Raw {
            #[serde(deserialize_with = "or_default")]
            tasks: BTreeMap<String, Option<TaskUsage>>,
        }
        let path = format!("/v1/client/allocation/{}/stats", segment(allocation));
        let call = self.read(format!("measure instance {allocation}"), &path).far();
        let found: Raw = gone_is_not_found(call.send_any().await?)?.json()?;
        Ok(found.tasks.into_iter().filter_map(|(name, t)| Some((name, t?.usage))).collect())
    }
}
