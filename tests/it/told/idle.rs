//! What telling costs while nothing happens.

use std::sync::Arc;
use std::time::Duration;

use terreau::model::head::{AppState, Head};
use terreau::model::wire::HookEvent;
use terreau::operation::run::fresh_uid;
use terreau::store::hooks::{Hook, HookBook, HookQueue};
use terreau::store::keys;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use super::PATIENCE;
use super::away::Telling;
use crate::harness::{StackOptions, eventually};
use crate::mechanism::{Addresses, app};

/// Hands everything on, and keeps the lines of what was asked.
struct Ear {
    url: String,
    heard: Arc<Mutex<String>>,
}

impl Ear {
    async fn before(url: &str) -> Self {
        let to = url.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(String::new()));
        let kept = heard.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (to, kept) = (to.clone(), kept.clone());
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(to).await else { return };
                    let ((mut from, mut back), (mut answers, mut on)) = (near.into_split(), far.into_split());
                    tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
                    let mut bytes = vec![0; 64 << 10];
                    while let Ok(n @ 1..) = from.read(&mut bytes).await {
                        kept.lock().await.push_str(&String::from_utf8_lossy(&bytes[..n]));
                        if on.write_all(&bytes[..n]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { url, heard }
    }

    /// The requests since it was asked last.
    async fn requests(&self) -> Vec<String> {
        let text = std::mem::take(&mut *self.heard.lock().await);
        let is_request = |l: &&str| l.ends_with(" HTTP/1.1");
        text.lines().filter(is_request).map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_of_many_apps_cost_one_look_when_somebody_begins_to_lead_and_nothing_at_rest() {
    const APPS: usize = 60;
    let stack = crate::harness::Stack::start(StackOptions::engines()).await;
    let (consul, nomad) = (Ear::before(&stack.consul()).await, Ear::before(&stack.nomad()).await);
    for n in 0..APPS {
        let app = app("many");
        let uid = fresh_uid(jiff::Timestamp::now());
        let mut head = Head::new(app.clone(), uid.clone(), String::new(), vec![]);
        head.state = AppState::Live;
        let hook = Hook {
            id: format!("{n:016x}"),
            url: "http://127.0.0.1:9/".into(),
            on: HookEvent::ALL.into(),
            by: "me".into(),
            at: String::new(),
        };
        let queue = HookQueue {
            v: 1,
            hook: hook.id.clone(),
            app: app.clone(),
            pending: [].into(),
            tries: 0,
            next: None,
            last: None,
            lost: 0,
            leaving: None,
        };
        let (key, line) = (keys::hook_book(&app), keys::hook_queue(&hook.id));
        let book = HookBook { v: 1, app: app.clone(), uid, hooks: vec![hook] };
        for (key, value) in [
            (keys::head(&app), serde_json::to_string(&head)),
            (key, serde_json::to_string(&book)),
            (line, serde_json::to_string(&queue)),
        ] {
            let url = format!("{}/v1/kv/{key}", stack.consul());
            stack.http().put(url).body(value.unwrap()).send().await.unwrap();
        }
    }
    let addresses =
        Addresses { consul: consul.url.clone(), nomad: nomad.url.clone(), ..Addresses::of(&stack) };
    let it = Telling::through(&stack, &addresses).await;
    // It leads, and has looked: what it asks from here on is asked at rest. Streams open once more at the beginning.
    let mut looked = Vec::new();
    eventually("every app is looked at", PATIENCE, async || {
        looked.extend(consul.requests().await);
        looked.iter().any(|r| r.contains("/kv/terreau/v1/app/?recurse")).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    looked.extend(consul.requests().await);
    let asked: Vec<_> = nomad.requests().await.into_iter().filter(|r| r.contains("alloc")).collect();
    assert!(asked.len() <= 3 && asked.iter().all(|r| r.contains("/v1/allocations?")), "{asked:?}");
    let each: Vec<_> = looked.iter().filter(|r| r.contains("/app/default/")).collect();
    assert!(each.is_empty(), "looked at one by one: {each:?}");
    let begun = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(12)).await;
    let (consul, nomad) = (consul.requests().await, nomad.requests().await);
    let ours: Vec<_> = consul
        .iter()
        .filter(|r| r.contains("/terreau/v1/hook") || r.contains("/terreau/v1/app/") || r.contains("/txn"))
        .collect();
    assert!(ours.len() <= 1, "one long call at most: {ours:?}");
    assert_eq!(nomad, Vec::<String>::new());
    println!(
        "told: {APPS} apps with hooks, at rest for {:.0} s: {} calls of hooks to Consul, {} to Nomad; {} of the whole agent",
        begun.elapsed().as_secs_f32(),
        ours.len(),
        nomad.len(),
        consul.len()
    );
    drop(it);
}
