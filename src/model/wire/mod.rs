//! The bodies of the HTTP contract, used by both doors: what the API answers is what the CLI reads.
//!
//! Types only. A request refuses fields that it does not know; an answer may grow, so readers ignore what they do
//! not know. What is secret is [`Hidden`]: it crosses the wire and never a log.

mod apps;
mod audit;
mod changes;
mod config;
mod doctor;
mod drift;
mod graph;
mod history;
mod hooks;
mod logs;
mod look;
mod loops;
mod operations;
mod people;
mod problem;
mod run;
mod tunnel;
mod uploads;

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

pub use apps::*;
pub use audit::*;
pub use changes::*;
pub use config::*;
pub use doctor::*;
pub use drift::*;
pub use graph::*;
pub use history::*;
pub use hooks::*;
pub use logs::*;
pub use look::*;
pub use loops::*;
pub use operations::*;
pub use people::*;
pub use problem::*;
pub use run::*;
pub use tunnel::*;
pub use uploads::*;

/// A secret inside a body: written out on the wire, shown nowhere else.
#[derive(Clone)]
pub struct Hidden(pub SecretString);

impl Hidden {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(SecretString::from(secret.into()))
    }
    /// The secret itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}
impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}
impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.expose())
    }
}
impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Self::new)
    }
}

/// `POST /v1/login`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The login in the directory.
    pub user: String,
    /// Its password.
    #[schema(value_type = String, format = Password)]
    pub password: Hidden,
}

/// A new session.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LoginAnswer {
    /// `<id>.<secret>`: goes into `Authorization: Bearer …`. Shown once.
    #[schema(value_type = String)]
    pub token: Hidden,
    /// Who logged in.
    pub user: String,
    /// When the session ends (RFC 3339, UTC).
    pub expires_at: String,
}

/// `GET /v1/whoami`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// The login.
    pub user: String,
    /// The groups it is in, by cn.
    pub groups: Vec<String>,
    /// Whether it is in the admins' group.
    pub admin: bool,
    /// The agent that answered, as `terreau <version>`.
    pub server: String,
    /// The cluster's name.
    pub cluster: String,
    /// When the session ends (RFC 3339, UTC).
    pub expires_at: String,
    /// What the token that is used is for, in words; none: it is no token, but a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// `GET /readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// True when every engine answers.
    pub ready: bool,
    /// Each engine by name: `ok`, or what is wrong with it.
    pub engines: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_crosses_the_wire_and_no_debug_text() {
        let request: LoginRequest = serde_json::from_str(r#"{"user":"a","password":"canary"}"#).unwrap();
        assert!(!format!("{request:?}").contains("canary"));
        assert!(serde_json::to_string(&request).unwrap().contains("canary"));
    }

    #[test]
    fn a_problem_says_its_code_the_same_way_everywhere() {
        for code in [ProblemCode::NameNotAvailable, ProblemCode::EngineAway, ProblemCode::Internal] {
            let json = serde_json::to_value(Problem::new(code, "x")).unwrap();
            assert_eq!(json["code"], code.as_str());
            assert_eq!(json["type"], format!("urn:terreau:problem:{}", code.as_str()));
        }
    }
}
