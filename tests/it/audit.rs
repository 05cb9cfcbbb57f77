//! The audit log: every change stands in it once, in the order in which it was made, and whoever takes one out is found.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use terreau::clock::Clock;
use terreau::deploy::AuditQuery;
use terreau::engines::consul::TxnOp;
use terreau::model::wire::{AuditPage, AuditVerified};
use terreau::operation::export::{Exporter, FULL, KEPT};
use terreau::operation::run::fresh_uid;
use terreau::operation::{OpenError, leader};
use terreau::store::chain::{AUDIT, ChainHead};
use terreau::store::keys;
use terreau::store::records::Verb;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::agent::Agent;
use crate::harness::{Part, Stack, StackOptions, eventually, shared};
use crate::kills::PATIENCE;
use crate::kills::world::World;
use crate::mechanism::{Bare, app, me};

/// Where the agents of these tests keep their records.
const RECORDS: &str = "terreau-records";

/// An agent without doors that leads, on engines of its own.
struct Leader {
    stack: Stack,
    bare: Bare,
    exporter: Exporter,
    _stop: DropGuard,
}

impl Leader {
    async fn start() -> Self {
        let stack = Stack::start(StackOptions::only(&[Part::Consul, Part::Sandbox])).await;
        let bare = Bare::on(&stack).await;
        let stop = CancellationToken::new();
        leader::start(bare.deployer.runner(), "here".into(), stop.clone());
        eventually("it leads", PATIENCE, async || {
            bare.deployer.runner().leads().await.unwrap().then_some(())
        })
        .await;
        Self { stack, bare, exporter: Exporter::default(), _stop: stop.drop_guard() }
    }

    /// Writes down so many changes, one after the other.
    async fn change(&self, count: usize, word: &str) {
        let (app, uid) = (app("told"), fresh_uid(self.bare.clock.now()));
        for n in 0..count {
            self.bare
                .deployer
                .runner()
                .tell(&me(), (&app, &uid), "exec", format!("{word} {n}"))
                .await
                .unwrap();
        }
    }

    async fn export(&mut self) -> usize {
        self.exporter.pass(self.bare.deployer.runner()).await.unwrap().expect("it leads")
    }

    async fn listed(&self, limit: usize) -> AuditPage {
        let query = AuditQuery { limit, ..AuditQuery::default() };
        self.bare.deployer.audit(&query).await.unwrap()
    }

    /// Page after page, what the entries say, oldest first.
    async fn all(&self, limit: usize) -> Vec<String> {
        let (mut said, mut from) = (Vec::new(), None);
        loop {
            let query = AuditQuery { limit, from, ..AuditQuery::default() };
            let page = self.bare.deployer.audit(&query).await.unwrap();
            assert_eq!(page.torn, None);
            said.extend(page.entries.into_iter().map(|l| l.summary));
            match page.next {
                Some(next) => from = Some(next.parse().unwrap()),
                None => break,
            }
        }
        said.reverse();
        said
    }

    async fn verify(&self) -> AuditVerified {
        self.bare.deployer.verify_audit(None).await.unwrap()
    }

    /// The segments' objects, first first.
    async fn segments(&self) -> Vec<String> {
        let found = self.bare.hands.s3.list(RECORDS, "chain/audit/").await.unwrap();
        let mut keys: Vec<String> = found.into_iter().map(|o| o.key).collect();
        keys.sort_by_key(|k| k.split('-').nth(1).unwrap().parse::<u64>().unwrap());
        keys
    }
}

