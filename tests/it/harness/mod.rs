//! Starts the real engines for tests: each stack in its own folder, on its own ports, ended exactly and whole
//! when it is dropped, when the test panics, and when the test process dies.
//!
//! ```ignore
//! let stack = harness::shared().await;                       // one for the run: use random names in it
//! let stack = Stack::start(StackOptions::engines()).await;   // one of your own: kill what you like
//! stack.kill(Part::Nomad).await; stack.start_part(Part::Nomad).await;
//! ```
//! `TERREAU_KEEP=1` keeps the folders (logs, data) of ended stacks.
#![allow(dead_code, clippy::unused_self)]

pub mod browser;
pub mod machine;
pub mod person;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, Once};
use std::time::Duration;

use rustix::process::Signal;
pub use terreau::sandbox::config::Layout;
use terreau::sandbox::config::{BASE_DN, CLUSTER, Capacity, SITE};
use terreau::sandbox::engines::Engines;
pub use terreau::sandbox::parts::Part;
use terreau::sandbox::parts::Readiness;
use terreau::sandbox::ports::{Claim, Ports};
use terreau::sandbox::process::{Identity, detached};
use terreau::sandbox::{garage, http};
use tokio::sync::OnceCell;

/// Our own program, as built for this run.
pub fn terreau() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_terreau"))
}

/// Which parts a stack begins with.
#[derive(Debug, Clone)]
pub struct StackOptions {
    parts: Vec<Part>,
}

impl StackOptions {
    /// Consul, Nomad, Garage and the directory.
    pub fn engines() -> Self {
        Self::only(&[Part::Consul, Part::Sandbox, Part::Nomad])
    }

    /// The engines, and the development proxy before them.
    pub fn with_proxy() -> Self {
        Self::engines().with(Part::Proxy)
    }

    /// The engines, the proxy, and the agent.
    pub fn with_agent() -> Self {
        Self::with_proxy().with(Part::Agent)
    }

    /// Exactly these parts.
    pub fn only(parts: &[Part]) -> Self {
        Self { parts: parts.to_vec() }
    }

    /// These parts too.
    pub fn with(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }
}

/// A running stack.
#[derive(Debug)]
pub struct Stack {
    /// Its folder, ports and names.
    pub layout: Layout,
    pub engines: Engines,
    running: Mutex<BTreeMap<Part, (Child, Identity)>>,
    guard: Guard,
    _claim: Claim,
}

/// A folder, and a mark in the environment of processes: when this goes, or the test ends however it ends, a process of its own
/// ends all that bear the mark and removes the folder.
#[derive(Debug)]
pub struct Guard {
    /// The mark.
    pub mark: String,
    /// The folder. Short: Nomad makes a socket far below it, and such paths hold 108 bytes.
    pub dir: PathBuf,
    waiting: Child,
}

impl Guard {
    /// With a new folder and a new mark.
    pub fn begin() -> Self {
        let dir = tempfile::Builder::new().prefix("te-").tempdir().unwrap().keep();
        let mark = hex::encode(rand::random::<[u8; 8]>());
        let mut waiting = detached(terreau());
        waiting
            .args(["guard", "--mark", &mark, "--dir"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        Self { waiting: waiting.spawn().unwrap(), mark, dir }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The end of its input is the guard's order to end everything.
        drop(self.waiting.stdin.take());
        let _ = self.waiting.wait();
    }
}

/// The stack that all tests of a run share. Ended after the last test by its guard.
pub async fn shared() -> &'static Stack {
    static SHARED: OnceCell<Stack> = OnceCell::const_new();
    SHARED.get_or_init(|| Stack::start(StackOptions::with_proxy())).await
}

/// Held by a test that loads the machine (a GiB of bytes, twenty instances, a matrix of kills): two such at once on two
/// cores would show how slow the machine is, and nothing about Terreau.
pub async fn the_only_heavy_one() -> tokio::sync::MutexGuard<'static, ()> {
    static HEAVY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    HEAVY.lock().await
}

/// A random name that fits every flat space: `<prefix>-<8 hex>`.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", hex::encode(rand::random::<[u8; 4]>()))
}

