//! Keys and values. What we write is named in `[a-z0-9._/-]`; anything may be read.
//!
//! Caveat: locks are advisory. A plain put on a locked key succeeds: guard a write by `txn` with
//! `check-session`.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::{Consul, next_index};
use crate::engines::http::{Reply, path};
use crate::engines::{Engine, EngineError, Fault};

/// Consul refuses a larger value by closing the connection.
pub const LARGEST_VALUE: usize = 524_288;

/// A key and its value.
#[derive(Clone, PartialEq, Eq)]
pub struct KvEntry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// A number kept beside it; we do not use it.
    pub flags: u64,
    /// Raft index of its making.
    pub create_index: u64,
    /// Raft index of its last change: the guard of `cas`.
    pub modify_index: u64,
    /// How often it was locked.
    pub lock_index: u64,
    /// The session that holds it.
    pub session: Option<String>,
}

impl std::fmt::Debug for KvEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KvEntry")
            .field("key", &self.key)
            .field("bytes", &self.value.len())
            .field("modify_index", &self.modify_index)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// As Consul sends it: base64, `null` for empty.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RawEntry {
    key: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    flags: u64,
    create_index: u64,
    modify_index: u64,
    #[serde(default)]
    lock_index: u64,
    #[serde(default)]
    session: Option<String>,
}

impl RawEntry {
    pub(super) fn decode(self, reply: &Reply) -> Result<KvEntry, EngineError> {
        let value = base64::engine::general_purpose::STANDARD
            .decode(self.value.unwrap_or_default())
            .map_err(|_| reply.fault(Fault::Broken, format!("the value of {} is no base64", self.key)))?;
        Ok(KvEntry {
            key: self.key,
            value: value.into(),
            flags: self.flags,
            create_index: self.create_index,
            modify_index: self.modify_index,
            lock_index: self.lock_index,
            session: self.session.filter(|s| !s.is_empty()),
        })
    }
}

/// `key`, when it is one that we may write: `[a-z0-9._/-]`, not empty, no empty or dotted segment, at most
/// 512 bytes.
pub fn checked_key(key: &str) -> Result<&str, EngineError> {
    let fine = !key.is_empty()
        && key.len() <= 512
        && key.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'/' | b'-'))
        && key.split('/').all(|s| !matches!(s, "" | "." | ".."));
    if fine {
        return Ok(key);
    }
    let why = "keys that we write are of a-z 0-9 . _ - in segments joined by / (at most 512 bytes)";
    Err(EngineError::new(Engine::Consul, Fault::Invalid, format!("write key {key:?}"), why))
}

/// A key for reading: Consul itself allows almost anything but the empty one.
fn readable(key: &str) -> Result<String, EngineError> {
    if key.is_empty() || key.starts_with('/') || key.split('/').any(|s| matches!(s, "." | "..")) {
        let why = "a key is not empty, does not begin with / and has no segment of dots";
        return Err(EngineError::new(Engine::Consul, Fault::Invalid, format!("read key {key:?}"), why));
    }
    Ok(format!("/v1/kv/{}", path(key)))
}

fn prefix_path(prefix: &str) -> String {
    format!("/v1/kv/{}", path(prefix))
}

fn fitting(key: &str, value: &[u8]) -> Result<(), EngineError> {
    if value.len() <= LARGEST_VALUE {
        return Ok(());
    }
    let why = format!("{} bytes; Consul takes at most {LARGEST_VALUE}", value.len());
    Err(EngineError::new(Engine::Consul, Fault::TooLarge, format!("write key {key}"), why))
}

impl Consul {
    /// One key, as the leader has it.
    pub async fn kv_get(&self, key: &str) -> Result<Option<KvEntry>, EngineError> {
        let call = self.read(format!("read key {key}"), &readable(key)?).query("consistent", "");
        one(&call.send_any().await?)
    }

    /// All keys below `prefix` with their values, as the leader has them. The whole list comes each time.
    pub async fn kv_list(&self, prefix: &str) -> Result<Vec<KvEntry>, EngineError> {
        Ok(self.kv_list_at(prefix).await?.0)
    }

