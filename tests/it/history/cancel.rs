//! An operation that is turned back by a person before the job is registered, or given up while its rollout is waited
//! for: by any agent, whatever dies meanwhile.

use std::time::Instant;

use futures::StreamExt;
use futures::future::join_all;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use terreau::deploy::{Accepted, DeployInput, Error};
use terreau::model::head::{AppState, Head, Outcome};
use terreau::model::{Placement, Uid};
use terreau::operation::Progress;
use terreau::store::records::{Ended, OpRecord};

use super::{PATIENCE, Person, Project};
use crate::harness::{self, Part, StackOptions, eventually};
use crate::kills::PREFIX;
use crate::kills::apps::{Change, first, second};
use crate::kills::world::{Agent, World};
use crate::mechanism::{Bare, app, me, web};

/// Where an agent is paused while somebody cancels what it does: before and after effects that can be taken back.
const POINTS: [&str; 4] =
    ["deploy.secret.before#2", "deploy.account.after", "deploy.bucket.before", "deploy.key.after"];

impl World {
    async fn open(&self, app: &Placement) -> OpRecord {
        eventually("the operation is open", PATIENCE, async || {
            let open = self.store.operations().await.unwrap();
            open.into_iter().map(|o| o.value).find(|o| o.app == *app)
        })
        .await
    }

    async fn cancels(&self, url: &str, id: &Uid) -> Option<(u16, Value)> {
        self.ask(url, Method::POST, &format!("/v1/operations/{id}/cancel"), None).await
    }

    /// How an operation ended, as any agent tells it.
    async fn end(&self, id: &Uid) -> Value {
        eventually("its end is told", PATIENCE, async || {
            let (status, view) =
                self.ask(&self.leader, Method::GET, &format!("/v1/operations/{id}"), None).await?;
            (status == 200 && view["end"].is_object()).then_some(view)
        })
        .await
    }

    /// Begins a change by an agent that is paused at a point, and gives both.
    async fn paused(&self, point: &str, more: &[(&str, &str)], change: &Change) -> (Agent, OpRecord) {
        let mut variables = vec![("TERREAU_STOP_AT", point)];
        variables.extend(more);
        let agent = self.agent(&variables).await;
        let what = format!("the agent is paused at {point}");
        let pausing = eventually(&what, PATIENCE, async || agent.is_stopped().then_some(()));
        // The answer may be paused with it.
        let asking = async {
            self.change(&agent.url, change).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = asking => {}
            () = pausing => {}
        }
        let open = self.open(change.app()).await;
        (agent, open)
    }

    pub(super) async fn world() -> Self {
        let mut world = World::start(StackOptions::engines().with(Part::Agent)).await;
        let leader = world.leader.clone();
        world.login(&leader).await;
        world
    }
}

/// The app is as it was before a deploy that was turned back.
async fn assert_as_before(
    world: &World,
    app: &Placement,
    head: Option<Head>,
    before: Option<&str>,
    what: &str,
) {
    match before {
        None => assert!(head.is_none(), "{what}: {head:?}"),
        Some(text) => {
            let head = head.unwrap_or_else(|| panic!("{what}: there is no head"));
            assert_eq!((head.state, head.release.as_ref().map(|r| r.number.0)), (AppState::Live, Some(1)));
            world.assert_runs(app, Some(head), 1, text, what).await;
        }
    }
}

