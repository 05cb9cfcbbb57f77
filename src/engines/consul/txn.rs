//! Transactions: all operations or none.
//!
//! A transaction is never split. Consul takes 64 operations and 512 KiB of JSON with the values in base64, so
//! 360 KiB of keys and values are refused here before anything is sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Consul;
use super::kv::{KvEntry, RawEntry, checked_key};
use crate::engines::{Engine, EngineError, Fault};

/// Operations that one transaction takes.
pub const TXN_OPS: usize = 64;
/// Bytes of keys and values that one transaction takes.
pub const TXN_BYTES: usize = 360 << 10;

/// One operation.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "key, value, index and session mean the same everywhere")]
pub enum TxnOp {
    /// Reads a key; the transaction fails where there is none.
    Get { key: String },
    /// Sets a key, whatever it was.
    Set { key: String, value: Vec<u8> },
    /// Makes a key; fails where there is one.
    Create { key: String, value: Vec<u8> },
    /// Sets a key last changed at `index`; fails otherwise.
    Cas { key: String, value: Vec<u8>, index: u64 },
    /// Deletes a key; fine where there is none.
    Delete { key: String },
    /// Deletes a key last changed at `index`; fails otherwise.
    DeleteCas { key: String, index: u64 },
    /// Fails unless the key was last changed at `index`.
    CheckIndex { key: String, index: u64 },
    /// Fails unless `session` holds the key.
    CheckSession { key: String, session: String },
    /// Fails where there is such a key.
    CheckNotExists { key: String },
    /// Takes a lock; fails where another session holds it.
    Lock { key: String, value: Vec<u8>, session: String },
    /// Gives a lock back and sets its value.
    Unlock { key: String, value: Vec<u8>, session: String },
    /// Makes a node of the catalogue (or sets it) that has no agent.
    NodeSet { node: String, address: String, meta: std::collections::BTreeMap<String, String> },
    /// Deletes a node last changed at `index`, with its services.
    NodeDeleteCas { node: String, index: u64 },
    /// Makes a service on a node; fails where there is one of this id.
    ServiceCreate { node: String, service: ServiceRecord },
    /// Changes a service last changed at `index`; fails otherwise.
    ServiceCas { node: String, service: ServiceRecord, index: u64 },
    /// Deletes a service last changed at `index`; fails otherwise.
    ServiceDeleteCas { node: String, id: String, service: String, index: u64 },
}

/// A service of the catalogue that no agent watches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceRecord {
    /// Unique on its node.
    #[serde(rename = "ID")]
    pub id: String,
    /// The name that it is found by.
    pub service: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its meta.
    pub meta: std::collections::BTreeMap<String, String>,
    /// Where it answers.
    pub address: String,
    /// The port there.
    pub port: u16,
}

impl std::fmt::Debug for TxnOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({} bytes)", self.verb(), self.name(), self.value().len())
    }
}

