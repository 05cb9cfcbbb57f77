//! Reads the files out of a part (`.tar.zst`) as it streams by: nothing is written to disk, memory is bounded.
//!
//! Accepts what `archive` writes and nothing else: plain files (and folders, which are passed over) with GNU long
//! names. Links, devices, sparse files and PAX headers are refused: they are how archives play tricks.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::archive::Limits;
use super::bridge::Bridge;
use super::names::{self, BadName, NAME_MAX};
use super::scan::WINDOW_LOG;

/// Bytes handed over at once; four pieces may wait.
const PIECE: usize = 128 << 10;
/// Headers and padding of a file in a tar at most, long name included.
const OVERHEAD: u64 = 4096;

/// Why a part was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Not a whole `.tar.zst`.
    #[error("the archive is broken: {0}")]
    Broken(String),
    /// A name that is refused.
    #[error("the archive holds {name:?}: {why}")]
    Name {
        /// The name, as far as it is text.
        name: String,
        /// What is wrong with it.
        why: BadName,
    },
    /// An entry that is no plain file.
    #[error("the archive holds {name:?}, which is no plain file")]
    Kind {
        /// The name, as far as it is text.
        name: String,
    },
    /// Over the limits.
    #[error("the archive holds more than {} files or {} bytes", .0.entries, .0.bytes)]
    TooMuch(Limits),
    /// A file is larger than the caller wants to hold in memory.
    #[error("{name:?} is larger than {limit} bytes")]
    FileTooLarge {
        /// The file.
        name: String,
        /// Bytes allowed.
        limit: u64,
    },
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

/// Begins to read a part. Must be called within a Tokio runtime; the work is done on a blocking thread, which ends
/// when the returned value is dropped and the reader answers once more.
pub fn open(from: impl AsyncRead + Send + 'static, limits: Limits) -> Files {
    let (to, receiver) = mpsc::channel(4);
    let from = Bridge::new(Box::pin(from));
    tokio::task::spawn_blocking(move || {
        let last = match read_all(from, limits, &to) {
            Ok(()) => Message::End,
            Err(Stop::Fault(fault)) => Message::Fault(fault),
            Err(Stop::NobodyListens) => return,
        };
        // Nobody listening any more is no fault.
        let _ = to.blocking_send(last);
    });
    Files { from: receiver, has_ended: false }
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
                Some(Message::Fault(fault)) => {
                    self.has_ended = true;
                    return Err(fault);
                }
                Some(Message::End) => self.has_ended = true,
                None => {
                    self.has_ended = true;
                    return Err(UnpackError::Broken("the reader ended early".into()));
                }
            }
        }
        Ok(None)
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
                Some(Message::Fault(fault)) => {
                    files.has_ended = true;
                    Some((Err(io::Error::other(fault)), (files, 0)))
                }
                _ => {
                    files.has_ended = true;
                    Some((Err(io::ErrorKind::UnexpectedEof.into()), (files, 0)))
                }
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
        read.map_err(|e| UnpackError::Broken(e.to_string()))?;
        Ok(out.into())
    }
}

enum Stop {
    Fault(UnpackError),
    NobodyListens,
}

impl From<UnpackError> for Stop {
    fn from(fault: UnpackError) -> Self {
        Self::Fault(fault)
    }
}

/// Counts every byte that comes out of the decompressor, headers too, and stops at the limit.
struct Bounded<R> {
    from: R,
    left: u64,
    is_over: std::rc::Rc<std::cell::Cell<bool>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        let Some(left) = self.left.checked_sub(n as u64) else {
            self.is_over.set(true);
            return Err(io::Error::other("over the limit"));
        };
        self.left = left;
        Ok(n)
    }
}

fn read_all(from: impl Read, limits: Limits, to: &mpsc::Sender<Message>) -> Result<(), Stop> {
    let is_over = std::rc::Rc::new(std::cell::Cell::new(false));
    let broken = |e: io::Error| {
        if is_over.get() { UnpackError::TooMuch(limits) } else { UnpackError::Broken(e.to_string()) }
    };
    let mut plain = zstd::stream::read::Decoder::new(from).map_err(broken)?;
    plain.window_log_max(WINDOW_LOG).map_err(broken)?;
    let most = limits.bytes.saturating_add((limits.entries as u64 + 4).saturating_mul(OVERHEAD));
    let bounded = Bounded { from: plain, left: most, is_over: std::rc::Rc::clone(&is_over) };
    let mut archive = tar::Archive::new(bounded);
    let (mut long_name, mut files, mut bytes) = (None::<Vec<u8>>, 0_usize, 0_u64);
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        if kind == tar::EntryType::GNULongName {
            // Bounded before it is read: a long name could be gigabytes.
            if entry.size() > NAME_MAX as u64 + 1 || long_name.is_some() {
                return Err(UnpackError::Name { name: "…".into(), why: BadName::TooLong }.into());
            }
            let mut name = Vec::new();
            entry.read_to_end(&mut name).map_err(broken)?;
            while name.last() == Some(&0) {
                name.pop();
            }
            long_name = Some(name);
            continue;
        }
        let raw = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let shown = || String::from_utf8_lossy(&raw).chars().take(200).collect::<String>();
        if kind == tar::EntryType::Directory {
            continue;
        }
        if kind != tar::EntryType::Regular {
            return Err(UnpackError::Kind { name: shown() }.into());
        }
        let name = names::checked(&raw).map_err(|why| UnpackError::Name { name: shown(), why })?;
        (files, bytes) = (files + 1, bytes.saturating_add(entry.size()));
        if files > limits.entries || bytes > limits.bytes {
            return Err(UnpackError::TooMuch(limits).into());
        }
        let mode = entry.header().mode().map_err(broken)?;
        send(to, Message::File { name: name.to_owned(), size: entry.size(), mode })?;
        let mut left = entry.size();
        while left > 0 {
            let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
            let n = entry.read(&mut piece).map_err(broken)?;
            if n == 0 {
                return Err(UnpackError::Broken(format!("it ends within {name:?}")).into());
            }
            piece.truncate(n);
            left -= n as u64;
            send(to, Message::Data(piece.into()))?;
        }
    }
    // To the end of the compressed stream: a cut one must not pass for whole.
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(broken)?;
    Ok(())
}

