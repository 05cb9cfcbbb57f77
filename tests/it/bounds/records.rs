//! Records that this agent cannot read, or that are another app's.

use std::time::Duration;

use serde_json::json;
use terreau::deploy::Old;
use terreau::model::head::{Kind, Outcome};
use terreau::operation::leader;
use terreau::operation::run::fresh_uid;
use terreau::store::keys;
use terreau::store::records::{Audit, By, Doomed, DoomedThing, SCHEMA};
use tokio_util::sync::CancellationToken;

use crate::harness::{Stack, StackOptions, eventually, shared};
use crate::mechanism::{Bare, app, me};

fn sleeper(app: &terreau::model::Placement) -> String {
    format!("project \"{app}\" {{\n  process \"web\" {{ command = [\"/usr/bin/sleep\", \"1000\"] }}\n}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_newer_schema_stop_neither_the_leader_nor_a_list() {
    let stack = Stack::start(StackOptions::engines()).await;
    let bare = Bare::on(&stack).await;
    let (old, newer) = (app("old"), app("newer"));
    for app in [&old, &newer] {
        assert_eq!(bare.deploy(app, &sleeper(app)).await.unwrap().0, Outcome::Done);
    }
    let (consul, store) = (&bare.hands.consul, bare.deployer.runner().store().clone());
    let now = jiff::Timestamp::now();
    let (operation, intent, doomed, audit) = (fresh_uid(now), fresh_uid(now), fresh_uid(now), fresh_uid(now));
    let of_next = json!({ "v": SCHEMA + 1, "app": "what it is nobody here knows" }).to_string();
    let written =
        [keys::operation(&operation), keys::intent(&intent), keys::doomed(&doomed), keys::audit(&audit)];
    for key in written {
        consul.kv_put(&key, of_next.clone()).await.unwrap();
    }
    consul.kv_put("terreau/v1/app/default/production/from-the-future", of_next).await.unwrap();
    // Of an app that can be read, an operation that cannot.
    let mut head = store.head(&newer).await.unwrap().unwrap();
    head.value.operation = Some(operation.clone());
    consul.kv_put(&keys::head(&newer), serde_json::to_vec(&head.value).unwrap()).await.unwrap();
    // Something for the leader to do after all of them.
    let due = Doomed {
        v: SCHEMA,
        id: fresh_uid(now),
        uid: fresh_uid(now),
        app: app("gone"),
        things: vec![DoomedThing::new(Kind::Secret, "", vec![])],
        not_before: "2020-01-01T00:00:00Z".to_owned(),
    };
    consul.kv_put(&keys::doomed(&due.id), serde_json::to_vec(&due).unwrap()).await.unwrap();

    let stop = CancellationToken::new();
    leader::start(bare.deployer.runner(), "127.0.0.1:1".into(), stop.clone());
    eventually("the leader has swept what it can read", Duration::from_secs(30), async || {
        consul.kv_get(&keys::doomed(&due.id)).await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(consul.kv_get(&keys::doomed(&doomed)).await.unwrap().is_some(), "a newer agent's is its own");

    let listed = bare.deployer.operations(None, 20, Old::Hidden, |_| true).await.unwrap();
    let line = listed.open.iter().find(|l| l.id == operation).unwrap();
    assert_eq!((&line.app, line.step.as_deref()), (&newer, Some("its record is newer than this agent")));
    assert_eq!(listed.ended.len(), 2, "{:?}", listed.ended);
    assert_eq!(bare.deployer.events(&old, 100, Old::Hidden).await.unwrap()[0].what, "deploy");
    let all = bare.deployer.status_all(|_, _| true).await.unwrap();
    let of_it = all.iter().find(|a| a.app == "from-the-future").unwrap();
    assert!(of_it.why.as_ref().is_some_and(|w| w.contains("upgrade the agent")), "{of_it:?}");
    assert!(bare.deployer.graph(None, |_| true).await.is_ok());
    // Who owns it cannot be said: nobody is called without apps.
    assert!(bare.deployer.owned_by(&"alice".parse().unwrap()).await.is_err());
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_to_an_app_of_the_same_name_before_is_not_its_successors() {
    let bare = Bare::on(shared().await).await;
    let app = app("heir");
    assert_eq!(bare.deploy(&app, &sleeper(&app)).await.unwrap().0, Outcome::Done);
    let now = jiff::Timestamp::now();
    let write = async |uid, summary: &str| {
        let id = fresh_uid(now);
        let audit = Audit {
            v: SCHEMA,
            at: now.to_string(),
            by: By { login: "bob".into(), address: String::new() },
            app: app.clone(),
            uid,
            about: Vec::new(),
            verb: "restart".to_owned(),
            operation: id.clone(),
            outcome: Outcome::Done,
            summary: summary.to_owned(),
        };
        let value = serde_json::to_vec(&audit).unwrap();
        bare.hands.consul.kv_put(&keys::audit(&id), value).await.unwrap();
        id
    };
    let theirs = write(Some(fresh_uid(now)), "of the one before").await;
    let unsaid = write(None, "of nobody knows whom").await;
    let texts = async |old| {
        let told = bare.deployer.events(&app, 1_000, old).await.unwrap();
        told.into_iter().filter(|e| e.what == "restart").map(|e| e.text).collect::<Vec<_>>()
    };
    assert!(texts(Old::Hidden).await.is_empty());
    assert_eq!(texts(Old::Told).await, ["of nobody knows whom"]);
    let ended = async |old| {
        let all = bare.deployer.operations(Some(&app), 20, old, |_| true).await.unwrap().ended;
        all.into_iter().map(|l| l.id).collect::<Vec<_>>()
    };
    let (hidden, told) = (ended(Old::Hidden).await, ended(Old::Told).await);
    assert_eq!((hidden.len(), told.len()), (1, 2), "{hidden:?} {told:?}");
    assert!(told.contains(&unsaid) && !told.contains(&theirs));
    // What it does itself is told, and bears its identity.
    let uid = bare.deployer.runner().store().head(&app).await.unwrap().unwrap().value.uid;
    bare.deployer.runner().tell(&me(), (&app, &uid), "restart", "sh".to_owned()).await.unwrap();
    assert_eq!(texts(Old::Hidden).await, ["sh"]);
}
