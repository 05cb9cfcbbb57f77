//! What each kind of resource needs: a change for people, a step for the operation. Each function is one comparison.

use std::collections::BTreeMap;

use super::document::{Action, Change, Guard, Impact, Obstacle};
use crate::engines::nomad::DesiredUpdates;
use crate::model::desired::{AccountWanted, BucketWanted, JobWanted, SecretWanted, SiteWanted};
use crate::model::head::{Kind, Owned};
use crate::model::project::SecretKind;
use crate::model::{Bindings, Head, Placement, Sha256Hex, Uid, canonical::hash_of};
use crate::resources::observed::{AccountSeen, DryRun, JobSeen, OurJob};
use crate::resources::{Observed, key};
use crate::store::records::{Alphabet, Create, First, StepSpec};

/// What comes of comparing one thing.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) changes: Vec<Change>,
    pub(super) steps: Vec<StepSpec>,
    pub(super) obstacles: Vec<Obstacle>,
    pub(super) owned: Vec<Owned>,
    pub(super) notes: Vec<String>,
}

fn change(kind: Kind, target: &str, action: Action, guard: Guard, details: Vec<String>) -> Change {
    Change { kind, target: target.to_owned(), action, impact: Impact::InPlace, guard, details }
}

fn not_ours(what: &str, target: &str) -> Obstacle {
    Obstacle {
        code: "not_ours".to_owned(),
        target: target.to_owned(),
        why: format!("{what} {target} exists, and is not ours"),
        hint: "rename the project, or remove it by hand if nobody needs it".to_owned(),
    }
}

fn owned(kind: Kind, id: &str, hash: Sha256Hex) -> Owned {
    Owned { kind, id: id.to_owned(), hash }
}

pub(super) fn secret(
    want: &SecretWanted,
    version: u64,
    is_given: bool,
    alphabet: Alphabet,
    (seen, head): (&Observed, Option<&Head>),
) -> Found {
    let mut found = Found::default();
    found.owned.push(owned(Kind::Secret, want.name.as_str(), hash_of(&version)));
    let there = seen.secrets.get(&want.name).map(Vec::as_slice).unwrap_or_default();
    if there.contains(&version) {
        return found;
    }
    let action = if there.is_empty() { Action::Create } else { Action::Update };
    let how = match (&want.kind, is_given) {
        (SecretKind::Generated { length, .. }, _) => {
            format!("version {version}, {length} characters, made here")
        }
        (SecretKind::User { .. }, _) => format!("version {version}, as given"),
    };
    found.changes.push(change(Kind::Secret, want.name.as_str(), action, Guard::Atomic, vec![how]));
    found.steps.push(match &want.kind {
        SecretKind::Generated { length, .. } => {
            StepSpec::SecretGenerate { name: want.name.clone(), version, length: *length, alphabet }
        }
        SecretKind::User { .. } => StepSpec::SecretGiven { name: want.name.clone(), version },
    });
    if matches!(want.kind, SecretKind::User { .. }) && !is_given {
        found.steps.clear();
        found.changes.clear();
        found.obstacles.push(Obstacle {
            code: "missing".to_owned(),
            target: want.name.to_string(),
            why: match head.and_then(|h| h.dropped.get(&want.name)) {
                None => format!("secret {} has no value yet", want.name),
                Some(_) => format!(
                    "secret {} has no value: what it had was deleted an hour after no release used it any more",
                    want.name
                ),
            },
            hint: match &want.kind {
                SecretKind::User { description, .. } if !description.is_empty() => {
                    format!(
                        "{description}; terreau deploy asks on a terminal, or --secret-file {}=FILE",
                        want.name
                    )
                }
                _ => format!(
                    "give one: terreau deploy asks on a terminal, or --secret-file {}=FILE",
                    want.name
                ),
            },
        });
    }
    found
}

pub(super) fn account(want: &AccountWanted, version: u64, seen: &Observed) -> Found {
    let mut found = Found::default();
    found.owned.push(owned(Kind::Account, &want.dn, hash_of(&version)));
    let step = |create| StepSpec::AccountAdd {
        dn: want.dn.clone(),
        password: want.password.clone(),
        version,
        create,
    };
    match seen.accounts.get(&want.dn) {
        Some(AccountSeen::Ours) => {}
        Some(AccountSeen::Foreign) => found.obstacles.push(not_ours("account", &want.dn)),
        Some(AccountSeen::OursWithOtherPassword) => {
            let details = vec!["its password is set again".to_owned()];
            found.changes.push(change(Kind::Account, &want.dn, Action::Update, Guard::Checked, details));
            found.steps.push(step(Create::Existing));
        }
        Some(AccountSeen::Absent) | None => {
            found.changes.push(change(Kind::Account, &want.dn, Action::Create, Guard::Atomic, vec![]));
            found.steps.push(step(Create::New));
        }
    }
    found
}

