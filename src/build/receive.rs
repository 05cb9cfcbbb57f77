//! The agent's side of an upload: says what is missing, hands out presigned URLs, and believes nothing before it has
//! read the parts itself (their hash, their size, the app's secrets in them).

use std::io::{self, Read};
use std::time::Duration;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::archive::{Limits, PART_ENTRIES};
use super::bridge::Bridge;
use super::scan::{ScanError, Secrets, scan};
use super::upload::Store;
use crate::engines::EngineError;
use crate::engines::garage::{Multipart, PART_SIZE, PartDone, S3};
use crate::model::artifact::ArtifactPart;
use crate::model::wire;

/// Formats that are accepted.
const EXTENSIONS: [&str; 2] = ["tar.zst", "tar"];

/// Why an upload was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Garage said no.
    #[error(transparent)]
    Garage(#[from] EngineError),
    /// What was asked for is wrong; the message is for the asker.
    #[error("{0}")]
    Asked(String),
    /// The bytes are not what they were announced as. They were deleted.
    #[error("part {sha256} is not what was announced ({why}): upload it again")]
    Mismatch {
        /// The part as announced.
        sha256: String,
        /// What differs.
        why: String,
    },
    /// It could not be searched. It was deleted.
    #[error("part {sha256} is refused: {why}")]
    Refused {
        /// The part.
        sha256: String,
        /// Why.
        why: ScanError,
    },
}

/// The artifact bucket as the agent sees it.
#[derive(Debug, Clone)]
pub struct Reception {
    /// The agent's own way to Garage.
    pub s3: S3,
    /// The same key at the address that clients reach: presigned URLs point there.
    pub public: S3,
    /// The bucket's name.
    pub bucket: String,
    /// How long URLs live. At most a week.
    pub expires: Duration,
    /// Of one artifact.
    pub limits: Limits,
}

impl Reception {
    /// Says which parts are there, and begins the upload of the others. `capability` is the app's 64 hex digits.
    pub async fn begin(
        &self,
        capability: &str,
        parts: &[ArtifactPart],
    ) -> Result<Vec<wire::PartUpload>, ReceiveError> {
        is_capability(capability)?;
        self.check(parts)?;
        let mut answers = Vec::with_capacity(parts.len());
        for part in parts {
            let key = part.key(capability);
            let there = self.s3.head(&self.bucket, &key).await?;
            if there.is_some_and(|o| o.size == part.size) {
                answers.push(wire::PartUpload { sha256: part.sha256.clone(), present: true, upload: None });
                continue;
            }
            let upload = self.s3.begin_multipart(&self.bucket, &key, "application/octet-stream").await?;
            let mut urls = Vec::new();
            for number in 1..=pieces(part)? {
                let url = self.public.presign_part(&upload, number, self.expires).await?;
                urls.push(url.expose_secret().to_owned());
            }
            let upload = wire::Multipart { id: upload.upload_id, part_size: PART_SIZE, urls };
            answers.push(wire::PartUpload {
                sha256: part.sha256.clone(),
                present: false,
                upload: Some(upload),
            });
        }
        Ok(answers)
    }

    /// Makes a part of its pieces. Idempotent: a part that is there already is done.
    pub async fn complete(
        &self,
        capability: &str,
        part: &ArtifactPart,
        done: &wire::CompleteUpload,
    ) -> Result<(), ReceiveError> {
        is_capability(capability)?;
        self.check(std::slice::from_ref(part))?;
        let key = part.key(capability);
        let etags = done.etags.iter().zip(1..);
        let pieces: Vec<_> =
            etags.map(|(etag, number)| PartDone { number, etag: etag.clone(), size: 0 }).collect();
        let upload =
            Multipart { bucket: self.bucket.clone(), key: key.clone(), upload_id: done.upload_id.clone() };
        match self.s3.complete_multipart(&upload, &pieces).await {
            Ok(()) => Ok(()),
            Err(e) => match self.s3.head(&self.bucket, &key).await? {
                Some(there) if there.size == part.size => Ok(()),
                _ => Err(e.into()),
            },
        }
    }

