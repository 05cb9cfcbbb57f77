//! Which change of a job replaces its instances and which does not.

use serde_json::{Value, json};
use terreau::engines::nomad::{Diff, JobView};

use super::{Lab, name, sleeper};

const SERVICE: &str = r#"
    network {
      port "http" {}
    }
    service {
      name = "NAME"
      port = "http"
      tags = ["a"]
      check {
        type     = "tcp"
        interval = "10s"
        timeout  = "1s"
      }
    }"#;

/// What a change does to a running instance.
#[derive(Debug, PartialEq, Eq)]
enum Effect {
    InPlace,
    Replaces,
    Nothing,
}

async fn effect(lab: &Lab, job: &Value) -> Effect {
    let plan = lab.nomad.plan(job, Diff::Left).await.unwrap();
    match (plan.replaced(), plan.in_place()) {
        (0, 0) => Effect::Nothing,
        (0, _) => Effect::InPlace,
        (_, 0) => Effect::Replaces,
        both => panic!("both in one plan: {both:?}"),
    }
}

#[tokio::test]
async fn meta_replaces_instances_and_tags_checks_counts_and_policies_do_not() {
    let lab = Lab::open().await;
    let id = name("change");
    let base = lab.nomad.parse_hcl(&sleeper(&id, 1, &SERVICE.replace("NAME", &id))).await.unwrap();
    lab.register(base.clone()).await.unwrap();
    lab.running(&id).await;

    let group = "/TaskGroups/0";
    let task = "/TaskGroups/0/Tasks/0";
    let service = "/TaskGroups/0/Services/0";
    let constraint = json!([{ "LTarget": "${attr.kernel.name}", "Operand": "=", "RTarget": "linux" }]);
    let ui = if lab.is_oldest().await { Effect::Nothing } else { Effect::InPlace };
    let cases = [
        ("", "Meta", json!({ "a": "b" }), Effect::Replaces),
        (group, "Meta", json!({ "a": "b" }), Effect::Replaces),
        (task, "Meta", json!({ "a": "b" }), Effect::Replaces),
        (task, "Env", json!({ "A": "b" }), Effect::Replaces),
        (task, "KillTimeout", json!(7_000_000_000_u64), Effect::InPlace),
        (service, "Tags", json!(["a", "tricot x.example"]), Effect::InPlace),
        (service, "CanaryTags", json!(["c"]), Effect::InPlace),
        (service, "Meta", json!({ "a": "b" }), Effect::InPlace),
        ("/TaskGroups/0/Services/0/Checks/0", "Interval", json!(3_000_000_000_u64), Effect::InPlace),
        ("/TaskGroups/0/Update", "MinHealthyTime", json!(1_000_000_000_u64), Effect::InPlace),
        ("/TaskGroups/0/Update", "Canary", json!(1), Effect::InPlace),
        ("/TaskGroups/0/RestartPolicy", "Attempts", json!(5), Effect::InPlace),
        (group, "ShutdownDelay", json!(2_000_000_000_u64), Effect::InPlace),
        (task, "ShutdownDelay", json!(2_000_000_000_u64), Effect::InPlace),
        ("", "Constraints", constraint.clone(), Effect::InPlace),
        (group, "Constraints", constraint.clone(), Effect::InPlace),
        ("", "Priority", json!(70), Effect::InPlace),
        // 1.7 has no such block, and drops it.
        ("", "UI", json!({ "Description": "x", "Links": [] }), ui),
    ];
    let mut wrong = Vec::new();
    for (at, field, value, wanted) in cases {
        let mut job = base.clone();
        let place = if at.is_empty() { &mut job } else { job.pointer_mut(at).unwrap() };
        place[field] = value;
        let seen = effect(&lab, &job).await;
        if seen != wanted {
            wrong.push(format!("{at}/{field}: {seen:?}, not {wanted:?}"));
        }
    }
    let mut more = base.clone();
    more["TaskGroups"][0]["Count"] = 2.into();
    let plan = lab.nomad.plan(&more, Diff::Left).await.unwrap();
    if (plan.replaced(), plan.placed()) != (0, 1) {
        wrong.push(format!("count: {:?}", plan.annotations));
    }
    assert_eq!(effect(&lab, &base).await, Effect::Nothing);
    lab.stop(&id).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_new_tag_reaches_consul_without_a_new_instance() {
    let lab = Lab::open().await;
    let id = name("tag");
    let hcl = sleeper(&id, 1, &SERVICE.replace("NAME", &id));
    lab.run(&hcl).await.unwrap();
    let before = lab.running(&id).await;
    lab.run(&hcl.replace("[\"a\"]", "[\"a\", \"b\"]")).await.unwrap();
    crate::harness::eventually("the tag in Consul", super::SOON, async || {
        let found = lab.consul.health(&id).await.unwrap();
        found.iter().any(|i| i.tags.contains(&"b".to_owned())).then_some(())
    })
    .await;
    let after = lab.running(&id).await;
    assert_eq!(after.id, before.id);
    assert_eq!(after.task_states["main"].restarts, 0);
    assert_eq!(after.version(), Some(1));
    lab.stop(&id).await;
}

#[tokio::test]
async fn scaling_to_zero_makes_no_deployment_and_waking_makes_one_that_blocks_other_scales() {
    let lab = Lab::open().await;
    let id = name("wake");
    let slow = |hcl: String| hcl.replace("min_healthy_time = \"0s\"", "min_healthy_time = \"2s\"");
    lab.run(&slow(sleeper(&id, 1, ""))).await.unwrap();
    let versions = async || -> Vec<u64> {
        lab.nomad.deployments("default", &id).await.unwrap().iter().map(|d| d.job_version).collect()
    };
    let ended = async |version: u64| {
        crate::harness::eventually("the deployment succeeds", super::SOON, async || {
            let found = lab.nomad.deployments("default", &id).await.unwrap();
            found.into_iter().find(|d| d.job_version == version && d.status == "successful")
        })
        .await;
    };
    ended(0).await;
    lab.nomad.scale("default", &id, "main", 0, "sleep").await.unwrap();
    lab.instance(&id, "sleeps", |a| a.client_status == "complete").await;
    assert_eq!(versions().await, [0], "falling asleep makes none");
    assert_eq!(JobView::of(&lab.job(&id).await).unwrap().version(), 1, "a scale makes a version");

    lab.nomad.scale("default", &id, "main", 1, "wake").await.unwrap();
    lab.running(&id).await;
    assert_eq!(versions().await, [2, 0], "waking makes one");
    let beside = lab.nomad.scale("default", &id, "main", 2, "beside").await.unwrap_err();
    assert_eq!(beside.fault, terreau::engines::Fault::Conflict, "{beside}");
    assert!(beside.message.contains("active deployment"), "{beside}");
    ended(2).await;
    lab.nomad.scale("default", &id, "main", 2, "alone").await.unwrap();
    lab.stop(&id).await;
}
