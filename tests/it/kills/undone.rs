//! A change that is refused half-way takes nothing from the release that serves.

use rustix::process::Signal;
use secrecy::SecretString;
use serde_json::json;
use terreau::engines::directory::{Bound, Change as Modify, hash};
use terreau::engines::garage::Perm;
use terreau::engines::nomad::Registration;
use terreau::model::head::{AppState, Kind, Outcome};

use super::apps::{Change, first};
use super::world::World;
use super::{PATIENCE, PREFIX};
use crate::harness::{StackOptions, eventually};
use crate::mechanism;

#[tokio::test(flavor = "multi_thread")]
async fn a_redeploy_that_is_refused_leaves_the_account_and_the_key_of_the_release_that_serves() {
    let mut world = World::start(StackOptions::engines()).await;
    // It is paused before its second registration.
    let agent = world.agent(&[("TERREAU_STOP_AT", "deploy.job.before#2")]).await;
    world.leader.clone_from(&agent.url);
    let leader = world.leader.clone();
    world.login(&leader).await;
    let app = mechanism::app(PREFIX);
    let text = first(&app);
    let head = world.done(&Change::deploy(&app, &text)).await;
    let key = head.unwrap().owned.into_iter().find(|o| o.kind == Kind::Key).unwrap().id;

    // Somebody has changed the password and taken the grant away: the next deploy sets both again, then the job.
    let dn = format!("cn={},ou=services,ou=users,{}", app.flat(), world.stack.base_dn());
    let other = Modify::Replace {
        attr: "userpassword".to_owned(),
        values: vec![hash::ssha512_fresh(&"other".to_owned().into())],
    };
    world.directory.modify(&dn, &[other]).await.unwrap();
    let alias = format!("{}-media", app.flat());
    let bucket = world.garage.bucket_by_alias(&alias).await.unwrap().unwrap();
    world.garage.deny(&bucket.id, &key, Perm::ALL).await.unwrap();
    let changed = text.replace("env = {", "env = {\n    NEW     = \"1\"");
    world.change(&agent.url, &Change::deploy(&app, &changed)).await;
    eventually("the agent is paused", PATIENCE, async || agent.is_stopped().then_some(())).await;
    // And now the job's index moves: the registration will be refused.
    let mut job = world.nomad.job("default", &app.flat()).await.unwrap().unwrap();
    job["Priority"] = json!(51);
    let theirs = Registration { job, enforce_index: None, submission_hcl: None };
    world.nomad.register(&theirs).await.unwrap();
    agent.signal(Signal::CONT);

    let head = world.rest(&app, "a refusal").await.unwrap();
    assert_eq!(head.last_operation.as_ref().map(|o| o.outcome), Some(Outcome::Undone), "{head:?}");
    assert_eq!((head.state, head.release.map(|r| r.number.0)), (AppState::Live, Some(1)));
    let password = format!("secrets/{}/ldap_password", app.flat());
    let password = world.consul().kv_get(&password).await.unwrap().unwrap().value;
    let password: SecretString = String::from_utf8(password.to_vec()).unwrap().into();
    assert_eq!(world.directory.bind(&dn, &password).await.unwrap(), Bound::Accepted);
    let key = world.garage.key(&key).await.unwrap().expect("the key is there");
    assert!(key.buckets.iter().any(|b| b.id == bucket.id), "{key:?}");
    assert_eq!(world.orphans().await, Vec::<String>::new());
    // It is in nobody's way: asked again, it is done.
    let head = world.done(&Change::deploy(&app, &changed)).await;
    world.assert_runs(&app, head, 3, &changed, "a second try").await;
}
