//! The admin API v2 of Garage 2.x: buckets, keys, rights, aliases. One call each, never repeated by itself.
//!
//! Names of keys are not unique in Garage, so keys are made with [`Admin::import_key`] under an id chosen
//! beforehand, and looked up by id only (there is no `CreateKey` here on purpose: a retry would make two).

use std::time::Duration;

use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::admin_wire::{
    Bucket, BucketRef, BucketSettings, Health, Key, KeyRef, Perm, WireAccess, WireBucket, WireError,
    WireUpdate,
};
use super::{fail, fault_of};
use crate::engines::http::{Call, Credential, Http, HttpOptions};
use crate::engines::{Engine, EngineError, Fault, SharedGate};

/// A client of the admin API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admin {
    http: Http,
}

impl Admin {
    /// `url` is the admin endpoint, as `http://127.0.0.1:3903`; `token` a bearer token whose scope covers what is
    /// asked (a call out of scope answers like a wrong token: [`Fault::Denied`]). With one node of three left Garage
    /// answers after about 6.5 s (503): a limit below that would hide what it says.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand the secret over: no second copy stays with them"
    )]
    pub fn new(url: &str, token: SecretString, options: &HttpOptions) -> Result<Self, EngineError> {
        let http = Http::new(Engine::Garage, url, options)?.with_token(Credential::Bearer, &token)?;
        Ok(Self { http })
    }

    /// The same client behind a gate that every write asks.
    #[must_use]
    pub fn with_gate(self, gate: SharedGate) -> Self {
        Self { http: self.http.with_gate(gate) }
    }

    /// The cluster's health.
    pub async fn health(&self) -> Result<Health, EngineError> {
        self.get("GetClusterHealth", &[], "ask for the cluster's health").await
    }

    /// The bucket of that global alias.
    pub async fn bucket_by_alias(&self, alias: &str) -> Result<Option<Bucket>, EngineError> {
        let doing = format!("look up bucket {alias}");
        let found = self.get::<WireBucket>("GetBucketInfo", &[("globalAlias", alias)], &doing).await;
        absent_is_none(found.map(Bucket::from))
    }

    /// The bucket of that id.
    pub async fn bucket(&self, id: &str) -> Result<Option<Bucket>, EngineError> {
        let doing = format!("read bucket {id}");
        let found = self.get::<WireBucket>("GetBucketInfo", &[("id", id)], &doing).await;
        absent_is_none(found.map(Bucket::from))
    }

    /// All buckets, by id. One request: Garage lists without a limit unless told one.
    pub async fn buckets(&self) -> Result<Vec<BucketRef>, EngineError> {
        let mut all: Vec<BucketRef> = self.get("ListBuckets", &[], "list buckets").await?;
        for bucket in &mut all {
            bucket.global_aliases.sort();
        }
        Ok(all)
    }

    /// Makes a bucket under a global alias; [`Fault::Conflict`] where the alias is taken.
    pub async fn create_bucket(&self, global_alias: &str) -> Result<Bucket, EngineError> {
        let doing = format!("create bucket {global_alias}");
        let body = json!({ "globalAlias": global_alias });
        Ok(self.post::<WireBucket>("CreateBucket", &[], Some(&body), &doing).await?.into())
    }

    /// Changes website and limits. Limits are replaced whole: see [`Quotas`](super::Quotas).
    pub async fn update_bucket(&self, id: &str, settings: &BucketSettings) -> Result<Bucket, EngineError> {
        let website_access = settings.website.as_ref().map(|w| WireAccess {
            enabled: true,
            index_document: Some(&w.index),
            error_document: w.error.as_deref(),
        });
        self.update(id, &WireUpdate { website_access, quotas: settings.quotas }).await
    }

    /// No longer serves the bucket as a website. Idempotent.
    pub async fn website_off(&self, id: &str) -> Result<Bucket, EngineError> {
        let off = WireAccess { enabled: false, index_document: None, error_document: None };
        self.update(id, &WireUpdate { website_access: Some(off), quotas: None }).await
    }

    async fn update(&self, id: &str, body: &WireUpdate<'_>) -> Result<Bucket, EngineError> {
        let doing = format!("change the settings of bucket {id}");
        Ok(self.post::<WireBucket>("UpdateBucket", &[("id", id)], Some(body), &doing).await?.into())
    }

    /// Deletes an empty bucket with its aliases and grants; [`Fault::Conflict`] where objects are left in it,
    /// [`Fault::NotFound`] where it is gone already.
    pub async fn delete_bucket(&self, id: &str) -> Result<(), EngineError> {
        let doing = format!("delete bucket {id}");
        self.post_unit("DeleteBucket", &[("id", id)], &doing).await
    }

    /// Gives a bucket one more global name.
    pub async fn add_alias(&self, id: &str, global_alias: &str) -> Result<Bucket, EngineError> {
        let doing = format!("add alias {global_alias} to bucket {id}");
        let body = json!({ "bucketId": id, "globalAlias": global_alias });
        Ok(self.post::<WireBucket>("AddBucketAlias", &[], Some(&body), &doing).await?.into())
    }

    /// Takes a global name away. Garage refuses to take the last one.
    pub async fn remove_alias(&self, id: &str, global_alias: &str) -> Result<Bucket, EngineError> {
        let doing = format!("remove alias {global_alias} from bucket {id}");
        let body = json!({ "bucketId": id, "globalAlias": global_alias });
        Ok(self.post::<WireBucket>("RemoveBucketAlias", &[], Some(&body), &doing).await?.into())
    }

    /// Gives up multipart uploads older than that; returns how many.
    pub async fn cleanup_uploads(&self, id: &str, older_than: Duration) -> Result<u64, EngineError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Done {
            uploads_deleted: u64,
        }
        let doing = format!("clean up unfinished uploads of bucket {id}");
        let body = json!({ "bucketId": id, "olderThanSecs": older_than.as_secs() });
        let done: Done = self.post("CleanupIncompleteUploads", &[], Some(&body), &doing).await?;
        Ok(done.uploads_deleted)
    }

    /// Makes a key under an id and a secret of our own: `GK` and 24 hex digits, 64 hex digits.
    /// [`Fault::Conflict`] where the id exists *or ever did*: a deleted id never comes back.
    pub async fn import_key(&self, id: &str, secret: &SecretString, name: &str) -> Result<Key, EngineError> {
        let doing = format!("import key {id}");
        let body = json!({ "accessKeyId": id, "secretAccessKey": secret.expose_secret(), "name": name });
        self.post("ImportKey", &[], Some(&body), &doing).await
    }

    /// The key of that id, without its secret; `None` where it never was or is deleted (only another
    /// [`Admin::import_key`] tells the two apart).
    pub async fn key(&self, id: &str) -> Result<Option<Key>, EngineError> {
        let doing = format!("read key {id}");
        absent_is_none(self.get::<Key>("GetKeyInfo", &[("id", id)], &doing).await.map(sorted))
    }

    /// All keys, by id.
    pub async fn keys(&self) -> Result<Vec<KeyRef>, EngineError> {
        self.get("ListKeys", &[], "list keys").await
    }

    /// Deletes a key and all its grants, at once and for good; [`Fault::NotFound`] where it is gone already.
    pub async fn delete_key(&self, id: &str) -> Result<(), EngineError> {
        let doing = format!("delete key {id}");
        self.post_unit("DeleteKey", &[("id", id)], &doing).await
    }

    /// Adds rights; those that are false in `perm` stay as they were. Idempotent.
    pub async fn allow(&self, bucket: &str, key: &str, perm: Perm) -> Result<Bucket, EngineError> {
        let doing = format!("allow key {key} on bucket {bucket}");
        let body = json!({ "bucketId": bucket, "accessKeyId": key, "permissions": perm });
        Ok(self.post::<WireBucket>("AllowBucketKey", &[], Some(&body), &doing).await?.into())
    }

    /// Removes the rights that are true in `perm`. Idempotent.
    pub async fn deny(&self, bucket: &str, key: &str, perm: Perm) -> Result<Bucket, EngineError> {
        let doing = format!("deny key {key} on bucket {bucket}");
        let body = json!({ "bucketId": bucket, "accessKeyId": key, "permissions": perm });
        Ok(self.post::<WireBucket>("DenyBucketKey", &[], Some(&body), &doing).await?.into())
    }

    /// True where a website answers for that host (`GET /check?domain=`).
    pub async fn check_domain(&self, domain: &str) -> Result<bool, EngineError> {
        let doing = format!("ask whether a website answers for {domain}");
        let reply = self.http.read(doing.as_str(), "/check").query("domain", domain).send_any().await?;
        match reply.status {
            s if s.is_success() => Ok(true),
            // Garage answers 400 for a domain that it does not serve.
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Ok(false),
            s => Err(refused(s, &reply.body, &doing)),
        }
    }

    /// A read: GET in this API.
    async fn get<T: DeserializeOwned>(
        &self,
        endpoint: &str,
        query: &[(&str, &str)],
        doing: &str,
    ) -> Result<T, EngineError> {
        let call = self.http.read(doing, &format!("/v2/{endpoint}"));
        let reply = asked(call, query).send_any().await?;
        read(reply.status, &reply.body, doing)
    }

    /// A write: POST in this API.
    async fn post<T: DeserializeOwned>(
        &self,
        endpoint: &str,
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
        doing: &str,
    ) -> Result<T, EngineError> {
        let mut call = asked(self.http.write(Method::POST, doing, &format!("/v2/{endpoint}")), query);
        if let Some(body) = body {
            call = call.json(body);
        }
        let reply = call.send_any().await?;
        read(reply.status, &reply.body, doing)
    }

    /// A write whose answer says nothing.
    async fn post_unit(
        &self,
        endpoint: &str,
        query: &[(&str, &str)],
        doing: &str,
    ) -> Result<(), EngineError> {
        let call = asked(self.http.write(Method::POST, doing, &format!("/v2/{endpoint}")), query);
        let reply = call.send_any().await?;
        // Garage's own yes is empty, or `null`.
        read::<Option<()>>(reply.status, if reply.body.is_empty() { b"null" } else { &reply.body }, doing)
            .map(|_| ())
    }
}

