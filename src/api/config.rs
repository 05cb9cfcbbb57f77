//! Configuring apps: env values and secrets. Values come in and, for who may see them, go out; they are never logged.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::Deserialize;

use super::Api;
use super::body;
use super::caller::{App, Caller, Query};
use super::deploys::whole;
use super::problem::{Answer, Fail};
use crate::access::Verb;
use crate::deploy::config::{At, ConfigCourse, ConfigInput, Configured, Upon, Values, When};
use crate::model::names::EnvName;
use crate::model::wire::{
    ConfigAnswer, ConfigHistory, EnvList, EnvRequest, FieldFault, Hidden, Problem, RevealRequest, Revealed,
    SecretList, SecretRequest,
};
use crate::model::{Placement, SecretName};

/// The environment of an app: where each variable comes from. Values that were set are not in it.
#[utoipa::path(get, path = "/v1/apps/{app}/env", tag = "config", params(("app" = String, Path)), responses(
    (status = 200, body = EnvList),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn env(State(api): State<Api>, mut caller: Caller, App(app): App) -> Answer<Json<EnvList>> {
    caller.may(&api, Verb::Read, &app).await?;
    Ok(Json(api.deployer.env_list(&app).await?))
}

/// Sets and unsets values of the environment: by a release of its own, or staged for the next one.
#[utoipa::path(post, path = "/v1/apps/{app}/env", tag = "config", params(("app" = String, Path)), request_body = EnvRequest, responses(
    (status = 200, description = "Staged, or nothing that runs changes", body = ConfigAnswer),
    (status = 202, description = "A release with it is under way", body = ConfigAnswer),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The lock is held, or the world moved", body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn set_env(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<EnvRequest>,
) -> Answer<Response> {
    caller.may(&api, Verb::Configure, &app).await?;
    let unset = request.unset.into_iter().map(|name| (name, ())).collect();
    let input = ConfigInput {
        env: named("set", request.set, EnvName::new)?.into_iter().map(|(n, v)| (n, v.0)).collect(),
        unset: named("unset", unset, EnvName::new)?.into_keys().collect(),
        secrets: BTreeMap::new(),
        upon: match request.upon {
            Some(upon) => Some(Upon { env: named("upon", upon, EnvName::new)?, secrets: BTreeMap::new() }),
            None => None,
        },
        when: if request.stage { When::Staged } else { When::Now },
        message: request.message,
    };
    configure(&api, &caller, app, input).await
}

/// The secrets of an app, without their values.
#[utoipa::path(get, path = "/v1/apps/{app}/secrets", tag = "config", params(("app" = String, Path)), responses(
    (status = 200, body = SecretList),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn secrets(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
) -> Answer<Json<SecretList>> {
    caller.may(&api, Verb::Read, &app).await?;
    Ok(Json(api.deployer.secret_list(&app).await?))
}

/// Gives `user` secrets new values: by a release of its own, or staged for the next one.
#[utoipa::path(post, path = "/v1/apps/{app}/secrets", tag = "config", params(("app" = String, Path)), request_body = SecretRequest, responses(
    (status = 200, description = "Staged, or nothing that runs changes", body = ConfigAnswer),
    (status = 202, description = "A release with it is under way", body = ConfigAnswer),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The lock is held, or the world moved", body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn set_secrets(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<SecretRequest>,
) -> Answer<Response> {
    caller.may(&api, Verb::Configure, &app).await?;
    let input = ConfigInput {
        secrets: named("set", request.set, SecretName::new)?.into_iter().map(|(n, v)| (n, v.0)).collect(),
        upon: match request.upon {
            Some(upon) => Some(Upon { env: BTreeMap::new(), secrets: named("upon", upon, SecretName::new)? }),
            None => None,
        },
        when: if request.stage { When::Staged } else { When::Now },
        message: request.message,
        ..ConfigInput::default()
    };
    configure(&api, &caller, app, input).await
}

async fn configure(api: &Api, caller: &Caller, app: Placement, input: ConfigInput) -> Answer<Response> {
    let (by, on, deployer) = (caller.by(), app.clone(), api.deployer.clone());
    let done = whole(async move { deployer.configure(&by, &on, &input).await }).await?;
    Ok(answer(&app, done))
}

