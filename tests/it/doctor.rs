//! The doctor: what is nobody's is seen on every engine and in the name index; what was an app's that the records know is given to
//! the sweep, and what may be another's is never touched. An app that lives loses nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use terreau::deploy::Old;
use terreau::engines::nomad::Registration;
use terreau::loops::Kind;
use terreau::model::desired::Space;
use terreau::model::wire::{Checkup, Finding, FindingKind};
use terreau::model::{Placement, Uid};
use terreau::operation::run::fresh_uid;
use terreau::operation::{Announced, announce, leader, sweep};
use terreau::store::keys;
use terreau::store::records::{NameRecord, SCHEMA};
use tokio_util::sync::CancellationToken;

use crate::harness::{Stack, StackOptions, eventually};
use crate::mechanism::{Bare, app, me, web};

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    stack: Stack,
    bare: Bare,
    _stop: tokio_util::sync::DropGuard,
}

impl World {
    async fn start() -> Self {
        let stack = Stack::start(StackOptions::engines()).await;
        let bare = Bare::on(&stack).await;
        let stop = CancellationToken::new();
        let runner = bare.deployer.runner();
        leader::start(runner, "here".into(), stop.clone());
        announce(runner, Announced { address: "here".into(), pages: None }, stop.clone());
        let world = Self { stack, bare, _stop: stop.drop_guard() };
        eventually("an agent leads, and nothing is wrong", PATIENCE, async || {
            let found = world.look().await;
            found.findings.is_empty().then_some(())
        })
        .await;
        world
    }

    async fn look(&self) -> Checkup {
        let found = self.bare.deployer.checkup().await.unwrap();
        assert_eq!(found.unseen, Vec::<String>::new());
        // Where the clock jumps, loops are late for a moment, and what waits for its export has waited long.
        let jumps = |f: &Finding| matches!(f.kind, FindingKind::Loop | FindingKind::Audit);
        let findings = found.findings.into_iter().filter(|f| !jumps(f)).collect();
        Checkup { findings, ..found }
    }

    /// What is found, by target.
    async fn found(&self) -> BTreeMap<String, Finding> {
        self.look().await.findings.into_iter().map(|f| (f.target.clone(), f)).collect()
    }

    /// Puts a key, an account, a job and values there, under the mark of this identity and a name of this kind.
    async fn plant(&self, flat: &str, uid: &Uid) -> Vec<String> {
        let hands = &self.bare.hands;
        let key = format!("GK{}", hex::encode(rand::random::<[u8; 12]>()));
        let secret = hex::encode(rand::random::<[u8; 32]>()).into();
        hands.garage.import_key(&key, &secret, &format!("terreau:{uid}:media")).await.unwrap();
        let dn = format!("cn={flat},ou=services,ou=users,{}", self.stack.base_dn());
        let classes = ["inetOrgPerson", "organizationalPerson", "person", "top"].map(str::to_owned).to_vec();
        let attributes = [
            ("objectclass", classes),
            ("structuralobjectclass", vec!["inetOrgPerson".to_owned()]),
            ("cn", vec![flat.to_owned()]),
            ("sn", vec![flat.to_owned()]),
            ("displayname", vec![flat.to_owned()]),
            ("description", vec![format!("terreau:{uid}")]),
        ];
        hands.directory.add(&dn, &attributes).await.unwrap();
        let task =
            json!({"Name": "t", "Driver": "raw_exec", "Config": {"command": "/bin/sleep", "args": ["900"]}});
        let group = json!({"Name": "g", "Count": 1, "Tasks": [task]});
        let job = json!({"ID": flat, "Name": flat, "Type": "service", "Datacenters": [self.stack.site()],
                         "TaskGroups": [group], "Meta": {"terreau": uid}});
        let what = Registration { job, enforce_index: None, submission_hcl: None };
        hands.nomad.register(&what).await.unwrap();
        vec![format!("key/{key}"), format!("account/{dn}"), format!("job/{flat}")]
    }

    async fn is_there(&self, planted: &[String]) -> Vec<bool> {
        let hands = &self.bare.hands;
        let mut there = Vec::new();
        for target in planted {
            let (kind, id) = target.split_once('/').unwrap();
            there.push(match kind {
                "key" => hands.garage.key(id).await.unwrap().is_some(),
                "account" => hands.directory.get(id).await.unwrap().is_some(),
                _ => hands.nomad.job("default", id).await.unwrap().is_some(),
            });
        }
        there
    }

    async fn name(&self, key: &str, app: &Placement, uid: &Uid) {
        let record = NameRecord { v: SCHEMA, uid: uid.clone(), app: app.clone() };
        self.bare.hands.consul.kv_put(key, serde_json::to_vec(&record).unwrap()).await.unwrap();
    }

