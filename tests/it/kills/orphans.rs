//! What is owned by nobody: every engine is listed whole and compared with the records, in both directions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use terreau::engines::consul::SessionSpec;
use terreau::engines::directory::Scope;
use terreau::engines::nomad::{JobDetail, Registration};
use terreau::model::desired::{Name, Space};
use terreau::model::head::{AppState, Head, Kind, Owned};
use terreau::model::{Placement, Uid, sha256_hex};
use terreau::store::keys;
use terreau::store::records::{NameRecord, SCHEMA};

use super::PREFIX;
use super::world::World;
use crate::harness::StackOptions;
use crate::mechanism::app;

/// A thing on an engine, and whose it is by its mark, its name or the records.
type Thing = (Uid, Kind, String);

/// What the records say.
#[derive(Default)]
struct Known {
    heads: BTreeMap<Uid, Head>,
    /// Owned by a head, or waiting for the sweep.
    things: BTreeSet<Thing>,
    /// Waiting for the sweep, and not in use.
    doomed: BTreeSet<Thing>,
    names: BTreeSet<(Uid, String)>,
}

impl Known {
    async fn of(world: &World) -> Self {
        let mut known = Self::default();
        for head in world.store.heads().await.unwrap() {
            let head = head.value;
            let uid = &head.uid;
            known.things.extend(head.owned.iter().map(|o| (uid.clone(), o.kind, o.id.clone())));
            known.things.extend(head.secrets.keys().map(|s| (uid.clone(), Kind::Secret, s.to_string())));
            known.names.extend(head.names.iter().map(|n| (uid.clone(), keys::name(n.space, &n.name))));
            known.heads.insert(uid.clone(), head);
        }
        for doomed in world.store.doomed().await.unwrap() {
            let d = doomed.value;
            for thing in d.things {
                known.names.extend(thing.names.iter().map(|n| (d.uid.clone(), keys::name(n.space, &n.name))));
                known.doomed.insert((d.uid.clone(), thing.kind, thing.id));
            }
        }
        known.doomed.retain(|d| !known.things.contains(d));
        known.things.extend(known.doomed.iter().cloned());
        known
    }

    fn head_of(&self, flat: &str) -> Option<&Head> {
        self.heads.values().find(|h| h.app.flat() == flat)
    }

    /// The app whose bucket bears this alias: `<app>-<purpose>`, or `<app>.<domain>` for a site.
    fn owner_of_bucket(&self, alias: &str) -> Option<&Head> {
        self.heads.values().find(|h| {
            let rest = alias.strip_prefix(&h.app.flat());
            rest.is_some_and(|rest| rest.starts_with(['-', '.']))
        })
    }
}

/// The app that a mark names: `terreau:<uid>` or `terreau:<uid>:<purpose>`.
fn of_mark(mark: &str) -> Option<Uid> {
    mark.strip_prefix("terreau:")?.split(':').next().and_then(|u| Uid::new(u).ok())
}

fn secrets_prefix() -> String {
    format!("secrets/{PREFIX}-")
}

impl World {
    /// Everything with our mark or of an app's name that no record knows, what records name that is not there, and
    /// what is half.
    pub(crate) async fn orphans(&self) -> Vec<String> {
        let known = Known::of(self).await;
        let mut faults = Vec::new();
        let mut there: BTreeSet<Thing> = BTreeSet::new();
        self.keys(&known, &mut there, &mut faults).await;
        self.accounts(&known, &mut there, &mut faults).await;
        self.jobs(&mut there, &mut faults).await;
        self.buckets(&known, &mut there, &mut faults).await;
        self.secrets(&known, &mut there, &mut faults).await;
        for (uid, kind, id) in there.difference(&known.things) {
            faults.push(format!("{} {id} is nobody's (uid {uid})", kind.as_str()));
        }
        for head in known.heads.values() {
            faults.extend(head.owned.iter().filter_map(|o| {
                let missing = !there.contains(&(head.uid.clone(), o.kind, o.id.clone()));
                missing.then(|| format!("{} owns {} {}, which is not there", head.app, o.kind.as_str(), o.id))
            }));
            if head.state == AppState::New || head.operation.is_some() {
                faults.push(format!("{} is half-way: {:?}", head.app, head.state));
            }
            faults.extend(unnamed(head));
        }
        self.records(&known, &mut faults).await;
        faults
    }