pub(super) fn bucket(
    want: &BucketWanted,
    version: u64,
    uid: &Uid,
    seen: &Observed,
    is_new_name: bool,
) -> Found {
    let mut found = Found::default();
    let limits = (want.max_size, want.max_objects);
    found.owned.push(owned(Kind::Bucket, &want.alias, hash_of(&limits)));
    found.owned.push(owned(Kind::Key, &want.access_key_id, hash_of(&version)));
    let bucket = seen.buckets.get(&want.alias).and_then(Option::as_ref);
    let set = |create, before| StepSpec::BucketSet {
        alias: want.alias.clone(),
        max_size: want.max_size,
        max_objects: want.max_objects,
        create,
        before,
    };
    match bucket {
        Some(_) if is_new_name => found.obstacles.push(not_ours("bucket", &want.alias)),
        Some(b) if (b.max_size, b.max_objects) != limits => {
            let details = vec!["quotas".to_owned()];
            found.changes.push(change(Kind::Bucket, &want.alias, Action::Update, Guard::Checked, details));
            found.steps.push(set(Create::Existing, Some((b.max_size, b.max_objects))));
        }
        Some(_) => {}
        None => {
            found.changes.push(change(Kind::Bucket, &want.alias, Action::Create, Guard::Checked, vec![]));
            found.steps.push(set(Create::New, None));
        }
    }
    let name = key::name(uid, want.of.as_str());
    let there = seen.keys.get(&want.access_key_id).and_then(Option::as_ref);
    match there {
        Some(k) if k.name != name => found.obstacles.push(not_ours("key", &want.access_key_id)),
        Some(k) if bucket.is_some_and(|b| k.buckets.contains(&b.id)) => {}
        other => {
            let (action, create) = match other {
                Some(_) => (Action::Update, Create::Existing),
                None => (Action::Create, Create::New),
            };
            found.changes.push(change(Kind::Key, &want.access_key_id, action, Guard::Checked, vec![]));
            found.steps.push(StepSpec::KeyImport {
                id: want.access_key_id.clone(),
                mark: name,
                secret: want.secret.clone(),
                version,
                bucket: want.alias.clone(),
                create,
            });
        }
    }
    found
}

pub(super) fn site(
    want: &SiteWanted,
    bindings: &Bindings,
    head: Option<&Head>,
    seen: &Observed,
    is_new: bool,
) -> Found {
    let mut found = Found::default();
    let first = want.hosts.first().map(ToString::to_string).unwrap_or_default();
    let hash = hash_of(want);
    found.owned.push(owned(Kind::Site, &first, hash.clone()));
    let (exists, all_there, served) = seen.site.as_ref().map_or((false, false, false), |s| {
        let exists = s.aliases.get(&first).is_some_and(Option::is_some);
        (exists, s.aliases.values().all(Option::is_some), s.served)
    });
    if exists && is_new {
        found.obstacles.push(not_ours("bucket", &first));
        return found;
    }
    let known =
        head.is_some_and(|h| h.owned.iter().any(|o| o.kind == Kind::Site && o.id == first && o.hash == hash));
    if known && exists && all_there && served {
        return found;
    }
    let action = if exists { Action::Update } else { Action::Create };
    let mut details =
        vec![format!("{} files", want.artifact.parts.iter().map(|p| u64::from(p.entries)).sum::<u64>())];
    details.extend(want.hosts.iter().map(|h| format!("host {h}")));
    found.changes.push(change(Kind::Site, &first, action, Guard::Checked, details));
    if exists {
        found.notes.push("while files are copied, readers may see pages of both releases".to_owned());
    }
    found.steps.push(StepSpec::SitePut {
        hosts: want.hosts.clone(),
        index: want.index.clone(),
        error: want.error.clone(),
        artifact: want.artifact.clone(),
        capability: bindings.capability.clone(),
    });
    found
}

/// The rendered job's objects: named before they are written.
#[derive(Debug, Clone)]
pub(super) struct JobObjects {
    pub(super) json: Sha256Hex,
    pub(super) hcl: Sha256Hex,
}

