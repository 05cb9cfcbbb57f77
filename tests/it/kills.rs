//! `kill -9` of an agent at every named point of a deploy, a redeploy and a delete: another agent goes on, and what is
//! left is the old or the new, whole, with nothing owned by nobody (MECHANISM's G1, G2 and G4).
//!
//! The agents are real processes: one that leads and is never killed, and for every point one that is asked for the
//! change by HTTP and ends there. The points come from a run without a kill, so that new ones are covered unasked.
//! A dead agent's session is destroyed at once, which is what Consul does itself after 20 s.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use terreau::build::archive::{Limits, pack};
use terreau::engines::consul::{Consul, Instance};
use terreau::engines::directory::{Directory, DirectoryConfig, Scope};
use terreau::engines::garage::{Admin, S3};
use terreau::engines::http::HttpOptions;
use terreau::engines::nomad::{JobDetail, JobView, Nomad, Registration};
use terreau::model::head::{AppState, Head, Kind};
use terreau::model::{Placement, Uid};
use terreau::store::records::{NameRecord, OpRecord, StepSpec, StepState};
use terreau::store::{Objects, Store, keys};
use tokio::sync::Semaphore;

use crate::harness::{Stack, StackOptions, eventually, terreau, unique};
use crate::mechanism::app;

const PATIENCE: Duration = Duration::from_secs(90);
/// Lives at once: more only wait for each other.
const AT_ONCE: usize = 4;

/// The engines, seen from outside, and a login that holds at every agent.
struct World {
    stack: Stack,
    /// The agent that is not killed.
    leader: String,
    token: String,
    store: Store,
    nomad: Nomad,
    directory: Directory,
    garage: Admin,
    at_once: Arc<Semaphore>,
}

