//! What is not on the engines as Terreau left it.

use axum::Json;
use axum::extract::State;

use super::Api;
use super::caller::{Caller, OneApp, Query, reads};
use super::problem::Answer;
use crate::model::Head;
use crate::model::wire::{Drift, Problem};

/// What differs of the apps that one may see, looked at now.
#[utoipa::path(get, path = "/v1/drift", tag = "apps", params(OneApp), responses(
    (status = 200, body = Drift),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn drift(
    State(api): State<Api>,
    mut caller: Caller,
    Query(of): Query<OneApp>,
) -> Answer<Json<Drift>> {
    let app = of.asked(&api, &mut caller).await?;
    let subject = caller.looked_again(&api).await?;
    let may_see = |head: &Head| reads(&subject, &head.app, &head.owners);
    Ok(Json(api.deployer.drift(app.as_ref(), may_see).await?))
}
