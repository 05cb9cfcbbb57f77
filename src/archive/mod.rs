//! Archives: names, formats and limits, judging and unpacking. Everything in them is hostile.
//!
//! Both sides look through these eyes: the command line packs nothing that the agent would refuse. Bytes come from
//! readers that callers pass in; nothing here opens a socket, writes a file or takes a name from an archive as a name
//! on this machine.

mod bridge;
pub mod judge;
pub mod names;
mod read;
pub mod scan;
pub mod site;
pub mod unpack;

pub use judge::{Judged, Refused, Wanted};
pub use read::ReadError;

/// Files in one part at most: Nomad refuses archives of more than 4,096, and counts folders and the end too.
pub const PART_ENTRIES: usize = 4_000;
/// An archive may unpack to this many bytes whatever its own size.
const BOMB_FREE: u64 = 1 << 30;
/// Beyond that, to this many times its own size. Text compresses to a twentieth; only zeros do better than this.
const BOMB_RATIO: u64 = 100;

/// What a part can be: what Nomad unpacks and we can look into. The extension decides how Nomad does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `tar.zst`: what the command line packs.
    TarZst,
    /// `tar`.
    Tar,
}

impl Format {
    /// All of them, for messages.
    pub const NAMES: &str = "tar.zst or tar";

    /// By the extension, without a dot.
    pub fn of(ext: &str) -> Option<Self> {
        match ext {
            "tar.zst" => Some(Self::TarZst),
            "tar" => Some(Self::Tar),
            _ => None,
        }
    }

    /// The extension, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::TarZst => "tar.zst",
            Self::Tar => "tar",
        }
    }

    /// The `Content-Type` of a part.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::TarZst => "application/zstd",
            Self::Tar => "application/x-tar",
        }
    }
}

/// What is let into an artifact, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files.
    pub entries: usize,
    /// Bytes of the files, before compression.
    pub bytes: u64,
}

impl Limits {
    /// A whole artifact: 100,000 files, 20 GiB.
    pub const ARTIFACT: Self = Self { entries: 100_000, bytes: 20 << 30 };
    /// One part: 4,000 files, 20 GiB.
    pub const PART: Self = Self { entries: PART_ENTRIES, bytes: 20 << 30 };
}

impl Default for Limits {
    /// Those of an artifact.
    fn default() -> Self {
        Self::ARTIFACT
    }
}

/// True where an archive of `packed` bytes unpacks to more than anything honest does.
pub fn is_bomb(packed: u64, unpacked: u64) -> bool {
    unpacked > BOMB_FREE && unpacked / BOMB_RATIO > packed
}
