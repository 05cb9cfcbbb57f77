//! Finds the programs of the real engines and says their versions. Installs nothing: `scripts/engines` does.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::SandboxError;

/// The programs that a cluster in a box needs beside Terreau itself.
#[derive(Debug, Clone)]
pub struct Engines {
    /// Nomad, 1.6 or later.
    pub nomad: Program,
    /// Consul, 1.8 or later.
    pub consul: Program,
}

/// A program that was found.
#[derive(Debug, Clone)]
pub struct Program {
    /// Where.
    pub path: PathBuf,
    /// Which version, like "1.11.1".
    pub version: String,
}

impl Engines {
    /// Looks in PATH, then in `.engines/` of `from`, of the current folder and of our executable's, each with the
    /// folders above it.
    pub fn find(from: &Path) -> Result<Self, SandboxError> {
        Ok(Self { nomad: find("nomad", (1, 6), from)?, consul: find("consul", (1, 8), from)? })
    }
}

/// The file of that name in PATH that may be executed.
pub fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|d| d.join(name)).find(|p| is_program(p))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn find(name: &'static str, least: (u32, u32), from: &Path) -> Result<Program, SandboxError> {
    let executable = std::env::current_exe().ok();
    let here = std::env::current_dir().ok();
    let near = from
        .ancestors()
        .chain(here.iter().flat_map(|h| h.ancestors()))
        .chain(executable.iter().flat_map(|e| e.ancestors().skip(1)));
    let candidates = on_path(name).into_iter().chain(near.map(|d| d.join(".engines").join(name)));
    let mut refused = None;
    for path in candidates.filter(|p| is_program(p)) {
        match version_of(&path) {
            Some(version) if at_least(&version, least) => return Ok(Program { path, version }),
            version => refused = Some((path, version)),
        }
    }
    let (major, minor) = least;
    Err(SandboxError::Missing(match refused {
        Some((path, version)) => format!(
            "{} is {}, but {name} {major}.{minor} or later is needed: run scripts/engines, which puts one into .engines/",
            path.display(),
            version.map_or_else(|| "not a version that we can read".into(), |v| format!("version {v}")),
        ),
        None => format!(
            "{name} is not on PATH nor in .engines/: run scripts/engines, which puts it there ({name} {major}.{minor} or later is needed)"
        ),
    }))
}

/// The version in the first line of `<program> version`: "Nomad v1.11.1", "Consul v1.8.7".
fn version_of(path: &Path) -> Option<String> {
    let output = Command::new(path).arg("version").env_remove("AWS_CA_BUNDLE").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let word = text.lines().next()?.split_ascii_whitespace().find_map(|w| w.strip_prefix('v'))?;
    Some(word.to_owned())
}

fn at_least(version: &str, least: (u32, u32)) -> bool {
    let mut parts = version.split(['.', '-', '+']).map(|p| p.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(at_least("1.11.1", (1, 6)));
        assert!(at_least("1.8.7+dfsg1", (1, 8)));
        assert!(at_least("2.0.0-beta", (1, 8)));
        assert!(!at_least("1.5.17", (1, 6)));
        assert!(!at_least("0.12.0", (1, 6)));
    }

    #[test]
    fn a_missing_program_is_one_line_that_says_what_to_do() {
        let error = find("no-such-engine", (1, 6), Path::new("/")).unwrap_err().to_string();
        assert!(error.contains("scripts/engines") && !error.contains('\n'), "{error}");
    }
}
