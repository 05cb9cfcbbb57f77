//! The one reader of archives: hashes and counts what comes in, bounds what comes out, checks every entry, and looks
//! for secrets in all of it. Blocking; memory is a window of zstd (32 MiB at most), a buffer, the longest secret twice.
//!
//! Accepts what `build::archive` writes and little else: plain files and folders with GNU long names. Links, devices,
//! sparse files and PAX headers are refused, and so is whatever two readers of tar understand in two ways: they are
//! how archives play tricks, and it is Nomad's reader that unpacks in the end.

use std::cell::{Cell, RefCell};
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::names::{self, BadName, NAME_MAX};
use super::scan::Search;
use super::{Format, Limits, is_bomb};

/// A zstd stream that asks for a larger window than 32 MiB (2^25) is refused.
const WINDOW_LOG: u32 = 25;
/// Headers and padding of a file in a tar at most, long name included.
const OVERHEAD: u64 = 4_096;
/// Set-user-id and set-group-id: Nomad's unpacker would set them.
const SET_IDS: u32 = 0o6000;

/// Why an archive was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes did not come; says nothing about the archive.
    #[error("it could not be read: {0}")]
    Link(io::Error),
    /// Not a whole archive of its format.
    #[error("it is not a whole .{}: {why}", .format.extension())]
    Broken {
        /// What it should be.
        format: Format,
        /// What the reader said.
        why: String,
    },
    /// A name that is refused.
    #[error("it holds {name:?}: {why}")]
    Name {
        /// The name, as far as it is text.
        name: String,
        /// What is wrong with it.
        why: BadName,
    },
    /// An entry that is no plain file.
    #[error("it holds {name:?}, which is {kind}, not a plain file")]
    Kind {
        /// The name, as far as it is text.
        name: String,
        /// What it is instead.
        kind: &'static str,
    },
    /// A program that would run as its owner, whoever starts it.
    #[error("it holds {name:?}, which is set to run as its owner (set-user-id or set-group-id)")]
    SetId {
        /// The name.
        name: String,
    },
    /// Over the limits.
    #[error("it holds more than {} files or {} bytes", .0.entries, .0.bytes)]
    TooMuch(Limits),
    /// Small outside, huge inside.
    #[error("it unpacks to more than 1 GiB and more than 100 times its own size")]
    Bomb,
}

/// Why reading ended before the archive's end.
pub(super) enum Stop {
    /// The archive's fault, or the link's.
    Fault(ReadError),
    /// Whoever asked is gone.
    NobodyListens,
}

impl From<ReadError> for Stop {
    fn from(fault: ReadError) -> Self {
        Self::Fault(fault)
    }
}

/// A file on its way by. What is not read of its content is passed over.
pub(super) struct Entry<'a> {
    pub name: &'a str,
    pub size: u64,
    pub mode: u32,
    pub content: &'a mut dyn Read,
}

/// What was read, to its end.
pub(super) struct Whole {
    /// Hex, of the packed bytes.
    pub sha256: String,
    /// Packed bytes.
    pub size: u64,
    /// Files and folders.
    pub entries: usize,
    /// Names of the secrets that were found.
    pub secrets: Vec<String>,
}

/// What the layers below the tar tell; a tar's reader gives its source back only at the end.
#[derive(Default)]
struct Meter {
    packed: Cell<u64>,
    hash: RefCell<Sha256>,
    fault: RefCell<Option<ReadError>>,
}

impl Meter {
    /// Remembers the first fault, and gives what `Read` can carry of it.
    fn fail(&self, fault: ReadError) -> io::Error {
        self.fault.borrow_mut().get_or_insert(fault);
        io::Error::other("stopped")
    }
}

/// Hashes and counts what comes in, and keeps faults of the link apart from faults of the format.
struct Packed<R> {
    from: R,
    meter: Rc<Meter>,
    limits: Limits,
}

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match self.from.read(buffer) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
            Err(e) => return Err(self.meter.fail(ReadError::Link(e))),
        };
        self.meter.hash.borrow_mut().update(&buffer[..n]);
        let packed = self.meter.packed.get() + n as u64;
        self.meter.packed.set(packed);
        // Frames that hold nothing could be sent for ever.
        if packed > most(self.limits) { Err(self.meter.fail(ReadError::TooMuch(self.limits))) } else { Ok(n) }
    }
}

/// Bytes of a tar within the limits.
fn most(limits: Limits) -> u64 {
    limits.bytes.saturating_add((limits.entries as u64 + 4).saturating_mul(OVERHEAD))
}

/// Bounds and searches every byte that comes out of the decompressor, headers too.
struct Plain<'s, R> {
    from: R,
    meter: Rc<Meter>,
    limits: Limits,
    bytes: u64,
    search: Option<Search<'s>>,
}