fn words(word: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |n| format!("{word} {n}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn garage_is_away_for_an_hour_and_no_change_is_lost_or_told_twice() {
    let mut it = Leader::start().await;
    it.change(3, "before").await;
    assert_eq!(it.export().await, 3, "the first look takes what is there");
    it.change(2, "early").await;
    assert_eq!(it.export().await, 0, "a quiet cluster makes no segment of each change");
    assert_eq!((it.verify().await.waiting, it.listed(100).await.entries[0].chained), (2, false));

    it.stack.kill(Part::Sandbox).await;
    for n in 0..6 {
        it.bare.clock.advance(Duration::from_mins(10));
        it.change(2, &format!("away {n}")).await;
        let refused = it.exporter.pass(it.bare.deployer.runner()).await.unwrap_err();
        assert!(refused.is_passing(), "{refused}");
    }
    it.stack.start_part(Part::Sandbox).await;
    assert_eq!(it.export().await, 14);
    assert_eq!(it.export().await, 0);
    let mut wanted: Vec<String> = words("before", 3).chain(words("early", 2)).collect();
    wanted.extend((0..6).flat_map(|n| words(&format!("away {n}"), 2).collect::<Vec<_>>()));
    for limit in [1, 4, 100] {
        assert_eq!(it.all(limit).await, wanted, "{limit} at a time");
    }
    let whole = it.verify().await;
    assert_eq!((whole.torn, whole.waiting, whole.head.unwrap().entries), (None, 0, 17));
    assert!(it.listed(100).await.entries.iter().all(|l| l.chained));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_an_altered_and_a_reordered_record_are_found_and_so_is_a_head_that_was_put_back() {
    let mut it = Leader::start().await;
    let mut heads = Vec::new();
    for n in 0..5 {
        it.change(2, &format!("part {n}")).await;
        it.bare.clock.advance(Duration::from_mins(11));
        assert_eq!(it.export().await, 2);
        heads.push(it.bare.hands.consul.kv_get(&keys::chain(AUDIT)).await.unwrap().unwrap().value);
    }
    let (keys_of, s3) = (it.segments().await, it.bare.hands.s3.clone());
    assert_eq!(keys_of.len(), 5);
    assert_eq!(it.verify().await.segments.len(), 5);
    let mut bytes = Vec::new();
    for key in &keys_of {
        bytes.push(s3.get(RECORDS, key, 1 << 20).await.unwrap().unwrap());
    }
    let put = async |n: usize, content: &[u8]| {
        s3.put(RECORDS, &keys_of[n], content.to_vec(), "application/zstd").await.unwrap();
    };
    // One bit of a record; a record less, in a segment that is well made; two segments in each other's place.
    let mut flipped = bytes[2].to_vec();
    flipped[40] ^= 1;
    let lines = zstd::decode_all(&bytes[2][..]).unwrap();
    let text = String::from_utf8(lines).unwrap();
    let fewer: Vec<&str> = text.lines().take(2).collect();
    let fewer = zstd::encode_all(fewer.join("\n").as_bytes(), 9).unwrap();
    for (content, other) in [(flipped, None), (fewer, None), (bytes[1].to_vec(), Some(bytes[2].to_vec()))] {
        put(2, &content).await;
        if let Some(other) = &other {
            put(1, other).await;
        }
        let seen = it.verify().await;
        assert!(seen.torn.as_deref().unwrap().contains("segment 3 was altered"), "{:?}", seen.torn);
        assert_eq!(seen.segments.len(), 2, "what is newer is vouched for");
        put(2, &bytes[2]).await;
        put(1, &bytes[1]).await;
    }
    s3.delete(RECORDS, &keys_of[1]).await.unwrap();
    assert!(it.verify().await.torn.unwrap().contains("segment 2 is gone"));
    put(1, &bytes[1]).await;
    assert_eq!(it.verify().await.torn, None);

    // An older head hides what came after it; and what would be exported over it is still a sign.
    let consul = it.bare.hands.consul.clone();
    consul.kv_put(&keys::chain(AUDIT), heads[1].clone()).await.unwrap();
    assert!(it.verify().await.torn.unwrap().contains("an older head was put back"));
    consul.kv_delete(&keys::chain(AUDIT)).await.unwrap();
    assert!(it.verify().await.torn.unwrap().contains("an older head was put back, or it is gone"));
    consul.kv_put(&keys::chain(AUDIT), heads[4].clone()).await.unwrap();
    assert_eq!((it.verify().await.torn, it.export().await), (None, 0));

    // What is exported over an older head, or none, does not hide what stood there.
    for (head, said) in [(Some(heads[1].clone()), "segment 3 was begun"), (None, "segment 1 was begun")] {
        match head {
            Some(head) => consul.kv_put(&keys::chain(AUDIT), head).await.unwrap(),
            None => consul.kv_delete(&keys::chain(AUDIT)).await.unwrap(),
        }
        for _ in 0..2 {
            it.change(1, "after").await;
            it.bare.clock.advance(Duration::from_hours(2));
            assert!(it.export().await > 0);
        }
        let seen = it.verify().await;
        assert_eq!((seen.torn, seen.breaks.len()), (None, 1), "{:?}", seen.breaks);
        assert!(
            seen.breaks[0].contains(said) && seen.breaks[0].contains("segments up to 5"),
            "{:?}",
            seen.breaks
        );
    }
}

/// Audit records as an agent would have written them, without one.
async fn seed(bare: &terreau::engines::consul::Consul, count: usize) {
    let record = |n: usize| {
        let id = fresh_uid(jiff::Timestamp::now());
        let value = json!({ "v": 1, "at": "2026-01-01T00:00:00Z", "by": { "login": "alice", "address": "" },
            "app": { "tenant": "default", "environment": "production", "project": "old" }, "verb": "exec",
            "operation": id, "outcome": "done", "summary": format!("seed {n}") });
        TxnOp::Create { key: keys::audit(&id), value: value.to_string().into_bytes() }
    };
    let ops: Vec<TxnOp> = (0..count).map(record).collect();
    join_all(ops.chunks(64).map(|some| bare.txn(some))).await.into_iter().for_each(|r| drop(r.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_too_many_wait_no_change_is_taken_and_it_goes_on_by_itself() {
    let mut it = Leader::start().await;
    it.stack.kill(Part::Sandbox).await;
    seed(&it.bare.hands.consul, FULL).await;
    it.exporter.pass(it.bare.deployer.runner()).await.unwrap_err();
    let runner = it.bare.deployer.runner().clone();
    let app = app("full");
    let refused = runner.lock(&app, &me(), Verb::Deploy).await.unwrap_err();
    let words = refused.to_string();
    assert!(matches!(refused, OpenError::Engine(_)) && words.contains("garage"), "{words}");
    assert!(words.contains("wait in Consul for their export"), "{words}");
    let uid = fresh_uid(it.bare.clock.now());
    runner.tell(&me(), (&app, &uid), "exec", "no".into()).await.unwrap_err();
    let stopping = runner.lock_for(&app, uid.clone(), &me(), "stop").await.unwrap();
    runner.unlock(stopping).await;
    // What takes away goes on: a run that is ended, a hook that is removed.
    for verb in ["run-stop", "delete", "remove", "token-revoke"] {
        runner.tell(&me(), (&app, &uid), verb, "goes on".into()).await.unwrap();
    }
    runner.write_told(&me(), (&app, &uid), "hook-remove", "goes on".into(), Vec::new()).await.unwrap();
    runner.write_told(&me(), (&app, &uid), "hook-add", "no".into(), Vec::new()).await.unwrap_err();
    let all = FULL + 5;

    it.stack.start_part(Part::Sandbox).await;
    let looks = async {
        for _ in 0..40 {
            let seen = it.bare.deployer.verify_audit(None).await.unwrap();
            assert_eq!(seen.torn, None, "a look beside an export raises no alarm");
        }
    };
    let (exported, ()) = tokio::join!(it.exporter.pass(&runner), looks);
    assert_eq!(exported.unwrap(), Some(all));
    assert_eq!(runner.store().consul().kv_keys(keys::AUDIT).await.unwrap().len(), KEPT);
    let lock = runner.lock(&app, &me(), Verb::Deploy).await.unwrap();
    runner.unlock(lock).await;
    assert_eq!(it.all(1_000).await.len(), all, "those in Consul, and those that are in the chain alone");
    assert_eq!(it.verify().await.head.unwrap().entries, all as u64);
}

/// What a backup of Consul brings back bears new indexes: higher ones where it was the same Consul, lower ones where it was
/// built anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_consul_that_came_back_by_an_import_tells_no_entry_twice_and_exports_none_again() {
    let mut it = Leader::start().await;
    let consul = it.bare.hands.consul.clone();
    for n in 0..500 {
        consul.kv_put("test/higher", n.to_string()).await.unwrap();
    }
    let mut wanted = Vec::new();
    for is_anew in [false, true] {
        it.change(3, &format!("chained {is_anew}")).await;
        it.bare.clock.advance(Duration::from_hours(2));
        it.export().await;
        it.change(2, &format!("waiting {is_anew}")).await;
        wanted.extend(words(&format!("chained {is_anew}"), 3).chain(words(&format!("waiting {is_anew}"), 2)));

        let mut all = consul.kv_list(keys::ALL_AUDIT).await.unwrap();
        all.sort_by_key(|e| e.modify_index);
        let last = all.last().unwrap().modify_index;
        all.extend(consul.kv_get(&keys::chain(AUDIT)).await.unwrap());
        if is_anew {
            it.stack.kill(Part::Consul).await;
            std::fs::remove_dir_all(it.stack.dir().join("consul")).unwrap();
            it.stack.start_part(Part::Consul).await;
        } else {
            for entry in &all {
                consul.kv_delete(&entry.key).await.unwrap();
            }
        }
        for entry in &all {
            consul.kv_put(&entry.key, entry.value.clone()).await.unwrap();
        }
        let now = consul.kv_list(keys::ALL_AUDIT).await.unwrap();
        assert!(now.iter().all(|e| (e.modify_index < last) == is_anew), "{last}: {now:?}");
        for limit in [1, 4, 100] {
            assert_eq!(it.all(limit).await, wanted, "{limit} at a time, anew: {is_anew}");
        }
        // Whoever leads then.
        eventually("it leads", PATIENCE, async || {
            it.bare.deployer.runner().leads().await.unwrap_or(false).then_some(())
        })
        .await;
        it.exporter = Exporter::default();
        assert_eq!(it.export().await, 2, "what waited, and nothing again; anew: {is_anew}");
        let whole = it.verify().await;
        assert_eq!((whole.torn, whole.waiting, whole.head.unwrap().entries), (None, 0, wanted.len() as u64));
        for limit in [1, 4, 100] {
            assert_eq!(it.all(limit).await, wanted, "{limit} at a time, anew: {is_anew}");
        }
        assert!(it.listed(100).await.entries.iter().all(|l| l.chained));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g1_an_agent_that_dies_anywhere_in_an_export_leaves_each_change_in_the_chain_once() {
    let mut world = World::start(StackOptions::only(&[Part::Consul, Part::Sandbox, Part::Nomad])).await;
    let mut seeded = 0;
    for point in ["audit.head.after", "audit.segment.before", "audit.segment.after", "audit.head.before"] {
        seed(world.consul(), 250).await;
        seeded += 250;
        let agent = world.agent(&[("TERREAU_KILL_AT", point)]).await;
        world.dies(agent, point).await;
    }
    let agent = world.agent(&[]).await;
    world.login(&agent.url.clone()).await;
    let verified = eventually("all of it is exported", PATIENCE, async || {
        let (status, told) = world.ask(&agent.url, Method::GET, "/v1/audit/verify", None).await?;
        (status == 200 && told["waiting"] == 0).then_some(told)
    })
    .await;
    assert_eq!(verified["torn"], Value::Null);
    assert_eq!(verified["head"]["entries"], seeded, "{verified}");
    let head: ChainHead = {
        let entry = world.consul().kv_get(&keys::chain(AUDIT)).await.unwrap().unwrap();
        serde_json::from_slice(&entry.value).unwrap()
    };
    assert_eq!((head.last.epoch, head.last.seq), (2, 2), "two agents have written it: {head:?}");
    let (_, page) = world.ask(&agent.url, Method::GET, "/v1/audit?limit=1000", None).await.unwrap();
    assert_eq!(page["entries"].as_array().unwrap().len(), seeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_read_the_log_and_nobody_else() {
    let stack = shared().await;
    let agent = Arc::new(Agent::start(stack).await);
    agent.ready().await;
    let (alice, root) = (agent.login("alice").await, agent.login("root").await);
    for path in ["/v1/audit", "/v1/audit/verify"] {
        assert_eq!(agent.get(path, &alice).await.0, 403);
        assert_eq!(agent.call(Method::GET, path, None, None).await.0, 401);
        assert_eq!(agent.get(path, &root).await.0, 200);
        for bad in ["from=x", "from=1-2-3-4-zz", "limit=0", "since=yesterday", "nothing=1"] {
            let (status, told) = agent.get(&format!("{path}?{bad}"), &root).await;
            assert!(status == 422 || status == 400, "{path}?{bad}: {status} {told}");
        }
    }
    // Of a segment that never was.
    let none = format!("/v1/audit?from=5-1-1-1-{}", "0".repeat(64));
    let (_, told) = agent.get(&none, &root).await;
    assert!(told["torn"].as_str().unwrap().contains("is gone"), "{told}");
    let body = json!({ "name": "ci", "apps": ["nothing-here"], "verbs": ["read"], "expires_in": 3_600 });
    agent.call(Method::POST, "/v1/tokens", Some(&root), Some(body)).await;
    let (_, told) = agent.get("/v1/audit?login=root", &root).await;
    let entries = told["entries"].as_array().unwrap();
    assert!(entries.iter().all(|e| e["login"] == "root" || e["person"] == "root"), "{told}");
}