    async fn sweep(&self) {
        self.bare.clock.advance(Duration::from_hours(2));
        let lease = self.bare.session.lease().unwrap();
        sweep::sweep(self.bare.deployer.runner(), &lease).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nobodys_is_seen_and_what_was_an_apps_goes_with_the_sweep() {
    let world = World::start().await;
    let (deployer, consul) = (&world.bare.deployer, &world.bare.hands.consul);
    let live = app("lives");
    let text = web(
        &live,
        "secret \"session\" { type = \"generated\" }\n  env = { SESSION = \"${secret.session}\" }\n  uses \"bucket\" {}\n  uses \"ldap\" {}",
    );
    let (_, why) = world.bare.deploy(&live, &text).await.unwrap();
    assert_eq!(world.look().await.findings, [], "{why:?}");
    let uid = deployer.runner().store().head(&live).await.unwrap().unwrap().value.uid;

    // PT-71: these engines keep no code apart, and it is said.
    let said = world.look().await.isolation.unwrap();
    assert!(!said.nomad_acl && !said.consul_acl, "{said:#?}");
    assert!(
        said.does_not_hold.iter().any(|l| l.starts_with("code: Nomad's access control is off")),
        "{said:#?}"
    );

    // Of an app that these records do not know: told, and not touched, whoever asks for it.
    let other = Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzz").unwrap();
    let foreign = world.plant("stranger", &other).await;
    consul.kv_put("secrets/stranger/.v/session/1", &b"canary-of-another"[..]).await.unwrap();
    let mut all = foreign.clone();
    all.push("secret/stranger/session".to_owned());
    let found = world.found().await;
    assert_eq!(found.keys().collect::<Vec<_>>(), sorted(&all), "{found:#?}");
    assert!(
        found.values().all(|f| f.kind == FindingKind::Orphan && !f.fixable && f.app.is_none()),
        "{found:#?}"
    );
    assert!(!format!("{found:?}").contains("canary"));
    let done = deployer.mend(&me(), &all).await.unwrap();
    assert_eq!((done.done.len(), done.left.len()), (0, all.len()), "{done:#?}");

    // Of an app that lives, and does not own them; of one that was deleted long ago; and names that are one-sided.
    let ours = world.plant(&format!("{}-late", live.flat()), &uid).await;
    let gone = app("gone");
    let (_, why) = world.bare.deploy(&gone, &web(&gone, "")).await.unwrap();
    let gone_uid =
        deployer.runner().store().head(&gone).await.unwrap().unwrap_or_else(|| panic!("{why:?}")).value.uid;
    let terreau::deploy::Accepted::Operation(id) =
        deployer.delete(&me(), &gone, terreau::deploy::Data::Deleted).await.unwrap()
    else {
        panic!("a delete is an operation")
    };
    world.bare.end_of(id).await;
    world.sweep().await;
    consul.kv_put(&format!("secrets/{}/.v/session/1", gone.flat()), &b"late"[..]).await.unwrap();
    consul.kv_put(&format!("secrets/{}/.env/mode/1", gone.flat()), &b"late"[..]).await.unwrap();
    // As where the head alone is lost: the name goes with the values that it guards. And what somebody put there by hand.
    let guard = keys::name(Space::Secrets, &gone.flat());
    world.name(&guard, &gone, &gone_uid).await;
    let by_hand = format!("secrets/{}/session", gone.flat());
    consul.kv_put(&by_hand, &b"by hand"[..]).await.unwrap();
    let entry = keys::name(Space::Host, "late.example.org");
    world.name(&entry, &gone, &gone_uid).await;
    let lost = keys::name(Space::Host, &format!("{live}.example.org"));
    consul.kv_delete(&lost).await.unwrap();

    let mut mine = ours.clone();
    mine.extend([
        format!("secret/{}/session", gone.flat()),
        format!("secret/{}/.env", gone.flat()),
        entry.clone(),
        lost.clone(),
    ]);
    let found = world.found().await;
    let fixable: Vec<&String> = found.iter().filter(|(_, f)| f.fixable).map(|(t, _)| t).collect();
    assert_eq!(fixable, sorted(&mine), "{found:#?}");
    assert_eq!(found.len(), all.len() + mine.len(), "{found:#?}");

    let done = deployer.mend(&me(), &mine).await.unwrap();
    assert_eq!((done.done.len(), &done.left), (mine.len(), &Vec::new()), "{done:#?}");
    let found = world.found().await;
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        sorted(&all),
        "what waits for the sweep is known: {found:#?}"
    );
    // Nothing goes before its time, but for the name, which is nothing but a record.
    assert_eq!(world.is_there(&ours).await, [true, true, true]);
    assert!(consul.kv_get(&entry).await.unwrap().is_none() && consul.kv_get(&lost).await.unwrap().is_some());
    // Nobody takes the name of values that are being swept.
    let taken = world.bare.deploy(&gone, &web(&gone, "secret \"session\" { type = \"generated\" }")).await;
    assert!(taken.is_err(), "{taken:?}");
    world.sweep().await;
    assert_eq!(world.is_there(&ours).await, [false, false, false]);
    assert_eq!(consul.kv_keys(&format!("secrets/{}/", gone.flat())).await.unwrap(), [by_hand]);
    assert!(consul.kv_get(&guard).await.unwrap().is_none(), "its name is free");
    assert_eq!(world.is_there(&foreign).await, [true, true, true]);
    let found = world.found().await;
    assert_eq!(found.keys().collect::<Vec<_>>(), sorted(&all), "{found:#?}");

    // The app that lives has lost nothing, and its log tells who did it.
    assert_eq!(deployer.drift(Some(&live), |_| true).await.unwrap(), terreau::model::wire::Drift::default());
    let (_, why) = world.bare.deploy(&live, &text).await.unwrap();
    assert_eq!(why, ["unchanged"]);
    let told = deployer.events(&live, 100, Old::Hidden).await.unwrap();
    let told: Vec<_> = told.iter().filter(|e| e.what == "doctor").collect();
    let [told] = &told[..] else { panic!("one change, one record: {told:#?}") };
    assert!(ours.iter().all(|t| told.text.contains(t.split_once('/').unwrap().1)), "{told:#?}");
    assert_eq!(told.by.as_deref(), Some("alice"), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_half_way_waits_or_cannot_be_read_is_told() {
    let world = World::start().await;
    let (runner, consul) = (world.bare.deployer.runner(), &world.bare.hands.consul);
    let app = app("half");
    let (_, why) = world.bare.deploy(&app, &web(&app, "")).await.unwrap();
    assert_eq!(world.look().await.findings, [], "{why:?}");
    let only = async |kind: FindingKind, says: &str| {
        let found = world.look().await.findings;
        let [f] = &found[..] else { panic!("one thing: {found:#?}") };
        assert!(f.kind == kind && f.text.contains(says) && !f.remedy.is_empty(), "{f:#?}");
    };
    let key = keys::head(&app);
    let head = consul.kv_get(&key).await.unwrap().unwrap();
    let put = async |change: &dyn Fn(&mut serde_json::Value)| {
        let mut next: serde_json::Value = serde_json::from_slice(&head.value).unwrap();
        change(&mut next);
        consul.kv_put(&key, next.to_string()).await.unwrap();
    };
    put(&|h| h["operation"] = json!(fresh_uid(runner.now()))).await;
    only(FindingKind::Operation, "names a change that has no record").await;
    put(&|h| h["state"] = json!("abandoned")).await;
    only(FindingKind::Operation, "abandoned half-way").await;
    // Of a newer agent: told; and nothing is called nobody's while it cannot be read.
    put(&|h| h["v"] = json!(SCHEMA + 1)).await;
    let found = world.bare.deployer.checkup().await.unwrap();
    assert_eq!(found.findings.len(), 1, "{found:#?}");
    assert_eq!(
        (found.findings[0].kind, found.findings[0].target.as_str()),
        (FindingKind::Record, key.as_str())
    );
    assert!(found.unseen[0].contains("what is nobody's"), "{found:#?}");
    put(&|_| ()).await;

    // A loop that fails, by the words of its error.
    let kind = Kind { name: "a-loop", what: "fails", every: Duration::from_mins(1) };
    runner.loops().add(kind).failed("it cannot");
    let found = world.bare.deployer.checkup().await.unwrap();
    let told = |f: &&Finding| {
        f.kind == FindingKind::Loop && f.text.contains("a-loop") && f.text.contains("it cannot")
    };
    assert_eq!(found.findings.iter().filter(told).count(), 1, "{found:#?}");

    // Records that wait for their export: so long that somebody should look.
    let waits = async || {
        let found = world.bare.deployer.checkup().await.unwrap().findings;
        found.iter().any(|f| f.kind == FindingKind::Audit && f.text.contains("wait for their export"))
    };
    world.bare.clock.advance(Duration::from_mins(50));
    assert!(!waits().await);
    world.bare.clock.advance(Duration::from_mins(20));
    assert!(waits().await);
}

fn sorted(targets: &[String]) -> Vec<&String> {
    let mut sorted: Vec<&String> = targets.iter().collect();
    sorted.sort();
    sorted
}
