//! Puts the comparisons together.

use std::collections::{BTreeMap, BTreeSet};

use super::document::Plan;
use super::steps::{Found, JobObjects};
use super::{names, steps};
use crate::model::canonical::{canonical_json, hash_of};
use crate::model::desired::{Desired, Name, Space};
use crate::model::head::{Kind, Owned, ReleaseRef};
use crate::model::project::Owner;
use crate::model::{
    Bindings, Head, Placement, ProcessName, ReleaseNumber, SecretName, Sha256Hex, sha256_hex,
};
use crate::resources::Observed;
use crate::resources::observed::DryRun;
use crate::store::records::{After, Alphabet, DoomedThing, StepSpec};

/// What a deploy's plan is made of.
#[derive(Debug)]
pub struct Input<'a> {
    /// On which app.
    pub app: &'a Placement,
    /// Its head, where it has one.
    pub head: Option<&'a Head>,
    /// What the descriptor was rendered with.
    pub bindings: &'a Bindings,
    /// What it wants.
    pub desired: &'a Desired,
    /// What is there.
    pub observed: &'a Observed,
    /// What Nomad's scheduler would do, where the job changes.
    pub dry_run: Option<&'a DryRun>,
    /// Secrets whose values a person gave with this very request.
    pub given: &'a BTreeSet<SecretName>,
    /// How many instances the descriptor gives each process.
    pub processes: BTreeMap<ProcessName, u32>,
    /// The app's owners after it.
    pub owners: Vec<Owner>,
    /// The release that it makes.
    pub number: ReleaseNumber,
    /// Hash of everything that the desired state follows from: descriptor, artifact, secret versions, settings. Ids
    /// that a first deploy makes up are not in it, so that a reviewed plan of a new app can be applied.
    pub source: Sha256Hex,
}

/// Plans a deploy or a rollback.
pub fn deploy(input: &Input<'_>) -> Plan {
    let Input { app, head, bindings, desired, observed, .. } = *input;
    let uid = &bindings.uid;
    let (new_names, mut obstacles) = names::judge(observed, app, uid);
    let is_new = |space: Space, name: &str| new_names.iter().any(|n| n.space == space && n.name == name);
    let version = |name: &SecretName| bindings.secret_versions.get(name).copied().unwrap_or(1);

    let mut parts: Vec<Found> = Vec::new();
    for want in &desired.secrets {
        let is_key = desired.buckets.iter().any(|b| b.secret == want.name);
        let alphabet = if is_key { Alphabet::Hex } else { Alphabet::Alphanumeric };
        let given = input.given.contains(&want.name);
        parts.push(steps::secret(want, version(&want.name), given, alphabet, (observed, head)));
    }
    for want in &desired.accounts {
        parts.push(steps::account(want, version(&want.password), observed));
    }
    for want in &desired.buckets {
        let new = is_new(Space::Bucket, &want.alias);
        parts.push(steps::bucket(want, version(&want.secret), uid, observed, new));
    }
    if let Some(want) = &desired.site {
        let new = want.hosts.first().is_some_and(|h| is_new(Space::Host, h.as_str()));
        parts.push(steps::site(want, bindings, head, observed, new));
    }
    if let Some(want) = &desired.job {
        let objects =
            JobObjects { json: sha256_hex(canonical_json(&want.json)), hcl: sha256_hex(want.hcl.as_bytes()) };
        parts.push(steps::job(want, &objects, observed, input.dry_run));
    }

    let mut all = Found::default();
    for part in parts {
        all.changes.extend(part.changes);
        all.steps.extend(part.steps);
        all.obstacles.extend(part.obstacles);
        all.owned.extend(part.owned);
        all.notes.extend(part.notes);
    }
    obstacles.extend(all.obstacles);
    all.notes.extend(names::without_dns(&new_names, &bindings.cluster));

    // What the app owns and no longer wants: after the new release runs without it.
    let mut doomed = Vec::new();
    for thing in head.map(|h| h.owned.as_slice()).unwrap_or_default() {
        if all.owned.iter().any(|o| o.kind == thing.kind && o.id == thing.id) {
            continue;
        }
        match head.and_then(|h| steps::removal(thing, app, h)) {
            Some((change, step)) => {
                all.changes.push(change);
                all.steps.extend(step);
                doomed.push(DoomedThing::new(thing.kind, &thing.id, names_of(thing, app)));
            }
            // Data stays, and stays owned.
            None => all.owned.push(thing.clone()),
        }
    }
    if all.steps.iter().any(|s| matches!(s, StepSpec::SitePut { .. }))
        && let Some(site) = all.owned.iter().find(|o| o.kind == Kind::Site)
    {
        doomed.push(DoomedThing::new(Kind::Site, &site.id, vec![]));
    }

    let kept: BTreeSet<Name> = doomed.iter().flat_map(|d| d.names.iter().cloned()).collect();
    let mut names_after: Vec<Name> = desired.names.clone();
    let bucket_names = all
        .owned
        .iter()
        .filter(|o| o.kind == Kind::Bucket)
        .map(|o| Name { space: Space::Bucket, name: o.id.clone() });
    for name in bucket_names {
        if !names_after.contains(&name) {
            names_after.push(name);
        }
    }
    // Hosts and ports that are no longer wanted are free as soon as the release is done.
    names_after.retain(|n| !kept.contains(n));
    names_after.sort();
    names_after.dedup();

    let spec_hash = desired.job.as_ref().map(|j| j.spec_hash.clone());
    let token = hash_of(&(observed.semantic_hash(), &input.source, app));
    let secrets: BTreeMap<SecretName, u64> =
        desired.secrets.iter().map(|s| (s.name.clone(), version(&s.name))).collect();
    Plan {
        v: 1,
        app: app.clone(),
        release: Some(input.number),
        changes: all.changes,
        obstacles,
        notes: all.notes,
        token,
        steps: all.steps,
        new_names,
        after: After {
            release: None,
            spec_hash,
            owned: all.owned,
            names: names_after,
            secrets,
            env: bindings.env_versions.clone(),
            owners: input.owners.clone(),
            node: bindings.node.clone(),
            fronts: desired.fronts.clone(),
            processes: input.processes.clone(),
            counts: bindings.counts.clone(),
            doomed,
        },
    }
}

