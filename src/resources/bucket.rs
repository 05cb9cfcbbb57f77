//! Buckets of Garage: `<app>-<purpose>` as global alias. A bucket bears no mark: it is ours by the `name/` index.

use super::{Attempt, Evidence, Work, conflict, evidence};
use crate::engines::garage::{Bucket, BucketSettings, Quotas};
use crate::engines::{Engine, EngineError, Fault};
use crate::store::records::Create;

/// Bytes and objects.
pub type Limits = (Option<u64>, Option<u64>);

pub(super) async fn set(
    work: &Work<'_>,
    alias: &str,
    limits: Limits,
    create: Create,
    attempt: Attempt,
) -> Result<Evidence, EngineError> {
    let garage = &work.hands.garage;
    let bucket = match (create, attempt) {
        (Create::New, Attempt::First) => match garage.create_bucket(alias).await {
            Ok(bucket) => bucket,
            Err(e) if e.fault == Fault::Conflict => {
                return Err(conflict(
                    Engine::Garage,
                    format!("make bucket {alias}"),
                    "it exists, and is not ours",
                ));
            }
            Err(e) => return Err(e),
        },
        (Create::New, Attempt::Again) => make_or_find(work, alias).await?,
        (Create::Existing, _) => garage.bucket_by_alias(alias).await?.ok_or_else(|| {
            EngineError::new(
                Engine::Garage,
                Fault::NotFound,
                format!("set quotas of bucket {alias}"),
                "it is gone",
            )
        })?,
    };
    if (bucket.quotas.max_size, bucket.quotas.max_objects) != limits {
        garage.update_bucket(&bucket.id, &quotas(limits)).await?;
    }
    Ok(evidence([("bucket", bucket.id)]))
}

pub(super) async fn make_or_find(work: &Work<'_>, alias: &str) -> Result<Bucket, EngineError> {
    let garage = &work.hands.garage;
    if let Some(bucket) = garage.bucket_by_alias(alias).await? {
        return Ok(bucket);
    }
    match garage.create_bucket(alias).await {
        Err(e) if e.fault == Fault::Conflict => garage.bucket_by_alias(alias).await?.ok_or(e),
        other => other,
    }
}

fn quotas((max_size, max_objects): Limits) -> BucketSettings {
    BucketSettings { website: None, quotas: Some(Quotas { max_size, max_objects }) }
}

pub(super) async fn take_back(
    work: &Work<'_>,
    alias: &str,
    create: Create,
    before: Option<Limits>,
) -> Result<Evidence, EngineError> {
    let garage = &work.hands.garage;
    let Some(bucket) = garage.bucket_by_alias(alias).await? else { return Ok(Evidence::new()) };
    match create {
        // Nobody has used it: no job was registered. One that holds objects all the same is left, and shown.
        Create::New => garage.delete_bucket(&bucket.id).await?,
        Create::Existing => {
            if let Some(limits) = before {
                garage.update_bucket(&bucket.id, &quotas(limits)).await?;
            }
        }
    }
    Ok(Evidence::new())
}
