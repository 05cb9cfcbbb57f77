//! Typed clients of the engines: Nomad, Consul, the directory, Garage. No decisions here.
//!
//! Only this room opens sockets to engines. A client never retries what may have had an effect: whether a
//! repeated call is harmless is known to the step that makes it (see `operation`).

pub mod consul;
pub mod directory;
pub mod garage;
pub mod http;
pub mod nomad;

use std::fmt;
use std::sync::Arc;

/// The systems that Terreau speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Places the work.
    Nomad,
    /// Knows where it is, and keeps secrets and our records.
    Consul,
    /// Knows the people (Bottin or any LDAPv3 server with its tree).
    Directory,
    /// Keeps the bytes.
    Garage,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Nomad => "nomad",
            Engine::Consul => "consul",
            Engine::Directory => "directory",
            Engine::Garage => "garage",
        })
    }
}

/// What went wrong, as far as a caller must tell cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not reached, or no answer in time. Whether a write had its effect is unknown.
    Away,
    /// Reached, but it said 5xx or something that is not its protocol (wrong JSON, a cut body).
    Broken,
    /// The engine refused our credentials or rights.
    Denied,
    /// The thing is not there.
    NotFound,
    /// The world moved: a guard (CAS, index, create-only) did not hold.
    Conflict,
    /// The engine understood the request and says that it is wrong.
    Invalid,
    /// Over a limit known beforehand; nothing was sent.
    TooLarge,
    /// Our own fence is closed (the session may be gone); nothing was sent.
    Fenced,
    /// So many of this agent's calls to it are under way that there was no place for this one; nothing was sent.
    Busy,
}

/// Which of the agent's credentials an engine is asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// Nomad's ACL token.
    NomadToken,
    /// Consul's ACL token.
    ConsulToken,
    /// The agent's account in the directory.
    DirectoryAccount,
    /// The token of Garage's admin API.
    GarageToken,
    /// The agent's own S3 key.
    GarageKey,
}

impl Credentials {
    /// The agent's setting that holds them: what an operator corrects where they are refused.
    pub fn setting(self) -> &'static str {
        match self {
            Self::NomadToken => "nomad.token_file",
            Self::ConsulToken => "consul.token_file",
            Self::DirectoryAccount => "directory.bind_dn and directory.password_file",
            Self::GarageToken => "garage.admin_token_file",
            Self::GarageKey => "garage.key_file",
        }
    }

    fn of(engine: Engine) -> Self {
        match engine {
            Engine::Nomad => Self::NomadToken,
            Engine::Consul => Self::ConsulToken,
            Engine::Directory => Self::DirectoryAccount,
            Engine::Garage => Self::GarageToken,
        }
    }
}

/// An engine's answer that was no success. Never holds a secret or a raw reply body over 400 bytes.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{engine}: {doing}: {message}{}", self.advice())]
pub struct EngineError {
    /// Which engine.
    pub engine: Engine,
    /// Which case.
    pub fault: Fault,
    /// What was being done, to what: "read key secrets/x/y".
    pub doing: String,
    /// What the engine (or the socket) said.
    pub message: String,
    /// Whose credentials it was asked with; `None` where they are not the agent's own.
    pub credentials: Option<Credentials>,
}

impl EngineError {
    /// Builds one.
    pub fn new(engine: Engine, fault: Fault, doing: impl Into<String>, message: impl Into<String>) -> Self {
        let credentials = Some(Credentials::of(engine));
        Self { engine, fault, doing: doing.into(), message: message.into(), credentials }
    }

    /// The same, of a call that was made with other credentials than the engine's usual ones.
    #[must_use]
    pub fn asked_with(mut self, credentials: Option<Credentials>) -> Self {
        self.credentials = credentials;
        self
    }

    /// The agent's setting to correct, where the engine refuses the agent itself.
    pub fn setting(&self) -> Option<&'static str> {
        self.credentials.filter(|_| self.fault == Fault::Denied).map(Credentials::setting)
    }

    /// The same error where a call before it may have had its effect: a refusal now does not say that it had none.
    #[must_use]
    pub fn after_effect(mut self) -> Self {
        if !self.is_passing() && self.fault != Fault::Fenced {
            self.message = format!("{}{}", self.message, self.advice());
            self.fault = Fault::Broken;
        }
        self
    }

    fn advice(&self) -> String {
        self.setting()
            .map_or_else(String::new, |s| format!("; the agent is refused: correct its setting {s}"))
    }

    /// True where the same read may well succeed in a moment.
    pub fn is_passing(&self) -> bool {
        matches!(self.fault, Fault::Away | Fault::Broken | Fault::Busy)
    }
}

/// Asked right before the bytes of every *write* leave. An operation hands the clients a gate that closes
/// when its session may be gone, so that a paused process that wakes does not go on writing (guarantee G3).
pub trait Gate: Send + Sync + fmt::Debug {
    /// `Err(why)` when nothing may be written any more.
    fn check(&self) -> Result<(), String>;
}

/// The gate that is always open: for reads, tests, and set-up outside of operations.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

impl Gate for Open {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A shared gate.
pub type SharedGate = Arc<dyn Gate>;