pub(super) fn job(
    want: &JobWanted,
    objects: &JobObjects,
    seen: &Observed,
    dry_run: Option<&DryRun>,
) -> Found {
    let mut found = Found::default();
    found.owned.push(owned(Kind::Job, &want.id, want.spec_hash.clone()));
    let (enforce, first, action) = match &seen.job {
        JobSeen::Foreign => {
            found.obstacles.push(not_ours("job", &want.id));
            return found;
        }
        JobSeen::Ours(job) if job.differs == Some(false) && recounted(want, job).is_empty() => return found,
        JobSeen::Ours(job) if job.stopped => (job.index, First::Yes, Action::Create),
        JobSeen::Ours(job) => (job.index, First::No, Action::Update),
        JobSeen::Absent => (0, First::Yes, Action::Create),
    };
    let mut details = Vec::new();
    let mut before = BTreeMap::new();
    let mut only_counts = None;
    if let JobSeen::Ours(job) = &seen.job
        && !job.stopped
    {
        before.clone_from(&job.counts);
        let moved = recounted(want, job);
        if job.differs == Some(false) {
            only_counts = Some(moved.iter().map(|(_, now, then)| then.saturating_sub(*now)).sum());
        }
        details
            .extend(moved.iter().map(|(group, now, then)| format!("{group}: {now} instances become {then}")));
    }
    let impact = match only_counts {
        Some(0) => Impact::InPlace,
        Some(instances) => Impact::Starts { instances },
        None => impact(want, action, dry_run),
    };
    if let Some(dry) = dry_run {
        details.extend(dry.updates.iter().map(|(group, u)| {
            let is_manual = group_of(want, group)
                .and_then(|g| g.pointer("/Update/AutoPromote").and_then(serde_json::Value::as_bool))
                == Some(false);
            format!(
                "{group}: {}",
                rollout(u, if is_manual { Promotion::ByHand } else { Promotion::ByItself })
            )
        }));
        found.notes.extend(dry.unplaced.iter().map(|why| format!("no room now: {why}")));
        if !dry.warnings.is_empty() {
            found.notes.push(dry.warnings.clone());
        }
    }
    if matches!(impact, Impact::Replaces { gap: true, .. }) {
        found.notes.push(
            "a gap is certain: a static port or a volume lets no new instance run beside the old one"
                .to_owned(),
        );
    }
    let mut job = change(Kind::Job, &want.id, action, Guard::Checked, details);
    job.impact = impact;
    found.changes.push(job);
    found.steps.push(StepSpec::JobRegister {
        namespace: want.namespace.clone(),
        id: want.id.clone(),
        json: objects.json.clone(),
        hcl: objects.hcl.clone(),
        enforce,
        spec_hash: want.spec_hash.clone(),
    });
    found.steps.push(StepSpec::JobSettle {
        namespace: want.namespace.clone(),
        id: want.id.clone(),
        first,
        counts: before,
    });
    found
}

/// A group of the wanted job.
fn group_of<'a>(want: &'a JobWanted, name: &str) -> Option<&'a serde_json::Value> {
    let mut groups = want.json.get("TaskGroups").and_then(|g| g.as_array()).into_iter().flatten();
    groups.find(|g| g.get("Name").and_then(|n| n.as_str()) == Some(name))
}

/// When canaries take the places of the old instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promotion {
    ByItself,
    ByHand,
}

/// What the scheduler would do to one group, in words. With canaries it counts these alone, and those that it leaves alone
/// until they are promoted are the old instances, which go then.
fn rollout(u: &DesiredUpdates, promotion: Promotion) -> String {
    let instances = |n: u64| if n == 1 { "1 instance".to_owned() } else { format!("{n} instances") };
    let old = if u.canary > 0 { u.ignore } else { 0 };
    let mut words = Vec::new();
    if u.canary > 0 {
        let new =
            if u.canary == 1 { "1 new instance".to_owned() } else { format!("{} new instances", u.canary) };
        let (healthy, waits) =
            if u.canary == 1 { ("it is healthy", "it waits") } else { ("they are healthy", "they wait") };
        let beside = match old {
            0 => String::new(),
            1 => " beside the old one".to_owned(),
            n => format!(" beside the {n} old ones"),
        };
        let next = match (promotion, old) {
            (Promotion::ByHand, _) => {
                format!("when {healthy}, {waits} for `terreau deploy --promote` or `--revert`")
            }
            (Promotion::ByItself, 0) => format!("the rest follows when {healthy}"),
            (Promotion::ByItself, 1) => format!("when {healthy}, the old one goes"),
            (Promotion::ByItself, _) => format!("when {healthy}, the old ones are replaced"),
        };
        words.push(format!("starts {new}{beside}; {next}"));
    }
    let parts = [
        (u.place, "starts", ""),
        (u.destructive_update, "replaces", ""),
        (u.in_place_update, "changes", " in place"),
        (u.stop, "stops", ""),
        (u.migrate, "moves", " to other nodes"),
        (if old > 0 { 0 } else { u.ignore }, "leaves", " as they are"),
    ];
    for (n, verb, rest) in parts.into_iter().filter(|(n, ..)| *n > 0) {
        let rest = if n == 1 {
            rest.replace("they are", "it is").replace("other nodes", "another node")
        } else {
            rest.to_owned()
        };
        words.push(format!("{verb} {}{rest}", instances(n)));
    }
    if words.is_empty() { "nothing to do".to_owned() } else { words.join(", ") }
}