impl<R: Read> Read for Plain<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.bytes += n as u64;
        if self.bytes > most(self.limits) {
            return Err(self.meter.fail(ReadError::TooMuch(self.limits)));
        }
        if is_bomb(self.meter.packed.get(), self.bytes) {
            return Err(self.meter.fail(ReadError::Bomb));
        }
        if let Some(search) = &mut self.search {
            search.feed(&buffer[..n]);
        }
        Ok(n)
    }
}

/// Reads an archive to its end, and shows every file to `visit`.
pub(super) fn read(
    from: impl Read,
    format: Format,
    limits: Limits,
    search: Option<Search<'_>>,
    visit: &mut dyn FnMut(Entry<'_>) -> Result<(), Stop>,
) -> Result<Whole, Stop> {
    let meter = Rc::new(Meter::default());
    let broken = |e: io::Error| ReadError::Broken { format, why: e.to_string() };
    let packed = BufReader::with_capacity(128 << 10, Packed { from, meter: Rc::clone(&meter), limits });
    let from: Box<dyn Read + '_> = match format {
        Format::Tar => Box::new(packed),
        Format::TarZst => {
            let mut plain = zstd::stream::read::Decoder::with_buffer(packed).map_err(broken)?;
            plain.window_log_max(WINDOW_LOG).map_err(broken)?;
            Box::new(plain)
        }
    };
    let plain = Plain { from, meter: Rc::clone(&meter), limits, bytes: 0, search };
    let done = entries(plain, format, limits, visit);
    // What the layers below know is the cause; what the tar made of it is the consequence.
    if let Some(fault) = meter.fault.take() {
        return Err(fault.into());
    }
    let (entries, secrets) = done?;
    let sha256 = hex::encode(meter.hash.take().finalize());
    Ok(Whole { sha256, size: meter.packed.get(), entries, secrets })
}

fn entries<R: Read>(
    plain: Plain<'_, R>,
    format: Format,
    limits: Limits,
    visit: &mut dyn FnMut(Entry<'_>) -> Result<(), Stop>,
) -> Result<(usize, Vec<String>), Stop> {
    let broken = |e: io::Error| ReadError::Broken { format, why: e.to_string() };
    let mut archive = tar::Archive::new(plain);
    let (mut long_name, mut count, mut bytes) = (None::<Vec<u8>>, 0_usize, 0_u64);
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        if kind == tar::EntryType::GNULongName {
            // Bounded before it is read: a long name could be gigabytes.
            if entry.size() > NAME_MAX as u64 + 1 || long_name.is_some() {
                return Err(ReadError::Name { name: "…".into(), why: BadName::TooLong }.into());
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
        let is_folder = kind == tar::EntryType::Directory;
        // To other readers a folder has no content: what follows it would be the next header.
        if !is_folder && kind != tar::EntryType::Regular || is_folder && entry.size() > 0 {
            return Err(ReadError::Kind { name: shown(), kind: kind_name(kind) }.into());
        }
        count += 1;
        bytes = bytes.saturating_add(entry.size());
        if count > limits.entries || bytes > limits.bytes {
            return Err(ReadError::TooMuch(limits).into());
        }
        let name = raw.strip_prefix(b"./").unwrap_or(&raw);
        let name = if is_folder { name.strip_suffix(b"/").unwrap_or(name) } else { name };
        if is_folder && matches!(name, b"" | b".") {
            continue;
        }
        let name = names::checked(name).map_err(|why| ReadError::Name { name: shown(), why })?;
        let mode = entry.header().mode().map_err(broken)?;
        if mode & SET_IDS != 0 {
            return Err(ReadError::SetId { name: name.to_owned() }.into());
        }
        if is_folder {
            continue;
        }
        let size = entry.size();
        visit(Entry { name, size, mode, content: &mut entry })?;
    }
    // To the very end, for the hash and the search: a cut archive must not pass for whole, and nothing hides behind
    // the end that tar sees.
    let mut plain = archive.into_inner();
    let mut rest = vec![0; 64 << 10];
    loop {
        match plain.read(&mut rest) {
            Ok(0) => break,
            Ok(n) if rest[..n].iter().all(|b| *b == 0) => {}
            Ok(_) => {
                let why = "something follows its end".to_owned();
                return Err(ReadError::Broken { format, why }.into());
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(broken(e).into()),
        }
    }
    Ok((count, plain.search.map(Search::found).unwrap_or_default()))
}

fn kind_name(kind: tar::EntryType) -> &'static str {
    use tar::EntryType as T;
    match kind {
        T::Symlink | T::Link => "a link",
        T::Char | T::Block => "a device",
        T::Fifo => "a pipe",
        T::Directory => "a folder with content",
        T::XHeader | T::XGlobalHeader => "an extended header (PAX)",
        T::GNUSparse => "a sparse file",
        _ => "something else",
    }
}
