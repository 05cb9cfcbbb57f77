//! Records of sessions: `terreau/v1/login/<id>`. A token is `<id>.<secret>`; the record keeps the secret's SHA-256.
//!
//! Never caches a session, and never shows a token.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::AccessError;
use super::scope::Scope;
use crate::engines::consul::Consul;
use crate::engines::{Engine, EngineError, Fault};
use crate::model::Login;

/// Where sessions lie.
pub const SESSIONS: &str = "terreau/v1/login/";

const ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
/// Said for a token that never was, that has ended or that was revoked alike.
const UNKNOWN: AccessError =
    AccessError::NotLoggedIn("this session or token has ended, or never was: log in");

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Schema version: 1.
    pub v: u32,
    /// Whose.
    pub login: Login,
    /// Their entry.
    pub dn: String,
    /// Of the token's secret, in hex.
    pub sha256: String,
    /// Of `userpassword` at login.
    pub fingerprint: String,
    /// When it began.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// What it may be used for.
    pub scope: Scope,
}

/// A fresh token and its halves' record form.
pub(super) struct Fresh {
    pub id: String,
    pub token: SecretString,
    pub sha256: String,
}

impl Fresh {
    pub(super) fn make() -> Self {
        let id = hex::encode(rand::random::<[u8; ID_BYTES]>());
        let secret = Zeroizing::new(hex::encode(Zeroizing::new(rand::random::<[u8; SECRET_BYTES]>())));
        let sha256 = hex::encode(Sha256::digest(secret.as_bytes()));
        let token = SecretString::from(format!("{id}.{}", *secret));
        Self { id, token, sha256 }
    }
}

pub(super) fn key(id: &str) -> String {
    format!("{SESSIONS}{id}")
}

pub(super) async fn write(consul: &Consul, id: &str, record: &SessionRecord) -> Result<(), EngineError> {
    let json = serde_json::to_vec(record).map_err(|e| broken(&key(id), &e))?;
    consul.kv_create(&key(id), json).await
}

/// The record that a token opens. Its id is looked up, its secret compared in constant time.
pub(super) async fn read(
    consul: &Consul,
    token: &SecretString,
    now: Timestamp,
) -> Result<(String, SessionRecord), AccessError> {
    let (id, secret) = halves(token.expose_secret()).ok_or(UNKNOWN)?;
    // Its key says nothing to people.
    let asked = consul.kv_get(&key(id)).await;
    let asked = asked.map_err(|e| EngineError { doing: "look up this login".to_owned(), ..e });
    let Some(entry) = asked? else { return Err(UNKNOWN) };
    let record: SessionRecord =
        serde_json::from_slice(&entry.value).map_err(|e| AccessError::Engine(broken(&key(id), &e)))?;
    let given = hex::encode(Sha256::digest(secret.as_bytes()));
    if !bool::from(given.as_bytes().ct_eq(record.sha256.as_bytes())) {
        return Err(UNKNOWN);
    }
    if record.expires <= now {
        return Err(AccessError::NotLoggedIn("this session has expired: log in again"));
    }
    Ok((id.to_owned(), record))
}

/// True where a session has neither ended nor expired.
pub(super) async fn is_there(consul: &Consul, id: &str, now: Timestamp) -> Result<bool, EngineError> {
    let Some(entry) = consul.kv_get(&key(id)).await? else { return Ok(false) };
    Ok(serde_json::from_slice::<SessionRecord>(&entry.value).is_ok_and(|r| r.expires > now))
}

/// Every record that can be read, by id.
pub(super) async fn all(consul: &Consul) -> Result<Vec<(String, SessionRecord)>, EngineError> {
    let entries = consul.kv_list(SESSIONS).await?;
    let read = entries.iter().filter_map(|e| {
        let record = serde_json::from_slice::<SessionRecord>(&e.value).ok()?;
        Some((e.key.strip_prefix(SESSIONS)?.to_owned(), record))
    });
    Ok(read.collect())
}

/// Deletes what has expired, each only if nobody changed it since.
pub(super) async fn sweep(consul: &Consul, now: Timestamp) -> Result<usize, EngineError> {
    let mut gone = 0;
    for entry in consul.kv_list(SESSIONS).await? {
        let Ok(record) = serde_json::from_slice::<SessionRecord>(&entry.value) else { continue };
        if record.expires > now {
            continue;
        }
        match consul.kv_delete_cas(&entry.key, entry.modify_index).await {
            Ok(()) => gone += 1,
            Err(e) if e.fault == Fault::Conflict => {}
            Err(e) => return Err(e),
        }
    }
    Ok(gone)
}

fn halves(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let is_hex = |s: &str, bytes: usize| {
        s.len() == bytes * 2 && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    (is_hex(id, ID_BYTES) && is_hex(secret, SECRET_BYTES)).then_some((id, secret))
}

fn broken(key: &str, why: &serde_json::Error) -> EngineError {
    EngineError::new(
        Engine::Consul,
        Fault::Broken,
        format!("understand the session at {key}"),
        format!("line {} column {}", why.line(), why.column()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_two_halves_of_hex_and_nothing_else_is_one() {
        let fresh = Fresh::make();
        let (id, secret) = halves(fresh.token.expose_secret()).unwrap();
        assert_eq!(id, fresh.id);
        assert_eq!(hex::encode(Sha256::digest(secret.as_bytes())), fresh.sha256);
        for bad in ["", ".", "a.b", "../leader.00", &fresh.id, &format!("{}.{}", fresh.id, fresh.id)] {
            assert!(halves(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn two_tokens_share_nothing() {
        let (a, b) = (Fresh::make(), Fresh::make());
        assert_ne!(a.id, b.id);
        assert_ne!(a.sha256, b.sha256);
    }
}
