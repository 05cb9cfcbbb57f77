//! What was read so far, with the places that cross checks point at. A part whose value could not be read keeps its
//! name here, so that what refers to it is not reported as well.

use std::collections::BTreeMap;

use super::source::Span;
use crate::model::names::{EnvName, HostName, ProjectName};
use crate::model::project::{Build, File, Owner, Process, Secret, Use};
use crate::model::text::Text;

/// Something with a name.
pub(super) struct Named<T> {
    /// As written, right or wrong.
    pub(super) label: String,
    /// The block's first words.
    pub(super) at: Span,
    /// `None` where it could not be read.
    pub(super) value: Option<T>,
}

/// A number and its place.
pub(super) struct Fixed {
    pub(super) number: u16,
    pub(super) at: Span,
}

/// A volume, as far as the project must know.
pub(super) struct DraftVolume {
    /// The node that was asked for, and where.
    pub(super) node: Option<(String, Span)>,
}

/// A route, as far as other processes must know.
pub(super) struct DraftRoute {
    pub(super) host: String,
    pub(super) path: Option<String>,
    pub(super) at: Span,
}

/// A process.
pub(super) struct DraftProcess {
    pub(super) label: String,
    pub(super) at: Span,
    pub(super) ports: Vec<Named<Option<Fixed>>>,
    pub(super) volumes: Vec<Named<DraftVolume>>,
    pub(super) routes: Vec<DraftRoute>,
    /// Where an explicit `canary` above 0 stands.
    pub(super) canary: Option<Span>,
    /// How many run, and where that is said.
    pub(super) instances: (u32, Span),
    /// Where the command's first word stands, if it is a relative path.
    pub(super) relative_program: Option<Span>,
    /// Places of environment variables, for clashes with what the renderer adds.
    pub(super) env_at: Vec<(String, Span)>,
    pub(super) value: Option<Process>,
}

/// A file, and the processes that it names.
pub(super) struct DraftFile {
    pub(super) processes: Vec<(String, Span)>,
    pub(super) file: Option<File>,
}

/// A project.
pub(super) struct Draft {
    pub(super) name: Option<ProjectName>,
    pub(super) at: Span,
    pub(super) owners: Vec<Owner>,
    pub(super) build: Option<Named<Build>>,
    pub(super) site_routes: Vec<Named<HostName>>,
    pub(super) processes: Vec<DraftProcess>,
    pub(super) env: BTreeMap<EnvName, Text>,
    /// Where each variable of the project's `env` stands.
    pub(super) env_at: Vec<(String, Span)>,
    pub(super) secrets: Vec<Named<Secret>>,
    pub(super) files: Vec<Named<DraftFile>>,
    pub(super) uses: Vec<Named<Use>>,
}
