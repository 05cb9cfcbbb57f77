//! Drift: what people do to an app's things behind Terreau's back is seen, named without a value, told once, and never undone by
//! itself; what the words say sets it right does. What Terreau does itself is no drift.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use terreau::deploy::{Change, DriftWatch, Old};
use terreau::engines::directory;
use terreau::engines::nomad::{JobView, Purge, Registration};
use terreau::model::head::{Kind, Outcome};
use terreau::model::wire::{Drift, DriftWhat, DriftedResource};
use terreau::model::{Placement, SecretName};
use terreau::operation::leader;
use tokio_util::sync::CancellationToken;

use crate::harness::{Part, Stack, StackOptions, eventually};
use crate::kills::apps::first;
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
        leader::start(bare.deployer.runner(), "here".into(), stop.clone());
        eventually("it leads", PATIENCE, async || {
            bare.deployer.runner().leads().await.unwrap().then_some(())
        })
        .await;
        Self { stack, bare, _stop: stop.drop_guard() }
    }

    async fn drift(&self) -> Drift {
        self.bare.deployer.drift(None, |_| true).await.unwrap()
    }

    /// The one thing that differs now.
    async fn only(&self, app: &Placement, kind: Kind, what: DriftWhat) -> (String, Vec<String>) {
        let drift = self.drift().await;
        let [d] = &drift.differences[..] else { panic!("one thing: {drift:#?}") };
        assert_eq!((&*d.app, &*d.kind, d.what), (&*app.to_string(), kind.as_str(), what), "{d:#?}");
        assert!(!format!("{drift:?}").contains("canary"), "{drift:#?}");
        (d.text.clone(), d.details.clone())
    }

    async fn none(&self, after: &str) {
        let drift = self.drift().await;
        assert_eq!(drift, Drift::default(), "{after}");
    }

    async fn deploy(&self, app: &Placement, text: &str) {
        let (outcome, why) = self.bare.deploy(app, text).await.unwrap();
        assert_eq!(outcome, Outcome::Done, "{why:?}");
    }

    /// What a person does in Nomad's UI, once the last rollout has ended.
    async fn scale_by_hand(&self, app: &Placement, count: u64) {
        let nomad = &self.bare.hands.nomad;
        eventually("nomad scales", PATIENCE, async || {
            match nomad.scale("default", &app.flat(), "web", count, "by hand").await {
                Ok(_) => Some(()),
                Err(e) if e.message.contains("active deployment") => None,
                Err(e) => panic!("{e}"),
            }
        })
        .await;
    }

    /// What a person does to the stored job, in Nomad's UI.
    async fn edit(&self, app: &Placement, edit: impl FnOnce(&mut serde_json::Value)) {
        let nomad = &self.bare.hands.nomad;
        let mut job = nomad.job("default", &app.flat()).await.unwrap().unwrap();
        edit(&mut job);
        nomad.register(&Registration { job, enforce_index: None, submission_hcl: None }).await.unwrap();
    }

    async fn scale(&self, app: &Placement, count: u32) {
        let counts = BTreeMap::from([("web".to_owned(), count)]);
        self.bare.deployer.change(&me(), app, &Change::Scale(counts)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_changed_by_hand_is_seen_and_what_the_words_say_sets_it_right() {
    let world = World::start().await;
    let (nomad, deployer) = (&world.bare.hands.nomad, &world.bare.deployer);
    let (app, quiet) = (app("drifts"), app("quiet"));
    let text = web(&app, "");
    // What Terreau does itself is no drift: deployed, scaled, stopped.
    world.deploy(&app, &text).await;
    world.deploy(&quiet, &web(&quiet, "")).await;
    world.scale(&app, 2).await;
    world.none("a scale").await;
    deployer.change(&me(), &quiet, &Change::Stop).await.unwrap();
    world.none("a stop").await;

    world.scale_by_hand(&app, 3).await;
    let (text_of, details) = world.only(&app, Kind::Job, DriftWhat::Counts).await;
    assert!(
        text_of.contains(&format!("scaled outside of Terreau; `terreau scale --app {app} web=2` sets")),
        "{text_of}"
    );
    assert_eq!(details, ["web has 3 where 2 was asked for"]);
    world.scale(&app, 2).await;
    world.none("the scale that was asked for").await;

    world
        .edit(&app, |job| {
            job["Priority"] = json!(70);
            job["TaskGroups"][0]["Tasks"][0]["Env"]["NEW"] = json!("canary-of-a-hand");
        })
        .await;
    let (_, details) = world.only(&app, Kind::Job, DriftWhat::Changed).await;
    assert!(details.contains(&"Priority".to_owned()), "{details:?}");
    assert!(details.iter().any(|d| d.starts_with("group web, task web, Env")), "{details:?}");
    world.deploy(&app, &text).await;
    world.none("a deploy of the same descriptor").await;

    nomad.deregister("default", &app.flat(), Purge::Keep).await.unwrap();
    let (text_of, _) = world.only(&app, Kind::Job, DriftWhat::Stopped).await;
    assert!(text_of.contains("`terreau start"), "{text_of}");
    deployer.change(&me(), &app, &Change::Start).await.unwrap();
    world.none("a start").await;

    nomad.deregister("default", &app.flat(), Purge::Purge).await.unwrap();
    world.only(&app, Kind::Job, DriftWhat::Gone).await;
    world.deploy(&app, &text).await;
    world.none("a deploy").await;

    world.scale_by_hand(&quiet, 1).await;
    world.only(&quiet, Kind::Job, DriftWhat::Started).await;
    deployer.change(&me(), &quiet, &Change::Stop).await.unwrap();
    world.none("a stop").await;
    // Purged while it is to stand still: as Nomad does by itself after some hours.
    nomad.deregister("default", &quiet.flat(), Purge::Purge).await.unwrap();
    world.none("an app that stands still and that Nomad has forgotten").await;

    // Registered again as it is: the index moved, and nothing differs.
    world.edit(&app, |job| job["TaskGroups"][0]["Count"] = json!(3)).await;
    world.edit(&app, |job| job["TaskGroups"][0]["Count"] = json!(2)).await;
    let job = nomad.job("default", &app.flat()).await.unwrap().unwrap();
    let head = deployer.runner().store().head(&app).await.unwrap().unwrap().value;
    assert_ne!(head.job_index, Some(JobView::of(&job).unwrap().job_modify_index()));
    world.none("a job that somebody put back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_owns_elsewhere_is_missed_where_it_is_gone_and_an_engine_that_is_away_is_named() {
    let world = World::start().await;
    let hands = &world.bare.hands;
    let app = app("owns");
    let text = first(&app);
    world.deploy(&app, &text).await;
    world.none("a deploy of one of each kind").await;
    let head = world.bare.deployer.runner().store().head(&app).await.unwrap().unwrap().value;
    let owned = |kind: Kind| head.owned.iter().find(|o| o.kind == kind).unwrap().id.clone();
    let session = SecretName::new("session").unwrap();

    let plain = app.secret_key(&session);
    let before = hands.consul.kv_get(&plain).await.unwrap().unwrap().value;
    hands.consul.kv_put(&plain, "canary-of-a-hand").await.unwrap();
    let (text_of, _) = world.only(&app, Kind::Secret, DriftWhat::Changed).await;
    assert!(
        text_of.contains("in Consul is not what Terreau wrote; what Terreau runs reads its own"),
        "{text_of}"
    );
    hands.consul.kv_delete(&plain).await.unwrap();
    world.only(&app, Kind::Secret, DriftWhat::Changed).await;
    // Any next release writes it again.
    let more = text.replace("SESSION = ", "MORE = \"1\"\n    SESSION = ");
    world.deploy(&app, &more).await;
    world.none("the next release").await;
    assert_eq!(hands.consul.kv_get(&plain).await.unwrap().unwrap().value, before);
    let version = app.secret_version_key(&session, 1);
    hands.consul.kv_delete(&version).await.unwrap();
    world.only(&app, Kind::Secret, DriftWhat::Gone).await;
    world.deploy(&app, &more).await;
    world.none("a deploy makes a generated one anew").await;
    world.deploy(&app, &text).await;

    let dn = owned(Kind::Account);
    let marked = hands.directory.get(&dn).await.unwrap().unwrap();
    let mark = marked.first("description").unwrap().to_owned();
    let other = "terreau:01hzzzzzzzzzzzzzzzzzzzzzzz".to_owned();
    let replace = |to: &str| {
        [directory::Change::Replace { attr: "description".to_owned(), values: vec![to.to_owned()] }]
    };
    hands.directory.modify(&dn, &replace(&other)).await.unwrap();
    world.only(&app, Kind::Account, DriftWhat::Foreign).await;
    hands.directory.modify(&dn, &replace(&mark)).await.unwrap();
    hands.directory.delete(&dn).await.unwrap();
    world.only(&app, Kind::Account, DriftWhat::Gone).await;
    world.deploy(&app, &text).await;
    world.none("a deploy after an account was deleted").await;

    let alias = owned(Kind::Bucket);
    let bucket = hands.garage.bucket_by_alias(&alias).await.unwrap().unwrap();
    hands.garage.delete_bucket(&bucket.id).await.unwrap();
    world.only(&app, Kind::Bucket, DriftWhat::Gone).await;
    world.deploy(&app, &text).await;
    world.none("a deploy after a bucket was deleted").await;

    hands.garage.delete_key(&owned(Kind::Key)).await.unwrap();
    world.only(&app, Kind::Key, DriftWhat::Gone).await;
    world.deploy(&app, &text).await;
    world.none("a deploy after a key was deleted").await;

    world.stack.kill(Part::Nomad).await;
    let drift = world.drift().await;
    assert!(drift.differences.is_empty(), "what cannot be seen is not gone: {drift:#?}");
    assert!(drift.unseen.len() == 1 && drift.unseen[0].contains("nomad"), "{drift:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_tells_a_difference_once_it_was_seen_twice_and_where_it_is_over() {
    let world = World::start().await;
    let (runner, deployer) = (world.bare.deployer.runner(), &world.bare.deployer);
    let app = app("told");
    world.deploy(&app, &web(&app, "")).await;
    let mut watch = DriftWatch::default();
    let told = async || {
        let events = deployer.events(&app, 100, Old::Hidden).await.unwrap();
        events.into_iter().filter(|e| e.what == "drift").map(|e| e.text).collect::<Vec<_>>()
    };
    assert_eq!(watch.pass(runner).await.unwrap(), Some(0));

    world.scale_by_hand(&app, 2).await;
    assert_eq!(watch.pass(runner).await.unwrap(), Some(1));
    assert_eq!(told().await, Vec::<String>::new(), "seen once only");
    assert_eq!(world.drift().await.differences[0].since, None);
    let at = runner.now().to_string();
    for _ in 0..3 {
        assert_eq!(watch.pass(runner).await.unwrap(), Some(1));
        world.bare.clock.advance(Duration::from_secs(60));
    }
    let since = world.drift().await.differences[0].since.clone();
    assert_eq!(since, Some(at.clone()), "since it was seen the second time");
    // Its status says so too, alone and among all.
    let wanted = [DriftedResource { kind: "job".to_owned(), id: app.flat(), since: at }];
    assert_eq!(deployer.status(&app).await.unwrap().drift, wanted);
    let all = deployer.status_all(|_, _| true).await.unwrap();
    assert_eq!(all.iter().map(|a| a.drift.as_slice()).collect::<Vec<_>>(), [&wanted]);
    // Another agent leads now: it knows what was told.
    let mut other = DriftWatch::default();
    for _ in 0..2 {
        assert_eq!(other.pass(runner).await.unwrap(), Some(1));
    }
    let lines = told().await;
    assert!(lines.len() == 1 && lines[0].contains("web has 2 where 1 was asked for"), "{lines:?}");

    world.scale(&app, 1).await;
    eventually(
        "it is scaled, and its status no longer says so though the leader has not looked yet",
        PATIENCE,
        async || deployer.status(&app).await.unwrap().drift.is_empty().then_some(()),
    )
    .await;
    assert_eq!(runner.store().drifts().await.unwrap().len(), 1);
    for _ in 0..2 {
        assert_eq!(other.pass(runner).await.unwrap(), Some(0));
    }
    let lines = told().await;
    assert!(
        lines.len() == 2 && lines[1].contains("job") && lines[1].contains("as it should be again"),
        "{lines:?}"
    );
    assert!(runner.store().drifts().await.unwrap().is_empty());
    let by: BTreeSet<String> = runner
        .store()
        .audits()
        .await
        .unwrap()
        .into_iter()
        .filter(|a| a.value.verb == "drift")
        .map(|a| a.value.by.login)
        .collect();
    assert_eq!(by, BTreeSet::from(["terreau".to_owned()]));
}
