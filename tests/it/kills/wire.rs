//! A way to an engine on which one request has bad luck.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::PATIENCE;

/// What becomes of the first request that holds certain bytes. Everything else passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    /// It waits until it is released.
    Held,
    /// Its connection is cut, and the engine never hears of it.
    Cut,
    /// The engine hears of it and answers, and the answer is lost.
    Deaf,
}

/// A way to an engine.
pub(crate) struct Wire {
    pub(crate) url: String,
    state: watch::Sender<State>,
}

/// How far that request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It has not been seen.
    Open,
    /// It is here, or was cut here.
    Stuck,
    /// It may go on.
    Released,
    /// The engine has answered to it.
    Answered,
}

impl Wire {
    /// A slow one: the request waits.
    pub(crate) async fn holding(url: &str, needle: &'static [u8]) -> Self {
        Self::start(url, needle, Luck::Held).await
    }

    /// One that breaks under the request, once.
    pub(crate) async fn cutting(url: &str, needle: &'static [u8]) -> Self {
        Self::start(url, needle, Luck::Cut).await
    }

    /// One that loses the answer to the request, once.
    pub(crate) async fn losing(url: &str, needle: &'static [u8]) -> Self {
        Self::start(url, needle, Luck::Deaf).await
    }

    async fn start(url: &str, needle: &'static [u8], luck: Luck) -> Self {
        let (scheme, engine) = url.split_once("://").unwrap();
        let engine = engine.trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (state, _) = watch::channel(State::Open);
        let wire = Self { url: format!("{scheme}://{at}"), state: state.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, engine.clone(), (needle, luck), state.clone()));
            }
        });
        wire
    }

    pub(crate) async fn wait_for(&self, state: State) {
        let mut now = self.state.subscribe();
        let waited = tokio::time::timeout(PATIENCE, now.wait_for(|s| *s == state)).await;
        waited.unwrap_or_else(|_| panic!("{}: the request was never {state:?}", self.url)).unwrap();
    }

    /// Lets the request go on, and waits until the engine has answered to it.
    pub(crate) async fn release(&self) {
        self.state.send_replace(State::Released);
        self.wait_for(State::Answered).await;
    }
}

fn step(state: &watch::Sender<State>, from: State, to: State) -> bool {
    state.send_if_modified(|s| {
        let is_now = *s == from;
        if is_now {
            *s = to;
        }
        is_now
    })
}

async fn carry(
    client: TcpStream,
    engine: String,
    (needle, luck): (&'static [u8], Luck),
    state: watch::Sender<State>,
) {
    let Ok(engine) = TcpStream::connect(engine).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_engine, mut to_engine) = engine.into_split();
    let there = async {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from_client.read(&mut bytes).await {
            let is_it = bytes[..n].windows(needle.len()).any(|w| w == needle);
            if is_it && step(&state, State::Open, State::Stuck) {
                if luck == Luck::Cut {
                    return;
                }
                if luck == Luck::Deaf {
                    state.send_replace(State::Released);
                } else {
                    let mut now = state.subscribe();
                    let _ = now.wait_for(|s| *s == State::Released).await;
                }
            }
            if to_engine.write_all(&bytes[..n]).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from_engine.read(&mut bytes).await {
            if step(&state, State::Released, State::Answered) && luck == Luck::Deaf {
                return;
            }
            if to_client.write_all(&bytes[..n]).await.is_err() {
                return;
            }
        }
    };
    // Whichever side ends it, both are dropped.
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}
