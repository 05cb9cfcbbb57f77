//! Whether what is packed holds what should stay private: files of environment values and private keys. Looked at here,
//! where the folder is. Warns and never refuses: what is in a file is for its owner to judge.

use std::io::Read;
use std::path::Path;

use super::local::Descriptor;
use super::programs;
use crate::build::archive::{Limits, Listing};
use crate::descriptor::Fault;
use crate::model::project::Build;

/// Names of private keys and of files of passwords.
const NAMES: [&str; 7] =
    ["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".netrc", ".pgpass", ".git-credentials"];
/// Endings of files of environment values that are made to be shown.
const SHOWN: [&str; 6] = ["example", "sample", "template", "dist", "defaults", "schema"];
/// A key begins within so many bytes of its file.
const LOOKED_AT: u64 = 64 << 10;
/// So many are named.
const NAMED: usize = 5;

/// A warning where something private would be packed, for who packs nothing.
pub fn would_be_packed(descriptor: &Descriptor) -> Option<Fault> {
    let (Build::Static { dir, .. } | Build::Archive { dir }) = descriptor.project.build.as_ref()?;
    // Where it cannot be listed, packing says why.
    let files = Listing::of(&descriptor.folder().join(dir), &Limits::default()).ok()?;
    packed(descriptor, &files)
}

/// A warning where something private would be packed, of these files.
pub fn packed(descriptor: &Descriptor, files: &Listing) -> Option<Fault> {
    let (dir, is_site) = match descriptor.project.build.as_ref()? {
        Build::Static { dir, .. } => (dir, true),
        Build::Archive { dir } => (dir, false),
    };
    let folder = descriptor.folder().join(dir);
    let found: Vec<&str> = files.names().filter(|name| is_private(&folder, name)).collect();
    let named: Vec<&str> = found.iter().take(NAMED).copied().collect();
    if named.is_empty() {
        return None;
    }
    let mut list = named.join(", ");
    if found.len() > NAMED {
        list = format!("{list} and {} more", found.len() - NAMED);
    }
    let whose = if is_site { "everybody can read on the site" } else { "goes with every release" };
    let message = format!("{list} would be packed, and what is packed {whose}");
    let help = "name it in .terreauignore to leave it out; values are set by `terreau env import FILE` and \
                `terreau secret import FILE`";
    Some(programs::at(descriptor, "build", None, message, help.to_owned()))
}

fn is_private(folder: &Path, name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    if let Some(rest) = file.strip_prefix(".env") {
        let ending = rest.rsplit('.').next().unwrap_or_default();
        return rest.is_empty() || (rest.starts_with('.') && !SHOWN.contains(&ending));
    }
    let may_hold_a_key = matches!(file.rsplit_once('.'), Some((_, "pem" | "key")));
    NAMES.contains(&file) || (may_hold_a_key && holds_a_key(&folder.join(name)))
}

fn holds_a_key(path: &Path) -> bool {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|f| f.take(LOOKED_AT).read_to_end(&mut bytes));
    read.is_ok() && memchr::memmem::find(&bytes, b"PRIVATE KEY-----").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_private_is_known_by_its_name_or_by_the_key_in_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tls.pem"), "-----BEGIN PRIVATE KEY-----\nx\n").unwrap();
        std::fs::write(dir.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\nx\n").unwrap();
        for (name, wanted) in [
            (".env", true),
            ("a/.env", true),
            (".env.production", true),
            (".env.example", false),
            (".env.local.sample", false),
            (".envrc", false),
            ("env", false),
            ("keys/id_ed25519", true),
            ("id_rsa.pub", false),
            ("tls.pem", true),
            ("ca.pem", false),
            ("none.key", false),
            ("index.html", false),
        ] {
            assert_eq!(is_private(dir.path(), name), wanted, "{name}");
        }
    }
}
