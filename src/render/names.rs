//! Names that a rendering makes of a project's and a placement's.

use std::collections::BTreeMap;

use super::RenderError;
use crate::model::bindings::ResolvedUse;
use crate::model::canonical::sha256_hex;
use crate::model::cluster::Cluster;
use crate::model::names::{FirstRouted, PartName, Placement, Uid};
use crate::model::project::{Port, Process, Project, Use, UseKind};

/// A DNS label, a bucket, a Nomad service: at most this many bytes.
const MAX_LABEL: usize = 63;

pub(super) fn check_len(what: &'static str, name: &str) -> Result<(), RenderError> {
    if name.len() > MAX_LABEL {
        return Err(RenderError::TooLong { what, name: name.to_owned(), max: MAX_LABEL });
    }
    Ok(())
}

/// The service of a process's main port: `<app>` for the first routed process, else `<app>-<process>`.
pub fn service_name(project: &Project, placement: &Placement, process: &Process) -> String {
    let first = project.first_routed().is_some_and(|p| p.name == process.name);
    placement.service(&process.name, if first { FirstRouted::Yes } else { FirstRouted::No })
}

/// The port that the process's own service stands for: that of its first route, else its first.
pub(super) fn main_port(process: &Process) -> Option<&Port> {
    let routed = process.routes.first().and_then(|r| process.ports.iter().find(|p| p.name == r.port));
    routed.or_else(|| process.ports.first())
}

/// The service of any port: `<app>-<process>-<port>` for those beside the main one.
pub(super) fn service_of_port(
    project: &Project,
    placement: &Placement,
    process: &Process,
    port: &Port,
) -> String {
    if main_port(process).is_some_and(|p| p.name == port.name) {
        service_name(project, placement, process)
    } else {
        format!("{}-{}-{}", placement.flat(), process.name, port.name)
    }
}

/// `cn=<app>,ou=services,ou=users,<base>`
pub fn ldap_dn(cluster: &Cluster, placement: &Placement) -> String {
    format!("cn={},ou=services,ou=users,{}", placement.flat(), cluster.ldap_base)
}

/// The cn of a service account's DN.
pub(super) fn cn_of(dn: &str) -> Option<&str> {
    dn.split(',').next()?.strip_prefix("cn=")
}

/// `<app>-<purpose>`: a bucket's global alias.
pub fn bucket_alias(placement: &Placement, purpose: &PartName) -> String {
    format!("{}-{purpose}", placement.flat())
}

/// A Garage key id chosen by us (`GK` and 24 hex digits), the same whenever it is asked for: a repeated creation
/// meets its own key. `release` is the number of the one that brings the key: a deleted id never comes back.
pub fn access_key_id(uid: &Uid, of: &PartName, release: u64) -> String {
    format!("GK{}", &sha256_hex(format!("{uid}/{of}/{release}")).as_str()[..24])
}

/// What each use of a project is on this cluster. The key id of each bucket comes from the caller: the one that the
/// app holds, or `access_key_id` for a new one.
pub fn resolve_uses(
    project: &Project,
    placement: &Placement,
    cluster: &Cluster,
    mut key_id: impl FnMut(&Use) -> String,
) -> BTreeMap<PartName, ResolvedUse> {
    let resolve = |u: &Use| {
        let resolved = match u.kind {
            UseKind::Ldap => ResolvedUse::Ldap { dn: ldap_dn(cluster, placement) },
            UseKind::Bucket { .. } => {
                ResolvedUse::Bucket { bucket: bucket_alias(placement, &u.name), access_key_id: key_id(u) }
            }
        };
        (u.name.clone(), resolved)
    };
    project.uses.iter().map(resolve).collect()
}
