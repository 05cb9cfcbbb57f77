//! Secrets: `secrets/<app>/.v/<name>/<n>` (never changed once written) and `secrets/<app>/<name>`, the current value.
//!
//! What is made here becomes the current value at once: nothing else was. What a person gives is written as a version,
//! and becomes the current value when a release with it serves; so does an older version that a rollback takes.
//!
//! Conditional: every write is one transaction that also checks the lock's session, so a late writer writes nothing.

use std::collections::BTreeMap;

use rand::distr::{Alphanumeric, SampleString};
use secrecy::{ExposeSecret, SecretString};

use super::{Evidence, Work, conflict};
use crate::engines::consul::{Consul, TxnOp};
use crate::engines::{Engine, EngineError, Fault};
use crate::model::{Placement, SecretName};
use crate::store::records::Alphabet;

/// Makes a value of `length` characters.
pub fn fresh(length: u32, alphabet: Alphabet) -> SecretString {
    let length = length as usize;
    match alphabet {
        Alphabet::Alphanumeric => Alphanumeric.sample_string(&mut rand::rng(), length).into(),
        Alphabet::Hex => {
            let bytes: Vec<u8> = (0..length.div_ceil(2)).map(|_| rand::random()).collect();
            hex::encode(bytes)[..length].to_owned().into()
        }
    }
}

/// The operations that write a version and make it the current one.
pub fn write_ops(app: &Placement, name: &SecretName, version: u64, value: &SecretString) -> [TxnOp; 2] {
    let bytes = value.expose_secret().as_bytes().to_vec();
    [
        TxnOp::Create { key: app.secret_version_key(name, version), value: bytes.clone() },
        TxnOp::Set { key: app.secret_key(name), value: bytes },
    ]
}

/// The operation that writes a version which a release is still to take.
pub fn given_op(app: &Placement, name: &SecretName, version: u64, value: &SecretString) -> TxnOp {
    let value = value.expose_secret().as_bytes().to_vec();
    TxnOp::Create { key: app.secret_version_key(name, version), value }
}

/// The operations that make these versions the current values, one for each that is not yet.
pub async fn current_ops(
    consul: &Consul,
    app: &Placement,
    versions: &BTreeMap<SecretName, u64>,
) -> Result<Vec<TxnOp>, EngineError> {
    let looks = versions.iter().map(|(name, version)| async move {
        let (pinned, plain) = (app.secret_version_key(name, *version), app.secret_key(name));
        let (pinned, now) = tokio::try_join!(consul.kv_get(&pinned), consul.kv_get(&plain))?;
        let Some(pinned) = pinned else { return Ok(None) };
        let is_current = now.is_some_and(|now| now.value == pinned.value);
        Ok((!is_current).then(|| TxnOp::Set { key: plain, value: pinned.value.to_vec() }))
    });
    Ok(futures::future::try_join_all(looks).await?.into_iter().flatten().collect())
}

/// Takes back what a person gave: no release has ever read it.
pub(super) async fn drop_given(
    work: &Work<'_>,
    name: &SecretName,
    version: u64,
) -> Result<Evidence, EngineError> {
    let ops = [
        TxnOp::CheckSession { key: work.lock(), session: work.session.to_owned() },
        TxnOp::Delete { key: work.app.secret_version_key(name, version) },
    ];
    work.hands.consul.txn(&ops).await?;
    Ok(Evidence::new())
}

pub(super) async fn generate(
    work: &Work<'_>,
    name: &SecretName,
    version: u64,
    (length, alphabet): (u32, Alphabet),
) -> Result<Evidence, EngineError> {
    let key = work.app.secret_version_key(name, version);
    if work.hands.consul.kv_get(&key).await?.is_some() {
        // Both keys were written in one transaction, so the current value is this one or a later one.
        return Ok(Evidence::new());
    }
    let mut ops = vec![TxnOp::CheckSession { key: work.lock(), session: work.session.to_owned() }];
    ops.extend(write_ops(work.app, name, version, &fresh(length, alphabet)));
    work.hands.consul.txn(&ops).await?;
    Ok(Evidence::new())
}

pub(super) async fn take_back(
    work: &Work<'_>,
    name: &SecretName,
    version: u64,
) -> Result<Evidence, EngineError> {
    let consul = &work.hands.consul;
    let key = work.app.secret_version_key(name, version);
    let Some(entry) = consul.kv_get(&key).await? else { return Ok(Evidence::new()) };
    let mut ops = vec![TxnOp::CheckSession { key: work.lock(), session: work.session.to_owned() }];
    ops.push(TxnOp::DeleteCas { key, index: entry.modify_index });
    let plain = work.app.secret_key(name);
    // The current value goes back to the version before, or away with the only one.
    match version.checked_sub(1).filter(|v| *v > 0) {
        Some(before) => match consul.kv_get(&work.app.secret_version_key(name, before)).await? {
            Some(old) => ops.push(TxnOp::Set { key: plain, value: old.value.to_vec() }),
            None => ops.push(TxnOp::Delete { key: plain }),
        },
        None => ops.push(TxnOp::Delete { key: plain }),
    }
    consul.txn(&ops).await?;
    Ok(Evidence::new())
}

/// A version's value.
pub async fn read(
    consul: &Consul,
    app: &Placement,
    name: &SecretName,
    version: u64,
) -> Result<SecretString, EngineError> {
    let key = app.secret_version_key(name, version);
    let entry = consul.kv_get(&key).await?.ok_or_else(|| {
        EngineError::new(Engine::Consul, Fault::NotFound, format!("read {key}"), "there is no such key")
    })?;
    let text = String::from_utf8(entry.value.to_vec())
        .map_err(|_| conflict(Engine::Consul, format!("read {key}"), "its value is not text"))?;
    Ok(text.into())
}

/// The versions that exist, by name: keys only, no value is read.
pub async fn versions(
    consul: &Consul,
    app: &Placement,
) -> Result<BTreeMap<SecretName, Vec<u64>>, EngineError> {
    let prefix = format!("{}.v/", app.secrets_prefix());
    let mut found: BTreeMap<SecretName, Vec<u64>> = BTreeMap::new();
    for key in consul.kv_keys(&prefix).await? {
        let Some((name, version)) = key.strip_prefix(&prefix).and_then(|r| r.rsplit_once('/')) else {
            continue;
        };
        if let (Ok(name), Ok(version)) = (SecretName::new(name), version.parse()) {
            found.entry(name).or_default().push(version);
        }
    }
    for list in found.values_mut() {
        list.sort_unstable();
    }
    Ok(found)
}
