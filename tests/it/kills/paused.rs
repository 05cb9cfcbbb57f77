//! An agent that is paused for longer than its session lives, and wakes when another has taken over (MECHANISM's G3):
//! it does at most the one call that its record says was begun, and nothing is left half.
//!
//! Consul would end a paused agent's session 10 to 20 s after its last renewal; here it is destroyed at once. The
//! fence shuts 6 s after that renewal in both cases: nobody is woken before.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rustix::process::Signal;
use terreau::model::Placement;
use terreau::operation::session::FENCE;
use terreau::store::keys;

use super::apps::{Change, first, second};
use super::wire::{State, Wire};
use super::world::{Agent, World};
use super::{PATIENCE, PREFIX};
use crate::harness::{Part, StackOptions, eventually};
use crate::mechanism::app;

/// Where a first deploy's agent is paused: the step in hand is `begun`, and its call was not made yet, or was made and
/// not recorded.
const POINTS: [&str; 6] = [
    "deploy.account.before",
    "deploy.bucket.after",
    "deploy.key.before",
    "deploy.job.before",
    "deploy.job.after",
    "deploy.close.before",
];

/// How an agent comes to be paused.
enum Pause {
    /// It stops at this point.
    At(&'static str),
    /// This request of it is on its way to the engine of this setting, and comes late.
    Call(&'static str, String, &'static [u8]),
}

impl World {
    /// Everything that the engines hold of an app, with the indexes that any write moves.
    async fn everything(&self, app: &Placement) -> Vec<String> {
        let mut all = Vec::new();
        for prefix in [format!("secrets/{}/", app.flat()), keys::head(app)] {
            let entries = self.consul().kv_list(&prefix).await.unwrap();
            all.extend(entries.iter().map(|e| format!("{} {}", e.key, e.modify_index)));
        }
        let open = self.store.operations().await.unwrap();
        all.extend(open.iter().filter(|o| o.value.app == *app).map(|o| format!("{o:?}")));
        let job = self.nomad.job("default", &app.flat()).await.unwrap().unwrap();
        all.push(format!("job {} {} {}", job["Version"], job["JobModifyIndex"], job["ModifyIndex"]));
        let dn = format!("cn={},ou=services,ou=users,{}", app.flat(), self.stack.base_dn());
        all.push(format!("{:?}", self.directory.get(&dn).await.unwrap()));
        let bucket = self.garage.bucket_by_alias(&format!("{}-media", app.flat())).await.unwrap();
        all.push(format!("{bucket:?}"));
        let head = self.store.head(app).await.unwrap().unwrap().value;
        let mut keys = self.garage.keys().await.unwrap();
        keys.retain(|k| k.name.starts_with(&format!("terreau:{}", head.uid)));
        all.push(format!("{keys:?}"));
        all
    }

    /// Whether this agent has a session.
    async fn has_session(&self, agent: &Agent) -> bool {
        self.consul().sessions().await.unwrap().iter().any(|s| s.name == agent.session_name())
    }
}

/// The points that a file lists.
fn lines(file: &PathBuf) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A first deploy by an agent that is paused in it; the leader ends it and makes another release; then it wakes.
async fn sleeper(world: &World, pause: Pause) {
    let app = app(PREFIX);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("points");
    let listed = ("TERREAU_POINTS", file.to_str().unwrap());
    let (agent, late, what) = match pause {
        Pause::At(point) => {
            (world.agent(&[listed, ("TERREAU_STOP_AT", point)]).await, None, point.to_owned())
        }
        Pause::Call(setting, url, needle) => {
            let late = Wire::holding(&url, needle).await;
            let settings = [format!("{setting}={}", late.url)];
            let what = format!("{} on its way", String::from_utf8_lossy(needle));
            (world.agent_with(&[listed], &settings).await, Some(late), what)
        }
    };
    let (one, two) = (first(&app), second(&app));
    let asked = Change::deploy(&app, &one);
    let pausing = async {
        if let Some(late) = &late {
            late.wait_for(State::Stuck).await;
            agent.signal(Signal::STOP);
        }
        eventually(&format!("the agent is paused at {what}"), PATIENCE, async || {
            agent.is_stopped().then_some(())
        })
        .await;
    };
    // The answer may be paused with it.
    let asking = async {
        world.change(&agent.url, &asked).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = asking => {}
        () = pausing => {}
    }
    let since = Instant::now();
    world.expire(&agent).await;
    let head = world.rest(&app, &what).await;
    world.assert_runs(&app, head, 1, &one, &what).await;
    // What a late call of the first release could spoil.
    let head = world.done(&Change::deploy(&app, &two)).await;
    world.assert_runs(&app, head, 2, &two, &what).await;

    let before = world.everything(&app).await;
    if let Some(late) = &late {
        late.release().await;
        assert_eq!(world.everything(&app).await, before, "{what}: the late call did something");
    }
    tokio::time::sleep((FENCE + Duration::from_millis(500)).saturating_sub(since.elapsed())).await;
    let until_now = lines(&file).len();
    agent.signal(Signal::CONT);
    // It hears that its session is gone, and gets another one.
    eventually(&format!("{what}: the agent is awake"), PATIENCE, async || {
        world.has_session(&agent).await.then_some(())
    })
    .await;
    assert_eq!(world.everything(&app).await, before, "{what}: the woken agent did something");
    // It serves again, and goes on with nothing of what it had in hand.
    world.change(&agent.url, &Change::Rollback(app.clone())).await;
    let head = world.rest(&app, &what).await;
    world.assert_runs(&app, head, 3, &one, &what).await;
    let after: Vec<String> = lines(&file).drain(until_now..).filter(|l| l.starts_with("deploy.")).collect();
    assert!(
        after.len() <= 1 && after.iter().all(|l| l.strip_suffix(".after").is_some()),
        "{what}: {after:?}"
    );
    println!("kills: {what}: paused for {:.1} s", since.elapsed().as_secs_f32());
}

#[tokio::test(flavor = "multi_thread")]
async fn g3_an_agent_that_wakes_when_another_has_taken_over_does_nothing_more_and_nothing_is_half() {
    let begun = Instant::now();
    let mut world = World::start(StackOptions::engines().with(Part::Agent)).await;
    let leader = world.leader.clone();
    world.login(&leader).await;
    let stack = &world.stack;
    let calls = [
        ("nomad.address", stack.nomad(), &b"POST /v1/jobs?"[..]),
        ("garage.admin", stack.garage_admin(), b"POST /v2/ImportKey"),
        ("directory.url", stack.ldap(), b"displayname"),
    ];
    let calls = calls.map(|(setting, url, needle)| Pause::Call(setting, url, needle));
    let sleepers = POINTS.map(Pause::At).into_iter().chain(calls);
    join_all(sleepers.map(|pause| sleeper(&world, pause))).await;
    assert_eq!(world.orphans().await, Vec::<String>::new());
    println!("kills: {} agents woke too late; {:.1} s", POINTS.len() + 3, begun.elapsed().as_secs_f32());
}
