//! Programs that run once: what they read and say, and what ends them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc;

use super::super::Api;
use super::super::caller::Caller;
use super::super::problem::Fail;
use super::super::tunnel::{Ears, Heard, Mouth};
use super::refused;
use crate::deploy::{Fed, RunOutput};
use crate::model::Placement;
use crate::model::wire::{ProblemCode, RunBegin, ToClient, ToServer, channel};

/// How long a run whose time is over may take to say its last words.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Pieces of input that wait until it has begun, or reads on.
const WAITING: usize = 16;

pub(super) async fn once(
    api: &Api,
    caller: &Caller,
    app: &Placement,
    what: &RunBegin,
    mut ears: Ears,
    mouth: &Mouth,
) {
    let run = match api.deployer.run_once(&caller.by(), app, what).await {
        Ok(run) => run,
        Err(e) => return mouth.fail(e).await,
    };
    mouth.say(&ToClient::Started(run.started())).await;
    if what.detach {
        mouth.say(&ToClient::Exit(0)).await;
        return;
    }
    let (tx, rx) = mpsc::channel(WAITING);
    let is_over = AtomicBool::new(false);
    let over = || {
        let why = format!("ended after {} s, its time", run.time().as_secs());
        Fail::new(ProblemCode::Conflict, why).hint("--timeout allows more")
    };
    let telling = async {
        let mut output = match api.deployer.run_output(&run).await {
            Ok(output) => output,
            Err(e) => return mouth.fail(e).await,
        };
        while let Some(said) = output.next().await {
            let goes_on = match said {
                Ok(RunOutput::Stdout(bytes)) => mouth.bytes(channel::OUTPUT, &bytes).await,
                Ok(RunOutput::Stderr(bytes)) => mouth.bytes(channel::ERRORS, &bytes).await,
                Ok(RunOutput::Exited(_)) if is_over.load(Ordering::Relaxed) => {
                    return mouth.fail(over()).await;
                }
                Ok(RunOutput::Exited(code)) => mouth.say(&ToClient::Exit(code)).await,
                Err(e) => return mouth.fail(e).await,
            };
            if !goes_on {
                return;
            }
        }
    };
    let stopping = async {
        loop {
            match ears.next().await {
                Heard::Said(ToServer::Stop) => {
                    if let Err(e) = api.deployer.stop_run(&run).await {
                        tracing::warn!(error = %e, "a run was not stopped; it is purged with its client");
                    }
                }
                Heard::Gone => return,
                // Once it reads nothing any more, nobody takes what still comes.
                Heard::Bytes(channel::INPUT, bytes) => drop(tx.send(Fed::Bytes(bytes)).await),
                Heard::Said(ToServer::Eof) => drop(tx.send(Fed::End).await),
                _ => {}
            }
        }
    };
    let feeding = async {
        if what.input
            && let Err(e) = api.deployer.feed_run(&run, rx).await
        {
            return mouth.fail(e).await;
        }
        std::future::pending::<()>().await;
    };
    let timed = async {
        tokio::time::sleep(run.time()).await;
        is_over.store(true, Ordering::Relaxed);
        if let Err(e) = api.deployer.stop_run(&run).await {
            tracing::warn!(error = %e, "a run was not stopped; it is purged with its client");
        }
        // What it still says is told first.
        tokio::time::sleep(LAST_WORDS).await;
        mouth.fail(over()).await;
    };
    tokio::select! {
        () = telling => {}
        () = stopping => {}
        () = feeding => {}
        // While it takes no input, nobody hears the client.
        () = mouth.gone() => {}
        () = timed => {}
        () = caller.until_refused(api) => mouth.fail(refused(api)).await,
    }
    api.deployer.purge_run(&run).await;
}
