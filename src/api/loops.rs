//! What the agents do in the background, for admins.

use axum::Json;
use axum::extract::State;

use super::Api;
use super::caller::Caller;
use super::problem::Answer;
use crate::access::Verb;
use crate::model::wire::{Agents, Problem};

/// The agents that live, and how what they do again and again fares.
#[utoipa::path(get, path = "/v1/loops", tag = "operations", responses(
    (status = 200, body = Agents),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(api): State<Api>, mut caller: Caller) -> Answer<Json<Agents>> {
    caller.may_here(&api, Verb::Inspect).await?;
    Ok(Json(api.deployer.runner().agents().await?))
}
