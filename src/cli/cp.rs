//! `terreau cp`: files to and from an instance, as a tar that is read and written as it goes.
//!
//! What comes from an instance is hostile, and goes through `unpack`.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::args::{CpArgs, Place};
use super::client::{Client, app_path};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran};
use super::printer::Printer;
use super::tunnel::{self, Ears, Mouth};
use super::unpack::{Stop, print, unpack};
use super::{exec, local, suggest, waiting};
use crate::model::wire::{CopyBegin, CopyWay, Started, ToServer, Which, parted};

/// Pieces that wait to be written.
const WAITING: usize = 8;
/// In the place of a path here: standard input or output.
const STREAM: &str = "-";

/// Runs it.
pub fn run(args: &CpArgs, cx: &Context) -> Ran {
    let (which, named) = (args.which.which(), args.app.app.as_ref());
    match (&args.from, &args.to) {
        (Place::There(word, path), Place::Here(to)) => {
            parted(path).ok_or_else(|| nameless(path))?;
            let app = local::app(local::one_of(word.as_ref(), named)?, cx.printer)?;
            let (client, api) = (cx.client()?.tunnel()?, app_path(&app, "/exec"));
            waiting(fetch(&client, &api, which, path, Path::new(to), cx.printer)).map_err(|failure| {
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
    Failure::usage(format!("{path} has no name of its own; name what is to be copied")).hint(suggest::COPIES)
}

async fn fetch(client: &Client, api: &str, which: Which, path: &str, to: &Path, printer: Printer) -> Ran {
    let name = parted(path).ok_or_else(|| nameless(path))?.1;
    let target = if to.is_dir() { to.join(name) } else { to.to_owned() };
    let is_stream = to.as_os_str() == STREAM;
    let (there, started) = ask(client, api, which, CopyWay::Out, path).await?;
    if is_stream && started.is_folder {
        return Err(Failure::usage(format!("{path} is a folder, and standard output takes one file"))
            .hint("say where to: `.` is this folder"));
    }
    let (_, nothing) = mpsc::channel(1);
    let (tx, rx) = mpsc::channel(WAITING);
    let (wanted, put) = (name.to_owned(), target.clone());
    let unpacking = tokio::task::spawn_blocking(move || {
        if is_stream { print(Pipe::new(rx), &wanted, printer) } else { unpack(Pipe::new(rx), &wanted, &put) }
    });
    let came = exec::through(there, nothing, tx).await?;
    let unpacked = unpacking.await.map_err(|e| Failure::failed("the copy ended").because(e.to_string()))?;
    if came.code != 0 {
        return Err(told(path, came.code, &came.said));
    }
    unpacked.map_err(|stop| match stop {
        Stop::Refused(why) => {
            Failure::failed(format!("cannot copy {path} to {}", target.display())).because(why)
        }
        Stop::Failed(failure) => failure,
    })?;
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

async fn send(client: &Client, api: &str, which: Which, from: &Path, path: &str) -> Ran {
    let wrong = |e: io::Error| Failure::file("read", from, &e);
    let spooled =
        if from.as_os_str() == STREAM {
            // Before anything of it is read. A folder is found out after that: nobody holds a connection open for as long as an
            // input takes to end.
            if path.ends_with('/') || parted(path).is_none() {
                return Err(unnamed(path));
            }
            let spooling = tokio::task::spawn_blocking(spooled).await;
            Some(spooling.map_err(|e| Failure::failed("the copy ended").because(e.to_string()))?.map_err(
                |e| Failure::failed("cannot keep standard input for the copy").because(e.to_string()),
            )?)
        } else {
            None
        };
    let is_folder = spooled.is_none() && std::fs::metadata(from).map_err(wrong)?.is_dir();
    let own = match from.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        // `.` and `..`
        None => {
            from.canonicalize().map_err(wrong)?.file_name().unwrap_or_default().to_string_lossy().into_owned()
        }
    };
    let (there, started) = ask(client, api, which, CopyWay::In, path).await?;
    if spooled.is_some() && started.is_folder {
        return Err(unnamed(path));
    }
    // Into it, where it is a folder; else as it.
    let name = if started.is_folder { own.as_str() } else { parted(path).ok_or_else(|| nameless(path))?.1 };
    let (tx, rx) = mpsc::channel(WAITING);
    let (name, source) = (name.to_owned(), from.to_owned());
    let packing = tokio::task::spawn_blocking(move || {
        let mut tar = tar::Builder::new(Drain { tx });
        // Of a folder; what is named itself is followed.
        tar.follow_symlinks(false);
        match spooled {
            Some(file) => append_spooled(&mut tar, &name, &file)?,
            None if is_folder => tar.append_dir_all(&name, &source)?,
            None => tar.append_file(&name, &mut File::open(&source)?)?,
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

/// Standard input takes the name of a file there.
fn unnamed(path: &str) -> Failure {
    let name = match path.trim_end_matches('/') {
        "" if path.is_empty() => ":NAME".to_owned(),
        folder => format!("{folder}/NAME"),
    };
    let shown = if path.is_empty() { "where the app's program starts" } else { path };
    Failure::usage(format!("{shown} is a folder, and standard input has no name"))
        .hint(format!("name the file: {name}"))
}

/// Standard input in a file: a copy begins with its size. The file has no name, so that nobody else reads it.
fn spooled() -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    file.rewind()?;
    Ok(file)
}

/// What came on standard input, as a plain file: it has no mode of its own.
fn append_spooled(tar: &mut tar::Builder<Drain>, name: &str, file: &File) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(file.metadata()?.len());
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()));
    tar.append_data(&mut header, name, file)
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
