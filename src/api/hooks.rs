//! Hooks: who is told of what happens to an app.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Api;
use super::body;
use super::caller::{App, Caller, HookId};
use super::problem::{Answer, Fail};
use crate::access::Verb;
use crate::deploy::hooks::NewHook;
use crate::model::wire::{
    FieldFault, Hidden, HookAnswer, HookEvent, HookRequest, HookTested, HookView, Hooks, Problem,
};

/// An app's hooks, oldest first, each with its last delivery and what waits. Their URLs may be secrets of the receivers:
/// who may only read the app is not shown them.
#[utoipa::path(get, path = "/v1/apps/{app}/hooks", tag = "apps", params(("app" = String, Path)), responses(
    (status = 200, body = Hooks),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(api): State<Api>, mut caller: Caller, App(app): App) -> Answer<Json<Hooks>> {
    caller.may(&api, Verb::Notify, &app).await?;
    let found = api.deployer.hooks(&app).await?;
    let hooks = found.into_iter().map(|(h, queue)| HookView {
        id: h.id,
        url: h.url,
        on: h.on,
        by: h.by,
        created_at: h.at,
        pending: queue.as_ref().map_or(0, |q| q.pending.len() as u64),
        tries: queue.as_ref().map_or(0, |q| q.tries),
        next_at: queue.as_ref().and_then(|q| q.next.clone()),
        lost: queue.as_ref().map_or(0, |q| q.lost),
        last: queue.and_then(|q| q.last),
    });
    Ok(Json(Hooks { app: app.to_string(), hooks: hooks.collect() }))
}

/// Makes a hook. What it is signed with is answered once, where the server made it.
#[utoipa::path(post, path = "/v1/apps/{app}/hooks", tag = "apps", params(("app" = String, Path)), request_body = HookRequest, responses(
    (status = 201, body = HookAnswer),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "There are too many, or one to this URL", body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn add(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<HookRequest>,
) -> Answer<Response> {
    caller.may(&api, Verb::Notify, &app).await?;
    let (mut on, mut faults) = (std::collections::BTreeSet::new(), Vec::new());
    for word in request.on.iter().take(body::TOLD) {
        match word.parse::<HookEvent>() {
            Ok(event) => drop(on.insert(event)),
            Err(why) => faults.push(FieldFault {
                field: Some("on".to_owned()),
                message: format!("{:?} is nothing to be told of; {why}", body::brief(word)),
                ..FieldFault::default()
            }),
        }
    }
    if !faults.is_empty() {
        return Err(Fail::fields(faults));
    }
    let new = NewHook { url: request.url, on, secret: request.secret.map(|s| s.0) };
    let (hook, secret) = api.deployer.add_hook(&caller.by(), &app, new).await?;
    let answer = HookAnswer { id: hook.id, secret: secret.map(Hidden) };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// Takes a hook away, with what waits for it.
#[utoipa::path(delete, path = "/v1/apps/{app}/hooks/{hook}", tag = "apps", params(("app" = String, Path), ("hook" = String, Path, description = "The id, or the beginning of one that is no other's")), responses(
    (status = 204),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn remove(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    HookId(hook): HookId,
) -> Answer<StatusCode> {
    caller.may(&api, Verb::Notify, &app).await?;
    api.deployer.remove_hook(&caller.by(), &app, &hook).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test to a hook, once and now, and tells what came of it.
#[utoipa::path(post, path = "/v1/apps/{app}/hooks/{hook}/test", tag = "apps", params(("app" = String, Path), ("hook" = String, Path, description = "The id, or the beginning of one that is no other's")), responses(
    (status = 200, body = HookTested),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn test(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    HookId(hook): HookId,
) -> Answer<Json<HookTested>> {
    caller.may(&api, Verb::Notify, &app).await?;
    let (id, sent) = api.deployer.test_hook(&caller.by(), &app, &hook).await?;
    Ok(Json(HookTested {
        id,
        delivered: sent.error.is_none(),
        status: sent.status,
        error: sent.error,
        took_ms: u64::try_from(sent.took.as_millis()).unwrap_or(u64::MAX),
    }))
}