/// Waits until `probe` gives something, or panics after `patience` naming `what`.
pub async fn eventually<T>(what: &str, patience: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within {} s: {what}", patience.as_secs_f32());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

impl Stack {
    /// Starts a stack and waits until every part is ready. Panics with the part's last words otherwise.
    pub async fn start(options: StackOptions) -> Self {
        let engines = Engines::find(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_or_else(|e| panic!("{e}"));
        say_engines(&engines);
        let (ports, claim) = Ports::choose().unwrap();
        let guard = Guard::begin();
        let layout =
            Layout { dir: guard.dir.clone(), ports, user: "me".into(), capacity: Capacity::Boundless };
        let running = Mutex::new(BTreeMap::new());
        let stack = Self { layout, engines, running, guard, _claim: claim };
        stack.layout.write().unwrap();
        // In parallel; Nomad looks for Consul once at its start, then only every 15 s.
        let has = |p: Part| options.parts.contains(&p);
        let first = async {
            if has(Part::Consul) {
                stack.launch(Part::Consul);
                stack.opened(Part::Consul).await;
            }
            if has(Part::Nomad) {
                stack.launch(Part::Nomad);
            }
        };
        let second = async {
            for part in [Part::Sandbox, Part::Proxy] {
                if has(part) {
                    stack.launch(part);
                }
            }
        };
        tokio::join!(first, second);
        let engines = options.parts.iter().filter(|p| **p != Part::Agent);
        futures::future::join_all(engines.map(|p| stack.ready(*p))).await;
        // Once more: where Consul came later, the catalogue was not looked at.
        if has(Part::Sandbox) {
            stack.ready(Part::Sandbox).await;
        }
        if has(Part::Agent) {
            stack.start_part(Part::Agent).await;
        }
        stack
    }

    fn launch(&self, part: Part) {
        let child = part.launch(&self.layout, &self.engines, terreau()).start(self.mark()).unwrap();
        let identity = Identity::of(child.id()).unwrap_or_else(|| panic!("{} ended at once", part.name()));
        self.running.lock().unwrap().insert(part, (child, identity));
    }

    async fn opened(&self, part: Part) {
        let identity = self.identity(part).unwrap_or_else(|| panic!("{} was not started", part.name()));
        let patience = Duration::from_secs(40);
        part.wait_open(&self.layout, &identity, patience).await.unwrap_or_else(|e| panic!("{e}"));
    }

    /// Waits until the part is ready.
    pub async fn ready(&self, part: Part) {
        let patience = Duration::from_mins(1);
        loop {
            let identity = self.identity(part).unwrap_or_else(|| panic!("{} was not started", part.name()));
            let waited = part.wait_ready(&self.layout, &identity, patience).await;
            match waited.unwrap_or_else(|e| panic!("{e}")) {
                Readiness::Ready => return,
                Readiness::Stuck => {
                    self.kill(part).await;
                    self.launch(part);
                }
            }
        }
    }

    /// Starts a part (again) and waits until it is ready.
    pub async fn start_part(&self, part: Part) {
        self.launch(part);
        self.ready(part).await;
    }

    /// The part's process, if it was started.
    pub fn identity(&self, part: Part) -> Option<Identity> {
        self.running.lock().unwrap().get(&part).map(|(_, identity)| identity.clone())
    }

    /// `kill -9`, and waits until it is gone. Nomad's tasks go on.
    pub async fn kill(&self, part: Part) {
        let taken = self.running.lock().unwrap().remove(&part);
        if let Some((mut child, identity)) = taken {
            identity.signal(Signal::KILL);
            identity.gone_within(Duration::from_secs(10)).await;
            let _ = child.wait();
        }
    }

    /// Sends a signal to a part: `Signal::STOP` and `Signal::CONT` pause and resume it.
    pub fn signal(&self, part: Part, signal: Signal) {
        if let Some(identity) = self.identity(part) {
            identity.signal(signal);
        }
    }

    /// The mark in its processes' environment.
    pub fn mark(&self) -> &str {
        &self.guard.mark
    }
    /// The stack's folder.
    pub fn dir(&self) -> &Path {
        &self.layout.dir
    }
    /// Nomad's HTTP API, like `http://127.0.0.1:4646`.
    pub fn nomad(&self) -> String {
        Ports::url(self.layout.ports.nomad_http())
    }
    /// Consul's HTTP API.
    pub fn consul(&self) -> String {
        Ports::url(self.layout.ports.consul_http())
    }
    /// Garage's S3, path style, region `garage`.
    pub fn s3(&self) -> String {
        Ports::url(self.layout.ports.s3())
    }
    /// Garage's K2V.
    pub fn k2v(&self) -> String {
        Ports::url(self.layout.ports.k2v())
    }
    /// Garage's websites.
    pub fn web(&self) -> String {
        Ports::url(self.layout.ports.web())
    }
    /// Garage's admin API.
    pub fn garage_admin(&self) -> String {
        Ports::url(self.layout.ports.garage_admin())
    }
    /// The bearer token of Garage's admin API.
    pub fn admin_token(&self) -> secrecy::SecretString {
        garage::admin_token(&self.layout.garage().data).unwrap()
    }
    /// The file with that token.
    pub fn admin_token_file(&self) -> PathBuf {
        garage::admin_token_file(&self.layout.garage().data)
    }
    /// The directory, plain LDAP.
    pub fn ldap(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.layout.ports.ldap())
    }
    /// The directory's base.
    pub fn base_dn(&self) -> &'static str {
        BASE_DN
    }
    /// The agent's account in the directory, which may do everything there.
    pub fn service_dn(&self) -> String {
        Layout::service_dn()
    }
    /// Its password.
    pub fn service_password(&self) -> String {
        std::fs::read_to_string(self.layout.service_password_file()).unwrap()
    }
    /// The person who is an admin, and its password.
    pub fn person(&self) -> (String, String) {
        let password = std::fs::read_to_string(self.layout.password_file()).unwrap();
        (self.layout.user.clone(), password)
    }
    /// The development proxy (where started).
    pub fn proxy(&self) -> String {
        Ports::url(self.layout.ports.proxy())
    }
    /// The agent's API (where started).
    pub fn api(&self) -> String {
        Ports::url(self.layout.ports.api())
    }
    /// The agent's configuration file; whole, so that `terreau agent --config` can start from it.
    pub fn agent_config(&self) -> PathBuf {
        self.layout.path("agent.toml")
    }
    /// The cluster's name: Consul's datacenter and Nomad's region.
    pub fn cluster(&self) -> &'static str {
        CLUSTER
    }
    /// The only site: Nomad's datacenter.
    pub fn site(&self) -> &'static str {
        SITE
    }
    /// A client for loopback that ignores proxies.
    pub fn http(&self) -> reqwest::Client {
        http::client(Duration::from_secs(30))
    }
}

/// Past libtest's capture, so that every run's output says what it ran on.
fn say_engines(engines: &Engines) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let _ = writeln!(
            std::io::stderr(),
            "engines: nomad {} ({}), consul {} ({}), garage {} (embedded)",
            engines.nomad.version,
            engines.nomad.path.display(),
            engines.consul.version,
            engines.consul.path.display(),
            garage::VERSION,
        );
    });
}
