//! Static sites: objects in the bucket named by the first host, served by Garage, with no job.
//!
//! A release puts new assets first, then pages, `index.html` last; what the old release had and the new one has not
//! goes with the sweep. A kill goes forward: putting the same object twice is harmless.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Evidence, Work, bucket, evidence};
use crate::archive;
use crate::engines::garage::{Bucket, BucketSettings, Perm, Website};
use crate::engines::{Engine, EngineError, Fault};
use crate::model::HostName;
use crate::model::artifact::Artifact;
use crate::model::head::{Head, Kind};

/// How many objects are put at once.
const AT_ONCE: usize = 8;
/// The object that lists the files of the release that is served, so that the sweep knows what is old.
const MANIFEST: &str = ".terreau-manifest";

/// A site to publish.
#[derive(Debug)]
pub(super) struct Site<'a> {
    pub(super) hosts: &'a [HostName],
    pub(super) index: &'a str,
    pub(super) error: Option<&'a str>,
    pub(super) artifact: &'a Artifact,
    pub(super) capability: &'a str,
}

fn trouble(fault: Fault, doing: &str, why: impl std::fmt::Display) -> EngineError {
    EngineError::new(Engine::Garage, fault, doing, format!("{why}"))
}

pub(super) async fn put(work: &Work<'_>, site: &Site<'_>) -> Result<Evidence, EngineError> {
    let hands = work.hands;
    let Some(first) = site.hosts.first() else { return Ok(Evidence::new()) };
    let doing = format!("publish site {first}");
    let bucket = bucket::make_or_find(work, first.as_str()).await?;
    hands.garage.allow(&bucket.id, &hands.s3_key, Perm::ALL).await?;

    let folder = tempfile::tempdir().map_err(|e| trouble(Fault::Invalid, &doing, e))?;
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for (n, part) in site.artifact.parts.iter().enumerate() {
        let key = part.key(site.capability);
        let object = hands.s3.get_stream(&hands.artifacts, &key).await?;
        let object = object
            .ok_or_else(|| trouble(Fault::NotFound, &doing, "its artifact is gone; deploy it again"))?;
        let into = folder.path().join(n.to_string());
        let unpacked = archive::unpack(object.reader, &part.sha256, &into).await;
        files.extend(unpacked.map_err(|e| trouble(fault_of(&e), &doing, e))?);
    }
    // Assets, then pages, then the entrance: a page that is there finds what it names.
    files.sort_by_cached_key(|(path, _)| (rank(path, site.index), path.clone()));
    let mut done = 0;
    for group in files.chunk_by(|a, b| rank(&a.0, site.index) == rank(&b.0, site.index)) {
        for batch in group.chunks(AT_ONCE) {
            let puts = batch.iter().map(|(path, file)| async move {
                let kind = archive::content_type(path);
                hands.s3.put_file(first.as_str(), path, file, &kind, &|_| {}).await
            });
            futures::future::try_join_all(puts).await?;
            done += batch.len();
            if done % 200 < AT_ONCE {
                work.note(format!("{done} of {} files", files.len()));
            }
        }
    }
    let manifest = files.iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>().join("\n");
    hands.s3.put(first.as_str(), MANIFEST, manifest.into_bytes(), "text/plain").await?;

    let website = Website { index: site.index.to_owned(), error: site.error.map(str::to_owned) };
    if bucket.website.as_ref() != Some(&website) {
        let settings = BucketSettings { website: Some(website), quotas: None };
        hands.garage.update_bucket(&bucket.id, &settings).await?;
    }
    let wanted: BTreeSet<&str> = site.hosts.iter().map(HostName::as_str).collect();
    for host in wanted.iter().filter(|h| !bucket.global_aliases.iter().any(|a| a == **h)) {
        hands.garage.add_alias(&bucket.id, host).await?;
    }
    for alias in bucket.global_aliases.iter().filter(|a| !wanted.contains(a.as_str())) {
        hands.garage.remove_alias(&bucket.id, alias).await?;
    }
    Ok(evidence([("files", files.len().to_string())]))
}

/// A link that stands still may come back; what is in the archive will not change.
fn fault_of(e: &archive::ArchiveError) -> Fault {
    match e {
        archive::ArchiveError::Io(e) if e.kind() == std::io::ErrorKind::TimedOut => Fault::Away,
        _ => Fault::Invalid,
    }
}

/// 0 for assets, 1 for pages, 2 for the entrance.
fn rank(path: &str, index: &str) -> u8 {
    let is_page =
        path.rsplit_once('.').is_some_and(|(_, ext)| ext.eq_ignore_ascii_case("html") || ext == "htm");
    match path {
        p if p == index => 2,
        _ if is_page => 1,
        _ => 0,
    }
}

pub(super) async fn close(work: &Work<'_>, hosts: &[HostName]) -> Result<Evidence, EngineError> {
    let Some(first) = hosts.first() else { return Ok(Evidence::new()) };
    if let Some(bucket) = work.hands.garage.bucket_by_alias(first.as_str()).await?
        && bucket.website.is_some()
    {
        work.hands.garage.website_off(&bucket.id).await?;
    }
    Ok(Evidence::new())
}

/// Sweeps a site's bucket: all of it where the app is deleted or has no site any more, else what the release that is
/// served does not name.
pub async fn sweep(work: &Work<'_>, first_host: &str, head: Option<&Head>) -> Result<(), EngineError> {
    let hands = work.hands;
    let Some(found) = hands.garage.bucket_by_alias(first_host).await? else { return Ok(()) };
    let is_served = head.is_some_and(|h| {
        h.uid == *work.uid && h.owned.iter().any(|o| o.kind == Kind::Site && o.id == first_host)
    });
    if !is_served {
        return empty_and_delete(work, &found).await;
    }
    let Some(manifest) = hands.s3.get(first_host, MANIFEST, 64 << 20).await? else { return Ok(()) };
    let manifest = String::from_utf8_lossy(&manifest).into_owned();
    let current: BTreeSet<&str> = manifest.lines().chain([MANIFEST]).collect();
    let listed = hands.s3.list(first_host, "").await?;
    let old: Vec<String> =
        listed.into_iter().map(|o| o.key).filter(|k| !current.contains(k.as_str())).collect();
    if old.is_empty() { Ok(()) } else { hands.s3.delete_many(first_host, &old).await }
}

/// Empties a bucket of ours and deletes it.
pub async fn empty_and_delete(work: &Work<'_>, found: &Bucket) -> Result<(), EngineError> {
    let hands = work.hands;
    let Some(alias) = found.global_aliases.first() else {
        return hands.garage.delete_bucket(&found.id).await;
    };
    hands.garage.allow(&found.id, &hands.s3_key, Perm::ALL).await?;
    let keys: Vec<String> = hands.s3.list(alias, "").await?.into_iter().map(|o| o.key).collect();
    if !keys.is_empty() {
        hands.s3.delete_many(alias, &keys).await?;
    }
    hands.garage.delete_bucket(&found.id).await
}
