//! Held canaries: on, or back.

use axum::extract::State;
use axum::response::Response;

use super::Api;
use super::caller::{App, Caller};
use super::deploys::{accepted, whole};
use super::problem::Answer;
use crate::access::Verb;
use crate::model::wire::{self, Problem};

/// Lets the held canaries of an app go on: they replace the old instances.
#[utoipa::path(post, path = "/v1/apps/{app}/promote", tag = "apps", params(("app" = String, Path)), responses(
    (status = 202, body = wire::Accepted),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Nothing is held, or the lock is", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn promote(State(api): State<Api>, mut caller: Caller, App(app): App) -> Answer<Response> {
    // There is no first deploy here that a name could be taken from: a foreign app is not there.
    caller.may(&api, Verb::Read, &app).await?;
    caller.may(&api, Verb::Deploy, &app).await?;
    let (by, on, deployer) = (caller.by(), app.clone(), api.deployer.clone());
    Ok(accepted(&app, &whole(async move { deployer.promote(&by, &on).await }).await?))
}

/// Takes the held canaries of an app back: the old release serves on, alone.
#[utoipa::path(post, path = "/v1/apps/{app}/revert", tag = "apps", params(("app" = String, Path)), responses(
    (status = 202, body = wire::Accepted),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Nothing is held, or the lock is", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn revert(State(api): State<Api>, mut caller: Caller, App(app): App) -> Answer<Response> {
    // There is no first deploy here that a name could be taken from: a foreign app is not there.
    caller.may(&api, Verb::Read, &app).await?;
    caller.may(&api, Verb::Deploy, &app).await?;
    let (by, on, deployer) = (caller.by(), app.clone(), api.deployer.clone());
    Ok(accepted(&app, &whole(async move { deployer.revert(&by, &on).await }).await?))
}
