//! The audit log, for admins: read, and looked through for what was lost or altered.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Api;
use super::apps::moment;
use super::caller::{Caller, Query, placement};
use super::problem::{Answer, Fail};
use crate::access::Verb;
use crate::deploy::{AuditPlace, AuditQuery};
use crate::model::wire::{AuditPage, AuditVerified, Problem};

/// How many entries are told where nobody says.
const SOME: usize = 100;
/// The most that are told at once.
const MOST: usize = 1_000;

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Of this app alone.
    app: Option<String>,
    /// By this person, or about them.
    login: Option<String>,
    /// Not older: RFC 3339, or an age as `90s`, `10m`, `2h`, `1d`.
    since: Option<String>,
    /// How many: 1 to 1,000 (100). A few more come where they were written at once.
    limit: Option<usize>,
    /// Where the last answer ended: its `next`.
    from: Option<String>,
}

/// Who changed what, from where; newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(ListParams), responses(
    (status = 200, body = AuditPage),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<Api>,
    mut caller: Caller,
    Query(params): Query<ListParams>,
) -> Answer<Json<AuditPage>> {
    caller.may_here(&api, Verb::Audit).await?;
    let limit = params.limit.unwrap_or(SOME);
    if !(1..=MOST).contains(&limit) {
        return Err(Fail::field("limit", format!("1 to {MOST}")));
    }
    let app = placement(params.app)?;
    let since = moment("since", params.since.as_deref(), jiff::Timestamp::now())?;
    let query = AuditQuery { app, login: params.login, since, limit, from: place(params.from)? };
    Ok(Json(api.deployer.audit(&query).await?))
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct VerifyParams {
    /// Where the last answer ended: its `next`.
    from: Option<String>,
}

/// Looks whether the log is whole: every segment there, unaltered, in its place. 100 segments an answer.
#[utoipa::path(get, path = "/v1/audit/verify", tag = "audit", params(VerifyParams), responses(
    (status = 200, body = AuditVerified),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn verify(
    State(api): State<Api>,
    mut caller: Caller,
    Query(params): Query<VerifyParams>,
) -> Answer<Json<AuditVerified>> {
    caller.may_here(&api, Verb::Audit).await?;
    Ok(Json(api.deployer.verify_audit(place(params.from)?).await?))
}

fn place(from: Option<String>) -> Answer<Option<AuditPlace>> {
    from.map(|f| f.parse()).transpose().map_err(|e: &str| Fail::field("from", e.to_owned()))
}
