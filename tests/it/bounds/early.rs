//! Values that are written before the record that names them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use terreau::model::head::Outcome;
use terreau::model::{Placement, SecretName};
use terreau::operation::leader;
use terreau::store::keys;
use tokio_util::sync::CancellationToken;

use crate::harness::{StackOptions, eventually};
use crate::kills::apps::Change;
use crate::kills::world::{Agent, World};
use crate::mechanism::{Bare, app};

/// Keeps so many values for the next release; whatever the agent answers.
async fn stage(world: &World, url: &str, app: &Placement, count: usize, kept: &str) -> Option<Value> {
    let set: serde_json::Map<String, Value> =
        (0..count).map(|n| (format!("VALUE_{n}"), json!(format!("{kept} {n}")))).collect();
    let request = world.stack.http().post(format!("{url}/v1/apps/{app}/env")).bearer_auth(&world.token);
    let answer = request.json(&json!({ "set": set, "stage": true })).send().await.ok()?;
    let status = answer.status();
    let told = answer.json().await.ok()?;
    assert!(status.is_success(), "{status} {told}");
    Some(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_no_record_came_to_name_are_swept_and_those_of_others_stay() {
    let mut world = World::start(StackOptions::engines()).await;
    let first = world.agent(&[]).await;
    world.leader.clone_from(&first.url);
    world.login(&first.url).await;
    let app = app("early");
    let text = format!(
        "project \"{app}\" {{\n  process \"web\" {{ command = [\"/usr/bin/sleep\", \"1000\"] }}\n}}\n"
    );
    world.done(&Change::deploy(&app, &text)).await;
    let consul = world.consul().clone();
    let values = async || consul.kv_keys(&app.env_prefix()).await.unwrap();
    let doomed = async || consul.kv_keys(keys::DOOMED).await.unwrap();

    // Three transactions: the last one names them all.
    assert!(stage(&world, &first.url, &app, 60, "kept").await.is_some());
    let kept = values().await;
    assert_eq!((kept.len(), doomed().await.len()), (60, 0));

    // An agent that dies after the first of them.
    let mortal = world.agent(&[("TERREAU_KILL_AT", "given.early.after")]).await;
    assert!(stage(&world, &mortal.url, &app, 60, "lost").await.is_none());
    world.dies(mortal, "given.early.after").await;
    let now = values().await;
    assert!(now.len() > kept.len(), "it had written some");
    assert_eq!(doomed().await.len(), 1, "and said what they are");
    let head = world.store.head(&app).await.unwrap().unwrap().value;
    assert!(head.env.values().all(|version| *version == 1), "{:?}", head.env);

    // Another goes on meanwhile, past the numbers that were used.
    assert!(stage(&world, &first.url, &app, 60, "later").await.is_some());
    let later: Vec<String> = values().await.into_iter().filter(|k| !now.contains(k)).collect();
    assert_eq!(later.len(), 60);
    drop(first);

    let bare = Bare::on(&world.stack).await;
    bare.clock.advance(Duration::from_secs(2 * 3_600));
    let stop = CancellationToken::new();
    leader::start(bare.deployer.runner(), "127.0.0.1:1".into(), stop.clone());
    eventually("what nobody names is swept", Duration::from_secs(90), async || {
        doomed().await.is_empty().then_some(())
    })
    .await;
    let left = values().await;
    assert_eq!(left.len(), 120, "{left:?}");
    assert!(kept.iter().chain(&later).all(|k| left.contains(k)));
    stop.cancel();
}

/// Ends an agent as a crash would, and forgets its session.
async fn gone(world: &World, agent: Agent) {
    let name = agent.session_name();
    drop(agent);
    for session in world.consul().sessions().await.unwrap().into_iter().filter(|s| s.name == name) {
        world.consul().session_destroy(&session.id).await.unwrap();
    }
}

/// A number that a value once had is given to no other, whatever became of the first: written early by an agent that died
/// then and swept, or taken back with its operation. And a list of the sweep never outlives what it names.
#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_a_value_that_was_swept_or_undone_never_comes_back() {
    let mut world = World::start(StackOptions::engines()).await;
    let first = world.agent(&[]).await;
    world.leader.clone_from(&first.url);
    world.login(&first.url).await;
    let app = app("early");
    let text = |n: u32| {
        format!(
            "project \"{app}\" {{\n  process \"web\" {{\n    command = [\"/usr/bin/sleep\", \"{n}\"]\n    env = {{ KEY = secret.key }}\n  }}\n  \
             secret \"key\" {{ type = \"user\" }}\n}}\n"
        )
    };
    let deploy = |n: u32, key: &str| {
        Change::Deploy(app.clone(), json!({ "descriptor": text(n), "secrets": { "key": key } }))
    };
    world.done(&deploy(1_000, "canary-first")).await;
    let consul = world.consul().clone();
    let values = async || consul.kv_keys(&app.env_prefix()).await.unwrap();

    let mortal = world.agent(&[("TERREAU_KILL_AT", "given.early.after")]).await;
    assert!(stage(&world, &mortal.url, &app, 60, "lost").await.is_none());
    world.dies(mortal, "given.early.after").await;
    let lost = values().await;
    assert!(!lost.is_empty() && lost.iter().all(|k| k.ends_with("/1")), "{lost:?}");
    let [mut doomed] = world.store.doomed().await.unwrap().try_into().unwrap();
    doomed.value.not_before = "2020-01-01T00:00:00Z".to_owned();
    gone(&world, first).await;
    let due = serde_json::to_vec(&doomed.value).unwrap();
    consul.kv_put(&keys::doomed(&doomed.value.id), due).await.unwrap();
    let sweeper = world.agent(&[("TERREAU_KILL_AT", "sweep.end.before")]).await;
    world.dies(sweeper, "sweep.end.before").await;
    assert_eq!(
        (values().await, world.store.doomed().await.unwrap().len()),
        (lost.clone(), 1),
        "both, or none"
    );

    let next = world.agent(&[]).await;
    world.leader.clone_from(&next.url);
    eventually("what nobody names is swept", Duration::from_secs(90), async || {
        world.store.doomed().await.unwrap().is_empty().then_some(())
    })
    .await;
    assert!(values().await.is_empty());
    assert!(stage(&world, &next.url, &app, 60, "later").await.is_some());
    let later = values().await;
    assert!(later.len() == 60 && later.iter().all(|k| k.ends_with("/2")), "{later:?}");

    // Undone, by whoever takes it over: the value is gone, its number is not free.
    let mortal = world.agent(&[("TERREAU_KILL_AT", "deploy.secret-given.before")]).await;
    world.change(&mortal.url, &deploy(1_001, "canary-second")).await;
    world.dies(mortal, "deploy.secret-given.before").await;
    let versions = async || consul.kv_keys(&format!("{}.v/key/", app.secrets_prefix())).await.unwrap();
    let given = versions().await;
    let [open] = world.store.operations().await.unwrap().try_into().unwrap();
    let path = format!("/v1/operations/{}/cancel", open.value.id);
    let (status, told) = world.ask(&world.leader, Method::POST, &path, None).await.unwrap();
    assert_eq!(status, 202, "{told}");
    let head = world.rest(&app, "an undone deploy").await.unwrap();
    assert_eq!(head.last_operation.unwrap().outcome, Outcome::Undone);
    assert_eq!((given.len(), versions().await.len()), (2, 1), "its value is taken back: {given:?}");
    let head = world.done(&deploy(1_001, "canary-third")).await.unwrap();
    let key = SecretName::new("key").unwrap();
    let number = |k: &String| k.rsplit('/').next().unwrap().parse::<u64>().unwrap();
    let undone = given.iter().map(number).max().unwrap();
    assert_eq!(head.secrets[&key], undone + 1, "{head:?}");
}