async fn cancelled_at(world: &World, point: &str) {
    let app = app(PREFIX);
    let (agent, open) = world.paused(point, &[], &Change::deploy(&app, &first(&app))).await;
    let (status, answer) = world.cancels(&world.leader, &open.id).await.unwrap();
    assert_eq!((status, answer["operation"].as_str()), (202, Some(open.id.as_str())), "{point}: {answer}");
    // Asked twice it is the same.
    assert_eq!(world.cancels(&world.leader, &open.id).await.unwrap().0, 202);
    agent.signal(Signal::CONT);
    let head = world.rest(&app, point).await;
    assert_as_before(world, &app, head, None, point).await;
    let view = world.end(&open.id).await;
    assert_eq!(
        (view["end"]["outcome"].as_str(), view["cancelled_by"].as_str()),
        (Some("undone"), Some("me"))
    );
    assert_eq!(view["end"]["summary"], "cancelled by me: nothing has changed");
    assert!(view["steps"].as_array().unwrap().iter().all(|s| s["state"] != "done"), "{point}: {view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_operation_is_undone_by_the_agent_that_runs_it_though_another_one_was_asked() {
    let world = World::world().await;
    join_all(POINTS.map(|point| cancelled_at(&world, point))).await;
    assert_eq!(world.orphans().await, Vec::<String>::new());

    // An app that serves goes on serving, and the next deploy is done.
    let app = app(PREFIX);
    let (one, two) = (first(&app), second(&app));
    world.done(&Change::deploy(&app, &one)).await;
    let (agent, open) = world.paused("deploy.bucket.after", &[], &Change::deploy(&app, &two)).await;
    assert_eq!(world.cancels(&world.leader, &open.id).await.unwrap().0, 202);
    agent.signal(Signal::CONT);
    let head = world.rest(&app, "a cancelled redeploy").await;
    let (_, told) =
        world.ask(&world.leader, Method::GET, &format!("/v1/apps/{app}/releases"), None).await.unwrap();
    let newest = &told["releases"][0];
    assert_eq!((&newest["state"], &newest["why"]), (&json!("undone"), &json!("cancelled by me")), "{told}");
    assert_as_before(&world, &app, head, Some(&one), "a cancelled redeploy").await;
    let head = world.done(&Change::deploy(&app, &two)).await;
    world.assert_runs(&app, head, 3, &two, "a cancelled redeploy").await;
    assert_eq!(world.orphans().await, Vec::<String>::new());

    // Who cancelled is in the audit records, under the operation.
    let audits = world.consul().kv_list(terreau::store::keys::AUDIT).await.unwrap();
    let cancels = audits.iter().filter_map(|a| serde_json::from_slice::<Value>(&a.value).ok());
    let ours: Vec<Value> =
        cancels.filter(|a| a["verb"] == "cancel" && a["operation"] == open.id.as_str()).collect();
    assert_eq!((ours.len(), ours[0]["by"]["login"].as_str()), (1, Some("me")), "{ours:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_and_g4_whoever_dies_during_a_cancel_the_operation_ends_one_way() {
    let world = World::world().await;
    let after_death = async |point: &'static str| {
        let app = app(PREFIX);
        // The agent that runs it dies on its way back.
        let kill = [("TERREAU_KILL_AT", point)];
        let (agent, open) =
            world.paused("deploy.key.before", &kill, &Change::deploy(&app, &first(&app))).await;
        assert_eq!(world.cancels(&world.leader, &open.id).await.unwrap().0, 202, "{point}");
        agent.signal(Signal::CONT);
        world.dies(agent, point).await;
        let head = world.rest(&app, point).await;
        assert_as_before(&world, &app, head, None, point).await;
        assert_eq!(world.end(&open.id).await["end"]["outcome"], "undone", "{point}");
    };
    let points =
        ["deploy.key.after", "deploy.undo-bucket.before", "deploy.undo-account.after", "deploy.close.before"];
    join_all(points.map(after_death)).await;

    // It is dead already when somebody cancels: whoever takes it up turns it back.
    let dead = app(PREFIX);
    let agent = world.agent(&[("TERREAU_KILL_AT", "deploy.key.before")]).await;
    world.change(&agent.url, &Change::deploy(&dead, &first(&dead))).await;
    let mut agent = agent;
    eventually("it is dead", PATIENCE, async || agent.child.try_wait().unwrap()).await;
    let open = world.open(&dead).await;
    assert_eq!(world.cancels(&world.leader, &open.id).await.unwrap().0, 202);
    world.expire(&agent).await;
    let head = world.rest(&dead, "a cancel of a dead agent's operation").await;
    assert_as_before(&world, &dead, head, None, "a dead agent").await;

    // The agent that is asked to cancel dies: before the order is written it is as if nobody had asked; after, it holds.
    for (point, outcome) in [("cancel.record.before", "done"), ("cancel.record.after", "undone")] {
        let app = app(PREFIX);
        let text = first(&app);
        let asked = world.agent(&[("TERREAU_KILL_AT", point)]).await;
        let (agent, open) = world.paused("deploy.key.before", &[], &Change::deploy(&app, &text)).await;
        assert_eq!(world.cancels(&asked.url, &open.id).await, None, "{point}: it answered");
        world.dies(asked, point).await;
        agent.signal(Signal::CONT);
        let head = world.rest(&app, point).await;
        assert_eq!(world.end(&open.id).await["end"]["outcome"], outcome, "{point}");
        match outcome {
            "done" => world.assert_runs(&app, head, 1, &text, point).await,
            _ => assert_as_before(&world, &app, head, None, point).await,
        }
    }
    assert_eq!(world.orphans().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_while_the_job_is_being_registered_a_cancel_is_refused_and_says_what_to_do() {
    let world = World::world().await;
    let at = async |point: &'static str| {
        let app = app(PREFIX);
        let text = first(&app);
        let (agent, open) = world.paused(point, &[], &Change::deploy(&app, &text)).await;
        let (status, answer) = world.cancels(&world.leader, &open.id).await.unwrap();
        assert_eq!((status, answer["code"].as_str()), (409, Some("conflict")), "{point}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains("goes forward from here"), "{answer}");
        assert!(answer["hint"].as_str().unwrap().contains("terreau rollback"), "{answer}");
        agent.signal(Signal::CONT);
        let head = world.rest(&app, point).await;
        world.assert_runs(&app, head, 1, &text, point).await;
        let (status, answer) = world.cancels(&world.leader, &open.id).await.unwrap();
        assert_eq!(status, 409, "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains("has ended already: release 1 runs"), "{answer}");
    };
    join_all(["deploy.job.before", "deploy.job.after"].map(at)).await;
    let none = Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzz").unwrap();
    assert_eq!(world.cancels(&world.leader, &none).await.unwrap().0, 404);
}

/// A release that hangs need not be waited for: what its check says is seen meanwhile, and whoever may change the app
/// ends the rollout, by another agent too.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_hangs_says_why_and_is_given_up_at_once_by_any_agent() {
    let world = World::world().await;
    let agent = world.agent(&[]).await;
    let (person, other) = (Person::of(&world.stack), Person::at(&world.stack, &agent.url));
    let project = Project::new("hangs");
    let dir = project.path();
    // A first release has nothing to go back to: its job is stopped.
    project.says("one", 3600);
    let mut first = person.begins(dir, &["deploy"]);
    let id = under_way(&world, &project).await;
    first.until(PATIENCE, |l| l.contains("the check of hangs")).await.unwrap();
    // Until when it is waited is said once, and how it is ended before.
    let how = format!("`terreau operations cancel --app {}` gives it up at once", project.name);
    first.until(PATIENCE, |l| l.contains("UTC, it is given up") && l.contains(&how)).await.unwrap();
    // Whoever looks at it from outside is told the same.
    for args in [&["operations", "show", &id][..], &["status"]] {
        let shown = other.expect(0, dir, args).out;
        for wanted in [
            "waits: web: 0 of 1 instances healthy",
            "the check of hangs",
            "given up at ",
            "by the app's healthy deadline",
            &format!("terreau operations cancel {id}"),
        ] {
            assert!(shown.contains(wanted), "{wanted} in {args:?}: {shown}");
        }
    }
    for args in [&["operations", "show", &id, "--json"][..], &["status", "--json"]] {
        let told = other.json(dir, args);
        let until: jiff::Timestamp = told["waits"]["until"].as_str().unwrap().parse().unwrap();
        assert!(until > jiff::Timestamp::now(), "{told}");
    }
    // Which operation need not be said: there is one. What is shown has one heading.
    let shown = other.expect(0, dir, &["operations", "show"]);
    let both = format!("{}{}", shown.out, shown.err);
    assert_eq!((both.matches("deploy of").count(), both.contains(&id)), (1, true), "{both}");
    let gave = other.expect(0, dir, &["operations", "cancel"]);
    // What was told before is not told again.
    assert!(!gave.err.contains("register job") && !gave.err.contains("gives it up at once"), "{}", gave.err);
    assert!(gave.err.contains(&format!("operation {id}")), "{}", gave.err);
    assert!(gave.err.contains("release 1 was given up by me before it got healthy"), "{}", gave.err);
    let ended = first.end(PATIENCE).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.said.iter().any(|l| l.contains("was given up by me")), "{ended:?}");
    assert_eq!(ended.said.iter().filter(|l| l.contains("wait for job")).count(), 1, "{ended:?}");
    let none = other.expect(6, dir, &["operations", "cancel"]);
    assert!(none.err.contains("nothing is under way") && none.err.contains(&id), "{}", none.err);
    let status = person.json(dir, &["status", "--json"]);
    assert!(status["instances"].as_array().unwrap().iter().all(|i| i["state"] == "stopping"), "{status}");

    project.says("two", 0);
    person.expect(0, dir, &["deploy"]);
    project.says("three", 3600);
    let mut third = person.begins(dir, &["deploy"]);
    let id = under_way(&world, &project).await;
    third.until(PATIENCE, |l| l.contains("not healthy yet")).await.unwrap();
    let begun = Instant::now();
    let gave = other.expect(0, dir, &["operations", "cancel", &id, "--json"]);
    let end: Value = serde_json::from_str(&gave.out).unwrap();
    assert_eq!(end["outcome"], "reverted", "{end}");
    assert!(begun.elapsed().as_secs() < 60, "{:?}: it was waited for", begun.elapsed());
    assert_eq!(third.end(PATIENCE).await.code, 1);
    let status = person.json(dir, &["status", "--json"]);
    assert_eq!((&status["release"], &status["status"]), (&json!(2), &json!("running")), "{status}");
    let releases = person.json(dir, &["releases", "--json"]);
    assert_eq!(releases["releases"][0]["state"], "reverted", "{releases}");
    let why = |n: usize| releases["releases"][n]["why"].as_str().unwrap().to_owned();
    assert!(why(0).starts_with("given up by me") && why(2).starts_with("given up by me"), "{releases}");
    // Nothing stands in the way of the next one.
    project.says("four", 0);
    person.expect(0, dir, &["deploy"]);

    // Or nobody gives it up, and its time is over.
    let soon = "update {\n min_healthy_time = \"1s\"\n healthy_deadline = \"6s\"\n }";
    project.writes("env = { SAYS = \"late\" }", soon, 3600);
    person.expect(1, dir, &["deploy"]);
    let releases = person.expect(0, dir, &["releases"]).out;
    assert!(releases.contains("timed out, given up by the app's healthy deadline"), "{releases}");

    // One that nomad is not to take back: the answer says what runs now, and what to do.
    for (n, update, runs) in [
        (6, "", "1 instance of release 4 and 0 of release 6 run now"),
        (8, "canary = 0", "0 instances of release 7 and 1 of release 8 run now"),
    ] {
        let update = format!("update {{\n auto_revert = false\n {update}\n }}");
        project.writes(&format!("env = {{ SAYS = \"{n}\" }}"), &update, 3600);
        let mut hangs = person.begins(dir, &["deploy"]);
        let id = under_way(&world, &project).await;
        hangs.until(PATIENCE, |l| l.contains("not healthy yet")).await.unwrap();
        let gave = other.expect(0, dir, &["operations", "cancel", &id]);
        let said = format!("release {n} was given up by me before it got healthy; {runs}");
        let old = if n == 6 { 4 } else { n - 1 };
        let todo = format!("`terreau rollback {old}` goes back");
        assert!(gave.err.contains(&said) && gave.err.contains(&todo), "{}", gave.err);
        assert_eq!(hangs.end(PATIENCE).await.code, 1);
        let back = person.expect(0, dir, &["rollback", &old.to_string()]);
        assert!(back.err.contains(&format!("release {} runs", n + 1)), "{}", back.err);
        eventually("it is alone again", PATIENCE, async || {
            let status = person.json(dir, &["status", "--json"]);
            let all = status["instances"].as_array()?;
            let there: Vec<_> = all.iter().filter(|i| i["state"] != "stopping").collect();
            (there.len() == 1 && there[0]["release"] == n + 1).then_some(())
        })
        .await;
    }
    assert_eq!(world.orphans().await, Vec::<String>::new());
}

/// What is stopped, is started by a deploy and does not get healthy, is stopped again, whether its release is the one that
/// served before or a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_given_up_leaves_the_app_stopped_as_it_was() {
    let world = World::world().await;
    let person = Person::of(&world.stack);
    let project = Project::new("asleep");
    let dir = project.path();
    let slow = world.stack.dir().join("asleep-is-slow");
    project.says_unless("one", &slow);
    person.expect(0, dir, &["deploy"]);
    for (word, release) in [("one", 1), ("two", 2)] {
        person.expect(0, dir, &["stop"]);
        std::fs::write(&slow, "").unwrap();
        project.says_unless(word, &slow);
        let mut hangs = person.begins(dir, &["deploy"]);
        under_way(&world, &project).await;
        hangs.until(PATIENCE, |l| l.contains("not healthy yet")).await.unwrap();
        let gave = person.expect(0, dir, &["operations", "cancel"]);
        assert!(!gave.err.contains("not healthy yet"), "told before: {}", gave.err);
        let said = format!(
            "release {release} was given up by me before it got healthy; the app is stopped, as it was"
        );
        assert!(gave.err.contains(&said), "{}", gave.err);
        assert_eq!(hangs.end(PATIENCE).await.code, 1);
        eventually("it is stopped again", PATIENCE, async || {
            (person.json(dir, &["status", "--json"])["status"] == "stopped").then_some(())
        })
        .await;
        std::fs::remove_file(&slow).unwrap();
        person.expect(0, dir, &["start"]);
        let status = person.json(dir, &["status", "--json"]);
        assert_eq!((&status["release"], &status["status"]), (&json!(1), &json!("running")), "{status}");
        let all = status["instances"].as_array().unwrap();
        assert!(all.iter().filter(|i| i["state"] == "healthy").all(|i| i["release"] == 1), "{status}");
        let runs = person.expect(0, dir, &["exec", "--", "/bin/sh", "-c", "echo $SAYS"]);
        assert_eq!(runs.out.trim(), "one", "after {word}");
    }
    let again = person.expect(0, dir, &["deploy"]);
    assert!(again.err.contains("release 3 runs"), "{}", again.err);
    assert_eq!(world.orphans().await, Vec::<String>::new());
}

pub(super) async fn under_way(world: &World, project: &Project) -> String {
    let app = Placement::production(terreau::model::ProjectName::new(project.name.as_str()).unwrap());
    world.open(&app).await.id.to_string()
}

/// Whoever waits for the rollout dies after it was given up, and the next one ends it.
#[tokio::test(flavor = "multi_thread")]
async fn g4_a_rollout_that_was_given_up_ends_though_its_agent_dies() {
    let world = World::world().await;
    let app = app(PREFIX);
    let text = first(&app).replace("-m\", \"http.server", "-c\", \"import time; time.sleep(3600)");
    assert_ne!(text, first(&app));
    let (agent, open) = world.paused("deploy.settle.before", &[], &Change::deploy(&app, &text)).await;
    assert_eq!(world.cancels(&world.leader, &open.id).await.unwrap().0, 202);
    agent.signal(Signal::KILL);
    let view = world.end(&open.id).await;
    assert_eq!(
        (view["end"]["outcome"].as_str(), view["cancelled_by"].as_str()),
        (Some("failed"), Some("me"))
    );
    assert_eq!(world.orphans().await, Vec::<String>::new());
}

/// Cancels that come at any moment: each is taken and the operation undone (or its rollout given up), or refused and the
/// operation done.
#[tokio::test(flavor = "multi_thread")]
async fn g2_a_cancel_races_the_steps_and_either_wins_whole_or_not_at_all() {
    let stack = harness::shared().await;
    let (runs, asks) = (Bare::on(stack).await, Bare::on(stack).await);
    let (mut taken, mut late) = (0, 0);
    let begun = Instant::now();
    // How long this machine takes until the registration is begun: the cancels are spread around that moment.
    let undisturbed = app("race");
    let input = DeployInput { descriptor: first(&undisturbed), ..DeployInput::default() };
    let Accepted::Operation(id) = runs.deployer.deploy(&me(), &undisturbed, &input).await.unwrap() else {
        panic!()
    };
    let mut course = Box::pin(runs.deployer.follow(id.clone(), 0));
    let opened = Instant::now();
    while let Some(p) = course.next().await {
        if matches!(&p, Progress::Step { what, .. } if what.starts_with("register job")) {
            break;
        }
    }
    let registering = opened.elapsed();
    runs.end_of(id).await;
    for round in 0..24_u32 {
        let app = app("race");
        let input = DeployInput { descriptor: first(&app), ..DeployInput::default() };
        let Accepted::Operation(id) = runs.deployer.deploy(&me(), &app, &input).await.unwrap() else {
            panic!()
        };
        if round < 22 {
            tokio::time::sleep(registering * round / 16).await;
        } else {
            // However slow the machine has become meanwhile, these come too late.
            let mut course = Box::pin(runs.deployer.follow(id.clone(), 0));
            while let Some(p) = course.next().await {
                if matches!(&p, Progress::Step { what, state, .. } if what.starts_with("register job") && *state == "done")
                {
                    break;
                }
            }
        }
        let cancelled = asks.deployer.cancel(&me(), &id).await;
        let (outcome, why) = runs.end_of(id.clone()).await;
        let head = runs.deployer.runner().store().head(&app).await.unwrap();
        match cancelled {
            // Its rollout was given up, or had just ended well.
            Ok(_) if matches!(outcome, Outcome::Failed | Outcome::Done) => {
                late += 1;
                let release = head.unwrap().value.release.map(|r| r.number.0);
                assert_eq!(release, (outcome == Outcome::Done).then_some(1), "round {round}: {why:?}");
            }
            Ok(_) => {
                taken += 1;
                assert_eq!(outcome, Outcome::Undone, "round {round}: {why:?}");
                assert!(head.is_none(), "round {round}: {head:?}");
                assert!(
                    runs.hands.nomad.job("default", &app.flat()).await.unwrap().is_none(),
                    "round {round}"
                );
                let kept: Option<Ended> =
                    runs.deployer.runner().store().objects().get_ended(&id).await.unwrap();
                assert_eq!(kept.map(|e| e.outcome), Some(Outcome::Undone));
            }
            Err(Error::Refused { .. }) => {
                assert_eq!(outcome, Outcome::Done, "round {round}: {why:?}");
                assert_eq!(head.unwrap().value.state, AppState::Live);
            }
            Err(e) => panic!("round {round}: {e:?}"),
        }
    }
    println!(
        "history: {taken} of 24 cancels turned back, {late} gave up; registration began within {:.2} s; {:.1} s in all",
        registering.as_secs_f32(),
        begun.elapsed().as_secs_f32()
    );
    assert!((3..24).contains(&taken), "{taken}: too few came in time, or too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_listed_shown_and_cancelled_from_the_command_line() {
    let world = World::world().await;
    let person = Person::of(&world.stack);
    let app = app(PREFIX);
    let (agent, open) = world.paused("deploy.key.before", &[], &Change::deploy(&app, &first(&app))).await;
    let here = tempfile::tempdir().unwrap();
    let list = person.expect(0, here.path(), &["operations", "list"]);
    let line = list.out.lines().find(|l| l.contains(open.id.as_str())).unwrap().to_owned();
    for part in [app.to_string().as_str(), "deploy", "me", "under way: ", "make a key for bucket"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(list.err.contains("operations follow"), "{}", list.err);
    let show = person.expect(0, here.path(), &["operations", "show", open.id.as_str()]);
    assert!(show.out.contains("begun") && show.out.contains("under way"), "{}", show.out);

    let cancelling = person.begins(here.path(), &["operations", "cancel", open.id.as_str(), "--json"]);
    eventually("it is cancelled", PATIENCE, async || {
        let now = world.store.operation(&open.id).await.unwrap()?;
        now.value.cancel.is_some().then_some(())
    })
    .await;
    agent.signal(Signal::CONT);
    let ended = cancelling.end(PATIENCE).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.said.iter().any(|l| l == "cancelled by me: nothing has changed"), "{ended:?}");
    assert!(ended.said.iter().all(|l| !l.starts_with('[') || l.contains("undone")), "told before: {ended:?}");
    crate::examples::schema::Schema::read().check("operations cancel", &ended.out).unwrap();
    let listed = person.json(here.path(), &["operations", "list", "--json"]);
    assert_eq!(listed["open"], json!([]), "{listed}");

    // An app that lives has its ended operations in the list, newest first; each once.
    let project = Project::new("listed");
    person.expect(0, project.path(), &["deploy"]);
    // That somebody ran a program is in the audit log, and no operation.
    person.expect(0, project.path(), &["exec", "--", "true"]);
    person.expect(0, project.path(), &["delete", "--yes"]);
    let listed = person.json(here.path(), &["operations", "list", &project.name, "--json"]);
    let verbs: Vec<&str> =
        listed["ended"].as_array().unwrap().iter().map(|o| o["verb"].as_str().unwrap()).collect();
    assert_eq!(verbs, ["delete", "deploy"], "{listed}");
    let audits = world.consul().kv_list(terreau::store::keys::AUDIT).await.unwrap();
    let audits: Vec<Value> = audits.iter().filter_map(|a| serde_json::from_slice(&a.value).ok()).collect();
    let of_it = |a: &&Value| a["app"].to_string().contains(&project.name);
    assert!(audits.iter().filter(of_it).any(|a| a["verb"] == "exec"), "{audits:?}");
    assert_eq!(listed["ended"][1]["summary"], "release 1 runs");
    let ended = listed["ended"][1]["id"].as_str().unwrap();
    let late = person.expect(5, here.path(), &["operations", "cancel", ended]);
    assert!(late.err.contains("has ended already"), "{}", late.err);
    // The beginning of an id is enough, where no other operation begins so.
    let other = listed["ended"][0]["id"].as_str().unwrap();
    let same = ended.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    assert!(same >= 4, "{ended} and {other} are of one day");
    let short = &ended[..=same.max(8)];
    let show = person.json(here.path(), &["operations", "show", short, "--json"]);
    assert_eq!(show["id"], ended, "{short}: {show}");
    let followed = person.json(here.path(), &["operations", "follow", &short.to_uppercase(), "--json"]);
    assert_eq!(followed["operation"], ended, "{short}: {followed}");
    let late = person.expect(5, here.path(), &["operations", "cancel", short]);
    assert!(late.err.contains(&format!("operation {ended} has ended already")), "{}", late.err);
    for verb in ["show", "follow", "cancel"] {
        let several = person.expect(2, here.path(), &["operations", verb, &ended[..4]]);
        assert!(several.err.contains(ended) && several.err.contains(other), "{}", several.err);
        assert!(several.err.contains("write more of the id"), "{}", several.err);
        assert!(!several.err.contains("[2m"), "{}", several.err);
        let none = person.expect(6, here.path(), &["operations", verb, "7zzz"]);
        assert!(none.err.contains("operations list"), "{}", none.err);
        person.expect(2, here.path(), &["operations", verb, &ended[..3]]);
    }
    person.expect(6, here.path(), &["operations", "cancel", "01hzzzzzzzzzzzzzzzzzzzzzzz"]);
    person.expect(6, here.path(), &["operations", "list", "nobodys"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_11_operations_of_a_foreign_app_are_neither_listed_nor_shown_nor_cancelled() {
    let stack = harness::shared().await;
    let bare = Bare::on(stack).await;
    let app = app("hers");
    let mut ids = Vec::new();
    let slow = web(&app, "").replace(
        "\"/usr/bin/python3\", \"-m\", \"http.server\", \"--bind\", \"127.0.0.1\", ",
        "\"/bin/sh\", \"-c\", \"sleep 120\", ",
    );
    for descriptor in [web(&app, ""), slow] {
        let input = DeployInput { descriptor, ..DeployInput::default() };
        let Accepted::Operation(id) = bare.deployer.deploy(&me(), &app, &input).await.unwrap() else {
            panic!()
        };
        ids.push(id.clone());
        if ids.len() == 1 {
            bare.end_of(id).await;
        }
    }
    // The second one waits for an instance that does not answer for a while.
    let (over, id) = (ids[0].clone(), ids[1].clone());
    let agent = crate::api::agent::Agent::start(stack).await;
    let (alice, bob) = (agent.login("alice").await, agent.login("bob").await);
    let cancel = format!("/v1/operations/{id}/cancel");
    let has = |list: &Value, id: &Uid| list.as_array().unwrap().iter().any(|o| o["id"] == id.as_str());
    let listed = |answer: &Value| (has(&answer["open"], &id), has(&answer["ended"], &over));
    let (status, hers) = agent.get("/v1/operations", &alice).await;
    assert!(status == 200 && listed(&hers) == (true, true), "{hers}");
    let (status, his) = agent.get("/v1/operations", &bob).await;
    assert!(status == 200 && listed(&his) == (false, false), "{his}");
    assert_eq!(agent.get(&format!("/v1/operations?app={app}"), &bob).await.0, 404);
    assert_eq!(agent.get(&format!("/v1/operations/{id}"), &alice).await.0, 200);
    assert_eq!(agent.get(&format!("/v1/operations/{id}"), &bob).await.0, 404);
    let (status, foreign) = agent.call(Method::POST, &cancel, Some(&bob), None).await;
    let (_, absent) =
        agent.call(Method::POST, "/v1/operations/01hzzzzzzzzzzzzzzzzzzzzzzz/cancel", Some(&bob), None).await;
    assert_eq!(status, 404, "{foreign}");
    let words = |a: &Value| {
        a["detail"].to_string().replace(id.as_str(), "X").replace("01hzzzzzzzzzzzzzzzzzzzzzzz", "X")
    };
    assert_eq!(words(&foreign), words(&absent));
    let (status, hers) = agent.call(Method::POST, &cancel, Some(&alice), None).await;
    assert!(status == 202 && hers["operation"] == id.as_str(), "{hers}");
    // The same of comparisons, files and the graph.
    for (method, path) in [
        (Method::GET, format!("/v1/apps/{app}/releases/1/export")),
        (Method::GET, format!("/v1/graph?app={app}")),
        (Method::POST, format!("/v1/apps/{app}/promote")),
        (Method::POST, format!("/v1/apps/{app}/revert")),
    ] {
        let (status, answer) = agent.call(method, &path, Some(&bob), None).await;
        assert_eq!(status, 404, "{path}: {answer}");
    }
    for (path, body) in [("diff", json!({"from": 1})), ("import", json!({"file": "x"}))] {
        let path = format!("/v1/apps/{app}/{path}");
        assert_eq!(agent.call(Method::POST, &path, Some(&bob), Some(body)).await.0, 404, "{path}");
    }
}
