//! Operations: as they stand, and as they go on.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::{Stream, StreamExt};

use super::Api;
use super::caller::{Caller, Id};
use super::problem::{Answer, Fail};
use crate::access::Verb;
use crate::deploy::Course;
use crate::model::Uid;
use crate::model::wire::{OperationEnd, OperationView, Problem, ProblemCode, StepView};
use crate::operation::Progress;
use crate::store::records::StepState;

/// Proxies close what is silent for longer.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);

/// The operation, if its app may be read; otherwise the words of one that never was.
async fn course(api: &Api, caller: &mut Caller, id: &Uid) -> Answer<Course> {
    let absent = || Fail::new(ProblemCode::NotFound, format!("there is no operation {id}"));
    let course = match api.deployer.operation(id).await {
        Ok(course) => course,
        Err(crate::deploy::Error::NotFound(_)) => return Err(absent()),
        Err(e) => return Err(e.into()),
    };
    match caller.may(api, Verb::Read, &course.record.app).await {
        Ok(()) => Ok(course),
        Err(fail) if fail.is_not_found() => Err(absent()),
        Err(fail) => Err(fail),
    }
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
    let Course { record, ended } = course(&api, &mut caller, &id).await?;
    let steps = record.steps.iter().zip(1..).map(|(step, n)| StepView {
        n,
        kind: step.spec.kind().to_owned(),
        target: step.spec.describe(),
        state: match step.state {
            StepState::Todo => "todo",
            StepState::Begun => "begun",
            StepState::Done => "done",
            StepState::Undone => "undone",
        }
        .to_owned(),
    });
    Ok(Json(OperationView {
        id: record.id.to_string(),
        app: record.app.to_string(),
        verb: record.verb.as_str().to_owned(),
        actor: record.by.login.clone(),
        at: record.at.clone(),
        steps: steps.collect(),
        end: ended.map(|e| OperationEnd {
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

/// An operation as it goes on: events `progress`, then one event `end`. A reader that was cut off comes back with
/// `Last-Event-ID` and hears the rest.
#[utoipa::path(get, path = "/v1/operations/{id}/events", tag = "operations", params(("id" = String, Path)), responses(
    (status = 200, content_type = "text/event-stream", body = String),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn events(
    State(api): State<Api>,
    mut caller: Caller,
    Id(id): Id,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    course(&api, &mut caller, &id).await?;
    let last =
        headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    let skip = last.map_or(0, |n| n.saturating_add(1));
    let told = api.deployer.follow(id, skip);
    let events = told.enumerate().map(move |(n, progress)| Ok(event(skip.saturating_add(n), progress)));
    let events = events.take_until(Box::pin(caller.until_refused(&api)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("alive")))
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
