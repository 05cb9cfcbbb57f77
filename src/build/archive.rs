//! A folder as archives (`.tar.zst`), the same bytes for the same files: names sorted, owner 0, time 0, mode 644 or
//! 755, one compression level. Files are streamed; memory does not grow with them.
//!
//! Left out: what `.terreauignore` files say (syntax of `.gitignore`; no other ignore file counts), `.git` and
//! `.terreau` at every depth, and empty folders, as git does. Links inside the folder are packed as what they point
//! to, since Nomad's unpacker makes an empty file of a link; links that lead outside are refused.
//!
//! A new release of the compressor may make other bytes of the same files: that uploads once more, and is no fault.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::collect::{Entry, collect};
pub use super::error::{ArchiveError, Refusal};
pub use crate::archive::Limits;
use crate::archive::{Format, PART_ENTRIES, is_bomb};
use crate::model::Sha256Hex;
use crate::model::artifact::{Artifact, ArtifactPart};

/// What the parts are.
const FORMAT: Format = Format::TarZst;
/// Fast enough for a home connection's sake, and about what everybody uses.
const LEVEL: i32 = 3;

/// How far packing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Files packed.
    pub files_done: usize,
    /// Files in all.
    pub files: usize,
    /// Bytes read.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes: u64,
}

/// An artifact on disk, ready to be uploaded. Its temporary files go when it is dropped.
#[derive(Debug)]
pub struct Packed {
    /// Its parts by hash.
    pub artifact: Artifact,
    /// Where each part lies, in the same order.
    pub files: Vec<PathBuf>,
    /// Bytes before compression.
    pub unpacked: u64,
    _scratch: Option<TempDir>,
}

/// Packs a folder into parts of at most 4,000 files. Blocking: call it where blocking is allowed.
///
/// Temporary files go into a folder of their own below `scratch`, private to this user.
///
/// # Errors
/// What is in the folder that cannot be packed, or a file that cannot be read or written.
pub fn pack(
    folder: &Path,
    scratch: &Path,
    limits: &Limits,
    progress: &mut dyn FnMut(Progress),
) -> Result<Packed, ArchiveError> {
    Listing::of(folder, limits)?.pack(scratch, progress)
}

/// The files of a folder that are packed, sorted by name.
#[derive(Debug)]
pub struct Listing(Vec<Entry>);

impl Listing {
    /// Walks a folder. Blocking.
    ///
    /// # Errors
    /// As [`pack`]'s, before anything is written.
    pub fn of(folder: &Path, limits: &Limits) -> Result<Self, ArchiveError> {
        collect(folder, limits).map(Self)
    }

    /// Their names, `/` between folders.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|e| e.name.as_str())
    }

    /// Packs them, as [`pack`] does.
    ///
    /// # Errors
    /// As [`pack`]'s.
    pub fn pack(&self, scratch: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Packed, ArchiveError> {
        write_parts(&self.0, scratch, progress)
    }
}

