//! `terreau dev`: a whole cluster in one folder, each part a process of its own under one supervisor. Ports are
//! chosen once and kept; a supervisor that starts again takes over the parts that still live, and starts again
//! those that end. Must never end a process that does not carry the folder's mark.
//!
//! Guarantee: at any moment the folder says what belongs to it (the mark in the processes' environment, and what
//! their command lines are), so that a supervisor killed between two steps leaves nothing that the next one, or
//! `stop`, does not find.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::config::Layout;
use super::engines::Engines;
use super::files::write_private;
use super::home::Home;
pub use super::home::{DevInfo, FOLDER, elsewhere, nearest};
use super::parts::{Part, Readiness};
use super::ports::is_free;
use super::process::{self, Identity};
use super::{SandboxError, garage, people};

/// Which folder, and our own program.
#[derive(Debug, Clone)]
pub struct DevOptions {
    /// The folder; made when missing.
    pub dir: PathBuf,
    /// The program that runs our own parts.
    pub terreau: PathBuf,
}

/// One part, as `status` tells it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct PartStatus {
    /// Which.
    #[schema(value_type = String)]
    pub part: Part,
    /// Its process, when it lives.
    pub pid: Option<u32>,
    /// Whether it does its work.
    pub ready: bool,
    /// Where it listens: the first of its ports.
    pub port: u16,
    /// Where its output goes.
    #[schema(value_type = String)]
    pub log: PathBuf,
}

/// What `status` tells.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct DevStatus {
    /// The folder.
    #[schema(value_type = String)]
    pub dir: PathBuf,
    /// The supervisor's process, when it lives.
    pub supervisor: Option<u32>,
    /// The parts; none when nothing was ever started here.
    pub parts: Vec<PartStatus>,
    /// Where everything is, once it was ready.
    pub info: Option<DevInfo>,
    /// The folders of this person's other clusters that run now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub elsewhere: Vec<PathBuf>,
}

/// Starts the cluster in the background and returns once it is ready; at once when it runs already.
pub async fn start(options: &DevOptions) -> Result<DevInfo, SandboxError> {
    let (home, claim) = Home::open(&options.dir)?;
    let dir = &home.layout.dir;
    // Said here rather than in a log.
    Engines::find(dir)?;
    // The supervisor holds the block itself.
    drop(claim);
    let log = home.layout.log("supervisor");
    let supervisor = match home.supervisor() {
        Some(living) => living,
        None => spawn_supervisor(options, dir, &log)?,
    };
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        // The supervisor removes the file when it begins and writes it when all is ready.
        if let Some(info) = home.ready_info()
            && home.supervisor().is_some()
        {
            return Ok(info);
        }
        // Another start beside ours may have won; then that one's supervisor counts.
        if !supervisor.lives() && home.supervisor().is_none() {
            return Err(SandboxError::Part { part: "the supervisor", message: last_line(&log), log });
        }
        if Instant::now() > deadline {
            let message = "was not ready within 120 s".to_owned();
            return Err(SandboxError::Part { part: "the supervisor", message, log });
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

fn spawn_supervisor(options: &DevOptions, dir: &Path, log: &Path) -> Result<Identity, SandboxError> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).map_err(SandboxError::file("make", folder))?;
    }
    let _ = std::fs::remove_file(dir.join("dev.json"));
    let open = || File::create(log).map_err(SandboxError::file("open", log));
    let (out, errors) =
        (open()?, File::options().append(true).open(log).map_err(SandboxError::file("open", log))?);
    let mut command = process::detached(&options.terreau);
    command.args(["dev", "--foreground", "--dir"]).arg(dir).stdin(Stdio::null()).stdout(out).stderr(errors);
    // In the folder, so that it keeps nobody's working directory busy.
    let child = command.spawn().map_err(SandboxError::file("start", &options.terreau))?;
    Identity::of(child.id()).ok_or_else(|| SandboxError::Part {
        part: "the supervisor",
        message: "ended at once".into(),
        log: log.to_owned(),
    })
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("ended without a word").trim().to_owned()
}

