//! What changes in a descriptor alone: nothing that runs is touched, and what is asked of the app later goes by it.

use std::collections::BTreeMap;

use terreau::deploy::config::{ConfigCourse, ConfigInput};
use terreau::model::SecretName;
use terreau::model::head::Outcome;

use crate::harness;
use crate::mechanism::{Bare, app, me, web};

#[tokio::test(flavor = "multi_thread")]
async fn a_descriptor_that_changes_nothing_that_runs_is_a_release_all_the_same() {
    let bare = Bare::on(harness::shared().await).await;
    let app = app("alone");
    let text = |owners: &str, kind: &str| {
        let body = format!(
            "secret \"key\" {{ type = \"{kind}\" }}\n  owners = [{owners}]\n  env = {{ KEY = \"${{secret.key}}\" }}"
        );
        web(&app, &body)
    };
    let was = text("\"alice\"", "generated");
    assert_eq!(bare.deploy(&app, &was).await.unwrap().0, Outcome::Done);
    assert_eq!(bare.deploy(&app, &format!("# a comment\n{was}")).await.unwrap().1, ["unchanged"]);
    let (nomad, store) = (&bare.hands.nomad, bare.deployer.runner().store());
    let job = nomad.job("default", &app.flat()).await.unwrap().unwrap();
    let head = store.head(&app).await.unwrap().unwrap().value;

    let is = text("\"alice\", \"group:devs\"", "user");
    let (outcome, why) = bare.deploy(&app, &is).await.unwrap();
    assert_eq!((outcome, &*why[0]), (Outcome::Done, "release 2 runs"), "{why:?}");
    let after = store.head(&app).await.unwrap().unwrap().value;
    assert_eq!((after.owners.len(), after.release.as_ref().map(|r| r.number.0)), (2, Some(2)));
    assert_eq!((&after.job_index, &after.spec_hash), (&head.job_index, &head.spec_hash));
    assert_eq!(job, nomad.job("default", &app.flat()).await.unwrap().unwrap(), "the job is as it was");
    assert_eq!(bare.deploy(&app, &is).await.unwrap().1, ["unchanged"]);

    // The secret is one that people give now.
    let secrets = BTreeMap::from([(SecretName::new("key").unwrap(), "canary-of-a-key".to_owned().into())]);
    let input = ConfigInput { secrets, ..ConfigInput::default() };
    let configured = bare.deployer.configure(&me(), &app, &input).await.unwrap();
    let ConfigCourse::Operation(id) = configured.course else { panic!("{configured:?}") };
    assert_eq!(bare.end_of(id).await.0, Outcome::Done);
    let plain = bare.hands.consul.kv_get(&app.secret_key(&SecretName::new("key").unwrap())).await.unwrap();
    assert_eq!(plain.unwrap().value, "canary-of-a-key");
}
