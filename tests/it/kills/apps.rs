//! The apps that live through the kills, and what agents are asked for.

use reqwest::Method;
use serde_json::{Value, json};
use terreau::build::archive::{Limits, pack};
use terreau::model::Placement;

use super::world::World;
use crate::mechanism::web;

/// What an agent is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Deploy(Placement, Value),
    /// To the release before.
    Rollback(Placement),
    Delete(Placement),
    /// A plan of one step: its word and its body.
    Run(Placement, &'static str, Value),
}

impl Change {
    pub(crate) fn deploy(app: &Placement, text: &str) -> Self {
        Self::Deploy(app.clone(), json!({"descriptor": text}))
    }

    pub(crate) fn app(&self) -> &Placement {
        match self {
            Self::Deploy(app, _) | Self::Rollback(app) | Self::Delete(app) | Self::Run(app, ..) => app,
        }
    }

    pub(crate) fn request(&self) -> (Method, String, Option<Value>) {
        match self {
            Self::Deploy(app, body) => (Method::POST, format!("/v1/apps/{app}/deploy"), Some(body.clone())),
            Self::Rollback(app) => (Method::POST, format!("/v1/apps/{app}/rollback"), Some(json!({}))),
            Self::Delete(app) => (Method::DELETE, format!("/v1/apps/{app}"), None),
            Self::Run(app, verb, body) => {
                (Method::POST, format!("/v1/apps/{app}/{verb}"), Some(body.clone()))
            }
        }
    }
}

/// One of each kind of resource.
pub(crate) fn first(app: &Placement) -> String {
    web(
        app,
        r#"secret "session" { type = "generated" }
  uses "ldap" {}
  uses "bucket" "media" { max_objects = 100 }
  env = {
    SESSION = "${secret.session}"
    LDAP    = "${uses.ldap.password}"
    KEY     = "${uses.media.access_key_id}"
    S3      = "${uses.media.secret_access_key}"
  }"#,
    )
}

/// Keeps one, changes one, adds one, takes one away; replaces the instance.
pub(crate) fn second(app: &Placement) -> String {
    web(
        app,
        r#"secret "session" { type = "generated" }
  secret "extra" { type = "generated" }
  uses "bucket" "media" { max_objects = 200 }
  env = {
    SESSION = "${secret.session}"
    EXTRA   = "${secret.extra}"
    KEY     = "${uses.media.access_key_id}"
    S3      = "${uses.media.secret_access_key}"
  }"#,
    )
}

/// The host of a static site.
pub(crate) fn host(app: &Placement) -> String {
    format!("{app}.example.org")
}

/// Uploads a page that says `text`, and a style sheet that does, and gives what a deploy of them asks.
pub(crate) async fn page(world: &World, app: &Placement, text: &str) -> Change {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), text).unwrap();
    std::fs::write(folder.path().join("style.css"), format!("/* {text} */")).unwrap();
    let packed = pack(folder.path(), &std::env::temp_dir(), &Limits::default(), &mut |_| ()).unwrap();
    let part = &packed.artifact.parts[0];
    let path = format!("/v1/apps/{app}/uploads");
    let body = json!({"parts": packed.artifact.parts});
    let (status, begun) = world.ask(&world.leader, Method::POST, &path, Some(&body)).await.unwrap();
    assert_eq!(status, 200, "{begun}");
    let ticket = begun["ticket"].as_str().unwrap();
    let url = format!("{}{path}/{}?ext={}&ticket={ticket}", world.leader, part.sha256, part.ext);
    let bytes = std::fs::read(&packed.files[0]).unwrap();
    let put = world.stack.http().put(url).bearer_auth(&world.token).body(bytes).send().await.unwrap();
    assert_eq!(put.status(), 204);
    let descriptor =
        format!("project \"{app}\" {{\n  build \"static\" {{}}\n  route \"{}\" {{}}\n}}\n", host(app));
    let body = json!({"descriptor": descriptor, "artifact": packed.artifact, "ticket": ticket});
    Change::Deploy(app.clone(), body)
}
