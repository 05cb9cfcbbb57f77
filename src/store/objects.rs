//! Objects in Garage: whatever is larger than a record, named by its SHA-256.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engines::garage::S3;
use crate::engines::{Engine, EngineError, Fault, SharedGate};
use crate::model::{Sha256Hex, Uid, sha256_hex};

/// The most that an object of ours may hold.
const LIMIT: u64 = 16 << 20;

/// The agent's private bucket.
#[derive(Debug, Clone)]
pub struct Objects {
    pub(super) s3: S3,
    pub(super) bucket: String,
}

impl Objects {
    /// Objects in this bucket.
    pub fn new(s3: S3, bucket: impl Into<String>) -> Self {
        Self { s3, bucket: bucket.into() }
    }

    /// The same, writing only while the gate is open.
    #[must_use]
    pub fn with_gate(&self, gate: SharedGate) -> Self {
        Self { s3: self.s3.clone().with_gate(gate), bucket: self.bucket.clone() }
    }

    /// The bucket's name. Uploads wait in it, beside the objects, until they are judged.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Writes an object named by its own hash. Writing the same twice is harmless.
    pub async fn put(&self, bytes: Vec<u8>) -> Result<Sha256Hex, EngineError> {
        let name = sha256_hex(&bytes);
        self.s3.put(&self.bucket, &format!("o/{name}"), bytes, "application/octet-stream").await?;
        Ok(name)
    }

    /// Asks whether this key opens this bucket.
    pub async fn probe(&self) -> Result<(), EngineError> {
        self.s3.get(&self.bucket, "o/none", 0).await.map(|_| ())
    }

    /// Writes something as JSON.
    pub async fn put_json<T: Serialize>(&self, value: &T) -> Result<Sha256Hex, EngineError> {
        self.put(encode(value)?).await
    }

    /// Reads an object and checks its hash.
    pub async fn get(&self, name: &Sha256Hex) -> Result<Vec<u8>, EngineError> {
        let doing = format!("read object {name}");
        let bytes = self.s3.get(&self.bucket, &format!("o/{name}"), LIMIT).await?.ok_or_else(|| {
            EngineError::new(
                Engine::Garage,
                Fault::NotFound,
                doing.clone(),
                "it is named by a record and is not there",
            )
        })?;
        if sha256_hex(&bytes) != *name {
            return Err(EngineError::new(
                Engine::Garage,
                Fault::Broken,
                doing,
                "its content has another hash",
            ));
        }
        Ok(bytes.to_vec())
    }

    /// Reads a JSON object.
    pub async fn get_json<T: DeserializeOwned>(&self, name: &Sha256Hex) -> Result<T, EngineError> {
        let bytes = self.get(name).await?;
        serde_json::from_slice(&bytes).map_err(|e| {
            EngineError::new(Engine::Garage, Fault::Broken, format!("read object {name}"), e.to_string())
        })
    }

    /// Writes how an operation ended.
    pub async fn put_ended<T: Serialize>(&self, id: &Uid, value: &T) -> Result<(), EngineError> {
        let key = format!("operations/{id}.json");
        self.s3.put(&self.bucket, &key, encode(value)?, "application/json").await
    }

    /// Reads how an operation ended.
    pub async fn get_ended<T: DeserializeOwned>(&self, id: &Uid) -> Result<Option<T>, EngineError> {
        let key = format!("operations/{id}.json");
        let Some(bytes) = self.s3.get(&self.bucket, &key, LIMIT).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            EngineError::new(Engine::Garage, Fault::Broken, format!("read {key}"), e.to_string())
        })
    }
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(value)
        .map_err(|e| EngineError::new(Engine::Garage, Fault::Invalid, "write an object", e.to_string()))
}
