//! Ends a test's stack when the test ends, however it ends: a process of its own that waits for the end of its
//! standard input, then kills everything that carries the stack's mark, takes its mounts off and removes its
//! folder. Must never end anything without the mark.

use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt;

use super::SandboxError;
use super::process::kill_marked;

/// What the guard is told.
#[derive(Debug, Clone)]
pub struct GuardConfig {
    /// The mark of the stack.
    pub mark: String,
    /// The stack's folder, removed at the end.
    pub dir: PathBuf,
}

/// Waits for the end of standard input, then ends the stack.
pub async fn run(config: GuardConfig) -> Result<(), SandboxError> {
    let mut input = tokio::io::stdin();
    let mut sink = [0_u8; 64];
    while matches!(input.read(&mut sink).await, Ok(n) if n > 0) {}
    end(&config.mark, &config.dir).await?;
    if std::env::var_os("TERREAU_KEEP").is_none() {
        remove(&config.dir)?;
    }
    Ok(())
}

/// Kills everything that carries the mark, and takes off what Nomad mounted below the folder.
pub async fn end(mark: &str, dir: &Path) -> Result<(), SandboxError> {
    remove_containers(dir);
    let left = kill_marked(mark).await;
    remove_containers(dir);
    unmount_below(dir);
    if left.is_empty() {
        Ok(())
    } else {
        Err(SandboxError::Other(format!("could not end the processes {left:?}")))
    }
}

/// Docker containers are the Docker engine's children, so no mark reaches them: they are known by the ids of
/// this stack's allocations.
fn remove_containers(dir: &Path) {
    let Ok(listing) = std::fs::read_dir(dir.join("nomad/alloc")) else { return };
    let allocations: Vec<String> =
        listing.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    if allocations.is_empty() {
        return;
    }
    let Some(docker) = super::engines::on_path("docker") else { return };
    let format = "{{.ID}} {{.Label \"com.hashicorp.nomad.alloc_id\"}}";
    let Ok(output) = std::process::Command::new(&docker).args(["ps", "-a", "--format", format]).output()
    else {
        return;
    };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((id, allocation)) = line.split_once(' ')
            && allocations.iter().any(|a| a == allocation)
        {
            let _ = std::process::Command::new(&docker).args(["rm", "-f", id]).output();
        }
    }
}

/// Nomad mounts a small file system for each task's secrets when it runs as root.
fn unmount_below(dir: &Path) {
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else { return };
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    // Field 5 of proc_pid_mountinfo(5); blanks are written as \040.
    let below = mounts
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .map(|p| PathBuf::from(p.replace("\\040", " ")))
        .filter(|p| p.starts_with(&dir));
    for mount in below.collect::<Vec<_>>().into_iter().rev() {
        let _ = std::process::Command::new("umount").arg("-l").arg(mount).output();
    }
}

/// Removes a stack's folder once nothing is mounted below it any more: a removal must not follow a mount.
pub fn remove(dir: &Path) -> Result<(), SandboxError> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(SandboxError::file("remove", dir)(e)),
        _ => Ok(()),
    }
}