/// An agent process that may be told to end at a point.
struct Agent {
    child: std::process::Child,
    name: String,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl World {
    async fn start(options: StackOptions) -> Self {
        let stack = Stack::start(options).await;
        let options = HttpOptions::default();
        let consul = Consul::new(&stack.consul(), None, &options).unwrap();
        let nomad = Nomad::new(&stack.nomad(), None, None, &options).unwrap();
        let password = stack.service_password().into();
        let at = DirectoryConfig::new(stack.ldap(), stack.base_dn(), stack.service_dn(), password);
        let directory = Directory::new(at).unwrap();
        let garage = Admin::new(&stack.garage_admin(), stack.admin_token(), &options).unwrap();
        // Only records in Consul are read through it.
        let s3 = S3::new(&stack.s3(), "garage", "none", "none".to_owned().into()).unwrap();
        let store = Store::new(consul, Objects::new(s3, "none"));
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        Self { leader: stack.api(), stack, token: String::new(), store, nomad, directory, garage, at_once }
    }

    fn consul(&self) -> &Consul {
        self.store.consul()
    }

    async fn login(&mut self, url: &str) {
        let (user, password) = self.stack.person();
        let body = json!({"user": user, "password": password.trim_end()});
        let reply = self.stack.http().post(format!("{url}/v1/login")).json(&body).send().await.unwrap();
        let answer: Value = reply.json().await.unwrap();
        answer["token"].as_str().unwrap_or_else(|| panic!("{answer}")).clone_into(&mut self.token);
    }

    /// Starts an agent with these variables, and waits until it answers or has ended.
    async fn agent(&self, variables: &[(&str, &str)]) -> Agent {
        let folder = tempfile::tempdir().unwrap();
        let name = unique("mortal");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let mut command = Command::new(terreau());
        command.arg("agent").arg("--config").arg(self.stack.agent_config());
        command.args(["--set", &format!("listen=127.0.0.1:{port}"), "--set", &format!("name={name}")]);
        command.env_clear().envs(variables.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(self.stack.dir().join(format!("{name}.log"))).unwrap());
        let mut child = command.spawn().unwrap();
        let health = format!("{url}/healthz");
        eventually("an agent answers", PATIENCE, async || {
            if child.try_wait().unwrap().is_some() {
                return Some(());
            }
            self.stack.http().get(&health).send().await.ok().filter(|r| r.status().is_success()).map(|_| ())
        })
        .await;
        Agent { child, name, url, _folder: folder }
    }

    /// Asks an agent; `None` where it died of the question.
    async fn ask(&self, url: &str, method: Method, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let mut request = self.stack.http().request(method, format!("{url}{path}")).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let reply = request.send().await.ok()?;
        let status = reply.status().as_u16();
        Some((status, reply.json().await.ok()?))
    }

    /// Asks for a change until it is accepted (a lock that was just given back is shut for a second).
    async fn change(&self, url: &str, change: &Change) {
        eventually(&format!("{change:?} is accepted"), PATIENCE, async || {
            let (method, path, body) = change.request();
            match self.ask(url, method, &path, body.as_ref()).await {
                None | Some((200 | 202, _)) => Some(()),
                // Or an engine has no time for us now.
                Some((status @ (409 | 503), answer)) => {
                    println!("kills: {} is asked again: {status} {}", change.app(), answer["detail"]);
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    None
                }
                Some((status, answer)) => panic!("{status}: {answer}"),
            }
        })
        .await;
    }

    /// What Consul does 20 s after an agent died.
    async fn expire(&self, agent: &Agent) {
        let name = format!("terreau {}", agent.name);
        for session in self.consul().sessions().await.unwrap() {
            if session.name == name {
                self.consul().session_destroy(&session.id).await.unwrap();
            }
        }
    }

    /// Waits until nobody holds the app and no operation is open on it.
    async fn rest(&self, app: &Placement, after: &str) -> Option<Head> {
        eventually(&format!("{app} is at rest after {after}"), PATIENCE, async || {
            let open = self.store.operations().await.unwrap();
            let held = self.consul().kv_get(&keys::lock(app)).await.unwrap().and_then(|e| e.session);
            (held.is_none() && open.iter().all(|o| o.value.app != *app)).then_some(())
        })
        .await;
        let head = self.store.head(app).await.unwrap().map(|h| h.value);
        assert!(head.as_ref().is_none_or(|h| h.operation.is_none()), "{after}: the head names an operation");
        head
    }

    /// A change by an agent that is killed at a point; then another ends it. Gives the head.
    async fn killed(&self, point: &str, change: &Change) -> Option<Head> {
        let mut agent = self.agent(&[("TERREAU_KILL_AT", point)]).await;
        self.change(&agent.url, change).await;
        let status = eventually(&format!("the agent dies at {point}"), PATIENCE, async || {
            agent.child.try_wait().unwrap()
        })
        .await;
        assert_eq!(status.signal(), Some(9), "{point}: {status}");
        let dead = Instant::now();
        self.expire(&agent).await;
        let head = self.rest(change.app(), point).await;
        println!("kills: {point}: whole again after {:.1} s", dead.elapsed().as_secs_f32());
        head
    }

    /// A change by the agent that leads.
    async fn done(&self, change: &Change) -> Option<Head> {
        self.change(&self.leader, change).await;
        self.rest(change.app(), "nobody's death").await
    }

    /// The app is live with this release, and differs from this descriptor in nothing.
    async fn assert_runs(&self, app: &Placement, head: Option<Head>, number: u64, text: &str, after: &str) {
        let head = head.unwrap_or_else(|| panic!("{after}: {app} has no head"));
        assert_eq!(head.state, AppState::Live, "{after}: {head:?}");
        assert_eq!(head.release.as_ref().map(|r| r.number.0), Some(number), "{after}: {head:?}");
        let job = self.nomad.job("default", &app.flat()).await.unwrap().unwrap();
        let job = JobView::of(&job).unwrap();
        assert!(!job.is_stopped() && Some(job.job_modify_index()) == head.job_index, "{after}: {head:?}");
        let body = json!({"descriptor": text});
        let path = format!("/v1/apps/{app}/plan");
        let plan = eventually("the plan is made", PATIENCE, async || {
            match self.ask(&self.leader, Method::POST, &path, Some(&body)).await.unwrap() {
                (503, _) => None,
                (status, plan) => {
                    assert_eq!(status, 200, "{after}: {plan}");
                    Some(plan)
                }
            }
        })
        .await;
        assert_eq!(plan["changes"], json!([]), "{after}: {plan}");
        let versions = self.nomad.allocations("default", &app.flat()).await.unwrap();
        let wanted = versions.iter().filter(|a| a.desired_status == "run").count();
        assert_eq!(wanted, 1, "{after}: old and new at once");
    }

    /// Everything with our mark or of an app's name that no head knows, and what heads name that is not there.
    async fn orphans(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut heads: BTreeMap<Uid, Head> = BTreeMap::new();
        // What may be there: owned by a head, or waiting for the sweep.
        let mut known: BTreeMap<Uid, BTreeSet<(Kind, String)>> = BTreeMap::new();
        let mut names: BTreeSet<(Uid, String)> = BTreeSet::new();
        for head in self.store.heads().await.unwrap() {
            let head = head.value;
            let things = known.entry(head.uid.clone()).or_default();
            things.extend(head.owned.iter().map(|o| (o.kind, o.id.clone())));
            things.extend(head.secrets.keys().map(|s| (Kind::Secret, s.to_string())));
            names.extend(head.names.iter().map(|n| (head.uid.clone(), keys::name(n.space, &n.name))));
            heads.insert(head.uid.clone(), head);
        }
        for doomed in self.store.doomed().await.unwrap() {
            let d = doomed.value;
            for thing in d.things {
                known.entry(d.uid.clone()).or_default().insert((thing.kind, thing.id));
                names.extend(thing.names.iter().map(|n| (d.uid.clone(), keys::name(n.space, &n.name))));
            }
        }
        let of_mark = |mark: &str| -> Option<Uid> {
            mark.strip_prefix("terreau:")?.split(':').next().and_then(|u| Uid::new(u).ok())
        };
        let mut there: BTreeSet<(Uid, Kind, String)> = BTreeSet::new();
        for key in self.garage.keys().await.unwrap() {
            if let Some(uid) = of_mark(&key.name) {
                there.insert((uid, Kind::Key, key.id));
            }
        }
        let accounts = self
            .directory
            .search(self.stack.base_dn(), Scope::Sub, "(description=terreau:*)", &["description"])
            .await
            .unwrap();
        for entry in accounts {
            if let Some(uid) = entry.first("description").and_then(of_mark) {
                there.insert((uid, Kind::Account, entry.dn));
            }
        }
        for job in self.nomad.jobs("*", "", JobDetail::Meta).await.unwrap() {
            if let Some(uid) = job.meta.get("terreau") {
                there.insert((Uid::new(uid.as_str()).unwrap(), Kind::Job, job.id));
            }
        }
        // Buckets and secrets bear no mark: they are their app's by name.
        let of_app = |flat: &str| heads.values().find(|h| h.app.flat() == flat).map(|h| h.uid.clone());
        for bucket in self.garage.buckets().await.unwrap() {
            for alias in bucket.global_aliases.iter().filter(|a| a.starts_with("kill-")) {
                let owner = heads.values().find(|h| {
                    let flat = h.app.flat();
                    alias.strip_prefix(&flat).is_some_and(|rest| rest.starts_with(['-', '.']))
                });
                match owner {
                    Some(h) => {
                        let kind = if alias.contains('.') { Kind::Site } else { Kind::Bucket };
                        there.insert((h.uid.clone(), kind, alias.clone()));
                    }
                    None => faults.push(format!("bucket {alias} is nobody's")),
                }
            }
        }
        for key in self.consul().kv_keys("secrets/kill-").await.unwrap() {
            let (flat, rest) = key["secrets/".len()..].split_once('/').unwrap();
            let name = rest.strip_prefix(".v/").map_or(rest, |r| r.split('/').next().unwrap());
            match of_app(flat) {
                Some(uid) => {
                    there.insert((uid, Kind::Secret, name.to_owned()));
                }
                None => faults.push(format!("{key} is nobody's")),
            }
        }
        for (uid, kind, id) in &there {
            if !known.get(uid).is_some_and(|k| k.contains(&(*kind, id.clone()))) {
                faults.push(format!("{} {id} is nobody's (uid {uid})", kind.as_str()));
            }
        }
        for head in heads.values() {
            faults.extend(head.owned.iter().filter_map(|o| {
                let missing = !there.contains(&(head.uid.clone(), o.kind, o.id.clone()));
                missing.then(|| format!("{} owns {} {}, which is not there", head.app, o.kind.as_str(), o.id))
            }));
            if head.state == AppState::New || head.operation.is_some() {
                faults.push(format!("{} is half-way: {:?}", head.app, head.state));
            }
        }
        let mut indexed = BTreeSet::new();
        for entry in self.consul().kv_list("terreau/v1/name/").await.unwrap() {
            let owner: NameRecord = serde_json::from_slice(&entry.value).unwrap();
            indexed.insert((owner.uid, entry.key));
        }
        faults
            .extend(indexed.symmetric_difference(&names).map(|(u, n)| format!("{n} of {u} is in one only")));
        faults.extend(self.consul().kv_keys(keys::OPERATIONS).await.unwrap());
        for lock in self.consul().kv_list(keys::LOCKS).await.unwrap() {
            faults.extend(lock.session.map(|s| format!("{} is held by {s}", lock.key)));
        }
        faults
    }
}

/// What an agent is asked for.
#[derive(Debug, Clone)]
enum Change {
    Deploy(Placement, Value),
    Delete(Placement),
}

impl Change {
    fn deploy(app: &Placement, text: &str) -> Self {
        Self::Deploy(app.clone(), json!({"descriptor": text}))
    }

