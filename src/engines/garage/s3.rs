//! Garage over S3: objects. Path style, one region, no checksums but those that S3 demands, no retries.
//!
//! Garage ignores `If-None-Match: *` on PUT: nothing here is create-only, so whoever writes an object owns its name
//! (content-addressed keys, or a lock). The SDK's own error text dumps raw replies: only code and message are kept.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials as SdkCredentials, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, RuntimeComponents, SharedHttpClient, StalledStreamProtectionConfig,
    retry::RetryConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector, tls};
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncBufRead;

use super::{PRESIGN_MAX, fail, fault_of};
use crate::engines::http::HttpOptions;
use crate::engines::{Credentials, EngineError, Fault, Open, SharedGate};

/// The slowest link that an upload is given time for, in bytes a second.
const SLOWEST: u64 = 64 << 10;
/// A body that stands still for so long is given up.
const STALL: Duration = Duration::from_secs(30);

/// What is known of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// As Garage gives it, without quotes; changes with the content.
    pub etag: String,
    /// Only from `head` and `get_stream`.
    pub content_type: Option<String>,
    /// Seconds since 1970.
    pub modified: i64,
}

/// An object being read.
pub struct ObjectStream {
    /// What is known of it.
    pub info: ObjectInfo,
    /// Its bytes; ends with an error where the link stands still or is cut.
    pub reader: Pin<Box<dyn AsyncBufRead + Send>>,
}

impl fmt::Debug for ObjectStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStream").field("info", &self.info).finish_non_exhaustive()
    }
}

