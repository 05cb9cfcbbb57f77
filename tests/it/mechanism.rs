//! The mechanism on the real engines, without the doors: plan, operation, undo, sweep.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use secrecy::SecretString;
use terreau::clock::{ManualClock, SharedClock};
use terreau::deploy::{Accepted, Data, DeployInput, Deployer, Error};
use terreau::engines::consul::Consul;
use terreau::engines::directory::{Directory, DirectoryConfig};
use terreau::engines::garage::{Admin, BucketSettings, Perm, S3, Website};
use terreau::engines::http::HttpOptions;
use terreau::engines::nomad::Nomad;
use terreau::loops::Loops;
use terreau::model::head::Outcome;
use terreau::model::{Cluster, Placement, ProjectName, Uid};
use terreau::operation::run::fresh_uid;
use terreau::operation::{AgentSession, Progress, Runner};
use terreau::resources::Hands;
use terreau::sandbox::config::ARTIFACT_BUCKET;
use terreau::store::records::By;
use terreau::store::{Objects, Store};
use terreau::world::World;
use tokio_util::sync::CancellationToken;

use crate::harness::{self, Stack};

/// Where an agent reaches the engines.
#[derive(Debug, Clone)]
pub struct Addresses {
    pub consul: String,
    pub nomad: String,
    pub ldap: String,
    pub garage_admin: String,
    pub s3: String,
}

impl Addresses {
    pub fn of(stack: &Stack) -> Self {
        Self {
            consul: stack.consul(),
            nomad: stack.nomad(),
            ldap: stack.ldap(),
            garage_admin: stack.garage_admin(),
            s3: stack.s3(),
        }
    }
}

/// An agent without doors, in this process.
pub struct Bare {
    pub deployer: Deployer,
    pub hands: Hands,
    pub clock: ManualClock,
    pub session: AgentSession,
    _stop: tokio_util::sync::DropGuard,
}

impl Bare {
    pub async fn on(stack: &Stack) -> Self {
        Self::through(stack, &Addresses::of(stack)).await
    }

    /// An agent that reaches the engines of this stack at other addresses.
    pub async fn through(stack: &Stack, at: &Addresses) -> Self {
        let options = HttpOptions::default();
        let consul = Consul::new(&at.consul, None, &options).unwrap();
        let nomad = Nomad::new(&at.nomad, None, None, &options).unwrap();
        let directory = Directory::new(DirectoryConfig::new(
            at.ldap.clone(),
            stack.base_dn(),
            stack.service_dn(),
            stack.service_password().into(),
        ))
        .unwrap();
        let garage = Admin::new(&at.garage_admin, stack.admin_token(), &options).unwrap();
        let (key, secret) = (format!("GK{}", hex::encode([7; 12])), hex::encode([7; 32]));
        let secret: SecretString = secret.into();
        // Several tests set the same things up at once: who comes second finds them.
        let _ = garage.import_key(&key, &secret, "terreau").await;
        for alias in [ARTIFACT_BUCKET, "terreau-records"] {
            let _ = garage.create_bucket(alias).await;
            let bucket = garage.bucket_by_alias(alias).await.unwrap().unwrap();
            garage.allow(&bucket.id, &key, Perm::ALL).await.unwrap();
            if alias == ARTIFACT_BUCKET {
                // As agents of other tests on this stack do it: they would not find the name taken by another bucket.
                let _ = garage.add_alias(&bucket.id, "localhost").await;
                let website = Some(Website { index: "index.html".into(), error: None });
                garage.update_bucket(&bucket.id, &BucketSettings { website, quotas: None }).await.unwrap();
            }
        }
        let s3 = S3::new(&at.s3, "garage", &key, secret).unwrap();
        let stop = CancellationToken::new();
        let objects = Objects::new(s3.clone(), "terreau-records");
        let web: reqwest::Url = stack.web().parse().unwrap();
        let cluster = Cluster {
            name: stack.cluster().into(),
            sites: vec![stack.site().into()],
            artifacts_host: "localhost".into(),
            artifacts_port: web.port().unwrap(),
            driver_archive: "raw_exec".into(),
            volumes_root: stack.dir().join("volumes").to_string_lossy().into_owned(),
            proxy_reaction: Duration::from_millis(500),
            domain: "localhost".into(),
            ldap_base: stack.base_dn().into(),
            ..Cluster::default()
        };
        let clock = ManualClock::at(jiff::Timestamp::now());
        let shared: SharedClock = Arc::new(clock.clone());
        let loops = Loops::new(shared.clone());
        let world = World::start(nomad.clone(), consul.clone(), &loops, stop.clone());
        let hands = Hands {
            nomad,
            consul: consul.clone(),
            directory,
            garage,
            s3,
            s3_key: key,
            artifacts: ARTIFACT_BUCKET.into(),
            objects: objects.clone(),
            world,
            cluster,
        };
        let agent = fresh_uid(jiff::Timestamp::now());
        let session = AgentSession::begin(consul.clone(), format!("test {agent}"), &loops);
        session.wait().await.unwrap();
        let store = Store::new(consul, objects);
        let runner = Runner::new(hands.clone(), store, session.clone(), agent, shared, loops);
        Self { deployer: Deployer::new(runner), hands, clock, session, _stop: stop.drop_guard() }
    }

