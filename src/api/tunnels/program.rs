//! Programs in living instances: what they read and say, and what ends them.

use std::time::Duration;

use super::super::Api;
use super::super::caller::Caller;
use super::super::problem::Fail;
use super::super::tunnel::{Ears, Heard, Mouth};
use super::{Activity, idle, refused};
use crate::deploy::Program;
use crate::engines::nomad::ExecOutput;
use crate::model::Placement;
use crate::model::wire::{CopyBegin, ExecBegin, ProblemCode, Started, ToClient, ToServer, channel};

/// How long a program may be without a byte either way, where nobody says otherwise.
const IDLE: Duration = Duration::from_mins(30);
/// How often Nomad is told that we are there.
const BEAT: Duration = Duration::from_secs(10);

pub(super) async fn exec(
    api: &Api,
    caller: &Caller,
    app: &Placement,
    what: &ExecBegin,
    ears: Ears,
    mouth: &Mouth,
) {
    match api.deployer.exec(&caller.by(), app, what).await {
        Ok(program) => {
            mouth.say(&ToClient::Started(program.at.started())).await;
            attend((api, caller), program, idle(what.idle_seconds, IDLE), ears, mouth).await;
        }
        Err(e) => mouth.fail(e).await,
    }
}

pub(super) async fn copy(
    api: &Api,
    caller: &Caller,
    app: &Placement,
    what: &CopyBegin,
    ears: Ears,
    mouth: &Mouth,
) {
    match api.deployer.copy(&caller.by(), app, what).await {
        Ok((program, is_folder)) => {
            mouth.say(&ToClient::Started(Started { is_folder, ..program.at.started() })).await;
            attend((api, caller), program, IDLE, ears, mouth).await;
        }
        Err(e) => mouth.fail(e).await,
    }
}

/// Hands input and output on until the program ends, or its session does.
async fn attend(
    (api, caller): (&Api, &Caller),
    mut program: Program,
    limit: Duration,
    ears: Ears,
    mouth: &Mouth,
) {
    let Program { at, input, output, ended, .. } = &mut program;
    let activity = Activity::new();
    let listening = async {
        // Input that the program does not take any more is no end: its own end is still to be told.
        if listen(ears, input, ended, &activity).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let telling = async {
        loop {
            let (channel, bytes) = match output.next().await {
                Ok(ExecOutput::Stdout(bytes)) => (channel::OUTPUT, bytes),
                Ok(ExecOutput::Stderr(bytes)) => (channel::ERRORS, bytes),
                Ok(ExecOutput::Exited(code)) => {
                    mouth.say(&ToClient::Exit(code)).await;
                    return true;
                }
                Err(e) => {
                    // Nomad tells no end where the program ended while it had input for it: whichever it notes first counts.
                    let lost = "its exit code is not known: it may have ended by itself, with input still on its way";
                    mouth.fail(broken(&at.to_string(), &e).hint(lost)).await;
                    return false;
                }
            };
            if !mouth.bytes(channel, &bytes).await {
                return false;
            }
            activity.note();
        }
    };
    let has_ended = tokio::select! {
        () = listening => false,
        has_ended = telling => has_ended,
        () = activity.until_idle(limit) => {
            let why = format!("ended after {} s without a byte", limit.as_secs());
            mouth.fail(Fail::new(ProblemCode::Conflict, why).hint("--idle allows more")).await;
            false
        }
        () = caller.until_refused(api) => {
            mouth.fail(refused(api)).await;
            false
        }
    };
    if has_ended {
        program.input.close().await;
    } else {
        api.deployer.end_program(program).await;
    }
}

/// A program that could not be begun, or whose instance went away under it.
fn broken(at: &str, e: &crate::engines::EngineError) -> Fail {
    use crate::engines::Fault;
    match e.fault {
        Fault::Invalid => Fail::new(ProblemCode::Invalid, format!("cannot run it in {at}: {}", e.message)),
        Fault::NotFound => Fail::new(ProblemCode::NotFound, format!("{at} does not run any more")),
        _ => Fail::new(ProblemCode::EngineAway, format!("the connection to {at} broke: {}", e.message)),
    }
}

/// Hands on what a client says, until it goes (`Ok`) or nobody takes it any more.
async fn listen(
    mut ears: Ears,
    input: &mut crate::engines::nomad::ExecWriter,
    ended: &tokio::sync::Notify,
    activity: &Activity,
) -> Result<(), crate::engines::EngineError> {
    let mut beat = tokio::time::interval(BEAT);
    let mut is_over = false;
    loop {
        let heard = tokio::select! {
            heard = ears.next() => heard,
            _ = beat.tick(), if !is_over => {
                input.beat().await?;
                continue;
            }
            () = ended.notified() => {
                is_over = true;
                input.end_of_input().await?;
                continue;
            }
        };
        activity.note();
        match heard {
            Heard::Bytes(channel::INPUT, bytes) => input.input(&bytes).await?,
            Heard::Said(ToServer::Resize(_)) if is_over => {}
            Heard::Said(ToServer::Resize(size)) => input.resize(size.columns, size.rows).await?,
            Heard::Said(ToServer::Eof) => input.end_of_input().await?,
            Heard::Bytes(..) | Heard::Said(_) | Heard::Gone => return Ok(()),
        }
    }
}
