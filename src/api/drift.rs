//! What is not on the engines as Terreau left it.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Api;
use super::caller::{Caller, Query};
use super::problem::{Answer, Fail};
use crate::access::{Decision, Object, Verb, decide};
use crate::model::names::NameError;
use crate::model::wire::{Drift, Problem};
use crate::model::{Head, Placement};

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct DriftParams {
    /// Of this app alone.
    app: Option<String>,
}

/// What differs of the apps that one may see, looked at now.
#[utoipa::path(get, path = "/v1/drift", tag = "apps", params(DriftParams), responses(
    (status = 200, body = Drift),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn drift(
    State(api): State<Api>,
    mut caller: Caller,
    Query(params): Query<DriftParams>,
) -> Answer<Json<Drift>> {
    let app: Option<Placement> = params
        .app
        .map(|a| a.parse())
        .transpose()
        .map_err(|e: NameError| Fail::field("app", e.to_string()))?;
    if let Some(app) = &app {
        caller.may(&api, Verb::Read, app).await?;
    }
    // A list hides instead of refusing, so there is no second look later: groups are asked now.
    let session = api.access.look_again(&caller.session).await?.unwrap_or(caller.session);
    let may_see = |head: &Head| {
        let object = Object::App { app: &head.app, owners: Some(&head.owners) };
        decide(&session.subject, Verb::Read, &object) == Decision::Allowed
    };
    Ok(Json(api.deployer.drift(app.as_ref(), may_see).await?))
}
