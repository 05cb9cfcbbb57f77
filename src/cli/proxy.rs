//! `terreau proxy`: a port of this machine that leads to one of an instance, each connection through a tunnel of its own.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use super::args::ProxyArgs;
use super::client::{Client, app_path};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::shapes::Proxied;
use super::tunnel::{self, Heard};
use super::{local, waiting};
use crate::model::wire::{ConnectBegin, ToServer, channel};

/// Connections at once; more wait. A server takes 128 of one person.
const CONNECTIONS: usize = 96;

/// Runs it.
pub fn run(args: &ProxyArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?.tunnel()?;
    let path = app_path(&app, "/connect");
    let purpose = Some(hex::encode(rand::random::<[u8; 8]>()));
    let idle_seconds = args.idle.and_then(|i| u32::try_from(i.as_secs()).ok());
    let what =
        ConnectBegin { which: args.which.which(), port: args.port.remote.clone(), purpose, idle_seconds };
    waiting(async {
        // What is wrong is said now, and not at the first connection.
        let (mut mouth, _, started) = tunnel::open(&client, &path, &ToServer::Connect(what.clone())).await?;
        mouth.close().await;
        let listener = TcpListener::bind(("127.0.0.1", args.port.local)).await.map_err(|e| {
            Failure::failed(format!("cannot listen at 127.0.0.1:{}", args.port.local))
                .because(e.to_string())
                .hint("choose another local port: LOCAL:PORT")
        })?;
        let address = listener
            .local_addr()
            .map_err(|e| Failure::failed("cannot tell the port").because(e.to_string()))?;
        if args.json {
            cx.printer.json(&Proxied { address: address.to_string(), instance: started.instance.clone() })?;
        } else {
            cx.printer.data(address)?;
            let (port, at) = (harmless(&args.port.remote), harmless(&started.instance));
            cx.printer.say(format!("leads to {port} of {at} until Ctrl-C"));
        }
        // The same instance for all, as long as it is not chosen by process.
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        // One for all: a Ctrl-C between two waits is not lost.
        let mut interrupted = signal(SignalKind::interrupt())
            .map_err(|e| Failure::failed("cannot listen for Ctrl-C").because(e.to_string()))?;
        let next = async || {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        loop {
            tokio::select! {
                (place, accepted) = next() => {
                    let (stream, _) = match accepted {
                        Ok(accepted) => accepted,
                        Err(e) => {
                            cx.printer.warn(format!("a connection was not accepted: {e}"));
                            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                            continue;
                        }
                    };
                    let (client, path, what, printer) = (client.clone(), path.clone(), what.clone(), cx.printer);
                    tokio::spawn(async move {
                        if let Err(failure) = carry(&client, &path, what, stream).await {
                            printer.warn(format!("a connection failed: {}", harmless(&failure.message)));
                        }
                        drop(place);
                    });
                }
                Some(()) = interrupted.recv() => return Ok(ExitStatus::Done),
            }
        }
    })
}

/// Carries one connection until both ways have ended.
async fn carry(client: &Client, path: &str, what: ConnectBegin, stream: TcpStream) -> Result<(), Failure> {
    let _ = stream.set_nodelay(true);
    let (mut mouth, mut ears, _) = tunnel::open(client, path, &ToServer::Connect(what)).await?;
    let (mut reader, mut writer) = stream.into_split();
    let up = async {
        let mut buffer = vec![0; 32 << 10];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) => return mouth.say(&ToServer::Eof).await,
                Ok(n) => mouth.bytes(channel::INPUT, &buffer[..n]).await?,
                // Whoever broke it here knows.
                Err(_) => return Err(Failure::closed_pipe()),
            }
        }
    };
    let down = async {
        loop {
            match ears.next().await? {
                Heard::Bytes(_, bytes) => {
                    if writer.write_all(&bytes).await.is_err() {
                        return Err(Failure::closed_pipe());
                    }
                }
                Heard::Eof => {
                    let _ = writer.shutdown().await;
                    return Ok(());
                }
                Heard::Exit(_) => return Ok(()),
            }
        }
    };
    let ended = tokio::try_join!(up, down);
    mouth.close().await;
    match ended {
        Err(failure) if !failure.is_silent() => Err(failure),
        _ => Ok(()),
    }
}
