//! Uploads of artifacts: presigned straight to Garage, or streamed through the agent.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::Api;
use super::body;
use super::caller::{App, Caller, Query, Sha256};
use super::problem::Answer;
use crate::access::Verb;
use crate::model::wire::{CompleteUpload, Problem, UploadsAnswer, UploadsRequest};

/// A stream that is silent for longer is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// Begins the upload of an artifact's parts: says what is there already, and where the rest goes.
#[utoipa::path(post, path = "/v1/apps/{app}/uploads", tag = "apps", params(("app" = String, Path)), request_body = UploadsRequest, responses(
    (status = 200, body = UploadsAnswer),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn begin(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    body::Json(request): body::Json<UploadsRequest>,
) -> Answer<Json<UploadsAnswer>> {
    caller.may(&api, Verb::Upload, &app).await?;
    Ok(Json(api.deployer.uploads_begin(&app, &request.parts).await?))
}

/// Ends the multipart upload of one part.
#[utoipa::path(post, path = "/v1/apps/{app}/uploads/{sha256}/complete", tag = "apps", params(("app" = String, Path), ("sha256" = String, Path)), request_body = CompleteUpload, responses(
    (status = 204),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
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
    api.deployer.uploads_complete(&app, &sha256, &request).await?;
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
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn stream(
    State(api): State<Api>,
    mut caller: Caller,
    App(app): App,
    Sha256(sha256): Sha256,
    Query(params): Query<StreamParams>,
    body: Body,
) -> Answer<StatusCode> {
    caller.may(&api, Verb::Upload, &app).await?;
    let chunks = body.into_data_stream().map_err(|_| std::io::Error::other("the body was cut"));
    let chunks: futures::stream::BoxStream<'static, std::io::Result<Bytes>> = chunks.boxed();
    let patient = futures::stream::unfold(Some(chunks), |chunks| async move {
        let mut chunks = chunks?;
        match tokio::time::timeout(SILENCE, chunks.next()).await {
            Ok(Some(chunk)) => Some((chunk, Some(chunks))),
            Ok(None) => None,
            Err(_) => {
                let kind = std::io::ErrorKind::TimedOut;
                Some((Err(std::io::Error::new(kind, "the body stood still")), None))
            }
        }
    });
    let reader: Box<dyn AsyncRead + Send + Unpin> = Box::new(StreamReader::new(patient.boxed()));
    api.deployer.uploads_stream(&app, &sha256, &params.ext, params.ticket.as_deref(), reader).await?;
    Ok(StatusCode::NO_CONTENT)
}
