//! The client's side of an upload: what is there already is not sent, the rest goes in pieces by presigned URLs, four
//! at a time, each tried again after a pause where the link failed. Memory does not grow with the artifact.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};

use super::archive::Packed;
use crate::engines::EngineError;
use crate::engines::garage::Sender;
use crate::model::artifact::ArtifactPart;
use crate::model::wire::{CompleteUpload, PartUpload, UploadsAnswer};

/// Pieces under way at once.
const IN_FLIGHT: usize = 4;
/// Tries of one piece.
const TRIES: u32 = 5;

/// Where artifacts go.
pub trait Store: Send + Sync {
    /// What goes wrong there.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Says which parts are there, and where to put the others.
    fn begin(
        &self,
        parts: &[ArtifactPart],
    ) -> impl Future<Output = Result<UploadsAnswer, Self::Error>> + Send;

    /// Says that all pieces of a part were put.
    fn complete(
        &self,
        part: &ArtifactPart,
        done: CompleteUpload,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Why an upload did not end well. Begin again: parts that were completed are not sent twice.
#[derive(Debug, thiserror::Error)]
pub enum UploadError<E: std::error::Error + 'static> {
    /// The store said no.
    #[error(transparent)]
    Store(E),
    /// Bytes did not get through.
    #[error(transparent)]
    Send(EngineError),
    /// The store's answer does not fit what was asked.
    #[error("the answer to the upload makes no sense: {0}")]
    Answer(String),
}

/// How far an upload has come, in bytes of what must be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Sent (a piece that is tried again counts back).
    pub done: u64,
    /// To be sent.
    pub total: u64,
}

/// What an upload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The capability under which the parts lie; a first deploy passes it on.
    pub ticket: String,
    /// Parts sent.
    pub sent: usize,
    /// Parts that were there.
    pub present: usize,
    /// Bytes sent.
    pub bytes: u64,
}

struct Piece<'a> {
    part: usize,
    index: usize,
    url: &'a str,
    path: &'a Path,
    start: u64,
    size: u64,
}

/// Uploads what is missing of an artifact.
pub async fn upload<S: Store>(
    store: &S,
    sender: &Sender,
    packed: &Packed,
    progress: Arc<dyn Fn(Progress) + Send + Sync>,
) -> Result<Uploaded, UploadError<S::Error>> {
    let parts = &packed.artifact.parts;
    let answer = store.begin(parts).await.map_err(UploadError::Store)?;
    let pieces = pieces_of(parts, &answer.parts, packed).map_err(UploadError::Answer)?;
    let total = pieces.iter().map(|p| p.size).sum();
    let meter = Arc::new(Meter { done: AtomicU64::new(0), total, progress });
    meter.tell();
    let mut etags: BTreeMap<usize, Vec<(usize, String)>> = BTreeMap::new();
    let mut sending = futures::stream::iter(pieces.iter().map(|piece| send(sender, piece, &meter)))
        .buffer_unordered(IN_FLIGHT);
    while let Some((part, index, etag)) = sending.try_next().await.map_err(UploadError::Send)? {
        etags.entry(part).or_default().push((index, etag));
    }
    let sent = etags.len();
    let completing = etags.into_iter().map(|(i, mut etags)| {
        etags.sort();
        let upload_id = answer.parts[i].upload.as_ref().map_or_else(String::new, |u| u.id.clone());
        let done = CompleteUpload {
            ticket: answer.ticket.clone(),
            upload_id,
            ext: parts[i].ext.clone(),
            etags: etags.into_iter().map(|(_, etag)| etag).collect(),
        };
        store.complete(&parts[i], done)
    });
    let completing: Vec<_> = completing.collect();
    futures::stream::iter(completing)
        .buffer_unordered(IN_FLIGHT)
        .try_for_each(|()| std::future::ready(Ok(())))
        .await
        .map_err(UploadError::Store)?;
    Ok(Uploaded { ticket: answer.ticket.clone(), sent, present: parts.len() - sent, bytes: total })
}