fn asked<'a>(mut call: Call<'a>, query: &[(&str, &str)]) -> Call<'a> {
    for (name, value) in query {
        call = call.query(name, value);
    }
    call
}

fn sorted(mut key: Key) -> Key {
    key.buckets.retain(|b| b.permissions != Perm::default());
    key.buckets.sort_by(|a, b| a.id.cmp(&b.id));
    key
}

fn absent_is_none<T>(found: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match found {
        Ok(thing) => Ok(Some(thing)),
        Err(e) if e.fault == Fault::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn read<T: DeserializeOwned>(status: StatusCode, body: &[u8], doing: &str) -> Result<T, EngineError> {
    if !status.is_success() {
        return Err(refused(status, body, doing));
    }
    // serde's message may quote the answer, which may hold a secret: only its place is told.
    serde_json::from_slice(body).map_err(|e| {
        let said =
            format!("not the JSON of Garage's admin API v2 (line {}, column {})", e.line(), e.column());
        fail(Fault::Broken, doing, said)
    })
}

fn refused(status: StatusCode, body: &[u8], doing: &str) -> EngineError {
    let said: WireError = serde_json::from_slice(body).unwrap_or_default();
    let message = if said.message.is_empty() {
        format!("HTTP {}", status.as_u16())
    } else {
        format!("HTTP {} {}: {}", status.as_u16(), said.code, said.message)
    };
    let mut fault = fault_of(status.as_u16());
    // 404 without Garage's own JSON is a proxy or another program at that address, not an absent thing.
    if fault == Fault::NotFound && said.code.is_empty() {
        fault = Fault::Broken;
    }
    fail(fault, doing, message)
}
