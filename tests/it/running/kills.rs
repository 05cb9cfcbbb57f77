//! Plans of one step under `kill -9` and lost replies: another agent repeats the intent, and what was asked is what is.
//!
//! The points come from a life in which nobody dies, so that new ones are covered unasked.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use terreau::engines::nomad::JobView;
use terreau::model::Placement;
use terreau::model::head::{Head, Wanted};
use terreau::store::keys;

use crate::harness::{Part, StackOptions, eventually};
use crate::kills::apps::Change;
use crate::kills::wire::{State, Wire};
use crate::kills::world::World;
use crate::kills::{PATIENCE, points};
use crate::mechanism::{app, web};

/// Lives at once: more only wait for each other.
const AT_ONCE: usize = 4;

/// The changes of a life, in order; each with what is there after it.
fn changes() -> Vec<(&'static str, Value, Wanted, u64)> {
    vec![
        ("scale", json!({"counts": {"web": 2}}), Wanted::Running, 2),
        ("restart", json!({}), Wanted::Running, 2),
        ("stop", json!({}), Wanted::Stopped, 0),
        ("scale", json!({"counts": {"web": 1}}), Wanted::Stopped, 0),
        ("start", json!({}), Wanted::Running, 1),
    ]
}

/// Nobody holds the app, and no intent stands on it.
async fn rest(world: &World, app: &Placement, after: &str) -> Head {
    eventually(&format!("{app} is at rest after {after}"), PATIENCE, async || {
        let open = world.consul().kv_keys(keys::INTENTS).await.unwrap();
        let mine = world.store.head(app).await.unwrap().unwrap().value;
        let known = mine.intent.as_ref().is_none_or(|i| open.contains(&keys::intent(&i.id)));
        assert!(known, "{after}: an intent without its key");
        mine.intent.is_none().then_some(())
    })
    .await;
    world.rest(app, after).await.unwrap()
}

/// Each living instance, and when its task began.
async fn began(world: &World, app: &Placement) -> BTreeMap<String, String> {
    let all = world.nomad.allocations("default", &app.flat()).await.unwrap();
    let live = all.iter().filter(|a| !a.is_terminal());
    live.filter_map(|a| Some((a.id.clone(), a.task_states.get("web")?.started_at.clone()?))).collect()
}

async fn healthy(world: &World, app: &Placement, count: usize) {
    eventually(&format!("{app} has {count} healthy instances"), PATIENCE, async || {
        let passing = world.consul().health(&app.flat()).await.unwrap();
        (passing.iter().filter(|i| i.is_passing()).count() == count && passing.len() == count).then_some(())
    })
    .await;
}

/// The head and Nomad are as asked, and the head knows what Nomad holds.
async fn assert_is(world: &World, head: &Head, wanted: Wanted, count: u64, after: &str) {
    let job = world.nomad.job("default", &head.app.flat()).await.unwrap().unwrap();
    let view = JobView::of(&job).unwrap();
    assert_eq!(view.counts(), BTreeMap::from([("web", count)]), "{after}");
    assert!(!view.is_stopped(), "{after}: a count of 0 is not a deregistered job");
    assert_eq!((head.wanted, head.stopped.is_some()), (wanted, wanted == Wanted::Stopped), "{after}");
    assert_eq!(head.job_index, Some(view.job_modify_index()), "{after}: the head does not know the job");
    healthy(world, &head.app, usize::try_from(count).unwrap()).await;
    // Nomad's servers hear of a task's begin a moment after Consul hears of its check.
    eventually(&format!("{after}: nomad knows when each instance began"), PATIENCE, async || {
        (began(world, &head.app).await.len() == usize::try_from(count).unwrap()).then_some(())
    })
    .await;
}

