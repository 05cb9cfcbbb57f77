//! What every request goes through: an id, a line in the log, a limit of time, a count.

use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;
use tracing::Instrument;

use super::Api;
use super::caller::Peer;
use super::problem::{Fail, REQUEST};
use crate::model::wire::ProblemCode;

/// The limit of a request, from its head to the head of its answer.
const LIMIT: Duration = Duration::from_mins(1);
/// The limit of a deploy, which may read an artifact of gigabytes first.
const DEPLOY: Duration = Duration::from_mins(15);
/// Names the request in the log; also in every problem document.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(super) fn around(router: Router, api: Api) -> Router {
    router.layer(from_fn_with_state(api, observe))
}

async fn observe(State(api): State<Api>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = hex::encode(rand::random::<[u8; 8]>());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let peer = request.extensions().get::<Peer>().map_or_else(String::new, |p| p.0.to_string());
    // Neither the query (it holds upload tickets) nor any header is logged.
    let span = tracing::info_span!("request", %id, %method, path = request.uri().path(), peer);
    let unread = has_large_body(&request);
    let limit = limit_of(&method, &route);
    let answering = REQUEST.scope(id.clone(), async {
        match limit {
            None => next.run(request).await,
            Some(limit) => tokio::time::timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
                let text = format!("no answer within {} s", limit.as_secs());
                Fail::new(ProblemCode::EngineAway, text).into_response()
            }),
        }
    });
    let mut response = answering.instrument(span.clone()).await;
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    api.metrics.request(method.as_str(), &route, status, took);
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| tracing::info!(status, ms, "answered"));
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, value);
    }
    if unread && status >= 400 {
        // What was refused half-way is not read to its end: the connection is of no use any more, and says so.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Answers are somebody's: no proxy on the way keeps one.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Uploads are bounded by silence, and by their size, instead.
fn limit_of(method: &Method, route: &str) -> Option<Duration> {
    if *method == Method::PUT || route.ends_with("/complete") {
        None
    } else if route.ends_with("/deploy") {
        Some(DEPLOY)
    } else {
        Some(LIMIT)
    }
}

/// More than what is read in passing, or nobody knows how much.
fn has_large_body(request: &Request) -> bool {
    axum::body::HttpBody::size_hint(request.body()).exact().is_none_or(|n| n > 64 << 10)
}
