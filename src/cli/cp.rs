//! `terreau cp`: files to and from an instance, as a tar that is read and written as it goes.
//!
//! What comes from an instance is hostile: of its entries only files and folders below the one name that was asked for
//! are taken; links, devices and `..` end the copy.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::args::{CpArgs, Place};
use super::client::{Client, app_path};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::tunnel::{self, Ears, Mouth};
use super::{exec, local, suggest, waiting};
use crate::model::wire::{CopyBegin, CopyWay, Started, ToServer, Which, parted};

/// Pieces that wait to be written.
const WAITING: usize = 8;

/// Runs it.
pub fn run(args: &CpArgs, cx: &Context) -> Ran {
    let (which, named) = (args.which.which(), args.app.app.as_ref());
    match (&args.from, &args.to) {
        (Place::There(word, path), Place::Here(to)) => {
            let app = local::app(local::one_of(word.as_ref(), named)?, cx.printer)?;
            let (client, api) = (cx.client()?.tunnel()?, app_path(&app, "/exec"));
            waiting(fetch(&client, &api, which, path, Path::new(to))).map_err(|failure| {
                local::or_process(failure, word.as_ref(), |process, _| {
                    format!("did you mean `terreau cp :{path} {to} -p {process}`?")
                })
            })
        }
        (Place::Here(from), Place::There(word, path)) => {
            let app = local::app(local::one_of(word.as_ref(), named)?, cx.printer)?;
            let (client, api) = (cx.client()?.tunnel()?, app_path(&app, "/exec"));
            waiting(send(&client, &api, which, Path::new(from), path)).map_err(|failure| {
                local::or_process(failure, word.as_ref(), |process, _| {
                    format!("did you mean `terreau cp {from} :{path} -p {process}`?")
                })
            })
        }
        (Place::Here(_), Place::Here(_)) => {
            Err(Failure::usage("neither of the two paths is in an instance").hint(suggest::COPIES))
        }
        (Place::There(..), Place::There(..)) => {
            Err(Failure::usage("both paths are in an instance, and one of them must be here")
                .hint(suggest::COPIES))
        }
    }
}

/// Asks for a copy.
async fn ask(
    client: &Client,
    api: &str,
    which: Which,
    way: CopyWay,
    path: &str,
) -> Result<((Mouth, Ears), Started), Failure> {
    let what = CopyBegin { which, way, path: path.to_owned() };
    let (mouth, ears, started) = tunnel::open(client, api, &ToServer::Copy(what)).await?;
    Ok(((mouth, ears), started))
}

fn nameless(path: &str) -> Failure {
    Failure::usage(format!("{path} has no name of its own; name what is to be copied"))
}

async fn fetch(client: &Client, api: &str, which: Which, path: &str, to: &Path) -> Ran {
    let name = parted(path).ok_or_else(|| nameless(path))?.1;
    let target = if to.is_dir() { to.join(name) } else { to.to_owned() };
    let (there, _) = ask(client, api, which, CopyWay::Out, path).await?;
    let (_, nothing) = mpsc::channel(1);
    let (tx, rx) = mpsc::channel(WAITING);
    let (wanted, put) = (name.to_owned(), target.clone());
    let unpacking = tokio::task::spawn_blocking(move || unpack(Pipe::new(rx), &wanted, &put));
    let came = exec::through(there, nothing, tx).await?;
    let unpacked = unpacking.await.map_err(|e| Failure::failed("the copy ended").because(e.to_string()))?;
    if came.code != 0 {
        return Err(told(path, came.code, &came.said));
    }
    unpacked
        .map_err(|e| Failure::failed(format!("cannot copy {path} to {}", target.display())).because(e))?;
    Ok(ExitStatus::Done)
}

fn told(path: &str, code: i32, said: &str) -> Failure {
    let failure =
        Failure::failed(format!("cannot copy {path}: tar in the instance ended with {code}")).detail(said);
    match code {
        127 => failure.hint("copying needs a `tar` in the instance"),
        _ => failure,
    }
}

