//! Changing apps: plan, deploy, rollback, delete. Each change runs to its end in the agent even where the client
//! has left: a request that is dropped half-way would leave a lock behind.

use std::collections::BTreeMap;
use std::future::Future;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::Deserialize;

use super::Api;
use super::body;
use super::caller::{App, Caller, Query};
use super::problem::{Answer, Fail};
use crate::access::Verb;
use crate::deploy::{Accepted, Back, Data, DeployInput, Error, Ill};
use crate::model::wire::{
    self, BackTo, DeployRequest, FieldFault, PlanRequest, Problem, ProblemCode, RollbackRequest, Unchanged,
};
use crate::model::{Placement, ReleaseNumber, SecretName, Sha256Hex};
use crate::plan::Plan;

/// Runs something to its end, whatever becomes of the request.
pub(super) async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Answer<T> {
    match tokio::spawn(work).await {
        Ok(done) => Ok(done?),
        Err(e) => {
            tracing::error!(error = %e, request = super::problem::request_id(), "a change broke off");
            Err(Fail::new(ProblemCode::Internal, "the agent failed; its log says why"))
        }
    }
}

pub(super) fn accepted(app: &Placement, what: &Accepted) -> Response {
    begun(app, what, None)
}

fn begun(app: &Placement, what: &Accepted, back_to: Option<BackTo>) -> Response {
    match what {
        Accepted::Operation(id) => {
            let location = [(header::LOCATION, format!("/v1/operations/{id}"))];
            let body = wire::Accepted { operation: id.to_string(), app: app.to_string(), back_to };
            (StatusCode::ACCEPTED, location, Json(body)).into_response()
        }
        Accepted::Unchanged(release) => {
            Json(Unchanged { unchanged: true, release: release.0 }).into_response()
        }
    }
}

/// What a deploy would do. Nothing is written.
#[utoipa::path(post, path = "/v1/apps/{app}/plan", tag = "apps", params(("app" = String, Path)), request_body = PlanRequest, responses(
    (status = 200, description = "The plan: changes, obstacles, notes, and the token that `deploy` takes", body = Object),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "A change of it is under way, or its name is not available", body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn plan(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<PlanRequest>,
) -> Answer<Json<Plan>> {
    caller.may(&api, Verb::Plan, &app).await?;
    let input = DeployInput {
        descriptor: request.descriptor,
        artifact: request.artifact,
        ticket: request.ticket,
        ..DeployInput::default()
    };
    Ok(Json(api.deployer.plan(&caller.by(), &app, &input).await?))
}

/// Deploys a descriptor, and an artifact that was uploaded.
#[utoipa::path(post, path = "/v1/apps/{app}/deploy", tag = "apps", params(("app" = String, Path)), request_body = DeployRequest, responses(
    (status = 200, description = "Nothing was to be done", body = Unchanged),
    (status = 202, body = wire::Accepted),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The name is taken, the lock is held, or the world moved", body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn deploy(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<DeployRequest>,
) -> Answer<Response> {
    caller.may(&api, Verb::Deploy, &app).await?;
    let input = DeployInput {
        descriptor: request.descriptor,
        artifact: request.artifact,
        ticket: request.ticket,
        token: request.token.map(Sha256Hex::new).transpose().map_err(|e| Fail::field("token", e))?,
        message: request.message,
        origin: request.source,
        secrets: secrets(request.secrets)?,
    };
    let (by, to, deployer) = (caller.by(), app.clone(), api.deployer.clone());
    let done = whole(async move { deployer.deploy(&by, &to, &input).await }).await?;
    Ok(accepted(&app, &done))
}

fn secrets(given: BTreeMap<String, wire::Hidden>) -> Answer<BTreeMap<SecretName, SecretString>> {
    let (mut good, mut faults) = (BTreeMap::new(), Vec::new());
    for (name, value) in given {
        match SecretName::new(name.as_str()) {
            Ok(name) => {
                good.insert(name, value.0);
            }
            // As many as are told of a body.
            Err(_) if faults.len() >= body::TOLD => {}
            Err(e) => faults.push(FieldFault {
                field: Some(format!("secrets.{}", body::brief(&name))),
                message: e.to_string(),
                ..FieldFault::default()
            }),
        }
    }
    if faults.is_empty() { Ok(good) } else { Err(Fail::fields(faults)) }
}

/// Makes a new release with an older one's content and today's credentials.
#[utoipa::path(post, path = "/v1/apps/{app}/rollback", tag = "apps", params(("app" = String, Path)), request_body = RollbackRequest, responses(
    (status = 200, description = "Nothing was to be done", body = Unchanged),
    (status = 202, body = wire::Accepted),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn rollback(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<RollbackRequest>,
) -> Answer<Response> {
    caller.may(&api, Verb::Rollback, &app).await?;
    let (by, on, deployer) = (caller.by(), app.clone(), api.deployer.clone());
    let to = request.to.map(ReleaseNumber);
    let ill = if request.ill { Ill::Taken } else { Ill::Refused };
    let (done, back) =
        whole(async move { deployer.rollback(&by, &on, to, request.message, ill).await }).await?;
    let Back { release, dropped } = back;
    let back_to = BackTo {
        release: release.number.0,
        at: release.at,
        actor: release.actor,
        message: release.message,
        dropped,
    };
    Ok(begun(&app, &done, Some(back_to)))
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteParams {
    /// Whether databases, buckets and volumes go too.
    #[param(required = false)]
    with_data: bool,
}

/// What a delete would come to, were it asked for now. Nothing is changed.
#[utoipa::path(get, path = "/v1/apps/{app}/deletion", tag = "apps", params(("app" = String, Path), DeleteParams), responses(
    (status = 200, body = wire::Deletion),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn deletion(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    Query(params): Query<DeleteParams>,
) -> Answer<Json<wire::Deletion>> {
    let (verb, data) = deleting(&params);
    caller.may(&api, verb, &app).await?;
    let free_at = api.deployer.deletion(&app, data).await?.to_string();
    Ok(Json(wire::Deletion { app: app.to_string(), free_at }))
}

fn deleting(params: &DeleteParams) -> (Verb, Data) {
    if params.with_data { (Verb::DeleteData, Data::Deleted) } else { (Verb::Delete, Data::Kept) }
}

/// Takes an app offline: its job and routes go, its credentials are useless at once, the rest goes with the sweep.
#[utoipa::path(delete, path = "/v1/apps/{app}", tag = "apps", params(("app" = String, Path), DeleteParams), responses(
    (status = 202, body = wire::Accepted),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn delete(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    Query(params): Query<DeleteParams>,
) -> Answer<Response> {
    let (verb, data) = deleting(&params);
    caller.may(&api, verb, &app).await?;
    let (by, on, deployer) = (caller.by(), app.clone(), api.deployer.clone());
    let done = whole(async move { deployer.delete(&by, &on, data).await }).await?;
    Ok(accepted(&app, &done))
}