    /// The same, with the index to begin a watch at.
    pub async fn kv_list_at(&self, prefix: &str) -> Result<(Vec<KvEntry>, u64), EngineError> {
        let call = self
            .read(format!("list keys below {prefix}"), &prefix_path(prefix))
            .query("recurse", "")
            .query("consistent", "");
        let reply = call.send_any().await?;
        Ok((list(&reply)?, next_index(0, reply.number("x-consul-index"))))
    }

    /// The names of all keys below `prefix`, as the leader has them.
    pub async fn kv_keys(&self, prefix: &str) -> Result<Vec<String>, EngineError> {
        let call = self
            .read(format!("list names of keys below {prefix}"), &prefix_path(prefix))
            .query("keys", "")
            .query("consistent", "");
        Ok(call.fetch_opt().await?.unwrap_or_default())
    }

    /// One key, once it changed past `index` or `wait` is over; with the index for the next call. Index 0
    /// answers at once. Never wait for a key that may be absent: every KV write of the cluster wakes it.
    pub async fn kv_wait(
        &self,
        key: &str,
        index: u64,
        wait: Duration,
    ) -> Result<(Option<KvEntry>, u64), EngineError> {
        let reply = self.wait(format!("watch key {key}"), &readable(key)?, index, wait).send_any().await?;
        Ok((one(&reply)?, next_index(index, reply.number("x-consul-index"))))
    }

    /// All keys below `prefix`, once one changed past `index` or `wait` is over. The same caveat.
    pub async fn kv_list_wait(
        &self,
        prefix: &str,
        index: u64,
        wait: Duration,
    ) -> Result<(Vec<KvEntry>, u64), EngineError> {
        let call = self.wait(format!("watch keys below {prefix}"), &prefix_path(prefix), index, wait);
        let reply = call.query("recurse", "").send_any().await?;
        Ok((list(&reply)?, next_index(index, reply.number("x-consul-index"))))
    }

    /// Sets a key, whatever it was.
    pub async fn kv_put(&self, key: &str, value: impl Into<Bytes>) -> Result<(), EngineError> {
        let doing = format!("write key {key}");
        self.put(key, value.into(), doing, None).await?.then_some(()).ok_or_else(|| refused(key, "write"))
    }

    /// Makes a key. `Conflict` where there is one.
    pub async fn kv_create(&self, key: &str, value: impl Into<Bytes>) -> Result<(), EngineError> {
        let done = self.put(key, value.into(), format!("create key {key}"), Some(("cas", "0"))).await?;
        done.then_some(()).ok_or_else(|| conflict("create", key, "it exists already"))
    }

    /// Sets a key that was last changed at `index` (0: that is not there). `Conflict` otherwise.
    pub async fn kv_cas(&self, key: &str, value: impl Into<Bytes>, index: u64) -> Result<(), EngineError> {
        let at = index.to_string();
        let done = self.put(key, value.into(), format!("change key {key}"), Some(("cas", &at))).await?;
        done.then_some(()).ok_or_else(|| conflict("change", key, "somebody else changed it meanwhile"))
    }

    /// Deletes this key and no other. Fine where there is none.
    pub async fn kv_delete(&self, key: &str) -> Result<(), EngineError> {
        let path = prefix_path(checked_key(key)?);
        let done: bool = self.write(Method::DELETE, format!("delete key {key}"), &path).fetch().await?;
        done.then_some(()).ok_or_else(|| refused(key, "delete"))
    }

    /// Deletes a key that was last changed at `index`. `Conflict` otherwise.
    pub async fn kv_delete_cas(&self, key: &str, index: u64) -> Result<(), EngineError> {
        if index == 0 {
            // Consul takes cas=0 for "no guard" here.
            let why = "a guarded delete wants the index of the key";
            return Err(EngineError::new(Engine::Consul, Fault::Invalid, format!("delete key {key}"), why));
        }
        let path = prefix_path(checked_key(key)?);
        let call = self.write(Method::DELETE, format!("delete key {key}"), &path).query("cas", index);
        let done: bool = call.fetch().await?;
        done.then_some(()).ok_or_else(|| conflict("delete", key, "somebody else changed it meanwhile"))
    }

