//! Instances: list, look at, restart, stop, and the files in their folders.
//!
//! Calls about files go to the client that runs (or ran) the instance. It answers 404 once the instance is
//! collected there (50 terminal ones are kept), and 404 or 500 while it cannot be reached.

use reqwest::Method;
use serde_json::json;

use super::types::{AllocStub, Allocation, FileInfo};
use super::{EvalAnswer, Nomad, judge};
use crate::engines::http::segment;
use crate::engines::{Engine, EngineError, Fault};

impl Nomad {
    /// Instances of a job, those of its earlier versions included, newest first.
    pub async fn allocations(&self, namespace: &str, job: &str) -> Result<Vec<AllocStub>, EngineError> {
        let path = format!("/v1/job/{}/allocations", segment(job));
        let call = self
            .read(format!("list instances of job {job}"), &path)
            .query("namespace", namespace)
            // Also those of a purged job of the same name, whose logs people may still want.
            .query("all", "true");
        let mut found: Vec<AllocStub> = call.fetch_opt::<Option<_>>().await?.flatten().unwrap_or_default();
        found.sort_by_key(|a| std::cmp::Reverse(a.create_index));
        Ok(found)
    }

    /// Instances of every job; namespace `*` is all. With the raft index that the list shows.
    pub async fn all_allocations(&self, namespace: &str) -> Result<(Vec<AllocStub>, u64), EngineError> {
        let reply =
            self.read("list instances", "/v1/allocations").query("namespace", namespace).send().await?;
        let index = reply.number("x-nomad-index").unwrap_or(0);
        Ok((reply.json::<Option<Vec<AllocStub>>>()?.unwrap_or_default(), index))
    }

    /// One instance, whole; `None` once it is collected.
    pub async fn allocation(&self, id: &str) -> Result<Option<Allocation>, EngineError> {
        let path = format!("/v1/allocation/{}", segment(id));
        self.read(format!("read instance {id}"), &path).fetch_opt().await
    }

    /// Restarts an instance in place: `task` alone, or all its tasks that run.
    pub async fn restart_allocation(&self, id: &str, task: Option<&str>) -> Result<(), EngineError> {
        let path = format!("/v1/client/allocation/{}/restart", segment(id));
        let body = match task {
            Some(task) => json!({ "TaskName": task }),
            None => json!({}),
        };
        let call = self.write(Method::POST, format!("restart instance {id}"), &path).json(&body);
        judge(call.send_any().await?)?;
        Ok(())
    }

    /// Stops an instance; the scheduler places another. Gives the evaluation.
    pub async fn stop_allocation(&self, id: &str) -> Result<String, EngineError> {
        let path = format!("/v1/allocation/{}/stop", segment(id));
        let call = self.write(Method::POST, format!("stop instance {id}"), &path);
        Ok(judge(call.send_any().await?)?.json::<EvalAnswer>()?.eval_id)
    }

    /// The files in a folder of an instance (`/`, `/alloc/logs`). `NotFound` once it is collected.
    pub async fn files(&self, id: &str, path: &str) -> Result<Vec<FileInfo>, EngineError> {
        let at = format!("/v1/client/fs/ls/{}", segment(id));
        let call = self.read(format!("list {path} of instance {id}"), &at).query("path", path).far();
        let reply = gone_is_not_found(call.send_any().await?)?;
        Ok(reply.json::<Option<_>>()?.unwrap_or_default())
    }

    /// One file's size and time. `NotFound` when it is not there or the instance is collected.
    pub async fn file_stat(&self, id: &str, path: &str) -> Result<FileInfo, EngineError> {
        let at = format!("/v1/client/fs/stat/{}", segment(id));
        let call = self.read(format!("look at {path} of instance {id}"), &at).query("path", path).far();
        gone_is_not_found(call.send_any().await?)?.json()
    }

    /// So many bytes of one file, from `offset` on: exactly `limit`, which the caller knows to be there (a log only
    /// grows). `NotFound` when the file or the instance is gone meanwhile.
    pub async fn file_part(
        &self,
        id: &str,
        path: &str,
        offset: u64,
        limit: u64,
    ) -> Result<bytes::Bytes, EngineError> {
        let at = format!("/v1/client/fs/readat/{}", segment(id));
        let call = self.read(format!("read {path} of instance {id}"), &at).far();
        let call = call.query("path", path).query("offset", offset).query("limit", limit);
        let reply = gone_is_not_found(call.send_any().await?)?;
        if reply.body.len() as u64 == limit {
            return Ok(reply.body);
        }
        // Of a file that is gone meanwhile Nomad answers 200 with the error as its content.
        let words = reply.text();
        let (fault, why) = if is_gone(&words) {
            (Fault::NotFound, "it is gone".to_owned())
        } else {
            (Fault::Broken, format!("{} bytes came of {limit}", reply.body.len()))
        };
        Err(EngineError::new(Engine::Nomad, fault, format!("read {path} of instance {id}"), why))
    }

    /// One file's bytes (for small ones: read whole). Nomad refuses files below `secrets/`.
    pub async fn file(&self, id: &str, path: &str) -> Result<bytes::Bytes, EngineError> {
        // Of a missing file Nomad answers 200 with the error as its content: look first.
        self.file_stat(id, path).await?;
        let at = format!("/v1/client/fs/cat/{}", segment(id));
        let call = self.read(format!("read {path} of instance {id}"), &at).query("path", path).far();
        Ok(gone_is_not_found(call.send_any().await?)?.body)
    }
}

/// A client answers 500 "no such file or directory" and "unknown allocation" where 404 is meant.
pub(super) fn gone_is_not_found(
    reply: crate::engines::http::Reply,
) -> Result<crate::engines::http::Reply, EngineError> {
    let text = reply.text();
    judge(reply).map_err(|mut e| {
        if is_gone(&text) {
            e.fault = Fault::NotFound;
        }
        e
    })
}

pub(super) fn is_gone(text: &str) -> bool {
    text.contains("no such file") || text.contains("nknown allocation") || text.contains("file not found")
}
