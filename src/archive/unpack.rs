//! The files of a part as it streams by: nothing is written to disk, memory is bounded. What is let through, `read`
//! decides.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::bridge::Bridge;
use super::read::{self, ReadError, Stop};
use super::{Format, Limits};
use crate::model::Sha256Hex;

/// Bytes handed over at once; four pieces may wait.
const PIECE: usize = 128 << 10;

/// Why a part was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive's fault, or the link's.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It was read to its end, and is another one.
    #[error("the archive has another hash than the one that it is named by")]
    Hash,
    /// A file is larger than the caller wants to hold in memory.
    #[error("{name:?} is larger than {limit} bytes")]
    FileTooLarge {
        /// The file.
        name: String,
        /// Bytes allowed.
        limit: u64,
    },
    /// The thread that reads is gone.
    #[error("the reader of the archive ended early")]
    Gone,
}

enum Message {
    File { name: String, size: u64, mode: u32 },
    Data(Bytes),
    Fault(UnpackError),
    End,
}

/// The files of one part, one after the other.
#[derive(Debug)]
pub struct Files {
    from: mpsc::Receiver<Message>,
    has_ended: bool,
    has_lost_link: bool,
}

/// One file. Read it or leave it: the next call of [`Files::next`] passes over what is left.
#[derive(Debug)]
pub struct File<'a> {
    /// Its checked name: relative, UTF-8, no `..`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// True where its owner may run it.
    pub is_program: bool,
    from: &'a mut Files,
}

/// Begins to read a part, and checks its hash at the end: what comes out before is not known to be the right bytes.
/// Must be called within a Tokio runtime; the work is done on a blocking thread, which ends when the returned value
/// is dropped and the reader answers once more.
pub fn open(
    from: impl AsyncRead + Send + 'static,
    format: Format,
    limits: Limits,
    sha256: &Sha256Hex,
) -> Files {
    let (to, receiver) = mpsc::channel(4);
    let from = Bridge::new(Box::pin(from));
    let sha256 = sha256.clone();
    tokio::task::spawn_blocking(move || {
        let whole = read::read(from, format, limits, None, &mut |entry| {
            let read::Entry { name, size, mode, content } = entry;
            send(&to, Message::File { name: name.to_owned(), size, mode })?;
            let mut left = size;
            while left > 0 {
                let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
                let broken = |why: String| ReadError::Broken { format, why };
                let n = content.read(&mut piece).map_err(|e| broken(e.to_string()))?;
                if n == 0 {
                    return Err(broken(format!("it ends within {name:?}")).into());
                }
                piece.truncate(n);
                left -= n as u64;
                send(&to, Message::Data(piece.into()))?;
            }
            Ok(())
        });
        let last = match whole {
            Ok(whole) if whole.sha256 == sha256.as_str() => Message::End,
            Ok(_) => Message::Fault(UnpackError::Hash),
            Err(Stop::Fault(fault)) => Message::Fault(fault.into()),
            Err(Stop::NobodyListens) => return,
        };
        // Nobody listening any more is no fault.
        let _ = to.blocking_send(last);
    });
    Files { from: receiver, has_ended: false, has_lost_link: false }
}

fn send(to: &mpsc::Sender<Message>, message: Message) -> Result<(), Stop> {
    to.blocking_send(message).map_err(|_| Stop::NobodyListens)
}

impl Files {
    /// The next file, `None` at the archive's end.
    pub async fn next(&mut self) -> Result<Option<File<'_>>, UnpackError> {
        while !self.has_ended {
            match self.from.recv().await {
                Some(Message::Data(_)) => {}
                Some(Message::File { name, size, mode }) => {
                    return Ok(Some(File { name, size, is_program: mode & 0o100 != 0, from: self }));
                }
                Some(Message::Fault(fault)) => return Err(self.end(fault)),
                Some(Message::End) => self.has_ended = true,
                None => return Err(self.end(UnpackError::Gone)),
            }
        }
        Ok(None)
    }

    /// True where the bytes did not come: says nothing about the archive. Readers of files can only end with an error
    /// that others may have made into theirs.
    pub fn has_lost_link(&self) -> bool {
        self.has_lost_link
    }

    fn end(&mut self, fault: UnpackError) -> UnpackError {
        self.has_ended = true;
        self.has_lost_link = matches!(fault, UnpackError::Read(ReadError::Link(_)) | UnpackError::Gone);
        fault
    }
}

