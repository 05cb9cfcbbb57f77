//! Names in flat spaces: who owns them, by our own index.

use super::{Hands, conflict};
use crate::engines::{Engine, EngineError};
use crate::model::Uid;
use crate::model::desired::Name;
use crate::store::records::NameRecord;
use crate::store::{Versioned, keys};

/// Who owns each of these names.
pub async fn owners(
    hands: &Hands,
    names: &[Name],
) -> Result<Vec<(Name, Option<Versioned<NameRecord>>)>, EngineError> {
    let reads = names.iter().map(|n| async move {
        let key = keys::name(n.space, &n.name);
        let record = match hands.consul.kv_get(&key).await? {
            Some(entry) => {
                let value = serde_json::from_slice(&entry.value)
                    .map_err(|e| conflict(Engine::Consul, format!("read {key}"), e.to_string()))?;
                Some(Versioned { value, index: entry.modify_index })
            }
            None => None,
        };
        Ok((n.clone(), record))
    });
    futures::future::try_join_all(reads).await
}

/// True where the name is free or ours.
pub fn is_available(owner: Option<&NameRecord>, uid: &Uid) -> bool {
    owner.is_none_or(|o| o.uid == *uid)
}
