//! Keys of Garage, imported under an id chosen by us (`CreateKey` would make two on a retry), named by our mark.

use super::{Evidence, Work, conflict, secret};
use crate::engines::garage::Perm;
use crate::engines::{Engine, EngineError, Fault};
use crate::model::SecretName;

/// What a key is imported with.
#[derive(Debug)]
pub(super) struct Import<'a> {
    pub(super) id: &'a str,
    pub(super) mark: &'a str,
    pub(super) secret: &'a SecretName,
    pub(super) version: u64,
    pub(super) bucket: &'a str,
}

/// A key's name: `terreau:<uid>:<purpose>`.
pub fn name(uid: &crate::model::Uid, purpose: &str) -> String {
    format!("{}:{purpose}", super::mark(uid))
}

pub(super) async fn import(work: &Work<'_>, what: &Import<'_>) -> Result<Evidence, EngineError> {
    let garage = &work.hands.garage;
    let value = secret::read(&work.hands.consul, work.app, what.secret, what.version).await?;
    match garage.import_key(what.id, &value, what.mark).await {
        Ok(_) => {}
        Err(e) if e.fault == Fault::Conflict => match garage.key(what.id).await? {
            Some(key) if key.name == what.mark => {}
            _ => {
                return Err(conflict(
                    Engine::Garage,
                    format!("import key {}", what.id),
                    "it exists, and is not ours",
                ));
            }
        },
        Err(e) => return Err(e),
    }
    let bucket = garage.bucket_by_alias(what.bucket).await?.ok_or_else(|| {
        EngineError::new(
            Engine::Garage,
            Fault::NotFound,
            format!("grant bucket {}", what.bucket),
            "it is gone",
        )
    })?;
    garage.allow(&bucket.id, what.id, Perm::READ_WRITE).await?;
    Ok(Evidence::new())
}

pub(super) async fn deny(work: &Work<'_>, id: &str) -> Result<Evidence, EngineError> {
    let garage = &work.hands.garage;
    if let Some(key) = garage.key(id).await? {
        for bucket in &key.buckets {
            garage.deny(&bucket.id, id, Perm::ALL).await?;
        }
    }
    Ok(Evidence::new())
}

/// Removes a key that bears our mark. Its id never comes back.
pub async fn remove_ours(work: &Work<'_>, id: &str, mark: &str) -> Result<Evidence, EngineError> {
    let garage = &work.hands.garage;
    match garage.key(id).await? {
        Some(key) if key.name == mark => match garage.delete_key(id).await {
            Err(e) if e.fault != Fault::NotFound => Err(e),
            _ => Ok(Evidence::new()),
        },
        _ => Ok(Evidence::new()),
    }
}