/// Supervises until `stop` turns true, then ends everything. `ready` is called once all parts are.
pub async fn supervise(
    options: &DevOptions,
    mut stop: watch::Receiver<bool>,
    ready: impl FnOnce(&DevInfo),
) -> Result<(), SandboxError> {
    let (home, claim) = Home::open(&options.dir)?;
    let engines = Engines::find(&home.layout.dir)?;
    let lock_path = home.layout.path("lock");
    let lock = File::create(&lock_path).map_err(SandboxError::file("open", &lock_path))?;
    if lock.try_lock().is_err() {
        let dir = home.layout.dir.display();
        return Err(SandboxError::Other(format!(
            "{dir} is supervised already: `terreau dev status --dir {dir}` shows it"
        )));
    }
    let _claim = match claim {
        Some(claim) => claim,
        None => home.layout.ports.hold()?,
    };
    let _ = std::fs::remove_file(home.layout.path("dev.json"));
    let own =
        Identity::of(std::process::id()).ok_or_else(|| SandboxError::Other("/proc is not there".into()))?;
    let text = serde_json::to_string(&own).map_err(|e| SandboxError::Other(e.to_string()))?;
    write_private(&home.layout.path("supervisor.json"), text.as_bytes())?;
    home.layout.write()?;

    let mut watched = Watched { home, engines, terreau: options.terreau.clone(), parts: vec![] };
    let started = tokio::select! {
        started = watched.bring_up() => started,
        _ = stop.wait_for(|s| *s) => { watched.end().await?; return Ok(()) }
    };
    if let Err(e) = started {
        // Nothing half started stays behind: the next start begins anew on the same folder.
        watched.end().await?;
        return Err(e);
    }
    let info = watched.home.info();
    let text = serde_json::to_string_pretty(&info).map_err(|e| SandboxError::Other(e.to_string()))?;
    write_private(&watched.home.layout.path("dev.json"), text.as_bytes())?;
    ready(&info);
    tokio::select! {
        () = watched.keep_up() => {}
        _ = stop.wait_for(|s| *s) => {}
    }
    watched.end().await
}

/// One part under supervision.
struct WatchedPart {
    part: Part,
    process: Identity,
    /// Reaped when it ends; none when it was taken over.
    child: Option<std::process::Child>,
    since: Instant,
    failures: u32,
    not_before: Instant,
}

struct Watched {
    home: Home,
    engines: Engines,
    terreau: PathBuf,
    parts: Vec<WatchedPart>,
}

impl Watched {
    async fn bring_up(&mut self) -> Result<(), SandboxError> {
        let patience = Duration::from_secs(90);
        for part in Part::ALL {
            self.take_over_or_start(part)?;
            // Nomad looks for Consul once at its start, then only every 15 s.
            if part == Part::Consul {
                let process = self.parts.last().map(|p| p.process.clone());
                if let Some(process) = process {
                    part.wait_open(&self.home.layout, &process, patience).await?;
                }
            }
            // The agent wants every engine.
            if part == Part::BEFORE_AGENT {
                self.all_ready(patience).await?;
            }
        }
        self.all_ready(patience).await
    }

    async fn all_ready(&mut self, patience: Duration) -> Result<(), SandboxError> {
        for i in 0..self.parts.len() {
            loop {
                let WatchedPart { part, process, .. } = &self.parts[i];
                let (part, process) = (*part, process.clone());
                if part.wait_ready(&self.home.layout, &process, patience).await? == Readiness::Ready {
                    break;
                }
                process.signal(Signal::KILL);
                process.gone_within(Duration::from_secs(5)).await;
                let (process, child) = self.launch(part)?;
                self.parts[i].process = process;
                self.parts[i].child = Some(child);
            }
        }
        Ok(())
    }

    fn take_over_or_start(&mut self, part: Part) -> Result<(), SandboxError> {
        let (process, child) = if let Some(living) = self.home.find(part) {
            tracing::info!(part = part.name(), pid = living.pid, "taken over");
            (living, None)
        } else {
            let (process, child) = self.launch(part)?;
            (process, Some(child))
        };
        let now = Instant::now();
        self.parts.push(WatchedPart { part, process, child, since: now, failures: 0, not_before: now });
        Ok(())
    }

    fn launch(&self, part: Part) -> Result<(Identity, std::process::Child), SandboxError> {
        if let Some((what, port)) = part.ports(self.home.layout.ports).into_iter().find(|(_, p)| !is_free(*p))
        {
            return Err(SandboxError::PortTaken { port, what });
        }
        let child = part.launch(&self.home.layout, &self.engines, &self.terreau).start(&self.home.mark)?;
        let process = Identity::of(child.id()).ok_or_else(|| SandboxError::Part {
            part: part.name(),
            message: "ended at once".into(),
            log: self.home.layout.log(part.name()),
        })?;
        tracing::info!(part = part.name(), pid = process.pid, "started");
        Ok((process, child))
    }