    async fn keys(&self, known: &Known, there: &mut BTreeSet<Thing>, faults: &mut Vec<String>) {
        for key in self.garage.keys().await.unwrap() {
            let Some(uid) = of_mark(&key.name) else { continue };
            let thing = (uid, Kind::Key, key.id.clone());
            if known.doomed.contains(&thing) {
                let opens = self.garage.key(&key.id).await.unwrap().map_or(0, |k| k.buckets.len());
                if opens > 0 {
                    faults.push(format!("key {} waits for the sweep and opens {opens} buckets", key.id));
                }
            }
            there.insert(thing);
        }
    }

    async fn accounts(&self, known: &Known, there: &mut BTreeSet<Thing>, faults: &mut Vec<String>) {
        let below = self.stack.base_dn();
        let wanted = ["description", "userpassword"];
        let found =
            self.directory.search(below, Scope::Sub, "(description=terreau:*)", &wanted).await.unwrap();
        for entry in found {
            let Some(uid) = entry.first("description").and_then(of_mark) else { continue };
            let thing = (uid, Kind::Account, entry.dn.clone());
            if known.doomed.contains(&thing) && !entry.all("userpassword").is_empty() {
                faults.push(format!("account {} waits for the sweep and has a password", entry.dn));
            }
            there.insert(thing);
        }
    }

    async fn jobs(&self, there: &mut BTreeSet<Thing>, faults: &mut Vec<String>) {
        for job in self.nomad.jobs("*", "", JobDetail::Meta).await.unwrap() {
            match job.meta.get("terreau") {
                Some(uid) => {
                    there.insert((Uid::new(uid.as_str()).unwrap(), Kind::Job, job.id));
                }
                None if job.id.starts_with(PREFIX) => {
                    faults.push(format!("job {} has no mark", job.id));
                }
                None => {}
            }
        }
    }

    /// Buckets bear no mark: they are their app's by name.
    async fn buckets(&self, known: &Known, there: &mut BTreeSet<Thing>, faults: &mut Vec<String>) {
        for bucket in self.garage.buckets().await.unwrap() {
            if bucket.global_aliases.is_empty() {
                faults.push(format!("bucket {} has no name", bucket.id));
            }
            for alias in bucket.global_aliases.iter().filter(|a| a.starts_with(PREFIX)) {
                match known.owner_of_bucket(alias) {
                    Some(head) => {
                        let kind = if alias.contains('.') { Kind::Site } else { Kind::Bucket };
                        there.insert((head.uid.clone(), kind, alias.clone()));
                    }
                    None => faults.push(format!("bucket {alias} is nobody's")),
                }
            }
        }
    }

    /// Secrets bear no mark either. The plain key is the version that the head names.
    async fn secrets(&self, known: &Known, there: &mut BTreeSet<Thing>, faults: &mut Vec<String>) {
        let entries = self.consul().kv_list(&secrets_prefix()).await.unwrap();
        for entry in &entries {
            let (flat, rest) = entry.key["secrets/".len()..].split_once('/').unwrap();
            let name = rest.strip_prefix(".v/").map_or(rest, |r| r.split('/').next().unwrap());
            match known.head_of(flat) {
                Some(head) => {
                    there.insert((head.uid.clone(), Kind::Secret, name.to_owned()));
                }
                None => faults.push(format!("{} is nobody's", entry.key)),
            }
        }
        let value = |key: &str| entries.iter().find(|e| e.key == key).map(|e| &e.value);
        for head in known.heads.values() {
            for (name, version) in &head.secrets {
                let current = value(&head.app.secret_key(name));
                let versioned = value(&head.app.secret_version_key(name, *version));
                if current.is_none() || current != versioned {
                    faults.push(format!("{}: secret {name} is not version {version}", head.app));
                }
            }
        }
    }

