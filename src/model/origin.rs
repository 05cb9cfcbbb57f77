//! What a folder was at when it was deployed: told by the person's own machine, shown as it is. Nothing is decided by it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A commit of a repository. Checked when it is read: what is shown to people steers no terminal and fits into a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Told")]
pub struct Origin {
    /// 40 or 64 lower-case hex digits.
    commit: String,
    /// The branch that was checked out.
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    /// Whether files differed from the commit.
    dirty: bool,
}

/// As it comes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    commit: String,
    #[serde(default)]
    branch: Option<String>,
    #[serde(default)]
    dirty: bool,
}

/// The most bytes of a branch's name.
const BRANCH: usize = 200;

impl TryFrom<Told> for Origin {
    type Error = String;

    fn try_from(t: Told) -> Result<Self, String> {
        let tree = if t.dirty { Tree::Dirty } else { Tree::Clean };
        Self::new(t.commit, t.branch, tree)
    }
}

/// Whether files differ from the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// None does.
    Clean,
    /// Some do.
    Dirty,
}

impl Origin {
    /// An origin; `Err` says what is wrong with it.
    pub fn new(commit: String, branch: Option<String>, tree: Tree) -> Result<Self, String> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if !matches!(commit.len(), 40 | 64) || !commit.bytes().all(is_hex) {
            return Err("a commit has 40 or 64 lower-case hex digits".to_owned());
        }
        if let Some(branch) = &branch
            && (branch.is_empty()
                || branch.len() > BRANCH
                || branch.chars().any(|c| c.is_control() || c == ' '))
        {
            return Err(format!("a branch has 1 to {BRANCH} bytes, without spaces and control characters"));
        }
        Ok(Self { commit, branch, dirty: tree == Tree::Dirty })
    }

    /// The commit, whole.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// The branch.
    pub fn branch(&self) -> Option<&str> {
        self.branch.as_deref()
    }

    /// Whether files differed from the commit.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// In a line: `0123456789ab on main, with changes`.
    pub fn words(&self) -> String {
        let short = self.commit.get(..12).unwrap_or(&self.commit);
        let branch = self.branch.as_deref().map(|b| format!(" on {b}")).unwrap_or_default();
        let dirty = if self.dirty { ", with changes" } else { "" };
        format!("{short}{branch}{dirty}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_malformed_is_refused() {
        let good = format!(r#"{{"commit":"{}","branch":"main","dirty":true}}"#, "a1".repeat(20));
        let origin: Origin = serde_json::from_str(&good).unwrap();
        assert_eq!(origin.words(), "a1a1a1a1a1a1 on main, with changes");
        assert_eq!(serde_json::from_str::<Origin>(&serde_json::to_string(&origin).unwrap()).unwrap(), origin);
        let long = "x".repeat(201);
        for bad in [
            r#"{"commit":""}"#.to_owned(),
            r#"{"commit":"HEAD"}"#.to_owned(),
            good.replace("a1", "A1"),
            good.replace("main", ""),
            good.replace("main", &long),
            good.replace("main", "\\u001b[2J"),
            good.replace("dirty", "dirt"),
        ] {
            assert!(serde_json::from_str::<Origin>(&bad).is_err(), "{bad}");
        }
    }
}
