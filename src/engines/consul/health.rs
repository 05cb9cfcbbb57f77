//! Where services are and whether they are well.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Consul, next_index};
use crate::engines::EngineError;
use crate::engines::http::{Reply, segment};

/// One check of a node or of a service on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its id.
    #[serde(rename = "CheckID")]
    pub id: String,
    /// Its name.
    #[serde(rename = "Name", default)]
    pub name: String,
    /// `passing`, `warning`, `critical`.
    #[serde(rename = "Status")]
    pub status: String,
    /// What it last said.
    #[serde(rename = "Output", default)]
    pub output: String,
    /// The service that it is about, "" for the node.
    #[serde(rename = "ServiceID", default)]
    pub service_id: String,
    /// That service's name, "" for the node.
    #[serde(rename = "ServiceName", default)]
    pub service: String,
    /// Its node.
    #[serde(rename = "Node", default)]
    pub node: String,
}

/// One instance of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// Node name.
    pub node: String,
    /// Node meta (`site`, `public_ipv4`, …).
    pub node_meta: BTreeMap<String, String>,
    /// Where it answers: the service's address, or the node's where it has none.
    pub address: String,
    /// The port there.
    pub port: u16,
    /// Unique on its node.
    pub service_id: String,
    /// Service name.
    pub service: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its meta.
    pub meta: BTreeMap<String, String>,
    /// Its checks and its node's.
    pub checks: Vec<Check>,
    /// Raft index of the record's last change: the guard of `ServiceCas`.
    pub modify_index: u64,
}

impl Instance {
    /// True where no check of it or of its node says otherwise.
    pub fn is_passing(&self) -> bool {
        self.checks.iter().all(|c| c.status == "passing")
    }
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Raw {
    node: RawNode,
    service: RawService,
    #[serde(default, deserialize_with = "or_default")]
    checks: Vec<Check>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawNode {
    node: String,
    #[serde(default)]
    address: String,
    #[serde(default, deserialize_with = "or_default")]
    meta: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawService {
    #[serde(rename = "ID")]
    id: String,
    service: String,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    meta: BTreeMap<String, String>,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    modify_index: u64,
}

impl From<Raw> for Instance {
    fn from(raw: Raw) -> Self {
        let Raw { node, service, checks } = raw;
        Instance {
            address: if service.address.is_empty() { node.address } else { service.address },
            node: node.node,
            node_meta: node.meta,
            port: service.port,
            service_id: service.id,
            service: service.service,
            tags: service.tags,
            meta: service.meta,
            checks,
            modify_index: service.modify_index,
        }
    }
}

fn instances(reply: &Reply) -> Result<Vec<Instance>, EngineError> {
    Ok(reply.json::<Vec<Raw>>()?.into_iter().map(Instance::from).collect())
}

impl Consul {
    /// Service name to all tags that its instances have.
    pub async fn services(&self) -> Result<BTreeMap<String, Vec<String>>, EngineError> {
        self.read("list services", "/v1/catalog/services").query("consistent", "").fetch().await
    }

    /// The same, once it changed past `index` or `wait` is over; with the index for the next call.
    pub async fn services_wait(
        &self,
        index: u64,
        wait: Duration,
    ) -> Result<(BTreeMap<String, Vec<String>>, u64), EngineError> {
        let reply = self.wait("watch services", "/v1/catalog/services", index, wait).send().await?;
        Ok((reply.json()?, next_index(index, reply.number("x-consul-index"))))
    }

    /// All instances of a service, whatever their checks say.
    pub async fn health(&self, service: &str) -> Result<Vec<Instance>, EngineError> {
        let path = format!("/v1/health/service/{}", segment(service));
        let call = self.read(format!("read the health of service {service}"), &path).query("consistent", "");
        instances(&call.send().await?)
    }

    /// The same, once it changed past `index` or `wait` is over; with the index for the next call.
    pub async fn health_wait(
        &self,
        service: &str,
        index: u64,
        wait: Duration,
    ) -> Result<(Vec<Instance>, u64), EngineError> {
        let path = format!("/v1/health/service/{}", segment(service));
        let doing = format!("watch the health of service {service}");
        let reply = self.wait(doing, &path, index, wait).send().await?;
        Ok((instances(&reply)?, next_index(index, reply.number("x-consul-index"))))
    }

    /// The critical checks of those services whose id has this in it. Nomad puts an allocation's id into the ids of
    /// the services that it registers: `_nomad-task-<allocation>-…`.
    pub async fn failing_checks(&self, within: &str) -> Result<Vec<Check>, EngineError> {
        let filter = format!("{within:?} in ServiceID");
        let call = self.read(format!("read the failing checks of {within}"), "/v1/health/state/critical");
        call.query("filter", &filter).fetch().await
    }

    /// Every check of the cluster as it is now, or those of services whose name has this in it, with their nodes'.
    pub async fn checks(&self, within: Option<&str>) -> Result<Vec<Check>, EngineError> {
        let filter = within.map(|w| format!("{w:?} in ServiceName or ServiceName == \"\""));
        let call = self.read("read checks", "/v1/health/state/any").query("consistent", "");
        call.query_opt("filter", filter).fetch().await
    }

    /// Every check of the cluster, once one changed past `index` or `wait` is over.
    pub async fn checks_wait(&self, index: u64, wait: Duration) -> Result<(Vec<Check>, u64), EngineError> {
        let reply = self.wait("watch all checks", "/v1/health/state/any", index, wait).send().await?;
        Ok((reply.json()?, next_index(index, reply.number("x-consul-index"))))
    }
}
