//! What a reference means to one process of one app: where its value will come from.

use super::RenderError;
use super::atom::{Atom, Live, Part, merged};
use crate::model::bindings::{Bindings, ResolvedUse};
use crate::model::names::{EnvName, PartName, Placement};
use crate::model::project::{Process, Project, UseKind, Volume};
use crate::model::text::{Piece, Reference, Text};

/// How a driver shows a task its files and volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DriverKind {
    /// On the node's own file system: no mounts.
    RawExec,
    /// In a chroot: Nomad's host volumes.
    Exec,
    /// In a container: binds.
    Docker,
    /// Handed on as it is written.
    Other,
}

impl DriverKind {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "raw_exec" => Self::RawExec,
            "exec" | "exec2" => Self::Exec,
            "docker" | "podman" => Self::Docker,
            _ => Self::Other,
        }
    }
}

/// One process of one app.
pub(super) struct Scope<'a> {
    pub project: &'a Project,
    pub placement: &'a Placement,
    pub bindings: &'a Bindings,
    pub process: &'a Process,
    /// The driver's name.
    pub driver: &'a str,
    pub kind: DriverKind,
}

impl<'a> Scope<'a> {
    pub(super) fn new(
        project: &'a Project,
        placement: &'a Placement,
        bindings: &'a Bindings,
        process: &'a Process,
    ) -> Self {
        let driver = process.driver.as_ref().map_or(bindings.cluster.driver_archive.as_str(), |d| &d.name);
        Self { project, placement, bindings, process, driver, kind: DriverKind::of(driver) }
    }

    /// The pieces of a value.
    pub(super) fn atoms(&self, text: &Text) -> Result<Vec<Atom>, RenderError> {
        let mut atoms = Vec::with_capacity(text.0.len());
        for piece in &text.0 {
            match piece {
                Piece::Literal(t) => atoms.push(Atom::Text(t.clone())),
                Piece::Ref(reference) => self.reference(reference, &mut atoms)?,
            }
        }
        Ok(merged(atoms))
    }

    fn reference(&self, reference: &Reference, out: &mut Vec<Atom>) -> Result<(), RenderError> {
        let unknown = || RenderError::UnknownReference {
            reference: reference.to_string(),
            process: self.process.name.to_string(),
        };
        match reference {
            Reference::Secret(name) => {
                if !self.project.secrets.iter().any(|s| s.name == *name) {
                    return Err(unknown());
                }
                out.push(Atom::Key(super::secret_key(self.placement, self.bindings, name)?));
            }
            Reference::Use { name, field } => {
                let a_use = self.project.uses.iter().find(|u| u.name == *name).ok_or_else(unknown)?;
                if !a_use.kind.fields().contains(&field.as_str()) {
                    return Err(unknown());
                }
                if reference.is_secret() {
                    let secret = a_use.secret_name();
                    out.push(Atom::Key(super::secret_key(self.placement, self.bindings, &secret)?));
                } else {
                    let atoms = self.use_field(&a_use.kind, name, field);
                    out.extend(atoms.ok_or_else(|| RenderError::UnresolvedUse { name: name.to_string() })?);
                }
            }
            Reference::Service(name) => {
                let ok = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
                if !ok || name.is_empty() {
                    return Err(unknown());
                }
                out.push(Atom::Service(name.clone(), Part::Address));
            }
            Reference::Site => out.push(Atom::Live(Live::Site)),
            Reference::Port(name) => {
                let port = self.process.ports.iter().find(|p| p.name == *name).ok_or_else(unknown)?;
                out.push(Atom::LivePort(port.label()));
            }
            Reference::Volume(name) => {
                let volume = self.process.volumes.iter().find(|v| v.name == *name).ok_or_else(unknown)?;
                out.push(Atom::Text(self.volume_path(volume)));
            }
            Reference::File(name) => {
                let file = self.project.files.iter().find(|f| f.name == *name).ok_or_else(unknown)?;
                if !file.processes.is_empty() && !file.processes.contains(&self.process.name) {
                    return Err(unknown());
                }
                let dir = if file.content.is_secret() { Live::SecretsDir } else { Live::TaskDir };
                out.push(Atom::Live(dir));
                out.push(Atom::Text(format!("/{name}")));
            }
            Reference::Host(name) => {
                let process = self.project.processes.iter().find(|p| p.name == *name);
                let route = process.and_then(|p| p.routes.first()).ok_or_else(unknown)?;
                out.push(Atom::Text(route.host.to_string()));
            }
        }
        Ok(())
    }

    /// A field of a use that is no secret. Addresses follow the catalogue: what an app uses may move.
    fn use_field(&self, kind: &UseKind, name: &PartName, field: &str) -> Option<Vec<Atom>> {
        let cluster = &self.bindings.cluster;
        let text = |t: &str| Some(vec![Atom::Text(t.to_owned())]);
        let follow = |service: &str, part| Atom::Service(service.to_owned(), part);
        match (kind, self.bindings.uses.get(name)?) {
            (UseKind::Ldap, ResolvedUse::Ldap { dn }) => {
                let service = &cluster.ldap_service;
                match field {
                    "url" => Some(vec![Atom::Text("ldap://".to_owned()), follow(service, Part::Address)]),
                    "host" => Some(vec![follow(service, Part::Host)]),
                    "port" => Some(vec![follow(service, Part::Port)]),
                    "base" => text(&cluster.ldap_base),
                    "dn" => text(dn),
                    _ => None,
                }
            }
            (UseKind::Bucket { .. }, ResolvedUse::Bucket { bucket, access_key_id }) => match field {
                "endpoint" => {
                    Some(vec![Atom::Text("http://".to_owned()), follow(&cluster.s3_service, Part::Address)])
                }
                "region" => text(&cluster.s3_region),
                "bucket" => text(bucket),
                "access_key_id" => text(access_key_id),
                _ => None,
            },
            _ => None,
        }
    }

    /// Where the process sees a volume.
    pub(super) fn volume_path(&self, volume: &Volume) -> String {
        match self.kind {
            DriverKind::RawExec => self.volume_on_node(volume),
            _ => volume.path.clone(),
        }
    }

    /// Where a volume lies on the node: `<root>/<app>/<name>`.
    pub(super) fn volume_on_node(&self, volume: &Volume) -> String {
        let root = self.bindings.cluster.volumes_root.trim_end_matches('/');
        format!("{root}/{}/{}", self.placement.flat(), volume.name)
    }

    /// The process's environment as the descriptor says it: its own values win over the project's.
    pub(super) fn env(&self) -> std::collections::BTreeMap<&'a EnvName, &'a Text> {
        self.project.env.iter().chain(&self.process.env).collect()
    }
}
