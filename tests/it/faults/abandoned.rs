//! An operation that an engine keeps from going on is abandoned where it stands, at each of its steps: what it made stays its app's,
//! nothing is nobody's, and the next deploy goes through as ever.

use std::time::Duration;

use terreau::deploy::{Accepted, Data};
use terreau::model::head::{AppState, Kind, Outcome};
use terreau::model::wire::FindingKind;
use terreau::operation::{Announced, announce, sweep};
use tokio_util::sync::CancellationToken;

use super::gate::Mood;
use super::{Gated, descriptor};
use crate::harness::{Stack, StackOptions, eventually};
use crate::mechanism::{app, me};

const PATIENCE: Duration = Duration::from_secs(30);

type Asks = fn(&str) -> bool;

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_is_abandoned_at_any_step_leaves_nothing_that_is_nobodys() {
    let stack = Stack::start(StackOptions::engines()).await;
    let gated = Gated::on(&stack).await;
    let deployer = &gated.bare.deployer;
    let stop = CancellationToken::new();
    announce(deployer.runner(), Announced { address: "here".into(), pages: None }, stop.clone());
    let _stop = stop.drop_guard();
    let cases: [(&str, Mood, &str, Asks); 8] = [
        ("garage", Mood::Down, "a bucket is made", |a| a.starts_with("POST /v2/CreateBucket")),
        ("garage", Mood::Lost, "a bucket is made", |a| a.starts_with("POST /v2/CreateBucket")),
        ("garage", Mood::Down, "a key is made", |a| a.starts_with("POST /v2/ImportKey")),
        ("garage", Mood::Lost, "a key is made", |a| a.starts_with("POST /v2/ImportKey")),
        ("garage", Mood::Lost, "a key is granted", |a| a.starts_with("POST /v2/AllowBucketKey")),
        ("nomad", Mood::Down, "the job is registered", |a| a.starts_with("POST /v1/jobs?")),
        ("nomad", Mood::Lost, "the job is registered", |a| a.starts_with("POST /v1/jobs?")),
        ("nomad", Mood::Down, "it is rolled out", |a| a.contains("/deployments")),
    ];
    for (gate, mood, what, step) in cases {
        let (app, case) = (app("left"), format!("{gate} {mood} when {what}"));
        let text = descriptor(&app, "first");
        gated.gates.of(gate).from(step, mood);
        let Accepted::Operation(id) = gated.begin(&app, &text).await.unwrap() else { panic!("{case}") };
        eventually(&format!("{case}: it waits"), PATIENCE, async || {
            gated.gates.of(gate).has_begun().then_some(())
        })
        .await;
        assert_eq!(deployer.abandon(&me(), &id).await.unwrap(), app, "{case}");
        // It ends while its engine is still away.
        let (outcome, why) = gated.bare.end_of(id.clone()).await;
        assert_eq!(outcome, Outcome::Abandoned, "{case}: {why:?}");
        assert!(why[0].starts_with("abandoned by alice, half-way"), "{case}: {why:?}");
        assert!(why.iter().any(|w| w.starts_with("done: ")), "{case}: what was done is told: {why:?}");
        assert!(
            why.iter().any(|w| w.starts_with("done or not: ") || w.starts_with("not done: ")),
            "{case}: {why:?}"
        );
        gated.gates.of(gate).is(Mood::Well);
        gated.at_rest(&case, &app).await;

        let head = deployer.runner().store().head(&app).await.unwrap().unwrap().value;
        assert_eq!(head.state, AppState::Abandoned, "{case}");
        // What was not begun is nowhere, and what may be there is the app's.
        let owns = |kind: Kind| head.owned.iter().any(|o| o.kind == kind);
        let reached = |kind: Kind| match kind {
            Kind::Bucket => true,
            Kind::Key => !what.starts_with("a bucket"),
            _ => gate == "nomad",
        };
        for kind in [Kind::Bucket, Kind::Key, Kind::Job] {
            assert_eq!(owns(kind), reached(kind), "{case}: {kind:?} of {:?}", head.owned);
        }
        let left = eventually(&format!("{case}: everything can be looked at"), PATIENCE, async || {
            let found = deployer.checkup().await.unwrap();
            found.unseen.is_empty().then_some(found.findings)
        })
        .await;
        let left: Vec<_> =
            left.iter().filter(|f| !matches!(f.kind, FindingKind::Loop | FindingKind::Agent)).collect();
        assert!(left.len() == 1 && left[0].text.contains("was abandoned half-way"), "{case}: {left:#?}");
        let again = deployer.abandon(&me(), &id).await.unwrap_err();
        assert!(again.to_string().contains("has ended already: abandoned by alice"), "{case}: {again}");

        gated.done_in_the_end(&case, &app, &text).await;
        let head = deployer.runner().store().head(&app).await.unwrap().unwrap().value;
        assert_eq!(head.state, AppState::Live, "{case}");
        let Accepted::Operation(id) = deployer.delete(&me(), &app, Data::Deleted).await.unwrap() else {
            panic!("{case}")
        };
        assert_eq!(gated.bare.end_of(id).await.0, Outcome::Done, "{case}");
        println!("abandoned: {case}: {} things told", why.len() - 1);
    }
    gated.bare.clock.advance(Duration::from_hours(2));
    let lease = gated.bare.session.lease().unwrap();
    sweep::sweep(deployer.runner(), &lease).await.unwrap();
    let found = deployer.checkup().await.unwrap();
    let left: Vec<_> = found.findings.iter().filter(|f| f.kind != FindingKind::Loop).collect();
    assert!(left.iter().all(|f| f.kind == FindingKind::Audit), "nothing is left of any of them: {left:#?}");
}