    /// Reads a part from Garage to its end: checks size and SHA-256, and searches it for secrets. Returns the names
    /// of those found; the caller decides. A part that is not what its name says is deleted, so that the next upload
    /// sends it again. Call it for each part before a release names it: `begin` looks at sizes only.
    pub async fn verify(
        &self,
        capability: &str,
        part: &ArtifactPart,
        secrets: Secrets,
    ) -> Result<Vec<String>, ReceiveError> {
        is_capability(capability)?;
        let key = part.key(capability);
        let Some(found) = self.s3.get_stream(&self.bucket, &key).await? else {
            let why = "it is not there".to_owned();
            return Err(ReceiveError::Mismatch { sha256: part.sha256.to_string(), why });
        };
        let (ext, limit) = (part.ext.clone(), self.limits.bytes.saturating_mul(2));
        let reader = Bridge::new(found.reader);
        let work = tokio::task::spawn_blocking(move || {
            let mut from = Hashing { from: reader, hash: Sha256::new(), size: 0, fault: None };
            let names = scan(&mut from, &ext, &secrets, limit);
            // What the format did not read counts for the hash all the same.
            let rest = if names.is_ok() { io::copy(&mut from, &mut io::sink()).map(|_| ()) } else { Ok(()) };
            let fault = from.fault.take().or(rest.err());
            (names, fault, from.size, hex::encode(from.hash.finalize()))
        });
        let (names, fault, size, sha256) = work.await.map_err(|e| ReceiveError::Asked(e.to_string()))?;
        if let Some(e) = fault {
            // The link to Garage broke: says nothing about the part.
            let engine = crate::engines::Engine::Garage;
            let doing = format!("read part {}", part.sha256);
            return Err(EngineError::new(engine, crate::engines::Fault::Away, doing, e.to_string()).into());
        }
        let told: Result<(), String> = match names {
            Ok(_) if size != part.size => Err(format!("{size} bytes, not {}", part.size)),
            Ok(_) if sha256 != part.sha256.as_str() => Err(format!("its SHA-256 is {sha256}")),
            Ok(names) => return Ok(names),
            Err(why) => {
                self.s3.delete(&self.bucket, &key).await?;
                return Err(ReceiveError::Refused { sha256: part.sha256.to_string(), why });
            }
        };
        self.s3.delete(&self.bucket, &key).await?;
        let why = told.err().unwrap_or_default();
        Err(ReceiveError::Mismatch { sha256: part.sha256.to_string(), why })
    }

    fn check(&self, parts: &[ArtifactPart]) -> Result<(), ReceiveError> {
        let asked = |why: String| Err(ReceiveError::Asked(why));
        let entries: usize = parts.iter().map(|p| p.entries as usize).sum();
        let bytes = parts.iter().fold(0_u64, |sum, p| sum.saturating_add(p.size));
        if parts.is_empty() {
            return asked("an artifact has at least one part".into());
        }
        if entries > self.limits.entries || bytes > self.limits.bytes || parts.len() > self.limits.entries {
            let Limits { entries, bytes } = self.limits;
            return asked(format!("an artifact has at most {entries} files and {bytes} bytes"));
        }
        for part in parts {
            if !EXTENSIONS.contains(&part.ext.as_str()) {
                return asked(format!("a part is a {}, not a {:?}", EXTENSIONS.join(" or a "), part.ext));
            }
            if part.entries as usize > PART_ENTRIES {
                return asked(format!("a part has at most {PART_ENTRIES} files (Nomad refuses more)"));
            }
            pieces(part)?;
        }
        Ok(())
    }
}

/// Garage reached directly, for who holds its key: the operator's `--direct`, and tests.
#[derive(Clone)]
pub struct Direct {
    /// The bucket.
    pub to: Reception,
    /// The app's 64 hex digits.
    pub capability: String,
}

impl std::fmt::Debug for Direct {
    /// Without the capability.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").field("to", &self.to).finish_non_exhaustive()
    }
}

impl Store for Direct {
    type Error = ReceiveError;

    async fn begin(&self, parts: &[ArtifactPart]) -> Result<wire::UploadsAnswer, ReceiveError> {
        let parts = self.to.begin(&self.capability, parts).await?;
        Ok(wire::UploadsAnswer { ticket: self.capability.clone(), parts })
    }

    async fn complete(&self, part: &ArtifactPart, done: wire::CompleteUpload) -> Result<(), ReceiveError> {
        self.to.complete(&self.capability, part, &done).await
    }
}

fn is_capability(text: &str) -> Result<(), ReceiveError> {
    let ok = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if ok { Ok(()) } else { Err(ReceiveError::Asked("a capability is 64 hex digits".into())) }
}

fn pieces(part: &ArtifactPart) -> Result<u32, ReceiveError> {
    let n = part.size.div_ceil(PART_SIZE).max(1);
    u32::try_from(n)
        .ok()
        .filter(|n| *n <= 10_000)
        .ok_or_else(|| ReceiveError::Asked(format!("a part has at most {} bytes", PART_SIZE * 10_000)))
}

/// Hashes what is read, and keeps faults of the link apart from faults of the format.
struct Hashing<R> {
    from: R,
    hash: Sha256,
    size: u64,
    fault: Option<io::Error>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.from.read(buffer) {
            Ok(n) => {
                self.hash.update(&buffer[..n]);
                self.size += n as u64;
                Ok(n)
            }
            Err(e) => {
                let told = io::Error::from(e.kind());
                if e.kind() != io::ErrorKind::Interrupted {
                    self.fault = Some(e);
                }
                Err(told)
            }
        }
    }
}
