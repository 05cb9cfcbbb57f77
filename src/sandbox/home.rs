//! A folder of `terreau dev`: its choices, made once and kept, and the processes that carry its mark; and which other
//! folders have a cluster that runs. Must never end a process that does not carry the folder's mark.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::config::{BASE_DN, CLUSTER, Capacity, Layout};
use super::files::write_private;
use super::parts::Part;
use super::ports::{Claim, Ports};
use super::process::{self, Identity};
use super::{SandboxError, guard};

/// The folder of a cluster, where nobody names one.
pub const FOLDER: &str = ".terreau";

/// Where everything is, for programs: `DIR/dev.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DevInfo {
    /// The agent's API.
    pub api: String,
    /// Nomad's HTTP API.
    pub nomad: String,
    /// Consul's HTTP API.
    pub consul: String,
    /// Garage's S3.
    pub s3: String,
    /// Garage's admin API.
    pub garage_admin: String,
    /// Garage's K2V.
    pub k2v: String,
    /// Garage's websites.
    pub web: String,
    /// The directory.
    pub ldap: String,
    /// Its base.
    pub ldap_base: String,
    /// The development proxy.
    pub proxy: String,
    /// Consul's datacenter and Nomad's region.
    pub cluster: String,
    /// A person who may do everything.
    pub user: String,
    /// The file with that person's password.
    #[schema(value_type = String)]
    pub password_file: PathBuf,
}

/// A folder with its choices.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) layout: Layout,
    pub(super) mark: String,
}

impl Home {
    /// Opens the folder, making it and its choices when they are missing.
    pub(super) fn open(dir: &Path) -> Result<(Self, Option<Claim>), SandboxError> {
        std::fs::create_dir_all(dir).map_err(SandboxError::file("make", dir))?;
        if let Some(home) = Self::existing(dir)? {
            return Ok((home, None));
        }
        let dir = dir.canonicalize().map_err(SandboxError::file("find", dir))?;
        let (ports, claim) = Ports::choose()?;
        // The mark first: a folder with ports and without a mark would be no home.
        let mark = hex::encode(rand::random::<[u8; 8]>());
        write_private(&dir.join("mark"), mark.as_bytes())?;
        let text = serde_json::to_string(&ports).map_err(|e| SandboxError::Other(e.to_string()))?;
        write_private(&dir.join("ports.json"), text.as_bytes())?;
        Ok((Self { layout: layout(dir, ports), mark }, Some(claim)))
    }

    /// The folder as it was made before. None when it never was.
    pub(super) fn existing(dir: &Path) -> Result<Option<Self>, SandboxError> {
        let Ok(dir) = dir.canonicalize() else { return Ok(None) };
        let path = dir.join("ports.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(SandboxError::file("read", &path)(e)),
        };
        let ports = serde_json::from_str(&text)
            .map_err(|e| SandboxError::Other(format!("{} is damaged: {e}", path.display())))?;
        let mark = dir.join("mark");
        let mark = std::fs::read_to_string(&mark).map_err(SandboxError::file("read", &mark))?;
        Ok(Some(Self { layout: layout(dir, ports), mark }))
    }

    pub(super) fn info(&self) -> DevInfo {
        let p = self.layout.ports;
        DevInfo {
            api: Ports::url(p.api()),
            nomad: Ports::url(p.nomad_http()),
            consul: Ports::url(p.consul_http()),
            s3: Ports::url(p.s3()),
            garage_admin: Ports::url(p.garage_admin()),
            k2v: Ports::url(p.k2v()),
            web: Ports::url(p.web()),
            ldap: format!("ldap://127.0.0.1:{}", p.ldap()),
            ldap_base: BASE_DN.to_owned(),
            proxy: Ports::url(p.proxy()),
            cluster: CLUSTER.to_owned(),
            user: self.layout.user.clone(),
            password_file: self.layout.password_file(),
        }
    }

    /// The part's living process: it carries our mark, and its command line is the one that we would write.
    pub(super) fn find(&self, part: Part) -> Option<Identity> {
        let wanted = part.config_file(&self.layout);
        process::marked(&self.mark)
            .into_iter()
            .filter(|pid| process::arguments(*pid).iter().any(|a| Path::new(a) == wanted))
            .find_map(Identity::of)
    }

    pub(super) fn supervisor(&self) -> Option<Identity> {
        let text = std::fs::read_to_string(self.layout.path("supervisor.json")).ok()?;
        serde_json::from_str(&text).ok().filter(Identity::lives)
    }

