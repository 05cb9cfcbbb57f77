//! Uploads by presigned URL, for clients that hold no key of Garage. A URL is a secret: it never reaches an error.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use reqwest::header::{CONTENT_LENGTH, ETAG};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::s3::innermost;
use super::{fail, fault_of};
use crate::engines::http::{HttpOptions, install_crypto, tls_config};
use crate::engines::{Engine, EngineError, Fault};

/// A body is given at least this time, and a second more for each 64 KiB.
const PATIENCE: Duration = Duration::from_mins(1);
/// Read from the file at once.
const BUFFER: usize = 256 << 10;

/// Sends pieces of files to presigned URLs. Cheap to clone. Stands outside of operations, so it asks no gate.
#[derive(Debug, Clone)]
pub struct Sender {
    client: reqwest::Client,
}

impl Sender {
    /// Opens no connection. Of `options` the authorities and the client certificate are used.
    pub fn new(options: &HttpOptions) -> Result<Self, EngineError> {
        install_crypto();
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .tcp_keepalive(Duration::from_secs(15))
            .http1_only()
            .tls_backend_preconfigured(tls_config(Engine::Garage, options)?);
        let client = builder.build();
        let client =
            client.map_err(|e| fail(Fault::Invalid, "set up uploads", innermost(&e.without_url())))?;
        Ok(Self { client })
    }

    /// PUTs `size` bytes of a file from `start`, and returns the ETag of the answer, without quotes. `sent` hears
    /// each piece's bytes as they leave. Memory: 256 KiB and the socket's own buffers.
    pub async fn put(
        &self,
        url: &str,
        path: &Path,
        start: u64,
        size: u64,
        sent: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Result<String, EngineError> {
        let doing = format!("upload {size} bytes of {}", path.display());
        let lost = |e: std::io::Error| fail(Fault::Invalid, &doing, format!("cannot read the file: {e}"));
        let mut file = tokio::fs::File::open(path).await.map_err(lost)?;
        file.seek(std::io::SeekFrom::Start(start)).await.map_err(lost)?;
        let body = ReaderStream::with_capacity(file.take(size), BUFFER).inspect(move |piece| {
            if let Ok(piece) = piece {
                sent(piece.len() as u64);
            }
        });
        let limit = PATIENCE + Duration::from_secs(size / (64 << 10));
        let request = self.client.put(url).header(CONTENT_LENGTH, size).timeout(limit);
        let answer = request.body(reqwest::Body::wrap_stream(body)).send().await;
        let answer = answer.map_err(|e| {
            let fault = if e.is_builder() { Fault::Invalid } else { Fault::Away };
            let said = if e.is_timeout() { "no answer in time".into() } else { innermost(&e.without_url()) };
            fail(fault, &doing, said)
        })?;
        let status = answer.status().as_u16();
        if !answer.status().is_success() {
            // The body may repeat the signed request: only the status is told.
            let hint = if status == 403 { " (the upload's URL may have expired: begin again)" } else { "" };
            return Err(fail(fault_of(status), &doing, format!("HTTP {status}{hint}")).asked_with(None));
        }
        let etag = answer.headers().get(ETAG).and_then(|e| e.to_str().ok()).unwrap_or_default();
        if etag.is_empty() {
            return Err(fail(Fault::Broken, &doing, "the answer has no ETag: is this S3?"));
        }
        Ok(etag.trim_matches('"').to_owned())
    }
}
