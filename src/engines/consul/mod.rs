//! Consul's HTTP API: KV, transactions, sessions, health, catalogue. Blocking queries included.
//!
//! Our own client, since rs-consul's KV destroys data (ADR 0001); only the list of nodes goes through it.
//! There is one method per effect and never a flag: no call can turn into a recursive one. Values of keys are
//! secrets as often as not, so no `Debug` here prints one. Facts were tried on 1.8.7 and stand in the contract
//! suite (`tests/it/contract`).

mod catalogue;
mod health;
mod kv;
mod session;
mod txn;

pub use catalogue::{AgentInfo, CatalogueNode};
pub use health::{Check, Instance};
pub use kv::{KvEntry, LARGEST_VALUE, checked_key};
pub use session::{SessionInfo, SessionSpec};
pub use txn::{ServiceRecord, TXN_BYTES, TXN_OPS, TxnOp};

use std::time::Duration;

use reqwest::Method;
use secrecy::SecretString;

use super::http::{Call, Credential, Http, HttpOptions};
use super::{Engine, EngineError, Fault, SharedGate};

/// A client of one Consul agent.
#[derive(Debug, Clone)]
pub struct Consul {
    http: Http,
    nodes: catalogue::NodeReader,
}

impl Consul {
    /// A client of the agent at `addr` (see [`Http::new`]; no sockets). Opens no connection.
    pub fn new(addr: &str, token: Option<SecretString>, options: &HttpOptions) -> Result<Self, EngineError> {
        if addr.starts_with("unix:") {
            let why = "Consul's API is spoken to over TCP only: give http://host:port";
            return Err(EngineError::new(
                Engine::Consul,
                Fault::Invalid,
                format!("use the address {addr}"),
                why,
            ));
        }
        let mut http = Http::new(Engine::Consul, addr, options)?;
        let nodes = catalogue::NodeReader::new(http.base(), token.as_ref(), options)?;
        if let Some(token) = token {
            http = http.with_token(Credential::Header("x-consul-token"), &token)?;
        }
        Ok(Self { http, nodes })
    }

    /// The same client, whose writes ask `gate` first.
    #[must_use]
    pub fn with_gate(mut self, gate: SharedGate) -> Self {
        self.http = self.http.with_gate(gate);
        self
    }

    /// The same client, whose calls wait behind nobody's: for the agent's session and its own few watches alone.
    #[must_use]
    pub fn aside(mut self) -> Self {
        self.http = self.http.aside();
        self
    }

    fn read(&self, doing: impl Into<String>, path: &str) -> Call<'_> {
        self.http.read(doing, path)
    }

    fn write(&self, method: Method, doing: impl Into<String>, path: &str) -> Call<'_> {
        self.http.write(method, doing, path)
    }

    /// A read that Consul holds back until its index passes `index` or `wait` is over.
    fn wait(&self, doing: impl Into<String>, path: &str, index: u64, wait: Duration) -> Call<'_> {
        let call = self.read(doing, path);
        if index == 0 {
            // Without an index Consul answers at once: there is nothing to wait for yet.
            call
        } else {
            call.query("index", index).query("wait", format!("{}ms", wait.as_millis())).patient(wait)
        }
    }
}

/// The index for the next blocking query. A server restored from a snapshot may go backwards: then the watch
/// starts again from 0, as Consul's documentation demands.
fn next_index(asked: u64, answered: Option<u64>) -> u64 {
    match answered {
        Some(index) if index >= asked => index.max(1),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_goes_backwards_starts_the_watch_again() {
        assert_eq!(next_index(7, Some(9)), 9);
        assert_eq!(next_index(7, Some(7)), 7);
        assert_eq!(next_index(7, Some(3)), 0);
        assert_eq!(next_index(7, None), 0);
        assert_eq!(next_index(0, Some(0)), 1);
    }
}
