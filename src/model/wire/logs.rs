//! Logs as lines: one JSON object a line.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A line that an instance wrote, or something to know about its log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = LogLine)]
pub struct LogLine<'a> {
    /// When (RFC 3339): as the line itself says at its beginning, else when it was read live; left out where nobody
    /// knows, because Nomad keeps no times.
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    pub at: Option<Cow<'a, str>>,
    /// The instance, for people: `web.1a2b3c4d`.
    #[serde(borrow)]
    pub instance: Cow<'a, str>,
    /// The allocation's id.
    #[serde(borrow)]
    pub alloc: Cow<'a, str>,
    /// The process.
    #[serde(borrow)]
    pub process: Cow<'a, str>,
    /// The task, where it is not named as the process.
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    pub task: Option<Cow<'a, str>>,
    /// `stdout` or `stderr`.
    #[serde(borrow)]
    pub stream: Cow<'a, str>,
    /// What was written, without its line break.
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    pub line: Option<Cow<'a, str>>,
    /// The same in base64, where it is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    pub bytes: Option<Cow<'a, str>>,
    /// No line break followed: a piece of a long line, or the last words.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// No line, but something to know: that some were lost, and why.
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    pub note: Option<Cow<'a, str>>,
}
