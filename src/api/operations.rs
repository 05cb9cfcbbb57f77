//! Operations: listed, as they stand, as they go on, turned back.

use std::convert::Infallible;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Sse;
use axum::response::sse::Event;
use futures::{Stream, StreamExt};

use super::Api;
use super::caller::{Caller, Id, Query, placement, reads};
use super::deploys::whole;
use super::problem::{Answer, Fail};
use super::share::{self, Kind};
use crate::access::Verb;
use crate::deploy::{Course, Line};
use crate::model::wire::{
    Accepted, OperationEnd, OperationLine, OperationView, Operations, Problem, ProblemCode,
};
use crate::model::{Head, Uid};
use crate::operation::Progress;

/// The operation, if its app may be read; otherwise the words of one that never was.
async fn course(api: &Api, caller: &mut Caller, id: &Uid) -> Answer<Course> {
    let absent = || Fail::new(ProblemCode::NotFound, format!("there is no operation {id}"));
    let course = match api.deployer.operation(id).await {
        Ok(course) => course,
        Err(crate::deploy::Error::NotFound(_)) => return Err(absent()),
        Err(e) => return Err(e.into()),
    };
    match caller.may(api, Verb::Read, &course.app).await {
        Ok(()) => Ok(course),
        // A first deploy that was undone leaves no app that could be read: whoever asked for it hears how it ended.
        Err(fail) if fail.is_not_found() && asked_for_it(caller, &course) => {
            match api.deployer.owners(&course.app).await? {
                None => Ok(course),
                Some(_) => Err(absent()),
            }
        }
        // Whoever may not read it is not told of which app it is, whatever stands in their way.
        Err(fail) if fail.is_not_found() || fail.is_not_allowed() => Err(absent()),
        Err(fail) => Err(fail),
    }
}

fn asked_for_it(caller: &Caller, record: &Course) -> bool {
    let login = caller.session.subject.login.as_str();
    record.by.login == login || record.cancel.as_ref().is_some_and(|c| c.by.login == login)
}

/// How many ended operations are listed where nobody says.
const ENDED: usize = 20;
/// How many at most.
const MOST: usize = 200;

#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Of this app alone.
    app: Option<String>,
    /// How many ended ones: 0 to 200.
    ended: Option<usize>,
}

/// The operations under way and the last that have ended, of every app that the person may read.
#[utoipa::path(get, path = "/v1/operations", tag = "operations", params(ListParams), responses(
    (status = 200, body = Operations),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    mut caller: Caller,
    Query(params): Query<ListParams>,
) -> Answer<Json<Operations>> {
    let ended = params.ended.unwrap_or(ENDED);
    if ended > MOST {
        return Err(Fail::field("ended", format!("at most {MOST}")));
    }
    let app = placement(params.app)?;
    if let Some(app) = &app {
        caller.may(&api, Verb::Read, app).await?;
    }
    let old = caller.old();
    let subject = caller.looked_again(&api).await?;
    let may_see = |head: &Head| reads(&subject, &head.app, &head.owners);
    let listed = api.deployer.operations(app.as_ref(), ended, old, may_see).await?;
    Ok(Json(Operations {
        open: listed.open.into_iter().map(line).collect(),
        ended: listed.ended.into_iter().map(line).collect(),
    }))
}

fn line(l: Line) -> OperationLine {
    let (outcome, summary, ended_at) = match l.end {
        Some((outcome, summary, at)) => (Some(outcome), Some(summary), Some(at)),
        None => (None, None, None),
    };
    OperationLine {
        id: l.id.to_string(),
        app: l.app.to_string(),
        verb: l.verb,
        actor: l.login,
        at: l.at,
        step: l.step,
        turned: l.turned,
        outcome,
        summary,
        ended_at,
    }
}