impl TxnOp {
    fn verb(&self) -> &'static str {
        match self {
            TxnOp::Get { .. } => "get",
            TxnOp::Set { .. } | TxnOp::NodeSet { .. } => "set",
            TxnOp::Create { .. }
            | TxnOp::Cas { .. }
            | TxnOp::ServiceCreate { .. }
            | TxnOp::ServiceCas { .. } => "cas",
            TxnOp::Delete { .. } => "delete",
            TxnOp::DeleteCas { .. } | TxnOp::NodeDeleteCas { .. } | TxnOp::ServiceDeleteCas { .. } => {
                "delete-cas"
            }
            TxnOp::CheckIndex { .. } => "check-index",
            TxnOp::CheckSession { .. } => "check-session",
            TxnOp::CheckNotExists { .. } => "check-not-exists",
            TxnOp::Lock { .. } => "lock",
            TxnOp::Unlock { .. } => "unlock",
        }
    }

    /// The key, node or service that it is about.
    fn name(&self) -> &str {
        match self {
            TxnOp::Get { key }
            | TxnOp::Set { key, .. }
            | TxnOp::Create { key, .. }
            | TxnOp::Cas { key, .. }
            | TxnOp::Delete { key }
            | TxnOp::DeleteCas { key, .. }
            | TxnOp::CheckIndex { key, .. }
            | TxnOp::CheckSession { key, .. }
            | TxnOp::CheckNotExists { key }
            | TxnOp::Lock { key, .. }
            | TxnOp::Unlock { key, .. } => key,
            TxnOp::NodeSet { node, .. } | TxnOp::NodeDeleteCas { node, .. } => node,
            TxnOp::ServiceCreate { service, .. } | TxnOp::ServiceCas { service, .. } => &service.id,
            TxnOp::ServiceDeleteCas { id, .. } => id,
        }
    }

    fn value(&self) -> &[u8] {
        match self {
            TxnOp::Set { value, .. }
            | TxnOp::Create { value, .. }
            | TxnOp::Cas { value, .. }
            | TxnOp::Lock { value, .. }
            | TxnOp::Unlock { value, .. } => value,
            _ => &[],
        }
    }

    /// True where it changes nothing.
    fn is_read(&self) -> bool {
        matches!(
            self,
            TxnOp::Get { .. }
                | TxnOp::CheckIndex { .. }
                | TxnOp::CheckSession { .. }
                | TxnOp::CheckNotExists { .. }
        )
    }

    /// True where Consul's yes holds the key's entry.
    fn is_answered(&self) -> bool {
        matches!(
            self,
            TxnOp::Get { .. }
                | TxnOp::Set { .. }
                | TxnOp::Create { .. }
                | TxnOp::Cas { .. }
                | TxnOp::CheckIndex { .. }
                | TxnOp::CheckSession { .. }
                | TxnOp::Lock { .. }
                | TxnOp::Unlock { .. }
        )
    }

    /// Bytes that count against the limit.
    pub fn size(&self) -> usize {
        let meta = |m: &std::collections::BTreeMap<String, String>| -> usize {
            m.iter().map(|(k, v)| k.len() + v.len()).sum()
        };
        self.name().len()
            + self.value().len()
            + match self {
                TxnOp::NodeSet { meta: m, address, .. } => meta(m) + address.len(),
                TxnOp::ServiceCreate { service, .. } | TxnOp::ServiceCas { service, .. } => {
                    meta(&service.meta) + service.tags.iter().map(String::len).sum::<usize>()
                }
                _ => 0,
            }
    }

    fn json(&self) -> Value {
        let verb = self.verb();
        match self {
            TxnOp::NodeSet { node, address, meta } => {
                json!({ "Node": { "Verb": verb, "Node": { "Node": node, "Address": address, "Meta": meta } } })
            }
            TxnOp::NodeDeleteCas { node, index } => {
                json!({ "Node": { "Verb": verb, "Node": { "Node": node, "ModifyIndex": index } } })
            }
            TxnOp::ServiceCreate { node, service } => service_json(verb, node, service, 0),
            TxnOp::ServiceCas { node, service, index } => service_json(verb, node, service, *index),
            TxnOp::ServiceDeleteCas { node, id, service, index } => {
                json!({ "Service": { "Verb": verb, "Node": node, "Service": { "ID": id, "Service": service, "ModifyIndex": index } } })
            }
            _ => {
                let mut kv = json!({ "Verb": verb, "Key": self.name() });
                if !self.is_read() {
                    kv["Value"] = STANDARD.encode(self.value()).into();
                }
                match self {
                    TxnOp::Create { .. } => kv["Index"] = 0.into(),
                    TxnOp::Cas { index, .. }
                    | TxnOp::DeleteCas { index, .. }
                    | TxnOp::CheckIndex { index, .. } => kv["Index"] = (*index).into(),
                    TxnOp::CheckSession { session, .. }
                    | TxnOp::Lock { session, .. }
                    | TxnOp::Unlock { session, .. } => kv["Session"] = session.as_str().into(),
                    _ => {}
                }
                json!({ "KV": kv })
            }
        }
    }

    fn check(&self) -> Result<(), EngineError> {
        match self {
            TxnOp::NodeSet { .. }
            | TxnOp::NodeDeleteCas { .. }
            | TxnOp::ServiceCreate { .. }
            | TxnOp::ServiceCas { .. }
            | TxnOp::ServiceDeleteCas { .. } => Ok(()),
            // Foreign keys may be read and watched over, not written.
            _ if self.is_read() => Ok(()),
            _ => checked_key(self.name()).map(|_| ()),
        }
    }
}

fn service_json(verb: &str, node: &str, service: &ServiceRecord, index: u64) -> Value {
    let mut record = json!(service);
    record["ModifyIndex"] = index.into();
    json!({ "Service": { "Verb": verb, "Node": node, "Service": record } })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    results: Option<Vec<Outcome>>,
    #[serde(default)]
    errors: Option<Vec<Failure>>,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default, rename = "KV")]
    kv: Option<RawEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    op_index: usize,
    what: String,
}

