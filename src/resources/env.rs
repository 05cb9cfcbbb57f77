//! Values of `terreau env set`: `secrets/<app>/.env/<name>/<n>`, never changed once written.
//!
//! Conditional, like secrets: a value is created by a transaction that also checks the lock's session.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::{Evidence, Work, conflict};
use crate::engines::consul::{Consul, TxnOp};
use crate::engines::{Engine, EngineError};
use crate::model::Placement;
use crate::model::names::EnvName;

/// So many keys are read at once: their values and the frame around them stay below what an answer may hold.
const AT_ONCE: usize = 16;

/// The operation that writes a version.
pub fn write_op(app: &Placement, name: &EnvName, version: u64, value: &SecretString) -> TxnOp {
    let value = value.expose_secret().as_bytes().to_vec();
    TxnOp::Create { key: app.env_version_key(name, version), value }
}

/// The versions that exist, by name, ascending: keys only, no value is read.
pub async fn versions(consul: &Consul, app: &Placement) -> Result<BTreeMap<EnvName, Vec<u64>>, EngineError> {
    let mut found: BTreeMap<EnvName, Vec<u64>> = BTreeMap::new();
    for key in consul.kv_keys(&app.env_prefix()).await? {
        if let Some((name, version)) = app.env_of_key(&key) {
            found.entry(name).or_default().push(version);
        }
    }
    for list in found.values_mut() {
        list.sort_unstable();
    }
    Ok(found)
}

/// Values of these versions. One that is not there is an error: every version that a head names was written.
pub async fn read(
    consul: &Consul,
    app: &Placement,
    wanted: &BTreeMap<EnvName, u64>,
) -> Result<BTreeMap<EnvName, SecretString>, EngineError> {
    let mut values = BTreeMap::new();
    let wanted: Vec<_> = wanted.iter().map(|(n, v)| (n, app.env_version_key(n, *v))).collect();
    for some in wanted.chunks(AT_ONCE) {
        let ops: Vec<TxnOp> = some.iter().map(|(_, key)| TxnOp::Get { key: key.clone() }).collect();
        let entries = consul.txn(&ops).await?;
        for (name, key) in some {
            let entry = entries.iter().find(|e| e.key == *key);
            let text = entry.and_then(|e| String::from_utf8(e.value.to_vec()).ok()).ok_or_else(|| {
                conflict(Engine::Consul, format!("read {key}"), "there is no text at this key")
            })?;
            values.insert((*name).clone(), SecretString::from(text));
        }
    }
    Ok(values)
}

/// Deletes versions that no release has ever read.
pub(super) async fn take_back(
    work: &Work<'_>,
    values: &BTreeMap<EnvName, u64>,
) -> Result<Evidence, EngineError> {
    let keys: Vec<String> = values.iter().map(|(n, v)| work.app.env_version_key(n, *v)).collect();
    for some in keys.chunks(32) {
        let check = TxnOp::CheckSession { key: work.lock(), session: work.session.to_owned() };
        let deletes = some.iter().map(|key| TxnOp::Delete { key: key.clone() });
        work.hands.consul.txn(&std::iter::once(check).chain(deletes).collect::<Vec<_>>()).await?;
    }
    Ok(Evidence::new())
}
