//! Starts the agent, and ends it so that nothing is left half-way.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::buckets;
use super::config::{Config, LogFormat};
use crate::access::Access;
use crate::api::{self, Prepared};
use crate::clock;
use crate::deploy::hooks::{Courier, Teller};
use crate::deploy::{Deployer, DriftWatch, Keeper};
use crate::engines::EngineError;
use crate::engines::consul::Consul;
use crate::engines::directory::Directory;
use crate::engines::garage::{Admin, S3};
use crate::engines::nomad::Nomad;
use crate::loops::{Beat, Kind, Loops, Turn};
use crate::operation::run::fresh_uid;
use crate::operation::{AgentSession, Announced, Runner, announce, export, leader};
use crate::resources::Hands;
use crate::store::{Objects, Store, keys};
use crate::world::World;

/// How long the door stays shut for the engines' sake.
const PREPARED: Duration = Duration::from_secs(1);
/// How often it is looked which engines are ready, and whether this agent leads.
const LOOK: Duration = Duration::from_secs(5);
/// How often a leader purges one-off commands that nobody waits for.
const TIDY: Duration = Duration::from_mins(1);
/// How often it deletes sessions that have expired, uploads that nobody ended, and records of agents that are gone.
const CLEAR: Duration = Duration::from_mins(10);
const READINESS: Kind = Kind { name: "readiness", what: "looks which engines answer", every: LOOK };
const TIDIER: Kind = Kind {
    name: "tidy",
    what: "takes away expired logins, forgotten uploads and one-off commands",
    every: TIDY,
};

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address is taken, or none of this machine's.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A setting of an engine is wrong.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Signals cannot be heard.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

/// Runs the agent until SIGTERM or SIGINT.
pub async fn run(config: Config) -> Result<(), RunError> {
    start_logs(&config);
    let stop = stop_signal().map_err(RunError::Signals)?;
    run_until(config, stop).await
}

/// Runs the agent until `stop`.
pub async fn run_until(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    // First, so that a second agent at one address says so at once.
    let address = config.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })?;
    let address = listener.local_addr().unwrap_or(address);
    let pages = match config.pages {
        None => None,
        Some(at) => match TcpListener::bind(at).await {
            Ok(listener) => Some(listener),
            Err(source) => return Err(RunError::Listen { address: at, source }),
        },
    };

    let nomad = Nomad::new(&config.nomad.address, config.nomad.token.clone(), None, &config.nomad.options)?;
    let consul = Consul::new(&config.consul.address, config.consul.token.clone(), &config.consul.options)?;
    let directory = Directory::new(config.directory.clone())?;
    let g = &config.garage;
    let garage = Admin::new(&g.admin, g.admin_token.clone(), &g.options)?;
    let s3 = S3::with_options(&g.s3, &g.region, &g.key_id, g.key_secret.clone(), &g.options)?;
    let clock = clock::system();

    let loops = Loops::new(clock.clone());

    // What runs as long as the agent has a session; it outlives the door.
    let background = CancellationToken::new();
    // Engines start in any order: an agent without one of them serves, and says which.
    let session = AgentSession::begin(consul.clone().aside(), format!("terreau {}", config.name), &loops);
    let objects = Objects::new(s3.clone(), &g.records);
    let hands = Hands {
        nomad: nomad.clone(),
        consul: consul.clone(),
        directory: directory.clone(),
        garage: garage.clone(),
        s3,
        s3_key: g.key_id.clone(),
        artifacts: g.artifacts.clone(),
        objects: objects.clone(),
        world: World::start(nomad.clone(), consul.clone(), &loops, background.clone()),
        cluster: config.cluster.clone(),
    };
    let id = fresh_uid(clock.now());
    let store = Store::new(consul.clone(), objects.clone());
    let runner = Runner::new(hands, store, session.clone(), id.clone(), clock.clone(), loops.clone());
    let access =
        Access::new(directory.clone(), consul.clone(), clock, config.law.clone(), config.access.clone());

    let (at, host, admin) = (config.garage.clone(), config.cluster.artifacts_host.clone(), garage.clone());
    let (until, own) = (background.clone(), objects.clone());
    let (is_prepared, mut prepared) = watch::channel(Prepared::NotYet(None));
    tokio::spawn(async move {
        let prepare = || async {
            buckets::prepare(&admin, &at, &host).await?;
            own.probe().await
        };
        let told = |e: &EngineError| drop(is_prepared.send(Prepared::NotYet(Some(e.clone()))));
        if persistently("prepare Garage", &until, prepare, told).await.is_some() {
            let _ = is_prepared.send(Prepared::Yes);
            // Kept until the end: the receivers ask the channel.
            until.cancelled().await;
        }
    });
    let pages_at = pages.as_ref().and_then(|l| l.local_addr().ok());
    let courier = Courier::new(config.webhooks.clone());
    let deployer = Deployer::new(runner.clone()).with_courier(courier.clone()).with_pages(pages_at);
    leader::start(&runner, address.to_string(), background.clone());
    export::start(&runner, background.clone());
    Keeper::start(&runner, background.clone());
    let drift = DriftWatch::start(&runner, background.clone());
    Teller::start(&runner, courier, background.clone());
    announce(&runner, Announced { address: address.to_string(), pages: pages_at }, background.clone());
    let tidied = Arc::new(Tidied { access: access.clone(), deployer: deployer.clone() });
    let until = background.clone();
    loops.spawn(TIDIER, move |beat| tidy(tidied.clone(), beat, until.clone()));

    let probes = api::Probes::new(api::Probed {
        nomad: nomad.aside(),
        consul: consul.clone().aside(),
        session: session.clone(),
        directory,
        account: config.directory.bind_dn.clone(),
        garage,
        objects,
        prepared: prepared.clone(),
    });
    let (asked, until) = (probes.clone(), background.clone());
    loops.spawn(READINESS, move |beat| tell_readiness(asked.clone(), beat, until.clone()));
    let serving_pages =
        pages.map(|listener| tokio::spawn(api::serve(listener, api::pages(deployer.clone()), stop.clone())));
    let router = api::router(api::Parts {
        access,
        deployer,
        probes,
        shares: api::Shares::default(),
        metrics: api::Metrics::new(loops, drift),
        metrics_token: config.metrics_token.clone(),
        cluster: config.cluster.name.clone(),
        stop: stop.clone(),
    });
    // So that who starts an agent beside engines that are well finds it ready. Otherwise it says what is missing.
    let ready = async {
        drop(prepared.wait_for(|p| matches!(p, Prepared::Yes)).await);
        session.wait().await
    };
    let _ = tokio::time::timeout(PREPARED, ready).await;
    tracing::info!(%address, agent = %id, cluster = config.cluster.name, "serving");
    api::serve(listener, router, stop).await;
    if let Some(serving) = serving_pages {
        drop(serving.await);
    }

    tracing::info!("stopping: operations end the step in hand");
    background.cancel();
    runner.stop().await;
    if let Err(e) = consul.kv_delete(&keys::agent(&id)).await {
        tracing::warn!(error = %e, "the agent's record stays until a leader finds it");
    }
    session.end().await;
    tracing::info!("stopped");
    Ok(())
}

