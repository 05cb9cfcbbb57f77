//! What comes out of an instance, on its way into a folder here or onto standard output. It is hostile: of its entries only
//! files, folders and links below the one name that was asked for are taken. A link is taken where it leads to something
//! below that name too, and made last of all, so that nothing is ever written through one; other links, devices and `..`
//! end the copy.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use super::failure::{Failure, harmless};
use super::printer::Printer;

/// Why no more of a copy is taken.
#[derive(Debug)]
pub(super) enum Stop {
    /// What came, or what it was to be written to.
    Refused(String),
    /// Nobody reads what is printed.
    Failed(Failure),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Refused(why)
    }
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Self {
        Self::Refused(e.to_string())
    }
}

/// Takes what is `name` in the archive to `target`; nothing else.
pub(super) fn unpack(tar: impl Read, name: &str, target: &Path) -> Result<(), Stop> {
    let mut archive = tar::Archive::new(tar);
    let (mut count, mut links) = (0_u64, Vec::new());
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let shown = harmless(&path.display().to_string());
        let below = within(&path, name).ok_or_else(|| format!("{shown} leads elsewhere: refused"))?;
        let at = if below.as_os_str().is_empty() { target.to_owned() } else { target.join(&below) };
        match entry.header().entry_type() {
            tar::EntryType::Directory => {
                through_no_link(target, &below)?;
                std::fs::create_dir_all(&at)?;
            }
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                // A file in the place of `target` replaces a link there, and is not written through it.
                if let Some(folder) = below.parent() {
                    through_no_link(target, folder)?;
                }
                write_file(&mut entry, &at)?;
            }
            tar::EntryType::Symlink => {
                let to = entry.link_name()?.unwrap_or_default().into_owned();
                let leads = harmless(&to.display().to_string());
                if below.as_os_str().is_empty() {
                    return Err(format!("{shown} is a link to {leads}; copy that instead: refused").into());
                }
                if !stays(&below, &to) {
                    return Err(
                        format!("{shown} is a link that leads out of {name}, to {leads}: refused").into()
                    );
                }
                links.push((below, to));
            }
            tar::EntryType::XGlobalHeader => continue,
            _ => return Err(format!("{shown} is a hard link or a device: refused").into()),
        }
        count += 1;
    }
    for (below, to) in links {
        through_no_link(target, below.parent().unwrap_or(Path::new("")))?;
        make_link(&to, &target.join(below))?;
    }
    if count == 0 { Err("nothing came".to_owned().into()) } else { Ok(()) }
}

/// Prints the one file of an archive.
pub(super) fn print(tar: impl Read, name: &str, printer: Printer) -> Result<(), Stop> {
    let mut archive = tar::Archive::new(tar);
    let mut count = 0_u64;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind == tar::EntryType::XGlobalHeader {
            continue;
        }
        let path = entry.path()?.into_owned();
        let is_it = within(&path, name).is_some_and(|below| below.as_os_str().is_empty());
        if !is_it || !kind.is_file() || count > 0 {
            return Err(format!("{} is no plain file: refused", harmless(&path.display().to_string())).into());
        }
        count += 1;
        let mut buffer = vec![0; 64 << 10];
        let mut shown = Shown::default();
        loop {
            let n = entry.read(&mut buffer)?;
            // What an app wrote does not steer a terminal.
            let done = if printer.shows_data() {
                printer.document(&shown.next(&buffer[..n]))
            } else {
                printer.bytes(&buffer[..n])
            };
            done.map_err(Stop::Failed)?;
            if n == 0 {
                break;
            }
        }
    }
    if count == 0 { Err("nothing came".to_owned().into()) } else { Ok(()) }
}

/// Bytes that come in pieces, as text for a terminal.
#[derive(Default)]
struct Shown {
    /// The beginning of a character whose rest is still to come.
    begun: Vec<u8>,
}

impl Shown {
    /// The text of the next piece; an empty piece is the last one.
    fn next(&mut self, piece: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.begun);
        bytes.extend_from_slice(piece);
        let last = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
        let is_begun = !piece.is_empty() && std::str::from_utf8(last).is_err_and(|e| e.error_len().is_none());
        if is_begun {
            self.begun = bytes.split_off(bytes.len() - last.len());
        }
        harmless(&String::from_utf8_lossy(&bytes))
    }
}

