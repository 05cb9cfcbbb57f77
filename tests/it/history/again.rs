//! Secrets that a release dropped and a later one has again: the old value as long as it is there, a new one afterwards,
//! and never one that the sweep takes from under it.

use std::time::Duration;

use rustix::process::Signal;
use terreau::clock::Clock;
use terreau::deploy::{Accepted, DeployInput, Ill};
use terreau::model::head::{Kind, Outcome};
use terreau::model::{Placement, ReleaseNumber, SecretName};
use terreau::operation::run::fresh_uid;
use terreau::operation::sweep;
use terreau::store::keys;
use terreau::store::records::{Doomed, DoomedThing, Verb};

use super::PATIENCE;
use crate::harness::{self, StackOptions, eventually};
use crate::kills::apps::Change;
use crate::kills::world::World;
use crate::mechanism::{Bare, app, me, web};

const DECLARED: &str = r#"secret "made" { type = "generated" }
  secret "told" { type = "user" }
  env = { MADE = "${secret.made}", TOLD = "${secret.told}" }"#;

fn name(name: &str) -> SecretName {
    SecretName::new(name).unwrap()
}

/// What Consul holds of an app's secrets.
async fn values(bare: &Bare, app: &Placement) -> Vec<(String, String)> {
    let all = bare.hands.consul.kv_list(&format!("secrets/{app}/")).await.unwrap();
    let text = |e: &terreau::engines::consul::KvEntry| String::from_utf8(e.value.to_vec()).unwrap();
    let of = |key: &str| key.strip_prefix(&format!("secrets/{app}/")).unwrap().to_owned();
    all.iter().map(|e| (of(&e.key), text(e))).collect()
}

/// The lists of the sweep that name a secret of this app.
async fn listed(bare: &Bare, app: &Placement) -> usize {
    let all = bare.deployer.runner().store().doomed().await.unwrap();
    all.iter()
        .filter(|d| d.value.app == *app && d.value.things.iter().any(|t| t.kind == Kind::Secret))
        .count()
}

async fn sweep(bare: &Bare) {
    bare.clock.advance(Duration::from_secs(2 * 3600));
    let lease = bare.session.lease().unwrap();
    sweep::sweep(bare.deployer.runner(), &lease).await.unwrap();
}

async fn plan(bare: &Bare, app: &Placement, text: &str) -> terreau::plan::Plan {
    let input = DeployInput { descriptor: text.to_owned(), ..DeployInput::default() };
    bare.deployer.plan(&me(), app, &input).await.unwrap()
}

async fn back(bare: &Bare, app: &Placement, to: u64) -> Vec<String> {
    let (accepted, _) =
        bare.deployer.rollback(&me(), app, Some(ReleaseNumber(to)), None, Ill::Refused).await.unwrap();
    let Accepted::Operation(id) = accepted else { panic!("nothing was to be done") };
    let (outcome, why) = bare.end_of(id.clone()).await;
    assert_eq!(outcome, Outcome::Done, "{why:?}");
    let (past, _) = bare.deployer.runner().hub().follow(&id).unwrap();
    let note = |p| match p {
        terreau::operation::Progress::Note { text } => Some(text),
        _ => None,
    };
    past.into_iter().filter_map(note).collect()
}

