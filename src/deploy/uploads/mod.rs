//! Uploads: straight to Garage by presigned multipart PUTs, or streamed through the agent.
//!
//! What lies under an app's capability was read by an agent, from its first byte to its last, and is what its name
//! says: an upload lands in the agents' private bucket under a name of its own, is judged there, and only then gets
//! its name; one that passes through the agent is judged in passing, and never completed where it is refused. So
//! nothing is remembered about what was judged, and a part that is there is not read again.

mod room;

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::io::AsyncRead;

pub(super) use room::Room;

use super::{Deployer, Error};
use crate::archive::scan::Secrets;
use crate::archive::{Format, Limits, Refused, Wanted, judge};
use crate::engines::garage::{Multipart as S3Multipart, PART_SIZE, PartDone};
use crate::engines::{EngineError, Fault};
use crate::model::artifact::{Artifact, ArtifactPart};
use crate::model::head::AppState;
use crate::model::wire::{CompleteUpload, Multipart, PartUpload, UploadsAnswer};
use crate::model::{Head, Placement, SecretName, Sha256Hex};
use crate::resources::secret;
use crate::store::records::By;

/// The largest artifact, packed: a little over what it may unpack to, for what does not compress.
const LARGEST: u64 = 21 << 30;
/// Parts of an artifact at most: as many as hold all its files, and some.
const PARTS: usize = 64;
/// How long a presigned URL opens.
const OPEN: Duration = Duration::from_hours(6);
/// Where uploads wait to be judged.
const WAITING: &str = "uploads/";
/// What waits for longer, or was begun and not ended, is given up.
const ABANDONED: Duration = Duration::from_hours(24);

impl Deployer {
    /// Begins the upload of an artifact: says what is there already, and where the rest goes.
    pub async fn uploads_begin(
        &self,
        by: &By,
        app: &Placement,
        parts: &[ArtifactPart],
    ) -> Result<UploadsAnswer, Error> {
        check(parts)?;
        let head = self.any_head(app).await?;
        let capability = self.capability(by, app, head.as_ref(), None).await?;
        let hands = self.runner.hands();
        let mut answer = UploadsAnswer { ticket: capability.clone(), parts: Vec::new() };
        for part in parts {
            let found = hands.s3.head(&hands.artifacts, &part.key(&capability)).await?;
            let upload = match found {
                // It is what its hash says, so the announcement is wrong.
                Some(found) if found.size != part.size => {
                    let text = format!("part {} has {} bytes, not {}", part.sha256, found.size, part.size);
                    return Err(Error::Invalid(text));
                }
                Some(_) => None,
                None => Some(self.begin(&capability, part).await?),
            };
            let present = upload.is_none();
            answer.parts.push(PartUpload { sha256: part.sha256.clone(), present, upload });
        }
        Ok(answer)
    }

    async fn begin(&self, capability: &str, part: &ArtifactPart) -> Result<Multipart, Error> {
        let hands = self.runner.hands();
        // A name of its own: what one upload has put, no other one can put anew while it is read.
        let own = hex::encode(rand::random::<[u8; 16]>());
        let kind = format_of(&part.ext)?.content_type();
        let begun =
            hands.s3.begin_multipart(hands.objects.bucket(), &waiting(capability, &own), kind).await?;
        let mut urls = Vec::new();
        for n in 1..=part.size.div_ceil(PART_SIZE).max(1) {
            let n = u32::try_from(n).map_err(|_| Error::TooLarge("too many pieces".to_owned()))?;
            urls.push(hands.s3.presign_part(&begun, n, OPEN).await?.expose_secret().to_owned());
        }
        Ok(Multipart { id: format!("{own}.{}", begun.upload_id), part_size: PART_SIZE, urls })
    }

