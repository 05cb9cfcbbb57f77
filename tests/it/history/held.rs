//! Canaries held for a person: on, back, replaced; and what Nomad does with them meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use terreau::engines::directory::Bound;
use terreau::engines::http::HttpOptions;
use terreau::engines::nomad::{Deployment, Nomad, Purge, Registration};
use terreau::model::Placement;

use super::{PATIENCE, Person, Project, stack};
use crate::harness::{Part, Stack, StackOptions, eventually, unique};
use crate::kills::PREFIX;
use crate::kills::apps::{Change, first, second};
use crate::kills::world::World;
use crate::mechanism::app;

const HOLD: &str = "instances = 2\n    update { promote = \"manual\" }";

/// The ids of an app's instances that shall run.
async fn living(stack: &Stack, app: &str) -> BTreeSet<String> {
    let all = super::json(stack, format!("{}/v1/job/{app}/allocations", stack.nomad())).await;
    let run = all.as_array().unwrap().iter().filter(|a| a["DesiredStatus"] == "run");
    run.map(|a| a["ID"].as_str().unwrap().to_owned()).collect()
}

fn states(person: &Person, project: &Project) -> Vec<(u64, String)> {
    let listed = person.json(project.path(), &["releases", "--json"]);
    let all = listed["releases"].as_array().unwrap().iter();
    all.map(|r| (r["number"].as_u64().unwrap(), r["state"].as_str().unwrap().to_owned())).collect()
}

