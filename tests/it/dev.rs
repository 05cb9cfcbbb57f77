//! `terreau dev`, from outside: its folder, its processes, and what survives.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use terreau::sandbox::dev::{self, DevInfo, DevOptions};
use terreau::sandbox::process::{Identity, marked};
use terreau::sandbox::{guard, http};

use crate::cli::Home;
use crate::harness::{eventually, terreau, unique};
use crate::sandbox::sleeper;

/// A folder of `terreau dev` that is ended whole, also by a panic.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("td-").tempdir().unwrap().keep())
    }
    fn options(&self) -> DevOptions {
        DevOptions { dir: self.0.clone(), terreau: terreau().to_owned() }
    }
    fn mark(&self) -> String {
        std::fs::read_to_string(self.0.join("mark")).unwrap()
    }
    fn supervisor(&self) -> Identity {
        serde_json::from_str(&std::fs::read_to_string(self.0.join("supervisor.json")).unwrap()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let dir = self.0.clone();
        // On a thread of its own: a runtime may be running here.
        let ended = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(dev::stop(&dir)).and_then(|_| guard::remove(&dir))
        });
        let _ = ended.join();
    }
}

/// Pids by part.
async fn pids(dir: &Path) -> Vec<(String, Option<u32>)> {
    let status = dev::status(dir).await.unwrap();
    status.parts.iter().map(|p| (p.part.name().to_owned(), p.pid)).collect()
}

async fn run_sleeper(info: &DevInfo) -> String {
    let name = unique("sleeper");
    let client = http::client(Duration::from_secs(10));
    let reply = client.put(format!("{}/v1/jobs", info.nomad)).json(&sleeper(&name)).send().await.unwrap();
    assert!(reply.status().is_success());
    running(info, &name).await;
    name
}

async fn running(info: &DevInfo, job: &str) -> Value {
    let client = http::client(Duration::from_secs(10));
    let url = format!("{}/v1/job/{job}/allocations", info.nomad);
    eventually("the allocation runs", Duration::from_secs(40), async || {
        let list: Value = client.get(&url).send().await.ok()?.json().await.ok()?;
        list.as_array()?.iter().find(|a| a["ClientStatus"] == "running").cloned()
    })
    .await
}

