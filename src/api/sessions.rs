//! Login, logout, whoami.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Api;
use super::body;
use super::caller::Caller;
use super::problem::{Answer, Fail};
use crate::access::Standing;
use crate::model::wire::{Hidden, LoginAnswer, LoginRequest, Problem, WhoAmI};

/// Opens a session with a login and a password of the directory.
#[utoipa::path(post, path = "/v1/login", tag = "session", security(()), request_body = LoginRequest, responses(
    (status = 200, body = LoginAnswer),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn login(
    State(api): State<Api>,
    body::Json(request): body::Json<LoginRequest>,
) -> Answer<Json<LoginAnswer>> {
    if request.password.expose().is_empty() {
        return Err(Fail::field("password", "is empty"));
    }
    let opened = api.access.login(&request.user, &request.password.0).await;
    api.metrics.login(opened.is_ok());
    let opened = opened?;
    Ok(Json(LoginAnswer {
        token: Hidden(opened.token),
        user: opened.login.to_string(),
        expires_at: opened.expires.to_string(),
    }))
}

/// Ends the session: its token opens nothing any more, on any agent.
#[utoipa::path(delete, path = "/v1/login", tag = "session", responses(
    (status = 204),
    (status = 401, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn logout(State(api): State<Api>, caller: Caller) -> Answer<StatusCode> {
    api.access.logout(&caller.session).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is logged in.
#[utoipa::path(get, path = "/v1/whoami", tag = "session", responses(
    (status = 200, body = WhoAmI),
    (status = 401, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn whoami(State(api): State<Api>, caller: Caller) -> Answer<Json<WhoAmI>> {
    let session = api.access.look_again(&caller.session).await?.unwrap_or(caller.session);
    let subject = session.subject;
    Ok(Json(WhoAmI {
        user: subject.login.to_string(),
        groups: subject.groups.into_iter().collect(),
        admin: subject.standing == Standing::Admin,
        server: concat!("terreau ", env!("CARGO_PKG_VERSION")).to_owned(),
        cluster: api.cluster.clone(),
        expires_at: session.expires.to_string(),
        scope: subject.scope.map(|s| s.to_string()),
    }))
}