/// Ends an operation where it stands, for admins: no step of it is run or taken back any more. What it made stays its app's,
/// which is `abandoned` until it is deployed or deleted.
#[utoipa::path(post, path = "/v1/operations/{id}/abandon", tag = "operations", params(("id" = String, Path)), responses(
    (status = 202, body = Accepted),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It has ended, or has one step alone", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn abandon(
    State(api): State<Api>,
    mut caller: Caller,
    Id(id): Id,
) -> Answer<(StatusCode, Json<Accepted>)> {
    course(&api, &mut caller, &id).await?;
    caller.may_here(&api, Verb::Repair).await?;
    let (by, deployer, operation) = (caller.by(), api.deployer.clone(), id.to_string());
    let app = whole(async move { deployer.abandon(&by, &id).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted { operation, app: app.to_string(), back_to: None })))
}

/// Turns an operation back, before anything of it is begun that cannot be taken back (the registration of the job, for
/// most apps). It then goes on, backward, and is followed to its end like any other.
#[utoipa::path(post, path = "/v1/operations/{id}/cancel", tag = "operations", params(("id" = String, Path)), responses(
    (status = 202, body = Accepted),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It goes forward from here, or has ended", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn cancel(
    State(api): State<Api>,
    mut caller: Caller,
    Id(id): Id,
) -> Answer<(StatusCode, Json<Accepted>)> {
    let app = course(&api, &mut caller, &id).await?.app;
    caller.may(&api, Verb::Cancel, &app).await?;
    let (by, deployer, operation) = (caller.by(), api.deployer.clone(), id.to_string());
    let app = whole(async move { deployer.cancel(&by, &id).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted { operation, app: app.to_string(), back_to: None })))
}

/// An operation as it stands.
#[utoipa::path(get, path = "/v1/operations/{id}", tag = "operations", params(("id" = String, Path)), responses(
    (status = 200, body = OperationView),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(api): State<Api>,
    mut caller: Caller,
    Id(id): Id,
) -> Answer<Json<OperationView>> {
    let course = course(&api, &mut caller, &id).await?;
    let waits = if course.end.is_none() { Box::pin(api.deployer.waits(&id)).await } else { None };
    Ok(Json(OperationView {
        waits,
        id: course.id.to_string(),
        app: course.app.to_string(),
        verb: course.verb,
        actor: course.by.login,
        at: course.at,
        steps: course.steps,
        turned: course.turned,
        cancelled_by: course.cancel.map(|c| c.by.login),
        end: course.end.map(|e| OperationEnd {
            outcome: e.outcome,
            summary: e.summary,
            url: e.urls.into_iter().next(),
            why: text(&e.why),
        }),
    }))
}

fn text(lines: &[String]) -> Option<String> {
    Some(lines.join("\n")).filter(|t| !t.is_empty())
}

#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct CourseParams {
    /// Only what happens from now on, and the end.
    #[param(required = false)]
    from_now: bool,
}

/// An operation as it goes on: events `progress`, then one event `end`. A reader that was cut off comes back with
/// `Last-Event-ID` and hears the rest.
#[utoipa::path(get, path = "/v1/operations/{id}/events", tag = "operations", params(("id" = String, Path), CourseParams), responses(
    (status = 200, content_type = "text/event-stream", body = String),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn events(
    State(api): State<Api>,
    mut caller: Caller,
    Id(id): Id,
    Query(params): Query<CourseParams>,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    course(&api, &mut caller, &id).await?;
    let last =
        headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    let skip = if params.from_now { usize::MAX } else { last.map_or(0, |n| n.saturating_add(1)) };
    let place = api.shares.take(&caller, Kind::Course)?;
    let told = api.deployer.follow(id, skip);
    let told = told.enumerate().map(move |(n, progress)| event(skip.saturating_add(n), progress));
    Ok(share::events(&api, &caller, place, told))
}

/// One thing that was told, as an event.
pub(super) fn event(n: usize, progress: Progress) -> Event {
    let (name, data) = match progress {
        Progress::End { outcome, summary, why, urls } => {
            let end = OperationEnd { outcome, summary, url: urls.into_iter().next(), why: text(&why) };
            ("end", serde_json::to_string(&end))
        }
        other => ("progress", serde_json::to_string(&other)),
    };
    // Plain data of ours: serialising it cannot fail.
    Event::default().id(n.to_string()).event(name).data(data.unwrap_or_default())
}