/// Takes what is `name` in the archive to `target`; nothing else.
fn unpack(tar: impl Read, name: &str, target: &Path) -> Result<(), String> {
    let text = |e: io::Error| e.to_string();
    let mut archive = tar::Archive::new(tar);
    let mut count = 0_u64;
    for entry in archive.entries().map_err(text)? {
        let mut entry = entry.map_err(text)?;
        let path = entry.path().map_err(text)?.into_owned();
        let shown = harmless(&path.display().to_string());
        let below = within(&path, name).ok_or_else(|| format!("{shown} leads elsewhere: refused"))?;
        let at = if below.as_os_str().is_empty() { target.to_owned() } else { target.join(&below) };
        let taken = match entry.header().entry_type() {
            tar::EntryType::Directory => std::fs::create_dir_all(&at),
            tar::EntryType::Regular | tar::EntryType::Continuous => write_file(&mut entry, &at),
            tar::EntryType::XGlobalHeader => continue,
            _ => return Err(format!("{shown} is a link or a device: refused")),
        };
        taken.map_err(text)?;
        count += 1;
    }
    if count == 0 { Err("nothing came".to_owned()) } else { Ok(()) }
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

async fn send(client: &Client, api: &str, which: Which, from: &Path, path: &str) -> Ran {
    let wrong = |e: io::Error| Failure::file("read", from, &e);
    let kind = std::fs::metadata(from).map_err(wrong)?;
    let own = from.canonicalize().map_err(wrong)?;
    let own = own.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let (there, started) = ask(client, api, which, CopyWay::In, path).await?;
    // Into it, where it is a folder; else as it.
    let name = if started.is_folder { own.as_str() } else { parted(path).ok_or_else(|| nameless(path))?.1 };
    let (tx, rx) = mpsc::channel(WAITING);
    let (source, name) = (from.to_owned(), name.to_owned());
    let packing = tokio::task::spawn_blocking(move || {
        let mut tar = tar::Builder::new(Drain { tx });
        tar.follow_symlinks(false);
        if kind.is_dir() {
            tar.append_dir_all(&name, &source)?;
        } else {
            tar.append_file(&name, &mut File::open(&source)?)?;
        }
        tar.into_inner()?.flush()
    });
    let (quiet, _ignored) = mpsc::channel(WAITING);
    let came = exec::through(there, rx, quiet).await?;
    let packed = packing.await.map_err(|e| Failure::failed("the copy ended").because(e.to_string()))?;
    if came.code != 0 {
        return Err(told(path, came.code, &came.said));
    }
    packed.map_err(wrong)?;
    Ok(ExitStatus::Done)
}

/// Reads what comes through a channel.
struct Pipe {
    rx: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Pipe {
    fn new(rx: mpsc::Receiver<Bytes>) -> Self {
        Self { rx, rest: Bytes::new() }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.rx.blocking_recv() {
                Some(bytes) => self.rest = bytes,
                None => return Ok(0),
            }
        }
        let n = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

/// Writes into a channel.
struct Drain {
    tx: mpsc::Sender<Bytes>,
}

impl Write for Drain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.tx.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
        let good = archive(&[("data/", E::Directory, ""), ("data/a/b", E::Regular, "hello")]);
        unpack(&good[..], "data", &target).unwrap();
        assert_eq!(std::fs::read(target.join("a/b")).unwrap(), b"hello");
        let mode = std::fs::metadata(target.join("a/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "no set-user-id");
        let hostile: [&[(&str, E, &str)]; 7] = [
            &[("../x", E::Regular, "x")],
            &[("/etc/x", E::Regular, "x")],
            &[("data/../../x", E::Regular, "x")],
            &[("other", E::Regular, "x")],
            &[("data/l", E::Symlink, "/etc")],
            &[("data/h", E::Link, "data/a/b")],
            &[("data/f", E::Fifo, "")],
        ];
        for entries in hostile {
            let why = unpack(&archive(entries)[..], "data", &target).unwrap_err();
            assert!(why.ends_with("refused"), "{entries:?}: {why}");
        }
        assert!(!temp.path().join("x").exists());
        assert!(unpack(&archive(&[])[..], "data", &target).is_err());
    }
}
