//! Why a folder is not packed: told so that it can be mended at once.

use std::io;
use std::path::PathBuf;

/// A name that is not packed, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// Relative to the folder.
    pub name: String,
    /// In a few words: "is a socket, not a file".
    pub why: String,
}

/// Why a folder was not packed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Things in the folder that cannot be deployed, up to twenty.
    #[error("cannot pack: {}. Remove them or name them in .terreauignore", listed(.0))]
    Refused(Vec<Refusal>),
    /// No file at all.
    #[error("{0} holds no file to deploy")]
    Empty(PathBuf),
    /// Over the limits.
    #[error(
        "the folder holds more than {entries} files or {bytes} bytes; leave something out by .terreauignore"
    )]
    TooMuch {
        /// Files allowed.
        entries: usize,
        /// Bytes allowed.
        bytes: u64,
    },
    /// Almost nothing but zeros.
    #[error(
        "the folder packs to less than a hundredth of its more than 1 GiB, as only zeros do; leave such files out by .terreauignore, and make them where the app runs"
    )]
    Bomb,
    /// A file that was written to meanwhile.
    #[error("{0} changed while it was read; try again when nothing writes to it")]
    Changed(PathBuf),
    /// Reading failed.
    #[error("cannot read {path}: {source}")]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Writing the archive failed.
    #[error("cannot write the archive: {0} (is there room for temporary files?)")]
    Write(io::Error),
}

fn listed(refusals: &[Refusal]) -> String {
    let each: Vec<String> = refusals.iter().map(|r| format!("{:?} {}", r.name, r.why)).collect();
    each.join(", ")
}
