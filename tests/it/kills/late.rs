//! A create that arrives when its operation has been taken back (MECHANISM's G3): what it leaves bears our mark, or is
//! of an app's name, and so is found; a key never comes back; and the agent that sent it does nothing more.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use terreau::engines::nomad::Registration;
use terreau::model::Placement;
use terreau::operation::session::FENCE;

use super::apps::{Change, first};
use super::wire::{State, Wire};
use super::world::World;
use super::{PATIENCE, PREFIX};
use crate::harness::{Part, StackOptions, eventually};
use crate::mechanism;

/// A first deploy whose create is held up, with its agent; the leader goes on, is refused, and takes everything back.
/// Then the create arrives, and the agent wakes.
async fn late(world: &World, app: &Placement, setting: &str, url: String, needle: &'static [u8]) {
    let wire = Wire::holding(&url, needle).await;
    let agent = world.agent_with(&[], &[format!("{setting}={}", wire.url)]).await;
    world.change(&agent.url, &Change::deploy(app, &first(app))).await;
    wire.wait_for(State::Stuck).await;
    agent.signal(Signal::STOP);
    eventually("the agent is paused", PATIENCE, async || agent.is_stopped().then_some(())).await;
    let since = Instant::now();
    let task = json!({"Name": "t", "Driver": "raw_exec", "Config": {"command": "/bin/true"}});
    let group = json!({"Name": "g", "Count": 0, "Tasks": [task]});
    let job = json!({"ID": app.flat(), "Name": app.flat(), "Type": "service", "Datacenters": [world.stack.site()],
                     "TaskGroups": [group]});
    let theirs = Registration { job, enforce_index: None, submission_hcl: None };
    world.nomad.register(&theirs).await.unwrap();
    world.expire(&agent).await;
    assert_eq!(world.rest(app, "a refusal").await, None);

    wire.release().await;
    tokio::time::sleep((FENCE + Duration::from_millis(500)).saturating_sub(since.elapsed())).await;
    agent.signal(Signal::CONT);
    // Once it has a session again it knows that the old one is gone.
    let name = agent.session_name();
    eventually("the agent is awake", PATIENCE, async || {
        world.consul().sessions().await.unwrap().iter().any(|s| s.name == name).then_some(())
    })
    .await;
    assert_eq!(world.rest(app, "waking").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn g3_a_create_that_comes_after_the_way_back_leaves_one_thing_that_is_found_and_nothing_more() {
    let mut world = World::start(StackOptions::engines().with(Part::Agent)).await;
    let leader = world.leader.clone();
    world.login(&leader).await;
    let stack = &world.stack;
    let calls = [
        ("directory.url", stack.ldap(), &b"displayname"[..]),
        ("garage.admin", stack.garage_admin(), b"POST /v2/CreateBucket"),
        ("garage.admin", stack.garage_admin(), b"POST /v2/ImportKey"),
    ];
    let apps = calls.each_ref().map(|_| mechanism::app(PREFIX));
    let all = calls.into_iter().zip(&apps);
    join_all(all.map(|((setting, url, needle), app)| late(&world, app, setting, url, needle))).await;

    let mut left: BTreeSet<String> = world.orphans().await.into_iter().collect();
    for app in &apps {
        assert!(left.remove(&format!("job {app} has no mark")), "what is not ours was taken away: {left:?}");
    }
    // By its mark, and by its app's name: a bucket can bear no mark. The key's id is used up.
    let [account, bucket, _] = &apps;
    let found = [
        format!("account cn={account},ou=services,ou=users,{} is nobody's (uid ", world.stack.base_dn()),
        format!("bucket {bucket}-media is nobody's"),
    ];
    for text in &found {
        assert!(left.iter().any(|l| l.starts_with(text)), "{text}: {left:?}");
    }
    assert_eq!(left.len(), found.len(), "{left:?}");
}
