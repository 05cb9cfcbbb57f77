//! Releases compared, taken out as files, and brought in again.

use axum::Json;
use axum::extract::State;

use super::Api;
use super::body;
use super::caller::{App, Caller, Number};
use super::deploys::whole;
use super::problem::{Answer, Fail};
use crate::access::Verb;
use crate::deploy::diff::{Jobs, Which};
use crate::deploy::transfer::{Exported, Then};
use crate::deploy::{Accepted, DeployInput};
use crate::model::ReleaseNumber;
use crate::model::wire::{DiffAnswer, DiffRequest, ImportAnswer, ImportRequest, Problem};
use crate::plan::difference::{self, Difference, Fate};

/// What differs between two releases, or between what runs and a descriptor. Nothing is written.
#[utoipa::path(post, path = "/v1/apps/{app}/diff", tag = "apps", params(("app" = String, Path)), request_body = DiffRequest, responses(
    (status = 200, body = DiffAnswer),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn diff(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<DiffRequest>,
) -> Answer<Json<DiffAnswer>> {
    caller.may(&api, Verb::Plan, &app).await?;
    let release = |n: Option<u64>| n.map_or(Which::Running, |n| Which::Release(ReleaseNumber(n)));
    let to = match (request.to, request.descriptor) {
        (Some(_), Some(_)) => {
            return Err(Fail::field("to", "one of `to` and `descriptor` is compared, not both"));
        }
        (_, Some(descriptor)) => Which::Descriptor(Box::new(DeployInput {
            descriptor,
            artifact: request.artifact,
            ..DeployInput::default()
        })),
        (to, None) => release(to),
    };
    let jobs = match request.job {
        false => Jobs::Left,
        true if caller.may(&api, Verb::RawJob, &app).await.is_ok() => Jobs::Open,
        true => Jobs::Masked,
    };
    let found = api.deployer.diff(&caller.by(), &app, (release(request.from), to), jobs).await?;
    Ok(Json(DiffAnswer { from: found.from, to: found.to, differs: found.words, job: found.job }))
}

/// A release as a file: its descriptor and what it was rendered with, with hashes. No secret, and nothing that opens the
/// app's artifacts.
#[utoipa::path(get, path = "/v1/apps/{app}/releases/{number}/export", tag = "apps",
    params(("app" = String, Path), ("number" = u64, Path)), responses(
    (status = 200, body = Object),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn export(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    Number(number): Number,
) -> Answer<Json<Exported>> {
    caller.may(&api, Verb::Plan, &app).await?;
    Ok(Json(api.deployer.export(&app, ReleaseNumber(number)).await?))
}

/// Verifies an exported release by its hashes and by rendering it again, compares it with what runs, and deploys it where
/// that is asked.
#[utoipa::path(post, path = "/v1/apps/{app}/import", tag = "apps", params(("app" = String, Path)), request_body = ImportRequest, responses(
    (status = 200, body = ImportAnswer),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The lock is held, or the world moved", body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn import(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<ImportRequest>,
) -> Answer<Json<ImportAnswer>> {
    let (verb, then) = if request.deploy { (Verb::Deploy, Then::Deploy) } else { (Verb::Plan, Then::Look) };
    caller.may(&api, verb, &app).await?;
    let (by, on, deployer) = (caller.by(), app.clone(), api.deployer.clone());
    // On the heap: it holds a whole release.
    let done = whole(Box::pin(async move {
        Box::pin(deployer.import(&by, &on, (&request.file, request.message), then)).await
    }))
    .await?;
    let (operation, unchanged) = match done.accepted {
        Some(Accepted::Operation(id)) => (Some(id.to_string()), None),
        Some(Accepted::Unchanged(number)) => (None, Some(number.0)),
        None => (None, None),
    };
    let goes = |d: &&Difference| d.fate == Fate::Goes;
    let gone = done.differs.iter().flatten().filter(goes).map(|d| d.words.clone()).collect();
    Ok(Json(ImportAnswer {
        from: done.from.to_string(),
        number: done.number.0,
        settings: done.settings,
        differs: done.differs.map(difference::words),
        gone,
        operation,
        unchanged,
    }))
}
