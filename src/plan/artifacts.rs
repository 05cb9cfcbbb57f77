//! What differs between two artifacts, in words: how many files and bytes. Pure.

use super::difference::Difference;
use crate::model::artifact::Artifact;

pub(super) fn artifact(old: Option<&Artifact>, new: Option<&Artifact>) -> Option<Difference> {
    let files = |a: &Artifact| a.parts.iter().map(|p| u64::from(p.entries)).sum::<u64>();
    match (old, new) {
        (None, Some(_)) => Some(Difference::stays("artifact added")),
        (Some(_), None) => Some(Difference::goes("artifact removed")),
        (Some(a), Some(b)) if a != b => {
            // Records keep no list of files: which ones differ is not known here.
            let mut said = Vec::new();
            let mut count = |what: &str, was: u64, is: u64| {
                if was != is {
                    said.push(format!("{was} → {is} {what}"));
                }
            };
            count("files", files(a), files(b));
            count("bytes", a.size(), b.size());
            let said = if said.is_empty() {
                "the same number of files and bytes".to_owned()
            } else {
                said.join(", ")
            };
            Some(Difference::stays(format!("artifact ({said})")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::artifact::ArtifactPart;
    use crate::plan::difference::Fate;

    #[test]
    fn of_an_artifact_the_number_of_files_and_bytes_is_said() {
        let one = |hash: &str, entries, size| {
            let sha256 = crate::model::sha256_hex(hash);
            Artifact { parts: vec![ArtifactPart { sha256, size, ext: "tar.zst".to_owned(), entries }] }
        };
        let said = |old: &Artifact, new: &Artifact| artifact(Some(old), Some(new)).map(|d| d.words);
        let old = one("a", 3, 400);
        assert_eq!(said(&old, &one("b", 4, 512)).unwrap(), "artifact (3 → 4 files, 400 → 512 bytes)");
        assert_eq!(said(&old, &one("b", 3, 512)).unwrap(), "artifact (400 → 512 bytes)");
        assert_eq!(said(&old, &one("b", 3, 400)).unwrap(), "artifact (the same number of files and bytes)");
        assert_eq!(said(&old, &old), None);
        assert_eq!(artifact(Some(&old), None).unwrap().fate, Fate::Goes);
        assert_eq!(artifact(None, Some(&old)).unwrap().fate, Fate::Stays);
    }
}
