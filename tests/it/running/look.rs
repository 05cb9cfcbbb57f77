//! What people see of running apps: status, ps, top, events; and what becomes of a process that dies.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{App, Load, PATIENCE, stack};
use crate::harness::eventually;

/// A command's standard output, line by line; it is ended with this.
struct Lines {
    child: std::process::Child,
    lines: tokio::sync::mpsc::UnboundedReceiver<String>,
}

impl Lines {
    fn of(mut command: std::process::Command) -> Self {
        use std::io::{BufRead, BufReader};
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let (tx, lines) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            // Whoever listened may have had enough.
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|l| tx.send(l)).ok()
        });
        Self { child, lines }
    }

    /// All lines up to the one that is wanted.
    async fn until(&mut self, patience: Duration, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut seen = Vec::new();
        let listening = tokio::time::timeout(patience, async {
            while let Some(line) = self.lines.recv().await {
                let is_it = wanted(&line);
                seen.push(line);
                if is_it {
                    return;
                }
            }
        });
        assert!(listening.await.is_ok(), "not said: {seen:#?}");
        seen
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process ids of an app's page.
async fn pid(it: &App) -> i32 {
    it.until_page(200).await.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_64_a_process_that_is_killed_is_started_again_and_status_ps_and_events_tell_of_it() {
    let it = App::new(stack().await, "killed");
    it.describe("one", "restart { delay = \"1s\" }");
    it.expect(0, &["deploy"]);
    let first = pid(&it).await;
    let mut follower = Lines::of(it.home.command(it.path(), &["events", "--follow", "--json"]));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(first).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let second = eventually("another process answers", PATIENCE, async || {
        let (status, body) = it.page("/").await;
        let now: i32 = body.split(' ').nth(1).and_then(|p| p.trim().parse().ok())?;
        (status == 200 && now != first).then_some(now)
    })
    .await;
    assert_ne!(first, second);
    let status = eventually("it is healthy again", PATIENCE, async || {
        let status = it.status();
        (status["status"] == "running").then_some(status)
    })
    .await;
    let web = App::process(&status, "web");
    assert_eq!((&web["restarts"], &web["exit_code"]), (&json!(1), &json!(137)), "{web}");
    let instances = status["instances"].as_array().unwrap();
    let one = instances.iter().find(|i| i["process"] == "web").unwrap();
    assert_eq!(
        (&one["state"], &one["site"], &one["restarts"]),
        (&json!("healthy"), &json!(it.stack.site()), &json!(1)),
        "{one}"
    );
    assert!(one["since"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!(status["resources"], json!([{"kind": "job", "id": it.name}]));
    assert_eq!(
        (&status["last_change"]["verb"], &status["last_change"]["by"]),
        (&json!("deploy"), &json!("me"))
    );

    let words = it.expect(0, &["status"]).out;
    for part in ["is running", "INSTANCE", "1 restart,", "owns job", "last change: deploy by me"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let ps = it.expect(0, &["ps"]).out;
    assert_eq!(ps.lines().count(), 3, "{ps}");
    assert!(ps.lines().any(|l| l.contains("web") && l.contains("healthy") && l.contains("signal 9")), "{ps}");

    let events = it.expect(0, &["events"]).out;
    for part in ["deploy by me", "Terminated", "Restarting", "Started", " begins", " done: "] {
        assert!(events.contains(part), "{part}: {events}");
    }
    let at = |what: &str| events.find(what).unwrap();
    // A rollout has a beginning and an end: the first instance started between the two.
    assert!(at(" begins") < at("Started") && at("Started") < at(" done: "), "{events}");
    let timed: Value = serde_json::from_str(&it.expect(0, &["events", "--json"]).out).unwrap();
    let timed = timed["events"].as_array().unwrap();
    let moments: Vec<jiff::Timestamp> =
        timed.iter().map(|e| e["at"].as_str().unwrap().parse().unwrap()).collect();
    assert!(moments.is_sorted(), "{timed:#?}");
    let rolled: Vec<&Value> = timed.iter().filter(|e| e["kind"] == "rollout").map(|e| &e["what"]).collect();
    assert_eq!(rolled, ["begun", "successful"], "{timed:#?}");
    assert!(at("Terminated") < events.rfind("Started").unwrap(), "newest last: {events}");
    let all: Value = serde_json::from_str(&it.expect(0, &["events", "--json", "-n", "3"]).out).unwrap();
    assert_eq!(all["events"].as_array().unwrap().len(), 3);
    // Followed as it happens: each line once.
    it.expect(0, &["scale", "web=2"]);
    let lines = follower.until(PATIENCE, |l| l.contains("scaled to web=2")).await;
    assert!(lines.len() > 5, "{lines:?}");
    let distinct: std::collections::BTreeSet<&String> = lines.iter().collect();
    assert_eq!(distinct.len(), lines.len(), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_what_instances_use_and_the_limit_that_is_enforced() {
    let it = App::new(stack().await, "top");
    it.expect(0, &["deploy"]);
    it.until_page(200).await;
    let used = eventually("memory is measured", PATIENCE, async || {
        let stats: Value = serde_json::from_str(&it.expect(0, &["top", "--json"]).out).unwrap();
        let all = stats["instances"].as_array().unwrap().clone();
        let web = all.iter().find(|i| i["process"] == "web").cloned()?;
        (all.len() == 2 && web["memory"].as_u64()? > 1 << 20).then_some(web)
    })
    .await;
    assert_eq!(used["memory_reserved"], 128 << 20);
    // The stack's archives and commands run under raw_exec, which limits nothing.
    assert!(used["memory_limit"].is_null(), "{used}");
    let lines = it.expect(0, &["top"]).out;
    assert_eq!(lines.lines().count(), 3, "one shot in a pipe: {lines}");
    assert!(lines.contains("128.0 MiB") && lines.contains("none") && lines.contains('%'), "{lines}");
    for verb in ["ps", "top", "events", "start", "stop", "restart"] {
        assert_eq!(it.asks(&[verb, "nobody-at-all"]).code, 6, "{verb}");
    }
}

/// Where this machine's cgroups let Nomad's `exec` driver limit memory. Else it says so and shows nothing.
#[tokio::test(flavor = "multi_thread")]
async fn pt_66_an_app_over_its_memory_limit_is_killed_alone() {
    let it = App::new(stack().await, "eats");
    let nodes = it.nomad("/v1/nodes").await;
    let driver = &nodes[0]["Drivers"]["exec"];
    if driver["Healthy"] != true {
        println!("pt_66: not shown here: {driver}");
        return;
    }
    it.expect(0, &["deploy"]);
    let neighbour = it;
    let it = App::new(stack().await, "eater");
    let text = format!(
        "project \"{}\" {{\n  process \"eater\" {{\n    command = [\"/bin/sh\", \"-c\", \"until [ -e $NOMAD_TASK_DIR/go ]; do sleep 0.2; done; exec tail /dev/zero\"]\n    driver = \"exec\"\n    memory = 32\n    restart {{\n      attempts = 1\n      delay = \"60s\"\n      interval = \"10m\"\n    }}\n  }}\n}}\n",
        it.name
    );
    std::fs::write(it.path().join("terreau.hcl"), text).unwrap();
    let load = Load::on(&neighbour);
    it.expect(0, &["deploy"]);
    let measured: Value = serde_json::from_str(&it.expect(0, &["top", "--json"]).out).unwrap();
    assert_eq!(measured["instances"][0]["memory_limit"], 32 << 20, "{measured}");
    eventually("the neighbour is measured", PATIENCE, async || {
        (load.times.lock().unwrap().len() >= 300).then_some(())
    })
    .await;
    let (before, calm) = load.p99();
    it.expect(0, &["exec", "--", "/bin/sh", "-c", "touch $NOMAD_TASK_DIR/go"]);
    let status = eventually("it was killed for its memory", PATIENCE, async || {
        let status = it.status();
        (App::process(&status, "eater")["oom_killed"] == true).then_some(status)
    })
    .await;
    let (during, busy) = load.p99();
    println!(
        "pt_66: the neighbour's p99 {before:?} of {calm} before, {during:?} of {busy} while the other was killed"
    );
    assert_eq!(status["status"], "failed", "{status}");
    assert!(status["why"].as_str().unwrap().contains("more memory than its limit"), "{status}");
    assert!(it.expect(0, &["ps"]).out.contains("out of memory"));
    assert!(it.expect(0, &["events"]).out.contains("it used more memory than its limit"));
    let (good, bad) = load.end().await;
    println!("pt_66: killed alone at 32 MiB; the neighbour answered {good} times, {} others", bad.len());
    assert!(bad.is_empty() && good > 50, "{:?}", &bad[..bad.len().min(5)]);
    assert_eq!(App::process(&neighbour.status(), "web")["restarts"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_app_is_away_answers_503_and_names_its_state() {
    let it = App::new(stack().await, "away");
    assert_eq!(it.page("/").await.0, 404, "nobody has that host");
    it.expect(0, &["deploy"]);
    it.until_page(200).await;
    it.expect(0, &["scale", "web=0"]);
    let body = it.until_page(503).await;
    assert!(body.contains(&format!("{} is not running", it.name)), "{body}");
    it.expect(0, &["stop"]);
    let body = eventually("the page says that it is stopped", PATIENCE, async || {
        let (status, body) = it.page("/any/path").await;
        assert_eq!(status, 503);
        body.contains(&format!("{} is stopped", it.name)).then_some(body)
    })
    .await;
    assert!(body.contains("terreau start"), "{body}");
    let (status, _) = it.api(Method::POST, &format!("/v1/apps/{}/start", it.name), Value::Null).await;
    assert_eq!(status, 200);
    it.expect(0, &["scale", "web=1"]);
    it.until_page(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_checks_that_fail_take_no_app_from_its_visitors_and_three_do() {
    let it = App::new(stack().await, "doubt");
    it.expect(0, &["deploy"]);
    it.until_page(200).await;
    assert_eq!(it.page("/ill/2").await.0, 200);
    eventually("two checks have failed and one has passed", PATIENCE, async || {
        let (status, left) = it.page("/ill").await;
        assert_eq!(status, 200, "visitors are kept away: {left}");
        (left == "well").then_some(())
    })
    .await;

    assert_eq!(it.page("/ill/1000000").await.0, 200);
    let body = it.until_page(503).await;
    assert!(body.contains("is not running"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_site_is_told_as_one_wherever_somebody_looks_for_its_instances() {
    let it = App::new(stack().await, "leaf");
    let name = &it.name;
    std::fs::create_dir(it.path().join("public")).unwrap();
    std::fs::write(it.path().join("public/index.html"), "<h1>leaf</h1>").unwrap();
    let text = format!(
        "project \"{name}\" {{\n  build \"static\" {{\n    dir = \"public\"\n  }}\n  route \"{name}.example.org\" {{}}\n}}\n"
    );
    std::fs::write(it.path().join("terreau.hcl"), text).unwrap();
    it.expect(0, &["deploy"]);
    for (code, words) in [
        (0, &["ps"][..]),
        (0, &["ps", "--all"]),
        (0, &["top", "--once"]),
        (0, &["env", "list"]),
        (6, &["logs"]),
        (6, &["logs", "--previous"]),
        (6, &["proxy", "http"]),
        (6, &["cp", ":x", "."]),
        (125, &["exec", "--", "true"]),
        (125, &["run", "--", "true"]),
        (1, &["stop"]),
        (1, &["scale", "web=2"]),
    ] {
        let said = it.expect(code, words);
        assert_eq!(said.out, "", "{words:?}");
        assert!(said.err.contains(&format!("{name} is a static site")), "{words:?}: {}", said.err);
        assert!(
            !said.err.contains("--previous") && !said.err.contains("ended instance"),
            "{words:?}: {}",
            said.err
        );
    }
    let instances: Value = serde_json::from_str(&it.expect(0, &["ps", "--json"]).out).unwrap();
    assert_eq!(instances, json!({ "instances": [], "runs": [] }));
    it.expect(0, &["delete", "--yes"]);
}
