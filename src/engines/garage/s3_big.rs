//! Garage over S3: what is larger than one request. Multipart uploads from a file, from a stream, and by presigned
//! URLs for clients that hold no key. Memory stays bounded whatever the size.
//!
//! An upload that fails is aborted; one whose task is dropped midway stays unfinished in Garage until
//! [`Admin::cleanup_uploads`](super::Admin::cleanup_uploads).

use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::fail;
use super::s3::{S3, bare, presigning, told, written};
use crate::engines::{EngineError, Fault};

/// Bytes of a part. S3 allows 10,000 of them, so a file may have 156 GiB; larger files get larger parts.
pub const PART_SIZE: u64 = 16 << 20;
/// Parts under way at once.
const IN_FLIGHT: usize = 4;
/// What S3 allows.
const PARTS_MAX: u64 = 10_000;

/// A multipart upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Multipart {
    /// The bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// Garage's id of the upload.
    pub upload_id: String,
}

/// A part that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartDone {
    /// From 1.
    pub number: u32,
    /// As the PUT's answer gave it (quotes or not).
    pub etag: String,
    /// Bytes, where known (0 else).
    #[serde(default)]
    pub size: u64,
}

impl S3 {
    /// Writes a file, in parts where it is over 16 MiB. `progress` hears the bytes done so far. Returns the size.
    /// Holds 64 KiB a part in memory, four parts at once.
    pub async fn put_file(
        &self,
        bucket: &str,
        key: &str,
        path: &Path,
        content_type: &str,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<u64, EngineError> {
        let doing = format!("upload {} to {bucket}/{key}", path.display());
        let lost = |e: std::io::Error| fail(Fault::Invalid, &doing, format!("cannot read the file: {e}"));
        let size = tokio::fs::metadata(path).await.map_err(lost)?.len();
        if size <= PART_SIZE {
            let body = slice(path, 0, size, &doing).await?;
            let call = self.client.put_object().bucket(bucket).key(key).content_type(content_type).body(body);
            let call = call.customize().config_override(self.patient(size)).disable_payload_signing();
            self.check(&doing)?;
            let put = call.send().await.map_err(|e| told(&e, &doing))?;
            written(put.e_tag(), &doing)?;
            progress(size);
            return Ok(size);
        }
        let part = size.div_ceil(PARTS_MAX).max(PART_SIZE);
        let upload = self.begin_multipart(bucket, key, content_type).await?;
        let done = self.send_file(&upload, path, size, part, &doing, progress).await;
        self.finish(&upload, done).await?;
        Ok(size)
    }

    async fn send_file(
        &self,
        upload: &Multipart,
        path: &Path,
        size: u64,
        part: u64,
        doing: &str,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Vec<PartDone>, EngineError> {
        let starts = (0..size.div_ceil(part)).map(|i| i * part);
        let mut sending = futures::stream::iter(starts.enumerate().map(|(i, start)| async move {
            let length = part.min(size - start);
            let body = slice(path, start, length, doing).await?;
            self.send_part(upload, i, body, length, doing).await
        }))
        .buffer_unordered(IN_FLIGHT);
        let (mut parts, mut sum) = (Vec::new(), 0);
        while let Some(done) = sending.next().await {
            let done = done?;
            sum += done.size;
            parts.push(done);
            progress(sum);
        }
        Ok(parts)
    }

    /// Writes a stream of unknown length. Returns the size. Holds up to three parts of 16 MiB in memory.
    pub async fn put_stream(
        &self,
        bucket: &str,
        key: &str,
        mut from: impl AsyncRead + Send + Unpin,
        content_type: &str,
    ) -> Result<u64, EngineError> {
        let doing = format!("upload a stream to {bucket}/{key}");
        let first = fill(&mut from, &doing).await?;
        if (first.len() as u64) < PART_SIZE {
            let size = first.len() as u64;
            self.put(bucket, key, first, content_type).await?;
            return Ok(size);
        }
        let upload = self.begin_multipart(bucket, key, content_type).await?;
        let done = self.send_stream(&upload, first, from, &doing).await;
        let size = done.as_ref().map_or(0, |parts| parts.iter().map(|p| p.size).sum());
        self.finish(&upload, done).await?;
        Ok(size)
    }

    async fn send_stream(
        &self,
        upload: &Multipart,
        first: Bytes,
        from: impl AsyncRead + Send + Unpin,
        doing: &str,
    ) -> Result<Vec<PartDone>, EngineError> {
        // Two parts under way while the third fills.
        let chunks = futures::stream::unfold((Some(first), from), move |(first, mut from)| async move {
            let chunk = match first {
                Some(chunk) => Ok(chunk),
                None => fill(&mut from, doing).await,
            };
            match chunk {
                Ok(chunk) if chunk.is_empty() => None,
                chunk => Some((chunk, (None, from))),
            }
        })
        // Boxed, or else no handler of a web server can hold this future: rustc cannot prove it `Send` (E0308).
        .boxed();
        let mut sending = std::pin::pin!(
            chunks
                .enumerate()
                .map(|(i, chunk)| async move {
                    let chunk = chunk?;
                    let size = chunk.len() as u64;
                    self.send_part(upload, i, ByteStream::from(chunk), size, doing).await
                })
                .buffer_unordered(2)
        );
        let mut parts = Vec::new();
        while let Some(done) = sending.next().await {
            parts.push(done?);
        }
        Ok(parts)
    }

    async fn send_part(
        &self,
        upload: &Multipart,
        index: usize,
        body: ByteStream,
        size: u64,
        doing: &str,
    ) -> Result<PartDone, EngineError> {
        let number = part_number(index, doing)?;
        let call = self.client.upload_part().bucket(&upload.bucket).key(&upload.key);
        let call = call.upload_id(&upload.upload_id).part_number(number).content_length(length(size, doing)?);
        let call = call.body(body).customize().config_override(self.patient(size)).disable_payload_signing();
        self.check(doing)?;
        let sent = call.send().await.map_err(|e| told(&e, doing))?;
        Ok(PartDone { number: number.unsigned_abs(), etag: written(sent.e_tag(), doing)?, size })
    }

    /// Completes an upload whose parts all went well, else aborts it and says what went wrong.
    async fn finish(
        &self,
        upload: &Multipart,
        done: Result<Vec<PartDone>, EngineError>,
    ) -> Result<(), EngineError> {
        let done = match done {
            Ok(parts) => self.complete_multipart(upload, &parts).await,
            Err(e) => Err(e),
        };
        if done.is_err() {
            // Best effort: what stays is swept by `cleanup_uploads`, and the first error is the one that counts.
            let _ = self.abort_multipart(upload).await;
        }
        done
    }

    /// Begins an upload in parts.
    pub async fn begin_multipart(
        &self,
        bucket: &str,
        key: &str,
        content_type: &str,
    ) -> Result<Multipart, EngineError> {
        let doing = format!("begin the upload of {bucket}/{key}");
        let call = self.client.create_multipart_upload().bucket(bucket).key(key).content_type(content_type);
        self.check(&doing)?;
        let begun = call.send().await.map_err(|e| told(&e, &doing))?;
        let upload_id =
            begun.upload_id().ok_or_else(|| fail(Fault::Broken, &doing, "the answer names no upload"))?;
        Ok(Multipart { bucket: bucket.into(), key: key.into(), upload_id: upload_id.into() })
    }

    /// A URL that lets its bearer PUT that one part until it expires (a week at most). Treat it as a secret.
    pub async fn presign_part(
        &self,
        upload: &Multipart,
        number: u32,
        expires: Duration,
    ) -> Result<SecretString, EngineError> {
        let doing = format!("presign part {number} of {}/{}", upload.bucket, upload.key);
        let index = usize::try_from(number).unwrap_or(0).checked_sub(1);
        let index = index.ok_or_else(|| fail(Fault::Invalid, &doing, "parts are counted from 1"))?;
        let call = self.client.upload_part().bucket(&upload.bucket).key(&upload.key);
        let call = call.upload_id(&upload.upload_id).part_number(part_number(index, &doing)?);
        let url = call.presigned(presigning(expires, &doing)?).await.map_err(|e| told(&e, &doing))?;
        Ok(SecretString::from(url.uri()))
    }

    /// Makes the object out of its parts. Order does not matter here; a missing part is [`Fault::Invalid`].
    pub async fn complete_multipart(
        &self,
        upload: &Multipart,
        parts: &[PartDone],
    ) -> Result<(), EngineError> {
        let doing = format!("complete the upload of {}/{}", upload.bucket, upload.key);
        let mut parts: Vec<_> = parts.iter().collect();
        parts.sort_by_key(|p| p.number);
        let list = parts.iter().map(|p| {
            let number = i32::try_from(p.number).unwrap_or(i32::MAX);
            CompletedPart::builder()
                .part_number(number)
                .e_tag(format!("\"{}\"", p.etag.trim_matches('"')))
                .build()
        });
        let list = CompletedMultipartUpload::builder().set_parts(Some(list.collect())).build();
        let call = self.client.complete_multipart_upload().bucket(&upload.bucket).key(&upload.key);
        // Garage reads nothing again here, but checks and writes a line for each part.
        let call = call.upload_id(&upload.upload_id).multipart_upload(list);
        let call = call.customize().config_override(self.patient(parts.len() as u64 * 1024));
        self.check(&doing)?;
        let made = call.send().await.map_err(|e| told(&e, &doing))?;
        written(made.e_tag(), &doing).map(|_| ())
    }

    /// Gives an object, `(bucket, key)`, a second name. Garage copies no bytes: both names share the blocks.
    pub async fn copy(&self, from: (&str, &str), to: (&str, &str)) -> Result<(), EngineError> {
        let doing = format!("copy {}/{} to {}/{}", from.0, from.1, to.0, to.1);
        let call = self.client.copy_object().copy_source(format!("{}/{}", from.0, from.1));
        let call = call.bucket(to.0).key(to.1);
        self.check(&doing)?;
        call.send().await.map_err(|e| told(&e, &doing))?;
        Ok(())
    }

    /// Gives an upload up. Idempotent: one that is gone is no fault.
    pub async fn abort_multipart(&self, upload: &Multipart) -> Result<(), EngineError> {
        let doing = format!("abort the upload of {}/{}", upload.bucket, upload.key);
        let call = self.client.abort_multipart_upload().bucket(&upload.bucket).key(&upload.key);
        let call = call.upload_id(&upload.upload_id);
        self.check(&doing)?;
        match call.send().await.map_err(|e| told(&e, &doing)) {
            Err(e) if e.fault != Fault::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Uploads of exactly that key that were begun and not finished, for resuming.
    pub async fn unfinished(&self, bucket: &str, key: &str) -> Result<Vec<Multipart>, EngineError> {
        let doing = format!("list unfinished uploads of {bucket}/{key}");
        let call = self.client.list_multipart_uploads().bucket(bucket).prefix(key);
        let page = call.send().await.map_err(|e| told(&e, &doing))?;
        let of_key = page.uploads().iter().filter(|u| u.key() == Some(key));
        Ok(of_key
            .filter_map(aws_sdk_s3::types::MultipartUpload::upload_id)
            .map(|id| Multipart { bucket: bucket.into(), key: key.into(), upload_id: id.into() })
            .collect())
    }

    /// The parts that an unfinished upload has already, in order.
    pub async fn parts_done(&self, upload: &Multipart) -> Result<Vec<PartDone>, EngineError> {
        let doing = format!("list the parts of {}/{}", upload.bucket, upload.key);
        let mut all = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let call = self.client.list_parts().bucket(&upload.bucket).key(&upload.key);
            let call = call.upload_id(&upload.upload_id).set_part_number_marker(marker);
            let page = call.send().await.map_err(|e| told(&e, &doing))?;
            all.extend(page.parts().iter().filter_map(|p| {
                Some(PartDone {
                    number: u32::try_from(p.part_number()?).ok()?,
                    etag: bare(p.e_tag()),
                    size: u64::try_from(p.size()?).ok()?,
                })
            }));
            marker = page.next_part_number_marker().map(str::to_owned);
            if marker.is_none() || page.is_truncated() != Some(true) {
                return Ok(all);
            }
        }
    }
}

async fn slice(path: &Path, start: u64, size: u64, doing: &str) -> Result<ByteStream, EngineError> {
    let body = ByteStream::read_from().path(path).offset(start).length(Length::Exact(size)).build().await;
    body.map_err(|e| {
        fail(Fault::Invalid, doing, format!("cannot read the file: {}", super::s3::innermost(&e)))
    })
}

/// The next 16 MiB, less only at the end.
async fn fill(from: &mut (impl AsyncRead + Unpin), doing: &str) -> Result<Bytes, EngineError> {
    let mut buffer = BytesMut::new();
    let mut from = from.take(PART_SIZE);
    loop {
        buffer.reserve(256 << 10);
        let n = from.read_buf(&mut buffer).await;
        let n = n.map_err(|e| fail(Fault::Invalid, doing, format!("cannot read the stream: {e}")))?;
        if n == 0 {
            return Ok(buffer.freeze());
        }
    }
}

fn part_number(index: usize, doing: &str) -> Result<i32, EngineError> {
    let number = i32::try_from(index + 1).ok().filter(|n| i64::from(*n) <= PARTS_MAX.cast_signed());
    number.ok_or_else(|| fail(Fault::TooLarge, doing, "more than 10,000 parts"))
}

fn length(size: u64, doing: &str) -> Result<i64, EngineError> {
    i64::try_from(size).map_err(|_| fail(Fault::TooLarge, doing, "the part is too large"))
}