    /// Ends an upload to Garage: reads what was put, and gives it its name. Done again, it ends the same.
    pub async fn uploads_complete(
        &self,
        by: &By,
        app: &Placement,
        sha256: &Sha256Hex,
        request: &CompleteUpload,
    ) -> Result<(), Error> {
        let head = self.any_head(app).await?;
        let capability = self.capability(by, app, head.as_ref(), Some(&request.ticket)).await?;
        let wanted = wanted(sha256, &request.ext)?;
        let key = key_of(&wanted, &capability);
        let hands = self.runner.hands();
        let unknown = || Error::NotFound(format!("there is no such upload of {app}; begin again"));
        let (own, id) = request.upload_id.split_once('.').ok_or_else(unknown)?;
        if own.len() != 32 || !own.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        let upload = S3Multipart {
            bucket: hands.objects.bucket().to_owned(),
            key: waiting(&capability, own),
            upload_id: id.to_owned(),
        };
        if hands.s3.head(&hands.artifacts, &key).await?.is_some() {
            // Somebody was faster with the same bytes, or this is a second try.
            let _ = hands.s3.abort_multipart(&upload).await;
            return Ok(hands.s3.delete(&upload.bucket, &upload.key).await?);
        }
        let done = request.etags.iter().zip(1..);
        let done: Vec<_> =
            done.map(|(etag, number)| PartDone { number, etag: etag.clone(), size: 0 }).collect();
        if let Err(e) = hands.s3.complete_multipart(&upload, &done).await {
            match e.fault {
                // Put together by an earlier try whose answer was lost, or never put whole.
                Fault::NotFound | Fault::Invalid | Fault::Conflict => {
                    if hands.s3.head(&upload.bucket, &upload.key).await?.is_none() {
                        // Another try of the same call may have done it all meanwhile.
                        let is_there = hands.s3.head(&hands.artifacts, &key).await?.is_some();
                        return if is_there { Ok(()) } else { Err(unknown()) };
                    }
                }
                _ => return Err(e.into()),
            }
        }
        let secrets = self.secrets(app, head.as_ref()).await?;
        let done = async {
            self.read(&upload.bucket, &upload.key, wanted, secrets).await?;
            Ok(hands.s3.copy((&upload.bucket, &upload.key), (&hands.artifacts, &key)).await?)
        };
        match done.await {
            Ok(()) => Ok(hands.s3.delete(&upload.bucket, &upload.key).await?),
            Err(Error::Engine(e)) => match hands.s3.head(&hands.artifacts, &key).await? {
                // Another try of the same call has done it meanwhile, and taken it away.
                Some(_) => Ok(()),
                None => Err(e.into()),
            },
            Err(refused) => {
                hands.s3.delete(&upload.bucket, &upload.key).await?;
                Err(refused)
            }
        }
    }

