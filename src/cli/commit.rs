//! The commit that a folder is at, for the history: asked of git where there is one. Never a reason not to deploy.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::model::origin::{Origin, Tree};

/// The commit of the folder's repository, its branch, and whether anything in the folder differs from it. `None` where
/// there is no git, no repository or no commit yet.
pub fn of(folder: &Path) -> Option<Origin> {
    let commit = git(folder, &["rev-parse", "--verify", "--quiet", "HEAD"])?;
    let branch = git(folder, &["symbolic-ref", "--quiet", "--short", "HEAD"]).filter(|b| !b.is_empty());
    let status = git(folder, &["status", "--porcelain", "--untracked-files=normal", "--", "."])?;
    let tree = if status.is_empty() { Tree::Clean } else { Tree::Dirty };
    // A branch of a strange name does not take the commit with it.
    Origin::new(commit.clone(), branch, tree).or_else(|_| Origin::new(commit, None, tree)).ok()
}

/// What git says. Nothing of the repository's own configuration is run.
fn git(folder: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder);
    command
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-optional-locks"])
        .args(args);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_commit_branch_and_changes_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        if git(folder, &["--version"]).is_none() {
            println!("there is no git on this machine");
            return;
        }
        assert_eq!(of(folder), None, "no repository");
        git(folder, &["init", "--quiet", "--initial-branch", "trunk"]).unwrap();
        assert_eq!(of(folder), None, "no commit");
        std::fs::write(folder.join("a"), "1").unwrap();
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        git(folder, &["add", "a"]).unwrap();
        let commit = [&who[..], &["commit", "--quiet", "--message", "first"]].concat();
        git(folder, &commit).unwrap();
        let clean = of(folder).unwrap();
        assert_eq!((clean.branch(), clean.is_dirty(), clean.commit().len()), (Some("trunk"), false, 40));
        std::fs::write(folder.join("b"), "2").unwrap();
        assert!(of(folder).unwrap().is_dirty());
    }
}
