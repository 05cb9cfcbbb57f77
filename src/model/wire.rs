//! The bodies of the HTTP contract, used by both doors: what the API answers is what the CLI reads.
//!
//! Types only. A request refuses fields that it does not know; an answer may grow, so readers ignore what they do
//! not know. What is secret is [`Hidden`]: it crosses the wire and never a log.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::artifact::{Artifact, ArtifactPart};
use super::canonical::Sha256Hex;
use super::head::Outcome;

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
}

/// `GET /v1/apps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Apps {
    /// Those that the person may read, by name.
    pub apps: Vec<AppStatus>,
}

/// What an app is doing, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppCondition {
    /// The engine that knows it is away.
    Unknown,
    /// Placed or waiting to be placed, not healthy yet.
    Starting,
    /// As many healthy instances as wanted.
    Running,
    /// Asked to stop, instances are left.
    Stopping,
    /// Nothing runs, as asked.
    Stopped,
    /// Nothing runs until somebody asks for it.
    Asleep,
    /// It should run and does not: see the processes for the reason.
    Failed,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppStatus {
    /// `[tenant/]project[@environment]`.
    pub app: String,
    /// What it is doing.
    pub status: AppCondition,
    /// One sentence where the status needs one: the exit code, the failing check, the engine that is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Where people open it.
    pub urls: Vec<String>,
    /// The release that runs (or ran last).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// When that release was made (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<String>,
    /// Who may change it: `alice`, `group:devs`.
    pub owners: Vec<String>,
    /// Its processes.
    pub processes: Vec<ProcessStatus>,
    /// The open operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// How the last one ended, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_operation: Option<String>,
}

/// One process of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessStatus {
    /// Its name.
    pub name: String,
    /// Instances wanted.
    pub wanted: u32,
    /// Instances that run.
    pub running: u32,
    /// Instances whose checks pass.
    pub healthy: u32,
    /// Restarts of the instances that are there.
    pub restarts: u64,
    /// How the last instance that ended did so, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Whether it was killed for its memory.
    #[serde(default)]
    pub oom_killed: bool,
}

/// `POST /v1/apps/{app}/uploads`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadsRequest {
    /// What will be deployed.
    pub parts: Vec<ArtifactPart>,
}

/// What to upload, and where.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UploadsAnswer {
    /// 64 hex digits: the capability under which the parts lie. A first deploy passes it back.
    pub ticket: String,
    /// In the order asked.
    pub parts: Vec<PartUpload>,
}

/// One part.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PartUpload {
    /// Which part.
    #[schema(value_type = String)]
    pub sha256: Sha256Hex,
    /// True where it is there already: nothing is sent.
    pub present: bool,
    /// Where to put it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Multipart>,
}

/// A multipart upload that was begun in Garage.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Multipart {
    /// Its id.
    pub id: String,
    /// Bytes of each piece but the last.
    pub part_size: u64,
    /// One presigned PUT a piece, in order.
    pub urls: Vec<String>,
}

/// `POST /v1/apps/{app}/uploads/{sha256}/complete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteUpload {
    /// From [`UploadsAnswer`].
    pub ticket: String,
    /// From [`Multipart`].
    pub upload_id: String,
    /// The part's extension.
    pub ext: String,
    /// What Garage answered to each piece, in order.
    pub etags: Vec<String>,
}

/// `POST /v1/apps/{app}/plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// `terreau.hcl`, byte for byte.
    pub descriptor: String,
    /// The build's output, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// From [`UploadsAnswer`], for an app that does not exist yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// `POST /v1/apps/{app}/deploy`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// `terreau.hcl`, byte for byte.
    pub descriptor: String,
    /// The build's output, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// From [`UploadsAnswer`], for an app that does not exist yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The apply token of a plan that was reviewed: refused when the world has moved since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Values of `user` secrets that a person was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub secrets: BTreeMap<String, Hidden>,
}