/// Groups that have another count than wanted: the count now, and then. Of an app that was stopped or scaled by hand,
/// or whose descriptor has another number.
fn recounted<'a>(want: &'a JobWanted, seen: &OurJob) -> Vec<(&'a str, u64, u64)> {
    let groups = want.json.get("TaskGroups").and_then(|g| g.as_array()).into_iter().flatten();
    let counts = groups.filter_map(|g| Some((g.get("Name")?.as_str()?, g.get("Count")?.as_u64()?)));
    counts
        .filter_map(|(group, then)| {
            let now = seen.counts.get(group).copied().unwrap_or(0);
            (now != then).then_some((group, now, then))
        })
        .collect()
}

fn impact(want: &JobWanted, action: Action, dry_run: Option<&DryRun>) -> Impact {
    let groups = want.json.get("TaskGroups").and_then(|g| g.as_array()).cloned().unwrap_or_default();
    let number = |g: &serde_json::Value, path: &str| g.pointer(path).and_then(serde_json::Value::as_u64);
    if action == Action::Create {
        return Impact::Starts { instances: groups.iter().filter_map(|g| number(g, "/Count")).sum() };
    }
    let Some(dry) = dry_run else { return Impact::Replaces { instances: None, gap: false } };
    let mut replaced = 0;
    let mut gap = false;
    for (name, u) in &dry.updates {
        // With canaries Nomad counts only them; all old instances go after the promotion.
        let group = groups.iter().find(|g| g.get("Name").and_then(|n| n.as_str()) == Some(name));
        let count = group.and_then(|g| number(g, "/Count")).unwrap_or(0);
        let instances = if u.canary > 0 { count } else { u.destructive_update };
        replaced += instances;
        gap |= u.canary == 0 && u.destructive_update > 0;
    }
    if replaced == 0 { Impact::InPlace } else { Impact::Replaces { instances: Some(replaced), gap } }
}

/// What is owned and no longer wanted: made useless now, deleted by the sweep.
pub(super) fn removal(thing: &Owned, app: &Placement, head: &Head) -> Option<(Change, Option<StepSpec>)> {
    let step = match thing.kind {
        Kind::Secret => None,
        Kind::Account => Some(StepSpec::AccountDisable { dn: thing.id.clone() }),
        Kind::Key => Some(StepSpec::KeyDeny { id: thing.id.clone() }),
        // Data stays unless asked for.
        Kind::Bucket => return None,
        Kind::Site => Some(StepSpec::SiteClose {
            hosts: head
                .names
                .iter()
                .filter(|n| n.space == crate::model::desired::Space::Host)
                .filter_map(|n| crate::model::HostName::new(&n.name).ok())
                .collect(),
        }),
        Kind::Job => Some(StepSpec::JobStop { namespace: app.namespace().to_owned(), id: thing.id.clone() }),
    };
    let mut c = change(thing.kind, &thing.id, Action::Remove, Guard::Checked, vec![]);
    if thing.kind == Kind::Job {
        c.impact = Impact::Stops;
    }
    Some((c, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nomad_would_do_is_said_in_words() {
        let u = DesiredUpdates::default;
        for (updates, promotion, wanted) in [
            (
                DesiredUpdates { canary: 1, ignore: 1, ..u() },
                Promotion::ByItself,
                "starts 1 new instance beside the old one; when it is healthy, the old one goes",
            ),
            (
                DesiredUpdates { canary: 1, ignore: 2, ..u() },
                Promotion::ByItself,
                "starts 1 new instance beside the 2 old ones; when it is healthy, the old ones are replaced",
            ),
            (
                DesiredUpdates { canary: 2, ignore: 2, ..u() },
                Promotion::ByHand,
                "starts 2 new instances beside the 2 old ones; when they are healthy, they wait for `terreau deploy --promote` or \
                 `--revert`",
            ),
            (
                DesiredUpdates { destructive_update: 2, ignore: 1, ..u() },
                Promotion::ByItself,
                "replaces 2 instances, leaves 1 instance as it is",
            ),
            (
                DesiredUpdates { place: 1, stop: 3, ..u() },
                Promotion::ByItself,
                "starts 1 instance, stops 3 instances",
            ),
            (DesiredUpdates { migrate: 1, ..u() }, Promotion::ByItself, "moves 1 instance to another node"),
            (DesiredUpdates { ignore: 2, ..u() }, Promotion::ByItself, "leaves 2 instances as they are"),
            (u(), Promotion::ByItself, "nothing to do"),
        ] {
            assert_eq!(rollout(&updates, promotion), wanted);
        }
    }
}