/// A client of S3 under one key. Cheap to clone.
#[derive(Clone)]
pub struct S3 {
    pub(super) client: aws_sdk_s3::Client,
    endpoint: Arc<str>,
    patience: Duration,
    pub(super) gate: SharedGate,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl S3 {
    /// `endpoint` as `http://127.0.0.1:3900`; `region` is `garage` on most clusters. TLS trusts the machine's
    /// authorities. Opens no connection.
    pub fn new(
        endpoint: &str,
        region: &str,
        key_id: &str,
        secret: SecretString,
    ) -> Result<Self, EngineError> {
        Self::with_options(endpoint, region, key_id, secret, &HttpOptions::default())
    }

    /// The same, trusting the authorities of `options.ca` instead. An answer must come within twice `options.timeout`
    /// (Garage with one node of three says 503 after 6.5 s), and later the more is sent. Client certificates are
    /// not used: S3 proves itself by its signatures.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand the secret over: no second copy stays with them"
    )]
    pub fn with_options(
        endpoint: &str,
        region: &str,
        key_id: &str,
        secret: SecretString,
        options: &HttpOptions,
    ) -> Result<Self, EngineError> {
        let doing = "set up the client of S3";
        let url =
            url::Url::parse(endpoint).map_err(|e| fail(Fault::Invalid, doing, format!("{endpoint}: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || url.path() != "/" {
            let said = format!("{endpoint} is not an address like http://host:port");
            return Err(fail(Fault::Invalid, doing, said));
        }
        let patience = options.timeout * 2;
        let credentials = SdkCredentials::new(key_id, secret.expose_secret(), None, None, "terreau");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(endpoint.trim_end_matches('/'))
            .region(Region::new(region.to_owned()))
            .credentials_provider(credentials)
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::disabled())
            .timeout_config(limits(patience, 0))
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(STALL).build())
            .http_client(connector(url.scheme() == "https", options)?)
            .build();
        let client = aws_sdk_s3::Client::from_conf(config);
        Ok(Self { client, endpoint: endpoint.into(), patience, gate: Arc::new(Open) })
    }

    /// The same client behind a gate that every write asks.
    #[must_use]
    pub fn with_gate(mut self, gate: SharedGate) -> Self {
        self.gate = gate;
        self
    }

    /// The same key at another address of the same Garage, as clients reach it: for presigned URLs.
    pub fn at(&self, endpoint: &str) -> Result<Self, EngineError> {
        let doing = "set up the client of S3";
        if let Err(e) = url::Url::parse(endpoint) {
            return Err(fail(Fault::Invalid, doing, format!("{endpoint}: {e}")));
        }
        let config = self.client.config().to_builder().endpoint_url(endpoint.trim_end_matches('/')).build();
        let client = aws_sdk_s3::Client::from_conf(config);
        Ok(Self { client, endpoint: endpoint.into(), patience: self.patience, gate: self.gate.clone() })
    }

    /// The address that presigned URLs will point to.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The override of one call that sends `bytes`.
    pub(super) fn patient(&self, bytes: u64) -> aws_sdk_s3::config::Builder {
        aws_sdk_s3::Config::builder().timeout_config(limits(self.patience, bytes))
    }

    pub(super) fn check(&self, doing: &str) -> Result<(), EngineError> {
        self.gate.check().map_err(|why| fail(Fault::Fenced, doing, why))
    }

    /// Writes a small object from memory; Garage checks its SHA-256. Replaces what was there.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        bytes: impl Into<Bytes>,
        content_type: &str,
    ) -> Result<(), EngineError> {
        let bytes = bytes.into();
        let doing = format!("write object {bucket}/{key}");
        let size = bytes.len() as u64;
        let call = self.client.put_object().bucket(bucket).key(key).content_type(content_type);
        let call = call.body(ByteStream::from(bytes)).customize().config_override(self.patient(size));
        self.check(&doing)?;
        let put = call.send().await.map_err(|e| told(&e, &doing))?;
        written(put.e_tag(), &doing).map(|_| ())
    }

    /// The whole object, `None` where there is none; [`Fault::TooLarge`] where it is over `limit` bytes.
    pub async fn get(&self, bucket: &str, key: &str, limit: u64) -> Result<Option<Bytes>, EngineError> {
        let doing = format!("read object {bucket}/{key}");
        let Some(mut found) = self.open(bucket, key, &doing).await? else { return Ok(None) };
        let size = found.content_length().and_then(|n| u64::try_from(n).ok());
        let size = size.ok_or_else(|| fail(Fault::Broken, &doing, "the answer tells no length"))?;
        if size > limit {
            return Err(fail(Fault::TooLarge, doing, format!("it has {size} bytes, {limit} are allowed")));
        }
        let mut out = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        while let Some(chunk) = found.body.next().await {
            let chunk = chunk.map_err(|e| fail(Fault::Broken, &doing, innermost(&e)))?;
            out.extend_from_slice(&chunk);
        }
        if out.len() as u64 == size {
            Ok(Some(out.into()))
        } else {
            Err(fail(Fault::Broken, doing, format!("cut after {} of {size} bytes", out.len())))
        }
    }

    /// So many bytes of an object from `offset` on, fewer at its end; `None` where there is none.
    pub async fn get_part(
        &self,
        bucket: &str,
        key: &str,
        offset: u64,
        limit: u64,
    ) -> Result<Option<Bytes>, EngineError> {
        let doing = format!("read a part of object {bucket}/{key}");
        let range = format!("bytes={offset}-{}", offset + limit.max(1) - 1);
        let mut found = match self.client.get_object().bucket(bucket).key(key).range(range).send().await {
            Ok(found) => found,
            Err(e) if e.code() == Some("NoSuchKey") => return Ok(None),
            // Nothing begins there.
            Err(e) if e.code() == Some("InvalidRange") => return Ok(Some(Bytes::new())),
            Err(e) => return Err(told(&e, &doing)),
        };
        let mut out = Vec::new();
        while let Some(chunk) = found.body.next().await {
            out.extend_from_slice(&chunk.map_err(|e| fail(Fault::Broken, &doing, innermost(&e)))?);
            if out.len() as u64 > limit {
                return Err(fail(Fault::Broken, doing, "more came than was asked for"));
            }
        }
        Ok(Some(out.into()))
    }

    /// An object to be read piece by piece; `None` where there is none.
    pub async fn get_stream(&self, bucket: &str, key: &str) -> Result<Option<ObjectStream>, EngineError> {
        let doing = format!("read object {bucket}/{key}");
        let Some(found) = self.open(bucket, key, &doing).await? else { return Ok(None) };
        let info = ObjectInfo {
            key: key.to_owned(),
            size: count(found.content_length()),
            etag: bare(found.e_tag()),
            content_type: found.content_type().map(str::to_owned),
            modified: found.last_modified().map_or(0, aws_sdk_s3::primitives::DateTime::secs),
        };
        Ok(Some(ObjectStream { info, reader: Box::pin(found.body.into_async_read()) }))
    }

    async fn open(
        &self,
        bucket: &str,
        key: &str,
        doing: &str,
    ) -> Result<Option<aws_sdk_s3::operation::get_object::GetObjectOutput>, EngineError> {
        match self.client.get_object().bucket(bucket).key(key).send().await {
            Ok(found) => Ok(Some(found)),
            Err(e) if e.code() == Some("NoSuchKey") => Ok(None),
            Err(e) => Err(told(&e, doing)),
        }
    }

    /// What is known of an object; `None` where there is none (or no such bucket: HEAD cannot tell).
    pub async fn head(&self, bucket: &str, key: &str) -> Result<Option<ObjectInfo>, EngineError> {
        let doing = format!("look at object {bucket}/{key}");
        match self.client.head_object().bucket(bucket).key(key).send().await {
            Ok(found) => Ok(Some(ObjectInfo {
                key: key.to_owned(),
                size: count(found.content_length()),
                etag: written(found.e_tag(), &doing)?,
                content_type: found.content_type().map(str::to_owned),
                modified: found.last_modified().map_or(0, aws_sdk_s3::primitives::DateTime::secs),
            })),
            Err(e) => match told(&e, &doing) {
                e if e.fault == Fault::NotFound => Ok(None),
                e => Err(e),
            },
        }
    }

    /// All objects whose key begins with `prefix`, in order of key. A page of 1,000 a request.
    pub async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<ObjectInfo>, EngineError> {
        let doing = format!("list objects {bucket}/{prefix}*");
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let call = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
            let page = call.set_continuation_token(token).send().await.map_err(|e| told(&e, &doing))?;
            all.extend(page.contents().iter().map(|o| ObjectInfo {
                key: o.key().unwrap_or_default().to_owned(),
                size: count(o.size()),
                etag: bare(o.e_tag()),
                content_type: None,
                modified: o.last_modified().map_or(0, aws_sdk_s3::primitives::DateTime::secs),
            }));
            token = page.next_continuation_token().map(str::to_owned);
            if token.is_none() || page.is_truncated() == Some(false) {
                return Ok(all);
            }
        }
    }

    /// Deletes an object. Idempotent: one that is not there is no fault.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), EngineError> {
        let doing = format!("delete object {bucket}/{key}");
        let call = self.client.delete_object().bucket(bucket).key(key);
        self.check(&doing)?;
        call.send().await.map_err(|e| told(&e, &doing))?;
        Ok(())
    }

    /// Deletes many objects, 1,000 a request. Idempotent; the gate is asked before each request.
    pub async fn delete_many(&self, bucket: &str, keys: &[String]) -> Result<(), EngineError> {
        for some in keys.chunks(1000) {
            let doing = format!("delete {} objects of bucket {bucket}", some.len());
            let build = |e: &dyn std::error::Error| fail(Fault::Invalid, &doing, e.to_string());
            let mut list = Vec::with_capacity(some.len());
            for key in some {
                list.push(ObjectIdentifier::builder().key(key).build().map_err(|e| build(&e))?);
            }
            let list =
                Delete::builder().set_objects(Some(list)).quiet(true).build().map_err(|e| build(&e))?;
            let call = self.client.delete_objects().bucket(bucket).delete(list);
            self.check(&doing)?;
            let done = call.send().await.map_err(|e| told(&e, &doing))?;
            if let Some(e) = done.errors().first() {
                let (key, said) = (e.key().unwrap_or("?"), e.message().unwrap_or("no message"));
                let fault = if e.code() == Some("AccessDenied") { Fault::Denied } else { Fault::Broken };
                let said = format!("{} of them were not deleted, first {key}: {said}", done.errors().len());
                return Err(fail(fault, doing, said).asked_with(Some(Credentials::GarageKey)));
            }
        }
        Ok(())
    }

    /// A URL that lets its bearer PUT that one object until it expires (a week at most). Whoever has it needs
    /// nothing else, so treat it as a secret.
    pub async fn presign_put(
        &self,
        bucket: &str,
        key: &str,
        expires: Duration,
    ) -> Result<SecretString, EngineError> {
        let doing = format!("presign an upload of {bucket}/{key}");
        let config = presigning(expires, &doing)?;
        let url = self.client.put_object().bucket(bucket).key(key).presigned(config).await;
        Ok(SecretString::from(url.map_err(|e| told(&e, &doing))?.uri()))
    }

    /// A URL that lets its bearer read that one object until it expires (a week at most).
    pub async fn presign_get(
        &self,
        bucket: &str,
        key: &str,
        expires: Duration,
    ) -> Result<SecretString, EngineError> {
        let doing = format!("presign a download of {bucket}/{key}");
        let config = presigning(expires, &doing)?;
        let url = self.client.get_object().bucket(bucket).key(key).presigned(config).await;
        Ok(SecretString::from(url.map_err(|e| told(&e, &doing))?.uri()))
    }
}