    async fn records(&self, known: &Known, faults: &mut Vec<String>) {
        let mut indexed = BTreeSet::new();
        for entry in self.consul().kv_list("terreau/v1/name/").await.unwrap() {
            let owner: NameRecord = serde_json::from_slice(&entry.value).unwrap();
            indexed.insert((owner.uid, entry.key));
        }
        let one_sided = indexed.symmetric_difference(&known.names);
        faults.extend(one_sided.map(|(u, n)| format!("{n} of {u} is in one only")));
        faults.extend(self.consul().kv_keys(keys::OPERATIONS).await.unwrap());
        for lock in self.consul().kv_list(keys::LOCKS).await.unwrap() {
            faults.extend(lock.session.map(|s| format!("{} is held by {s}", lock.key)));
        }
    }
}

/// The names that owned things need, and the head does not hold.
fn unnamed(head: &Head) -> Vec<String> {
    let wanted = head.owned.iter().filter_map(|o| {
        let (space, name) = match o.kind {
            Kind::Account => (Space::Ldap, head.app.flat()),
            Kind::Bucket => (Space::Bucket, o.id.clone()),
            Kind::Site => (Space::Host, o.id.clone()),
            Kind::Job => (Space::Service, o.id.clone()),
            Kind::Secret => (Space::Secrets, head.app.flat()),
            Kind::Key => return None,
        };
        Some(Name { space, name })
    });
    let missing: BTreeSet<Name> = wanted.filter(|n| !head.names.contains(n)).collect();
    missing.iter().map(|n| format!("{} does not hold {} {}", head.app, n.space.as_str(), n.name)).collect()
}

/// A head of an app that runs and owns nothing.
fn head(app: &Placement, uid: &Uid) -> Head {
    serde_json::from_value(json!({
        "v": SCHEMA, "app": app, "uid": uid, "state": "live", "owners": [], "release": null, "last_number": 1,
        "capability": "", "spec_hash": null, "job_index": null, "operation": null, "last_operation": null,
        "owned": [], "names": [], "secrets": {}, "node": null,
    }))
    .unwrap()
}

/// Counts what was planted.
struct Planted<'a> {
    world: &'a World,
    seen: usize,
}

