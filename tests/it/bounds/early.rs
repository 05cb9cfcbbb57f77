//! Values that are written before the record that names them.

use std::time::Duration;

use serde_json::{Value, json};
use terreau::model::Placement;
use terreau::operation::leader;
use terreau::store::keys;
use tokio_util::sync::CancellationToken;

use crate::harness::{StackOptions, eventually};
use crate::kills::apps::Change;
use crate::kills::world::World;
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
