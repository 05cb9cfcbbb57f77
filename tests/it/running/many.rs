//! The status of very many apps: one call, and as many calls of engines as for one.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};
use terreau::model::desired::{Name, Space};
use terreau::model::head::{AppState, Head, Kind, Owned};
use terreau::model::{Placement, ProjectName, sha256_hex};
use terreau::operation::run::fresh_uid;
use terreau::store::keys;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Part, StackOptions, eventually, the_only_heavy_one};
use crate::kills::PATIENCE;
use crate::kills::apps::Change;
use crate::kills::world::World;
use crate::mechanism::{app, web};

/// How many apps there are besides the real one.
const MANY: usize = 200;

/// A way to an engine that keeps the first line of every request.
struct Counter {
    url: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Counter {
    async fn on(engine: &str) -> Self {
        let to = engine.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, to.clone(), kept.clone()));
            }
        });
        Self { url, lines }
    }

    /// The requests since the last time that have this in them.
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}

async fn carry(client: TcpStream, engine: String, lines: Arc<Mutex<Vec<String>>>) {
    let Ok(engine) = TcpStream::connect(engine).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_engine, mut to_engine) = engine.into_split();
    let there = async {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from_client.read(&mut bytes).await {
            let text = String::from_utf8_lossy(&bytes[..n]);
            let heads = text.lines().filter(|l| l.ends_with(" HTTP/1.1"));
            lines.lock().unwrap().extend(heads.map(str::to_owned));
            if to_engine.write_all(&bytes[..n]).await.is_err() {
                return;
            }
        }
    };
    let back = tokio::io::copy(&mut from_engine, &mut to_client);
    tokio::select! {
        () = there => {}
        _ = back => {}
    }
}

/// An app that lives by its head alone: Nomad has no job of it.
fn planted(n: usize) -> Head {
    let app = Placement::production(ProjectName::new(format!("many-{n}")).unwrap());
    let mut head = Head::new(app.clone(), fresh_uid(jiff::Timestamp::now()), String::new(), vec![]);
    head.state = AppState::Live;
    head.owned = vec![Owned { kind: Kind::Job, id: app.flat(), hash: sha256_hex("") }];
    head.names = vec![Name { space: Space::Host, name: format!("{app}.example.org") }];
    head
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_63_the_status_of_200_apps_is_one_call_with_as_many_calls_of_engines_as_for_one() {
    let _alone = the_only_heavy_one().await;
    let mut world = World::start(StackOptions::engines().with(Part::Agent)).await;
    let leader = world.leader.clone();
    world.login(&leader).await;
    let real = app("real");
    world.done(&Change::deploy(&real, &web(&real, ""))).await;
    let (nomad, consul) = (Counter::on(&world.stack.nomad()).await, Counter::on(&world.stack.consul()).await);
    let settings = [format!("nomad.address={}", nomad.url), format!("consul.address={}", consul.url)];
    let agent = world.agent_with(&[], &settings).await;
    // What the agent asks by itself, whoever comes: its session, the leader's key, `/readyz`, the event stream.
    let mine = |lines: Vec<String>| -> Vec<String> {
        let own = [
            "/v1/jobs",
            "/v1/job/",
            "/v1/allocation",
            "/v1/health/",
            "/v1/kv/terreau/v1/app/",
            "/v1/kv/terreau/v1/op/",
            "/v1/kv/terreau/v1/drift/",
            "/v1/deployments",
            "/v1/nodes",
        ];
        // A watch that happens to come back is the agent's own, too.
        let is_asked = |l: &String| {
            own.iter().any(|o| l.contains(o))
                && !l.contains("terreau-probe")
                && !l.contains("/v1/health/state/any?index=")
        };
        lines.into_iter().filter(is_asked).collect()
    };
    let ask = async || {
        drop((nomad.taken(), consul.taken()));
        let begun = Instant::now();
        let (status, answer) = world.ask(&agent.url, Method::GET, "/v1/apps", None).await.unwrap();
        let took = begun.elapsed();
        assert_eq!(status, 200, "{answer}");
        let mut lines = mine(nomad.taken());
        lines.extend(mine(consul.taken()));
        (answer["apps"].as_array().unwrap().clone(), lines, took)
    };
    let (apps, few, _) = ask().await;
    assert_eq!(apps.len(), 1);
    assert_eq!((&apps[0]["status"], &apps[0]["processes"][0]["healthy"]), (&json!("running"), &json!(1)));

    for n in 0..MANY {
        let head = planted(n);
        world.consul().kv_put(&keys::head(&head.app), serde_json::to_vec(&head).unwrap()).await.unwrap();
    }
    // One that this agent cannot read.
    let newer = Placement::production(ProjectName::new("newer").unwrap());
    world.consul().kv_put(&keys::head(&newer), &br#"{"v":99}"#[..]).await.unwrap();
    let (apps, many, took) = ask().await;
    assert_eq!(apps.len(), MANY + 2);
    assert_eq!(many.len(), few.len(), "{few:#?} {many:#?}");
    assert_eq!(many.len(), 5, "the heads, the drift, the jobs, the allocations, the checks: {many:#?}");
    let of = |apps: &[Value], name: &str| apps.iter().find(|a| a["app"] == name).cloned().unwrap();
    assert_eq!(of(&apps, &real.to_string())["status"], "running");
    let lost = of(&apps, "many-7");
    assert!(lost["why"].as_str().unwrap().contains("nomad has no job"), "{lost}");
    let unread = of(&apps, "newer");
    assert_eq!(unread["status"], "unknown");
    assert!(unread["why"].as_str().unwrap().contains("schema 99"), "{unread}");
    println!("pt_63: {} apps in one call, {} calls of engines, {took:?}", apps.len(), many.len());

    // Nomad away: every app says so in its place, and what is known without it is told.
    world.stack.kill(Part::Nomad).await;
    let (status, answer) = world.ask(&agent.url, Method::GET, "/v1/apps", None).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let away = of(answer["apps"].as_array().unwrap(), &real.to_string());
    assert_eq!((&away["status"], &away["release"]), (&json!("unknown"), &json!(1)), "{away}");
    assert!(away["why"].as_str().unwrap().to_lowercase().contains("nomad"), "{away}");
    world.stack.start_part(Part::Nomad).await;
    eventually("it runs again", PATIENCE, async || {
        let (_, answer) = world.ask(&agent.url, Method::GET, "/v1/apps", None).await.unwrap();
        (of(answer["apps"].as_array()?, &real.to_string())["status"] == "running").then_some(())
    })
    .await;
}