/// The pieces to send, checked against what was asked: the answer comes from outside.
fn pieces_of<'a>(
    parts: &[ArtifactPart],
    answers: &'a [PartUpload],
    packed: &'a Packed,
) -> Result<Vec<Piece<'a>>, String> {
    if parts.len() != answers.len() || parts.len() != packed.files.len() {
        return Err(format!("{} parts were asked for, {} answered", parts.len(), answers.len()));
    }
    let mut pieces = Vec::new();
    for (i, (part, answer)) in parts.iter().zip(answers).enumerate() {
        if part.sha256 != answer.sha256 {
            return Err(format!("part {i} is another one"));
        }
        let upload = match (&answer.upload, answer.present) {
            (_, true) => continue,
            (None, false) => return Err(format!("part {i} is missing, and there is no place to put it")),
            (Some(upload), false) => upload,
        };
        let wanted = part.size.div_ceil(upload.part_size.max(1)).max(1);
        if upload.part_size == 0 || wanted != upload.urls.len() as u64 {
            return Err(format!("part {i} has {wanted} pieces, {} addresses came", upload.urls.len()));
        }
        for (index, url) in upload.urls.iter().enumerate() {
            let start = index as u64 * upload.part_size;
            let size = upload.part_size.min(part.size - start);
            pieces.push(Piece { part: i, index, url, path: &packed.files[i], start, size });
        }
    }
    Ok(pieces)
}

struct Meter {
    done: AtomicU64,
    total: u64,
    progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

impl Meter {
    fn tell(&self) {
        (self.progress)(Progress { done: self.done.load(Ordering::Relaxed), total: self.total });
    }
}

async fn send(
    sender: &Sender,
    piece: &Piece<'_>,
    meter: &Arc<Meter>,
) -> Result<(usize, usize, String), EngineError> {
    let mut tries = 0;
    loop {
        let (mine, whole) = (Arc::new(AtomicU64::new(0)), Arc::clone(meter));
        let tally = Arc::clone(&mine);
        let sent: Arc<dyn Fn(u64) + Send + Sync> = Arc::new(move |n| {
            tally.fetch_add(n, Ordering::Relaxed);
            whole.done.fetch_add(n, Ordering::Relaxed);
            whole.tell();
        });
        match sender.put(piece.url, piece.path, piece.start, piece.size, sent).await {
            Ok(etag) => return Ok((piece.part, piece.index, etag)),
            Err(e) if !e.is_passing() || tries + 1 >= TRIES => return Err(e),
            Err(_) => {
                // The same piece put twice is the same piece: S3 keeps the last one.
                meter.done.fetch_sub(mine.load(Ordering::Relaxed), Ordering::Relaxed);
                meter.tell();
                let pause = Duration::from_millis(250 << tries).mul_f64(0.5 + rand::random::<f64>());
                tokio::time::sleep(pause).await;
                tries += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sha256_hex;
    use crate::model::wire::Multipart;

    #[test]
    fn an_answer_that_does_not_fit_is_refused_before_anything_is_sent() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("x");
        std::fs::write(&path, [0; 100]).expect("write");
        let packed = super::super::archive::as_is(&path, "tar").expect("hashes");
        let parts = &packed.artifact.parts;
        let upload = |urls: usize, part_size| {
            Some(Multipart { id: "u".into(), part_size, urls: vec!["http://x/".into(); urls] })
        };
        let with = |upload, present| {
            let answer = [PartUpload { sha256: parts[0].sha256.clone(), present, upload }];
            pieces_of(parts, &answer, &packed)
                .map(|p| p.iter().map(|p| (p.start, p.size)).collect::<Vec<_>>())
        };
        assert_eq!(with(upload(3, 40), false), Ok(vec![(0, 40), (40, 40), (80, 20)]));
        assert_eq!(with(upload(3, 40), true), Ok(vec![]));
        assert!(with(upload(2, 40), false).is_err());
        assert!(with(upload(1, 0), false).is_err());
        assert!(with(None, false).is_err());
        let other = [PartUpload { sha256: sha256_hex("other"), present: true, upload: None }];
        assert!(pieces_of(parts, &other, &packed).is_err());
        assert!(pieces_of(parts, &[], &packed).is_err());
    }
}
