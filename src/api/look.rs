//! Looking closer at an app: its instances, what they use, what happened to it.

use axum::Json;
use axum::extract::State;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::Deserialize;

use super::Api;
use super::caller::{App, Caller, Query};
use super::problem::{Answer, Fail};
use super::share::{self, Kind};
use crate::access::Verb;
use crate::deploy::Ended;
use crate::model::wire::{Events, Instances, Problem, Stats};

/// The most events that are told at once.
const MOST: usize = 10_000;

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct InstancesParams {
    /// Those that ended too, as long as Nomad has them.
    #[param(required = false)]
    all: bool,
}

/// An app's instances, oldest first, and the commands of it that run once.
#[utoipa::path(get, path = "/v1/apps/{app}/instances", tag = "apps", params(("app" = String, Path), InstancesParams), responses(
    (status = 200, body = Instances),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn instances(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    Query(params): Query<InstancesParams>,
) -> Answer<Json<Instances>> {
    caller.may(&api, Verb::Read, &app).await?;
    let ended = if params.all { Ended::Too } else { Ended::Not };
    let (instances, runs) = tokio::try_join!(api.deployer.instances(&app, ended), api.deployer.runs(&app))?;
    Ok(Json(Instances { instances, runs }))
}

/// What each running instance uses now.
#[utoipa::path(get, path = "/v1/apps/{app}/stats", tag = "apps", params(("app" = String, Path)), responses(
    (status = 200, body = Stats),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn stats(State(api): State<Api>, mut caller: Caller, App(app): App) -> Answer<Json<Stats>> {
    caller.may(&api, Verb::Read, &app).await?;
    Ok(Json(Stats { instances: api.deployer.stats(&app).await? }))
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsParams {
    /// The last so many of them (100).
    tail: Option<usize>,
    /// Go on as things happen: a stream of events `event`.
    #[param(required = false)]
    follow: bool,
}

/// What happened to an app, newest last.
#[utoipa::path(get, path = "/v1/apps/{app}/events", tag = "apps", params(("app" = String, Path), EventsParams), responses(
    (status = 200, description = "With `follow` a stream (`text/event-stream`) of events named `event`, each one of these; last, where it cannot go on, one named `failed`, a problem", body = Events),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn events(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    Query(params): Query<EventsParams>,
) -> Answer<Response> {
    caller.may(&api, Verb::Read, &app).await?;
    let (tail, old) = (params.tail.unwrap_or(100).min(MOST), caller.old());
    if !params.follow {
        return Ok(Json(Events { events: api.deployer.events(&app, tail, old).await? }).into_response());
    }
    let place = api.shares.take(&caller, Kind::Followed)?;
    let told = api.deployer.follow_events(app, tail, old);
    let events = told.map(|told| {
        // Plain data of ours: serialising it cannot fail.
        let (name, data) = match told {
            Ok(e) => ("event", serde_json::to_string(&e)),
            Err(e) => ("failed", serde_json::to_string(&Fail::from(e).document())),
        };
        Event::default().event(name).data(data.unwrap_or_default())
    });
    Ok(share::events(&api, &caller, place, events).into_response())
}
