//! Uploads: straight to Garage by presigned multipart PUTs, or streamed through the agent; each part once.

use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::io::AsyncRead;

use super::{Deployer, Error};
use crate::engines::garage::Multipart as S3Multipart;
use crate::model::artifact::ArtifactPart;
use crate::model::head::AppState;
use crate::model::wire::{CompleteUpload, Multipart, PartUpload, UploadsAnswer};
use crate::model::{Placement, Sha256Hex};

/// Bytes of one PUT.
const PART: u64 = 16 << 20;
/// The largest archive that is taken.
const LARGEST: u64 = 64 << 30;
/// How long a presigned URL opens.
const OPEN: Duration = Duration::from_hours(6);

impl Deployer {
    /// The capability that an app's artifacts lie under: its own, or for a first deploy the ticket, or a fresh one.
    async fn capability(&self, app: &Placement, ticket: Option<&str>) -> Result<String, Error> {
        let head =
            self.runner.store().head(app).await?.map(|h| h.value).filter(|h| h.state != AppState::Deleted);
        match (head, ticket) {
            (Some(head), _) => Ok(head.capability),
            (None, Some(t)) if Sha256Hex::new(t).is_ok() => Ok(t.to_owned()),
            (None, Some(_)) => {
                Err(Error::Invalid("the ticket is not one that an upload was given".to_owned()))
            }
            (None, None) => Ok(hex::encode(rand::random::<[u8; 32]>())),
        }
    }

    /// Begins the upload of an artifact: says what is there already, and where the rest goes.
    pub async fn uploads_begin(
        &self,
        app: &Placement,
        parts: &[ArtifactPart],
    ) -> Result<UploadsAnswer, Error> {
        let capability = self.capability(app, None).await?;
        let hands = self.runner.hands();
        let mut answer = UploadsAnswer { ticket: capability.clone(), parts: Vec::new() };
        for part in parts {
            check(part)?;
            let key = part.key(&capability);
            let found = hands.s3.head(&hands.artifacts, &key).await?;
            let present = found.is_some_and(|o| o.size == part.size);
            let upload = if present {
                None
            } else {
                let begun = hands.s3.begin_multipart(&hands.artifacts, &key, "application/zstd").await?;
                let count = part.size.div_ceil(PART).max(1);
                let mut urls = Vec::new();
                for n in 1..=count {
                    let n = u32::try_from(n).map_err(|_| Error::Invalid("too many parts".to_owned()))?;
                    urls.push(hands.s3.presign_part(&begun, n, OPEN).await?.expose_secret().to_owned());
                }
                Some(Multipart { id: begun.upload_id.clone(), part_size: PART, urls })
            };
            answer.parts.push(PartUpload { sha256: part.sha256.clone(), present, upload });
        }
        Ok(answer)
    }

    /// Ends an upload to Garage.
    pub async fn uploads_complete(
        &self,
        app: &Placement,
        sha256: &Sha256Hex,
        request: &CompleteUpload,
    ) -> Result<(), Error> {
        let capability = self.capability(app, Some(&request.ticket)).await?;
        let part = part_of(sha256, &request.ext)?;
        let hands = self.runner.hands();
        let upload = S3Multipart {
            bucket: hands.artifacts.clone(),
            key: part.key(&capability),
            upload_id: request.upload_id.clone(),
        };
        let done = request.etags.iter().zip(1..).map(|(etag, n)| crate::engines::garage::PartDone {
            number: n,
            etag: etag.clone(),
            size: 0,
        });
        let done: Vec<_> = done.collect();
        hands.s3.complete_multipart(&upload, &done).await?;
        Ok(())
    }

    /// Takes an upload through the agent, streamed: for those who do not reach Garage.
    pub async fn uploads_stream(
        &self,
        app: &Placement,
        sha256: &Sha256Hex,
        ext: &str,
        ticket: Option<&str>,
        reader: impl AsyncRead + Send + Unpin,
    ) -> Result<(), Error> {
        let capability = self.capability(app, ticket).await?;
        let key = part_of(sha256, ext)?.key(&capability);
        let hands = self.runner.hands();
        hands.s3.put_stream(&hands.artifacts, &key, reader, "application/zstd").await?;
        Ok(())
    }
}

fn check(part: &ArtifactPart) -> Result<(), Error> {
    part_of(&part.sha256, &part.ext)?;
    if part.size == 0 || part.size > LARGEST {
        return Err(Error::Invalid(format!("an archive of {} bytes; 1 byte to 64 GiB are taken", part.size)));
    }
    if part.entries > 4_000 {
        return Err(Error::Invalid(format!("an archive of {} entries; 4,000 are taken", part.entries)));
    }
    Ok(())
}

/// A part by its hash; the extension decides how Nomad unpacks it, so only ours are taken.
fn part_of(sha256: &Sha256Hex, ext: &str) -> Result<ArtifactPart, Error> {
    if !matches!(ext, "tar.zst" | "tar.gz") {
        return Err(Error::Invalid(format!("archives of the kind {ext:?} are not taken; send tar.zst")));
    }
    Ok(ArtifactPart { sha256: sha256.clone(), size: 0, ext: ext.to_owned(), entries: 0 })
}
