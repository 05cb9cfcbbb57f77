//! Keeps the tree on disk: a snapshot, and a journal of every change since.
//!
//! A change counts once its line is synced; a kill at any point leaves the state before it or after it. A line is
//! `<16 hex of its SHA-256> <JSON>`: only the last one may be torn, and is then dropped. Steps are absolute (the
//! entry is now this), so replaying a line whose effect is in the snapshot already does no harm. Two servers on
//! one folder are refused.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::tree::{Node, Step, Tree};

/// A journal longer than this is folded into a new snapshot.
const FOLD_AT: u64 = 4 << 20;

/// The open files.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    file: File,
    len: u64,
    /// Set when a failed write could not be taken back: what is on disk is not known any more.
    broken: bool,
    _lock: File,
}

/// Takes the folder's lock. A program that this process is just starting holds a copy of a closed journal's lock until
/// its `exec`, so a lock that is taken is looked at again for a moment.
fn hold(lock: &File) -> Result<(), TryLockError> {
    let mut tried = lock.try_lock();
    for _ in 0..50 {
        if !matches!(tried, Err(TryLockError::WouldBlock)) {
            break;
        }
        #[expect(clippy::disallowed_methods, reason = "a poll with an end, at start only")]
        std::thread::sleep(std::time::Duration::from_millis(10));
        tried = lock.try_lock();
    }
    tried
}

impl Journal {
    /// Opens a folder (made where it is missing) and reads the tree in it.
    pub fn open(folder: &Path, base: &str) -> io::Result<(Self, Tree)> {
        std::fs::create_dir_all(folder)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock"))?;
        hold(&lock).map_err(|e| match e {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("{} is in use by another directory", folder.display()),
            ),
            TryLockError::Error(e) => e,
        })?;
        let mut tree = Tree::new(base);
        match std::fs::read(folder.join("snapshot.json")) {
            Ok(bytes) => {
                let nodes: Vec<Node> =
                    serde_json::from_slice(&bytes).map_err(|e| spoilt(folder, "snapshot.json", &e))?;
                tree.apply(&nodes.into_iter().map(Step::Put).collect::<Vec<_>>());
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(folder.join("journal"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let good = replay(&bytes, &mut tree).map_err(|e| spoilt(folder, "journal", &e))?;
        file.set_len(good)?;
        file.seek(SeekFrom::Start(good))?;
        file.sync_all()?;
        sync_folder(folder)?;
        let folder = folder.to_owned();
        let mut journal = Self { folder, file, len: good, broken: false, _lock: lock };
        if good > FOLD_AT {
            journal.fold(&tree)?;
        }
        Ok((journal, tree))
    }

    /// Puts a change on disk. When this is an error, nothing of it will be there after a restart.
    pub fn append(&mut self, batch: &[Step]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write failed and could not be taken back: restart"));
        }
        let json = serde_json::to_string(batch)?;
        let line = format!("{} {json}\n", checksum(json.as_bytes()));
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            let back = self.file.set_len(self.len).and_then(|()| self.file.seek(SeekFrom::Start(self.len)));
            self.broken = back.and_then(|_| self.file.sync_data()).is_err();
            return Err(error);
        }
        self.len += line.len() as u64;
        Ok(())
    }

    /// Starts the journal anew where it has grown long.
    pub fn fold_if_long(&mut self, tree: &Tree) -> io::Result<()> {
        if self.len > FOLD_AT { self.fold(tree) } else { Ok(()) }
    }

    fn fold(&mut self, tree: &Tree) -> io::Result<()> {
        let nodes: Vec<&Node> = tree.nodes().map(AsRef::as_ref).collect();
        let (new, name) = (self.folder.join("snapshot.new"), self.folder.join("snapshot.json"));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(&nodes)?)?;
        file.sync_all()?;
        std::fs::rename(&new, &name)?;
        sync_folder(&self.folder)?;
        // From here the journal says only what the snapshot says.
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.sync_all()?;
        self.len = 0;
        Ok(())
    }
}

/// Makes the changes of all whole lines; gives back how many bytes they take.
fn replay(bytes: &[u8], tree: &mut Tree) -> Result<u64, String> {
    let mut good = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        match read_line(line) {
            Some(batch) => tree.apply(&batch),
            None if good + line.len() == bytes.len() => break,
            None => return Err(format!("the line at byte {good} is damaged, and lines follow it")),
        }
        good += line.len();
    }
    Ok(good as u64)
}