#[tokio::test]
async fn a_dropped_secret_has_its_value_again_until_the_sweep_has_taken_it_and_the_plan_says_which() {
    let bare = Bare::on(harness::shared().await).await;
    let app = app("again");
    let (with, without) = (web(&app, DECLARED), web(&app, ""));
    let input = DeployInput {
        descriptor: with.clone(),
        secrets: [(name("told"), "the told value".to_owned().into())].into(),
        ..DeployInput::default()
    };
    let Accepted::Operation(id) = bare.deployer.deploy(&me(), &app, &input).await.unwrap() else { panic!() };
    assert_eq!(bare.end_of(id).await.0, Outcome::Done);
    let first = values(&bare, &app).await;
    assert_eq!(first.len(), 4, "two values, each twice");

    let dropped = async || assert_eq!(bare.deploy(&app, &without).await.unwrap().0, Outcome::Done);
    dropped().await;
    assert_eq!((values(&bare, &app).await, listed(&bare, &app).await), (first.clone(), 1));
    let seen = plan(&bare, &app, &with).await;
    assert!(seen.obstacles.is_empty(), "{:?}", seen.obstacles);
    for name in ["made", "told"] {
        let says = |n: &&String| n.contains(&format!("secret {name} has version 1 again"));
        assert!(seen.notes.iter().find(says).is_some_and(|n| n.contains(" UTC")), "{:?}", seen.notes);
    }

    // By a rollback, by another deploy: it is off the list, and stays.
    let notes = back(&bare, &app, 1).await;
    assert!(notes.iter().any(|n| n.contains("made has version 1 again")), "{notes:?}");
    assert_eq!((values(&bare, &app).await, listed(&bare, &app).await), (first.clone(), 0));
    sweep(&bare).await;
    assert_eq!(values(&bare, &app).await, first);
    dropped().await;
    assert_eq!(bare.deploy(&app, &with).await.unwrap().0, Outcome::Done);
    assert_eq!((values(&bare, &app).await, listed(&bare, &app).await), (first.clone(), 0));

    // Swept, it is gone, and its number never comes back.
    dropped().await;
    sweep(&bare).await;
    assert_eq!(values(&bare, &app).await, []);
    let seen = plan(&bare, &app, &with).await;
    assert!(seen.notes.iter().any(|n| n.contains("made gets a new value")), "{:?}", seen.notes);
    let [obstacle] = &seen.obstacles[..] else { panic!("{:?}", seen.obstacles) };
    assert!(obstacle.why.contains("told has no value: what it had was deleted"), "{}", obstacle.why);
    let made = web(&app, "secret \"made\" { type = \"generated\" }\n  env = { MADE = \"${secret.made}\" }");
    assert_eq!(bare.deploy(&app, &made).await.unwrap().0, Outcome::Done);
    let second = values(&bare, &app).await;
    let of = |all: &[(String, String)], key: &str| all.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
    assert!(of(&second, ".v/made/2").is_some() && of(&second, ".v/made/1").is_none(), "made again");
    assert_ne!(of(&second, "made"), of(&first, "made"));
    assert_eq!(of(&second, "made"), of(&second, ".v/made/2"));
}

/// A sweep takes the values and is then stopped, by an engine that is away or by its agent's end.
#[tokio::test]
async fn a_number_never_comes_back_after_a_sweep_that_did_not_get_to_its_end() {
    let bare = Bare::on(harness::shared().await).await;
    let app = app("stopped");
    let with = web(&app, "secret \"made\" { type = \"generated\" }\n  env = { MADE = \"${secret.made}\" }");
    assert_eq!(bare.deploy(&app, &with).await.unwrap().0, Outcome::Done);
    assert_eq!(bare.deploy(&app, &web(&app, "")).await.unwrap().0, Outcome::Done);
    let all = bare.deployer.runner().store().doomed().await.unwrap();
    let mut doomed = all.into_iter().find(|d| d.value.app == app).unwrap().value;
    doomed.things.push(DoomedThing::new(Kind::Account, "no name of an entry", vec![]));
    let list = serde_json::to_vec(&doomed).unwrap();
    bare.hands.consul.kv_put(&keys::doomed(&doomed.id), list).await.unwrap();
    sweep(&bare).await;
    assert_eq!((values(&bare, &app).await, listed(&bare, &app).await), (vec![], 1));
    assert_eq!(bare.deploy(&app, &with).await.unwrap().0, Outcome::Done);
    let now = values(&bare, &app).await;
    assert!(now.iter().any(|(key, _)| key == ".v/made/2"), "{now:?}");
}

/// More lists name what comes back than a transaction takes.
#[tokio::test]
async fn secrets_that_were_dropped_one_by_one_come_back_together() {
    const MANY: usize = 64;
    let bare = Bare::on(harness::shared().await).await;
    let app = app("one-by-one");
    let secrets: String =
        (0..MANY).map(|n| format!("secret \"s{n}\" {{ type = \"generated\" }}\n  ")).collect();
    let env: Vec<String> = (0..MANY).map(|n| format!("S{n} = \"${{secret.s{n}}}\"")).collect();
    let with = web(&app, &format!("{secrets}env = {{ {} }}", env.join(", ")));
    assert_eq!(bare.deploy(&app, &with).await.unwrap().0, Outcome::Done);
    let first = values(&bare, &app).await;
    assert_eq!(bare.deploy(&app, &web(&app, "")).await.unwrap().0, Outcome::Done);
    let consul = &bare.hands.consul;
    let all = bare.deployer.runner().store().doomed().await.unwrap();
    let doomed = all.into_iter().find(|d| d.value.app == app).unwrap().value;
    for thing in doomed.things.iter().filter(|t| t.kind == Kind::Secret) {
        let id = fresh_uid(bare.clock.now());
        let one = Doomed { id: id.clone(), things: vec![thing.clone()], ..doomed.clone() };
        consul.kv_put(&keys::doomed(&id), serde_json::to_vec(&one).unwrap()).await.unwrap();
    }
    consul.kv_delete(&keys::doomed(&doomed.id)).await.unwrap();
    assert_eq!(listed(&bare, &app).await, MANY);
    assert_eq!(bare.deploy(&app, &with).await.unwrap().0, Outcome::Done);
    sweep(&bare).await;
    assert_eq!((values(&bare, &app).await, listed(&bare, &app).await), (first, 0));
}

