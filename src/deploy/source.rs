//! Where a release's content comes from: a request, or an older release. Pure.
//!
//! Must never take a value for what the descriptor does not ask people for.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::{DeployInput, Error};
use crate::descriptor;
use crate::model::artifact::Artifact;
use crate::model::names::EnvName;
use crate::model::origin::Origin;
use crate::model::project::{Project, SecretKind};
use crate::model::{Placement, Release, ReleaseNumber, SecretName, Sha256Hex};

/// Where a release's content comes from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) project: Project,
    pub(super) descriptor: String,
    pub(super) artifact: Option<Artifact>,
    pub(super) ticket: Option<String>,
    pub(super) token: Option<Sha256Hex>,
    pub(super) message: Option<String>,
    pub(super) origin: Option<Origin>,
    pub(super) given: BTreeMap<SecretName, SecretString>,
    /// For an older release again: the release, and the versions of its configuration.
    pub(super) again: Option<(ReleaseNumber, BTreeMap<SecretName, u64>)>,
    /// It is the release that ran: no rollback, and what is staged and who owns the app stay as they are.
    pub(super) as_it_ran: bool,
    /// What is set in the environment, where that is not what the head says: of an older release, or changed.
    pub(super) env: Option<BTreeMap<EnvName, u64>>,
    /// Values of the environment that come with this release.
    pub(super) env_given: Vec<(EnvName, u64, SecretString)>,
    /// Names that are set no more.
    pub(super) env_unset: Vec<(EnvName, u64)>,
}

impl Source {
    pub(super) fn from_input(app: &Placement, input: &DeployInput) -> Result<Self, Error> {
        let project = parse(app, &input.descriptor)?;
        if project.build.is_some() && input.artifact.is_none() {
            return Err(Error::Invalid(
                "the descriptor has a build, and no artifact came with the request".into(),
            ));
        }
        if let Some(artifact) = &input.artifact {
            super::uploads::check(&artifact.parts)?;
        }
        for name in input.secrets.keys() {
            let why = match project.secrets.iter().find(|s| s.name == *name).map(|s| &s.kind) {
                Some(SecretKind::User { .. }) => continue,
                Some(SecretKind::Generated { .. }) => "which is generated, not given",
                None => "which the descriptor does not declare",
            };
            return Err(Error::Invalid(format!("a value came for secret {name}, {why}")));
        }
        Ok(Self {
            project,
            descriptor: input.descriptor.clone(),
            artifact: input.artifact.clone(),
            ticket: input.ticket.clone(),
            token: input.token.clone(),
            message: input.message.clone(),
            origin: input.origin.clone(),
            given: input.secrets.clone(),
            again: None,
            as_it_ran: false,
            env: None,
            env_given: Vec::new(),
            env_unset: Vec::new(),
        })
    }

    /// An older release again: its content and its configuration.
    pub(super) fn from_release(
        app: &Placement,
        old: &Release,
        message: Option<String>,
    ) -> Result<Self, Error> {
        Ok(Self {
            again: Some((old.number, old.bindings.secret_versions.clone())),
            env: Some(old.bindings.env_versions.clone()),
            ..Self::same_as(app, old, message)?
        })
    }

    /// The release that ran, whose job is gone: its content and its configuration once more.
    pub(super) fn as_it_ran(app: &Placement, ran: &Release) -> Result<Self, Error> {
        Ok(Self { as_it_ran: true, ..Self::from_release(app, ran, None)? })
    }

    /// The content of a release, with whatever is configured now.
    pub(super) fn same_as(app: &Placement, old: &Release, message: Option<String>) -> Result<Self, Error> {
        Ok(Self {
            project: parse(app, &old.descriptor)?,
            descriptor: old.descriptor.clone(),
            artifact: old.bindings.artifact.clone(),
            ticket: None,
            token: None,
            message,
            origin: old.source.clone(),
            given: BTreeMap::new(),
            again: None,
            as_it_ran: false,
            env: None,
            env_given: Vec::new(),
            env_unset: Vec::new(),
        })
    }
}

fn parse(app: &Placement, text: &str) -> Result<Project, Error> {
    let project = descriptor::parse("terreau.hcl", text).map_err(Error::Descriptor)?;
    if project.name != app.project {
        return Err(Error::Invalid(format!(
            "the descriptor is of project {}, and the request names {}",
            project.name, app.project
        )));
    }
    Ok(project)
}
