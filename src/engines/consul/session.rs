//! Sessions: what holds locks.
//!
//! Caveats: a session of TTL 10 s that is not renewed dies after about 20 s, never before 10; after that its
//! locks stay shut for the lock-delay (1 s for ours, 15 s by default).

use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Consul;
use crate::engines::http::segment;
use crate::engines::{EngineError, Fault};

/// A session to be made. The defaults are the agent's (MECHANISM, "Who acts").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SessionSpec {
    /// For people.
    pub name: String,
    /// At least "10s".
    #[serde(rename = "TTL")]
    pub ttl: String,
    /// How long its locks stay shut after it died.
    pub lock_delay: String,
    /// `release` (keys stay) or `delete` (keys go).
    pub behavior: String,
    /// Node checks whose failure ends it. Empty: none, so that a flapping link does not kill it.
    pub node_checks: Vec<String>,
}

impl Default for SessionSpec {
    fn default() -> Self {
        Self {
            name: "terreau".into(),
            ttl: "10s".into(),
            lock_delay: "1s".into(),
            behavior: "release".into(),
            node_checks: Vec::new(),
        }
    }
}

/// A session that lives.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SessionInfo {
    /// Its UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// The node whose agent it was made at.
    #[serde(default)]
    pub node: String,
    /// "10s".
    #[serde(default, rename = "TTL")]
    pub ttl: String,
    /// Nanoseconds.
    #[serde(default)]
    pub lock_delay: u64,
    /// `release` or `delete`.
    #[serde(default)]
    pub behavior: String,
    /// Node checks that it hangs on.
    #[serde(default)]
    pub node_checks: Option<Vec<String>>,
    /// Raft index of its making.
    #[serde(default)]
    pub create_index: u64,
}

#[derive(Deserialize)]
struct Made {
    #[serde(rename = "ID")]
    id: String,
}

impl Consul {
    /// Makes a session; gives its id.
    pub async fn session_create(&self, spec: &SessionSpec) -> Result<String, EngineError> {
        let call = self.write(Method::PUT, format!("make session {}", spec.name), "/v1/session/create");
        Ok(call.json(spec).fetch::<Made>().await?.id)
    }

    /// Renews a session. False: it is gone. The gate is not asked: renewing is what opens it.
    pub async fn session_renew(&self, id: &str) -> Result<bool, EngineError> {
        let path = format!("/v1/session/renew/{}", segment(id));
        let reply = self.http.ask(Method::PUT, format!("renew session {id}"), &path).send_any().await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let reply = reply.success()?;
        // The fence opens by this answer: it must be Consul's, and name the session.
        if reply.json::<Vec<SessionInfo>>()?.iter().any(|s| s.id == id) {
            return Ok(true);
        }
        Err(reply.fault(Fault::Broken, "the answer names another session"))
    }

    /// Ends a session. Fine where it is gone. Its locks stay shut for the lock-delay, as after a death: release
    /// them first (`kv_release`) where another shall have them at once. The gate is not asked: a process whose
    /// fence is closed must still be able to let go.
    pub async fn session_destroy(&self, id: &str) -> Result<(), EngineError> {
        let path = format!("/v1/session/destroy/{}", segment(id));
        self.http.ask(Method::PUT, format!("end session {id}"), &path).fetch::<bool>().await?;
        Ok(())
    }

    /// One session, `None` where it is gone.
    pub async fn session_info(&self, id: &str) -> Result<Option<SessionInfo>, EngineError> {
        let path = format!("/v1/session/info/{}", segment(id));
        let call = self.read(format!("read session {id}"), &path).query("consistent", "");
        let found: Option<Vec<SessionInfo>> = call.fetch().await?;
        Ok(found.unwrap_or_default().into_iter().next())
    }

    /// All sessions that live.
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, EngineError> {
        let call = self.read("list sessions", "/v1/session/list").query("consistent", "");
        Ok(call.fetch::<Option<_>>().await?.unwrap_or_default())
    }

    /// The leader's address, `None` while there is none.
    pub async fn leader(&self) -> Result<Option<String>, EngineError> {
        let leader: Value = self.read("ask for the leader", "/v1/status/leader").fetch().await?;
        Ok(leader.as_str().filter(|l| !l.is_empty()).map(str::to_owned))
    }
}