/// What nothing was changed of but a bucket's quota: the descriptor of before changes nothing, and the app is alive again.
#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_of_what_runs_brings_an_abandoned_app_back() {
    let stack = Stack::start(StackOptions::engines()).await;
    let gated = Gated::on(&stack).await;
    let (deployer, app) = (&gated.bare.deployer, app("left"));
    let text = descriptor(&app, "first");
    gated.done_in_the_end("back", &app, &text).await;
    gated.gates.of("garage").from(|a| a.starts_with("POST /v2/UpdateBucket"), Mood::Down);
    let more = text.replace("\"media\" {}", "\"media\" { max_objects = 20 }");
    assert_ne!(more, text);
    let Accepted::Operation(id) = gated.begin(&app, &more).await.unwrap() else { panic!() };
    eventually("it waits", PATIENCE, async || gated.gates.of("garage").has_begun().then_some(())).await;
    deployer.abandon(&me(), &id).await.unwrap();
    assert_eq!(gated.bare.end_of(id).await.0, Outcome::Abandoned);
    gated.gates.of("garage").is(Mood::Well);
    gated.at_rest("abandoned", &app).await;
    gated.done_in_the_end("back", &app, &text).await;
    let head = deployer.runner().store().head(&app).await.unwrap().unwrap().value;
    assert_eq!((head.state, head.release.unwrap().number.0), (AppState::Live, 3));
}

/// A first deploy that is abandoned and then deleted: nothing of it is left, and its name is free.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_whose_first_deploy_was_abandoned_can_be_deleted() {
    let stack = Stack::start(StackOptions::engines()).await;
    let gated = Gated::on(&stack).await;
    let (deployer, app) = (&gated.bare.deployer, app("left"));
    gated.gates.of("nomad").from(|a| a.starts_with("POST /v1/jobs?"), Mood::Lost);
    let Accepted::Operation(id) = gated.begin(&app, &descriptor(&app, "first")).await.unwrap() else {
        panic!()
    };
    eventually("it waits", PATIENCE, async || gated.gates.of("nomad").has_begun().then_some(())).await;
    deployer.abandon(&me(), &id).await.unwrap();
    assert_eq!(gated.bare.end_of(id).await.0, Outcome::Abandoned);
    gated.gates.of("nomad").is(Mood::Well);
    gated.at_rest("abandoned", &app).await;
    let Accepted::Operation(id) = deployer.delete(&me(), &app, Data::Deleted).await.unwrap() else {
        panic!()
    };
    let (outcome, why) = gated.bare.end_of(id).await;
    assert_eq!(outcome, Outcome::Done, "{why:?}");
    gated.bare.clock.advance(Duration::from_hours(2));
    let lease = gated.bare.session.lease().unwrap();
    sweep::sweep(deployer.runner(), &lease).await.unwrap();
    assert!(deployer.runner().store().head(&app).await.unwrap().is_none());
    assert!(gated.bare.hands.nomad.job("default", &app.flat()).await.unwrap().is_none());
    let found = deployer.checkup().await.unwrap().findings;
    assert!(found.iter().all(|f| !matches!(f.kind, FindingKind::Orphan | FindingKind::Name)), "{found:#?}");
}
