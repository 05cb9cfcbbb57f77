//! Calls to an engine at once.

use std::time::{Duration, Instant};

use terreau::clock;
use terreau::engines::Fault;
use terreau::engines::consul::Consul;
use terreau::engines::http::{HttpOptions, LONG};
use terreau::engines::nomad::Nomad;
use terreau::loops::Loops;
use terreau::operation::AgentSession;
use terreau::world::World;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connections_to;
use crate::harness::{Part, Stack, StackOptions, eventually};

const MINUTE: Duration = Duration::from_mins(1);

async fn lab() -> (Stack, Consul) {
    let stack = Stack::start(StackOptions::only(&[Part::Consul])).await;
    let consul = Consul::new(&stack.consul(), None, &HttpOptions::default()).unwrap();
    (stack, consul)
}

/// A key, and the index of its last change.
async fn key(consul: &Consul, name: &str) -> u64 {
    // Another value each time: the same again is no change.
    consul.kv_put(name, rand::random::<[u8; 8]>().to_vec()).await.unwrap();
    consul.kv_get(name).await.unwrap().unwrap().modify_index
}

#[tokio::test(flavor = "multi_thread")]
async fn of_150_long_calls_40_are_made_and_a_session_beside_them_lives_and_places_come_back() {
    let (stack, consul) = lab().await;
    let session =
        AgentSession::begin(consul.clone().aside(), "bounds".to_owned(), &Loops::new(clock::system()));
    let lease = session.wait().await.unwrap().id;
    let mut calls = JoinSet::new();
    for n in 0..150 {
        let index = key(&consul, &format!("bounds/{n}")).await;
        let consul = consul.clone();
        calls.spawn(async move { (n, consul.kv_wait(&format!("bounds/{n}"), index, MINUTE).await) });
    }
    let waits = async || (connections_to(&stack.consul()) >= LONG).then_some(());
    eventually("forty calls are under way", MINUTE, waits).await;

    // Those without a place are told so, and nothing was asked for them.
    let mut refused = Vec::new();
    while refused.len() < 150 - LONG {
        assert!(connections_to(&stack.consul()) <= LONG + 4, "{}", connections_to(&stack.consul()));
        let (n, answer) = tokio::time::timeout(MINUTE, calls.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.unwrap_err().fault, Fault::Busy);
        refused.push(n);
        // What is answered at once does not stand behind what is held back.
        let begun = Instant::now();
        consul.kv_get("bounds/0").await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
    assert_eq!(session.lease().map(|l| l.id), Some(lease.clone()), "the session has lived on");

    // Answered or given up: the place is another's.
    let waiting = (0..150).filter(|n| !refused.contains(n)).collect::<Vec<_>>();
    key(&consul, &format!("bounds/{}", waiting[0])).await;
    let (n, answer) = calls.join_next().await.unwrap().unwrap();
    assert_eq!((n, answer.is_ok()), (waiting[0], true));
    let index = key(&consul, "bounds/more").await;
    assert!(consul.kv_wait("bounds/more", index, Duration::from_millis(100)).await.is_ok());
    calls.shutdown().await;
    let mut again = JoinSet::new();
    for _ in 0..LONG {
        let consul = consul.clone();
        again.spawn(async move { consul.kv_wait("bounds/more", index, Duration::from_secs(1)).await });
    }
    assert!(again.join_all().await.iter().all(Result::is_ok));
    assert_eq!(session.lease().map(|l| l.id), Some(lease));
    session.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_followers_of_one_key_take_one_call_and_none_is_left_behind_them() {
    let (stack, consul) = lab().await;
    let nomad = Nomad::new("http://127.0.0.1:1", None, None, &HttpOptions::default()).unwrap();
    let stop = CancellationToken::new();
    let world = World::start(nomad, consul.clone(), &Loops::new(clock::system()), stop.clone());
    let index = key(&consul, "bounds/head").await;
    let mut hearing = JoinSet::new();
    for _ in 0..100 {
        let mut follower = world.follow_key("bounds/head");
        hearing.spawn(async move { follower.changed(index, MINUTE).await });
    }
    // They come and go: each goes without a call of its own.
    for _ in 0..200 {
        let mut gone = world.follow_key("bounds/head");
        let _ = tokio::time::timeout(Duration::from_millis(2), gone.changed(index, MINUTE)).await;
    }
    assert!(hearing.try_join_next().is_none(), "nothing has changed yet");
    assert!(connections_to(&stack.consul()) <= 4, "{}", connections_to(&stack.consul()));
    let begun = Instant::now();
    key(&consul, "bounds/head").await;
    hearing.join_all().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn consul_goes_on_with_a_long_call_that_was_given_up() {
    // Why followers share one call that is never given up.
    let (stack, consul) = lab().await;
    let index = key(&consul, "bounds/left").await;
    let raw = stack.http();
    let url = format!("{}/v1/kv/bounds/left?index={index}&wait=30s", stack.consul());
    for _ in 0..20 {
        let asked = tokio::time::timeout(Duration::from_millis(100), raw.get(&url).send()).await;
        assert!(asked.is_err(), "it is held back");
    }
    drop(raw);
    // Looked at for a while: none of them goes before its time.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        assert!(connections_from(&stack.consul()) >= 20, "{}", connections_from(&stack.consul()));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The connections that the engine itself still holds, closed by the other side or not.
fn connections_from(url: &str) -> usize {
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    let end = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let held = table.lines().skip(1).filter_map(|l| {
        let mut columns = l.split_whitespace().skip(1);
        Some((columns.next()?, columns.nth(1)?))
    });
    held.filter(|(local, state)| local.ends_with(&end) && matches!(*state, "01" | "08")).count()
}