impl Consul {
    /// Carries out all of `ops` or none. Gives the entries that Consul answered with (reads with values,
    /// writes without). `Conflict` with Consul's words where one does not hold; `TooLarge` over 64 operations
    /// or 360 KiB, before anything is sent.
    pub async fn txn(&self, ops: &[TxnOp]) -> Result<Vec<KvEntry>, EngineError> {
        let doing = doing(ops);
        let refuse = |fault, why: String| Err(EngineError::new(Engine::Consul, fault, doing.clone(), why));
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        if ops.len() > TXN_OPS {
            return refuse(Fault::TooLarge, format!("a transaction takes {TXN_OPS} operations"));
        }
        let size: usize = ops.iter().map(TxnOp::size).sum();
        if size > TXN_BYTES {
            return refuse(Fault::TooLarge, format!("{size} bytes; a transaction takes {TXN_BYTES}"));
        }
        for op in ops {
            op.check()?;
        }
        let body: Vec<Value> = ops.iter().map(TxnOp::json).collect();
        let call = if ops.iter().all(TxnOp::is_read) {
            self.http.ask(Method::PUT, doing, "/v1/txn").query("consistent", "")
        } else {
            self.write(Method::PUT, doing, "/v1/txn")
        };
        let reply = call.json(&body).send_any().await?;
        if reply.status == StatusCode::CONFLICT {
            let answer: Answer = reply.json()?;
            let failures = answer.errors.unwrap_or_default();
            let words: Vec<String> = failures
                .iter()
                .map(|f| match ops.get(f.op_index) {
                    Some(op) => format!("{} {}: {}", op.verb(), op.name(), f.what),
                    None => f.what.clone(),
                })
                .collect();
            return Err(reply.fault(Fault::Conflict, crate::engines::http::shorten(&words.join("; "))));
        }
        let reply = reply.success()?;
        let answer: Answer = reply.json()?;
        let entries = answer.results.unwrap_or_default().into_iter().filter_map(|o| o.kv);
        let entries: Vec<KvEntry> = entries.map(|raw| raw.decode(&reply)).collect::<Result<_, _>>()?;
        // Who takes any 200 for a yes believes whoever answers at that address.
        match ops.iter().find(|op| op.is_answered() && entries.iter().all(|e| e.key != op.name())) {
            Some(op) => Err(reply.fault(Fault::Broken, format!("the answer says nothing of {}", op.name()))),
            None => Ok(entries),
        }
    }

    /// Carries out writes that need not be atomic together: as many transactions as it takes, in order. Stops
    /// at the first that fails; those before it stand.
    pub async fn batch(&self, ops: &[TxnOp]) -> Result<(), EngineError> {
        let mut rest = ops;
        while !rest.is_empty() {
            let mut size = 0;
            let fits = |op: &&TxnOp| {
                size += op.size();
                size <= TXN_BYTES
            };
            // One that is too large alone goes alone, and txn refuses it by name.
            let count = rest.iter().take(TXN_OPS).take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            self.txn(now).await?;
            rest = later;
        }
        Ok(())
    }
}

fn doing(ops: &[TxnOp]) -> String {
    match ops.iter().find(|op| !op.is_read()) {
        Some(op) => format!("carry out {} operations at once (first {} {})", ops.len(), op.verb(), op.name()),
        None => format!("read {} keys at once", ops.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::http::HttpOptions;

    /// Nothing listens there: whatever is refused was refused before anything was sent.
    fn nowhere() -> Consul {
        Consul::new("http://127.0.0.1:1", None, &HttpOptions::default()).unwrap()
    }

    fn set(n: usize, size: usize) -> TxnOp {
        TxnOp::Set { key: format!("k/{n}"), value: vec![0; size] }
    }

    #[tokio::test]
    async fn a_transaction_over_the_limits_is_refused_unsent() {
        let many: Vec<_> = (0..65).map(|n| set(n, 1)).collect();
        assert_eq!(nowhere().txn(&many).await.unwrap_err().fault, Fault::TooLarge);
        let large = [set(0, 200 << 10), set(1, 200 << 10)];
        assert_eq!(nowhere().txn(&large).await.unwrap_err().fault, Fault::TooLarge);
        let wrong = [TxnOp::Set { key: "A".into(), value: Vec::new() }];
        assert_eq!(nowhere().txn(&wrong).await.unwrap_err().fault, Fault::Invalid);
        assert_eq!(nowhere().txn(&[set(0, 1)]).await.unwrap_err().fault, Fault::Away);
    }

    #[test]
    fn an_operation_shows_its_size_and_not_its_value() {
        let op = TxnOp::Set { key: "k".into(), value: b"canary".to_vec() };
        assert_eq!(format!("{op:?}"), "set k (6 bytes)");
    }
}