fn send(to: &mpsc::Sender<Message>, message: Message) -> Result<(), Stop> {
    to.blocking_send(message).map_err(|_| Stop::NobodyListens)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { entries: 10, bytes: 1 << 20 };

    /// A tar whose header says what the test wants, however hostile.
    fn tarred(entries: &[(&[u8], tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            header.set_cksum();
            tar.append(&header, *content).expect("append");
        }
        zstd::encode_all(&tar.into_inner().expect("tar")[..], 3).expect("zstd")
    }

    async fn read(packed: Vec<u8>, limits: Limits) -> Result<Vec<(String, Bytes)>, UnpackError> {
        let mut files = open(io::Cursor::new(packed), limits);
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
        let kind = tar::EntryType::Regular;
        let packed =
            tarred(&[(b"a", kind, b"one"), (b"d/", tar::EntryType::Directory, b""), (b"d/b", kind, &big)]);
        let all = read(packed.clone(), LIMITS).await.expect("reads");
        assert_eq!(all.len(), 2);
        assert_eq!(all[1], ("d/b".to_owned(), Bytes::from(big)));
        let mut files = open(io::Cursor::new(packed), LIMITS);
        let mut names = Vec::new();
        while let Some(file) = files.next().await.expect("passes over") {
            assert!(file.is_program);
            names.push(file.name.clone());
        }
        assert_eq!(names, ["a", "d/b"]);
    }

    #[tokio::test]
    async fn hostile_archives_are_refused_with_a_reason() {
        use tar::EntryType as T;
        for (name, kind) in [
            (&b"../up"[..], T::Regular),
            (b"/etc/cron.d/x", T::Regular),
            (b"a\nb", T::Regular),
            (b"\xff", T::Regular),
            (b"ln", T::Symlink),
            (b"hard", T::Link),
            (b"dev", T::Char),
            (b"blk", T::Block),
            (b"fifo", T::Fifo),
            (b"pax", T::XHeader),
            (b"glob", T::XGlobalHeader),
            (b"sparse", T::GNUSparse),
        ] {
            let told = read(tarred(&[(name, kind, b"")]), LIMITS).await;
            let Err(UnpackError::Name { .. } | UnpackError::Kind { .. }) = told else {
                panic!("{name:?}: {told:?}");
            };
        }
        let long = vec![b'x'; 5000];
        let told = read(tarred(&[(b"././@LongLink", T::GNULongName, &long)]), LIMITS).await;
        assert!(matches!(told, Err(UnpackError::Name { .. })), "{told:?}");
    }

    #[tokio::test]
    async fn bombs_and_cut_archives_end_with_an_error() {
        let kind = tar::EntryType::Regular;
        let many: Vec<_> = (0..11).map(|_| (&b"f"[..], kind, &b""[..])).collect();
        assert!(matches!(read(tarred(&many), LIMITS).await, Err(UnpackError::TooMuch(_))));
        let zeros = vec![0_u8; 2 << 20];
        let bomb = tarred(&[(b"z", kind, &zeros)]);
        assert!(matches!(read(bomb, LIMITS).await, Err(UnpackError::TooMuch(_))));
        // Zeros without end after the archive's end.
        let mut after = tarred(&[(b"z", kind, b"x")]);
        after.extend(zstd::encode_all(io::repeat(0).take(50 << 20), 3).expect("zstd"));
        assert!(matches!(read(after, LIMITS).await, Err(UnpackError::TooMuch(_))));
        let whole = tarred(&[(b"z", kind, b"content")]);
        for cut in [whole.len() - 1, whole.len() / 2, 3] {
            let told = read(whole[..cut].to_vec(), LIMITS).await;
            assert!(matches!(told, Err(UnpackError::Broken(_))), "cut at {cut}: {told:?}");
        }
        assert!(matches!(read(b"no archive".to_vec(), LIMITS).await, Err(UnpackError::Broken(_))));
    }
}
