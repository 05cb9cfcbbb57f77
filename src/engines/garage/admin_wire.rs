//! What the admin API v2 of Garage says and hears, as far as Terreau uses it. Data only.

use serde::{Deserialize, Serialize};

/// The cluster's health, from `GetClusterHealth`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `healthy`, `degraded` or `unavailable`.
    pub status: String,
    /// Nodes ever seen.
    pub known_nodes: u64,
    /// Nodes that answer now.
    pub connected_nodes: u64,
    /// Nodes of the layout that keep data.
    pub storage_nodes: u64,
    /// Those of them that answer.
    pub storage_nodes_up: u64,
    /// Partitions of the layout.
    pub partitions: u64,
    /// Partitions that have a write quorum.
    pub partitions_quorum: u64,
    /// Partitions with all their nodes.
    pub partitions_all_ok: u64,
}

impl Health {
    /// True where every partition can be written.
    pub fn writes(&self) -> bool {
        self.partitions > 0 && self.partitions_quorum == self.partitions
    }
}

/// What a key may do with a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Perm {
    /// Get, head, list.
    pub read: bool,
    /// Put and delete.
    pub write: bool,
    /// Change the bucket's own settings over S3.
    pub owner: bool,
}

impl Perm {
    /// Read only.
    pub const READ: Self = Self { read: true, write: false, owner: false };
    /// Read and write: what an app gets.
    pub const READ_WRITE: Self = Self { read: true, write: true, owner: false };
    /// All three.
    pub const ALL: Self = Self { read: true, write: true, owner: true };
}

/// A bucket's website settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Website {
    /// The document served for a folder: `index.html`.
    pub index: String,
    /// The object served with a 404, where there is one.
    pub error: Option<String>,
}

/// A bucket's limits. Garage replaces them **whole**: a field left out is a limit lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quotas {
    /// Bytes.
    pub max_size: Option<u64>,
    /// Objects.
    pub max_objects: Option<u64>,
}

/// What [`update_bucket`](super::Admin::update_bucket) sets. `None` leaves a setting as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BucketSettings {
    /// Serve the bucket as a website ([`website_off`](super::Admin::website_off) ends that).
    pub website: Option<Website>,
    /// All limits, whole.
    pub quotas: Option<Quotas>,
}

/// A key that has rights on a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketKey {
    /// `GK…`
    pub access_key_id: String,
    /// Its name; not unique in Garage.
    #[serde(default)]
    pub name: String,
    /// Its rights.
    pub permissions: Perm,
}

/// A bucket with all that the admin API knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// 64 hex digits, for life.
    pub id: String,
    /// Names that hold for every key.
    pub global_aliases: Vec<String>,
    /// Served as a website, or not.
    pub website: Option<Website>,
    /// Limits.
    pub quotas: Quotas,
    /// Keys with any right on it.
    pub keys: Vec<BucketKey>,
    /// Objects in it. Counted by Garage after the fact: may lag behind by a moment.
    pub objects: u64,
    /// Bytes in it; lags likewise.
    pub bytes: u64,
    /// Multipart uploads begun and neither completed nor aborted.
    pub unfinished_multipart_uploads: u64,
}

/// A bucket in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketRef {
    /// 64 hex digits.
    pub id: String,
    /// Names that hold for every key.
    #[serde(default)]
    pub global_aliases: Vec<String>,
}

/// A key in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// `GK…`
    pub id: String,
    /// Its name; not unique.
    pub name: String,
    /// True where its life is over.
    #[serde(default)]
    pub expired: bool,
}

/// An access key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// `GK…`
    #[serde(rename = "accessKeyId")]
    pub id: String,
    /// Its name; not unique: always look up by id.
    pub name: String,
    /// True where its life is over.
    #[serde(default)]
    pub expired: bool,
    /// Buckets that it has any right on.
    #[serde(default)]
    pub buckets: Vec<KeyBucket>,
}

/// A bucket that a key has rights on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyBucket {
    /// The bucket's id.
    pub id: String,
    /// Its global names.
    #[serde(default)]
    pub global_aliases: Vec<String>,
    /// The rights.
    pub permissions: Perm,
}

/// `GetBucketInfo`'s answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireBucket {
    id: String,
    #[serde(default)]
    global_aliases: Vec<String>,
    #[serde(default)]
    website_access: bool,
    website_config: Option<WireWebsite>,
    #[serde(default)]
    keys: Vec<BucketKey>,
    #[serde(default)]
    objects: i64,
    #[serde(default)]
    bytes: i64,
    #[serde(default)]
    unfinished_multipart_uploads: i64,
    #[serde(default)]
    quotas: Quotas,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireWebsite {
    index_document: String,
    error_document: Option<String>,
}

impl From<WireBucket> for Bucket {
    fn from(w: WireBucket) -> Self {
        // Counters are signed on the wire and may dip below zero while Garage catches up.
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        let website = w
            .website_config
            .filter(|_| w.website_access)
            .map(|c| Website { index: c.index_document, error: c.error_document });
        // The order of the wire is a hash map's: sort, so that two reads compare equal.
        let mut keys = w.keys;
        keys.retain(|k| k.permissions != Perm::default());
        keys.sort_by(|a, b| a.access_key_id.cmp(&b.access_key_id));
        let mut global_aliases = w.global_aliases;
        global_aliases.sort();
        Self {
            id: w.id,
            global_aliases,
            website,
            quotas: w.quotas,
            keys,
            objects: count(w.objects),
            bytes: count(w.bytes),
            unfinished_multipart_uploads: count(w.unfinished_multipart_uploads),
        }
    }
}

/// `UpdateBucket`'s body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireUpdate<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website_access: Option<WireAccess<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
}

/// The website part of it. `enabled: true` needs an index document; `false` must not have one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireAccess<'a> {
    pub enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index_document: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_document: Option<&'a str>,
}

/// An error's body.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct WireError {
    pub code: String,
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_reads_the_same_whatever_the_order_on_the_wire() {
        let read = |keys: &str, aliases: &str| -> Bucket {
            let text = format!(
                r#"{{"id":"ab","created":"x","globalAliases":{aliases},"websiteAccess":true,
                   "websiteConfig":{{"indexDocument":"index.html","errorDocument":null}},"keys":{keys},
                   "objects":-1,"bytes":5,"quotas":{{"maxSize":9,"maxObjects":null}}}}"#
            );
            serde_json::from_str::<WireBucket>(&text).expect("valid").into()
        };
        let a = r#"{"accessKeyId":"GKa","name":"n","permissions":{"read":true,"write":false,"owner":false}}"#;
        let b = r#"{"accessKeyId":"GKb","name":"n","permissions":{"read":true,"write":true,"owner":false}}"#;
        let none =
            r#"{"accessKeyId":"GKc","name":"n","permissions":{"read":false,"write":false,"owner":false}}"#;
        let one = read(&format!("[{a},{b},{none}]"), r#"["x","y"]"#);
        let two = read(&format!("[{b},{a}]"), r#"["y","x"]"#);
        assert_eq!(one, two);
        assert_eq!(one.objects, 0);
        assert_eq!(one.quotas.max_size, Some(9));
        assert_eq!(one.website, Some(Website { index: "index.html".into(), error: None }));
    }
}
