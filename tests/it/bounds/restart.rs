//! A rolling restart under a lost answer.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use terreau::engines::consul::Instance;
use terreau::model::Placement;

use crate::harness::{Part, StackOptions};
use crate::kills::apps::Change;
use crate::kills::wire::Wire;
use crate::kills::world::World;
use crate::mechanism::app;

/// Serves, some seconds after it was begun.
fn slow(app: &Placement) -> String {
    format!(
        r#"project "{name}" {{
  process "web" {{
    command = ["/bin/sh", "-c", "sleep 5; exec python3 -m http.server --bind 127.0.0.1 $PORT"]
    instances = 2
    port "http" {{}}
    check "http" {{ path = "/" }}
    route "{name}.example.org" {{}}
  }}
}}
"#,
        name = app.project
    )
}

/// When each living instance began, and which of them pass.
async fn look(world: &World, app: &Placement) -> (BTreeMap<String, String>, Vec<String>) {
    let all = world.nomad.allocations("default", &app.flat()).await.unwrap();
    let live = all.iter().filter(|a| !a.is_terminal());
    let began = live.filter_map(|a| Some((a.id.clone(), a.task_states.get("web")?.started_at.clone()?)));
    let began: BTreeMap<String, String> = began.collect();
    let passing = world.consul().health(&app.flat()).await.unwrap();
    let passing = passing.into_iter().filter(Instance::is_passing).map(|i| i.service_id);
    let passing = passing.filter_map(|s| began.keys().find(|id| s.contains(*id)).cloned()).collect();
    (began, passing)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_whose_first_answer_is_lost_waits_for_that_instance_before_the_next() {
    let mut world = World::start(StackOptions::engines().with(Part::Agent)).await;
    let leader = world.leader.clone();
    world.login(&leader).await;
    let app = app("slow");
    world.done(&Change::deploy(&app, &slow(&app))).await;
    let (before, passing) = look(&world, &app).await;
    assert_eq!((before.len(), passing.len()), (2, 2));
    let wire = Wire::losing(&world.stack.nomad(), b"/restart").await;
    let agent = world.agent_with(&[], &[format!("nomad.address={}", wire.url)]).await;
    world.change(&agent.url, &Change::Run(app.clone(), "restart", json!({}))).await;

    let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
    loop {
        assert!(tokio::time::Instant::now() < deadline, "not both restarted");
        let (now, passing) = look(&world, &app).await;
        let changed: Vec<&String> = now.keys().filter(|id| before.get(*id) != now.get(*id)).collect();
        if changed.len() == 2 {
            // The second has just begun: the first one serves, for it was waited for.
            assert_eq!(passing.len(), 1, "both were begun together: {before:?} {now:?}");
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