    /// Deletes all keys below `prefix`, which ends in `/` and names at least one segment: "" would be all of
    /// Consul, and `a` would take `ab` along.
    pub async fn delete_tree(&self, prefix: &str) -> Result<(), EngineError> {
        let doing = format!("delete all keys below {prefix:?}");
        let Some(stem) = prefix.strip_suffix('/') else {
            let why = "a tree's name ends in / and is not empty";
            return Err(EngineError::new(Engine::Consul, Fault::Invalid, doing, why));
        };
        checked_key(stem)?;
        let call = self.write(Method::DELETE, doing, &prefix_path(prefix)).query("recurse", "");
        let done: bool = call.fetch().await?;
        done.then_some(()).ok_or_else(|| refused(prefix, "delete all below"))
    }

    /// Takes the lock `key` for `session`, with `value`. False: another session holds it, or its lock-delay
    /// runs. `Conflict` where the session is gone.
    pub async fn kv_acquire(
        &self,
        key: &str,
        value: impl Into<Bytes>,
        session: &str,
    ) -> Result<bool, EngineError> {
        let doing = format!("lock {key}");
        self.put(key, value.into(), doing, Some(("acquire", session))).await.map_err(session_gone)
    }

    /// Gives the lock `key` back and keeps its value. False: `session` does not hold it.
    pub async fn kv_release(&self, key: &str, session: &str) -> Result<bool, EngineError> {
        // A release writes its body as the new value, so the old one is sent along.
        let Some(entry) = self.kv_get(key).await? else { return Ok(false) };
        let doing = format!("unlock {key}");
        self.put(key, entry.value, doing, Some(("release", session))).await.map_err(session_gone)
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        doing: String,
        how: Option<(&str, &str)>,
    ) -> Result<bool, EngineError> {
        fitting(key, &value)?;
        let mut call = self.write(Method::PUT, doing, &prefix_path(checked_key(key)?));
        if let Some((name, text)) = how {
            call = call.query(name, text);
        }
        call.body(value).fetch().await
    }
}

/// Consul says 500 "invalid session" where the session is gone.
fn session_gone(mut error: EngineError) -> EngineError {
    if error.message.contains("invalid session") {
        error.fault = Fault::Conflict;
    }
    error
}

fn conflict(what: &str, key: &str, why: &str) -> EngineError {
    EngineError::new(Engine::Consul, Fault::Conflict, format!("{what} key {key}"), why)
}

fn refused(key: &str, what: &str) -> EngineError {
    EngineError::new(Engine::Consul, Fault::Broken, format!("{what} key {key}"), "Consul answered false")
}

fn list(reply: &Reply) -> Result<Vec<KvEntry>, EngineError> {
    if reply.status == StatusCode::NOT_FOUND {
        return Ok(Vec::new());
    }
    if !reply.status.is_success() {
        return Err(reply.refusal());
    }
    reply.json::<Vec<RawEntry>>()?.into_iter().map(|raw| raw.decode(reply)).collect()
}

fn one(reply: &Reply) -> Result<Option<KvEntry>, EngineError> {
    Ok(list(reply)?.into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_we_write_are_plain() {
        for fine in ["a", "secrets/app/k.1", "terreau/v1/app/t/e/p-2_x"] {
            assert!(checked_key(fine).is_ok(), "{fine}");
        }
        let long = "a".repeat(513);
        for wrong in ["", "/a", "a/", "a//b", "a/../b", ".", "A", "a b", "a?recurse", "a%2f", "é", &long] {
            assert_eq!(checked_key(wrong).unwrap_err().fault, Fault::Invalid, "{wrong}");
        }
    }

    #[test]
    fn a_key_for_reading_is_escaped_segment_by_segment() {
        assert_eq!(readable("a b/c?d#e").unwrap(), "/v1/kv/a%20b/c%3Fd%23e");
        assert!(readable("a/../b").is_err());
        assert!(readable("").is_err());
    }

    #[test]
    fn an_entry_shows_its_size_and_not_its_value() {
        let entry = KvEntry {
            key: "k".into(),
            value: Bytes::from_static(b"canary"),
            flags: 0,
            create_index: 1,
            modify_index: 1,
            lock_index: 0,
            session: None,
        };
        let shown = format!("{entry:?}");
        assert!(shown.contains("bytes: 6") && !shown.contains("canary"), "{shown}");
    }
}