    fn app(&self) -> &Placement {
        match self {
            Self::Deploy(app, _) | Self::Delete(app) => app,
        }
    }

    fn request(&self) -> (Method, String, Option<Value>) {
        match self {
            Self::Deploy(app, body) => (Method::POST, format!("/v1/apps/{app}/deploy"), Some(body.clone())),
            Self::Delete(app) => (Method::DELETE, format!("/v1/apps/{app}"), None),
        }
    }
}

fn descriptor(app: &Placement, extra: &str) -> String {
    format!(
        r#"project "{app}" {{
  process "web" {{
    command = ["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "${{port.http}}"]
    port "http" {{}}
    check "http" {{ path = "/" }}
    route "{app}.example.org" {{}}
  }}
  {extra}
}}
"#
    )
}

/// One of each kind of resource.
fn first(app: &Placement) -> String {
    descriptor(
        app,
        r#"secret "session" { type = "generated" }
  uses "ldap" {}
  uses "bucket" "media" { max_objects = 100 }
  env = {
    SESSION = "${secret.session}"
    LDAP    = "${uses.ldap.password}"
    KEY     = "${uses.media.access_key_id}"
    S3      = "${uses.media.secret_access_key}"
  }"#,
    )
}

/// Keeps one, changes one, adds one, takes one away; replaces the instance.
fn second(app: &Placement) -> String {
    descriptor(
        app,
        r#"secret "session" { type = "generated" }
  secret "extra" { type = "generated" }
  uses "bucket" "media" { max_objects = 200 }
  env = {
    SESSION = "${secret.session}"
    EXTRA   = "${secret.extra}"
    KEY     = "${uses.media.access_key_id}"
    S3      = "${uses.media.secret_access_key}"
  }"#,
    )
}

