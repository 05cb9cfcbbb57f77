//! Starting, stopping, scaling and restarting apps, and the course of an app towards what was asked of it.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::Json;
use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::Event;
use futures::{Stream, StreamExt};

use super::Api;
use super::body;
use super::caller::{App, Caller, RunName};
use super::deploys::whole;
use super::operations::event;
use super::problem::Answer;
use super::share::{self, Kind};
use crate::access::Verb;
use crate::deploy::Change;
use crate::model::Placement;
use crate::model::wire::{Changed, Problem, RestartRequest, ScaleRequest};

async fn change(api: &Api, caller: &mut Caller, app: Placement, what: Change) -> Answer<Json<Changed>> {
    caller.may(api, Verb::Run, &app).await?;
    let (by, on, deployer) = (caller.by(), app.clone(), api.deployer.clone());
    let done = whole(async move { deployer.change(&by, &on, &what).await }).await?;
    Ok(Json(Changed {
        app: app.to_string(),
        unchanged: done.id.is_none() && done.operation.is_none(),
        change: done.id.map(|id| id.to_string()),
        operation: done.operation.map(|id| id.to_string()),
        summary: done.summary,
        counts: done.counts.into_iter().map(|(n, c)| (n.to_string(), c)).collect(),
    }))
}

/// Brings a stopped app back: the same release, with the counts that it had. Where Nomad has no job of it any more, an
/// operation makes that release once again, with the configuration that it had; what is staged stays staged.
#[utoipa::path(post, path = "/v1/apps/{app}/start", tag = "apps", params(("app" = String, Path)), responses(
    (status = 200, description = "Nomad has taken it, or nothing was to be done", body = Changed),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The lock is held, or the world moved", body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn start(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
) -> Answer<Json<Changed>> {
    change(&api, &mut caller, app, Change::Start).await
}

/// Ends every instance of an app; it stays so until somebody starts or deploys it.
#[utoipa::path(post, path = "/v1/apps/{app}/stop", tag = "apps", params(("app" = String, Path)), responses(
    (status = 200, description = "Nomad has taken it, or nothing was to be done", body = Changed),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The lock is held, or the world moved", body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn stop(State(api): State<Api>, mut caller: Caller, App(app): App) -> Answer<Json<Changed>> {
    change(&api, &mut caller, app, Change::Stop).await
}

/// Sets how many instances processes have. Of a stopped app the counts are remembered for its next start.
#[utoipa::path(post, path = "/v1/apps/{app}/scale", tag = "apps", params(("app" = String, Path)), request_body = ScaleRequest, responses(
    (status = 200, description = "Nomad has taken it, or nothing was to be done", body = Changed),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The lock is held, or the world moved", body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn scale(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<ScaleRequest>,
) -> Answer<Json<Changed>> {
    change(&api, &mut caller, app, Change::Scale(request.counts)).await
}

/// Restarts instances in place, one after the other: the next one once the one before passes its checks again.
#[utoipa::path(post, path = "/v1/apps/{app}/restart", tag = "apps", params(("app" = String, Path)), request_body = RestartRequest, responses(
    (status = 200, description = "Nomad has taken the first; the others follow by themselves", body = Changed),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The lock is held, or the world moved", body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn restart(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<RestartRequest>,
) -> Answer<Json<Changed>> {
    let what = Change::Restart { process: request.process, alloc: request.alloc };
    change(&api, &mut caller, app, what).await
}

/// Asks a command that runs once to end, whoever began it.
#[utoipa::path(post, path = "/v1/apps/{app}/runs/{run}/stop", tag = "apps", params(("app" = String, Path), ("run" = String, Path)), responses(
    (status = 200, description = "Nomad has taken it, or it had ended already", body = Changed),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn stop_run(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    RunName(name): RunName,
) -> Answer<Json<Changed>> {
    caller.may(&api, Verb::Exec, &app).await?;
    let (by, deployer, on) = (caller.by(), api.deployer.clone(), app.clone());
    let summary = whole(async move { deployer.stop_named_run(&by, &on, &name).await }).await?;
    Ok(Json(Changed {
        app: app.to_string(),
        unchanged: summary.ends_with("already"),
        change: None,
        operation: None,
        summary,
        counts: BTreeMap::new(),
    }))
}

/// The course of an app towards what was asked of it: events `progress`, then one event `end` when its instances are
/// healthy or have stopped, or will not be.
#[utoipa::path(get, path = "/v1/apps/{app}/course", tag = "apps", params(("app" = String, Path)), responses(
    (status = 200, content_type = "text/event-stream", body = String),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn course(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    caller.may(&api, Verb::Read, &app).await?;
    let place = api.shares.take(&caller, Kind::Course)?;
    // It tells what is now: who comes back after a cut needs no more than that.
    let told = api.deployer.course(app).enumerate().map(|(n, progress)| event(n, progress));
    Ok(share::events(&api, &caller, place, told))
}
