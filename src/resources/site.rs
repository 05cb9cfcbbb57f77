//! Static sites: objects in the bucket named by the first host, served by Garage, with no job.
//!
//! A release puts new assets first, then pages, `index.html` last; what the old release had and the new one has not
//! goes with the sweep. A kill goes forward: putting the same object twice is harmless. Its artifact is read once:
//! assets are put as they come by, pages wait on disk. No name of an archive is ever a name on this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::{Evidence, Work, bucket, evidence};
use crate::archive::site::{Pass, content_type};
use crate::archive::unpack::{self, Files, UnpackError};
use crate::archive::{Format, Limits};
use crate::engines::garage::{Bucket, BucketSettings, Perm, S3, Website};
use crate::engines::{Engine, EngineError, Fault};
use crate::model::HostName;
use crate::model::artifact::Artifact;
use crate::model::head::{Head, Kind};

/// How many objects are put at once.
const AT_ONCE: usize = 8;
/// Assets up to this size are held in memory, and several put at once; larger ones are streamed.
const SMALL: u64 = 1 << 20;
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
    let mut found = Found { names: Vec::new(), pages: Vec::new() };
    for part in &site.artifact.parts {
        let format = Format::of(&part.ext)
            .ok_or_else(|| trouble(Fault::Invalid, &doing, format!("its artifact is a .{}", part.ext)))?;
        let object = hands.s3.get_stream(&hands.artifacts, &part.key(site.capability)).await?;
        let object = object
            .ok_or_else(|| trouble(Fault::NotFound, &doing, "its artifact is gone; deploy it again"))?;
        let files = unpack::open(object.reader, format, Limits::PART, &part.sha256);
        let to = Target { s3: &hands.s3, bucket: first.as_str(), doing: &doing };
        pass_on(files, &to, site.index, folder.path(), &mut found).await?;
        work.note(format!("{} files", found.names.len()));
    }
    // Pages, then the entrance: a page that is there finds what it names.
    found.pages.sort_by_cached_key(|(name, _)| (Pass::of(name, site.index), name.clone()));
    for pass in found.pages.chunk_by(|a, b| Pass::of(&a.0, site.index) == Pass::of(&b.0, site.index)) {
        for batch in pass.chunks(AT_ONCE) {
            let puts = batch.iter().map(|(name, file)| async move {
                hands.s3.put_file(first.as_str(), name, file, &content_type(name), &|_| {}).await
            });
            futures::future::try_join_all(puts).await?;
        }
    }
    let manifest = found.names.join("\n");
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
    Ok(evidence([("files", found.names.len().to_string())]))
}

/// What has come by.
struct Found {
    names: Vec<String>,
    /// Those that are put later, on disk.
    pages: Vec<(String, PathBuf)>,
}

/// Where objects are put.
struct Target<'a> {
    s3: &'a S3,
    bucket: &'a str,
    doing: &'a str,
}

/// Puts the assets of one part, and lays its pages aside under numbers.
async fn pass_on(
    mut files: Files,
    to: &Target<'_>,
    index: &str,
    folder: &Path,
    found: &mut Found,
) -> Result<(), EngineError> {
    let done = pass_all(&mut files, to, index, folder, found).await;
    // A link that breaks may come back; what is in the archive will not change.
    done.map_err(|e| if files.has_lost_link() { EngineError { fault: Fault::Away, ..e } } else { e })
}

async fn pass_all(
    files: &mut Files,
    to: &Target<'_>,
    index: &str,
    folder: &Path,
    found: &mut Found,
) -> Result<(), EngineError> {
    let broken = |e: UnpackError| trouble(Fault::Invalid, to.doing, e);
    let on_disk = |e: std::io::Error| trouble(Fault::Invalid, to.doing, e);
    let mut putting = FuturesUnordered::new();
    while let Some(file) = files.next().await.map_err(broken)? {
        let (name, size) = (file.name.clone(), file.size);
        if Pass::of(&name, index) != Pass::Assets {
            let path = folder.join(found.names.len().to_string());
            let mut page = tokio::fs::File::create(&path).await.map_err(on_disk)?;
            tokio::io::copy(&mut file.reader(), &mut page).await.map_err(on_disk)?;
            tokio::io::AsyncWriteExt::flush(&mut page).await.map_err(on_disk)?;
            found.pages.push((name.clone(), path));
        } else if size > SMALL {
            // Nobody would look after those under way meanwhile.
            while let Some(put) = putting.next().await {
                put?;
            }
            to.s3.put_stream(to.bucket, &name, file.reader(), &content_type(&name)).await?;
        } else {
            let bytes = file.bytes(SMALL).await.map_err(broken)?;
            let key = name.clone();
            putting.push(async move { to.s3.put(to.bucket, &key, bytes, &content_type(&key)).await });
            if putting.len() >= AT_ONCE {
                putting.next().await.transpose()?;
            }
        }
        found.names.push(name);
    }
    while let Some(put) = putting.next().await {
        put?;
    }
    Ok(())
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
