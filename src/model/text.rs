//! Text with references: what a member may write where a value is wanted.
//!
//! A member's text is never template source; it is literal pieces and checked references, and the renderer writes
//! the template calls itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{PartName, ProcessName, SecretName};

/// A value made of literal pieces and references, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text(pub Vec<Piece>);

/// One piece of a [`Text`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// Text as it is.
    Literal(String),
    /// A value that only a rendering or the running task knows.
    Ref(Reference),
}

/// What can be referred to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// `secret.<name>`
    Secret(SecretName),
    /// `uses.<name>.<field>`
    Use {
        /// The use's name.
        name: PartName,
        /// One of the kind's fields.
        field: String,
    },
    /// `service.<name>`: `host:port` of another service in the catalogue, followed while the task runs.
    Service(String),
    /// `meta.site`: the site of the node that runs the task.
    Site,
    /// `port.<name>`: the port number that the process was given.
    Port(PartName),
    /// `volume.<name>`: the directory of a volume as the process sees it.
    Volume(PartName),
    /// `file.<name>`: the path of a `file` as the process sees it.
    File(String),
    /// `process.<name>.host`: the first routed host of a process (used in configuration that needs its own URL).
    Host(ProcessName),
}

impl Text {
    /// Literal text.
    pub fn literal(text: impl Into<String>) -> Self {
        Self(vec![Piece::Literal(text.into())])
    }

    /// The references, in order.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.0.iter().filter_map(|p| match p {
            Piece::Ref(r) => Some(r),
            Piece::Literal(_) => None,
        })
    }

    /// The whole text where it holds no reference.
    pub fn as_literal(&self) -> Option<String> {
        self.0
            .iter()
            .map(|p| match p {
                Piece::Literal(s) => Some(s.as_str()),
                Piece::Ref(_) => None,
            })
            .collect()
    }

    /// True where the value holds something secret (a secret, or a secret field of a use).
    pub fn is_secret(&self) -> bool {
        self.references().any(Reference::is_secret)
    }
}

impl Reference {
    /// True where the value must not stand in a job specification.
    pub fn is_secret(&self) -> bool {
        match self {
            Self::Secret(_) => true,
            Self::Use { field, .. } => matches!(field.as_str(), "password" | "secret_access_key"),
            _ => false,
        }
    }
}

impl fmt::Display for Reference {
    /// As written in a descriptor.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(n) => write!(f, "secret.{n}"),
            Self::Use { name, field } => write!(f, "uses.{name}.{field}"),
            Self::Service(n) => write!(f, "service.{n}"),
            Self::Site => f.write_str("meta.site"),
            Self::Port(n) => write!(f, "port.{n}"),
            Self::Volume(n) => write!(f, "volume.{n}"),
            Self::File(n) => write!(f, "file.{n}"),
            Self::Host(n) => write!(f, "process.{n}.host"),
        }
    }
}