    /// Starts again what ends; never returns.
    async fn keep_up(&mut self) {
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tick.tick().await;
            for i in 0..self.parts.len() {
                self.look_after(i);
            }
        }
    }

    fn look_after(&mut self, i: usize) {
        let now = Instant::now();
        let watched = &mut self.parts[i];
        if let Some(child) = &mut watched.child {
            let _ = child.try_wait();
        }
        if watched.process.lives() || now < watched.not_before {
            return;
        }
        if now.duration_since(watched.since) > Duration::from_mins(1) {
            watched.failures = 0;
        }
        let part = watched.part;
        tracing::warn!(part = part.name(), pid = watched.process.pid, "ended; starting it again");
        let launched = self.launch(part);
        let watched = &mut self.parts[i];
        watched.failures += 1;
        // 0.25 s after the first time, up to 30 s when it ends again and again.
        let wait = Duration::from_millis(250 << watched.failures.min(7)).min(Duration::from_secs(30));
        watched.not_before = now + wait;
        match launched {
            Ok((process, child)) => {
                watched.process = process;
                watched.child = Some(child);
                watched.since = now;
            }
            Err(e) => tracing::error!(part = part.name(), "cannot start it again: {e}"),
        }
    }

    /// Ends everything and takes the folder out of service.
    async fn end(&mut self) -> Result<(), SandboxError> {
        let _ = std::fs::remove_file(self.home.layout.path("dev.json"));
        let home = &self.home;
        let parts = &mut self.parts;
        // Ours become zombies until they are waited for; `lives` knows that, and they go with us.
        let ended = home.end_all().await;
        for child in parts.iter_mut().filter_map(|p| p.child.as_mut()) {
            let _ = child.try_wait();
        }
        let _ = std::fs::remove_file(home.layout.path("supervisor.json"));
        ended
    }
}

/// Ends everything of a folder, also when its supervisor is gone. The data stays.
pub async fn stop(dir: &Path) -> Result<Stopped, SandboxError> {
    let Some(home) = Home::existing(dir)? else { return Ok(Stopped::Nothing) };
    if let Some(supervisor) = home.supervisor() {
        supervisor.signal(Signal::TERM);
        if !supervisor.gone_within(Duration::from_secs(90)).await {
            supervisor.signal(Signal::KILL);
            supervisor.gone_within(Duration::from_secs(5)).await;
        }
    }
    home.end_all().await?;
    let _ = std::fs::remove_file(home.layout.path("dev.json"));
    Ok(Stopped::Cluster)
}

/// What was there to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// A cluster.
    Cluster,
    /// None was ever started there.
    Nothing,
}

/// What runs in a folder.
pub async fn status(dir: &Path) -> Result<DevStatus, SandboxError> {
    let elsewhere: Vec<PathBuf> = elsewhere(dir).into_iter().map(|(dir, _)| dir).collect();
    let Some(home) = Home::existing(dir)? else {
        return Ok(DevStatus { dir: dir.to_owned(), supervisor: None, parts: vec![], info: None, elsewhere });
    };
    let mut parts = vec![];
    for part in Part::ALL {
        let pid = home.find(part).map(|p| p.pid);
        let ready = pid.is_some() && part.is_ready(&home.layout).await;
        let port = part.ports(home.layout.ports)[0].1;
        parts.push(PartStatus { part, pid, ready, port, log: home.layout.log(part.name()) });
    }
    let supervisor = home.supervisor().map(|s| s.pid);
    Ok(DevStatus { dir: home.layout.dir.clone(), supervisor, parts, info: home.ready_info(), elsewhere })
}

/// Makes another person, who may log in, unless they are there. Gives where everything is, as that person's.
pub async fn person(dir: &Path, login: &str) -> Result<DevInfo, SandboxError> {
    let home = Home::existing(dir)?.filter(|home| home.find(Part::Sandbox).is_some());
    let Some(home) = home else {
        let dir = dir.display();
        return Err(SandboxError::Other(format!("no cluster runs in {dir}: `terreau dev` starts one")));
    };
    let password_file = people::add(&home.layout, login).await?;
    Ok(DevInfo { user: login.to_owned(), password_file, ..home.info() })
}

/// Ends everything of a folder and removes what we put there; other files stay.
pub async fn reset(dir: &Path) -> Result<(), SandboxError> {
    let Some(home) = Home::existing(dir)? else { return Ok(()) };
    stop(dir).await?;
    for name in Layout::ENTRIES {
        let path = home.layout.path(name);
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(SandboxError::file("remove", &path)(e));
            }
            _ => {}
        }
    }
    // Only when nothing else lies there.
    let _ = std::fs::remove_dir(&home.layout.dir);
    Ok(())
}

/// The versions of what a cluster in a box is made of, in one line.
pub fn versions(dir: &Path) -> Result<String, SandboxError> {
    let engines = Engines::find(dir)?;
    Ok(format!(
        "nomad {}, consul {}, garage {} (embedded)",
        engines.nomad.version,
        engines.consul.version,
        garage::VERSION
    ))
}
