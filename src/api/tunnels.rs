//! Programs in instances, one-off programs, and connections to ports, each through a tunnel of its own.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Api;
use super::caller::{App, Caller};
use super::problem::{Answer, Fail};
use super::share::{Kind, Place};
use super::tunnel::{self, Asked, Ears, Heard, Mouth};
use crate::access::Verb;
use crate::deploy::{Program, RunOutput};
use crate::engines::nomad::ExecOutput;
use crate::model::Placement;
use crate::model::wire::{
    ConnectBegin, ExecBegin, Problem, ProblemCode, RunBegin, ToClient, ToServer, channel,
};

/// How long a client may take to say what it wants.
const BEGIN: Duration = Duration::from_secs(20);
/// How long a program may be without a byte either way, where nobody says otherwise; and the most that may be said.
const IDLE: (Duration, Duration) = (Duration::from_mins(30), Duration::from_hours(24));
/// How long a connection may be so, where nobody says otherwise.
const IDLE_CONNECTION: Duration = Duration::from_hours(1);
/// How long a run whose time is over may take to say its last words.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How often Nomad is told that we are there.
const BEAT: Duration = Duration::from_secs(10);

/// Runs a program in a living instance. A WebSocket: the client's first message is `exec`; see `ToServer` and `ToClient`.
#[utoipa::path(get, path = "/v1/apps/{app}/exec", tag = "apps", params(("app" = String, Path)), responses(
    (status = 101, description = "A WebSocket. Text messages: ToServer and ToClient; binary ones: a channel's number (0 input, 1 output, 2 errors), then bytes"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn exec(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    request: Request,
) -> Answer<Response> {
    caller.may(&api, Verb::Exec, &app).await?;
    let place = api.shares.take(&caller, Kind::Followed)?;
    open(place, request, move |first, ears, mouth: Mouth| async move {
        match first {
            ToServer::Exec(what) => exec_in(&api, &caller, &app, &what, ears, &mouth).await,
            _ => mouth.fail(unexpected("exec")).await,
        }
    })
}

/// Connects to a port of a living instance. A WebSocket: the client's first message is `connect`; then bytes go both ways
/// on channel 0, and each side says `eof` for itself.
#[utoipa::path(get, path = "/v1/apps/{app}/connect", tag = "apps", params(("app" = String, Path)), responses(
    (status = 101, description = "A WebSocket, as for exec"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn connect(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    request: Request,
) -> Answer<Response> {
    caller.may(&api, Verb::Connect, &app).await?;
    let place = api.shares.take(&caller, Kind::Connection)?;
    open(place, request, move |first, ears, mouth: Mouth| async move {
        match first {
            ToServer::Connect(what) => {
                tokio::select! {
                    () = connect_to(&api, &caller, &app, &what, ears, &mouth) => {}
                    () = caller.until_refused(&api) => mouth.fail(refused(&api)).await,
                }
            }
            _ => mouth.fail(unexpected("connect")).await,
        }
    })
}

/// Runs a program once, in an instance of its own, with all that a process of the app's release has. A WebSocket: the
/// client's first message is `run`; `stop` asks it to end, and a client that goes away ends it.
#[utoipa::path(get, path = "/v1/apps/{app}/run", tag = "apps", params(("app" = String, Path)), responses(
    (status = 101, description = "A WebSocket, as for exec"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn run(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    request: Request,
) -> Answer<Response> {
    caller.may(&api, Verb::Exec, &app).await?;
    let place = api.shares.take(&caller, Kind::Followed)?;
    open(place, request, move |first, ears, mouth: Mouth| async move {
        match first {
            ToServer::Run(what) => Box::pin(run_once(&api, &caller, &app, &what, ears, &mouth)).await,
            _ => mouth.fail(unexpected("run")).await,
        }
    })
}

/// Answers with a tunnel, and does in it what its first message wants, holding a place meanwhile.
fn open<F, D>(place: Place, request: Request, then: F) -> Answer<Response>
where
    F: FnOnce(ToServer, Ears, Mouth) -> D + Send + 'static,
    D: Future<Output = ()> + Send + 'static,
{
    let (response, asked) = tunnel::accept(request)?;
    tokio::spawn(async move {
        let _place = place;
        if let Some((first, ears, mouth)) = begin(asked).await {
            then(first, ears, mouth).await;
        }
    });
    Ok(response)
}

async fn begin(asked: Asked) -> Option<(ToServer, Ears, Mouth)> {
    let (mut ears, mouth) = asked.open().await?;
    if let Ok(Heard::Said(first)) = tokio::time::timeout(BEGIN, ears.next()).await {
        return Some((first, ears, mouth));
    }
    mouth.fail(Fail::new(ProblemCode::Invalid, "the first message must say what is wanted")).await;
    None
}

fn unexpected(wanted: &str) -> Fail {
    Fail::new(ProblemCode::Invalid, format!("the first message here must be {wanted:?}"))
}

fn refused(api: &Api) -> Fail {
    if api.stop.is_cancelled() {
        return Fail::new(ProblemCode::EngineAway, "this agent stops").hint("try again in a moment");
    }
    Fail::new(ProblemCode::NotLoggedIn, "your session has ended").hint("log in: terreau login")
}

/// When the last byte went through.
#[derive(Debug, Clone)]
struct Activity {
    begun: Instant,
    last: Arc<AtomicU64>,
}

impl Activity {
    fn new() -> Self {
        Self { begun: Instant::now(), last: Arc::default() }
    }
    fn note(&self) {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(ms, Ordering::Relaxed);
    }
    /// Ends after so long without a byte.
    async fn until_idle(&self, limit: Duration) {
        loop {
            let at = self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed)) + limit;
            if Instant::now() >= at {
                return;
            }
            tokio::time::sleep_until(at).await;
        }
    }
}

fn idle(asked: Option<u32>, otherwise: Duration) -> Duration {
    asked.map_or(otherwise, |s| Duration::from_secs(u64::from(s.max(1)))).min(IDLE.1)
}

async fn exec_in(api: &Api, caller: &Caller, app: &Placement, what: &ExecBegin, ears: Ears, mouth: &Mouth) {
    let mut program = match api.deployer.exec(&caller.by(), app, what).await {
        Ok(program) => program,
        Err(e) => return mouth.fail(e).await,
    };
    let limit = idle(what.idle_seconds, IDLE.0);
    mouth.say(&ToClient::Started(program.at.started())).await;
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

async fn run_once(
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
                _ => {}
            }
        }
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
        () = timed => {}
        () = caller.until_refused(api) => mouth.fail(refused(api)).await,
    }
    api.deployer.purge_run(&run).await;
}

/// Bytes both ways, each way ended by itself.
async fn connect_to(
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
    let (activity, limit) = (Activity::new(), idle(what.idle_seconds, IDLE_CONNECTION));
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