/// Tries until it works, or until `stop` (`None`): engines start in any order.
async fn persistently<T, F: Future<Output = Result<T, EngineError>>>(
    what: &str,
    stop: &CancellationToken,
    mut work: impl FnMut() -> F,
    told: impl Fn(&EngineError),
) -> Option<T> {
    let mut pause = Duration::from_millis(100);
    loop {
        tokio::select! {
            () = stop.cancelled() => return None,
            tried = work() => match tried {
                Ok(done) => return Some(done),
                Err(e) => {
                    tracing::warn!(error = %e, "cannot {what} yet; tried again in {pause:?}");
                    told(&e);
                }
            },
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// Writes to the log which engine is not ready, and when that changes.
async fn tell_readiness(probes: api::Probes, beat: Beat, stop: CancellationToken) {
    let mut told = std::collections::BTreeMap::new();
    loop {
        let now = Box::pin(probes.ask()).await.engines;
        for (engine, state) in &now {
            let before = told.get(engine);
            match state.as_str() {
                "ok" if before.is_some_and(|b| b != "ok") => {
                    tracing::info!(engine, "an engine is ready again");
                }
                "ok" => {}
                state if before.is_none_or(|b| b != state) => {
                    tracing::warn!(engine, state, "an engine is not ready");
                }
                _ => {}
            }
        }
        told = now;
        beat.works();
        if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

struct Tidied {
    access: Access,
    deployer: Deployer,
}

/// As leader, takes away what nobody waits for any more: one-off commands each time, the rest from time to time.
async fn tidy(what: Arc<Tidied>, beat: Beat, stop: CancellationToken) {
    let mut cleared: Option<tokio::time::Instant> = None;
    loop {
        let is_due = cleared.is_none_or(|at| at.elapsed() >= CLEAR);
        let pause = match beat.turned(pass(&what, is_due).await) {
            Turn::Worked => {
                cleared = if is_due { Some(tokio::time::Instant::now()) } else { cleared };
                TIDY
            }
            Turn::Rested | Turn::Failed => LOOK,
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// `false`: this agent does not lead.
async fn pass(what: &Tidied, clears: bool) -> Result<bool, crate::deploy::Error> {
    let runner = what.deployer.runner();
    if !runner.leads().await? {
        return Ok(false);
    }
    let count = what.deployer.purge_runs().await?;
    if count > 0 {
        tracing::info!(count, "one-off commands that nobody waits for were purged");
    }
    if !clears {
        return Ok(true);
    }
    let consul = runner.store().consul();
    for record in consul.kv_list(keys::AGENTS).await? {
        if record.session.is_none() {
            consul.kv_delete_cas(&record.key, record.modify_index).await?;
        }
    }
    let ended = what.access.sweep().await?;
    if ended > 0 {
        tracing::info!(ended, "expired logins were deleted");
    }
    let given_up = what.deployer.uploads_sweep().await?;
    if given_up > 0 {
        tracing::info!(given_up, "uploads that nobody ended were deleted");
    }
    Ok(true)
}

fn start_logs(config: &Config) {
    // Checked when the configuration was read. Libraries that would show what they send are kept quiet.
    let wanted: Targets = config.log_level.parse().unwrap_or_default();
    let quiet = ["aws_", "ldap3", "hyper", "reqwest", "rustls", "h2"];
    let wanted = wanted.with_targets(quiet.map(|t| (t, tracing::Level::WARN)));
    let registry = tracing_subscriber::registry().with(wanted);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match config.log_format {
        LogFormat::Lines => registry.with(lines.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logs were started before");
    }
}

fn stop_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => (), _ = int.recv() => () }
        token.cancel();
    });
    Ok(stop)
}
