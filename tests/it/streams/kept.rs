//! Logs of the dead: Nomad forgets them, Garage keeps their last words, and the sweep takes those too.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use terreau::clock::SharedClock;
use terreau::engines::garage::Perm;
use terreau::loops::Loops;
use terreau::operation::Runner;
use terreau::operation::run::fresh_uid;
use terreau::resources::Hands;
use terreau::store::{Objects, Store};

use super::Talker;
use crate::harness::{Stack, eventually};
use crate::mechanism::Bare;

/// Where the agent keeps its records.
const RECORDS: &str = "terreau";

impl Talker {
    /// Makes Nomad forget what has ended.
    async fn collect(&self, gone: &str) {
        eventually("nomad has forgotten it", Duration::from_secs(60), async || {
            let url = format!("{}/v1/system/gc", self.stack.nomad());
            assert!(self.stack.http().put(url).send().await.unwrap().status().is_success());
            self.json(&format!("/v1/allocation/{gone}")).await.is_null().then_some(())
        })
        .await;
    }

    async fn is_kept(&self, runner: &Runner, id: &str) {
        let app = self.name.parse().unwrap();
        let head = runner.store().head(&app).await.unwrap().expect("its head is there");
        eventually("its logs are kept", Duration::from_secs(60), async || {
            let kept = runner.store().objects().kept(&head.value.uid).await.unwrap();
            kept.contains(&id.to_owned()).then_some(())
        })
        .await;
    }
}

/// A runner on the agent's own bucket, with a clock that can be moved.
async fn runner(stack: &Stack) -> (Bare, Runner) {
    let bare = Bare::on(stack).await;
    let garage = &bare.hands.garage;
    let bucket = garage.bucket_by_alias(RECORDS).await.unwrap().expect("the agent has made its bucket");
    garage.allow(&bucket.id, &format!("GK{}", hex::encode([7; 12])), Perm::ALL).await.unwrap();
    let objects = Objects::new(bare.hands.s3.clone(), RECORDS);
    let store = Store::new(bare.hands.consul.clone(), objects.clone());
    let hands = Hands { objects, ..bare.hands.clone() };
    let id = fresh_uid(jiff::Timestamp::now());
    let shared: SharedClock = Arc::new(bare.clock.clone());
    let loops = Loops::new(shared.clone());
    let runner = Runner::new(hands, store, bare.session.clone(), id, shared, loops);
    (bare, runner)
}

/// PT-65: previous and crashed instances, also after Nomad has collected them.
#[tokio::test(flavor = "multi_thread")]
async fn pt_65_the_last_words_of_the_dead_outlive_nomad_s_memory_and_go_with_the_app() {
    let it = Talker::new("dead").await;
    let (bare, runner) = runner(it.stack).await;
    it.describe("", &[("MODE", "words"), ("WORD", "one")]);
    it.expect(0, &["deploy"]);
    let first = it.running().await;
    it.says(&["logs"], "one").await;
    it.describe("", &[("MODE", "words"), ("WORD", "two"), ("CRASH", "1")]);
    it.expect(1, &["deploy"]);
    let crashed = eventually("one has crashed", Duration::from_secs(30), async || {
        it.instances().await.into_iter().find(|(_, s)| s == "failed").map(|(id, _)| id)
    })
    .await;
    it.is_kept(&runner, &crashed).await;
    it.collect(&crashed).await;

    let previous = it.says(&["logs", "--previous", "--raw", "--stream", "stdout"], "two").await;
    assert!(previous.ends_with("\ntwo\nno end"), "{previous:?}");
    assert!(it.expect(0, &["logs", "--alloc", &crashed]).out.contains("| two"));
    let lines = it.expect(0, &["logs", "--previous", "--json"]).out;
    let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&line["alloc"], &line["process"]), (&crashed.as_str().into(), &"web".into()));
    assert_eq!(
        it.expect(0, &["logs", "--previous", "--tail", "1", "--stream", "stdout", "--raw"]).out,
        "no end"
    );
    it.expect(6, &["logs", "--previous", "--process", "nobody"]);
    assert!(it.expect(0, &["logs"]).out.contains("| one"), "the old release serves on");

    // Gone with the app, by the sweep.
    it.expect(0, &["delete", "--yes"]);
    it.ended(&first).await;
    it.is_kept(&runner, &first).await;
    let app = it.name.parse().unwrap();
    let head = runner.store().head(&app).await.unwrap().unwrap();
    bare.clock.advance(Duration::from_secs(2 * 3_600));
    let objects = runner.store().objects();
    eventually("the sweep has taken them", Duration::from_secs(60), async || {
        let lease = bare.session.wait().await?;
        terreau::operation::sweep::sweep(&runner, &lease).await.unwrap();
        objects.kept(&head.value.uid).await.unwrap().is_empty().then_some(())
    })
    .await;
}