/// A life: each change by an agent that dies at its point, or by the leader where it has none.
async fn live(world: &World, fates: &[Option<String>]) -> Vec<Vec<String>> {
    let app = app("intent");
    world.done(&Change::deploy(&app, &web(&app, ""))).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("points");
    let listing = fates.is_empty();
    let lister =
        if listing { Some(world.agent(&[("TERREAU_POINTS", file.to_str().unwrap())]).await) } else { None };
    let mut passed = Vec::new();
    for (n, (verb, body, wanted, count)) in changes().into_iter().enumerate() {
        let before = began(world, &app).await;
        let asked = Change::Run(app.clone(), verb, body);
        let point = fates.get(n).cloned().flatten();
        let what = format!("{verb} ({})", point.as_deref().unwrap_or("nobody dies"));
        match (&lister, &point) {
            (Some(agent), _) => world.change(&agent.url, &asked).await,
            (None, Some(point)) => {
                let agent = world.agent(&[("TERREAU_KILL_AT", point)]).await;
                world.change(&agent.url, &asked).await;
                world.dies(agent, point).await;
            }
            (None, None) => world.change(&world.leader, &asked).await,
        }
        let mut head = rest(world, &app, &what).await;
        if point.as_ref().is_some_and(|p| p.contains(".intent.before")) {
            // Nothing was begun: the old is there, whole.
            let (_, _, old, number) =
                changes().into_iter().nth(n.wrapping_sub(1)).unwrap_or(("", Value::Null, Wanted::Running, 1));
            assert_is(world, &head, old, number, &what).await;
            world.change(&world.leader, &asked).await;
            head = rest(world, &app, &what).await;
        }
        assert_is(world, &head, wanted, count, &what).await;
        if verb == "restart" {
            let after = began(world, &app).await;
            assert_eq!(
                before.keys().collect::<Vec<_>>(),
                after.keys().collect::<Vec<_>>(),
                "{what}: in place"
            );
            assert!(before.iter().all(|(id, at)| after[id] > *at), "{what}: {before:?} {after:?}");
        }
        if listing {
            passed.push(points::passed(&file));
        }
    }
    let audits = world.store.audits().await.unwrap();
    let mine = audits.iter().filter(|a| a.value.app == app && a.value.verb != "deploy").count();
    assert_eq!(mine, changes().len(), "one audit record for each change");
    passed
}

/// The design's acceptance for plans of one step, at every point there is.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_at_any_point_of_a_start_stop_scale_or_restart_has_it_finished_by_another() {
    let mut world = World::start(StackOptions::engines().with(Part::Agent)).await;
    let leader = world.leader.clone();
    world.login(&leader).await;
    let world = &world;
    let passed = live(world, &[]).await;
    let all: usize = passed.iter().map(Vec::len).sum();
    for (list, at_least) in passed.iter().zip([6, 8, 6, 4, 6]) {
        assert!(list.len() >= at_least, "{passed:#?}");
    }
    let longest = passed.iter().map(Vec::len).max().unwrap();
    let lives = (0..longest).map(|n| {
        let fates: Vec<Option<String>> = passed.iter().map(|list| list.get(n).cloned()).collect();
        async move { live(world, &fates).await }
    });
    stream::iter(lives).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    assert_eq!(world.orphans().await, Vec::<String>::new());
    println!("running: {all} points of {} changes in {longest} lives", passed.len());
}

/// What an engine did and could not tell: the intent is closed as if it had been told, and nothing is done twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_of_nomad_or_consul_leaves_a_change_whole() {
    let mut world = World::start(StackOptions::engines().with(Part::Agent)).await;
    let leader = world.leader.clone();
    world.login(&leader).await;
    let app = app("lost");
    world.done(&Change::deploy(&app, &web(&app, ""))).await;
    let (nomad, consul) = (world.stack.nomad(), world.stack.consul());
    let cases = [
        ("nomad.address", nomad.as_str(), &b"POST /v1/jobs?"[..], 2),
        ("consul.address", consul.as_str(), &b"terreau/v1/intent/"[..], 3),
        ("nomad.address", nomad.as_str(), &b"POST /v1/jobs?"[..], 1),
    ];
    for (setting, url, needle, count) in cases {
        let wire = Wire::losing(url, needle).await;
        let agent = world.agent_with(&[], &[format!("{setting}={}", wire.url)]).await;
        let before = world.nomad.job("default", &app.flat()).await.unwrap().unwrap();
        world.change(&agent.url, &Change::Run(app.clone(), "scale", json!({"counts": {"web": count}}))).await;
        wire.wait_for(State::Answered).await;
        let head = rest(&world, &app, setting).await;
        assert_is(&world, &head, Wanted::Running, count, setting).await;
        let after = world.nomad.job("default", &app.flat()).await.unwrap().unwrap();
        assert_eq!(
            after["Version"].as_u64().unwrap() - before["Version"].as_u64().unwrap(),
            1,
            "{setting}: once"
        );
    }
}