/// Whether a link leads to something in the folder that is copied: `below` is where in it the link stands. It goes up only
/// before it goes down: the folders above a link are real ones, while a name that it goes down by may be a link itself,
/// and `..` behind that leads from where that one leads to.
fn stays(below: &Path, to: &Path) -> bool {
    let mut above = below.components().count().saturating_sub(1);
    let mut goes_down = false;
    for part in to.components() {
        match part {
            Component::Normal(_) => goes_down = true,
            Component::CurDir => {}
            Component::ParentDir if above > 0 && !goes_down => above -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// Refuses a way to `target` and below it that leads through a link that was here before.
fn through_no_link(target: &Path, below: &Path) -> Result<(), String> {
    let mut at = target.to_owned();
    let mut parts = below.components();
    loop {
        if at.is_symlink() {
            return Err(format!("{} is a link here, and leads elsewhere: refused", at.display()));
        }
        let Some(part) = parts.next() else { return Ok(()) };
        at.push(part);
    }
}

/// Makes a link, in the place of a file or a link that is there.
fn make_link(to: &Path, at: &Path) -> io::Result<()> {
    if let Some(folder) = at.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(at) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => std::os::unix::fs::symlink(to, at),
    }
}

/// What stands below `name` in an entry's path.
fn within(path: &Path, name: &str) -> Option<PathBuf> {
    let mut parts = path.components().filter(|c| *c != Component::CurDir);
    match parts.next()? {
        Component::Normal(first) if first == name => {}
        _ => return None,
    }
    parts.map(|c| if let Component::Normal(part) = c { Some(part) } else { None }).collect()
}

/// Writes a file beside its place, then puts it there whole.
fn write_file(entry: &mut tar::Entry<'_, impl Read>, at: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = at.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut part = tempfile::Builder::new().prefix(".terreau-").tempfile_in(folder)?;
    io::copy(entry, part.as_file_mut())?;
    let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
    // Never with the powers of another owner or group.
    part.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    part.persist(at).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            let size = if *kind == tar::EntryType::Regular { text.len() } else { 0 };
            header.set_size(size as u64);
            if *kind == tar::EntryType::Symlink || *kind == tar::EntryType::Link {
                header.set_link_name(text).unwrap();
            }
            header.set_cksum();
            tar.append(&header, &text.as_bytes()[..size]).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn only_files_and_folders_below_the_name_are_taken() {
        use std::os::unix::fs::PermissionsExt;
        use tar::EntryType as E;
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("out");
        let good = archive(&[
            ("data/", E::Directory, ""),
            ("data/to/up", E::Symlink, "../a/b"),
            ("data/a/b", E::Regular, "hello"),
            ("data/all", E::Symlink, "a"),
        ]);
        unpack(&good[..], "data", &target).unwrap();
        let link = |at: &str| std::fs::read_link(target.join(at)).unwrap();
        assert_eq!((link("to/up"), link("all")), (PathBuf::from("../a/b"), PathBuf::from("a")));
        assert_eq!(std::fs::read(target.join("a/b")).unwrap(), b"hello");
        let mode = std::fs::metadata(target.join("a/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "no set-user-id");
        // Once more over itself.
        unpack(&good[..], "data", &target).unwrap();
        let hostile: [&[(&str, E, &str)]; 13] = [
            &[("../x", E::Regular, "x")],
            &[("/etc/x", E::Regular, "x")],
            &[("data/../../x", E::Regular, "x")],
            &[("other", E::Regular, "x")],
            &[("data/l", E::Symlink, "/etc")],
            &[("data/l", E::Symlink, "a/../../x")],
            // A chain of links: by the count of its words the second one stays.
            &[("data/x", E::Symlink, "."), ("data/e", E::Symlink, "x/x/x/../../../.ssh")],
            &[("data/l", E::Symlink, "a/../b")],
            &[("data", E::Symlink, "a")],
            // Through a link that an earlier copy has left.
            &[("data/all/evil", E::Regular, "x")],
            &[("data/all/", E::Directory, "")],
            &[("data/h", E::Link, "data/a/b")],
            &[("data/f", E::Fifo, "")],
        ];
        for entries in hostile {
            let Stop::Refused(why) = unpack(&archive(entries)[..], "data", &target).unwrap_err() else {
                panic!()
            };
            assert!(why.ends_with("refused"), "{entries:?}: {why}");
        }
        // A link is made after everything else: what comes under its name is no way through it.
        let through = [("data/s", E::Symlink, "to"), ("data/s/evil", E::Regular, "x")];
        unpack(&archive(&through)[..], "data", &target).unwrap_err();
        assert!(!target.join("to/evil").exists() && target.join("s/evil").is_file());
        assert!(!temp.path().join("x").exists());
        assert!(unpack(&archive(&[])[..], "data", &target).is_err());
    }

    #[test]
    fn a_link_in_the_place_of_the_target_is_replaced_by_a_file_and_no_folder_is_written_through_it() {
        use tar::EntryType as E;
        let temp = tempfile::tempdir().unwrap();
        let (elsewhere, target) = (temp.path().join("elsewhere"), temp.path().join("out"));
        std::fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &target).unwrap();
        let hostile: [&[(&str, E, &str)]; 3] = [
            &[("data/", E::Directory, "")],
            &[("data/evil", E::Regular, "x")],
            &[("data/evil", E::Symlink, "a")],
        ];
        for entries in hostile {
            let Stop::Refused(why) = unpack(&archive(entries)[..], "data", &target).unwrap_err() else {
                panic!()
            };
            assert!(why.ends_with("out is a link here, and leads elsewhere: refused"), "{entries:?}: {why}");
        }
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
        unpack(&archive(&[("data", E::Regular, "hello")])[..], "data", &target).unwrap();
        assert!(target.is_file() && !target.is_symlink() && elsewhere.is_dir());
    }

    #[test]
    fn a_character_that_comes_in_two_pieces_is_shown_as_one() {
        let pieces = |pieces: &[&[u8]]| {
            let mut shown = Shown::default();
            let mut text: String = pieces.iter().map(|piece| shown.next(piece)).collect();
            text.push_str(&shown.next(b""));
            text
        };
        assert_eq!(pieces(&[b"a\xe2", b"\x82", b"\xacb"]), "a€b");
        assert_eq!(pieces(&[b"a\xe2\x82", b"b"]), "a\u{fffd}b", "it was none");
        assert_eq!(pieces(&[b"a\xff", b"b\xe2"]), "a\u{fffd}b\u{fffd}", "the end is not kept back");
    }
}