    /// Deploys and waits for the end.
    pub async fn deploy(&self, app: &Placement, descriptor: &str) -> Result<(Outcome, Vec<String>), Error> {
        let input = DeployInput { descriptor: descriptor.to_owned(), ..DeployInput::default() };
        match self.deployer.deploy(&me(), app, &input).await? {
            Accepted::Operation(id) => Ok(self.end_of(id).await),
            Accepted::Unchanged(_) => Ok((Outcome::Done, vec!["unchanged".to_owned()])),
        }
    }

    pub async fn end_of(&self, id: Uid) -> (Outcome, Vec<String>) {
        let mut course = Box::pin(self.deployer.follow(id, 0));
        let waited = tokio::time::timeout(Duration::from_secs(120), async {
            while let Some(p) = course.next().await {
                println!("{p:?}");
                if let Progress::End { outcome, summary, why, .. } = p {
                    return (outcome, std::iter::once(summary).chain(why).collect());
                }
            }
            panic!("the course ended without an end");
        });
        waited.await.expect("the operation has not ended in time")
    }
}

pub fn me() -> By {
    By { login: "alice".into(), address: "127.0.0.1".into() }
}

pub fn app(prefix: &str) -> Placement {
    Placement::production(ProjectName::new(harness::unique(prefix)).unwrap())
}

/// An app that serves, with more lines in its project.
pub fn web(app: &Placement, extra: &str) -> String {
    format!(
        r#"project "{name}" {{
  process "web" {{
    command = ["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "${{port.http}}"]
    port "http" {{}}
    check "http" {{ path = "/" }}
    route "{name}.example.org" {{}}
  }}
  {extra}
}}
"#,
        name = app.project
    )
}

