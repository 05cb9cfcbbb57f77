//! Files that are replaced at once, with the mode that they need.

use std::io::Write;
use std::path::Path;

use super::SandboxError;

/// Replaces a file at once: whoever reads it sees the old or the new content. Mode 0600.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), SandboxError> {
    write_with_mode(path, content, 0o600)
}

/// The same, readable by everybody.
pub fn write_public(path: &Path, content: &str) -> Result<(), SandboxError> {
    write_with_mode(path, content.as_bytes(), 0o644)
}

fn write_with_mode(path: &Path, content: &[u8], mode: u32) -> Result<(), SandboxError> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(SandboxError::file("write", path))
}