    /// Takes an upload through the agent, streamed, for those who do not reach Garage; judged in passing. `size` is
    /// what the request says, where it does.
    pub async fn uploads_stream(
        &self,
        by: &By,
        app: &Placement,
        (sha256, ext): (&Sha256Hex, &str),
        (ticket, size): (Option<&str>, Option<u64>),
        reader: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<(), Error> {
        let wanted = wanted(sha256, ext)?;
        if size.is_some_and(|n| n > LARGEST) {
            return Err(too_large());
        }
        let head = self.any_head(app).await?;
        let capability = self.capability(by, app, head.as_ref(), ticket).await?;
        let (key, kind) = (key_of(&wanted, &capability), wanted.format.content_type());
        let hands = self.runner.hands();
        let secrets = self.secrets(app, head.as_ref()).await?;
        let _place = self.room.passing.acquire().await;
        let (reader, verdict) = judge::in_passing(reader, wanted, secrets);
        let put = hands.s3.put_stream(&hands.artifacts, &key, reader, kind).await;
        match (put, verdict.take()) {
            (_, Some(Err(why))) => Err(refused(sha256, &why)),
            (Ok(_), Some(Ok(_))) => Ok(()),
            // Somebody was faster with the same bytes: Garage forgets what was begun before.
            (Err(e), Some(Ok(_))) => match hands.s3.head(&hands.artifacts, &key).await? {
                Some(_) => Ok(()),
                None => Err(e.into()),
            },
            // Never without a verdict: the reader ends well only with one.
            (Ok(_), None) => Err(Error::Invalid("the body was not judged; send it again".to_owned())),
            (Err(e), _) if e.fault == Fault::Invalid => {
                Err(Error::Invalid(format!("{}; send it again", e.message)))
            }
            (Err(e), _) => Err(e.into()),
        }
    }

    /// Reads an object to its end and judges it.
    async fn read(
        &self,
        bucket: &str,
        key: &str,
        wanted: Wanted,
        secrets: Arc<Secrets>,
    ) -> Result<(), Error> {
        let _place = self.room.reading.acquire().await;
        let sha256 = wanted.sha256.clone();
        let lost = |fault, why: String| {
            let doing = format!("read part {sha256}");
            EngineError::new(crate::engines::Engine::Garage, fault, doing, why)
        };
        let found = self.runner.hands().s3.get_stream(bucket, key).await?;
        let found = found.ok_or_else(|| lost(Fault::NotFound, "it is not there".to_owned()))?;
        match judge::judge(found.reader, wanted, secrets).await {
            Ok(_) => Ok(()),
            Err(why) if why.is_about_the_bytes() => Err(refused(&sha256, &why)),
            Err(why) => Err(lost(Fault::Away, why.to_string()).into()),
        }
    }

    /// The head of an app, deleted or not.
    pub(super) async fn any_head(&self, app: &Placement) -> Result<Option<Head>, Error> {
        Ok(self.runner.store().head(app).await?.map(|h| h.value))
    }

    /// The values that an app has now.
    async fn secrets(&self, app: &Placement, head: Option<&Head>) -> Result<Arc<Secrets>, Error> {
        let consul = &self.runner.hands().consul;
        let current = head.filter(|h| h.state != AppState::Deleted).into_iter().flat_map(|h| &h.secrets);
        let reads = current.map(|(name, version)| async move {
            match secret::read(consul, app, name, *version).await {
                Ok(value) => Ok(Some((name.as_str(), value))),
                // Being made, or taken back: nobody knows it yet.
                Err(e) if e.fault == Fault::NotFound => Ok(None),
                Err(e) => Err(e),
            }
        });
        let values: Vec<_> = futures::future::try_join_all(reads).await?.into_iter().flatten().collect();
        Ok(Arc::new(Secrets::new(values.iter().map(|(name, value)| (*name, value)))))
    }

    /// Looks for values that came with a deploy in the parts that it names: when those were uploaded, nobody knew
    /// them. Only here a part is read a second time.
    pub(super) async fn look_for_given<'a>(
        &self,
        capability: &str,
        artifact: &Artifact,
        given: impl IntoIterator<Item = (&'a SecretName, &'a secrecy::SecretString)>,
    ) -> Result<(), Error> {
        let given: Vec<_> = given.into_iter().collect();
        let secrets = Secrets::new(given.iter().map(|(name, value)| (name.as_str(), *value)));
        if secrets.is_empty() {
            return Ok(());
        }
        let secrets = Arc::new(secrets);
        let artifacts = &self.runner.hands().artifacts;
        for part in &artifact.parts {
            let wanted = wanted(&part.sha256, &part.ext)?;
            let key = key_of(&wanted, capability);
            // A part is named by its content: what was not in it is not in it now.
            let look = self.room.look(&key, &given);
            if self.room.was_looked(&look) {
                continue;
            }
            match self.read(artifacts, &key, wanted, Arc::clone(&secrets)).await {
                Err(Error::Engine(e)) if e.fault == Fault::NotFound => {
                    return Err(not_uploaded(&part.sha256));
                }
                read => read?,
            }
            self.room.remember(look);
        }
        Ok(())
    }

    /// Everything that a release names is there, as long as it says: an allocation would wait for it for ever.
    pub(super) async fn check_artifact(&self, capability: &str, artifact: &Artifact) -> Result<(), Error> {
        let hands = self.runner.hands();
        let looks = artifact.parts.iter().map(|p| async move {
            match hands.s3.head(&hands.artifacts, &p.key(capability)).await? {
                Some(info) if info.size == p.size => Ok(()),
                _ => Err(not_uploaded(&p.sha256)),
            }
        });
        futures::future::try_join_all(looks).await.map(|_| ())
    }

