//! The tour of a person, from the login to the delete: the real command line, a real agent, the real engines.

mod agents;
mod examples;
mod probe;
mod releases;
mod routes;
mod ui;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use terreau::engines::garage::Admin;
use terreau::engines::http::HttpOptions;
use tokio::sync::{OnceCell, RwLock};

use crate::harness::{Stack, StackOptions};
use crate::login::{logs, token};
use crate::tour::{Person, Project, job, json, page, running};

/// One stack with an agent for this room.
async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    STACK.get_or_init(|| Stack::start(StackOptions::with_agent())).await
}

/// Read by tests that need the agent, written by the one that kills it.
static AGENT: RwLock<()> = RwLock::const_new(());

/// A copy of an example under a name of its own, so that runs do not meet.
fn example(which: &str, name: &str) -> (tempfile::TempDir, PathBuf) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(which);
    let temp = tempfile::tempdir().unwrap();
    let done = Command::new("cp").arg("-r").arg(&from).arg(temp.path()).status().unwrap();
    assert!(done.success());
    let dir = temp.path().join(which);
    let text = std::fs::read_to_string(dir.join("terreau.hcl")).unwrap();
    let project = text.split('"').nth(1).unwrap().to_owned();
    let text = text.replace(&format!("project \"{project}\""), &format!("project \"{name}\""));
    let text = text.replace(&format!("{project}.example.org"), &format!("{name}.example.org"));
    std::fs::write(dir.join("terreau.hcl"), text).unwrap();
    (temp, dir)
}

/// Everything of an app whose index would tell of a write.
async fn indexes(stack: &Stack, app: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let job = job(stack, app).await;
    for name in ["JobModifyIndex", "ModifyIndex", "Version"] {
        all.insert(name.to_owned(), job[name].to_string());
    }
    for folder in [format!("secrets/{app}/"), "terreau/v1/app/".to_owned()] {
        let keys = json(stack, format!("{}/v1/kv/{folder}?recurse", stack.consul())).await;
        for key in keys.as_array().into_iter().flatten() {
            let name = key["Key"].as_str().unwrap();
            // Heads of other tests' apps move at their own pace.
            if name.contains(app) {
                all.insert(name.to_owned(), key["ModifyIndex"].to_string());
            }
        }
    }
    let garage = Admin::new(&stack.garage_admin(), stack.admin_token(), &HttpOptions::default()).unwrap();
    for bucket in garage.buckets().await.unwrap() {
        if format!("{bucket:?}").contains(app) {
            all.insert(format!("{bucket:?}"), format!("{:?}", garage.bucket(&bucket.id).await.unwrap()));
        }
    }
    all
}

/// The values of an app's secrets, by key.
async fn secrets(stack: &Stack, app: &str) -> Vec<String> {
    let keys = json(stack, format!("{}/v1/kv/secrets/{app}/?recurse", stack.consul())).await;
    let values = keys.as_array().into_iter().flatten().filter_map(|k| k["Value"].as_str());
    values.map(|v| String::from_utf8(STANDARD.decode(v).unwrap()).unwrap()).filter(|v| v.len() >= 8).collect()
}

/// The canary grep: no secret, password or token in what was said, logged, or registered.
async fn nothing_leaked(person: &Person, app: &str, plans: &[String]) {
    let stack = person.stack;
    let mut canaries = secrets(stack, app).await;
    assert!(!canaries.is_empty(), "there are secrets to look for");
    let token = token(&person.home);
    canaries.extend([token.split_once('.').unwrap().1.to_owned(), stack.person().1.trim_end().to_owned()]);
    let said = person.said.lock().unwrap().clone();
    let mut texts = vec![
        ("a command's output".to_owned(), said.into_bytes()),
        ("the job".to_owned(), job(stack, app).await.to_string().into_bytes()),
    ];
    let versions = json(stack, format!("{}/v1/job/{app}/versions", stack.nomad())).await;
    texts.push(("the job's versions".to_owned(), versions.to_string().into_bytes()));
    let submission = json(stack, format!("{}/v1/job/{app}/submission?version=0", stack.nomad())).await;
    texts.push(("the job's source".to_owned(), submission.to_string().into_bytes()));
    texts.extend(plans.iter().map(|p| ("a plan".to_owned(), p.clone().into_bytes())));
    for log in logs(stack.dir()) {
        texts.push((log.display().to_string(), std::fs::read(&log).unwrap_or_default()));
    }
    for (place, text) in &texts {
        for canary in &canaries {
            let found = text.windows(canary.len()).any(|w| w == canary.as_bytes());
            assert!(!found, "a secret stands in {place}");
        }
    }
}

/// 100 requests a second, each on its own, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<Result<(u16, String), String>>>,
    began: Instant,
}

impl Load {
    fn on(stack: &'static Stack, url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, url) = (stop.clone(), url.parse::<reqwest::Url>().unwrap());
        let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        let client = stack.http();
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            let mut asked = Vec::new();
            while !told.load(Ordering::Relaxed) {
                tick.tick().await;
                let request = client.get(stack.proxy()).header("host", &host);
                asked.push(tokio::spawn(async move {
                    let reply = request.send().await.map_err(|e| format!("{e:?}"))?;
                    let status = reply.status().as_u16();
                    Ok((status, reply.text().await.map_err(|e| format!("{e:?}"))?))
                }));
            }
            futures::future::join_all(asked).await.into_iter().map(Result::unwrap).collect()
        });
        Self { stop, task, began: Instant::now() }
    }

    /// Ends it once it has gone on for `least`; gives how often each body came. Panics on any error.
    async fn end(self, least: Duration) -> BTreeMap<String, usize> {
        tokio::time::sleep(least.saturating_sub(self.began.elapsed())).await;
        self.stop.store(true, Ordering::Relaxed);
        let seconds = self.began.elapsed().as_secs_f64();
        let all = self.task.await.unwrap();
        let errors: Vec<_> = all.iter().filter(|r| !matches!(r, Ok((200, _)))).collect();
        println!("{} requests in {seconds:.1} s, {} errors", all.len(), errors.len());
        assert!(errors.is_empty(), "{} of {}: {:?}", errors.len(), all.len(), &errors[..errors.len().min(5)]);
        #[allow(clippy::cast_precision_loss)]
        let rate = all.len() as f64 / seconds;
        assert!(rate > 80.0, "only {rate:.0} requests a second were asked");
        let mut bodies = BTreeMap::new();
        for (_, body) in all.into_iter().flatten() {
            *bodies.entry(body).or_insert(0) += 1;
        }
        bodies
    }
}
