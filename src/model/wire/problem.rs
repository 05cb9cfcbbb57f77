//! Errors, as RFC 9457 has them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    /// 429: one person has too much open at once.
    TooMany,
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
            Self::TooMany => 429,
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
            Self::TooMany => "too_many",
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
            Self::TooMany => "Too many at once",
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
    /// The operation that holds it: ask again once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
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
            operation: None,
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