/// 202: an operation began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// Follow it at `/v1/operations/{id}/events`.
    pub operation: String,
    /// The app.
    pub app: String,
}

/// 200: nothing was to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unchanged {
    /// Always true.
    pub unchanged: bool,
    /// The release that runs.
    pub release: u64,
}

/// `POST /v1/apps/{app}/rollback`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// To which release; by default the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// `GET /v1/apps/{app}/releases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Releases {
    /// Newest first.
    pub releases: Vec<ReleaseView>,
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseView {
    /// Counting from 1.
    pub number: u64,
    /// When it was accepted (RFC 3339, UTC).
    pub at: String,
    /// Who asked for it.
    pub actor: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The release that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<u64>,
    /// Whether it is the one that runs.
    pub running: bool,
}

/// `GET /v1/operations/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationView {
    /// Its id.
    pub id: String,
    /// Of which app.
    pub app: String,
    /// `deploy`, `rollback`, `delete`…
    pub verb: String,
    /// Who asked for it.
    pub actor: String,
    /// When it began (RFC 3339, UTC).
    pub at: String,
    /// Its steps, in order.
    pub steps: Vec<StepView>,
    /// How it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<OperationEnd>,
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// Counting from 1.
    pub n: u32,
    /// `secret`, `account`, `bucket`, `key`, `site`, `job`…
    pub kind: String,
    /// What it acts upon.
    pub target: String,
    /// `todo`, `begun`, `done`, `undone`.
    pub state: String,
}

/// The data of the event `end`, the last one of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationEnd {
    /// How it ended.
    #[schema(value_type = String)]
    pub outcome: Outcome,
    /// One line for people.
    pub summary: String,
    /// Where to open the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Why it failed: placement, exit code, failing check, last lines of its logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Stable codes: programs decide by them, never by the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// 401: no session, an ended one, or a wrong password.
    NotLoggedIn,
    /// 403: seen, but not allowed.
    NotAllowed,
    /// 404: not there, or not yours.
    NotFound,
    /// 409: a first deploy of a taken name.
    NameNotAvailable,
    /// 409: the world moved, or somebody else holds the lock.
    Conflict,
    /// 422: what was sent is wrong; every fault is listed.
    Invalid,
    /// 413: over a limit.
    TooLarge,
    /// 503: an engine is away; it is named.
    EngineAway,
    /// 500: our own failure.
    Internal,
}

impl ProblemCode {
    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::NotLoggedIn => 401,
            Self::NotAllowed => 403,
            Self::NotFound => 404,
            Self::NameNotAvailable | Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Invalid => 422,
            Self::Internal => 500,
            Self::EngineAway => 503,
        }
    }

    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotLoggedIn => "not_logged_in",
            Self::NotAllowed => "not_allowed",
            Self::NotFound => "not_found",
            Self::NameNotAvailable => "name_not_available",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
            Self::Internal => "internal",
            Self::EngineAway => "engine_away",
        }
    }

    /// A title for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::NotLoggedIn => "Not logged in",
            Self::NotAllowed => "Not allowed",
            Self::NotFound => "Not found",
            Self::NameNotAvailable => "Name not available",
            Self::Conflict => "Conflict",
            Self::TooLarge => "Too large",
            Self::Invalid => "Invalid",
            Self::Internal => "Internal error",
            Self::EngineAway => "An engine is away",
        }
    }
}

/// Every error answer (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:terreau:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's title.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable.
    pub code: ProblemCode,
    /// What happened, to what.
    pub detail: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Every fault of what was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldFault>,
    /// Who holds the lock, for a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The engine that is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Names this request in the agent's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

impl Problem {
    /// A problem with the code's own title, type and status.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:terreau:problem:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: detail.into(),
            hint: None,
            errors: Vec::new(),
            holder: None,
            engine: None,
            request: None,
        }
    }
}

/// One fault: of a field of the body, or of a place in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldFault {
    /// The JSON field, as `artifact.parts[0].size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Counting from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Counting from 1, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The line itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What was probably meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
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