fn state(number: u64, word: &str) -> (u64, String) {
    (number, word.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_canaries_are_held_until_a_person_lets_them_go_on_or_takes_them_back() {
    let stack = stack().await;
    let person = Person::of(stack);
    let app = Project::new("held");
    let says = |value: &str| app.writes(&format!("env = {{ SAYS = \"{value}\" }}"), HOLD, 0);
    says("one");
    person.expect(0, app.path(), &["deploy"]);
    let old = living(stack, &app.name).await;
    assert_eq!(old.len(), 2);

    says("two");
    let held = person.expect(0, app.path(), &["deploy"]);
    assert!(held.err.contains("held: the canaries of release 2 are healthy"), "{}", held.err);
    assert!(held.err.contains("--promote") && held.err.contains("--revert"), "{}", held.err);
    assert!(held.out.is_empty(), "{}", held.out);
    let now = living(stack, &app.name).await;
    assert!(now.is_superset(&old) && now.len() == 3, "{now:?} beside {old:?}");
    let status = person.json(app.path(), &["status", "--json"]);
    assert_eq!((status["release"].as_u64(), status["held"].as_u64()), (Some(1), Some(2)), "{status}");
    let web = &status["processes"][0];
    assert_eq!((web["healthy"].as_u64(), web["canaries"].as_u64()), (Some(2), Some(1)), "{status}");
    let told = person.expect(0, app.path(), &["status"]).out;
    assert!(told.contains("canaries of release 2 are held"), "{told}");
    assert!(told.contains("web: 2/2 healthy, 1 canary, 2 running"), "{told}");
    assert_eq!(states(&person, &app), [state(2, "held"), state(1, "running")]);
    // Each instance says of which release it is, and which is the canary.
    let seen = |instances: &serde_json::Value| {
        let all = instances.as_array().unwrap().iter();
        let mut seen: Vec<_> = all.map(|i| (i["release"].as_u64(), i["canary"].as_bool().unwrap())).collect();
        seen.sort_unstable();
        seen
    };
    let held_now = [(Some(1), false), (Some(1), false), (Some(2), true)];
    assert_eq!(seen(&status["instances"]), held_now, "{status}");
    let ps = person.json(app.path(), &["ps", "--json"]);
    assert_eq!(seen(&ps["instances"]), held_now, "{ps}");
    let table = person.expect(0, app.path(), &["ps"]).out;
    assert!(table.lines().next().unwrap().contains("RELEASE"), "{table}");
    assert_eq!(table.lines().filter(|l| l.contains("healthy, canary")).count(), 1, "{table}");
    // The same again changes nothing; counts would not be taken by Nomad.
    let same = person.expect(5, app.path(), &["deploy"]);
    assert!(
        same.err.contains("release 2 has just this content") && same.err.contains("--promote"),
        "{}",
        same.err
    );
    let scaled = person.expect(5, app.path(), &["scale", "web=3"]);
    assert!(scaled.err.contains("canaries of release 2"), "{}", scaled.err);
    let stopped = person.expect(5, app.path(), &["stop"]);
    for word in ["revert", "promote"] {
        let typed = format!("`terreau deploy {} --{word}`", app.name);
        assert!(stopped.err.contains(&typed), "{typed}: {}", stopped.err);
    }

    let went = person.expect(0, app.path(), &["deploy", "--promote"]);
    assert!(went.err.contains("release 2 runs"), "{}", went.err);
    let status = person.json(app.path(), &["status", "--json"]);
    assert_eq!((status["release"].as_u64(), status["held"].as_u64()), (Some(2), None), "{status}");
    let remains = |i: &&serde_json::Value| i["state"] != "stopping";
    for i in status["instances"].as_array().unwrap().iter().filter(remains) {
        assert_eq!((i["release"].as_u64(), i["canary"].as_bool()), (Some(2), Some(false)), "{status}");
    }
    let second = eventually("the old instances are gone", PATIENCE, async || {
        let now = living(stack, &app.name).await;
        (now.len() == 2 && now.is_disjoint(&old)).then_some(now)
    })
    .await;
    let none = person.expect(5, app.path(), &["deploy", "--promote"]);
    assert!(none.err.contains("no canaries of") && none.err.contains("promote = \"manual\""), "{}", none.err);
    assert_eq!(person.expect(5, app.path(), &["deploy", "--revert"]).code, 5);

    // Taken back: the very instances of before serve on, and nothing differs from their descriptor.
    says("three");
    person.expect(0, app.path(), &["deploy"]);
    assert_eq!(living(stack, &app.name).await.len(), 3);
    let plan = person.expect(10, app.path(), &["plan", "--file", other(&app, "four").to_str().unwrap()]);
    assert!(plan.out.contains("release 3 waits with canaries: this replaces it"), "{}", plan.out);
    says("three");
    let back = person.expect(0, app.path(), &["deploy", "--revert"]);
    assert!(back.err.contains("the canaries are gone; release 2 serves on"), "{}", back.err);
    // The old instances were healthy all the time.
    assert!(!back.err.contains("not healthy yet"), "{}", back.err);
    eventually("the canary is gone", PATIENCE, async || {
        (living(stack, &app.name).await == second).then_some(())
    })
    .await;
    assert_eq!(states(&person, &app), [state(3, "taken back"), state(2, "running"), state(1, "served")]);
    says("two");
    let plan = person.expect(0, app.path(), &["plan"]);
    assert!(plan.out.contains("no changes"), "{}", plan.out);

    // A deploy over held canaries replaces them.
    says("four");
    person.expect(0, app.path(), &["deploy"]);
    says("five");
    person.expect(0, app.path(), &["deploy"]);
    assert_eq!(states(&person, &app)[..2], [state(5, "held"), state(4, "taken back")]);
    person.expect(0, app.path(), &["deploy", "--promote"]);
    assert_eq!(states(&person, &app)[..2], [state(5, "running"), state(4, "taken back")]);
    // A rollback whose canaries are held is not back yet.
    let held = person.expect(0, app.path(), &["rollback", "1"]);
    assert!(held.err.contains("held: the canaries of release 6"), "{}", held.err);
    assert!(!held.err.contains("is back at"), "{}", held.err);
    person.expect(0, app.path(), &["deploy", "--revert"]);
    // And a delete ends them.
    says("six");
    person.expect(0, app.path(), &["deploy"]);
    person.expect(0, app.path(), &["delete", "--yes"]);
}

/// The project's descriptor with another content, beside it.
fn other(project: &Project, value: &str) -> std::path::PathBuf {
    project.writes(&format!("env = {{ SAYS = \"{value}\" }}"), HOLD, 0);
    project.path().join("terreau.hcl")
}

fn holding(text: &str) -> String {
    text.replace("port \"http\" {}", "port \"http\" {}\n    update { promote = \"manual\" }")
}

impl World {
    /// Asks for one of the two, until it is accepted or the agent that was asked is dead.
    async fn decides(&self, url: &str, app: &Placement, word: &str) {
        eventually(&format!("{word} is accepted"), PATIENCE, async || {
            match self.ask(url, Method::POST, &format!("/v1/apps/{app}/{word}"), None).await {
                None | Some((202, _)) => Some(()),
                Some((503, _)) => None,
                Some((status, answer)) => panic!("{status}: {answer}"),
            }
        })
        .await;
    }
}

/// What an app's release does not want any more stays until its canaries go on; a decision that is cut off anywhere is
/// finished by another agent.
async fn decided_by_the_dead(world: &World, point: &str) {
    let app = app(PREFIX);
    let (one, two) = (holding(&first(&app)), holding(&second(&app)));
    world.done(&Change::deploy(&app, &one)).await;
    let head = world.done(&Change::deploy(&app, &two)).await.unwrap();
    assert_eq!(head.held.as_ref().map(|h| h.release.number.0), Some(2), "{point}: {head:?}");
    assert_eq!(head.release.as_ref().map(|r| r.number.0), Some(1), "{point}");
    // The second release has no account; the first one, which serves, still logs in with it.
    let dn = format!("cn={},ou=services,ou=users,{}", app.flat(), world.stack.base_dn());
    let password =
        world.consul().kv_get(&format!("secrets/{}/ldap_password", app.flat())).await.unwrap().unwrap();
    let password: secrecy::SecretString = String::from_utf8(password.value.to_vec()).unwrap().into();
    assert_eq!(world.directory.bind(&dn, &password).await.unwrap(), Bound::Accepted, "{point}");

    let (verb, _) = point.split_once('.').unwrap();
    let agent = world.agent(&[("TERREAU_KILL_AT", point)]).await;
    world.decides(&agent.url, &app, verb).await;
    world.dies(agent, point).await;
    let mut head = world.rest(&app, point).await;
    if head.as_ref().is_some_and(|h| h.held.is_some()) {
        // It died before anything was written.
        assert!(point.ends_with(".open.before"), "{point}: {head:?}");
        world.decides(&world.leader, &app, verb).await;
        head = world.rest(&app, point).await;
    }
    assert!(head.as_ref().unwrap().held.is_none(), "{point}: {head:?}");
    let bound = world.directory.bind(&dn, &password).await.unwrap();
    if verb == "promote" {
        eventually("the old instance is gone", PATIENCE, async || {
            (living(&world.stack, &app.flat()).await.len() == 1).then_some(())
        })
        .await;
        world.assert_runs(&app, head, 2, &two, point).await;
        assert_ne!(
            bound,
            Bound::Accepted,
            "{point}: what the second release does not want is of no use any more"
        );
    } else {
        eventually("the canary is gone", PATIENCE, async || {
            (living(&world.stack, &app.flat()).await.len() == 1).then_some(())
        })
        .await;
        let head = head.unwrap();
        assert_eq!(head.release.as_ref().map(|r| r.number.0), Some(1), "{point}");
        let job = world.nomad.job("default", &app.flat()).await.unwrap().unwrap();
        assert_eq!(job["JobModifyIndex"].as_u64(), head.job_index, "{point}");
        assert_eq!(bound, Bound::Accepted, "{point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g4_a_promotion_or_a_way_back_that_is_cut_off_anywhere_is_finished_by_another_agent() {
    let begun = Instant::now();
    let mut world = World::start(StackOptions::engines().with(Part::Agent)).await;
    let leader = world.leader.clone();
    world.login(&leader).await;
    let points = [
        "promote.open.before",
        "promote.open.after",
        "promote.job-promote.before",
        "promote.job-promote.after",
        "promote.settle.after",
        "promote.account-disable.before",
        "promote.close.before",
        "revert.open.after",
        "revert.job.before",
        "revert.job.after",
        "revert.settle.before",
        "revert.close.before",
    ];
    for some in points.chunks(4) {
        join_all(some.iter().map(|point| decided_by_the_dead(&world, point))).await;
    }
    assert_eq!(world.orphans().await, Vec::<String>::new());
    println!("history: {} decisions were cut off; {:.1} s", points.len(), begun.elapsed().as_secs_f32());
}

/// What Nomad does: `progress_deadline` passes over canaries that are healthy and wait, and begins anew with their
/// promotion.
#[tokio::test(flavor = "multi_thread")]
async fn nomads_progress_deadline_does_not_end_canaries_that_wait() {
    let stack = stack().await;
    let nomad = Nomad::new(&stack.nomad(), None, None, &HttpOptions::default()).unwrap();
    let id = unique("deadline");
    let job = |says: &str| {
        json!({
            "ID": id, "Name": id, "Type": "service", "Datacenters": [stack.site()],
            "TaskGroups": [{
                "Name": "web", "Count": 2,
                "Update": {
                    "Canary": 1, "MaxParallel": 1, "AutoPromote": false, "AutoRevert": true,
                    "HealthCheck": "task_states", "MinHealthyTime": 100_000_000,
                    "HealthyDeadline": 4_000_000_000_u64, "ProgressDeadline": 5_000_000_000_u64
                },
                "Tasks": [{
                    "Name": "web", "Driver": "raw_exec", "Config": {"command": "/usr/bin/sleep", "args": ["1000"]},
                    "Env": {"SAYS": says}, "Resources": {"CPU": 20, "MemoryMB": 20}
                }]
            }]
        })
    };
    let register = async |says: &str| {
        let what = Registration { job: job(says), enforce_index: None, submission_hcl: None };
        nomad.register(&what).await.unwrap().job_modify_index
    };
    let rollout = async |index: u64| {
        let all = nomad.deployments("default", &id).await.unwrap();
        all.into_iter().find(|d| d.job_spec_modify_index == index)
    };
    let first = register("one").await;
    eventually("the first rollout is successful", PATIENCE, async || {
        rollout(first).await.filter(|d| d.status == "successful")
    })
    .await;
    let second = register("two").await;
    let held = eventually("the canary is healthy", PATIENCE, async || {
        rollout(second).await.filter(Deployment::is_held)
    })
    .await;
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(9)).await;
    let now = rollout(second).await.unwrap();
    assert!(now.is_held(), "after {:?}: {} {}", begun.elapsed(), now.status, now.status_description);
    nomad.deployment_promote(&held.id).await.unwrap();
    let over =
        eventually("it is over", PATIENCE, async || rollout(second).await.filter(Deployment::is_over)).await;
    assert_eq!(over.status, "successful", "{}", over.status_description);
    nomad.deregister("default", &id, Purge::Purge).await.unwrap();
    println!("history: a canary waited for 9 s with a progress_deadline of 5 s, and went on");
}
