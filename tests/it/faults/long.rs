//! What waits for an engine for long: changes of one step that cannot be carried out, and people who follow.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use terreau::deploy::{Change, Old};
use terreau::engines::nomad::JobView;
use terreau::model::head::{Outcome, Wanted};
use terreau::operation::Progress;
use terreau::store::keys;

use super::gate::Mood;
use super::words::Lie;
use super::{Gated, descriptor};
use crate::harness::{Stack, StackOptions, eventually};
use crate::mechanism::{app, me};

const SOON: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_one_step_that_nomad_refuses_is_shown_once_and_a_person_takes_it_back() {
    let stack = Stack::start(StackOptions::engines()).await;
    let gated = Gated::on(&stack).await;
    let app = app("intent");
    let deployer = &gated.bare.deployer;
    assert_eq!(gated.bare.deploy(&app, &descriptor(&app, "1")).await.unwrap().0, Outcome::Done);

    // Nomad takes no registration from this agent any more: nobody knows when it will.
    gated.gates.of("nomad").from(|q| q.starts_with("POST /v1/jobs"), Mood::Says(Lie::Refuses));
    let asked = Change::Scale(BTreeMap::from([("web".to_owned(), 3)]));
    let begun = deployer.change(&me(), &app, &asked).await.unwrap();
    let id = begun.id.unwrap();
    assert!(begun.summary.contains("nomad has not answered"), "{}", begun.summary);

    let shown = deployer.operation(&id).await.unwrap();
    assert_eq!(
        (shown.verb.as_str(), shown.by.login.as_str(), shown.end.is_some()),
        ("scale", "alice", false)
    );
    assert_eq!(shown.steps[0].target, "scaled to web=3");
    let listed = deployer.operations(Some(&app), 20, Old::Hidden, |_| true).await.unwrap();
    let open: Vec<_> = listed.open.iter().map(|l| &l.id).collect();
    assert_eq!(open, [&id]);
    assert!(listed.ended.iter().all(|l| l.id != id), "what is open has not ended: {:?}", listed.ended);

    let mut course = Box::pin(deployer.follow(id.clone(), 0));
    let first = tokio::time::timeout(SOON, course.next()).await.unwrap();
    assert!(matches!(first, Some(Progress::Step { .. })), "{first:?}");
    assert_eq!(deployer.cancel(&me(), &id).await.unwrap(), app);
    let end = tokio::time::timeout(SOON, course.next()).await.unwrap();
    let Some(Progress::End { outcome, summary, .. }) = end else { panic!("{end:?}") };
    assert_eq!((outcome, summary.as_str()), (Outcome::Undone, "cancelled by alice"));

    // Nothing has changed, and the app is free.
    gated.gates.of("nomad").is(Mood::Well);
    gated.at_rest("cancelled", &app).await;
    let store = deployer.runner().store();
    let head = store.head(&app).await.unwrap().unwrap().value;
    assert_eq!((head.intent, head.counts.len(), head.wanted), (None, 0, Wanted::Running));
    let job = gated.bare.hands.nomad.job("default", &app.flat()).await.unwrap().unwrap();
    assert_eq!(JobView::of(&job).unwrap().counts()["web"], 1);
    assert!(store.consul().kv_keys(keys::INTENTS).await.unwrap().is_empty());
    assert_eq!(deployer.operation(&id).await.unwrap().end.unwrap().outcome, Outcome::Undone);
    let again = deployer.cancel(&me(), &id).await.unwrap_err().to_string();
    assert!(again.contains("has ended already"), "{again}");
    deployer.change(&me(), &app, &asked).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_answer_was_lost_is_not_called_cancelled_where_nomad_has_done_it() {
    let stack = Stack::start(StackOptions::engines()).await;
    let gated = Gated::on(&stack).await;
    let app = app("intent");
    let deployer = &gated.bare.deployer;
    assert_eq!(gated.bare.deploy(&app, &descriptor(&app, "1")).await.unwrap().0, Outcome::Done);
    gated.gates.of("nomad").from(|q| q.starts_with("POST /v1/jobs"), Mood::Lost);
    let asked = Change::Scale(BTreeMap::from([("web".to_owned(), 2)]));
    let id = deployer.change(&me(), &app, &asked).await.unwrap().id.unwrap();
    deployer.cancel(&me(), &id).await.unwrap();
    gated.gates.of("nomad").is(Mood::Well);
    gated.at_rest("lost", &app).await;
    let head = eventually("the change is closed", SOON, async || {
        let head = deployer.runner().store().head(&app).await.ok()??.value;
        head.intent.is_none().then_some(head)
    })
    .await;
    let job = gated.bare.hands.nomad.job("default", &app.flat()).await.unwrap().unwrap();
    assert_eq!(JobView::of(&job).unwrap().counts()["web"], 2);
    assert_eq!(head.counts.values().collect::<Vec<_>>(), [&2], "the head says what nomad holds");
    assert_eq!(deployer.operation(&id).await.unwrap().end.unwrap().outcome, Outcome::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_events_hears_on_after_consul_was_away_and_is_told_why_it_ends() {
    let stack = Stack::start(StackOptions::engines()).await;
    let gated = Gated::on(&stack).await;
    let app = app("events");
    let deployer = &gated.bare.deployer;
    assert_eq!(gated.bare.deploy(&app, &descriptor(&app, "1")).await.unwrap().0, Outcome::Done);
    let mut events = Box::pin(deployer.follow_events(app.clone(), 1_000, Old::Hidden));
    let mut until = async |word: &str| {
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                match events.next().await {
                    Some(Ok(e)) if e.what == word => return,
                    Some(Ok(_)) => {}
                    ended => panic!("no {word}: {ended:?}"),
                }
            }
        });
        waited.await.unwrap_or_else(|_| panic!("no {word}"));
    };
    until("deploy").await;
    gated.gates.of("consul").is(Mood::Down);
    let shut = async || gated.bare.hands.consul.leader().await.is_err().then_some(());
    eventually("consul is away", SOON, shut).await;
    // Long enough for a look of theirs to fail.
    tokio::time::sleep(Duration::from_secs(3)).await;
    gated.gates.of("consul").is(Mood::Well);
    eventually("there is a session", SOON, async || gated.bare.session.lease().map(|_| ())).await;
    let asked = Change::Scale(BTreeMap::from([("web".to_owned(), 2)]));
    eventually("it is scaled", SOON, async || deployer.change(&me(), &app, &asked).await.ok()).await;
    until("scale").await;

    let head = deployer.runner().store().head(&app).await.unwrap().unwrap();
    stack.http().delete(format!("{}/v1/kv/{}", stack.consul(), keys::head(&app))).send().await.unwrap();
    drop(head);
    let last = tokio::time::timeout(Duration::from_secs(60), async {
        while let Some(told) = events.next().await {
            if let Err(e) = told {
                return e.to_string();
            }
        }
        panic!("it ended without a word");
    });
    let last = last.await.unwrap();
    assert!(last.contains("there is no app"), "{last}");
}
