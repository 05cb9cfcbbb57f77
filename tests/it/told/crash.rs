//! Crash loops.

use std::time::Duration;

use serde_json::json;

use super::{App, PATIENCE, Receiver, stack};
use crate::harness::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_told_once_and_its_recovery_once() {
    let receiver = Receiver::start().await;
    let it = App::new(stack().await, "loops");
    it.describe("one", "restart {\n      attempts = 100\n      delay = \"1s\"\n    }");
    it.expect(0, &["deploy"]);
    let (_, secret) = it.hook(&receiver.url(), &["--on", "crash-loop,recovery"]);

    // From now on it ends as soon as it begins; somebody ends it once.
    std::fs::write(it.path().join("crash"), "").unwrap();
    let pid = eventually("its process", PATIENCE, async || pid_of(&it.path().display().to_string())).await;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();

    let first = receiver.until(1).await.remove(0);
    let told = first.json();
    assert_eq!(first.kind(), "app.crash_loop", "{told}");
    assert!(first.is_signed(&secret));
    assert_eq!((&told["data"]["process"], &told["data"]["app"]), (&json!("web"), &json!(it.name)));
    // It goes on so for a while, and nobody is told again.
    let restarts = |it: &App| it.person.status(it.path())["processes"][0]["restarts"].as_u64().unwrap();
    let before = restarts(&it);
    eventually("it crashes on", PATIENCE, async || (restarts(&it) >= before + 4).then_some(())).await;
    assert_eq!(receiver.all().await.len(), 1);

    std::fs::remove_file(it.path().join("crash")).unwrap();
    let begun = std::time::Instant::now();
    let second = receiver.until(2).await.remove(1);
    assert_eq!((second.kind().as_str(), &second.json()["data"]["process"]), ("app.recovery", &json!("web")));
    assert!(begun.elapsed() >= Duration::from_secs(15), "told after {:?}", begun.elapsed());
    assert_eq!(it.person.status(it.path())["status"], "running");
    assert!(second.is_signed(&secret) && second.id != first.id);
    it.expect(0, &["restart"]);
    it.expect(0, &["stop"]);
    assert_eq!(receiver.all().await.len(), 2, "what was ordered is no crash");
}

/// The process whose command line holds this, and is no shell of ours.
pub(super) fn pid_of(mark: &str) -> Option<rustix::process::Pid> {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.starts_with("/usr/bin/python3") && line.contains(mark) {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            return rustix::process::Pid::from_raw(pid);
        }
    }
    None
}