#[tokio::test]
async fn a_first_deploy_runs_a_second_says_unchanged_and_moves_no_index_and_a_delete_is_swept() {
    let stack = harness::shared().await;
    let bare = Bare::on(stack).await;
    let app = app("web");
    let text =
        web(&app, "secret \"session\" { type = \"generated\" }\n  env = { SESSION = \"${secret.session}\" }");
    let (outcome, why) = bare.deploy(&app, &text).await.unwrap();
    assert_eq!(outcome, Outcome::Done, "{why:?}");

    let consul = &bare.hands.consul;
    let plain = consul.kv_get(&format!("secrets/{app}/session")).await.unwrap().unwrap();
    let version = consul.kv_get(&format!("secrets/{app}/.v/session/1")).await.unwrap().unwrap();
    assert_eq!(plain.value, version.value);
    let healthy = consul.health(&app.flat()).await.unwrap();
    assert!(healthy.iter().any(|i| i.is_passing() && i.tags.contains(&format!("tricot {app}.example.org"))));

    let before = bare.hands.nomad.job("default", &app.flat()).await.unwrap().unwrap();
    let (_, why) = bare.deploy(&app, &text).await.unwrap();
    assert_eq!(why, ["unchanged"]);
    let after = bare.hands.nomad.job("default", &app.flat()).await.unwrap().unwrap();
    assert_eq!(before["ModifyIndex"], after["ModifyIndex"]);

    let Accepted::Operation(id) = bare.deployer.delete(&me(), &app, Data::Kept).await.unwrap() else {
        panic!()
    };
    assert_eq!(bare.end_of(id).await.0, Outcome::Done);
    let again = bare.deployer.delete(&me(), &app, Data::Kept).await.unwrap_err();
    assert!(again.to_string().contains("free at"), "{again}");
    let taken = bare.deploy(&app, &text).await.unwrap_err();
    assert!(matches!(taken, Error::NameNotAvailable { .. }), "{taken}");
    let words = taken.to_string();
    assert!(words.contains("rests until ") && words.contains("UTC") && words.contains("again"), "{words}");

    bare.clock.advance(Duration::from_secs(2 * 3600));
    let lease = bare.session.lease().unwrap();
    terreau::operation::sweep::sweep(bare.deployer.runner(), &lease).await.unwrap();
    assert!(consul.kv_keys(&format!("secrets/{app}/")).await.unwrap().is_empty());
    assert!(bare.hands.nomad.job("default", &app.flat()).await.unwrap().is_none());
    let gone = bare.deployer.delete(&me(), &app, Data::Kept).await.unwrap_err();
    assert!(gone.to_string().contains("there is no app"), "{gone}");
    assert!(consul.kv_get(&format!("terreau/v1/name/service/{app}")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_release_that_crashes_is_reverted_and_the_old_one_serves_on_pt_61() {
    let stack = harness::shared().await;
    let bare = Bare::on(stack).await;
    let app = app("crash");
    let good = web(&app, "");
    assert_eq!(bare.deploy(&app, &good).await.unwrap().0, Outcome::Done);
    let bad = good.replace(
        "\"-m\", \"http.server\"",
        "\"-c\", \"import sys; print('no luck', file=sys.stderr); sys.exit(3)\"",
    );
    let (outcome, why) = bare.deploy(&app, &bad).await.unwrap();
    assert_eq!(outcome, Outcome::Reverted, "{why:?}");
    let story = why.join("\n");
    assert!(story.contains("exit code 3") && story.contains("no luck"), "{story}");
    let healthy = bare.hands.consul.health(&app.flat()).await.unwrap();
    assert!(healthy.iter().any(terreau::engines::consul::Instance::is_passing));
    let status = bare.deployer.status(&app).await.unwrap();
    assert_eq!(status.status, terreau::model::wire::AppCondition::Running, "{status:?}");
    // And what Nomad holds is what the head says: the good release is unchanged, the bad one is not.
    assert_eq!(bare.deploy(&app, &good).await.unwrap().1, ["unchanged"]);
}

#[tokio::test]
async fn a_first_release_that_crashes_fails_with_the_reason_and_does_not_go_on_crashing() {
    let stack = harness::shared().await;
    let bare = Bare::on(stack).await;
    let app = app("dead");
    let bad = web(&app, "").replace("\"-m\", \"http.server\"", "\"-c\", \"import sys; sys.exit(4)\"");
    let (outcome, why) = bare.deploy(&app, &bad).await.unwrap();
    assert_eq!(outcome, Outcome::Failed, "{why:?}");
    assert!(why.join("\n").contains("exit code 4"), "{why:?}");
    let job = bare.hands.nomad.job("default", &app.flat()).await.unwrap().unwrap();
    assert_eq!(job["Stop"], true);
    // Mended, it runs.
    assert_eq!(bare.deploy(&app, &web(&app, "")).await.unwrap().0, Outcome::Done);
}

#[tokio::test]
async fn a_change_of_a_route_restarts_nothing() {
    let stack = harness::shared().await;
    let bare = Bare::on(stack).await;
    let app = app("route");
    let text = web(&app, "");
    assert_eq!(bare.deploy(&app, &text).await.unwrap().0, Outcome::Done);
    let ids = async |bare: &Bare| -> Vec<String> {
        let all = bare.hands.nomad.allocations("default", &app.flat()).await.unwrap();
        all.into_iter().map(|a| a.id).collect()
    };
    let before = ids(&bare).await;
    let other = text.replace(".example.org", ".example.net");
    assert_eq!(bare.deploy(&app, &other).await.unwrap().0, Outcome::Done);
    assert_eq!(ids(&bare).await, before);
    let name = format!("terreau/v1/name/host/{app}.example");
    assert!(bare.hands.consul.kv_get(&format!("{name}.net")).await.unwrap().is_some());
    assert!(
        bare.hands.consul.kv_get(&format!("{name}.org")).await.unwrap().is_none(),
        "the old host is free"
    );
}

#[tokio::test]
async fn df_03_df_04_backing_services_are_made_used_and_taken_away() {
    let stack = harness::shared().await;
    let bare = Bare::on(stack).await;
    let app = app("uses");
    let text = web(
        &app,
        "uses \"ldap\" {}\n  uses \"bucket\" \"media\" { max_objects = 100 }\n  env = { LDAP = \"${uses.ldap.password}\", \
         KEY = \"${uses.media.access_key_id}\", S3 = \"${uses.media.secret_access_key}\" }",
    );
    let (outcome, why) = bare.deploy(&app, &text).await.unwrap();
    assert_eq!(outcome, Outcome::Done, "{why:?}");
    let dn = format!("cn={app},ou=services,ou=users,{}", stack.base_dn());
    let password = bare.hands.consul.kv_get(&format!("secrets/{app}/ldap_password")).await.unwrap().unwrap();
    let password: SecretString = String::from_utf8(password.value.to_vec()).unwrap().into();
    let bound = bare.hands.directory.bind(&dn, &password).await.unwrap();
    assert_eq!(bound, terreau::engines::directory::Bound::Accepted);
    let bucket = bare.hands.garage.bucket_by_alias(&format!("{app}-media")).await.unwrap().unwrap();
    assert_eq!(bucket.quotas.max_objects, Some(100));
    let head = bare.deployer.runner().store().head(&app).await.unwrap().unwrap().value;
    let key = head.owned.iter().find(|o| o.kind == terreau::model::head::Kind::Key).unwrap().id.clone();
    let secret =
        bare.hands.consul.kv_get(&format!("secrets/{app}/media_secret_access_key")).await.unwrap().unwrap();
    let secret: SecretString = String::from_utf8(secret.value.to_vec()).unwrap().into();
    let s3 = S3::new(&stack.s3(), "garage", &key, secret).unwrap();
    s3.put(&format!("{app}-media"), "a", &b"x"[..], "text/plain").await.unwrap();
    assert_eq!(bare.deploy(&app, &text).await.unwrap().1, ["unchanged"]);

    // Without them: useless at once, data kept.
    let (outcome, why) = bare.deploy(&app, &web(&app, "")).await.unwrap();
    assert_eq!(outcome, Outcome::Done, "{why:?}");
    let bound = bare.hands.directory.bind(&dn, &password).await.unwrap();
    assert_eq!(bound, terreau::engines::directory::Bound::Refused);
    assert!(s3.get(&format!("{app}-media"), "a", 10).await.is_err(), "the key opens nothing any more");
    assert!(bare.hands.garage.bucket_by_alias(&format!("{app}-media")).await.unwrap().is_some());
}

#[tokio::test]
async fn pt_70_a_host_that_another_app_holds_is_refused_and_nothing_is_left() {
    let stack = harness::shared().await;
    let bare = Bare::on(stack).await;
    let (one, two) = (app("one"), app("two"));
    assert_eq!(bare.deploy(&one, &web(&one, "")).await.unwrap().0, Outcome::Done);
    let greedy = web(&two, "")
        .replace(&format!("route \"{two}.example.org\""), &format!("route \"{one}.example.org\""));
    let refused = bare.deploy(&two, &greedy).await.unwrap_err();
    assert!(matches!(refused, Error::NameNotAvailable { .. }), "{refused}");
    assert!(bare.deployer.runner().store().head(&two).await.unwrap().is_none());
    let keys = bare.hands.consul.kv_keys("terreau/v1/").await.unwrap();
    assert!(!keys.iter().any(|k| k.contains(two.project.as_str()) && !k.contains("/lock/")), "{keys:?}");
}

#[tokio::test]
async fn pt_11_of_many_first_deploys_of_one_name_exactly_one_succeeds() {
    let stack = harness::shared().await;
    let bare = Bare::on(stack).await;
    let app = app("race");
    let text = web(&app, "");
    let tries = (0..8).map(|_| {
        let input = DeployInput { descriptor: text.clone(), ..DeployInput::default() };
        let (deployer, app) = (bare.deployer.clone(), app.clone());
        async move { deployer.deploy(&me(), &app, &input).await }
    });
    let answers = futures::future::join_all(tries).await;
    let mut accepted: Vec<Uid> = Vec::new();
    for answer in answers {
        match answer {
            Ok(Accepted::Operation(id)) => accepted.push(id),
            Ok(Accepted::Unchanged(_)) => panic!("nothing runs yet"),
            Err(Error::Held { .. } | Error::Moved(..)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(accepted.len(), 1);
    assert_eq!(bare.end_of(accepted.remove(0)).await.0, Outcome::Done);
}

#[tokio::test]
async fn a_plan_reads_and_writes_nothing_and_its_token_binds() {
    let stack = harness::shared().await;
    let bare = Bare::on(stack).await;
    let app = app("plan");
    let input =
        |text: &str, token| DeployInput { descriptor: text.to_owned(), token, ..DeployInput::default() };
    let text = web(&app, "");
    let plan = bare.deployer.plan(&me(), &app, &input(&text, None)).await.unwrap();
    assert!(!plan.is_empty() && plan.obstacles.is_empty());
    assert!(bare.deployer.runner().store().head(&app).await.unwrap().is_none());
    let again = bare.deployer.plan(&me(), &app, &input(&text, None)).await.unwrap();
    assert_eq!(plan.token, again.token, "a plan of a new app can be reviewed and then applied");
    let other = web(&app, "env = { A = \"1\" }");
    let moved =
        bare.deployer.deploy(&me(), &app, &input(&other, Some(plan.token.clone()))).await.unwrap_err();
    assert!(matches!(moved, Error::Moved(_, Some(_))), "{moved}");
    let Accepted::Operation(id) =
        bare.deployer.deploy(&me(), &app, &input(&text, Some(plan.token))).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(bare.end_of(id).await.0, Outcome::Done);
}