    pub(super) fn ready_info(&self) -> Option<DevInfo> {
        let text = std::fs::read_to_string(self.layout.path("dev.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Ends everything that carries the mark: our own parts in an order in which each can finish its work, then
    /// Nomad's tasks, which outlive Nomad.
    pub(super) async fn end_all(&self) -> Result<(), SandboxError> {
        for part in Part::ALL.into_iter().rev() {
            if let Some(process) = self.find(part) {
                process.end(Duration::from_secs(15)).await;
            }
        }
        let tasks: Vec<Identity> = process::marked(&self.mark).into_iter().filter_map(Identity::of).collect();
        for task in &tasks {
            task.signal(Signal::TERM);
        }
        let patience = Instant::now() + Duration::from_secs(5);
        for task in &tasks {
            task.gone_within(patience.saturating_duration_since(Instant::now())).await;
        }
        guard::end(&self.mark, &self.layout.dir).await
    }
}

fn layout(dir: PathBuf, ports: Ports) -> Layout {
    Layout { dir, ports, user: login(), capacity: Capacity::Real }
}

/// Who works here, as a login of such directories: `[a-z0-9._-]+`.
fn login() -> String {
    let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let fits = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let name: String = name.to_lowercase().chars().filter(fits).take(32).collect();
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) { name } else { "me".to_owned() }
}

/// The cluster of whoever works in `here`: in `.terreau` of it, or of the nearest folder above that has one of this
/// person's; where none has, the one that a start makes here. A folder above counts only where not everybody may put
/// things into it, as in `/tmp`.
pub fn nearest(here: &Path) -> PathBuf {
    use std::os::unix::fs::MetadataExt;
    const ANYBODY_WRITES: u32 = 0o002;
    let me = rustix::process::geteuid().as_raw();
    // Of a link, who made the link: it may lead into a cluster that is not meant.
    let is_ours =
        |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|m| !m.is_symlink() && m.uid() == me);
    let is_open = |above: &Path| std::fs::metadata(above).is_ok_and(|m| m.mode() & ANYBODY_WRITES != 0);
    let has_one = |above: &&Path| {
        let dir = above.join(FOLDER);
        (*above == here || !is_open(above)) && is_ours(&dir) && is_ours(&dir.join("mark"))
    };
    here.ancestors().find(has_one).unwrap_or(here).join(FOLDER)
}

/// The clusters of other folders that run now, of this person: each with where it is, once it is ready. They are known by
/// their supervisors, which say on their command lines what they look after, and whose folders say the same.
pub fn elsewhere(dir: &Path) -> Vec<(PathBuf, Option<DevInfo>)> {
    let own = dir.canonicalize().ok();
    let mut found: Vec<_> = process::all()
        .filter_map(|pid| {
            let home = Home::existing(&supervised(pid)?).ok().flatten()?;
            let is_it = home.supervisor().is_some_and(|s| s.pid == pid);
            (is_it && Some(&home.layout.dir) != own.as_ref())
                .then(|| (home.layout.dir.clone(), home.ready_info()))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// The folder that a process looks after, where it is a supervisor.
fn supervised(pid: u32) -> Option<PathBuf> {
    let words = process::arguments(pid);
    let is_one = words.get(1).is_some_and(|w| w == "dev") && words.iter().any(|w| w == "--foreground");
    if !is_one {
        return None;
    }
    let named =
        words.iter().zip(words.iter().skip(1)).find(|(w, _)| *w == "--dir").map(|(_, dir)| dir.as_str());
    let named = named.or_else(|| words.iter().find_map(|w| w.strip_prefix("--dir=")));
    let at = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    Some(named.map_or_else(|| nearest(&at), |dir| at.join(dir)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_above_counts_where_it_is_no_link_and_nobody_else_may_put_one_there() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let above = temp.path().canonicalize().unwrap().join("above");
        let here = above.join("app/deep");
        let make = |dir: &Path| {
            std::fs::create_dir_all(dir).unwrap();
            std::fs::write(dir.join("mark"), "x").unwrap();
        };
        let mode = |dir: &Path, mode: u32| {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        std::fs::create_dir_all(&here).unwrap();
        mode(&above, 0o755);
        assert_eq!(nearest(&here), here.join(FOLDER), "there is none");
        make(&above.join(FOLDER));
        assert_eq!(nearest(&here), above.join(FOLDER));
        // In between, a link to a cluster is none.
        make(&temp.path().join("other"));
        std::os::unix::fs::symlink(temp.path().join("other"), above.join("app").join(FOLDER)).unwrap();
        assert_eq!(nearest(&here), above.join(FOLDER));
        mode(&above, 0o1777);
        assert_eq!(nearest(&here), here.join(FOLDER), "anybody may have put it there");
        assert_eq!(nearest(&above), above.join(FOLDER), "whoever works there made it");
    }
}
