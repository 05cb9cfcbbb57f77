//! What the agent needs in Garage: its own key, the bucket of artifacts, the bucket of records. Made where it is
//! missing, so this also repairs; nothing is ever deleted or taken from somebody else.

use super::config::GarageAt;
use crate::engines::garage::{Admin, Bucket, BucketSettings, Perm, Website};
use crate::engines::{EngineError, Fault};

/// Makes what is missing. Done again, it changes nothing.
pub async fn prepare(garage: &Admin, at: &GarageAt, artifacts_host: &str) -> Result<(), EngineError> {
    if garage.key(&at.key_id).await?.is_none() {
        match garage.import_key(&at.key_id, &at.key_secret, "terreau:agent").await {
            Ok(_) => tracing::info!(key = at.key_id, "the agent's key was imported"),
            // Another agent was faster; otherwise the key was deleted once, and Garage never takes it back.
            Err(e) if e.fault == Fault::Conflict && garage.key(&at.key_id).await?.is_some() => {}
            Err(e) if e.fault == Fault::Conflict => {
                let message = "it was deleted once and never comes back: put a fresh id and secret into garage.key_file";
                return Err(EngineError { message: message.to_owned(), ..e });
            }
            Err(e) => return Err(e),
        }
    }
    let records = bucket(garage, &at.records).await?;
    grant(garage, &records, &at.key_id).await?;
    let mut artifacts = bucket(garage, &at.artifacts).await?;
    if artifacts.website.is_none() {
        // Garage wants an index to serve a website; nothing of that name is ever put there, and nothing lists.
        let website = Website { index: "index.html".to_owned(), error: None };
        let settings = BucketSettings { website: Some(website), quotas: None };
        artifacts = garage.update_bucket(&artifacts.id, &settings).await?;
    }
    if !artifacts.global_aliases.iter().any(|a| a == artifacts_host) {
        let added = garage.add_alias(&artifacts.id, artifacts_host).await;
        artifacts = match added {
            Ok(bucket) => bucket,
            Err(e) => {
                let holder = garage.bucket_by_alias(artifacts_host).await?;
                match holder {
                    Some(bucket) if bucket.id == artifacts.id => bucket,
                    Some(_) => {
                        let message = format!(
                            "another bucket has the name {artifacts_host}: apps could not fetch their artifacts"
                        );
                        return Err(EngineError { message, ..e });
                    }
                    None => return Err(e),
                }
            }
        };
    }
    grant(garage, &artifacts, &at.key_id).await
}

async fn bucket(garage: &Admin, alias: &str) -> Result<Bucket, EngineError> {
    if let Some(bucket) = garage.bucket_by_alias(alias).await? {
        return Ok(bucket);
    }
    match garage.create_bucket(alias).await {
        Ok(bucket) => {
            tracing::info!(bucket = alias, "a bucket was made");
            Ok(bucket)
        }
        Err(e) if e.fault == Fault::Conflict => garage.bucket_by_alias(alias).await?.ok_or(e),
        Err(e) => Err(e),
    }
}

async fn grant(garage: &Admin, bucket: &Bucket, key: &str) -> Result<(), EngineError> {
    let has = bucket.keys.iter().any(|k| k.access_key_id == key && k.permissions.read && k.permissions.write);
    if !has {
        garage.allow(&bucket.id, key, Perm::READ_WRITE).await?;
    }
    Ok(())
}