/// The points that a change passes, each with its number where it is passed several times.
///
/// `record.after` is left out: between it and the next step's `before`, or `close.before`, nothing is done.
fn points(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::remove_file(file).unwrap();
    let mut passed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut points = Vec::new();
    for line in text.lines().filter(|l| !l.ends_with(".record.after")) {
        let n = passed.entry(line).or_default();
        *n += 1;
        points.push(format!("{line}#{n}"));
    }
    points
}

/// Counts looks at an app's health, and those that found no healthy instance.
async fn watched<T>(world: &World, app: &Placement, work: impl Future<Output = T>) -> (T, usize, usize) {
    let (looks, dark) = (AtomicUsize::new(0), Mutex::new(0));
    let watch = async {
        loop {
            let healthy = world.consul().health(&app.flat()).await.unwrap();
            looks.fetch_add(1, Ordering::Relaxed);
            if !healthy.iter().any(Instance::is_passing) {
                *dark.lock().unwrap() += 1;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = watch => unreachable!("it looks for ever"),
    };
    let dark = *dark.lock().unwrap();
    (done, looks.load(Ordering::Relaxed), dark)
}

/// One app's life, with a kill in each of its changes for which a point is left. Gives the number of looks at its
/// health.
async fn life(world: &World, made: &str, remade: Option<&String>, ended: Option<&String>) -> usize {
    let _permit = world.at_once.acquire().await.unwrap();
    let app = app("kill");
    let (one, two) = (first(&app), second(&app));
    let change = Change::deploy(&app, &one);
    let mut head = world.killed(made, &change).await;
    if made.starts_with("deploy.open.before") {
        assert_eq!(head, None, "nothing was opened, so nothing is there");
        head = world.done(&change).await;
    }
    world.assert_runs(&app, head, 1, &one, made).await;

    let Some(remade) = remade else { return 0 };
    let change = Change::deploy(&app, &two);
    let (mut head, looks, dark) = watched(world, &app, world.killed(remade, &change)).await;
    assert_eq!(dark, 0, "{remade}: of {looks} looks {dark} found nothing healthy");
    if remade.starts_with("deploy.open.before") {
        world.assert_runs(&app, head, 1, &one, remade).await;
        head = world.done(&change).await;
    }
    world.assert_runs(&app, head, 2, &two, remade).await;

    let Some(ended) = ended else { return looks };
    let change = Change::Delete(app.clone());
    let mut head = world.killed(ended, &change).await;
    if ended.starts_with("delete.open.before") {
        world.assert_runs(&app, head, 2, &two, ended).await;
        head = world.done(&change).await;
    }
    assert_eq!(head.unwrap().state, AppState::Deleted, "{ended}");
    let job = world.nomad.job("default", &app.flat()).await.unwrap().unwrap();
    assert!(JobView::of(&job).unwrap().is_stopped(), "{ended}");
    looks
}

/// Uploads one page and gives what a deploy of it says.
async fn page(world: &World, app: &Placement, text: &str) -> Change {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), text).unwrap();
    std::fs::write(folder.path().join("style.css"), format!("/* {text} */")).unwrap();
    let packed = pack(folder.path(), &std::env::temp_dir(), &Limits::default(), &mut |_| ()).unwrap();
    let part = &packed.artifact.parts[0];
    let path = format!("/v1/apps/{app}/uploads");
    let body = json!({"parts": packed.artifact.parts});
    let (status, begun) = world.ask(&world.leader, Method::POST, &path, Some(&body)).await.unwrap();
    assert_eq!(status, 200, "{begun}");
    let ticket = begun["ticket"].as_str().unwrap();
    let url = format!("{}{path}/{}?ext={}&ticket={ticket}", world.leader, part.sha256, part.ext);
    let bytes = std::fs::read(&packed.files[0]).unwrap();
    let put = world.stack.http().put(url).bearer_auth(&world.token).body(bytes).send().await.unwrap();
    assert_eq!(put.status(), 204);
    let descriptor =
        format!("project \"{app}\" {{\n  build \"static\" {{}}\n  route \"{app}.example.org\" {{}}\n}}\n");
    let body = json!({"descriptor": descriptor, "artifact": packed.artifact, "ticket": ticket});
    Change::Deploy(app.clone(), body)
}

