//! Logs of ended instances, in Garage: the last bytes of each stream of each task, under the app's identity.
//!
//! An instance counts once its `meta.json` is there, which is written last; writing the same twice is harmless. Nothing
//! here decides how many are kept.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Objects;
use crate::engines::{Engine, EngineError, Fault};
use crate::model::Uid;

/// What is kept of one ended instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptInstance {
    /// Schema: 1.
    pub v: u32,
    /// The allocation.
    pub alloc: String,
    /// The process.
    pub process: String,
    /// The run that it was; `None`: an instance of the app itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// When it began (RFC 3339), where that is known.
    pub started: Option<String>,
    /// When it ended (RFC 3339).
    pub ended: String,
    /// What is kept of what it wrote.
    pub streams: Vec<KeptStream>,
}

/// What is kept of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptStream {
    /// The task.
    pub task: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Bytes kept.
    pub size: u64,
    /// Older bytes were left out.
    pub cut: bool,
}

fn folder(uid: &Uid) -> String {
    format!("logs/{uid}/")
}

fn meta(uid: &Uid, alloc: &str) -> String {
    format!("{}{alloc}/meta.json", folder(uid))
}

fn log(uid: &Uid, alloc: &str, task: &str, stream: &str) -> String {
    format!("{}{alloc}/{task}/{stream}", folder(uid))
}

impl Objects {
    /// Keeps one stream of an instance.
    pub async fn keep_log(
        &self,
        uid: &Uid,
        alloc: &str,
        task: &str,
        stream: &str,
        bytes: Bytes,
    ) -> Result<(), EngineError> {
        let key = log(uid, alloc, task, stream);
        self.s3.put(&self.bucket, &key, bytes, "application/octet-stream").await
    }

    /// Makes an instance count, once its streams are there.
    pub async fn keep_instance(&self, uid: &Uid, it: &KeptInstance) -> Result<(), EngineError> {
        let bytes = super::objects::encode(it)?;
        self.s3.put(&self.bucket, &meta(uid, &it.alloc), bytes, "application/json").await
    }

    /// The instances that are kept of an app, the one that was kept first at the beginning.
    pub async fn kept(&self, uid: &Uid) -> Result<Vec<String>, EngineError> {
        let folder = folder(uid);
        let mut found = BTreeSet::new();
        for object in self.s3.list(&self.bucket, &folder).await? {
            let rest = object.key.strip_prefix(&folder).unwrap_or_default();
            if let Some((alloc, "meta.json")) = rest.split_once('/') {
                found.insert((object.modified, alloc.to_owned()));
            }
        }
        Ok(found.into_iter().map(|(_, alloc)| alloc).collect())
    }

    /// What is known of a kept instance.
    pub async fn kept_instance(&self, uid: &Uid, alloc: &str) -> Result<Option<KeptInstance>, EngineError> {
        let key = meta(uid, alloc);
        let Some(bytes) = self.s3.get(&self.bucket, &key, 1 << 20).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            EngineError::new(Engine::Garage, Fault::Broken, format!("read {key}"), e.to_string())
        })
    }

    /// So many bytes of a kept stream; `None` once it is forgotten.
    pub async fn kept_part(
        &self,
        uid: &Uid,
        alloc: &str,
        (task, stream): (&str, &str),
        offset: u64,
        limit: u64,
    ) -> Result<Option<Bytes>, EngineError> {
        self.s3.get_part(&self.bucket, &log(uid, alloc, task, stream), offset, limit).await
    }

    /// Forgets one instance: what makes it count goes first.
    pub async fn forget_instance(&self, uid: &Uid, alloc: &str) -> Result<(), EngineError> {
        self.s3.delete(&self.bucket, &meta(uid, alloc)).await?;
        self.forget(&format!("{}{alloc}/", folder(uid))).await
    }

    /// Forgets all of an app's.
    pub async fn forget_logs(&self, uid: &Uid) -> Result<(), EngineError> {
        self.forget(&folder(uid)).await
    }

    async fn forget(&self, prefix: &str) -> Result<(), EngineError> {
        let found = self.s3.list(&self.bucket, prefix).await?;
        let keys: Vec<String> = found.into_iter().map(|o| o.key).collect();
        self.s3.delete_many(&self.bucket, &keys).await
    }
}
