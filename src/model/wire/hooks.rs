//! Bodies about hooks: who is told of what happens to an app.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Hidden;

/// What a hook may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HookEvent {
    /// A change has come through: a deploy, a rollback, a configuration, canaries that went on.
    Deploy,
    /// A change has not come through.
    Failure,
    /// A process ends again and again.
    CrashLoop,
    /// It runs again.
    Recovery,
    /// The app is deleted: the last that is told of it.
    Deletion,
}

impl HookEvent {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Deploy, Self::Failure, Self::CrashLoop, Self::Recovery, Self::Deletion];

    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Failure => "failure",
            Self::CrashLoop => "crash-loop",
            Self::Recovery => "recovery",
            Self::Deletion => "deletion",
        }
    }

    /// As in what is sent: `app.deploy`, `app.crash_loop`.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Deploy => "app.deploy",
            Self::Failure => "app.failure",
            Self::CrashLoop => "app.crash_loop",
            Self::Recovery => "app.recovery",
            Self::Deletion => "app.deletion",
        }
    }
}

impl fmt::Display for HookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for HookEvent {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|e| e.as_str() == text).ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|e| e.as_str()).collect();
            format!("there are {}", all.join(", "))
        })
    }
}

/// `POST /v1/apps/{app}/hooks`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HookRequest {
    /// Where to: `http://` or `https://`, without user or password.
    pub url: String,
    /// Of what: `deploy`, `failure`, `crash-loop`, `recovery`, `deletion`. All of them where nothing is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
    /// What it is signed with: `whsec_` and 24 to 64 bytes in base64. Made by the server where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub secret: Option<Hidden>,
}

/// A hook that was just made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HookAnswer {
    /// Its id.
    pub id: String,
    /// What it is signed with, where the server made it. Shown once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub secret: Option<Hidden>,
}

/// What came of a delivery that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryResult {
    /// It was answered with 2xx.
    Delivered,
    /// It was not, and is tried again.
    Failed,
    /// It was not, and is tried no more.
    GivenUp,
}

/// The last try of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryView {
    /// `webhook-id` of what was sent.
    pub id: String,
    /// `app.deploy`, `app.failure`, `app.crash_loop`, `app.recovery`, `app.deletion`.
    pub kind: String,
    /// When it was tried (RFC 3339, UTC).
    pub at: String,
    /// What came of it.
    pub result: DeliveryResult,
    /// The HTTP status of the answer, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it did not arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookView {
    /// Its id.
    pub id: String,
    /// Where to.
    pub url: String,
    /// Of what.
    pub on: BTreeSet<HookEvent>,
    /// Who made it.
    pub by: String,
    /// When (RFC 3339, UTC).
    pub created_at: String,
    /// The last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<DeliveryView>,
    /// How many deliveries wait.
    pub pending: u64,
    /// How often the first of them was tried.
    pub tries: u32,
    /// When it is tried next (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<String>,
    /// How many were given up, or dropped because too many waited.
    pub lost: u64,
}

/// `GET /v1/apps/{app}/hooks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hooks {
    /// Which app.
    pub app: String,
    /// Oldest first.
    pub hooks: Vec<HookView>,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookTested {
    /// `webhook-id` of what was sent.
    pub id: String,
    /// Whether it was answered with 2xx.
    pub delivered: bool,
    /// The HTTP status of the answer, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it did not arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}
