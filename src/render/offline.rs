//! What `terreau render` uses where no cluster is asked: placeholders, each named, so that nobody takes them for real.

use super::names::resolve_uses;
use crate::model::artifact::{Artifact, ArtifactPart};
use crate::model::bindings::Bindings;
use crate::model::canonical::Sha256Hex;
use crate::model::cluster::Cluster;
use crate::model::names::{Placement, Uid};
use crate::model::project::{Project, Use};

/// Bindings made of placeholders, and one line for each that says what it stands for (the first comment of the
/// printed job).
pub fn placeholders(project: &Project, placement: &Placement, cluster: &Cluster) -> (Bindings, Vec<String>) {
    let mut notes = Vec::new();
    let zeros = |n: usize| "0".repeat(n);
    let uid = Uid::new(zeros(26)).unwrap_or_else(|_| unreachable!("26 digits make a uid"));
    if !project.is_site() {
        notes.push(
            "meta.terreau: 26 zeros stand for the app's identity, given at its first deploy".to_owned(),
        );
    }
    let artifact = project.build.as_ref().map(|_| {
        notes.push(
            "artifact: zeros stand for the app's capability and for the archive's SHA-256, known after a build"
                .to_owned(),
        );
        let sha256 = Sha256Hex::new(zeros(64)).unwrap_or_else(|_| unreachable!("64 digits make a hash"));
        Artifact { parts: vec![ArtifactPart { sha256, size: 0, ext: "tar.zst".to_owned(), entries: 0 }] }
    });
    let secrets = project.secrets.iter().map(|s| s.name.clone());
    let secret_versions: std::collections::BTreeMap<_, _> =
        secrets.chain(project.uses.iter().map(Use::secret_name)).map(|name| (name, 1)).collect();
    if !secret_versions.is_empty() {
        notes.push("secrets: version 1 stands for the current version of each".to_owned());
    }
    let uses = resolve_uses(project, placement, cluster, |u| {
        notes.push(format!("uses.{}.access_key_id: GK and 24 zeros stand for the key's id", u.name));
        format!("GK{}", zeros(24))
    });
    let volumes = || project.processes.iter().flat_map(|p| &p.volumes);
    let node = volumes().next().map(|_| {
        volumes().find_map(|v| v.node.clone()).unwrap_or_else(|| {
            notes.push("constraint: \"any-node\" stands for the node that will hold the volumes".to_owned());
            "any-node".to_owned()
        })
    });
    let bindings = Bindings {
        cluster: cluster.clone(),
        uid,
        capability: zeros(64),
        artifact,
        secret_versions,
        env_versions: std::collections::BTreeMap::new(),
        counts: std::collections::BTreeMap::new(),
        node,
        uses,
    };
    (bindings, notes)
}
