//! Programs that run once: with what the app has, streamed, ended, and never left behind.

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sha2::Digest;

use super::Talker;
use crate::cli::{Home, run};
use crate::harness::{Part, Stack, StackOptions, eventually};

impl Talker {
    /// The ids of runs that Nomad knows of this app.
    async fn runs(&self) -> Vec<String> {
        let all = self.json(&format!("/v1/jobs?prefix={}-run-", self.name)).await;
        all.as_array().into_iter().flatten().map(|j| j["ID"].as_str().unwrap().to_owned()).collect()
    }

    async fn no_runs(&self) {
        eventually("no run is left", Duration::from_secs(100), async || {
            self.runs().await.is_empty().then_some(())
        })
        .await;
    }
}

const SECRET: &str = "      KEY = secret.key\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_one_off_has_the_app_s_environment_secrets_and_folder_and_its_exit_code_is_ours() {
    let it = Talker::new("once").await;
    it.describe("", &[("MODE", "words"), ("WORD", "inside ${x}")]);
    let file = it.path().join("terreau.hcl");
    let text = std::fs::read_to_string(&file).unwrap().replace("${x}", "$${x}");
    let text = text.replace("      MODE", &format!("{SECRET}      MODE"));
    let text = text.trim_end().trim_end_matches('}').to_owned()
        + "  secret \"key\" {\n    type = \"generated\"\n  }\n}\n";
    std::fs::write(&file, text).unwrap();
    it.expect(0, &["deploy"]);
    let app = it.running().await;

    let script = "echo \"$WORD\"; test ${#KEY} -ge 16 && echo a key; ls talk.py; echo '${NOMAD_ALLOC_ID}'; echo oops >&2; exit 7";
    let ran = it.expect(7, &["run", "--", "sh", "-c", script]);
    assert_eq!(ran.out, "inside ${x}\na key\ntalk.py\n${NOMAD_ALLOC_ID}\n");
    assert!(ran.err.contains("oops\n"), "{}", ran.err);
    it.no_runs().await;
    let ran = it.expect(125, &["run", "--process", "nobody", "--", "true"]);
    assert!(ran.err.contains("nobody"), "{}", ran.err);
    let ran = it.expect(127, &["run", "--", "no-such-program"]);
    assert!(ran.err.contains("no-such-program"), "{}", ran.err);
    it.expect(2, &["run"]);

    // Ctrl-C asks it to end: what it says then still comes, and its code.
    let script = "trap 'echo last words; exit 5' TERM; echo begun; while :; do sleep 0.1; done";
    let mut command = it.home.command(it.path(), &["run", "--", "sh", "-c", script]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut begun = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut begun).unwrap();
    assert_eq!(&begun, b"begun\n");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let out = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
    assert_eq!((out.status.code(), String::from_utf8_lossy(&out.stdout).as_ref()), (Some(5), "last words\n"));
    it.no_runs().await;

    // Killed: the run goes with it.
    let mut command = it.home.command(it.path(), &["run", "--", "sleep", "1000"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it runs", Duration::from_secs(40), async || (it.runs().await.len() == 1).then_some(())).await;
    child.kill().unwrap();
    child.wait().unwrap();
    it.no_runs().await;

    // Left to itself: its logs are found by its name, while it runs and afterwards.
    let name = it.expect(0, &["run", "--detach", "--", "sh", "-c", "echo detached; sleep 2; echo done"]).out;
    let name = name.trim();
    let said = it.says(&["logs", "--run", name, "--raw", "--stream", "stdout"], "done").await;
    assert_eq!(said, "detached\ndone\n");
    it.expect(6, &["logs", "--run", "ffffffff"]);

    // The app itself has seen nothing of it all.
    assert_eq!(it.running().await, app);
    let status = it.expect(0, &["status", "--json"]).out;
    assert!(!status.contains("-run-"), "{status}");
    it.expect(0, &["delete", "--yes"]);
}

/// Bytes that are no text.
fn noise(count: u64) -> Vec<u8> {
    (0..count).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_off_reads_what_is_piped_into_it_to_its_end_and_its_exit_code_survives_a_flood() {
    let it = Talker::new("fed").await;
    it.describe("", &[("MODE", "words")]);
    it.expect(0, &["deploy"]);
    it.running().await;
    let fed = |args: &[&str], input: Vec<u8>| {
        let mut command = it.home.command(it.path(), args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut keys = child.stdin.take().unwrap();
        // Whoever has ended takes nothing.
        let feeding = std::thread::spawn(move || drop(keys.write_all(&input)));
        let out = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
        feeding.join().unwrap();
        (out.status.code(), out.stdout, String::from_utf8_lossy(&out.stderr).into_owned())
    };

    // Every byte, and the end of them.
    let input = noise(8 << 20);
    let sum = hex::encode(sha2::Sha256::digest(&input));
    let (code, out, err) = fed(&["run", "--", "sh", "-c", "sha256sum; ls talk.py; exit 7"], input);
    let out = String::from_utf8_lossy(&out).into_owned();
    assert_eq!((code, out.as_str()), (Some(7), format!("{sum}  -\ntalk.py\n").as_str()), "{err}");
    assert_eq!(fed(&["run", "--", "cat"], b"canary-of-run".to_vec()).1, b"canary-of-run");

    // A flood that nobody takes loses neither words nor codes.
    for _ in 0..4 {
        let ran = fed(&["run", "--", "sh", "-c", "head -c 5; exit 3"], b"hello".repeat(1 << 20));
        assert_eq!((ran.0, &ran.1[..]), (Some(3), &b"hello"[..]), "{}", ran.2);
    }
    // It reads no more, and goes on.
    let ran = fed(&["run", "--", "sh", "-c", "head -c 5; exec <&-; sleep 2; echo after"], noise(4 << 20));
    assert_eq!((ran.0, ran.1.ends_with(b"after\n")), (Some(0), true), "{}", ran.2);

    // Input that goes on does not hold up its end; without input there is none.
    let mut command =
        it.home.command(it.path(), &["run", "--", "sh", "-c", "read line; echo \"<$line>\"; exit 4"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    keys.write_all(b"one\ntwo").unwrap();
    let out = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
    assert_eq!((out.status.code(), &out.stdout[..]), (Some(4), &b"<one>\n"[..]));
    drop(keys);
    assert_eq!(fed(&["run", "--no-stdin", "--", "cat"], b"unread".to_vec()).1, b"");
    it.expect(2, &["run", "--detach", "--stdin", "--", "cat"]);

    // Whoever feeds it is killed half-way: it ends, and never takes half for the whole.
    let (begun, whole) = (it.path().join("begun"), it.path().join("whole"));
    let script = format!("head -c 5 >{}; cat >/dev/null; touch {}", begun.display(), whole.display());
    let mut command = it.home.command(it.path(), &["run", "--", "sh", "-c", &script]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    keys.write_all(&noise(100_000)).unwrap();
    eventually("it reads", Duration::from_secs(40), async || begun.exists().then_some(())).await;
    child.kill().unwrap();
    child.wait().unwrap();
    it.no_runs().await;
    assert!(!whole.exists(), "it took the end of its feeder for the end of its input");

    let audit = it.audit().await;
    let told: Vec<&str> =
        audit.iter().filter(|a| a["verb"] == "run").filter_map(|a| a["summary"].as_str()).collect();
    assert!(told[0].starts_with("sh as run "), "{told:?}");
    assert!(!format!("{audit:?}").contains("canary"), "{told:?}");
    it.expect(0, &["delete", "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_one_off_at_once_also_where_nobody_takes_its_input() {
    let it = Talker::new("stuck").await;
    it.describe("", &[("MODE", "words")]);
    it.expect(0, &["deploy"]);
    it.running().await;
    // More than every buffer on the way takes, and what waits in those of the server alone.
    for size in [64 << 20, 1 << 20] {
        let mut command =
            it.home.command(it.path(), &["run", "--", "sh", "-c", "echo begun; exec sleep 1000"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut keys = child.stdin.take().unwrap();
        let fed = Arc::new(AtomicUsize::new(0));
        let (count, piece) = (fed.clone(), vec![b'x'; 64 << 10]);
        let feeding = std::thread::spawn(move || {
            while count.load(Ordering::Relaxed) < size && keys.write_all(&piece).is_ok() {
                count.fetch_add(64 << 10, Ordering::Relaxed);
            }
            // Its end is never said.
            keys
        });
        let mut begun = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut begun).unwrap();
        assert_eq!(&begun, b"begun\n");
        let mut before = usize::MAX;
        eventually("nothing more is taken", Duration::from_secs(60), async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = fed.load(Ordering::Relaxed);
            std::mem::replace(&mut before, now).eq(&now).then_some(())
        })
        .await;
        let interrupted = Instant::now();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let out = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
        let ended = interrupted.elapsed();
        assert_eq!(out.status.code(), Some(130), "{}", String::from_utf8_lossy(&out.stderr));
        eventually("it has ended", Duration::from_secs(20), async || {
            let all = it.json(&format!("/v1/jobs?prefix={}-run-", it.name)).await;
            let is_over = |j: &serde_json::Value| j["Status"] == "dead" || j["Stop"] == true;
            all.as_array().unwrap().iter().all(is_over).then_some(())
        })
        .await;
        println!("streams: ended after {ended:?}, its job after {:?}", interrupted.elapsed());
        drop(feeding.join().unwrap());
    }
    it.no_runs().await;
    it.expect(0, &["delete", "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_agent_ran_once_is_purged_by_the_next_leader() {
    // Its guard ends it with the run.
    let stack: &'static Stack = Box::leak(Box::new(Stack::start(StackOptions::with_agent()).await));
    let it = Talker::on(stack, "orphan");
    it.describe("", &[("MODE", "words")]);
    it.expect(0, &["deploy"]);
    let mut command = it.home.command(it.path(), &["run", "--", "sleep", "1000"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it runs", Duration::from_secs(40), async || (it.runs().await.len() == 1).then_some(())).await;
    stack.kill(Part::Agent).await;
    let code = tokio::task::block_in_place(|| child.wait().unwrap().code());
    assert_eq!(code, Some(125));
    assert_eq!(it.runs().await.len(), 1, "nobody was there to end it");
    stack.start_part(Part::Agent).await;
    it.no_runs().await;
    let home: &Home = &it.home;
    let status = tokio::task::block_in_place(|| run(home.command(it.path(), &["status"]), ""));
    assert_eq!(status.code, 0, "the app goes on: {}", status.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_run_is_listed_ended_by_its_name_and_time_bounded_and_gone_with_its_app() {
    let it = Talker::new("left").await;
    it.describe("", &[("MODE", "words")]);
    it.expect(0, &["deploy"]);
    it.running().await;
    let listed = || -> Vec<serde_json::Value> {
        let out = it.expect(0, &["ps", "--json"]).out;
        serde_json::from_str::<serde_json::Value>(&out).unwrap()["runs"].as_array().unwrap().clone()
    };
    let state = |name: &str| listed().iter().find(|r| r["name"] == name).map(|r| r["state"].clone());
    let begin = |args: &[&str]| {
        let args = [&["run", "--detach"], args, &["--", "sleep", "1000"]].concat();
        it.expect(0, &args).out.trim().to_owned()
    };

    let name = begin(&[]);
    eventually("it runs", Duration::from_secs(40), async || (state(&name)? == "running").then_some(())).await;
    let told = listed().remove(0);
    assert_eq!(
        (&told["program"], &told["process"], &told["detached"]),
        (&"sleep".into(), &"web".into(), &true.into())
    );
    assert_eq!(told["by"], it.stack.person().0);
    assert!(it.expect(0, &["ps"]).out.contains(&name));
    it.expect(6, &["stop", "--run", "ffffffff"]);
    it.expect(2, &["stop", "--run", "sleep"]);
    // The beginning of its name is enough.
    let other = if name.starts_with('f') { "0" } else { "f" };
    let none = it.expect(6, &["stop", "--run", other]).err;
    assert!(none.contains(&format!("no run {other}…")) && none.contains("ps "), "{none}");
    it.expect(0, &["logs", "--run", &name[..3]]);
    let stopped = it.expect(0, &["stop", "--run", &name[..3]]);
    assert!(stopped.err.contains(&format!("run {name} was asked to end")), "{}", stopped.err);
    eventually("it has ended", Duration::from_secs(40), async || {
        state(&name).is_none_or(|s| s == "ended").then_some(())
    })
    .await;
    assert!(!it.expect(0, &["ps"]).out.contains(&name), "what has ended is told of with --all");
    // The app itself runs on.
    it.running().await;

    // One that somebody waits for ends at its time, and says so.
    let timed = it.expect(125, &["run", "--timeout", "2s", "--", "sleep", "1000"]);
    assert!(timed.err.contains("ended after 2 s, its time"), "{}", timed.err);
    let others: Vec<String> = (0..10).map(|_| begin(&[])).collect();
    let refused = it.expect(125, &["run", "--detach", "--", "true"]);
    assert!(refused.err.contains("10 commands of"), "{}", refused.err);
    assert!(refused.err.contains("--run NAME"), "{}", refused.err);
    // Nobody waits for this one: the leader ends it.
    it.expect(0, &["stop", "--run", &others[9]]);
    eventually("there is room for another", Duration::from_secs(40), async || {
        state(&others[9]).is_none_or(|s| s == "ended").then_some(())
    })
    .await;
    let short = begin(&["--timeout", "1s"]);
    eventually("the leader has ended it", Duration::from_secs(150), async || {
        state(&short).is_none_or(|s| s == "ended").then_some(())
    })
    .await;
    assert_eq!(state(&others[0]).unwrap(), "running");

    it.expect(0, &["delete", "--yes"]);
    it.no_runs().await;
}
