//! start, stop, scale and restart, by the command line.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::{App, Load, PATIENCE, stack};
use crate::harness::eventually;
use crate::mechanism::{Addresses, Bare, app, me, web};
use terreau::deploy::Change;
use terreau::model::head::{Outcome, Wanted};
use terreau::model::wire::AppCondition;
use terreau::store::keys;

#[tokio::test(flavor = "multi_thread")]
async fn pt_62_a_stop_is_quick_and_clear_and_start_and_deploy_bring_back_the_same_release_and_env() {
    let it = App::new(stack().await, "stop");
    let shown = it.expect(0, &["deploy"]).err;
    // However fast it went: its screen ends with what each instance has reached.
    for a in it.allocations().await {
        let wanted =
            format!("instance {} of {}", &a["ID"].as_str().unwrap()[..8], a["TaskGroup"].as_str().unwrap());
        assert!(shown.lines().any(|l| l.contains(&wanted) && l.ends_with(": healthy")), "{wanted}: {shown}");
    }
    assert!(it.until_page(200).await.starts_with("one "));

    let begun = Instant::now();
    let ran = it.expect(0, &["stop"]);
    let took = begun.elapsed();
    // stop_timeout (10 s) and shutdown_delay (0.5 s here) are the bound; this app ends at once when it is told to.
    assert!(took < Duration::from_secs(11), "{took:?}: {}", ran.err);
    assert!(ran.err.contains("is stopped"), "{}", ran.err);
    assert!(ran.err.contains("web: stopped") && !ran.err.contains("/0 healthy"), "{}", ran.err);
    let status = it.status();
    assert_eq!(status["status"], "stopped");
    assert_eq!(status["stopped"]["by"], "me");
    assert_eq!(App::process(&status, "web")["wanted"], 0);
    assert_eq!(App::process(&status, "web")["described"], 1);
    assert_eq!(status["last_change"]["verb"], "stop");
    assert_eq!(status["last_change"]["by"], "me");
    assert!(it.allocations().await.is_empty());
    assert!(it.expect(0, &["stop"]).err.contains("was stopped by me"), "a second stop says that it is so");
    assert!(it.expect(5, &["restart"]).err.contains("terreau start"));
    let none = it.expect(125, &["exec", "--", "true"]);
    assert!(none.err.contains(&format!("`terreau start {}`", it.name)), "{}", none.err);
    it.expect(0, &["run", "--", "true"]);

    let body = it.expect(0, &["start"]);
    assert!(body.out.contains(&format!("{}.example.org", it.name)), "the URL is data: {}", body.out);
    assert!(it.until_page(200).await.starts_with("one "));
    let status = it.status();
    assert_eq!((&status["release"], &status["status"]), (&json!(1), &json!("running")));
    assert!(status["stopped"].is_null());
    assert!(it.expect(0, &["start"]).err.contains("is not stopped"));

    it.expect(0, &["stop"]);
    let plan = it.expect(10, &["plan"]);
    assert!(
        plan.out.contains("web: 0 instances become 1") || plan.err.contains("web: 0 instances become 1"),
        "{}",
        plan.out
    );
    it.expect(0, &["deploy"]);
    assert!(it.until_page(200).await.starts_with("one "));
    let status = it.status();
    assert_eq!((&status["release"], &status["status"]), (&json!(1), &json!("running")), "the same release");
    assert!(it.expect(0, &["deploy"]).err.contains("no changes"));
    let same = it.expect(0, &["deploy", "-m", "why it was"]);
    assert!(same.err.contains("no release was made, and the message was not kept"), "{}", same.err);
    let all = it.expect(0, &["status", "--all"]).out;
    assert!(all.starts_with("APP ") && all.contains(&it.name), "{all}");
    println!("pt_62: stopped after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_that_were_scaled_hold_through_deploys_and_stops_and_replace_nothing() {
    let it = App::new(stack().await, "scale");
    it.expect(0, &["deploy"]);
    let before = it.allocations().await;
    it.expect(0, &["scale", "web=3", "worker=2"]);
    let after = it.allocations().await;
    assert_eq!(after.len(), 5);
    for a in &before {
        assert!(after.iter().any(|b| a["ID"] == b["ID"]), "an instance was replaced");
    }
    let status = it.status();
    assert_eq!(App::process(&status, "web")["healthy"], 3);
    assert_eq!(App::process(&status, "web")["described"], 1);
    assert_eq!(status["instances"].as_array().unwrap().len(), 5);
    // Exit code 10 would say that there is something to do.
    it.expect(0, &["plan"]);

    // A deploy keeps them.
    it.describe("two", "");
    it.expect(0, &["deploy"]);
    assert_eq!(it.allocations().await.len(), 5);
    assert!(it.until_page(200).await.starts_with("two "));

    // A stop keeps them; a scale meanwhile is remembered.
    it.expect(0, &["stop"]);
    let again = it.expect(0, &["stop"]).err;
    let at = it.status()["stopped"]["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let at = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    assert!(again.contains(&format!("was stopped by me at {at}")), "{again}");
    let refused = it.expect(5, &["restart"]).err;
    assert!(refused.contains("is stopped, so there is nothing to restart"), "{refused}");
    assert!(refused.contains(&format!("`terreau start {}` starts it", it.name)), "{refused}");
    let silent = it.expect(6, &["logs"]).err;
    assert!(silent.contains("is stopped: no instance of it runs now"), "{silent}");
    assert!(silent.contains(&format!("`terreau logs {} --previous`", it.name)), "{silent}");
    it.expect(0, &["logs", "--previous"]);
    let said = it.expect(0, &["scale", "web=2"]);
    assert!(said.err.contains("remembered for the next start"), "{}", said.err);
    assert!(it.allocations().await.is_empty());
    it.expect(0, &["start"]);
    let status = it.status();
    assert_eq!(
        (
            App::process(&status, "web")["healthy"].as_u64(),
            App::process(&status, "worker")["healthy"].as_u64()
        ),
        (Some(2), Some(2))
    );

    // 0 of one process is not a stop.
    let said = it.expect(0, &["scale", "web=0"]);
    assert_eq!(said.out, "", "nobody answers at its address: {}", said.err);
    assert!(said.err.contains("web: stopped") && !said.err.contains("0/0"), "{}", said.err);
    let status = it.status();
    assert_eq!((&status["status"], status["stopped"].is_null()), (&json!("running"), true));
    assert_eq!(it.allocations().await.len(), 2);
    let said = it.expect(0, &["scale", "web=1", "worker=1"]);
    assert!(said.out.contains("http://"), "{}", said.out);

    for (words, code, wanted) in [
        (&["scale", "wbe=2"][..], 6, "did you mean web?"),
        (&["scale", "database=2"], 6, "it has web, worker"),
        (&["scale", "web=101"], 2, "at most 100"),
        (&["restart", "--alloc", "newest"], 2, "hex digits"),
        (&["scale", "web"], 2, ""),
        (&["scale", "2"], 2, "has web, worker"),
        (&["scale", "nobody-at-all", "web=1"], 6, "there is no app"),
        (&["restart", "--process", "wrker"], 6, "did you mean worker?"),
        (&["logs", "-p", "wbe"], 6, "did you mean web?"),
        (&["logs", "-f", "-p", "wbe"], 6, "did you mean web?"),
        (&["logs", "--previous", "-p", "database"], 6, "it has web, worker"),
        (&["cp", "-p", "wbe", ":/etc/hostname", "."], 6, "did you mean web?"),
        (&["exec", "-p", "wbe", "--", "true"], 125, "did you mean web?"),
        (&["run", "-p", "wrker", "--", "true"], 125, "did you mean worker?"),
        (&["restart", "--alloc", "ffffffff"], 6, "no living instance"),
    ] {
        let ran = it.expect(code, words);
        assert!(ran.err.contains(wanted), "{words:?}: {}", ran.err);
    }
    let (status, problem) = it
        .api(Method::POST, &format!("/v1/apps/{}/scale", it.name), json!({"counts": {"web": "2"}, "x": 1}))
        .await;
    assert_eq!((status, problem["errors"].as_array().unwrap().len()), (422, 2), "{problem}");
    let many = json!({"counts": {"web": 101}});
    let (status, problem) = it.api(Method::POST, &format!("/v1/apps/{}/scale", it.name), many).await;
    assert_eq!(status, 422, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("at most 100"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_brings_back_an_app_whose_job_was_purged() {
    let it = App::new(stack().await, "purged");
    let purge = async || {
        let url = format!("{}/v1/job/{}?purge=true", it.stack.nomad(), it.name);
        assert!(it.stack.http().delete(url).send().await.unwrap().status().is_success());
        eventually("it is gone", PATIENCE, async || it.allocations().await.is_empty().then_some(())).await;
    };
    let file = it.path().join("terreau.hcl");
    let owned =
        std::fs::read_to_string(&file).unwrap().replacen("{\n", "{\n  owners = [\"me\", \"robin\"]\n", 1);
    std::fs::write(&file, owned).unwrap();
    it.expect(0, &["deploy"]);
    it.expect(0, &["scale", "worker=2"]);
    it.expect(0, &["env", "set", "--stage", "VERSION=staged"]);
    it.expect(0, &["stop"]);
    // Robin has left since, whom the descriptor still names.
    let key = format!("{}/v1/kv/{}", it.stack.consul(), keys::head(&it.name.parse().unwrap()));
    let head = it.stack.http().get(format!("{key}?raw")).send().await.unwrap();
    let mut head: serde_json::Value = head.json().await.unwrap();
    let owners = head["owners"].as_array_mut().unwrap();
    owners.retain(|o| !o.to_string().contains("robin"));
    assert_eq!(owners.len(), 1, "{head}");
    assert!(it.stack.http().put(&key).json(&head).send().await.unwrap().status().is_success());
    purge().await;
    assert!(it.expect(0, &["stop"]).err.contains("was stopped by me"));
    let refused = it.expect(5, &["scale", "web=2"]).err;
    assert!(refused.contains("nomad has no job of") && !refused.contains("plan again"), "{refused}");
    let start = format!("`terreau start {}`", it.name);
    assert!(refused.contains(&start), "{refused}");
    let back = it.expect(0, &["start"]);
    let same = "release 1 is made once again; what is staged stays so (env VERSION)";
    assert!(back.err.contains(same), "{}", back.err);
    assert!(back.out.contains(&format!("{}.example.org", it.name)), "the URL is data: {}", back.out);
    assert!(it.until_page(200).await.starts_with("one "));
    let status = it.status();
    assert_eq!((&status["release"], &status["status"]), (&json!(2), &json!("running")), "{status}");
    assert_eq!(status["owners"], json!(["me"]), "{status}");
    assert!(!it.expect(0, &["releases"]).out.contains("release 1 again"), "it is no rollback");
    assert_eq!(App::process(&status, "worker")["healthy"], 2);
    assert!(it.expect(0, &["start"]).err.contains("is not stopped"));
    let plan = it.expect(10, &["plan"]);
    let said = format!("{}{}", plan.out, plan.err);
    assert!(said.contains("staged values come with it: env VERSION"), "{said}");

    // The same of one that nobody has stopped; and who has not the folder at hand needs it for nothing.
    purge().await;
    let status = it.status();
    assert!(status["why"].as_str().unwrap().contains("`terreau start` brings it back"), "{status}");
    for verb in ["restart", "stop"] {
        let refused = it.expect(5, &[verb]).err;
        assert!(refused.contains(&start), "{refused}");
    }
    std::fs::remove_file(it.path().join("terreau.hcl")).unwrap();
    let begun = it.expect(0, &["start", &it.name, "--json"]);
    let end: serde_json::Value = serde_json::from_str(&begun.out).unwrap();
    assert_eq!((&end["outcome"], &end["summary"]), (&json!("done"), &json!("release 3 runs")), "{end}");
    assert!(it.until_page(200).await.starts_with("one "), "it is staged as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_a_rollout_is_taken_and_a_start_that_fails_says_why() {
    let it = App::new(stack().await, "midway");
    it.expect(0, &["deploy"]);
    it.describe("slow", "");
    // Nobody waits for the new instances, which take a while to be healthy.
    it.expect(0, &["scale", "web=3", "--detach"]);
    let begun = Instant::now();
    it.expect(0, &["stop"]);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(it.allocations().await.is_empty());
    let status = it.status();
    assert_eq!(status["status"], "stopped");
    it.expect(0, &["start"]);
    assert_eq!(App::process(&it.status(), "web")["healthy"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_with_two_instances_serves_on_while_it_is_restarted() {
    let it = App::new(stack().await, "again");
    it.expect(0, &["deploy"]);
    it.expect(0, &["scale", "web=2"]);
    it.until_page(200).await;
    let before = it.allocations().await;
    let load = Load::on(&it);
    let ran = it.expect(0, &["restart"]);
    let (good, bad) = load.end().await;
    println!(
        "restart of 3 instances: {good} answers, {} others: {}",
        bad.len(),
        ran.err.replace('\n', " | ")
    );
    assert!(bad.is_empty(), "{} of {}: {:?}", bad.len(), good + bad.len(), &bad[..bad.len().min(5)]);
    assert!(good > 50);
    // What is done is said when it is done.
    let (before_end, after_end) = ran.err.split_once("done").unwrap();
    assert!(before_end.contains("restarting 3 instances, one after the other"), "{}", ran.err);
    assert!(!before_end.contains("accepted: 3 instances restarted"), "{}", ran.err);
    assert!(after_end.contains("3 instances restarted"), "{}", ran.err);
    let after = it.allocations().await;
    for (a, b) in before.iter().zip(&after) {
        assert_eq!(a["ID"], b["ID"], "in place");
        let at = |v: &serde_json::Value| {
            v["TaskStates"].as_object().unwrap().values().next().unwrap()["StartedAt"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        assert!(at(a) < at(b));
    }
    // One of them, by its id.
    let one = after[0]["ID"].as_str().unwrap().to_owned();
    let others: Vec<_> = after[1..].to_vec();
    it.expect(0, &["restart", "--alloc", &one[..8]]);
    let last = it.allocations().await;
    for other in &others {
        let same = last.iter().find(|a| a["ID"] == other["ID"]).unwrap();
        assert_eq!(same["TaskStates"], other["TaskStates"], "the others were left alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn start_stop_and_scale_need_nothing_of_garage() {
    let stack = stack().await;
    let well = Bare::on(stack).await;
    let it = app("bare");
    let (outcome, why) = well.deploy(&it, &web(&it, "")).await.unwrap();
    assert_eq!(outcome, Outcome::Done, "{why:?}");
    // Nobody listens there.
    let at = Addresses { s3: "http://127.0.0.1:1".to_owned(), ..Addresses::of(stack) };
    let ill = Bare::through(stack, &at).await;
    let changed = ill.deployer.change(&me(), &it, &Change::Stop).await.unwrap();
    assert_eq!(changed.counts.values().sum::<u32>(), 0);
    let head = ill.deployer.runner().store().head(&it).await.unwrap().unwrap().value;
    assert_eq!(head.wanted, Wanted::Stopped);
    eventually("the stop is seen", PATIENCE, async || {
        (ill.deployer.status(&it).await.unwrap().status == AppCondition::Stopped).then_some(())
    })
    .await;
    ill.deployer.change(&me(), &it, &Change::Scale([("web".to_owned(), 2)].into())).await.unwrap();
    ill.deployer.change(&me(), &it, &Change::Start).await.unwrap();
    eventually("two instances run", PATIENCE, async || {
        let status = ill.deployer.status(&it).await.unwrap();
        assert!(
            status.why.is_some_and(|w| w.contains("garage") || w.contains("Garage")),
            "Garage is away, and said so"
        );
        (status.status == AppCondition::Running && status.processes[0].healthy == 2).then_some(())
    })
    .await;
}
