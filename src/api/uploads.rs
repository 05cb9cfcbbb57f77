//! Uploads of artifacts: presigned straight to Garage, or streamed through the agent.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tokio_util::io::StreamReader;

use super::Api;
use super::body;
use super::caller::{App, Caller, Query, Sha256};
use super::deploys::whole;
use super::problem::Answer;
use crate::access::Verb;
use crate::model::wire::{CompleteUpload, Problem, UploadsAnswer, UploadsRequest};

/// A stream that is silent for longer is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// So is one that brings fewer bytes a second than this, once it had the time to begin.
const SLOWEST: u64 = 16 << 10;
/// The time to begin.
const GRACE: Duration = Duration::from_mins(2);

/// Begins the upload of an artifact's parts: says what is there already, and where the rest goes.
#[utoipa::path(post, path = "/v1/apps/{app}/uploads", tag = "apps", params(("app" = String, Path)), request_body = UploadsRequest, responses(
    (status = 200, body = UploadsAnswer),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn begin(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<UploadsRequest>,
) -> Answer<Json<UploadsAnswer>> {
    caller.may(&api, Verb::Upload, &app).await?;
    Ok(Json(api.deployer.uploads_begin(&caller.by(), &app, &request.parts).await?))
}

/// Ends the multipart upload of one part: it is read, and is there once this has answered. Done again, it ends the
/// same.
#[utoipa::path(post, path = "/v1/apps/{app}/uploads/{sha256}/complete", tag = "apps", params(("app" = String, Path), ("sha256" = String, Path)), request_body = CompleteUpload, responses(
    (status = 204),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn complete(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    Sha256(sha256): Sha256,
    body::Json(request): body::Json<CompleteUpload>,
) -> Answer<StatusCode> {
    caller.may(&api, Verb::Upload, &app).await?;
    let (by, deployer) = (caller.by(), api.deployer.clone());
    whole(async move { deployer.uploads_complete(&by, &app, &sha256, &request).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamParams {
    /// From the begin of the upload; an app that exists needs none.
    ticket: Option<String>,
    /// The part's extension: `tar.zst`.
    ext: String,
}

/// Takes one part as a stream, for those who do not reach Garage.
#[utoipa::path(put, path = "/v1/apps/{app}/uploads/{sha256}", tag = "apps", params(("app" = String, Path), ("sha256" = String, Path), StreamParams),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 204),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn stream(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    Sha256(sha256): Sha256,
    Query(params): Query<StreamParams>,
    headers: HeaderMap,
    body: Body,
) -> Answer<StatusCode> {
    caller.may(&api, Verb::Upload, &app).await?;
    let size = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let (by, deployer) = (caller.by(), api.deployer.clone());
    let reader: Box<dyn AsyncRead + Send + Unpin> = Box::new(StreamReader::new(patient(body)));
    // Not to be dropped half-way: what was begun in Garage is given up where the body breaks off.
    whole(async move {
        let about = (params.ticket.as_deref(), size);
        deployer.uploads_stream(&by, &app, (&sha256, &params.ext), about, reader).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The body, given up where it stands still or trickles: it holds a place that others wait for.
fn patient(body: Body) -> BoxStream<'static, std::io::Result<Bytes>> {
    let chunks = body.into_data_stream().map_err(|_| std::io::Error::other("the body was cut"));
    let state = Some((chunks.boxed(), 0_u64, None));
    let patient = futures::stream::unfold(state, |state| async move {
        let (mut chunks, mut bytes, begun) = state?;
        // From the first look at it: before, it waited for its place.
        let begun = begun.unwrap_or_else(Instant::now);
        let slow = |why: &str| Some((Err(std::io::Error::new(std::io::ErrorKind::TimedOut, why)), None));
        match tokio::time::timeout(SILENCE, chunks.next()).await {
            Ok(Some(Ok(chunk))) => {
                bytes += chunk.len() as u64;
                if begun.elapsed() > GRACE + Duration::from_secs(bytes / SLOWEST) {
                    return slow("the body came too slowly");
                }
                Some((Ok(chunk), Some((chunks, bytes, Some(begun)))))
            }
            Ok(Some(Err(e))) => Some((Err(e), None)),
            Ok(None) => None,
            Err(_) => slow("the body stood still"),
        }
    });
    patient.boxed()
}
