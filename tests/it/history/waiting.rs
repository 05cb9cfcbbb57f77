//! One change of an app at a time: who comes second waits and is told for whom; or not, if they say so.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use terreau::deploy::{Data, Error};
use terreau::model::Placement;
use terreau::operation::OpenError;
use terreau::store::records::Verb;

use super::{PATIENCE, Person, Project, stack};
use crate::harness::{self, StackOptions, eventually};
use crate::kills::apps::{Change, first};
use crate::kills::world::World;
use crate::mechanism::{Bare, app, me};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_change_waits_for_the_first_and_names_it_and_with_no_wait_it_fails_at_once() {
    let stack = stack().await;
    let (ann, bob) = (Person::of(stack), Person::of(stack));
    let app = Project::new("turn");
    ann.expect(0, app.path(), &["deploy"]);
    app.says("two", 10);
    let operation = ann.expect(0, app.path(), &["deploy", "--detach"]).out.trim().to_owned();
    app.says("three", 0);
    let begun = Instant::now();
    for args in
        [&["deploy", "--no-wait"][..], &["rollback", "1", "--no-wait"], &["delete", "--yes", "--no-wait"]]
    {
        let refused = bob.expect(5, app.path(), args);
        let holder = format!("deploy of {} by me is under way (operation {operation})", app.name);
        assert!(
            refused.err.contains(&holder) && refused.err.contains("operations follow"),
            "{}",
            refused.err
        );
        assert!(refused.out.is_empty(), "{}", refused.out);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}: these waited", begun.elapsed());

    let waited = bob.begins(app.path(), &["deploy"]).end(PATIENCE).await;
    assert_eq!(waited.code, 0, "{waited:?}");
    let line = waited.line("waiting");
    assert!(line.starts_with(&format!("deploy of {} by me is under way", app.name)), "{line}");
    assert!(line.ends_with(&format!("(operation {operation}), waiting")), "{line}");
    let releases = bob.json(app.path(), &["releases", "--json"]);
    assert_eq!(releases["releases"].as_array().unwrap().len(), 3, "{releases}");
    println!("history: a second deploy waited, {:.1} s in all", waited.took.as_secs_f32());

    // A delete waits as well, and so does a rollback; each is done once it is its turn.
    app.says("four", 3);
    ann.expect(0, app.path(), &["deploy", "--detach"]);
    let back = bob.begins(app.path(), &["rollback", "1"]).end(PATIENCE).await;
    assert!(back.code == 0 && back.line("waiting").contains("is under way"), "{back:?}");
    app.says("five", 3);
    ann.expect(0, app.path(), &["deploy", "--detach"]);
    let gone = bob.begins(app.path(), &["delete", "--yes"]).end(PATIENCE).await;
    assert!(gone.code == 0 && gone.line("waiting").contains("is under way"), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_the_waiting_and_nothing_is_changed() {
    let stack = stack().await;
    let person = Person::of(stack);
    let app = Project::new("turn");
    app.says("one", 5);
    let operation = person.expect(0, app.path(), &["deploy", "--detach"]).out.trim().to_owned();
    app.says("two", 0);
    let mut waiting = person.begins(app.path(), &["deploy"]);
    waiting.until(PATIENCE, |l| l.ends_with("waiting")).await.unwrap();
    // It listens from its first wait on: asked until it has heard.
    let pid = Pid::from_raw(i32::try_from(waiting.pid()).unwrap()).unwrap();
    let interrupts = tokio::spawn(async move {
        while kill_process(pid, Signal::INT).is_ok() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    let left = waiting.end(Duration::from_secs(5)).await;
    interrupts.abort();
    assert_eq!(left.code, 5, "{left:?}");
    assert!(left.line("nothing was changed").starts_with("error: no longer waiting"), "{left:?}");
    assert!(left.line("hint").contains(&operation), "{left:?}");
    person.expect(0, app.path(), &["operations", "follow", &operation]);
    let releases = person.json(app.path(), &["releases", "--json"]);
    assert_eq!(releases["releases"].as_array().unwrap().len(), 1, "{releases}");
}

/// Changes of one step, and those that are being planned, have a lock and no record: they are waited for all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_without_an_operation_is_waited_for_with_pauses() {
    let stack = stack().await;
    let person = Person::of(stack);
    let project = Project::new("turn");
    let bare = Bare::on(stack).await;
    let app: Placement = project.name.parse().unwrap();
    let lock = bare.deployer.runner().lock(&app, &me(), Verb::Deploy).await.unwrap();
    let mut waiting = person.begins(project.path(), &["deploy"]);
    let said = waiting.until(PATIENCE, |l| l.ends_with("waiting")).await.unwrap();
    assert!(said.contains("by alice") && said.contains(lock.operation().as_str()), "{said}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    bare.deployer.runner().unlock(lock).await;
    let ended = waiting.end(PATIENCE).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.said.iter().filter(|l| l.contains("waiting")).count(), 1, "said once: {ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_was_just_given_back_is_tried_again_and_does_not_fail() {
    let stack = harness::shared().await;
    let (dies, lives) = (Bare::on(stack).await, Bare::on(stack).await);
    let app = app("turn");
    let _lock = dies.deployer.runner().lock(&app, &me(), Verb::Deploy).await.unwrap();
    let consul = &lives.hands.consul;
    let session = consul.kv_get(&terreau::store::keys::lock(&app)).await.unwrap().unwrap().session.unwrap();
    let runner = lives.deployer.runner();
    assert!(matches!(runner.lock(&app, &me(), Verb::Deploy).await, Err(OpenError::Held { .. })));
    // Consul keeps what a lost session held shut for a second.
    consul.session_destroy(&session).await.unwrap();
    let begun = Instant::now();
    let lock = runner.lock(&app, &me(), Verb::Delete).await.unwrap();
    assert!(begun.elapsed() > Duration::from_millis(300), "{:?}", begun.elapsed());
    println!("history: a lock that was just given back came after {:.2} s", begun.elapsed().as_secs_f32());
    runner.unlock(lock).await;
}

/// An operation whose agent is gone has given its lock back, and is not over: no other one is opened over it, whatever
/// its kind. The two would both be carried out.
#[tokio::test(flavor = "multi_thread")]
async fn g2_an_operation_whose_agent_is_gone_holds_its_app_until_it_is_taken_up() {
    let mut world = World::start(StackOptions::engines()).await;
    let mortal = world.agent(&[("TERREAU_KILL_AT", "deploy.key.before")]).await;
    let url = mortal.url.clone();
    world.login(&url).await;
    let app = app("kill");
    let bare = Bare::on(&world.stack).await;
    world.change(&url, &Change::deploy(&app, &first(&app))).await;
    world.dies(mortal, "deploy.key.before").await;
    let open = world.store.operations().await.unwrap();
    let open = &open[0].value;
    // There is no agent that would take it up now.
    for data in [Data::Kept, Data::Deleted] {
        let refused = eventually("the lock is free", PATIENCE, async || {
            match bare.deployer.delete(&me(), &app, data).await {
                Err(Error::Moved(..)) => None,
                other => Some(other),
            }
        })
        .await;
        let Err(Error::Held { holder, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!((holder.operation, holder.verb.as_str()), (open.id.clone(), "deploy"));
    }
    let refused = bare.deploy(&app, &first(&app)).await;
    assert!(matches!(refused, Err(Error::Held { .. })), "{refused:?}");
    let head = world.store.head(&app).await.unwrap().unwrap().value;
    assert_eq!(head.operation.as_ref(), Some(&open.id));
    ended_by_another(&world, &app).await;
}

async fn ended_by_another(world: &World, app: &Placement) {
    let _heir = world.agent(&[]).await;
    let head = world.rest(app, "a take-over").await.unwrap();
    assert_eq!(head.release.map(|r| r.number.0), Some(1));
}
