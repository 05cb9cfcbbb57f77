//! The graph of components.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Api;
use super::caller::{Caller, Query};
use super::problem::{Answer, Fail};
use crate::access::{Decision, Object, Verb, decide};
use crate::model::Placement;
use crate::model::names::NameError;
use crate::model::wire::{Graph, Problem};

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct GraphParams {
    /// Of this app alone.
    app: Option<String>,
}

/// The components and their live dependencies, of every app that the person may read.
#[utoipa::path(get, path = "/v1/graph", tag = "apps", params(GraphParams), responses(
    (status = 200, body = Graph),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn graph(
    State(api): State<Api>,
    mut caller: Caller,
    Query(params): Query<GraphParams>,
) -> Answer<Json<Graph>> {
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
    let may_see = |head: &crate::model::Head| {
        let object = Object::App { app: &head.app, owners: Some(&head.owners) };
        decide(&session.subject, Verb::Read, &object) == Decision::Allowed
    };
    Ok(Json(api.deployer.graph(app.as_ref(), may_see).await?))
}