/// A site's life: killed at either deploy, it goes forward.
async fn site(world: &World, points: [&str; 2]) {
    let _permit = world.at_once.acquire().await.unwrap();
    let app = app("kill");
    for (number, point) in (1..).zip(points) {
        let text = format!("release {number} of {app}");
        let head = world.killed(point, &page(world, &app, &text).await).await.unwrap();
        assert_eq!(head.state, AppState::Live, "{point}: {head:?}");
        assert_eq!(head.release.unwrap().number.0, number, "{point}");
        for (path, want) in [("", text.clone()), ("style.css", format!("/* {text} */"))] {
            let request = world.stack.http().get(format!("{}/{path}", world.stack.web()));
            let reply = request.header("host", format!("{app}.example.org")).send().await.unwrap();
            assert_eq!(reply.text().await.unwrap(), want, "{point}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; not seen whole yet on a machine of its own: cargo test --test it kills:: -- --include-ignored"]
async fn an_agent_killed_at_any_point_leaves_the_old_or_the_new_and_nothing_of_nobodys() {
    let begun = Instant::now();
    let mut world = World::start(StackOptions::engines().with(crate::harness::Part::Agent)).await;
    let leader = world.leader.clone();
    world.login(&leader).await;
    println!("kills: the stack is there after {:.1} s", begun.elapsed().as_secs_f32());

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("points");
    let agent = world.agent(&[("TERREAU_POINTS", file.to_str().unwrap())]).await;
    let app = app("kill");
    let mut lists = Vec::new();
    for change in
        [Change::deploy(&app, &first(&app)), Change::deploy(&app, &second(&app)), Change::Delete(app.clone())]
    {
        world.change(&agent.url, &change).await;
        world.rest(&app, "nobody's death").await;
        lists.push(points(&file));
    }
    drop(agent);
    println!("kills: the points are known after {:.1} s", begun.elapsed().as_secs_f32());
    for (list, at_least) in lists.iter().zip([20, 14, 8]) {
        assert!(list.len() >= at_least, "{list:?}");
    }

    let [made, remade, ended] = &lists[..] else { panic!("{lists:?}") };
    assert!(made.len() >= remade.len() && remade.len() >= ended.len(), "some points would be left out");
    // Every nth life only, where a machine has no time for all.
    let every = std::env::var("TERREAU_KILLS_EVERY").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let each = made.iter().enumerate().step_by(every);
    let each = each.map(|(n, point)| life(&world, point, remade.get(n), ended.get(n)));
    let sites =
        [["deploy.site.before#1", "deploy.site.after#1"], ["deploy.close.before#1", "deploy.open.after#1"]];
    let sites = futures::future::join_all(sites.map(|points| site(&world, points)));
    let (looks, _) = tokio::join!(futures::future::join_all(each), sites);
    let looks: usize = looks.into_iter().sum();
    assert_eq!(world.orphans().await, Vec::<String>::new());
    println!(
        "kills: every {every}. of first deploys {}, redeploys {}, deletes {}, and sites 4; {looks} looks at health, none without a healthy \
         instance; {:.1} s",
        made.len(),
        remade.len(),
        ended.len(),
        begun.elapsed().as_secs_f32()
    );
}

/// Kinds of the steps of [`first`], last first: the way back.
const BACK: [&str; 7] = ["job", "key", "bucket", "account", "secret", "secret", "secret"];

#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_on_which_every_agent_dies_ends_and_a_graceful_stop_leaves_nothing_begun() {
    let begun = Instant::now();
    // No agent but those of this test: whoever lives leads.
    let mut world = World::start(StackOptions::engines()).await;
    let mut agent = world.agent(&[("TERREAU_KILL_AT", "deploy.job.before")]).await;
    world.login(&agent.url).await;
    let app = app("kill");
    world.change(&agent.url, &Change::deploy(&app, &first(&app))).await;
    eventually("the first agent dies", PATIENCE, async || agent.child.try_wait().unwrap()).await;
    // Somebody takes the job's name: the registration will be refused.
    let task = json!({"Name": "t", "Driver": "raw_exec", "Config": {"command": "/bin/true"}});
    let group = json!({"Name": "g", "Count": 0, "Tasks": [task]});
    let job = json!({"ID": app.flat(), "Name": app.flat(), "Type": "service", "Datacenters": [world.stack.site()],
                     "TaskGroups": [group]});
    let theirs = Registration { job, enforce_index: None, submission_hcl: None };
    let theirs = world.nomad.register(&theirs).await.unwrap().job_modify_index;
    world.expire(&agent).await;

    let mut deaths = vec!["deploy.undo-job.before".to_owned()];
    deaths.extend(BACK.map(|kind| format!("deploy.undo-{kind}.after")));
    deaths.extend(["deploy.close.before".to_owned(), "deploy.close.after".to_owned()]);
    for point in &deaths {
        let mut agent = world.agent(&[("TERREAU_KILL_AT", point)]).await;
        let what = format!("an agent takes over and dies at {point}");
        let status = eventually(&what, PATIENCE, async || agent.child.try_wait().unwrap()).await;
        assert_eq!(status.signal(), Some(9), "{point}");
        world.expire(&agent).await;
    }
    assert_eq!(world.rest(&app, "the way back").await, None);
    assert_eq!(world.orphans().await, Vec::<String>::new());
    let job = world.nomad.job("default", &app.flat()).await.unwrap().unwrap();
    assert_eq!(JobView::of(&job).unwrap().job_modify_index(), theirs, "what is not ours was changed");
    println!("kills: {} deaths on one way back; {:.1} s", deaths.len(), begun.elapsed().as_secs_f32());

    let mut agent = world.agent(&[]).await;
    let app = self::app("kill");
    let text = descriptor(&app, "").replace(
        r#"["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "${port.http}"]"#,
        r#"["/bin/sh", "-c", "sleep 8; exec /usr/bin/python3 -m http.server --bind 127.0.0.1 ${port.http}"]"#,
    );
    world.change(&agent.url, &Change::deploy(&app, &text)).await;
    let settles = |op: &OpRecord| {
        op.steps.iter().any(|s| matches!(s.spec, StepSpec::JobSettle { .. }) && s.state == StepState::Begun)
    };
    eventually("the job is waited for", PATIENCE, async || {
        world.store.operations().await.unwrap().iter().any(|o| settles(&o.value)).then_some(())
    })
    .await;
    let pid = rustix::process::Pid::from_child(&agent.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = eventually("the agent stops", PATIENCE, async || agent.child.try_wait().unwrap()).await;
    assert!(status.success(), "{status}");
    let left = world.store.operations().await.unwrap().remove(0).value;
    assert!(left.steps.iter().all(|s| s.state != StepState::Begun), "{left:?}");
    assert_eq!(world.consul().kv_get(&keys::lock(&app)).await.unwrap().and_then(|e| e.session), None);
    // No session is waited out: whoever comes goes on.
    let next = world.agent(&[]).await;
    let came = Instant::now();
    eventually("it is taken over", Duration::from_secs(10), async || {
        world.store.operations().await.unwrap().iter().all(|o| o.value.claim == 1).then_some(())
    })
    .await;
    let waited = came.elapsed();
    world.leader.clone_from(&next.url);
    let head = world.rest(&app, "a graceful stop").await;
    world.assert_runs(&app, head, 1, &text, "a graceful stop").await;
    assert_eq!(world.orphans().await, Vec::<String>::new());
    println!(
        "kills: taken over {:.1} s after an agent came; {:.1} s",
        waited.as_secs_f32(),
        begun.elapsed().as_secs_f32()
    );
}
