//! The agent, its cluster, nodes, namespaces and access control.

use std::collections::BTreeMap;

use reqwest::Method;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::types::{Namespace, Node, or_default};
use super::{Nomad, judge};
use crate::engines::EngineError;
use crate::engines::http::segment;

/// What an agent says of itself, as far as we read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentInfo {
    /// "1.11.1".
    pub version: String,
    /// Its region.
    pub region: String,
    /// Its datacenter.
    pub datacenter: String,
    /// Its name.
    pub node_name: String,
    /// Access control is on.
    pub acl: bool,
    /// It serves.
    pub server: bool,
    /// It runs work.
    pub client: bool,
    /// Clusters of Consul that it is told of, by name, with their addresses.
    pub consuls: BTreeMap<String, String>,
}

/// A policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AclPolicy {
    /// Its name.
    pub name: String,
    /// In words.
    #[serde(deserialize_with = "or_default")]
    pub description: String,
    /// HCL.
    #[serde(deserialize_with = "or_default")]
    pub rules: String,
}

/// A token just made.
#[derive(Debug, Clone)]
pub struct AclToken {
    /// Its public name.
    pub accessor: String,
    /// The token itself.
    pub secret: SecretString,
}

impl AclToken {
    fn read(answer: &Value) -> Self {
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { accessor: text("AccessorID"), secret: text("SecretID").into() }
    }
}

impl Nomad {
    /// The agent's version, region and switches.
    pub async fn agent_self(&self) -> Result<AgentInfo, EngineError> {
        let answer: Value = self.read("ask the agent for itself", "/v1/agent/self").fetch().await?;
        let text = |at: &str| answer.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let flag = |at: &str| answer.pointer(at).and_then(Value::as_bool).unwrap_or(false);
        let consuls = answer.pointer("/config/Consuls").and_then(Value::as_array).into_iter().flatten();
        Ok(AgentInfo {
            version: text("/config/Version/Version"),
            region: text("/config/Region"),
            datacenter: text("/config/Datacenter"),
            node_name: text("/member/Name"),
            acl: flag("/config/ACL/Enabled"),
            server: flag("/config/Server/Enabled"),
            client: flag("/config/Client/Enabled"),
            consuls: consuls
                .filter_map(|c| {
                    Some((c.get("Name")?.as_str()?.to_owned(), c.get("Addr")?.as_str()?.to_owned()))
                })
                .collect(),
        })
    }

    /// The leader's address, `None` while there is none.
    pub async fn leader(&self) -> Result<Option<String>, EngineError> {
        let reply = self.read("ask for the leader", "/v1/status/leader").send_any().await?;
        if reply.status.as_u16() == 500 && reply.text().contains("No cluster leader") {
            return Ok(None);
        }
        let leader: String = reply.success()?.json()?;
        Ok(Some(leader).filter(|l| !l.is_empty()))
    }

    /// The regions known.
    pub async fn regions(&self) -> Result<Vec<String>, EngineError> {
        self.read("list regions", "/v1/regions").fetch().await
    }

    /// Client nodes, as lists give them (no meta).
    pub async fn nodes(&self) -> Result<Vec<Node>, EngineError> {
        Ok(self
            .read("list nodes", "/v1/nodes")
            .query("resources", "true")
            .fetch::<Option<_>>()
            .await?
            .unwrap_or_default())
    }

    /// One client node, whole.
    pub async fn node(&self, id: &str) -> Result<Option<Node>, EngineError> {
        self.read(format!("read node {id}"), &format!("/v1/node/{}", segment(id))).fetch_opt().await
    }

    /// Lets the scheduler use a node, or not.
    pub async fn set_eligibility(&self, id: &str, eligibility: Eligibility) -> Result<(), EngineError> {
        let word = match eligibility {
            Eligibility::Eligible => "eligible",
            Eligibility::Ineligible => "ineligible",
        };
        let call = self
            .write(
                Method::POST,
                format!("make node {id} {word}"),
                &format!("/v1/node/{}/eligibility", segment(id)),
            )
            .json(&json!({ "NodeID": id, "Eligibility": word }));
        judge(call.send_any().await?)?;
        Ok(())
    }

    /// Namespaces.
    pub async fn namespaces(&self) -> Result<Vec<Namespace>, EngineError> {
        Ok(self.read("list namespaces", "/v1/namespaces").fetch::<Option<_>>().await?.unwrap_or_default())
    }

    /// One namespace.
    pub async fn namespace(&self, name: &str) -> Result<Option<Namespace>, EngineError> {
        let path = format!("/v1/namespace/{}", segment(name));
        self.read(format!("read namespace {name}"), &path).fetch_opt().await
    }

    /// Makes a namespace or sets it to what is given.
    pub async fn put_namespace(&self, what: &Namespace) -> Result<(), EngineError> {
        let path = format!("/v1/namespace/{}", segment(&what.name));
        let call = self.write(Method::POST, format!("set namespace {}", what.name), &path).json(what);
        judge(call.send_any().await?)?;
        Ok(())
    }

    /// Deletes a namespace. `Invalid` or `Broken` while it holds jobs.
    pub async fn delete_namespace(&self, name: &str) -> Result<(), EngineError> {
        let path = format!("/v1/namespace/{}", segment(name));
        judge(self.write(Method::DELETE, format!("delete namespace {name}"), &path).send_any().await?)?;
        Ok(())
    }

    /// Collects what is over: dead jobs, evaluations, allocations.
    pub async fn collect_garbage(&self) -> Result<(), EngineError> {
        judge(self.write(Method::PUT, "collect garbage", "/v1/system/gc").send_any().await?)?;
        Ok(())
    }

    /// Makes the first token of a cluster whose access control was just switched on. Works once.
    pub async fn acl_bootstrap(&self) -> Result<AclToken, EngineError> {
        let call = self.write(Method::POST, "make the first token", "/v1/acl/bootstrap");
        Ok(AclToken::read(&judge(call.send_any().await?)?.json()?))
    }

    /// Makes a policy or sets it to what is given.
    pub async fn put_acl_policy(&self, what: &AclPolicy) -> Result<(), EngineError> {
        let path = format!("/v1/acl/policy/{}", segment(&what.name));
        let call = self.write(Method::POST, format!("set policy {}", what.name), &path).json(what);
        judge(call.send_any().await?)?;
        Ok(())
    }

    /// One policy.
    pub async fn acl_policy(&self, name: &str) -> Result<Option<AclPolicy>, EngineError> {
        let path = format!("/v1/acl/policy/{}", segment(name));
        self.read(format!("read policy {name}"), &path).fetch_opt().await
    }

    /// Makes a token that has these policies.
    pub async fn make_acl_token(&self, name: &str, policies: &[&str]) -> Result<AclToken, EngineError> {
        let body = json!({ "Name": name, "Type": "client", "Policies": policies });
        let call = self.write(Method::POST, format!("make token {name}"), "/v1/acl/token").json(&body);
        Ok(AclToken::read(&judge(call.send_any().await?)?.json()?))
    }

    /// Ends a token.
    pub async fn delete_acl_token(&self, accessor: &str) -> Result<(), EngineError> {
        let path = format!("/v1/acl/token/{}", segment(accessor));
        judge(self.write(Method::DELETE, format!("delete token {accessor}"), &path).send_any().await?)?;
        Ok(())
    }
}

/// Whether the scheduler may place work on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eligibility {
    /// It may.
    Eligible,
    /// It may not; what runs goes on.
    Ineligible,
}