fn write_parts(
    entries: &[Entry],
    scratch: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Packed, ArchiveError> {
    let dir = tempfile::Builder::new().prefix("terreau-").tempdir_in(scratch).map_err(ArchiveError::Write)?;
    let mut so_far =
        Progress { files: entries.len(), bytes: entries.iter().map(|e| e.size).sum(), ..Progress::default() };
    progress(so_far);
    let (mut parts, mut files) = (Vec::new(), Vec::new());
    for (i, some) in entries.chunks(PART_ENTRIES).enumerate() {
        let path = dir.path().join(format!("{i}.{}", FORMAT.extension()));
        let before = so_far.bytes_done;
        let part = write_part(&path, some, &mut so_far, progress)?;
        // The agent would refuse it: said before it is sent.
        if is_bomb(part.size, so_far.bytes_done - before) {
            return Err(ArchiveError::Bomb);
        }
        parts.push(part);
        files.push(path);
    }
    Ok(Packed { artifact: Artifact { parts }, files, unpacked: so_far.bytes, _scratch: Some(dir) })
}

/// A file that is deployed as it is (an image, `archive = false`), as an artifact of one part. Only hashed.
pub fn as_is(path: &Path, ext: &str) -> Result<Packed, ArchiveError> {
    let unreadable = |source| ArchiveError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut out = Hashing { to: io::sink(), hash: Sha256::new(), size: 0 };
    io::copy(&mut file, &mut out).map_err(unreadable)?;
    let part = out.part(ext, 1)?;
    let unpacked = part.size;
    let artifact = Artifact { parts: vec![part] };
    Ok(Packed { artifact, files: vec![path.to_owned()], unpacked, _scratch: None })
}

fn write_part(
    path: &Path,
    entries: &[Entry],
    so_far: &mut Progress,
    progress: &mut dyn FnMut(Progress),
) -> Result<ArtifactPart, ArchiveError> {
    let file = File::create_new(path).map_err(ArchiveError::Write)?;
    let out = Hashing { to: io::BufWriter::with_capacity(256 << 10, file), hash: Sha256::new(), size: 0 };
    let packer = zstd::stream::write::Encoder::new(out, LEVEL).map_err(ArchiveError::Write)?;
    let mut tar = tar::Builder::new(packer);
    for entry in entries {
        append(&mut tar, entry, so_far, progress)?;
        so_far.files_done += 1;
        progress(*so_far);
    }
    let packer = tar.into_inner().map_err(ArchiveError::Write)?;
    let mut out = packer.finish().map_err(ArchiveError::Write)?;
    out.flush().map_err(ArchiveError::Write)?;
    out.part(FORMAT.extension(), u32::try_from(entries.len()).unwrap_or(u32::MAX))
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    entry: &Entry,
    so_far: &mut Progress,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), ArchiveError> {
    let unreadable = |source| ArchiveError::Read { path: entry.source.clone(), source };
    // Should a pipe take the file's place between the walk and now, opening it must not wait for a writer.
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(nonblock).open(&entry.source).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() || meta.len() != entry.size {
        return Err(ArchiveError::Changed(entry.source.clone()));
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(entry.size);
    header.set_mode(entry.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let before = so_far.bytes_done;
    let mut reader = Counting { from: file, left: entry.size, fault: None, so_far, progress };
    let written = tar.append_data(&mut header, &entry.name, &mut reader);
    let (left, fault, mut file) = (reader.left, reader.fault.take(), reader.from);
    if let Some(source) = fault {
        return Err(unreadable(source));
    }
    written.map_err(ArchiveError::Write)?;
    // A file that grew would be cut, one that shrank would shift all that follows: refuse both.
    let has_more = file.read(&mut [0]).map_err(unreadable)? > 0;
    if left > 0 || has_more {
        return Err(ArchiveError::Changed(entry.source.clone()));
    }
    so_far.bytes_done = before + entry.size;
    Ok(())
}

/// Reads at most what the header promises, tells how far it is, and keeps faults of reading apart from writing.
struct Counting<'a> {
    from: File,
    left: u64,
    fault: Option<io::Error>,
    so_far: &'a mut Progress,
    progress: &'a mut dyn FnMut(Progress),
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        match self.from.read(&mut buffer[..most]) {
            Ok(n) => {
                self.left -= n as u64;
                let before = self.so_far.bytes_done;
                self.so_far.bytes_done += n as u64;
                if before >> 20 != self.so_far.bytes_done >> 20 {
                    (self.progress)(*self.so_far);
                }
                Ok(n)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
            Err(e) => {
                let told = io::Error::from(e.kind());
                self.fault = Some(e);
                Err(told)
            }
        }
    }
}

/// Hashes and counts what passes.
struct Hashing<W> {
    to: W,
    hash: Sha256,
    size: u64,
}

impl<W> Hashing<W> {
    fn part(self, ext: &str, entries: u32) -> Result<ArtifactPart, ArchiveError> {
        let sha256 = Sha256Hex::new(hex::encode(self.hash.finalize()));
        let sha256 = sha256.map_err(|e| ArchiveError::Write(io::Error::other(e)))?;
        Ok(ArtifactPart { sha256, size: self.size, ext: ext.to_owned(), entries })
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder(files: &[(&str, &[u8])]) -> TempDir {
        let dir = tempfile::tempdir().expect("temp");
        for (name, content) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("dir");
            std::fs::write(path, content).expect("write");
        }
        dir
    }

    fn packed(dir: &Path) -> Result<Packed, ArchiveError> {
        pack(dir, &std::env::temp_dir(), &Limits::default(), &mut |_| ())
    }

    fn listing(packed: &Packed) -> Vec<(String, u32, u64, Vec<u8>)> {
        let mut all = Vec::new();
        for path in &packed.files {
            let file = zstd::stream::read::Decoder::new(File::open(path).expect("open")).expect("zstd");
            for entry in tar::Archive::new(file).entries().expect("entries") {
                let mut entry = entry.expect("entry");
                let (name, header) =
                    (entry.path().expect("name").to_string_lossy().into_owned(), entry.header());
                let (mode, mtime) = (header.mode().expect("mode"), header.mtime().expect("mtime"));
                assert_eq!((header.uid().expect("uid"), header.gid().expect("gid")), (0, 0));
                let mut content = Vec::new();
                entry.read_to_end(&mut content).expect("content");
                all.push((name, mode, mtime, content));
            }
        }
        all
    }

    #[test]
    fn copies_of_a_folder_with_other_times_and_modes_make_the_same_bytes() {
        let files: &[(&str, &[u8])] = &[("b/x.txt", b"x"), ("a.txt", b"hello"), ("run", b"#!/bin/sh\n")];
        let (one, two) = (folder(files), folder(&[files[2], files[0], files[1]]));
        for (dir, mode, time) in [(&one, 0o750, 1_000_000), (&two, 0o711, 2_000_000)] {
            let run = dir.path().join("run");
            std::fs::set_permissions(&run, std::fs::Permissions::from_mode(mode)).expect("mode");
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
            File::options().append(true).open(&run).expect("open").set_modified(time).expect("time");
        }
        std::fs::create_dir(two.path().join("empty")).expect("dir");
        let (one, two) = (packed(one.path()).expect("packs"), packed(two.path()).expect("packs"));
        assert_eq!(one.artifact, two.artifact);
        let names: Vec<_> = listing(&one).into_iter().map(|(n, m, t, _)| (n, m, t)).collect();
        assert_eq!(
            names,
            [("a.txt".into(), 0o644, 0), ("b/x.txt".into(), 0o644, 0), ("run".into(), 0o755, 0)]
        );
    }

    #[test]
    fn more_than_4000_files_are_cut_into_parts_that_hold_all_of_them_in_order() {
        let dir = tempfile::tempdir().expect("temp");
        for i in 0..9001 {
            std::fs::write(dir.path().join(format!("{i:05}")), i.to_string()).expect("write");
        }
        let packed = packed(dir.path()).expect("packs");
        let entries: Vec<_> = packed.artifact.parts.iter().map(|p| p.entries).collect();
        assert_eq!(entries, [4000, 4000, 1001]);
        let back = listing(&packed);
        assert_eq!(back.len(), 9001);
        for (i, (name, _, _, content)) in back.iter().enumerate() {
            assert_eq!((name.as_str(), content.as_slice()), (&*format!("{i:05}"), i.to_string().as_bytes()));
        }
    }

    #[test]
    fn ignored_files_git_and_our_own_state_are_left_out() {
        let dir = folder(&[
            (".terreauignore", b"*.log\n/target/\n!keep.log\n"),
            ("a.log", b"x"),
            ("keep.log", b"x"),
            ("target/x", b"x"),
            ("sub/target/y", b"x"),
            (".git/config", b"x"),
            ("sub/.git/config", b"x"),
            (".terreau/state", b"x"),
            (".gitignore", b"*\n"),
            (".hidden", b"x"),
        ]);
        let names: Vec<_> = listing(&packed(dir.path()).expect("packs")).into_iter().map(|e| e.0).collect();
        assert_eq!(names, [".gitignore", ".hidden", ".terreauignore", "keep.log", "sub/target/y"]);
    }

    #[test]
    fn links_inside_are_packed_as_what_they_point_to() {
        let dir = folder(&[("real/a.txt", b"hello")]);
        std::os::unix::fs::symlink("real/a.txt", dir.path().join("link.txt")).expect("link");
        std::os::unix::fs::symlink("real", dir.path().join("folder")).expect("link");
        let back = listing(&packed(dir.path()).expect("packs"));
        let names: Vec<_> = back.iter().map(|e| e.0.as_str()).collect();
        assert_eq!(names, ["folder/a.txt", "link.txt", "real/a.txt"]);
        assert!(back.iter().all(|e| e.3 == b"hello"));
    }

    #[test]
    fn everything_that_cannot_be_deployed_is_named_at_once() {
        let dir = folder(&[("ok", b"x"), ("a\nb", b"x")]);
        let path = |n: &str| dir.path().join(n);
        std::os::unix::fs::symlink("/etc/passwd", path("out")).expect("link");
        std::os::unix::fs::symlink("..", path("up")).expect("link");
        std::os::unix::fs::symlink("nowhere", path("dead")).expect("link");
        std::fs::create_dir(path("circle")).expect("dir");
        std::os::unix::fs::symlink("../circle", path("circle/again")).expect("link");
        let _socket = std::os::unix::net::UnixListener::bind(path("sock")).expect("socket");
        let Err(ArchiveError::Refused(all)) = packed(dir.path()) else { panic!("was packed") };
        let why = |n: &str| all.iter().find(|r| r.name == n).map_or("", |r| r.why.as_str());
        assert_eq!(why("sock"), "is a socket, not a file");
        assert_eq!(why("out"), "is a link that leads out of the folder");
        assert_eq!(why("up"), "is a link that leads out of the folder");
        assert_eq!(why("circle/again"), "is a link that leads round in a circle");
        assert_eq!(why("a\nb"), "the name holds a control character");
        assert!(why("dead").starts_with("cannot be read"), "{all:?}");
        assert_eq!(all.len(), 6, "{all:?}");
        let told = ArchiveError::Refused(all).to_string();
        assert!(told.contains(".terreauignore") && !told.contains('\n'), "{told}");
    }

    #[test]
    fn an_empty_folder_and_one_over_the_limits_are_refused() {
        let empty = tempfile::tempdir().expect("temp");
        assert!(matches!(packed(empty.path()), Err(ArchiveError::Empty(_))));
        let dir = folder(&[("a", b"12345"), ("b", b"12345")]);
        let tight =
            |entries, bytes| pack(dir.path(), &std::env::temp_dir(), &Limits { entries, bytes }, &mut |_| ());
        assert!(matches!(tight(1, 100), Err(ArchiveError::TooMuch { .. })));
        assert!(matches!(tight(10, 9), Err(ArchiveError::TooMuch { .. })));
        assert!(tight(2, 10).is_ok());
    }

    #[test]
    fn names_longer_than_a_tar_header_come_back_whole() {
        let long = format!("{}/{}", "d".repeat(200), "f".repeat(250));
        let dir = folder(&[(&long, b"deep")]);
        let back = listing(&packed(dir.path()).expect("packs"));
        assert_eq!(back[0].0, long);
        assert_eq!(back[0].3, b"deep");
    }
}
