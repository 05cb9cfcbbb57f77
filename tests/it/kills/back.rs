//! Agents that die one after another on one way back, and one that is asked to stop in the middle of a wait.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use terreau::engines::nomad::{JobView, Registration};
use terreau::store::keys;
use terreau::store::records::{OpRecord, StepSpec, StepState};

use super::apps::{Change, descriptor, first};
use super::world::World;
use super::{PATIENCE, PREFIX};
use crate::harness::{StackOptions, eventually};
use crate::mechanism;

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
    let text = descriptor(&app, "").replace(
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