fn read_line(line: &[u8]) -> Option<Vec<Step>> {
    let (sum, json) = line.strip_suffix(b"\n")?.split_at_checked(16)?;
    let json = json.strip_prefix(b" ")?;
    if checksum(json).as_bytes() != sum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

fn checksum(json: &[u8]) -> String {
    hex::encode(&Sha256::digest(json)[..8])
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn spoilt(folder: &Path, name: &str, why: &dyn std::fmt::Display) -> io::Error {
    let text =
        format!("{}: {why}; restore it, or remove the folder to start anew", folder.join(name).display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, value: &str) -> Step {
        let attrs = [("cn".to_owned(), vec![value.to_owned()])].into();
        Step::Put(Node { dn: format!("cn={name},dc=ex"), attrs })
    }

    fn value(tree: &Tree, name: &str) -> Option<String> {
        tree.get(&format!("cn={name},dc=ex")).map(|node| node.all("cn")[0].clone())
    }

    #[test]
    fn what_was_appended_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path(), "dc=ex").unwrap();
        journal.append(&[node("a", "1"), node("b", "1")]).unwrap();
        journal.append(&[node("a", "2"), Step::Delete("cn=b,dc=ex".to_owned())]).unwrap();
        drop(journal);
        let (_, tree) = Journal::open(folder.path(), "dc=ex").unwrap();
        assert_eq!(value(&tree, "a").as_deref(), Some("2"));
        assert_eq!(value(&tree, "b"), None);
    }

    #[test]
    fn wherever_the_last_line_is_torn_the_lines_before_it_hold() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path(), "dc=ex").unwrap();
        journal.append(&[node("a", "1")]).unwrap();
        let first = journal.len;
        journal.append(&[node("a", "2")]).unwrap();
        drop(journal);
        let whole = std::fs::read(folder.path().join("journal")).unwrap();
        for cut in usize::try_from(first).unwrap()..whole.len() {
            std::fs::write(folder.path().join("journal"), &whole[..cut]).unwrap();
            let (mut journal, tree) = Journal::open(folder.path(), "dc=ex").unwrap();
            assert_eq!(value(&tree, "a").as_deref(), Some("1"), "cut at {cut}");
            journal.append(&[node("a", "3")]).unwrap();
            drop(journal);
            let (_, tree) = Journal::open(folder.path(), "dc=ex").unwrap();
            assert_eq!(value(&tree, "a").as_deref(), Some("3"), "cut at {cut}");
        }
    }

    #[test]
    fn damage_before_the_last_line_is_reported_and_not_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path(), "dc=ex").unwrap();
        journal.append(&[node("a", "1")]).unwrap();
        journal.append(&[node("b", "1")]).unwrap();
        drop(journal);
        let path = folder.path().join("journal");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[30] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = Journal::open(folder.path(), "dc=ex").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn folding_keeps_the_tree_even_if_the_journal_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, mut tree) = Journal::open(folder.path(), "dc=ex").unwrap();
        for step in [node("a", "1"), node("b", "1"), Step::Delete("cn=a,dc=ex".to_owned())] {
            journal.append(std::slice::from_ref(&step)).unwrap();
            tree.apply(&[step]);
        }
        let before = std::fs::read(folder.path().join("journal")).unwrap();
        journal.fold(&tree).unwrap();
        journal.append(&[node("c", "1")]).unwrap();
        drop(journal);
        let (_, read) = Journal::open(folder.path(), "dc=ex").unwrap();
        assert_eq!((value(&read, "a"), value(&read, "b")), (None, Some("1".to_owned())));
        assert_eq!(value(&read, "c"), Some("1".to_owned()));
        // As if killed between the snapshot's rename and the journal's end.
        std::fs::write(folder.path().join("journal"), before).unwrap();
        let (_, read) = Journal::open(folder.path(), "dc=ex").unwrap();
        assert_eq!((value(&read, "a"), value(&read, "b")), (None, Some("1".to_owned())));
    }

    #[test]
    fn a_folder_in_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let held = Journal::open(folder.path(), "dc=ex").unwrap();
        let error = Journal::open(folder.path(), "dc=ex").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        drop(held);
        assert!(Journal::open(folder.path(), "dc=ex").is_ok());
    }
}
