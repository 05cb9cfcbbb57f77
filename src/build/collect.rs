//! Which files of a folder go into an archive: walks, checks and sorts, and reports all refusals at once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::error::{ArchiveError, Refusal};
use crate::archive::{Limits, names};

/// The file that says what is left out, in the syntax of `.gitignore`.
const IGNORE_FILE: &str = ".terreauignore";
/// Left out at every depth.
const NEVER: [&str; 2] = [".git", ".terreau"];
/// So many refusals are told.
const TOLD: usize = 20;

/// One file to be packed.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub name: String,
    pub source: PathBuf,
    pub size: u64,
    pub mode: u32,
}

/// Lists the files of `folder`, sorted by name. Links to files and folders inside count as what they point to;
/// those that lead outside, nowhere or round in circles are refused, like everything that is no file.
pub(super) fn collect(folder: &Path, limits: &Limits) -> Result<Vec<Entry>, ArchiveError> {
    let unreadable = |e: std::io::Error| ArchiveError::Read { path: folder.to_owned(), source: e };
    let root = folder.canonicalize().map_err(unreadable)?;
    let refusals = Arc::new(Mutex::new(Vec::new()));
    let mut entries = Vec::new();
    let mut bytes = 0_u64;
    for found in walk(&root, &refusals) {
        let found = match found {
            Ok(found) => found,
            Err(e) => {
                note(&refusals, refusal_of(&root, &e));
                continue;
            }
        };
        let path = found.path();
        let kind = found.file_type();
        if path == root || kind.is_some_and(|k| k.is_dir()) {
            continue;
        }
        let name = path.strip_prefix(&root).unwrap_or(path);
        let refuse =
            |why: String| note(&refusals, Refusal { name: name.to_string_lossy().into_owned(), why });
        let meta = match found.metadata() {
            Ok(meta) if meta.is_file() => meta,
            Ok(meta) => {
                refuse(format!("is {}, not a file", kind_name(&meta)));
                continue;
            }
            Err(e) => {
                refuse(format!("cannot be read: {}", cause(&e)));
                continue;
            }
        };
        let checked = match names::checked(std::os::unix::ffi::OsStrExt::as_bytes(name.as_os_str())) {
            Ok(checked) => checked.to_owned(),
            Err(why) => {
                refuse(why.to_string());
                continue;
            }
        };
        bytes = bytes.saturating_add(meta.len());
        if entries.len() >= limits.entries || bytes > limits.bytes {
            return Err(ArchiveError::TooMuch { entries: limits.entries, bytes: limits.bytes });
        }
        let is_program = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o100 != 0;
        let mode = if is_program { 0o755 } else { 0o644 };
        entries.push(Entry { name: checked, source: path.to_owned(), size: meta.len(), mode });
    }
    let mut refusals =
        std::mem::take(&mut *refusals.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    if !refusals.is_empty() {
        refusals.sort();
        refusals.dedup();
        return Err(ArchiveError::Refused(refusals));
    }
    if entries.is_empty() {
        return Err(ArchiveError::Empty(folder.to_owned()));
    }
    entries.sort();
    Ok(entries)
}

type Refusals = Arc<Mutex<Vec<Refusal>>>;

fn note(refusals: &Refusals, refusal: Refusal) {
    let mut all = refusals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if all.len() < TOLD {
        all.push(refusal);
    }
}

/// Only the folder's own ignore files count: neither the machine's nor those of folders above, so that copies of a
/// folder pack the same. Nomad's unpacker knows no links (each would become an empty file), so links are followed.
fn walk(root: &Path, refusals: &Refusals) -> ignore::Walk {
    let (inside, refusals) = (root.to_owned(), Arc::clone(refusals));
    ignore::WalkBuilder::new(root)
        .standard_filters(false)
        .parents(false)
        .follow_links(true)
        .add_custom_ignore_filename(IGNORE_FILE)
        .filter_entry(move |e| {
            if NEVER.iter().any(|n| e.file_name() == *n) {
                return false;
            }
            if !e.path_is_symlink() {
                return true;
            }
            match e.path().canonicalize() {
                Ok(target) if target.starts_with(&inside) => true,
                // A link to nowhere is told by the walk itself.
                Err(_) => true,
                Ok(_) => {
                    let name = e.path().strip_prefix(&inside).unwrap_or(e.path());
                    let why = "is a link that leads out of the folder".to_owned();
                    note(&refusals, Refusal { name: name.to_string_lossy().into_owned(), why });
                    false
                }
            }
        })
        .build()
}

fn refusal_of(root: &Path, error: &ignore::Error) -> Refusal {
    let (mut path, mut at) = (None, error);
    loop {
        match at {
            ignore::Error::WithPath { path: p, err } => (path, at) = (Some(p.as_path()), &**err),
            ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => at = err,
            ignore::Error::Loop { child, .. } => {
                let name = child.strip_prefix(root).unwrap_or(child).to_string_lossy().into_owned();
                return Refusal { name, why: "is a link that leads round in a circle".into() };
            }
            _ => break,
        }
    }
    let name =
        path.map_or_else(String::new, |p| p.strip_prefix(root).unwrap_or(p).to_string_lossy().into_owned());
    Refusal { name, why: format!("cannot be read: {}", cause(error)) }
}

fn cause(error: &ignore::Error) -> String {
    error.io_error().map_or_else(|| error.to_string(), ToString::to_string)
}

fn kind_name(meta: &std::fs::Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = meta.file_type();
    if kind.is_socket() {
        "a socket"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else {
        "something else"
    }
}
