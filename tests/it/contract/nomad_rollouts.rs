//! How a new version takes over: gaps, failures, reverts.

use futures::StreamExt;
use terreau::engines::nomad::{Allocation, Deployment, Diff, JobView, Topic};

use super::{Lab, SOON, name, sleeper};
use crate::harness::eventually;

/// A job whose instances count as healthy one second after they run.
fn slow_to_health(id: &str, version: u32, update: &str) -> String {
    sleeper(id, 1, "")
        .replace("min_healthy_time = \"0s\"", &format!("min_healthy_time = \"1s\"\n      {update}"))
        .replace(
            "resources {",
            &format!("env {{\n        VERSION = \"{version}\"\n      }}\n      resources {{"),
        )
}

async fn deployed(lab: &Lab, id: &str, version: u64) -> Deployment {
    eventually("the deployment ends", SOON, async || {
        let found = lab.nomad.deployments("default", id).await.unwrap();
        found.into_iter().find(|d| d.job_version == version && d.is_over())
    })
    .await
}

/// Rolls out version 1 beside the event stream; gives the lowest number of healthy wanted instances seen.
async fn lowest_health(lab: &Lab, update: &str) -> usize {
    let id = name("gap");
    lab.run(&slow_to_health(&id, 0, update)).await.unwrap();
    assert_eq!(deployed(lab, &id, 0).await.status, "successful");
    let mut known: std::collections::BTreeMap<String, Allocation> = std::collections::BTreeMap::new();
    for alloc in lab.nomad.allocations("default", &id).await.unwrap() {
        known.insert(alloc.id.clone(), alloc);
    }
    let mut events = lab.nomad.events(0, &[Topic::key("Allocation", &id)]).await.unwrap();
    lab.run(&slow_to_health(&id, 1, update)).await.unwrap();
    let over = async { deployed(lab, &id, 1).await };
    tokio::pin!(over);
    let mut lowest = usize::MAX;
    loop {
        tokio::select! {
            batch = events.next() => {
                for event in batch.unwrap().unwrap().events {
                    let alloc: Allocation = event.object().unwrap();
                    // The stream may begin with what the list told already.
                    let newer = known.get(&alloc.id).is_none_or(|k| k.modify_index < alloc.modify_index);
                    if alloc.job_id == id && newer {
                        known.insert(alloc.id.clone(), alloc);
                    }
                }
                let healthy = known.values().filter(|a| {
                    a.desired_status == "run"
                        && a.client_status == "running"
                        && a.deployment_status.as_ref().and_then(|s| s.healthy) == Some(true)
                });
                lowest = lowest.min(healthy.count());
            }
            deployment = &mut over => {
                assert_eq!(deployment.status, "successful", "{}", deployment.status_description);
                break;
            }
        }
    }
    lab.stop(&id).await;
    lowest
}

#[tokio::test]
async fn a_rolling_update_of_one_instance_has_a_gap() {
    let lab = Lab::open().await;
    assert_eq!(lowest_health(&lab, "max_parallel = 1").await, 0);
}

#[tokio::test]
async fn a_canary_update_of_one_instance_has_none() {
    let lab = Lab::open().await;
    assert_eq!(lowest_health(&lab, "canary = 1\n      auto_promote = true").await, 1);
}

/// A job whose program is not there: its instances fail at once.
fn broken(hcl: &str) -> String {
    hcl.replace("/bin/sleep", "/bin/no-such-program")
}

async fn reverted(lab: &Lab, id: &str, failed: u64, to: u64) -> serde_json::Value {
    let deployment = deployed(lab, id, failed).await;
    assert_eq!(deployment.status, "failed");
    let words = format!("rolling back to job version {to}");
    assert!(deployment.status_description.contains(&words), "{deployment:?}");
    eventually("the job is back", SOON, async || {
        let job = lab.job(id).await;
        (JobView::of(&job).unwrap().version() > failed).then_some(job)
    })
    .await
}