    /// Gives up what was begun and not ended a day ago. Returns how many uploads.
    pub async fn uploads_sweep(&self) -> Result<u64, EngineError> {
        let hands = self.runner.hands();
        let mut swept = 0;
        for bucket in [hands.objects.bucket(), hands.artifacts.as_str()] {
            if let Some(found) = hands.garage.bucket_by_alias(bucket).await? {
                swept += hands.garage.cleanup_uploads(&found.id, ABANDONED).await?;
            }
        }
        let bucket = hands.objects.bucket();
        let before = self.runner.now().as_second().saturating_sub_unsigned(ABANDONED.as_secs());
        let listed = hands.s3.list(bucket, WAITING).await?;
        let old: Vec<_> = listed.into_iter().filter(|o| o.modified < before).map(|o| o.key).collect();
        if !old.is_empty() {
            hands.s3.delete_many(bucket, &old).await?;
        }
        Ok(swept + old.len() as u64)
    }
}

fn waiting(capability: &str, own: &str) -> String {
    format!("{WAITING}{capability}/{own}")
}

/// What is told of an artifact before anything of it is there.
pub(super) fn check(parts: &[ArtifactPart]) -> Result<(), Error> {
    if parts.is_empty() || parts.len() > PARTS {
        return Err(Error::Invalid(format!("an artifact of {} parts; 1 to {PARTS} are taken", parts.len())));
    }
    let Limits { entries, .. } = Limits::ARTIFACT;
    let files: u64 = parts.iter().map(|p| u64::from(p.entries)).sum();
    if files > entries as u64 {
        return Err(Error::Invalid(format!("an artifact of {files} files; {entries} are taken")));
    }
    for part in parts {
        format_of(&part.ext)?;
        if part.size == 0 {
            return Err(Error::Invalid(format!("part {} has no bytes", part.sha256)));
        }
        if part.entries as usize > Limits::PART.entries {
            let most = Limits::PART.entries;
            return Err(Error::Invalid(format!("a part of {} entries; {most} are taken", part.entries)));
        }
    }
    if parts.iter().fold(0_u64, |sum, p| sum.saturating_add(p.size)) > LARGEST {
        return Err(too_large());
    }
    Ok(())
}

fn too_large() -> Error {
    Error::TooLarge(format!("an artifact has at most {} GiB", LARGEST >> 30))
}

fn not_uploaded(sha256: &Sha256Hex) -> Error {
    Error::Invalid(format!("artifact {sha256} was not uploaded; upload it, then deploy"))
}

/// What came is no part: told to whoever sent it.
fn refused(sha256: &Sha256Hex, why: &Refused) -> Error {
    let what = format!("part {sha256} is refused: {why}");
    Error::Invalid(match why {
        Refused::Secrets(_) => format!(
            "{what}. Take it out of what is packed (.terreauignore leaves files out), and give it to the app as a secret"
        ),
        Refused::Hash { .. } => format!("{what}. Upload it again"),
        _ => what,
    })
}

fn format_of(ext: &str) -> Result<Format, Error> {
    let other = || {
        let ext: String = ext.chars().take(20).collect();
        Error::Invalid(format!("archives of the kind {ext:?} are not taken; send {}", Format::NAMES))
    };
    Format::of(ext).ok_or_else(other)
}

fn wanted(sha256: &Sha256Hex, ext: &str) -> Result<Wanted, Error> {
    Ok(Wanted { sha256: sha256.clone(), format: format_of(ext)?, limits: Limits::PART })
}

fn key_of(wanted: &Wanted, capability: &str) -> String {
    let (sha256, ext) = (wanted.sha256.clone(), wanted.format.extension().to_owned());
    ArtifactPart { sha256, size: 0, ext, entries: 0 }.key(capability)
}
