//! The catalogue's nodes, through rs-consul, and the agent itself.
//!
//! rs-consul is used for this one look-up, on a connector of ours (ADR 0001): its own knows neither our
//! authorities nor our client certificate, keeps no connection, and its time limit ends with the headers. Its
//! `Debug` prints the token, so it is never printed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use reqwest::Method;
use rs_consul::{Config, ConsulBuilder, ConsulError};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::Consul;
use crate::engines::http::{HttpOptions, fault_of, segment, shorten, tls_config};
use crate::engines::{Engine, EngineError, Fault};

/// A node of the catalogue, with or without an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogueNode {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its datacenter.
    pub datacenter: String,
    /// `site`, `public_ipv4`, `public_ipv6`, `cname_target`.
    pub meta: BTreeMap<String, String>,
}

/// What the agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentInfo {
    /// "1.8.7".
    pub version: String,
    /// Its datacenter.
    pub datacenter: String,
    /// Its node name.
    pub node: String,
    /// It serves.
    pub server: bool,
    /// Access control is on.
    pub acl: bool,
}

#[derive(Clone)]
pub(super) struct NodeReader {
    inner: Arc<rs_consul::Consul>,
    limit: Duration,
}

impl std::fmt::Debug for NodeReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeReader")
    }
}

impl NodeReader {
    pub(super) fn new(
        base: &str,
        token: Option<&SecretString>,
        options: &HttpOptions,
    ) -> Result<Self, EngineError> {
        let tls = if base.starts_with("https://") {
            tls_config(Engine::Consul, options)?
        } else {
            rustls::ClientConfig::builder()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth()
        };
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(1)
            .build::<_, BoxBody<_, _>>(connector);
        let config = Config {
            address: base.to_owned(),
            token: token.map(|t| t.expose_secret().to_owned()),
            ..Config::default()
        };
        let inner = Arc::new(ConsulBuilder::new(config).with_https_client(client).build());
        Ok(Self { inner, limit: options.timeout })
    }

    async fn nodes(&self) -> Result<Vec<CatalogueNode>, EngineError> {
        let wrong = |fault, message: String| {
            EngineError::new(Engine::Consul, fault, "list the catalogue's nodes", message)
        };
        let call = self.inner.get_nodes(rs_consul::GetNodesRequest::default(), None);
        let answer = tokio::time::timeout(self.limit, call)
            .await
            .map_err(|_| wrong(Fault::Away, format!("no answer within {:?}", self.limit)))?
            .map_err(|e| match e {
                ConsulError::UnexpectedResponseCode(status, body) => {
                    let text = shorten(&body.unwrap_or_default());
                    wrong(fault_of(status), format!("HTTP {status}: {text}"))
                }
                ConsulError::ResponseError(e) => wrong(Fault::Away, shorten(&e.to_string())),
                ConsulError::TimeoutExceeded(limit) => {
                    wrong(Fault::Away, format!("no answer within {limit:?}"))
                }
                ConsulError::RequestError(_) => {
                    wrong(Fault::Invalid, "the address or the token is malformed".into())
                }
                _ => wrong(Fault::Broken, "the answer is not what Consul would send, or was cut".into()),
            })?;
        let nodes = answer.response.into_iter().map(|node| CatalogueNode {
            name: node.node,
            address: node.address,
            datacenter: node.datacenter,
            meta: node.Meta.unwrap_or_default().into_iter().collect(),
        });
        Ok(nodes.collect())
    }
}

impl Consul {
    /// All nodes of the catalogue with their meta.
    pub async fn nodes(&self) -> Result<Vec<CatalogueNode>, EngineError> {
        let mut nodes = self.nodes.nodes().await?;
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(nodes)
    }

    /// One node of the catalogue with the raft index of its last change: the guard of `NodeDeleteCas`.
    pub async fn node_index(&self, name: &str) -> Result<Option<u64>, EngineError> {
        let path = format!("/v1/catalog/node/{}", segment(name));
        let call = self.read(format!("read node {name}"), &path).query("consistent", "");
        let found: Value = call.fetch().await?;
        Ok(found.pointer("/Node/ModifyIndex").and_then(Value::as_u64))
    }

    /// The agent's version and datacenter.
    pub async fn self_info(&self) -> Result<AgentInfo, EngineError> {
        let answer: Value = self.read("ask the agent for itself", "/v1/agent/self").fetch().await?;
        let text = |at: &str| answer.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(AgentInfo {
            version: text("/Config/Version"),
            datacenter: text("/Config/Datacenter"),
            node: text("/Config/NodeName"),
            server: answer.pointer("/Config/Server").and_then(Value::as_bool).unwrap_or(false),
            // Where it stands moved with Consul 1.9.
            acl: ["/DebugConfig/ACLsEnabled", "/DebugConfig/ACLResolverSettings/ACLsEnabled"]
                .iter()
                .any(|at| answer.pointer(at) == Some(&Value::Bool(true))),
        })
    }

    /// Registers a service (with checks) at the agent, which then watches it. For apps Nomad does this, never
    /// we; `definition` is Consul's own JSON.
    pub async fn agent_register(&self, definition: &Value) -> Result<(), EngineError> {
        let call = self.write(Method::PUT, "register a service at the agent", "/v1/agent/service/register");
        call.json(definition).send().await?;
        Ok(())
    }

    /// Takes a service away from the agent.
    pub async fn agent_deregister(&self, id: &str) -> Result<(), EngineError> {
        let path = format!("/v1/agent/service/deregister/{}", segment(id));
        self.write(Method::PUT, format!("take service {id} away from the agent"), &path).send().await?;
        Ok(())
    }
}
