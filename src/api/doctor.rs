//! What an admin should know of the cluster, and what can be mended.

use axum::Json;
use axum::extract::State;

use super::Api;
use super::body;
use super::caller::Caller;
use super::deploys::whole;
use super::problem::{Answer, Fail};
use crate::access::Verb;
use crate::model::wire::{Checkup, MendRequest, Mended, Problem};

/// The most that is mended at once.
const MOST: usize = 200;

/// What is not as it should be: of the agents, of changes half-way, of what is owned by nobody.
#[utoipa::path(get, path = "/v1/doctor", tag = "operations", responses(
    (status = 200, body = Checkup),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn look(State(api): State<Api>, mut caller: Caller) -> Answer<Json<Checkup>> {
    caller.may_here(&api, Verb::Inspect).await?;
    Ok(Json(api.deployer.checkup().await?))
}

/// Mends some of it: what is nobody's is given to the sweep, which deletes it an hour later; the name index is set right.
#[utoipa::path(post, path = "/v1/doctor", tag = "operations", request_body = MendRequest, responses(
    (status = 200, body = Mended),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn mend(
    State(api): State<Api>,
    mut caller: Caller,
    body::Json(request): body::Json<MendRequest>,
) -> Answer<Json<Mended>> {
    caller.may_here(&api, Verb::Repair).await?;
    if request.targets.len() > MOST {
        return Err(Fail::field("targets", format!("at most {MOST} at once")));
    }
    let (by, deployer) = (caller.by(), api.deployer.clone());
    Ok(Json(whole(async move { deployer.mend(&by, &request.targets).await }).await?))
}
