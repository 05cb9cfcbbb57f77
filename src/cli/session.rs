//! The session file: which server, and the token for it. Mode 0600 in a folder of mode 0700; a token is only ever
//! sent to the server that gave it out.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::server::Server;
use crate::model::wire::Hidden;

/// The variable that holds a token for programs.
pub const TOKEN: &str = "TERREAU_TOKEN";

/// The token of the environment.
pub fn token() -> Result<Option<Hidden>, Failure> {
    match std::env::var(TOKEN) {
        Ok(token) if token.trim().is_empty() => Ok(None),
        Ok(token) => Ok(Some(Hidden::new(token.trim()))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        // Without what stands there.
        Err(_) => Err(Failure::usage(format!("{TOKEN} is not UTF-8"))),
    }
}

/// One login at one server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// Who.
    pub user: String,
    /// `<id>.<secret>`.
    pub token: Hidden,
    /// When it ends (RFC 3339, UTC).
    pub expires_at: String,
}

impl Session {
    /// Seconds that are left; zero once it has ended.
    pub fn seconds_left(&self, now: jiff::Timestamp) -> i64 {
        let end: Result<jiff::Timestamp, _> = self.expires_at.parse();
        // A time that cannot be read is left for the server to judge.
        end.map_or(1, |end| end.as_second().saturating_sub(now.as_second()).max(0))
    }
}

/// Everything that is kept: a session per server, and the server that is meant when none is named.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sessions {
    /// The server of the last login.
    #[serde(default)]
    pub current: Option<String>,
    /// By server.
    #[serde(default)]
    pub sessions: BTreeMap<String, Session>,
}

/// Where sessions lie.
#[derive(Debug, Clone)]
pub struct SessionFile {
    dir: PathBuf,
}

impl SessionFile {
    /// `TERREAU_CONFIG_DIR`, else `$XDG_CONFIG_HOME/terreau`, else `~/.config/terreau`.
    pub fn locate(config_dir: Option<PathBuf>) -> Result<Self, Failure> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let dir = config_dir
            .or_else(|| absolute("XDG_CONFIG_HOME").map(|d| d.join("terreau")))
            .or_else(|| absolute("HOME").map(|d| d.join(".config/terreau")))
            .ok_or_else(|| {
                Failure::failed(
                    "there is no place for the session file: neither XDG_CONFIG_HOME nor HOME is set",
                )
                .hint("set TERREAU_CONFIG_DIR to a folder of yours")
            })?;
        Ok(Self { dir })
    }

    /// The file itself.
    pub fn path(&self) -> PathBuf {
        self.dir.join("session.json")
    }

    /// Reads all sessions; none where the file is not there.
    pub fn read(&self) -> Result<Sessions, Failure> {
        let path = self.path();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Sessions::default()),
            Err(e) => return Err(Failure::file("read", &path, &e)),
        };
        // The reason is left out: it could quote a piece of a token.
        serde_json::from_slice(&text).map_err(|_| {
            Failure::failed(format!("{} is not a session file of terreau", path.display()))
                .hint("remove it and log in again")
        })
    }

    /// Writes all sessions, at once and durably; removes the file where none is left.
    pub fn write(&self, sessions: &Sessions) -> Result<(), Failure> {
        let path = self.path();
        if sessions.sessions.is_empty() {
            return match fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Failure::file("remove", &path, &e)),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_vec_pretty(sessions)
            .map_err(|_| Failure::failed("cannot write the session as JSON"))?;
        private_dir(&self.dir).map_err(|e| Failure::file("make the folder", &self.dir, &e))?;
        replace(&self.dir, &path, &text).map_err(|e| Failure::file("write", &path, &e))
    }

    /// The session for a server; `None` where there is none.
    pub fn session(&self, server: &Server) -> Result<Option<Session>, Failure> {
        Ok(self.read()?.sessions.remove(server.as_str()))
    }
}

fn private_dir(dir: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // It may have been there before with other rights.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

fn replace(dir: &Path, path: &Path, text: &[u8]) -> std::io::Result<()> {
    // `tempfile` makes files of mode 0600.
    let mut file = tempfile::Builder::new().prefix(".session").tempfile_in(dir)?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session {
            user: "ada".into(),
            token: Hidden::new("id.canary"),
            expires_at: "2030-01-01T00:00:00Z".into(),
        }
    }

    #[test]
    fn a_session_is_kept_for_its_own_server_in_a_private_file() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("new/terreau");
        let file = SessionFile { dir: dir.clone() };
        let server = Server::new("http://127.0.0.1:1").unwrap();
        let mut all = Sessions::default();
        all.sessions.insert(server.as_str().to_owned(), session());
        file.write(&all).unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&file.path())), (0o700, 0o600));
        assert_eq!(file.session(&server).unwrap().unwrap().token.expose(), "id.canary");
        assert!(file.session(&Server::new("http://127.0.0.1:2").unwrap()).unwrap().is_none());
        file.write(&Sessions::default()).unwrap();
        assert!(!file.path().exists());
    }

    #[test]
    fn a_broken_session_file_is_named_and_never_quoted() {
        let tmp = tempfile::tempdir().unwrap();
        fs::write(tmp.path().join("session.json"), "{\"sessions\": \"canary").unwrap();
        let e = SessionFile { dir: tmp.path().to_owned() }.read().unwrap_err();
        assert!(!format!("{e:?}").contains("canary"));
    }

    #[test]
    fn time_left_counts_down_to_zero() {
        let at = |s: &str| s.parse::<jiff::Timestamp>().unwrap();
        assert_eq!(session().seconds_left(at("2029-12-31T23:59:00Z")), 60);
        assert_eq!(session().seconds_left(at("2030-01-02T00:00:00Z")), 0);
    }
}
