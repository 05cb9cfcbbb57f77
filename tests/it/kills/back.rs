//! Agents that die one after another on one way back, and one that is asked to stop in the middle of a wait.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use terreau::engines::nomad::{JobView, Registration};
use terreau::model::head::{AppState, Outcome};
use terreau::store::keys;
use terreau::store::records::{OpRecord, StepSpec, StepState};

use super::apps::{Change, first, second};
use super::wire::{State, Wire};
use super::world::World;
use super::{PATIENCE, PREFIX};
use crate::harness::{StackOptions, eventually};
use crate::mechanism::{self, web};

/// Kinds of the steps of [`first`], last first: the way back.
const BACK: [&str; 7] = ["job", "key", "bucket", "account", "secret", "secret", "secret"];

#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_on_which_every_agent_dies_ends_and_a_graceful_stop_leaves_nothing_begun() {
    let begun = Instant::now();
    // No agent but those of this test: whoever lives leads.
    let mut world = World::start(StackOptions::engines()).await;
    let mut agent = world.agent(&[("TERREAU_KILL_AT", "deploy.job.before")]).await;
    world.login(&agent.url).await;
    let app = mechanism::app(PREFIX);
    world.change(&agent.url, &Change::deploy(&app, &first(&app))).await;
    eventually("the first agent dies", PATIENCE, async || agent.child.try_wait().unwrap()).await;
    // Somebody takes the job's name: the registration will be refused.
    let task = json!({"Name": "t", "Driver": "raw_exec", "Config": {"command": "/bin/true"}});
    let group = json!({"Name": "g", "Count": 0, "Tasks": [task]});
    let job = json!({"ID": app.flat(), "Name": app.flat(), "Type": "service", "Datacenters": [world.stack.site()],
                     "TaskGroups": [group]});
    let theirs = Registration { job, enforce_index: None, submission_hcl: None };
    let theirs = world.nomad.register(&theirs).await.unwrap().job_modify_index;
    world.expire(&agent).await;

    let mut deaths = vec!["deploy.undo-job.before".to_owned()];
    deaths.extend(BACK.map(|kind| format!("deploy.undo-{kind}.after")));
    deaths.extend(["deploy.close.before".to_owned(), "deploy.close.after".to_owned()]);
    for point in &deaths {
        let agent = world.agent(&[("TERREAU_KILL_AT", point)]).await;
        world.dies(agent, point).await;
    }
    assert_eq!(world.rest(&app, "the way back").await, None);
    let left = [format!("job {app} has no mark")];
    assert_eq!(world.orphans().await, left, "theirs is all that there is");
    let job = world.nomad.job("default", &app.flat()).await.unwrap().unwrap();
    assert_eq!(JobView::of(&job).unwrap().job_modify_index(), theirs, "what is not ours was changed");
    println!("kills: {} deaths on one way back; {:.1} s", deaths.len(), begun.elapsed().as_secs_f32());

    let mut agent = world.agent(&[]).await;
    let app = mechanism::app(PREFIX);
    let text = web(&app, "").replace(
        r#"["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "${port.http}"]"#,
        r#"["/bin/sh", "-c", "sleep 8; exec /usr/bin/python3 -m http.server --bind 127.0.0.1 ${port.http}"]"#,
    );
    world.change(&agent.url, &Change::deploy(&app, &text)).await;
    let settles = |op: &OpRecord| {
        op.steps.iter().any(|s| matches!(s.spec, StepSpec::JobSettle { .. }) && s.state == StepState::Begun)
    };
    eventually("the job is waited for", PATIENCE, async || {
        world.store.operations().await.unwrap().iter().any(|o| settles(&o.value)).then_some(())
    })
    .await;
    agent.signal(Signal::TERM);
    let status = eventually("the agent stops", PATIENCE, async || agent.child.try_wait().unwrap()).await;
    assert!(status.success(), "{status}");
    let open = world.store.operations().await.unwrap().remove(0).value;
    assert!(open.steps.iter().all(|s| s.state != StepState::Begun), "{open:?}");
    assert_eq!(world.consul().kv_get(&keys::lock(&app)).await.unwrap().and_then(|e| e.session), None);
    // No session is waited out: whoever comes goes on.
    let next = world.agent(&[]).await;
    let came = Instant::now();
    eventually("it is taken over", Duration::from_secs(10), async || {
        world.store.operations().await.unwrap().iter().all(|o| o.value.claim == 1).then_some(())
    })
    .await;
    let waited = came.elapsed();
    world.leader.clone_from(&next.url);
    let head = world.rest(&app, "a graceful stop").await;
    world.assert_runs(&app, head, 1, &text, "a graceful stop").await;
    assert_eq!(world.orphans().await, left);
    println!(
        "kills: taken over {:.1} s after an agent came; {:.1} s",
        waited.as_secs_f32(),
        begun.elapsed().as_secs_f32()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_that_is_cut_off_is_tried_again_and_a_redeploys_way_back_leaves_the_release_that_serves()
{
    let mut world = World::start(StackOptions::engines()).await;
    let mut agent = world.agent(&[("TERREAU_KILL_AT", "deploy.account.before")]).await;
    world.login(&agent.url).await;
    let app = mechanism::app(PREFIX);
    let (one, two) = (first(&app), second(&app));
    world.change(&agent.url, &Change::deploy(&app, &one)).await;
    world.dies(agent, "deploy.account.before").await;
    // It takes the lock, and cannot read what it is for: Consul is away for this one request.
    let wire = Wire::cutting(&world.stack.consul(), b"GET /v1/kv/terreau/v1/op/01").await;
    let next = world.agent_with(&[], &[format!("consul.address={}", wire.url)]).await;
    wire.wait_for(State::Stuck).await;
    world.leader.clone_from(&next.url);
    let head = world.rest(&app, "a take-over that was cut off").await;
    world.assert_runs(&app, head, 1, &one, "a take-over that was cut off").await;
    next.signal(Signal::KILL);
    world.dies(next, "the test's wish").await;

    agent = world.agent(&[("TERREAU_KILL_AT", "deploy.job.before")]).await;
    world.change(&agent.url, &Change::deploy(&app, &two)).await;
    eventually("the agent dies", PATIENCE, async || agent.child.try_wait().unwrap()).await;
    // The job's index moves: the registration will be refused.
    let mut job = world.nomad.job("default", &app.flat()).await.unwrap().unwrap();
    job["Priority"] = json!(51);
    let theirs = Registration { job, enforce_index: None, submission_hcl: None };
    world.nomad.register(&theirs).await.unwrap();
    world.expire(&agent).await;
    for point in ["undo-job.before", "undo-bucket.after", "undo-secret.after", "close.before", "close.after"]
    {
        let point = format!("deploy.{point}");
        let agent = world.agent(&[("TERREAU_KILL_AT", &point)]).await;
        world.dies(agent, &point).await;
    }
    let last = world.agent(&[]).await;
    world.leader.clone_from(&last.url);
    let head = world.rest(&app, "the way back").await.unwrap();
    assert_eq!(head.last_operation.map(|o| o.outcome), Some(Outcome::Undone));
    assert_eq!((head.state, head.release.map(|r| r.number.0)), (AppState::Live, Some(1)));
    let bucket = world.garage.bucket_by_alias(&format!("{}-media", app.flat())).await.unwrap().unwrap();
    assert_eq!(bucket.quotas.max_objects, Some(100));
    assert_eq!(world.orphans().await, Vec::<String>::new());
    // And only the job, which somebody changed, differs from it.
    let head = world.done(&Change::deploy(&app, &one)).await;
    world.assert_runs(&app, head, 3, &one, "the old release, deployed again").await;
}
