//! A connection to a port of an instance: bytes both ways, each way ended by itself.

use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::Api;
use super::super::caller::Caller;
use super::super::problem::Fail;
use super::super::tunnel::{Ears, Heard, Mouth};
use super::{Activity, idle};
use crate::model::Placement;
use crate::model::wire::{ConnectBegin, ProblemCode, ToClient, ToServer, channel};

/// How long a connection may be without a byte either way, where nobody says otherwise.
const IDLE: Duration = Duration::from_hours(1);

pub(super) async fn connect_to(
    api: &Api,
    caller: &Caller,
    app: &Placement,
    what: &ConnectBegin,
    ears: Ears,
    mouth: &Mouth,
) {
    let (at, stream) = match api.deployer.connect(&caller.by(), app, what).await {
        Ok(connected) => connected,
        Err(e) => return mouth.fail(e).await,
    };
    if !mouth.say(&ToClient::Started(at.started())).await {
        return;
    }
    let (activity, limit) = (Activity::new(), idle(what.idle_seconds, IDLE));
    tokio::select! {
        ended = carry(stream, ears, mouth, &activity) => {
            if let Err(Some(e)) = ended {
                let why = format!("{at} broke the connection: {e}");
                mouth.fail(Fail::new(ProblemCode::EngineAway, why)).await;
            }
        }
        // While the instance takes nothing, nobody hears the client.
        () = mouth.gone() => {}
        () = activity.until_idle(limit) => {
            let why = format!("ended after {} s without a byte", limit.as_secs());
            mouth.fail(Fail::new(ProblemCode::Conflict, why).hint("--idle allows more")).await;
        }
    }
}

/// Carries bytes until both ways have ended. `Err(None)`: the client has gone.
async fn carry(
    stream: TcpStream,
    mut ears: Ears,
    mouth: &Mouth,
    activity: &Activity,
) -> Result<(), Option<std::io::Error>> {
    let (mut reader, mut writer) = stream.into_split();
    let there = async {
        let mut buffer = vec![0; 32 << 10];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) => {
                    mouth.say(&ToClient::Eof).await;
                    return Ok(());
                }
                Ok(n) if mouth.bytes(channel::INPUT, &buffer[..n]).await => activity.note(),
                Ok(_) => return Err(None),
                Err(e) => return Err(Some(e)),
            }
        }
    };
    let here = async {
        loop {
            match ears.next().await {
                Heard::Bytes(channel::INPUT, bytes) => {
                    writer.write_all(&bytes).await.map_err(Some)?;
                    activity.note();
                }
                Heard::Said(ToServer::Eof) => {
                    writer.shutdown().await.map_err(Some)?;
                    return Ok(ears);
                }
                _ => return Err(None),
            }
        }
    };
    let (mut there, mut here) = (pin!(there), pin!(here));
    tokio::select! {
        ended = &mut there => match ended {
            Ok(()) => here.await.map(drop),
            Err(e) => Err(e),
        },
        ended = &mut here => match ended {
            Ok(mut ears) => tokio::select! {
                ended = there => ended,
                // It has said all that it had to say: what comes now is its going.
                _ = ears.next() => Err(None),
            },
            Err(e) => Err(e),
        },
    }
}
