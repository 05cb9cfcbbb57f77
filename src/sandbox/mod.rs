//! What `terreau dev` supervises and embeds: a whole cluster on loopback, for development and tests.
//!
//! Apart from the house: nothing else may use this room, packages for production are built without it, and
//! nothing here is fit to face a network.

pub mod apps;
pub mod config;
pub mod dev;
pub mod directory;
pub mod engines;
mod files;
pub mod garage;
pub mod guard;
mod home;
pub mod http;
pub mod parts;
mod people;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod routes;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use self::directory::{DirectoryServerConfig, Seed, SeedPerson, SeedService};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Why a part of the sandbox did not start or work.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A file or folder could not be read or written.
    #[error("cannot {doing} {path}: {source}")]
    File {
        /// What was being done: "write".
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program that is needed is not there.
    #[error("{0}")]
    Missing(String),
    /// A port is in use by somebody else.
    #[error("port {port} ({what}) is in use by another program: stop that program, or choose another folder")]
    PortTaken {
        /// The port.
        port: u16,
        /// What it is for.
        what: &'static str,
    },
    /// A part stopped or never became ready.
    #[error("{part} {message}; its log: {log}")]
    Part {
        /// Which part.
        part: &'static str,
        /// What happened.
        message: String,
        /// Where to look.
        log: PathBuf,
    },
    /// The embedded Garage refused something.
    #[error("garage: {doing}: {message}")]
    Garage {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        message: String,
    },
    /// Anything else, said in full.
    #[error("{0}")]
    Other(String),
}

impl SandboxError {
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }
}

/// What `terreau sandbox` reads: Garage and the directory, in one process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxConfig {
    /// The embedded Garage.
    pub garage: garage::GarageConfig,
    /// The embedded directory.
    pub directory: DirectoryAt,
}

/// The embedded directory, and who is in it at first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryAt {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The suffix.
    pub base: String,
    /// The folder that keeps the tree.
    pub data: PathBuf,
    /// The login of a person who may do everything.
    pub user: String,
    /// The file with that person's password.
    pub password_file: PathBuf,
    /// The file with the password of the agent's account, `cn=terreau`.
    pub service_password_file: PathBuf,
}

impl DirectoryAt {
    /// The server's configuration; the passwords are read from their files.
    fn server(&self) -> Result<DirectoryServerConfig, SandboxError> {
        let secret = |path: &Path| -> Result<secrecy::SecretString, SandboxError> {
            Ok(std::fs::read_to_string(path).map_err(SandboxError::file("read", path))?.trim().into())
        };
        let group = str::to_owned;
        let mut config = DirectoryServerConfig::new(self.listen, self.base.clone(), self.data.clone());
        config.seed = Seed {
            people: vec![SeedPerson {
                login: self.user.clone(),
                password: secret(&self.password_file)?,
                mail: Some(format!("{}@localhost", self.user)),
                groups: vec![group("login"), group("admin")],
            }],
            services: vec![SeedService {
                cn: "terreau".to_owned(),
                password: secret(&self.service_password_file)?,
                groups: vec![group("admin")],
            }],
            groups: vec![group("login"), group("admin")],
        };
        Ok(config)
    }
}

/// Runs the embedded engines until `stop` turns true, or one of them fails.
pub async fn run(config: SandboxConfig, stop: watch::Receiver<bool>) -> Result<(), SandboxError> {
    let listen = config.directory.listen;
    // First: Garage's S3, opened last, tells the others that all is there.
    let directory = directory::serve(config.directory.server()?)
        .await
        .map_err(|e| SandboxError::Other(format!("the directory cannot serve on {listen}: {e}")))?;
    let ended = garage::serve(config.garage, stop).await;
    directory.shutdown().await;
    ended
}

/// Turns true at SIGTERM, SIGINT or SIGHUP.
pub fn stop_signal() -> Result<watch::Receiver<bool>, SandboxError> {
    use tokio::signal::unix::{SignalKind, signal};
    let (send, receive) = watch::channel(false);
    let hook =
        |kind| signal(kind).map_err(|e| SandboxError::Other(format!("cannot listen for signals: {e}")));
    let (mut term, mut int, mut hup) =
        (hook(SignalKind::terminate())?, hook(SignalKind::interrupt())?, hook(SignalKind::hangup())?);
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => (), _ = int.recv() => (), _ = hup.recv() => () }
        let _ = send.send(true);
    });
    Ok(receive)
}
