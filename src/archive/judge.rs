//! Judges a part before anything names it: its hash, its size, what is in it. From a reader, or while the bytes pass
//! on their way to somewhere else.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::io::{ReaderStream, StreamReader};

use super::bridge::Bridge;
use super::read::{self, ReadError, Stop};
use super::scan::Secrets;
use super::{Format, Limits};
use crate::model::Sha256Hex;

/// Bytes handed to the judge at once; a few pieces may wait.
const PIECE: usize = 256 << 10;

/// What a part must be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub sha256: Sha256Hex,
    /// How it is packed.
    pub format: Format,
    /// Its limits.
    pub limits: Limits,
}

/// What a good part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Bytes, packed.
    pub size: u64,
    /// Files and folders.
    pub entries: usize,
}

/// Why a part is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The archive's fault, or the link's.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Other bytes than announced.
    #[error("its SHA-256 is {found}, over {size} bytes: not what it is named by")]
    Hash {
        /// Of what came.
        found: String,
        /// Bytes that came.
        size: u64,
    },
    /// Nothing in it.
    #[error("it holds no file")]
    Empty,
    /// An app's secrets, by name; the values are never shown.
    #[error("it holds the value of secret {}", .0.join(", of secret "))]
    Secrets(Vec<String>),
    /// The thread that judges is gone.
    #[error("its judge ended early")]
    Gone,
}

impl Refused {
    /// True where this says something about the bytes, and not only about the way that they came.
    pub fn is_about_the_bytes(&self) -> bool {
        !matches!(self, Self::Read(ReadError::Link(_)) | Self::Gone)
    }
}

/// Reads a part to its end. Blocks a thread of its own; what is hopeless is not read to its end.
pub async fn judge(
    from: impl AsyncRead + Send + 'static,
    wanted: Wanted,
    secrets: Arc<Secrets>,
) -> Result<Judged, Refused> {
    let from = Bridge::new(Box::pin(from));
    let work = tokio::task::spawn_blocking(move || judge_all(from, &wanted, &secrets));
    work.await.unwrap_or(Err(Refused::Gone))
}

fn judge_all(from: impl Read, wanted: &Wanted, secrets: &Secrets) -> Result<Judged, Refused> {
    let search = (!secrets.is_empty()).then(|| secrets.search());
    let whole = read::read(from, wanted.format, wanted.limits, search, &mut |_| Ok(()));
    let whole = whole.map_err(|stop| match stop {
        Stop::Fault(fault) => fault.into(),
        Stop::NobodyListens => Refused::Gone,
    })?;
    // First the name: of other bytes than announced nothing else is worth saying.
    if whole.sha256 != wanted.sha256.as_str() {
        return Err(Refused::Hash { found: whole.sha256, size: whole.size });
    }
    if whole.entries == 0 {
        return Err(Refused::Empty);
    }
    if !whole.secrets.is_empty() {
        return Err(Refused::Secrets(whole.secrets));
    }
    Ok(Judged { size: whole.size, entries: whole.entries })
}

/// What became of bytes that were judged in passing.
#[derive(Debug, Clone, Default)]
pub struct Verdict(Arc<Mutex<Option<Result<Judged, Refused>>>>);

impl Verdict {
    /// Takes it; `None` before the end, and where the bytes themselves did not come.
    pub fn take(&self) -> Option<Result<Judged, Refused>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, verdict: Result<Judged, Refused>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
    }
}

/// The same bytes, judged as they pass: the reader that comes back ends with an error where they are refused, so that
/// whoever writes them elsewhere never completes it. Call it within a Tokio runtime.
pub fn in_passing(
    from: impl AsyncRead + Send + Unpin + 'static,
    wanted: Wanted,
    secrets: Arc<Secrets>,
) -> (impl AsyncRead + Send + Unpin, Verdict) {
    let (to, pieces) = mpsc::channel::<Bytes>(4);
    let judging = tokio::task::spawn_blocking(move || {
        judge_all(Pieces { from: pieces, piece: Bytes::new() }, &wanted, &secrets)
    });
    let verdict = Verdict::default();
    let state = Some(Passing {
        from: ReaderStream::with_capacity(from, PIECE),
        to,
        judging,
        verdict: verdict.clone(),
    });
    let passing = futures::stream::unfold(state, |state| async move {
        let mut passing = state?;
        match passing.from.next().await {
            Some(Ok(piece)) if passing.to.send(piece.clone()).await.is_ok() => {
                Some((Ok(piece), Some(passing)))
            }
            // The judge has heard enough.
            Some(Ok(_)) => Some((Err(passing.end().await.unwrap_or_else(refused)), None)),
            Some(Err(e)) => Some((Err(e), None)),
            None => passing.end().await.map(|e| (Err(e), None)),
        }
    });
    (StreamReader::new(passing.boxed()), verdict)
}

fn refused() -> io::Error {
    io::Error::other("the archive is refused")
}

struct Passing<R> {
    from: ReaderStream<R>,
    to: mpsc::Sender<Bytes>,
    judging: JoinHandle<Result<Judged, Refused>>,
    verdict: Verdict,
}