#[tokio::test]
async fn a_supervisor_that_was_killed_takes_over_its_living_parts() {
    let folder = Folder::new();
    let info = dev::start(&folder.options()).await.unwrap();
    let before = pids(&folder.0).await;
    assert!(before.iter().all(|(_, pid)| pid.is_some()), "{before:?}");
    let supervisor = folder.supervisor();
    supervisor.signal(Signal::KILL);
    assert!(supervisor.gone_within(Duration::from_secs(5)).await);
    let begun = Instant::now();
    assert_eq!(dev::start(&folder.options()).await.unwrap(), info);
    assert_eq!(pids(&folder.0).await, before);
    assert_ne!(folder.supervisor(), supervisor);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_part_that_was_killed_is_started_again_and_the_data_outlives_stop() {
    let folder = Folder::new();
    let info = dev::start(&folder.options()).await.unwrap();
    let client = http::client(Duration::from_secs(10));
    let key = format!("{}/v1/kv/kept", info.consul);
    assert!(client.put(&key).body("yes").send().await.unwrap().status().is_success());
    let job = run_sleeper(&info).await;
    for (name, pid) in pids(&folder.0).await {
        let part = Identity::of(pid.unwrap()).unwrap();
        part.signal(Signal::KILL);
        eventually(&format!("{name} is back"), Duration::from_secs(40), async || {
            let status = dev::status(&folder.0).await.ok()?;
            status.parts.iter().all(|p| p.ready && p.pid != pid).then_some(())
        })
        .await;
    }
    dev::stop(&folder.0).await.unwrap();
    assert!(marked(&folder.mark()).is_empty(), "nothing of it lives, tasks included");
    assert_eq!(dev::start(&folder.options()).await.unwrap(), info, "ports are kept");
    let kept = client.get(format!("{key}?raw")).send().await.unwrap().text().await.unwrap();
    assert_eq!(kept, "yes");
    running(&info, &job).await;
    let mark = folder.mark();
    dev::reset(&folder.0).await.unwrap();
    assert!(marked(&mark).is_empty() && !folder.0.exists());
}

#[tokio::test]
async fn two_folders_run_side_by_side() {
    let (one, other) = (Folder::new(), Folder::new());
    let (a, b) = (one.options(), other.options());
    let (a, b) = tokio::join!(dev::start(&a), dev::start(&b));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_ne!(a.nomad, b.nomad);
    // Whoever starts one is told of the other: which folder, and what to do.
    let (first, second) = (one.0.to_str().unwrap(), other.0.to_str().unwrap());
    let home = Home::new();
    let again = home.run(&["dev", "--dir", second, "--json"]);
    let words = format!("another cluster runs in {first}, at {}; it goes on", a.api);
    assert!(again.code == 0 && again.err.contains(&words), "{}", again.err);
    assert!(again.err.contains(&format!("`terreau dev stop --dir {first}` ends it")), "{}", again.err);
    assert!(!again.err.contains(second), "of itself nothing is said: {}", again.err);
    serde_json::from_str::<DevInfo>(&again.out).unwrap();
    let status = home.run(&["dev", "status"]);
    assert!(status.out.contains(&format!("another cluster runs in {first}")), "{}", status.out);
    dev::stop(&one.0).await.unwrap();
    assert!(!home.run(&["dev", "--dir", second]).err.contains(first), "it has ended");
    assert!(pids(&other.0).await.iter().all(|(_, pid)| pid.is_some()));
    run_sleeper(&b).await;
}

#[tokio::test]
async fn another_person_is_made_once_and_logs_in_from_any_folder_of_the_project() {
    let project = tempfile::tempdir().unwrap();
    let here = project.path().canonicalize().unwrap();
    let folder = Folder(here.join(".terreau"));
    let none = dev::person(&folder.0, "robin").await.unwrap_err().to_string();
    assert!(none.contains("`terreau dev` starts one"), "{none}");
    let home = Home::new();
    let below = here.join("app/deep");
    std::fs::create_dir_all(&below).unwrap();
    let none = home.run_in(&below, &["dev", "user", "robin"], "");
    assert!(none.code == 1 && none.err.contains("no cluster runs in"), "{}", none.err);
    dev::start(&folder.options()).await.unwrap();
    let made = home.run_in(&below, &["dev", "user", "robin", "--json"], "");
    assert_eq!(made.code, 0, "{}", made.err);
    let info: DevInfo = serde_json::from_str(&made.out).unwrap();
    let password = std::fs::read_to_string(&info.password_file).unwrap();
    let login = ["login", "--server", &info.api, "--user", "robin", "--password-stdin"];
    let in_now = home.run_in(home.dir.path(), &login, &password);
    assert_eq!(in_now.code, 0, "{}", in_now.err);
    assert!(home.run(&["whoami"]).out.contains("robin"));
    assert_eq!(dev::person(&folder.0, "robin").await.unwrap(), info, "twice is once");
    let me = dev::person(&folder.0, &dev::start(&folder.options()).await.unwrap().user).await.unwrap();
    assert_eq!(me.password_file.file_name().unwrap(), "password");
    assert_eq!(home.run_in(&here, &["dev", "user", "../robin"], "").code, 2);

    // Every other word finds it as well, and says which it is; another folder may be named.
    let status = home.run_in(&below, &["dev", "status", "--json"], "");
    let status: Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(
        (status["dir"].as_str(), &status["info"]["api"]),
        (folder.0.to_str(), &info.api.clone().into())
    );
    let again = home.run_in(&below, &["dev", "--json"], "");
    assert!(again.err.contains(&format!("this is the cluster in {}", folder.0.display())), "{}", again.err);
    assert_eq!(serde_json::from_str::<DevInfo>(&again.out).unwrap().api, info.api);
    let other = home.run_in(&below, &["dev", "stop", "--dir", ".terreau"], "");
    let (none, there) = ("there is no cluster in .terreau; one runs in", folder.0.display().to_string());
    assert!(other.code == 0 && other.out.contains(none) && other.out.contains(&there), "{}", other.out);
    let ended = home.run_in(&below, &["dev", "stop"], "");
    assert!(
        ended.code == 0 && ended.out.starts_with(&format!("stopped the cluster in {there}; ")),
        "{}",
        ended.out
    );
    assert!(marked(&folder.mark()).is_empty());
    // What is forgotten never comes back: a script names what it did not start here.
    let refused = home.run_in(&below, &["dev", "reset", "--yes"], "");
    assert!(refused.code == 1 && refused.err.contains(&format!("name it: --dir {there}")), "{}", refused.err);
    assert!(folder.0.exists());
    let forgot = home.run_in(&below, &["dev", "reset", "--yes", "--dir", &there], "");
    assert!(forgot.code == 0 && forgot.out.contains(&there), "{} {}", forgot.out, forgot.err);
    assert!(!folder.0.exists());
}

#[test]
fn a_missing_engine_is_one_line_that_names_the_script() {
    let folder = tempfile::tempdir().unwrap();
    // Beside no `.engines/`, and with nothing on PATH.
    let program = folder.path().join("terreau");
    std::fs::copy(terreau(), &program).unwrap();
    let output = std::process::Command::new(&program)
        .args(["dev", "--dir", "here"])
        .current_dir(folder.path())
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("nomad") && said.contains("scripts/engines"), "{said}");
    // Besides what is noted of the clusters of other tests.
    let lines = said
        .trim()
        .lines()
        .filter(|l| !l.starts_with("note: another cluster") && !l.starts_with("hint: `terreau dev --dir"));
    assert_eq!(lines.count(), 1, "{said}");
}