/// Refuses a life over a week before anybody waits for Garage to refuse it.
pub(super) fn presigning(expires: Duration, doing: &str) -> Result<PresigningConfig, EngineError> {
    if expires > PRESIGN_MAX {
        return Err(fail(Fault::Invalid, doing, "a presigned URL lives a week at most"));
    }
    PresigningConfig::expires_in(expires).map_err(|e| fail(Fault::Invalid, doing, e.to_string()))
}

/// The `ETag` that S3 gives to whatever it wrote. Who takes any 200 for a yes believes whoever answers there.
pub(super) fn written(etag: Option<&str>, doing: &str) -> Result<String, EngineError> {
    let etag = bare(etag);
    if etag.is_empty() {
        return Err(fail(Fault::Broken, doing, "the answer has no ETag: this is not S3"));
    }
    Ok(etag)
}

/// Time for an answer to a request with a body of `bytes`. The connect and read limits stay the same for all: the
/// SDK keeps a pool of connections for each pair of them.
fn limits(patience: Duration, bytes: u64) -> TimeoutConfig {
    let whole = patience + Duration::from_secs(bytes / SLOWEST);
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(whole)
        .operation_timeout(whole)
        .build()
}

fn connector(is_tls: bool, options: &HttpOptions) -> Result<SharedHttpClient, EngineError> {
    if !is_tls {
        // No TLS, no authorities to read.
        return Ok(aws_smithy_http_client::Builder::new().build_with_connector_fn(|settings, parts| {
            let mut builder = Connector::builder().proxy_config(ProxyConfig::disabled());
            builder.set_connector_settings(settings.cloned());
            builder.set_sleep_impl(parts.and_then(RuntimeComponents::sleep_impl));
            builder.build_http()
        }));
    }
    let doing = "read TLS settings";
    let mut trust = tls::TrustStore::default();
    if let Some(path) = &options.ca {
        let pem = std::fs::read(path)
            .map_err(|e| fail(Fault::Invalid, doing, format!("authorities in {}: {e}", path.display())))?;
        trust = tls::TrustStore::empty().with_pem_certificate(pem);
    }
    let context = tls::TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|e| fail(Fault::Invalid, doing, e.to_string()))?;
    Ok(aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, parts| {
        let mut builder = Connector::builder().proxy_config(ProxyConfig::disabled());
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(parts.and_then(RuntimeComponents::sleep_impl));
        builder
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .tls_context(context.clone())
            .build()
    }))
}

