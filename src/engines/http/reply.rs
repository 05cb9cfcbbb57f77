//! An answer, and what its status stands for.

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;

use crate::engines::{Engine, EngineError, Fault};

/// Bytes of a reply body that may stand in a message.
pub(super) const SHOWN: usize = 400;

/// An answer read whole.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) engine: Engine,
    pub(super) doing: String,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// Itself when 2xx, else the error that the status stands for.
    pub fn success(self) -> Result<Self, EngineError> {
        if self.status.is_success() { Ok(self) } else { Err(self.refusal()) }
    }

    /// The body as JSON; `Broken` when it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, EngineError> {
        serde_json::from_slice(&self.body).map_err(|e| {
            // A parser's message may quote a value; its place is enough.
            let what = match e.classify() {
                serde_json::error::Category::Data => "an unexpected shape",
                serde_json::error::Category::Eof => "JSON that ends too early",
                _ => "no JSON",
            };
            let why = format!("the answer is {what} (line {}, column {})", e.line(), e.column());
            self.fault(Fault::Broken, why)
        })
    }

    /// A header's number (`x-consul-index`, `x-nomad-index`).
    pub fn number(&self, header: &str) -> Option<u64> {
        self.headers.get(header)?.to_str().ok()?.parse().ok()
    }

    /// The body's beginning, fit for a message.
    pub fn text(&self) -> String {
        shorten(&String::from_utf8_lossy(&self.body))
    }

    /// An error of this call.
    pub fn fault(&self, fault: Fault, message: impl Into<String>) -> EngineError {
        EngineError::new(self.engine, fault, self.doing.clone(), message)
    }

    /// The error that a status other than 2xx stands for.
    pub fn refusal(&self) -> EngineError {
        let text = self.text();
        let message = if text.is_empty() {
            format!("HTTP {}", self.status)
        } else {
            format!("HTTP {}: {text}", self.status)
        };
        self.fault(fault_of(self.status), message)
    }
}

/// What a status means where the engine's own words say nothing better.
pub(in crate::engines) fn fault_of(status: StatusCode) -> Fault {
    match status.as_u16() {
        401 | 403 => Fault::Denied,
        404 | 410 => Fault::NotFound,
        409 | 412 => Fault::Conflict,
        413 => Fault::TooLarge,
        // "Too many connections" passes by itself.
        408 | 429 => Fault::Broken,
        400..=499 => Fault::Invalid,
        _ => Fault::Broken,
    }
}

/// Cuts a text to 400 bytes, at a character's border.
pub fn shorten(text: &str) -> String {
    let text = text.trim();
    if text.len() <= SHOWN {
        return text.to_owned();
    }
    let mut end = SHOWN;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