/// Whoever takes a secret up again dies half-way, and a sweep is paused where it is about to delete: the value stays.
#[tokio::test(flavor = "multi_thread")]
async fn g3_no_sweep_deletes_a_value_that_is_being_taken_up_again() {
    let mut world = World::start(StackOptions::engines()).await;
    let app = app("again");
    let with = web(&app, "secret \"made\" { type = \"generated\" }\n  env = { MADE = \"${secret.made}\" }");
    let (with, without) = (Change::deploy(&app, &with), Change::deploy(&app, &web(&app, "")));
    let mortal = world.agent(&[("TERREAU_KILL_AT", "deploy.job.before#3")]).await;
    world.leader.clone_from(&mortal.url);
    world.login(&mortal.url).await;
    world.done(&with).await;
    let key = format!("secrets/{app}/.v/made/1");
    let value = world.consul().kv_get(&key).await.unwrap().unwrap().value;
    world.done(&without).await;
    world.change(&mortal.url, &with).await;
    world.dies(mortal, "deploy.job.before#3").await;

    // Nobody drives the deploy now, and the hour is over.
    let bare = Bare::on(&world.stack).await;
    let runner = bare.deployer.runner();
    let lock =
        eventually("the lock is free", PATIENCE, async || runner.lock(&app, &me(), Verb::Delete).await.ok())
            .await;
    runner.unlock(lock).await;
    sweep(&bare).await;
    assert_eq!(listed(&bare, &app).await, 1, "it waits for the deploy's end");
    let consul = world.consul().clone();
    let there = async || consul.kv_get(&key).await.unwrap().map(|e| e.value);
    assert_eq!(there().await.as_ref(), Some(&value));
    let next = world.agent(&[]).await;
    let head = world.rest(&app, "the take-over").await.unwrap();
    assert_eq!((head.secrets.get(&name("made")), listed(&bare, &app).await), (Some(&1), 0), "{head:?}");

    // Dropped once more, with an hour that is over at once.
    world.leader.clone_from(&next.url);
    world.done(&without).await;
    let [mut doomed] = world.store.doomed().await.unwrap().try_into().unwrap();
    let next_session = next.session_name();
    drop(next);
    for session in world.consul().sessions().await.unwrap().into_iter().filter(|s| s.name == next_session) {
        world.consul().session_destroy(&session.id).await.unwrap();
    }
    let list = async |doomed: &Doomed| {
        consul.kv_put(&keys::doomed(&doomed.id), serde_json::to_vec(doomed).unwrap()).await.unwrap();
    };
    let due = doomed.value.not_before;
    doomed.value.not_before = "2020-01-01T00:00:00Z".to_owned();
    list(&doomed.value).await;
    let sweeper = world.agent(&[("TERREAU_STOP_AT", "sweep.values.before")]).await;
    eventually("the sweep is paused", PATIENCE, async || sweeper.is_stopped().then_some(())).await;
    // The next leader finds it not due.
    doomed.value.not_before = due;
    list(&doomed.value).await;
    world.expire(&sweeper).await;
    let other = world.agent(&[]).await;
    world.leader.clone_from(&other.url);
    world.done(&with).await;
    sweeper.signal(Signal::CONT);
    let log = world.stack.dir().join(format!("{}.log", sweeper.name));
    eventually("the sweep has tried", PATIENCE, async || {
        std::fs::read_to_string(&log).unwrap().contains("not swept yet").then_some(())
    })
    .await;
    assert_eq!(there().await, Some(value), "what serves is still there");
    assert_eq!(listed(&bare, &app).await, 0);
    assert_eq!(world.store.head(&app).await.unwrap().unwrap().value.secrets.get(&name("made")), Some(&1));
}