/// The SDK's error as ours: code and message, never the raw reply.
pub(super) fn told<E>(error: &SdkError<E>, doing: &str) -> EngineError
where
    E: ProvideErrorMetadata,
{
    match error {
        SdkError::TimeoutError(_) => fail(Fault::Away, doing, "no answer in time"),
        SdkError::DispatchFailure(e) => {
            let said = e.as_connector_error().map_or_else(String::new, |e| innermost(e));
            fail(Fault::Away, doing, said)
        }
        SdkError::ServiceError(e) => {
            let status = e.raw().status().as_u16();
            let said = match (e.err().code(), e.err().message()) {
                (Some(code), Some(message)) => format!("HTTP {status} {code}: {message}"),
                (Some(code), None) => format!("HTTP {status} {code}"),
                _ => format!("HTTP {status}"),
            };
            fail(fault_of(status), doing, said).asked_with(Some(Credentials::GarageKey))
        }
        SdkError::ResponseError(e) => {
            let status = e.raw().status().as_u16();
            fail(Fault::Broken, doing, format!("HTTP {status}, and the answer is not S3's"))
        }
        _ => fail(Fault::Invalid, doing, "the request could not be made (an empty bucket name or key?)"),
    }
}

pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn count(n: Option<i64>) -> u64 {
    n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

pub(super) fn bare(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}
