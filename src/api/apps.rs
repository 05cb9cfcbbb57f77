//! Reading apps: status, releases, logs.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Api;
use super::caller::{App, Caller, Query, reads};
use super::problem::{Answer, Fail};
use super::share::{self, Kind};
use crate::access::Verb;
use crate::deploy::history::{Fate, Told};
use crate::deploy::{LogForm, LogQuery, LogStreamName};
use crate::model::Placement;
use crate::model::project::Owner;
use crate::model::wire::{AppStatus, Apps, LogLine, Problem, ReleaseView, Releases};

/// Every app that the person may read.
#[utoipa::path(get, path = "/v1/apps", tag = "apps", responses(
    (status = 200, body = Apps),
    (status = 401, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(api): State<Api>, caller: Caller) -> Answer<Json<Apps>> {
    let subject = caller.looked_again(&api).await?;
    // Whose it is cannot be read: only who may read everything hears of it.
    let may_see =
        |app: &Placement, owners: Option<&[Owner]>| reads(&subject, app, owners.unwrap_or_default());
    let apps = api.deployer.status_all(may_see).await?;
    Ok(Json(Apps { apps }))
}

/// One app.
#[utoipa::path(get, path = "/v1/apps/{app}", tag = "apps", params(("app" = String, Path,
    description = "`project[@environment]`, with `tenant%2F` before it for a tenant's")), responses(
    (status = 200, body = AppStatus),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
) -> Answer<Json<AppStatus>> {
    caller.may(&api, Verb::Read, &app).await?;
    Ok(Json(api.deployer.status(&app).await?))
}

/// Every release, newest first, with what became of it and what differs in it; those that never served included.
#[utoipa::path(get, path = "/v1/apps/{app}/releases", tag = "apps", params(("app" = String, Path)), responses(
    (status = 200, body = Releases),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn releases(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
) -> Answer<Json<Releases>> {
    caller.may(&api, Verb::Read, &app).await?;
    let found = api.deployer.releases(&app).await?;
    Ok(Json(Releases { releases: found.into_iter().map(view).collect() }))
}

fn view(told: Told) -> ReleaseView {
    let r = told.release;
    ReleaseView {
        running: told.fate == Fate::Running,
        state: told.fate.word().to_owned(),
        why: told.fate.why().map(str::to_owned),
        number: r.number.0,
        at: r.at,
        actor: r.actor,
        message: r.message,
        rollback_of: r.rollback_of.map(|n| n.0),
        source: r.source,
        differs: told.differs,
        sha256: told.object.to_string(),
    }
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct LogsParams {
    /// Go on as the app writes, and with instances that begin later.
    #[param(required = false)]
    follow: bool,
    /// The last so many lines of each stream of each instance.
    tail: Option<usize>,
    /// Only instances that lived after this, and lines that bear no earlier time: RFC 3339, or an age as `90s`,
    /// `10m`, `2h`, `1d`.
    since: Option<String>,
    /// Only instances that began before this, and lines that bear no later time.
    until: Option<String>,
    /// Only lines that match this regular expression (syntax of the `regex` crate; at most 1 KiB).
    grep: Option<String>,
    /// Only this process.
    process: Option<String>,
    /// Only this instance: the beginning of its allocation's id.
    alloc: Option<String>,
    /// `both`, `stdout` or `stderr`.
    stream: Option<String>,
    /// Instances that have ended, instead of those that live.
    #[param(required = false)]
    previous: bool,
    /// Of this one-off command, instead of the app's own instances: the name that it was begun under.
    run: Option<String>,
    /// `raw` (the bytes alone) or `lines` (a `LogLine` in JSON on each line).
    format: Option<String>,
}

impl LogsParams {
    fn query(self, now: jiff::Timestamp) -> Answer<LogQuery> {
        let since = moment("since", self.since.as_deref(), now)?;
        let until = moment("until", self.until.as_deref(), now)?;
        if until.is_some() && self.follow {
            return Err(Fail::field("until", "what is followed has no end"));
        }
        let form = match self.format.as_deref() {
            None | Some("raw") => LogForm::Raw,
            Some("lines") => LogForm::Lines,
            Some(_) => return Err(Fail::field("format", "wanted is raw or lines")),
        };
        let stream = match self.stream.as_deref() {
            None | Some("both") => None,
            Some("stdout") => Some(LogStreamName::Stdout),
            Some("stderr") => Some(LogStreamName::Stderr),
            Some(_) => return Err(Fail::field("stream", "wanted is both, stdout or stderr")),
        };
        Ok(LogQuery {
            follow: self.follow,
            tail: self.tail,
            since,
            until,
            grep: self.grep,
            process: self.process,
            alloc: self.alloc,
            stream,
            previous: self.previous,
            run: self.run,
            form,
        })
    }
}

/// A time or an age that a parameter says.
pub(super) fn moment(
    name: &str,
    text: Option<&str>,
    now: jiff::Timestamp,
) -> Answer<Option<jiff::Timestamp>> {
    let read = |text| {
        let wanted = "wanted is a time (RFC 3339) or an age as 90s, 10m, 2h, 1d";
        instant(text, now).ok_or_else(|| Fail::field(name, wanted))
    };
    text.map(read).transpose()
}

fn instant(text: &str, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let n: i64 = text[..text.len() - unit.len_utf8()].parse().ok().filter(|n| *n >= 0)?;
    now.checked_sub(jiff::SignedDuration::from_secs(n.checked_mul(seconds)?)).ok()
}

/// Logs: the very bytes that the app wrote, or lines with who wrote them. Nomad keeps no times: between instances the
/// order is that of their beginnings and of the times that lines bear themselves.
#[utoipa::path(get, path = "/v1/apps/{app}/logs", tag = "apps", params(("app" = String, Path), LogsParams), responses(
    (status = 200, content(
        (Vec<u8> = "application/octet-stream"),
        (LogLine = "application/jsonl"),
    )),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn logs(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    Query(params): Query<LogsParams>,
) -> Answer<Response> {
    caller.may(&api, Verb::Logs, &app).await?;
    let query = params.query(api.deployer.runner().now())?;
    let content = match query.form {
        LogForm::Raw => "application/octet-stream",
        LogForm::Lines => "application/jsonl",
    };
    let place = query.follow.then(|| api.shares.take(&caller, Kind::Followed)).transpose()?;
    let chunks = api.deployer.logs(&app, query).await?;
    // An error in the middle cuts the chunked body, which a client can see; an end says that all was told.
    let body = Body::from_stream(share::lasting(&api, &caller, place, chunks));
    Ok(([(header::CONTENT_TYPE, content), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_an_age() {
        let now: jiff::Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        assert_eq!(instant("10m", now).unwrap().to_string(), "2026-01-01T11:50:00Z");
        assert_eq!(instant("2025-01-01T00:00:00Z", now).unwrap().to_string(), "2025-01-01T00:00:00Z");
        for bad in ["", "m", "-3m", "10", "10é", "99999999999999999999s"] {
            assert!(instant(bad, now).is_none(), "{bad}");
        }
    }
}