/// The flat names that go with an owned thing.
fn names_of(thing: &Owned, app: &Placement) -> Vec<Name> {
    match thing.kind {
        Kind::Account => vec![Name { space: Space::Ldap, name: app.flat() }],
        Kind::Bucket => vec![Name { space: Space::Bucket, name: thing.id.clone() }],
        Kind::Secret | Kind::Key | Kind::Site | Kind::Job => vec![],
    }
}

/// What a delete's plan is made of.
#[derive(Debug)]
pub struct DeleteInput<'a> {
    /// The app.
    pub head: &'a Head,
    /// Whether buckets go too.
    pub data: Data,
}

/// Whether data goes with an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// It stays.
    Kept,
    /// It goes.
    Deleted,
}

/// Plans a delete.
pub fn delete(input: &DeleteInput<'_>) -> Plan {
    let head = input.head;
    let app = &head.app;
    let mut changes = Vec::new();
    let mut todo = Vec::new();
    let env = DoomedThing::new(Kind::Secret, DoomedThing::ENV, vec![]);
    let mut doomed: Vec<DoomedThing> = vec![env];
    let mut owned = Vec::new();
    // The job first: nothing shall run while what it needs is taken away.
    let mut things: Vec<&Owned> = head.owned.iter().collect();
    things.sort_by_key(|o| std::cmp::Reverse(o.kind));
    for thing in things {
        match steps::removal(thing, app, head) {
            Some((change, step)) => {
                changes.push(change);
                todo.extend(step);
                doomed.push(DoomedThing::new(thing.kind, &thing.id, names_of(thing, app)));
            }
            None if input.data == Data::Deleted => {
                doomed.push(DoomedThing::new(thing.kind, &thing.id, names_of(thing, app)));
            }
            None => owned.push(thing.clone()),
        }
    }
    let kept: Vec<Name> = owned.iter().flat_map(|o| names_of(o, app)).collect();
    let bound: BTreeSet<Name> = doomed.iter().flat_map(|d| d.names.iter().cloned()).collect();
    // What no single thing holds (service, host, port, secrets) goes with the last doomed thing.
    let rest: Vec<Name> =
        head.names.iter().filter(|n| !kept.contains(n) && !bound.contains(n)).cloned().collect();
    if let Some(last) = doomed.last_mut() {
        last.names.extend(rest);
    }
    Plan {
        v: 1,
        app: app.clone(),
        release: None,
        changes,
        obstacles: vec![],
        notes: if owned.is_empty() {
            vec![]
        } else {
            owned.iter().map(|o| format!("{} {} stays: its data is kept", o.kind.as_str(), o.id)).collect()
        },
        token: hash_of(&(&head.uid, &head.owned, &head.names)),
        steps: todo,
        new_names: vec![],
        after: After {
            release: None::<ReleaseRef>,
            spec_hash: None,
            owned,
            names: kept,
            secrets: BTreeMap::new(),
            env: BTreeMap::new(),
            owners: head.owners.clone(),
            node: head.node.clone(),
            fronts: Vec::new(),
            processes: BTreeMap::new(),
            counts: BTreeMap::new(),
            doomed,
        },
    }
}