fn answer(app: &Placement, done: Configured) -> Response {
    let env = done.made.env.iter().map(|(n, m)| (n.to_string(), m.version()));
    let secrets = done.made.secrets.iter().map(|(n, v)| (n.to_string(), *v));
    let mut body = ConfigAnswer {
        app: app.to_string(),
        versions: env.chain(secrets).collect(),
        operation: None,
        staged: None,
        release: None,
        notes: done.notes,
    };
    match done.course {
        ConfigCourse::Operation(id) => {
            body.operation = Some(id.to_string());
            let location = [(header::LOCATION, format!("/v1/operations/{id}"))];
            (StatusCode::ACCEPTED, location, Json(body)).into_response()
        }
        ConfigCourse::Staged(why) => Json(ConfigAnswer { staged: Some(why), ..body }).into_response(),
        ConfigCourse::Unchanged(release) => {
            Json(ConfigAnswer { release: release.map(|r| r.0), ..body }).into_response()
        }
    }
}

/// Values of the environment that were set, current ones or those that run. That they were asked for is written down.
#[utoipa::path(post, path = "/v1/apps/{app}/env/reveal", tag = "config", params(("app" = String, Path)), request_body = RevealRequest, responses(
    (status = 200, body = Revealed),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn reveal_env(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<RevealRequest>,
) -> Answer<Response> {
    caller.may(&api, Verb::Reveal, &app).await?;
    let of = names(request.names, EnvName::new)?;
    let at = if request.runs { At::Serving } else { At::Next };
    Ok(revealed(api.deployer.reveal_env(&caller.by(), &app, &of, at).await?))
}

/// Values of `user` secrets, current ones or those that run. That they were asked for is written down.
#[utoipa::path(post, path = "/v1/apps/{app}/secrets/reveal", tag = "config", params(("app" = String, Path)), request_body = RevealRequest, responses(
    (status = 200, body = Revealed),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn reveal_secrets(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<RevealRequest>,
) -> Answer<Response> {
    caller.may(&api, Verb::Reveal, &app).await?;
    let of = names(request.names, SecretName::new)?;
    let at = if request.runs { At::Serving } else { At::Next };
    Ok(revealed(api.deployer.reveal_secrets(&caller.by(), &app, &of, at).await?))
}

fn revealed(values: Values) -> Response {
    let versions = values.iter().map(|(n, (version, _))| (n.clone(), *version)).collect();
    let hidden = |value: SecretString| Hidden(value);
    let values = values.into_iter().map(|(n, (_, value))| (n, hidden(value))).collect();
    ([(header::CACHE_CONTROL, "no-store")], Json(Revealed { values, versions })).into_response()
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryParams {
    /// Only this one's.
    name: Option<String>,
}

/// The versions of env values: who made them, and when.
#[utoipa::path(get, path = "/v1/apps/{app}/env/history", tag = "config", params(("app" = String, Path), HistoryParams), responses(
    (status = 200, body = ConfigHistory),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn env_history(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    Query(params): Query<HistoryParams>,
) -> Answer<Json<ConfigHistory>> {
    caller.may(&api, Verb::Read, &app).await?;
    let of = params.name.map(EnvName::new).transpose().map_err(|e| Fail::field("name", e.to_string()))?;
    Ok(Json(api.deployer.env_history(&app, of.as_ref()).await?))
}

/// The versions of `user` secrets: who made them, and when.
#[utoipa::path(get, path = "/v1/apps/{app}/secrets/history", tag = "config", params(("app" = String, Path), HistoryParams), responses(
    (status = 200, body = ConfigHistory),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn secret_history(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    Query(params): Query<HistoryParams>,
) -> Answer<Json<ConfigHistory>> {
    caller.may(&api, Verb::Read, &app).await?;
    let of = params.name.map(SecretName::new).transpose().map_err(|e| Fail::field("name", e.to_string()))?;
    Ok(Json(api.deployer.secret_history(&app, of.as_ref()).await?))
}

type NameResult<N> = Result<N, crate::model::names::NameError>;

/// Things by checked names; every name that is none is told.
fn named<N: Ord, V>(
    field: &str,
    given: BTreeMap<String, V>,
    check: impl Fn(String) -> NameResult<N>,
) -> Answer<BTreeMap<N, V>> {
    let (mut good, mut faults) = (BTreeMap::new(), Vec::new());
    for (name, value) in given {
        match check(name.clone()) {
            Ok(name) => {
                good.insert(name, value);
            }
            // As many as are told of a body.
            Err(_) if faults.len() >= body::TOLD => {}
            Err(e) => faults.push(FieldFault {
                field: Some(format!("{field}.{}", body::brief(&name))),
                message: e.to_string(),
                ..FieldFault::default()
            }),
        }
    }
    if faults.is_empty() { Ok(good) } else { Err(Fail::fields(faults)) }
}

fn names<N: Ord>(given: Vec<String>, check: impl Fn(String) -> NameResult<N>) -> Answer<BTreeSet<N>> {
    let given = given.into_iter().map(|name| (name, ())).collect();
    Ok(named("names", given, check)?.into_keys().collect())
}
