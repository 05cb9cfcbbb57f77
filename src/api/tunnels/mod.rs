//! Programs in instances, one-off programs, and connections to ports, each through a tunnel of its own.

mod connection;
mod program;
mod run;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use tokio::time::Instant;

use super::Api;
use super::caller::{App, Caller};
use super::problem::{Answer, Fail};
use super::share::{Kind, Place};
use super::tunnel::{self, Asked, Ears, Heard, Mouth};
use crate::access::Verb;
use crate::model::wire::{Problem, ProblemCode, ToServer};

/// How long a client may take to say what it wants.
const BEGIN: Duration = Duration::from_secs(20);
/// The longest that a client may ask for to be without a byte either way.
const LONGEST_IDLE: Duration = Duration::from_hours(24);

/// Runs a program in a living instance, where the app's own program starts; or copies a file or a folder out of it or
/// into it. A WebSocket: the client's first message is `exec` or `copy`; see `ToServer` and `ToClient`.
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
            ToServer::Exec(what) => program::exec(&api, &caller, &app, &what, ears, &mouth).await,
            ToServer::Copy(what) => program::copy(&api, &caller, &app, &what, ears, &mouth).await,
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
                    () = connection::connect_to(&api, &caller, &app, &what, ears, &mouth) => {}
                    () = caller.until_refused(&api) => mouth.fail(refused(&api)).await,
                }
            }
            _ => mouth.fail(unexpected("connect")).await,
        }
    })
}

/// Runs a program once, in an instance of its own, with all that a process of the app's release has. A WebSocket: the
/// client's first message is `run`; `stop` asks it to end, and a client that goes away ends it. Where `input` was said it
/// reads what comes on channel 0, until `eof`.
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
            ToServer::Run(what) => Box::pin(run::once(&api, &caller, &app, &what, ears, &mouth)).await,
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
    asked.map_or(otherwise, |s| Duration::from_secs(u64::from(s.max(1)))).min(LONGEST_IDLE)
}
