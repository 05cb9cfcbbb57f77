//! An embedded directory for `terreau dev` and the tests: Bottin's tree, rules and answers over plain LDAP.
//!
//! Schema-less, with Bottin's ACL grammar, `memberof`, operational attributes and hashes, kept on disk so that a
//! kill loses nothing that was answered. It listens on loopback only and must never be reachable from elsewhere:
//! it speaks no TLS. The protocol is `ldap3_proto`'s (RFC 4511); Bottin's behaviour was learnt from its manual
//! and from clusters that run it.

pub mod acl;
mod filter;
mod journal;
pub(super) mod seed;
mod session;
mod store;
mod tree;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use ldap3_proto::proto::LdapMsg;
use ldap3_proto::{DisconnectionNotice, LdapCodec, LdapResultCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::codec::Framed;

pub use self::seed::{Seed, SeedPerson, SeedService};

use self::acl::Acl;
use self::session::{Next, Session};
use self::store::Store;
use crate::clock::{SharedClock, SystemClock};
use crate::engines::directory::dn;

/// BER nesting allowed in a message: a filter within a filter takes one level.
const DEPTH_MAX: usize = 64;

/// Where the directory listens and what it holds.
#[derive(Debug)]
pub struct DirectoryServerConfig {
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The suffix: `dc=terreau,dc=localhost`.
    pub base: String,
    /// The folder that keeps the tree.
    pub data: PathBuf,
    /// Bottin's rules; [`Acl::lines_for`] the base where none are given.
    pub acl: Option<Vec<String>>,
    /// Written where the tree is empty.
    pub seed: Seed,
    /// How old a tree binds and reads see. Bottin's can be a second or two.
    pub stale_reads: Duration,
    /// What tells the age of a write.
    pub clock: SharedClock,
    /// What one client may take.
    pub limits: Limits,
}

impl DirectoryServerConfig {
    /// With the usual rules, no seed, fresh reads, the system's clock and the usual limits.
    pub fn new(listen: SocketAddr, base: impl Into<String>, data: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            base: base.into(),
            data: data.into(),
            acl: None,
            seed: Seed::default(),
            stale_reads: Duration::ZERO,
            clock: Arc::new(SystemClock),
            limits: Limits::default(),
        }
    }
}

/// Bounds on what a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; more are closed as they come.
    pub connections: usize,
    /// Size of a request, in bytes.
    pub message: usize,
    /// How long a connection may say nothing, or leave a request or an answer half done.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 128, message: 1 << 20, idle: Duration::from_mins(10) }
    }
}

/// A running directory. Dropping it stops it too, without waiting.
#[derive(Debug)]
pub struct DirectoryServer {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl DirectoryServer {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops listening, ends all connections and lets go of the folder.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        // It ends by itself; were it to panic, there is nothing left to stop.
        let _ = self.task.await;
    }
}

/// Opens the folder, writes the seed where the tree is empty, and serves. Errors: an address that is not
/// loopback or is taken, a wrong base, rule or seed ([`io::ErrorKind::InvalidInput`]), a folder that is in use
/// or damaged.
pub async fn serve(config: DirectoryServerConfig) -> io::Result<DirectoryServer> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    if !config.listen.ip().is_loopback() {
        return Err(wrong(format!(
            "the embedded directory speaks no TLS and listens on loopback only, not {}",
            config.listen
        )));
    }
    let base = dn::canonical(&config.base).map_err(|e| wrong(e.to_string()))?;
    let lines = config.acl.unwrap_or_else(|| Acl::lines_for(&base));
    let acl = Arc::new(Acl::parse(&lines).map_err(|e| wrong(e.to_string()))?);
    let listener = TcpListener::bind(config.listen).await?;
    let addr = listener.local_addr()?;
    let (data, lag, clock, seed) = (config.data, config.stale_reads, config.clock, config.seed);
    let opening = move || -> io::Result<Store> {
        let store = Store::open(&data, &base, lag, clock)?;
        seed::plant(&store, &base, &seed)?;
        Ok(store)
    };
    let store = Arc::new(tokio::task::spawn_blocking(opening).await.map_err(io::Error::other)??);
    let (stop, stopped) = watch::channel(false);
    let session = Session::new(store, acl);
    let task = tokio::spawn(accept(listener, session, config.limits, stopped));
    Ok(DirectoryServer { addr, stop, task })
}

async fn accept(listener: TcpListener, session: Session, limits: Limits, mut stopped: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            // An error says that the handle was dropped: the same.
            _ = stopped.changed() => break,
            // Ended ones are collected as they end; one that panicked took only itself along.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: give those in use the time to end.
                    tracing::warn!(%error, "the directory cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            tracing::warn!("the directory has no room for another connection");
            continue;
        };
        let session = session.clone();
        connections.spawn(async move {
            if let Err(error) = converse(stream, session, limits).await {
                tracing::debug!(%error, "a connection to the directory ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    connections.shutdown().await;
}

async fn converse(stream: TcpStream, mut session: Session, limits: Limits) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut wire = Framed::new(stream, LdapCodec::new(Some(limits.message), Some(DEPTH_MAX)));
    loop {
        let message = match tokio::time::timeout(limits.idle, wire.next()).await {
            Err(_) | Ok(None) => return Ok(()),
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => {
                goodbye(&mut wire, "this is not LDAP, or too much of it").await;
                return Err(error);
            }
        };
        let next;
        (session, next) = tokio::task::spawn_blocking(move || {
            let next = session.handle(message);
            (session, next)
        })
        .await
        .map_err(io::Error::other)?;
        match next {
            Next::Answer(answers) => {
                let sending = send(&mut wire, answers);
                tokio::time::timeout(limits.idle, sending).await.map_err(|_| io::ErrorKind::TimedOut)??;
            }
            Next::Close => return Ok(()),
            Next::ProtocolError => {
                goodbye(&mut wire, "only a server says this").await;
                return Ok(());
            }
        }
    }
}

async fn send(wire: &mut Framed<TcpStream, LdapCodec>, answers: Vec<LdapMsg>) -> io::Result<()> {
    for answer in answers {
        wire.feed(answer).await?;
    }
    wire.flush().await
}

/// A notice of disconnection (RFC 4511, 4.4.1), where the client still listens.
async fn goodbye(wire: &mut Framed<TcpStream, LdapCodec>, why: &str) {
    let notice = DisconnectionNotice::gen_response(LdapResultCode::ProtocolError, why);
    let _ = tokio::time::timeout(Duration::from_secs(1), wire.send(notice)).await;
}
