//! Archives: reads and unpacks what people upload. Everything in them is hostile.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::model::Sha256Hex;

/// The most bytes that an archive may unpack to.
const MOST_BYTES: u64 = 8 << 30;
/// The most files in one archive.
const MOST_FILES: usize = 100_000;

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It does not have the hash that it is named by.
    #[error("the archive has another hash than the one that it is named by")]
    Hash,
    /// It holds something that may not be there.
    #[error("the archive holds {0}")]
    Hostile(String),
    /// It could not be read or written.
    #[error("the archive cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Unpacks the regular files of a `.tar.zst` into a folder, each under a number: no name of the archive is ever a
/// name on this machine. Gives back the names with the files. The hash is checked before anything is unpacked.
pub async fn unpack(
    mut reader: impl AsyncRead + Unpin,
    sha256: &Sha256Hex,
    into: &Path,
) -> Result<Vec<(String, PathBuf)>, ArchiveError> {
    tokio::fs::create_dir_all(into).await?;
    let packed = into.join("archive");
    let mut file = tokio::fs::File::create(&packed).await?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = reader.read(&mut buffer).await?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        file.write_all(&buffer[..n]).await?;
    }
    file.flush().await?;
    if hex::encode(hash.finalize()) != sha256.as_str() {
        return Err(ArchiveError::Hash);
    }
    let into = into.to_owned();
    tokio::task::spawn_blocking(move || unpack_file(&packed, &into)).await.map_err(io::Error::other)?
}

fn unpack_file(packed: &Path, into: &Path) -> Result<Vec<(String, PathBuf)>, ArchiveError> {
    let mut archive = tar::Archive::new(zstd::Decoder::new(std::fs::File::open(packed)?)?);
    let mut files = Vec::new();
    let mut bytes = 0_u64;
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path()?.into_owned();
        let name = checked(&path)?;
        bytes = bytes.saturating_add(entry.size());
        if bytes > MOST_BYTES || files.len() >= MOST_FILES {
            return Err(ArchiveError::Hostile(format!("more than {MOST_FILES} files or {MOST_BYTES} bytes")));
        }
        let to = into.join(files.len().to_string());
        io::copy(&mut entry, &mut std::fs::File::create(&to)?)?;
        files.push((name, to));
    }
    Ok(files)
}

fn checked(path: &Path) -> Result<String, ArchiveError> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::Normal(p) => match p.to_str() {
                Some(p) if !p.contains(['\\', '\n', '\0']) => parts.push(p),
                _ => {
                    return Err(ArchiveError::Hostile(format!(
                        "a name that is not plain text: {}",
                        path.display()
                    )));
                }
            },
            _ => return Err(ArchiveError::Hostile(format!("a path that leaves it: {}", path.display()))),
        }
    }
    let name = parts.join("/");
    if name.is_empty() || name.len() > 1_000 {
        return Err(ArchiveError::Hostile(format!("a name of {} bytes", name.len())));
    }
    Ok(name)
}

/// The content type of a file by its name; text is UTF-8.
pub fn content_type(path: &str) -> String {
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let is_text = kind.type_() == "text" || matches!(kind.subtype().as_str(), "javascript" | "json" | "xml");
    if is_text { format!("{}; charset=utf-8", kind.essence_str()) } else { kind.essence_str().to_owned() }
}