impl<'a> File<'a> {
    /// The content as a reader; ends with an error where the archive breaks off.
    pub fn reader(self) -> impl AsyncRead + Send + Unpin + 'a {
        let state = (self.from, self.size);
        Box::pin(StreamReader::new(futures::stream::unfold(state, |(files, left)| async move {
            if left == 0 || files.has_ended {
                return None;
            }
            match files.from.recv().await {
                Some(Message::Data(piece)) => {
                    let left = left.saturating_sub(piece.len() as u64);
                    Some((Ok(piece), (files, left)))
                }
                Some(Message::Fault(fault)) => Some((Err(io::Error::other(files.end(fault))), (files, 0))),
                _ => Some((Err(io::Error::other(files.end(UnpackError::Gone))), (files, 0))),
            }
        })))
    }

    /// The whole content, where it is no larger than `limit` bytes.
    pub async fn bytes(self, limit: u64) -> Result<Bytes, UnpackError> {
        if self.size > limit {
            return Err(UnpackError::FileTooLarge { name: self.name, limit });
        }
        let mut out = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0));
        let read = self.reader().read_to_end(&mut out).await;
        read.map_err(|e| e.downcast::<UnpackError>().unwrap_or_else(|e| ReadError::Link(e).into()))?;
        Ok(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::names::BadName;
    use crate::model::sha256_hex;

    const LIMITS: Limits = Limits { entries: 10, bytes: 1 << 20 };

    /// A tar whose header says what the test wants, however hostile.
    fn tarred(entries: &[(&[u8], tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(if name.starts_with(b"suid") { 0o4755 } else { 0o755 });
            header.set_cksum();
            tar.append(&header, *content).expect("append");
        }
        zstd::encode_all(&tar.into_inner().expect("tar")[..], 3).expect("zstd")
    }

    fn opened(packed: Vec<u8>) -> Files {
        let sha256 = sha256_hex(&packed);
        open(io::Cursor::new(packed), Format::TarZst, LIMITS, &sha256)
    }

    async fn read(packed: Vec<u8>) -> Result<Vec<(String, Bytes)>, UnpackError> {
        let mut files = opened(packed);
        let mut all = Vec::new();
        while let Some(file) = files.next().await? {
            let name = file.name.clone();
            all.push((name, file.bytes(1 << 20).await?));
        }
        Ok(all)
    }

    #[tokio::test]
    async fn files_come_out_as_they_went_in_and_may_be_passed_over() {
        let big = vec![7_u8; 300_000];
        let (kind, folder) = (tar::EntryType::Regular, tar::EntryType::Directory);
        let packed = tarred(&[
            (b"./", folder, b""),
            (b"./a", kind, b"one"),
            (b"d/", folder, b""),
            (b"d/b", kind, &big),
        ]);
        let all = read(packed.clone()).await.expect("reads");
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].0.as_str(), &all[1]), ("a", &("d/b".to_owned(), Bytes::from(big))));
        let mut files = opened(packed.clone());
        let mut names = Vec::new();
        while let Some(file) = files.next().await.expect("passes over") {
            assert!(file.is_program);
            names.push(file.name.clone());
        }
        assert_eq!(names, ["a", "d/b"]);
        let mut other = open(io::Cursor::new(packed), Format::TarZst, LIMITS, &sha256_hex("other"));
        let told = loop {
            match other.next().await {
                Ok(Some(_)) => {}
                told => break told.map(|f| f.is_some()),
            }
        };
        assert!(matches!(told, Err(UnpackError::Hash)), "{told:?}");
    }

    #[tokio::test]
    async fn hostile_archives_are_refused_with_a_reason() {
        use tar::EntryType as T;
        for (name, kind) in [
            (&b"../up"[..], T::Regular),
            (b"/etc/cron.d/x", T::Regular),
            (b"a\nb", T::Regular),
            (b"\xff", T::Regular),
            (b"..", T::Directory),
            (b"/abs/", T::Directory),
            (b"a/../../b/", T::Directory),
            (b"suid", T::Regular),
            (b"ln", T::Symlink),
            (b"hard", T::Link),
            (b"dev", T::Char),
            (b"blk", T::Block),
            (b"fifo", T::Fifo),
            (b"pax", T::XHeader),
            (b"glob", T::XGlobalHeader),
            (b"sparse", T::GNUSparse),
        ] {
            let told = read(tarred(&[(name, kind, b"")])).await;
            let Err(UnpackError::Read(
                ReadError::Name { .. } | ReadError::Kind { .. } | ReadError::SetId { .. },
            )) = told
            else {
                panic!("{name:?}: {told:?}");
            };
        }
        let long = vec![b'x'; 5000];
        let told = read(tarred(&[(b"././@LongLink", T::GNULongName, &long)])).await;
        assert!(
            matches!(told, Err(UnpackError::Read(ReadError::Name { why: BadName::TooLong, .. }))),
            "{told:?}"
        );
        // Go's reader takes a folder's content for the next header.
        let told = read(tarred(&[(b"d/", T::Directory, &[b'x'; 512])])).await;
        assert!(matches!(told, Err(UnpackError::Read(ReadError::Kind { .. }))), "{told:?}");
    }

    #[tokio::test]
    async fn bombs_and_cut_archives_end_with_an_error() {
        let too_much = |told: &Result<_, _>| matches!(told, Err(UnpackError::Read(ReadError::TooMuch(_))));
        let broken = |told: &Result<_, _>| matches!(told, Err(UnpackError::Read(ReadError::Broken { .. })));
        let kind = tar::EntryType::Regular;
        let many: Vec<_> = (0..11).map(|_| (&b"f"[..], kind, &b""[..])).collect();
        assert!(too_much(&read(tarred(&many)).await));
        let zeros = vec![0_u8; 2 << 20];
        assert!(too_much(&read(tarred(&[(b"z", kind, &zeros)])).await));
        // Zeros without end after the archive's end.
        let mut after = tarred(&[(b"z", kind, b"x")]);
        after.extend(zstd::encode_all(io::Read::take(io::repeat(0), 50 << 20), 3).expect("zstd"));
        assert!(too_much(&read(after).await));
        // A second archive behind the end of the first.
        let mut two = tarred(&[(b"z", kind, b"x")]);
        two.extend(tarred(&[(b"../up", kind, b"x")]));
        assert!(broken(&read(two).await));
        let whole = tarred(&[(b"z", kind, b"content")]);
        for cut in [whole.len() - 1, whole.len() / 2, 3] {
            let told = read(whole[..cut].to_vec()).await;
            assert!(broken(&told), "cut at {cut}: {told:?}");
        }
        assert!(broken(&read(b"no archive".to_vec()).await));
    }
}