#[tokio::test]
async fn auto_revert_returns_to_the_last_stable_version_and_its_count() {
    let lab = Lab::open().await;
    let id = name("revert");
    let hcl = sleeper(&id, 2, "")
        .replace("min_healthy_time = \"0s\"", "min_healthy_time = \"0s\"\n      auto_revert = true");
    lab.run(&hcl).await.unwrap();
    assert_eq!(deployed(&lab, &id, 0).await.status, "successful");

    lab.run(&broken(&hcl).replace("count = 2", "count = 1")).await.unwrap();
    let back = reverted(&lab, &id, 1, 0).await;
    assert_eq!(JobView::of(&back).unwrap().counts()["main"], 2);
    assert_eq!(back["TaskGroups"][0]["Tasks"][0]["Config"]["command"], "/bin/sleep");
    assert_eq!(deployed(&lab, &id, 2).await.status, "successful");

    // A scale copies the mark "stable": from then on the version that sleeps is the one returned to.
    lab.nomad.scale("default", &id, "main", 0, "sleep").await.unwrap();
    let versions = lab.nomad.job_versions("default", &id).await.unwrap();
    assert!(JobView::of(&versions[0]).unwrap().is_stable());
    lab.run(&broken(&hcl)).await.unwrap();
    let back = reverted(&lab, &id, 4, 3).await;
    assert_eq!(JobView::of(&back).unwrap().counts()["main"], 0, "asleep again");
    lab.stop(&id).await;
}

#[tokio::test]
async fn a_failed_placement_names_the_constraint_in_plan_and_evaluation() {
    let lab = Lab::open().await;
    let id = name("nowhere");
    let constraint = "constraint {\n attribute = \"${meta.site}\"\n value = \"moon\"\n}";
    let job = lab.nomad.parse_hcl(&sleeper(&id, 1, constraint)).await.unwrap();
    let plan = lab.nomad.plan(&job, Diff::Wanted).await.unwrap();
    assert_eq!(plan.job_modify_index, 0);
    assert_eq!(plan.failed_tg_allocs["main"].constraint_filtered["${meta.site} = moon"], 1);

    let registered = lab.register(job).await.unwrap();
    let evaluation = eventually("the evaluation settles", SOON, async || {
        lab.nomad
            .evaluation(&registered.eval_id)
            .await
            .unwrap()
            .filter(terreau::engines::nomad::Evaluation::is_settled)
    })
    .await;
    let why = &evaluation.failed_tg_allocs["main"];
    assert_eq!(why.nodes_filtered, 1);
    assert_eq!(why.constraint_filtered["${meta.site} = moon"], 1);
    assert!(!evaluation.blocked_eval.is_empty(), "another evaluation waits for room");

    let greedy = sleeper(&name("greedy"), 1, "").replace("memory = 10", "memory = 900000");
    let plan = lab.nomad.plan(&lab.nomad.parse_hcl(&greedy).await.unwrap(), Diff::Left).await.unwrap();
    assert_eq!(plan.failed_tg_allocs["main"].dimension_exhausted["memory"], 1);
    lab.stop(&id).await;
}

#[tokio::test]
async fn a_crash_shows_its_exit_code_and_restart_and_stop_work_in_place() {
    let lab = Lab::open().await;
    let id = name("crash");
    lab.run(&super::script(&id, "exit 42", "")).await.unwrap();
    let alloc = lab.failed(&id).await;
    let ended = alloc.task_states["main"].events.iter().find(|e| e.kind == "Terminated").unwrap().clone();
    assert_eq!((ended.exit_code, ended.is_oom()), (42, false));
    lab.stop(&id).await;

    let id = name("restart");
    lab.run(&sleeper(&id, 1, "")).await.unwrap();
    let alloc = lab.running(&id).await;
    lab.nomad.restart_allocation(&alloc.id, None).await.unwrap();
    let again = lab.instance(&id, "restarts", |a| a.task_states["main"].restarts == 1).await;
    assert_eq!(again.id, alloc.id);
    lab.nomad.stop_allocation(&alloc.id).await.unwrap();
    let other = lab.instance(&id, "is replaced", |a| a.id != alloc.id && a.client_status == "running").await;
    let whole = lab.nomad.allocation(&other.id).await.unwrap().unwrap();
    assert_eq!(whole.previous_allocation, alloc.id);
    lab.stop(&id).await;
}
