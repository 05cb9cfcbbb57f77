//! The graph of components.

use axum::Json;
use axum::extract::State;

use super::Api;
use super::caller::{Caller, OneApp, Query, reads};
use super::problem::Answer;
use crate::model::Head;
use crate::model::wire::{Graph, Problem};

/// The components and their live dependencies, of every app that the person may read.
#[utoipa::path(get, path = "/v1/graph", tag = "apps", params(OneApp), responses(
    (status = 200, body = Graph),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn graph(
    State(api): State<Api>,
    mut caller: Caller,
    Query(of): Query<OneApp>,
) -> Answer<Json<Graph>> {
    let app = of.asked(&api, &mut caller).await?;
    let subject = caller.looked_again(&api).await?;
    let may_see = |head: &Head| reads(&subject, &head.app, &head.owners);
    Ok(Json(api.deployer.graph(app.as_ref(), may_see).await?))
}