impl Planted<'_> {
    /// These faults more than before are seen, and no others.
    async fn seen(&mut self, texts: &[String]) {
        self.seen += texts.len();
        let faults = self.world.orphans().await;
        for text in texts {
            assert!(faults.iter().any(|f| f.contains(text)), "{text}: {faults:#?}");
        }
        assert_eq!(faults.len(), self.seen, "{faults:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_on_any_engine_is_seen() {
    let world = World::start(StackOptions::engines()).await;
    assert_eq!(world.orphans().await, Vec::<String>::new());
    let consul = world.consul();
    let uid = Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzz").unwrap();
    let app = app(PREFIX);
    let flat = app.flat();
    let mut planted = Planted { world: &world, seen: 0 };

    let key = format!("GK{}", hex::encode(rand::random::<[u8; 12]>()));
    let secret = hex::encode(rand::random::<[u8; 32]>()).into();
    world.garage.import_key(&key, &secret, &format!("terreau:{uid}:media")).await.unwrap();
    planted.seen(&[format!("key {key} is nobody's")]).await;

    let dn = format!("cn={flat},ou=services,ou=users,{}", world.stack.base_dn());
    let classes = ["inetOrgPerson", "organizationalPerson", "person", "top"].map(str::to_owned).to_vec();
    let attributes = [
        ("objectclass", classes),
        ("structuralobjectclass", vec!["inetOrgPerson".to_owned()]),
        ("cn", vec![flat.clone()]),
        ("sn", vec![flat.clone()]),
        ("displayname", vec![flat.clone()]),
        ("description", vec![format!("terreau:{uid}")]),
    ];
    world.directory.add(&dn, &attributes).await.unwrap();
    planted.seen(&[format!("account {dn} is nobody's")]).await;

    let task = json!({"Name": "t", "Driver": "raw_exec", "Config": {"command": "/bin/true"}});
    let group = json!({"Name": "g", "Count": 0, "Tasks": [task]});
    let mut job = json!({"ID": flat, "Name": flat, "Type": "service", "Datacenters": [world.stack.site()],
                         "TaskGroups": [group], "Meta": {"terreau": uid}});
    let register = async |job| {
        let registration = Registration { job, enforce_index: None, submission_hcl: None };
        world.nomad.register(&registration).await.unwrap();
    };
    register(job.clone()).await;
    planted.seen(&[format!("job {flat} is nobody's")]).await;
    job["ID"] = format!("{flat}-unmarked").into();
    job["Meta"] = json!({});
    register(job).await;
    planted.seen(&[format!("job {flat}-unmarked has no mark")]).await;

    for alias in [format!("{flat}-media"), format!("{flat}.example.org")] {
        world.garage.create_bucket(&alias).await.unwrap();
        planted.seen(&[format!("bucket {alias} is nobody's")]).await;
    }
    for key in [format!("secrets/{flat}/session"), format!("secrets/{flat}/.v/session/1")] {
        consul.kv_put(&key, &b"x"[..]).await.unwrap();
        planted.seen(&[format!("{key} is nobody's")]).await;
    }

    let owner = NameRecord { v: SCHEMA, uid: uid.clone(), app: app.clone() };
    let name = keys::name(Space::Host, "nobody.example.org");
    consul.kv_put(&name, serde_json::to_vec(&owner).unwrap()).await.unwrap();
    planted.seen(&[format!("{name} of {uid} is in one only")]).await;
    let operation = keys::operation(&uid);
    consul.kv_put(&operation, &br#"{"v":1}"#[..]).await.unwrap();
    planted.seen(&[operation]).await;

    // And what a record names that is not there, or is half: of another app.
    let (other, id) = (crate::mechanism::app(PREFIX), Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzy").unwrap());
    let mut live = head(&other, &id);
    let put = async |head: &Head| {
        consul.kv_put(&keys::head(&head.app), serde_json::to_vec(head).unwrap()).await.unwrap();
    };
    put(&live).await;
    planted.seen(&[]).await;
    for kind in [Kind::Secret, Kind::Account, Kind::Bucket, Kind::Site, Kind::Job] {
        live.owned.push(Owned { kind, id: "lost".to_owned(), hash: sha256_hex("") });
        put(&live).await;
        planted
            .seen(&[format!("{other} owns {} lost", kind.as_str()), format!("{other} does not hold ")])
            .await;
    }
    live.owned.push(Owned { kind: Kind::Key, id: "lost".to_owned(), hash: sha256_hex("") });
    put(&live).await;
    planted.seen(&[format!("{other} owns key lost")]).await;
    live.secrets.insert("token".parse().unwrap(), 3);
    put(&live).await;
    planted.seen(&[format!("{other}: secret token is not version 3")]).await;
    live.operation = Some(id.clone());
    put(&live).await;
    planted.seen(&[format!("{other} is half-way")]).await;
    // Last: nobody renews it.
    let session = consul.session_create(&SessionSpec::default()).await.unwrap();
    assert!(consul.kv_acquire(&keys::lock(&app), &b"{}"[..], &session).await.unwrap());
    planted.seen(&[format!("{} is held by {session}", keys::lock(&app))]).await;
}