impl<R> Passing<R> {
    /// Waits for the verdict; an error where it is no yes.
    async fn end(self) -> Option<io::Error> {
        drop(self.to);
        let verdict = self.judging.await.unwrap_or(Err(Refused::Gone));
        let error = verdict.is_err().then(refused);
        self.verdict.set(verdict);
        error
    }
}

/// Pieces of a channel as a blocking reader.
struct Pieces {
    from: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.piece.len());
        buffer[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::model::sha256_hex;

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *content).expect("append");
        }
        zstd::encode_all(&tar.into_inner().expect("tar")[..], 3).expect("zstd")
    }

    fn wanted(bytes: &[u8]) -> Wanted {
        Wanted { sha256: sha256_hex(bytes), format: Format::TarZst, limits: Limits::PART }
    }

    fn secrets() -> Arc<Secrets> {
        let value = "canary-value-1234".into();
        Arc::new(Secrets::new([("api-key", &value)]))
    }

    /// Judged both ways, which must agree; what passed is whole where it is good, and never ends well where not.
    async fn both(bytes: &[u8], wanted: Wanted) -> Result<Judged, Refused> {
        let one = judge(io::Cursor::new(bytes.to_vec()), wanted.clone(), secrets()).await;
        let (mut reader, verdict) = in_passing(io::Cursor::new(bytes.to_vec()), wanted, secrets());
        let mut passed = Vec::new();
        let read = reader.read_to_end(&mut passed).await;
        let other = verdict.take().expect("a verdict");
        assert_eq!(read.is_ok(), other.is_ok());
        assert!(read.is_err() || passed == bytes);
        assert_eq!(format!("{one:?}"), format!("{other:?}"));
        one
    }

    #[tokio::test]
    async fn a_good_part_is_counted_and_another_one_is_refused_by_its_hash() {
        let good = packed(&[("a", b"one"), ("b/c", b"two")]);
        let judged = both(&good, wanted(&good)).await.expect("good");
        assert_eq!(judged, Judged { size: good.len() as u64, entries: 2 });
        let told = both(&good, wanted(b"other")).await;
        assert!(matches!(told, Err(Refused::Hash { .. })), "{told:?}");
        let none = packed(&[]);
        assert!(matches!(both(&none, wanted(&none)).await, Err(Refused::Empty)));
        let mut tail = good.clone();
        tail.extend_from_slice(b"tail");
        assert!(matches!(both(&tail, wanted(&tail)).await, Err(Refused::Read(_))));
    }

    #[tokio::test]
    async fn a_secret_is_named_and_its_value_is_not_shown() {
        let bytes = packed(&[("x", b"KEY=canary-value-1234\n")]);
        let told = both(&bytes, wanted(&bytes)).await.expect_err("found");
        assert!(matches!(&told, Refused::Secrets(names) if names[..] == ["api-key"]));
        assert!(!format!("{told} {told:?}").contains("canary"));
        let named = packed(&[("canary-value-1234", b"in a name")]);
        assert!(matches!(both(&named, wanted(&named)).await, Err(Refused::Secrets(_))));
    }

    #[tokio::test]
    async fn a_bomb_ends_at_a_gigabyte() {
        let frame = zstd::encode_all(io::repeat(0).take(64 << 20), 3).expect("zstd");
        let mut header = tar::Header::new_gnu();
        header.set_path("zeros").expect("name");
        header.set_size(4 << 30);
        header.set_mode(0o644);
        header.set_cksum();
        let mut bomb = zstd::encode_all(&header.as_bytes()[..], 3).expect("zstd");
        for _ in 0..64 {
            bomb.extend_from_slice(&frame);
        }
        assert!(bomb.len() < 1 << 20);
        let nothing = Arc::new(Secrets::new([]));
        let told = judge(io::Cursor::new(bomb.clone()), wanted(&bomb), nothing).await;
        assert!(matches!(told, Err(Refused::Read(ReadError::Bomb))), "{told:?}");
    }

    #[tokio::test]
    async fn bytes_that_do_not_come_are_no_verdict_on_the_archive() {
        let bytes = packed(&[("a", b"one")]);
        let cut = futures::stream::iter([
            Ok(Bytes::copy_from_slice(&bytes[..10])),
            Err(io::Error::from(io::ErrorKind::TimedOut)),
        ]);
        let (mut reader, verdict) = in_passing(StreamReader::new(cut), wanted(&bytes), secrets());
        let told = reader.read_to_end(&mut Vec::new()).await.expect_err("cut");
        assert_eq!(told.kind(), io::ErrorKind::TimedOut);
        assert!(verdict.take().is_none());
        let cut = futures::stream::iter([
            Ok(Bytes::copy_from_slice(&bytes[..10])),
            Err(io::Error::from(io::ErrorKind::TimedOut)),
        ]);
        let told = judge(StreamReader::new(cut), wanted(&bytes), secrets()).await.expect_err("cut");
        assert!(!told.is_about_the_bytes(), "{told:?}");
    }
}
