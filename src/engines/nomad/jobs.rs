//! Jobs: parse, plan, register, look up, scale, stop.
//!
//! Every write here must be made under the app's lock: `EnforceIndex` is checked before the raft write and is
//! no lock (of 12 racing registrations with one index up to 11 won).

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::types::{AllocMetric, DesiredUpdates, JobStub, or_default};
use super::{EvalAnswer, Nomad, judge};
use crate::engines::http::segment;
use crate::engines::{EngineError, Fault};

/// Whether a plan computes the difference of specifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Diff {
    /// With it.
    Wanted,
    /// Placement only.
    Left,
}

/// What happens to a stopped job's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// The record stays, as dead, until Nomad's garbage collection: versions can be looked at.
    Keep,
    /// It is removed at once.
    Purge,
}

/// What `plan` found.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct JobPlan {
    /// Nomad's own difference (`Type`: None, Added, Edited, …), when asked for.
    #[serde(default)]
    pub diff: Option<Value>,
    /// What the scheduler would do, by group.
    #[serde(default, deserialize_with = "annotations")]
    pub annotations: BTreeMap<String, DesiredUpdates>,
    /// Groups for which there is no room, and why.
    #[serde(default, rename = "FailedTGAllocs", deserialize_with = "or_default")]
    pub failed_tg_allocs: BTreeMap<String, AllocMetric>,
    /// The stored job's `JobModifyIndex`; 0 = there is none. Without it the answer is not Nomad's.
    pub job_modify_index: u64,
    /// Nomad's warnings, one text.
    #[serde(default)]
    pub warnings: String,
}

fn annotations<'de, D: serde::Deserializer<'de>>(d: D) -> Result<BTreeMap<String, DesiredUpdates>, D::Error> {
    #[derive(Default, Deserialize)]
    struct Raw {
        #[serde(default, rename = "DesiredTGUpdates", deserialize_with = "or_default")]
        desired: BTreeMap<String, DesiredUpdates>,
    }
    Ok(or_default::<D, Raw>(d)?.desired)
}

impl JobPlan {
    /// Instances that the scheduler would replace.
    pub fn replaced(&self) -> u64 {
        self.annotations.values().map(|u| u.destructive_update + u.canary).sum()
    }

    /// Instances that it would change without a restart.
    pub fn in_place(&self) -> u64 {
        self.annotations.values().map(|u| u.in_place_update).sum()
    }

    /// New instances.
    pub fn placed(&self) -> u64 {
        self.annotations.values().map(|u| u.place).sum()
    }
}

/// A registration.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The job, as Nomad's parse gave it.
    pub job: Value,
    /// Refuse unless the stored job's `JobModifyIndex` is this (0: unless there is no job). Checked, not
    /// atomic.
    pub enforce_index: Option<u64>,
    /// The HCL that people see in Nomad's UI; without it the UI loses the last one.
    pub submission_hcl: Option<String>,
}

/// What a registration answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Registered {
    /// The evaluation made ("" for periodic and parameterized jobs).
    #[serde(default, rename = "EvalID")]
    pub eval_id: String,
    /// The job's index after the call. An identical registration gives the old one, yet moves `ModifyIndex`.
    pub job_modify_index: u64,
    /// Nomad's warnings, one text.
    #[serde(default)]
    pub warnings: String,
}

/// A change of one group's count.
#[derive(Debug, Clone)]
pub struct Scaling {
    /// The group.
    pub group: String,
    /// Instances wanted.
    pub count: u64,
    /// Kept in the job's scaling events.
    pub message: String,
    /// Refuse unless the stored job's `JobModifyIndex` is this (checked, not atomic; Nomad before 1.8 ignores
    /// it).
    pub enforce_index: Option<u64>,
}

/// What a scaling answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Scaled {
    /// The evaluation made.
    #[serde(default, rename = "EvalID")]
    pub eval_id: String,
    /// The job's index after the call: a scaling moves it.
    pub job_modify_index: u64,
}

/// What Nomad's validation said.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Validation {
    /// What is wrong; empty = nothing.
    #[serde(deserialize_with = "or_default")]
    pub validation_errors: Vec<String>,
    /// The same as one text.
    #[serde(deserialize_with = "or_default")]
    pub error: String,
    /// Warnings, one text.
    #[serde(deserialize_with = "or_default")]
    pub warnings: String,
}

/// How much of each job a list gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobDetail {
    /// Without meta.
    Plain,
    /// With the job's meta.
    Meta,
}

impl Nomad {
    /// Parses a job specification (HCL2) into canonical JSON, all defaults filled in. `Invalid` with Nomad's
    /// words and line where it is wrong.
    pub async fn parse_hcl(&self, hcl: &str) -> Result<Value, EngineError> {
        let body = json!({ "JobHCL": hcl, "Canonicalize": true });
        let asked = self.ask("parse a job specification", "/v1/jobs/parse").json(&body);
        let reply = judge(asked.send_any().await?)?;
        let job: Value = reply.json()?;
        if JobView::of(&job).is_err() {
            return Err(reply.fault(Fault::Broken, "the answer is not a job"));
        }
        Ok(job)
    }

    /// Asks the scheduler what a registration would do. Changes nothing.
    pub async fn plan(&self, job: &Value, diff: Diff) -> Result<JobPlan, EngineError> {
        let view = JobView::of(job)?;
        let body = json!({ "Job": job, "Diff": diff == Diff::Wanted });
        let path = format!("/v1/job/{}/plan", segment(view.id()));
        let call = self.ask(format!("plan job {}", view.id()), &path).query("namespace", view.namespace());
        let reply = judge(call.json(&body).send_any().await?)?;
        let plan: JobPlan = reply.json()?;
        if diff == Diff::Wanted && plan.diff.is_none() {
            // Taken for "no difference", an answer of somebody else's would pass for a job that is registered.
            return Err(reply.fault(Fault::Broken, "the answer has no difference"));
        }
        Ok(plan)
    }

    /// Asks Nomad whether the job is well formed. Changes nothing.
    pub async fn validate(&self, job: &Value) -> Result<Validation, EngineError> {
        let view = JobView::of(job)?;
        let call = self
            .ask(format!("validate job {}", view.id()), "/v1/validate/job")
            .query("namespace", view.namespace());
        judge(call.json(&json!({ "Job": job })).send_any().await?)?.json()
    }

    /// Registers a job. `Conflict` when the index does not hold, `Invalid` when Nomad refuses the job (both
    /// are HTTP 500 there), neither to be retried.
    pub async fn register(&self, what: &Registration) -> Result<Registered, EngineError> {
        let view = JobView::of(&what.job)?;
        let mut body = json!({ "Job": what.job });
        if let Some(index) = what.enforce_index {
            body["EnforceIndex"] = true.into();
            body["JobModifyIndex"] = index.into();
        }
        if let Some(hcl) = &what.submission_hcl {
            body["Submission"] = json!({ "Source": hcl, "Format": "hcl2" });
        }
        let call = self
            .write(Method::POST, format!("register job {}", view.id()), "/v1/jobs")
            .query("namespace", view.namespace());
        judge(call.json(&body).send_any().await?)?.json()
    }

    /// The stored job, whole.
    pub async fn job(&self, namespace: &str, id: &str) -> Result<Option<Value>, EngineError> {
        let path = format!("/v1/job/{}", segment(id));
        let call = self.read(format!("read job {id}"), &path).query("namespace", namespace);
        call.fetch_opt::<Value>().await?.map(|job| stored(job, id)).transpose()
    }

    /// The HCL sent with version `version`, if any was.
    pub async fn submission(
        &self,
        namespace: &str,
        id: &str,
        version: u64,
    ) -> Result<Option<String>, EngineError> {
        let path = format!("/v1/job/{}/submission", segment(id));
        let call = self.read(format!("read the source of job {id}"), &path);
        let found: Option<Value> =
            call.query("namespace", namespace).query("version", version).fetch_opt().await?;
        Ok(found.and_then(|v| v.get("Source")?.as_str().map(str::to_owned)))
    }

    /// Jobs whose id begins with `prefix`; namespace `*` is all.
    pub async fn jobs(
        &self,
        namespace: &str,
        prefix: &str,
        detail: JobDetail,
    ) -> Result<Vec<JobStub>, EngineError> {
        Ok(self.jobs_at(namespace, prefix, detail).await?.0)
    }

    /// The same, with the raft index that the list shows: events above it are news.
    pub async fn jobs_at(
        &self,
        namespace: &str,
        prefix: &str,
        detail: JobDetail,
    ) -> Result<(Vec<JobStub>, u64), EngineError> {
        let mut call = self.read("list jobs", "/v1/jobs").query("namespace", namespace);
        if !prefix.is_empty() {
            call = call.query("prefix", prefix);
        }
        if detail == JobDetail::Meta {
            call = call.query("meta", "true");
        }
        let reply = call.send().await?;
        let index = reply.number("x-nomad-index").unwrap_or(0);
        Ok((reply.json::<Option<Vec<JobStub>>>()?.unwrap_or_default(), index))
    }

    /// The versions that Nomad still has (6 by default), newest first; empty when the job is not there.
    pub async fn job_versions(&self, namespace: &str, id: &str) -> Result<Vec<Value>, EngineError> {
        #[derive(Deserialize)]
        struct Raw {
            #[serde(rename = "Versions", deserialize_with = "or_default")]
            versions: Vec<Value>,
        }
        let path = format!("/v1/job/{}/versions", segment(id));
        let call = self.read(format!("list versions of job {id}"), &path).query("namespace", namespace);
        let found = call.fetch_opt::<Raw>().await?.map(|r| r.versions).unwrap_or_default();
        found.into_iter().map(|job| stored(job, id)).collect()
    }

    /// Stops a job; gives the evaluation ("" where none was made). `NotFound` where there is none.
    pub async fn deregister(&self, namespace: &str, id: &str, purge: Purge) -> Result<String, EngineError> {
        let path = format!("/v1/job/{}", segment(id));
        let call = self
            .write(Method::DELETE, format!("stop job {id}"), &path)
            .query("namespace", namespace)
            .query("purge", purge == Purge::Purge);
        Ok(judge(call.send_any().await?)?.json::<EvalAnswer>()?.eval_id)
    }

    /// Sets a group's count.
    pub async fn scale(
        &self,
        namespace: &str,
        id: &str,
        group: &str,
        count: u64,
        message: &str,
    ) -> Result<Scaled, EngineError> {
        let what = Scaling { group: group.into(), count, message: message.into(), enforce_index: None };
        self.scale_with(namespace, id, &what).await
    }

    /// Sets a group's count, with a guard. Nomad reads the job, changes the count and registers it again: a
    /// registration beside it may be undone, so call it under the app's lock only.
    pub async fn scale_with(&self, namespace: &str, id: &str, what: &Scaling) -> Result<Scaled, EngineError> {
        let path = format!("/v1/job/{}/scale", segment(id));
        let body = json!({
            "Count": what.count,
            "Target": { "Job": id, "Group": what.group },
            "Message": what.message,
            "JobModifyIndex": what.enforce_index.unwrap_or(0),
        });
        let doing = format!("scale group {} of job {id} to {}", what.group, what.count);
        let call = self.write(Method::POST, doing, &path).query("namespace", namespace);
        judge(call.json(&body).send_any().await?)?.json()
    }

    /// Registers an older version again; gives the evaluation.
    pub async fn revert(&self, namespace: &str, id: &str, version: u64) -> Result<Registered, EngineError> {
        let path = format!("/v1/job/{}/revert", segment(id));
        let body = json!({ "JobID": id, "JobVersion": version });
        let call = self
            .write(Method::POST, format!("revert job {id} to version {version}"), &path)
            .query("namespace", namespace);
        judge(call.json(&body).send_any().await?)?.json()
    }
}

/// A job as Nomad answered it. `Broken` where it is something else: for a caller "no job of ours" would mean that the
/// job is wrong, and nothing is known of it.
fn stored(job: Value, id: &str) -> Result<Value, EngineError> {
    if job.get("ID").and_then(Value::as_str) == Some(id) {
        return Ok(job);
    }
    let why = "the answer is not that job";
    Err(EngineError::new(crate::engines::Engine::Nomad, Fault::Broken, format!("read job {id}"), why))
}

/// A job's JSON, read.
#[derive(Debug, Clone, Copy)]
pub struct JobView<'a> {
    job: &'a Value,
    id: &'a str,
}

impl<'a> JobView<'a> {
    /// `Invalid` when it has no id.
    pub fn of(job: &'a Value) -> Result<Self, EngineError> {
        match job.get("ID").and_then(Value::as_str) {
            Some(id) if !id.is_empty() => Ok(Self { job, id }),
            _ => Err(EngineError::new(
                crate::engines::Engine::Nomad,
                Fault::Invalid,
                "read a job",
                "the job has no ID",
            )),
        }
    }

    /// Its id.
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// Its namespace.
    pub fn namespace(&self) -> &'a str {
        match self.job.get("Namespace").and_then(Value::as_str) {
            None | Some("") => "default",
            Some(name) => name,
        }
    }

    fn number(&self, field: &str) -> u64 {
        self.job.get(field).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Raft index of its last change, status included.
    pub fn modify_index(&self) -> u64 {
        self.number("ModifyIndex")
    }

    /// Raft index of its last change of specification or count.
    pub fn job_modify_index(&self) -> u64 {
        self.number("JobModifyIndex")
    }

    /// Counts up from 0 at each change.
    pub fn version(&self) -> u64 {
        self.number("Version")
    }

    /// A deployment of this version succeeded.
    pub fn is_stable(&self) -> bool {
        self.job.get("Stable").and_then(Value::as_bool).unwrap_or(false)
    }

    /// It was stopped on purpose.
    pub fn is_stopped(&self) -> bool {
        self.job.get("Stop").and_then(Value::as_bool).unwrap_or(false)
    }

    /// `pending`, `running`, `dead`.
    pub fn status(&self) -> &'a str {
        self.job.get("Status").and_then(Value::as_str).unwrap_or_default()
    }

    /// A value of the job's meta.
    pub fn meta(&self, name: &str) -> Option<&'a str> {
        self.job.get("Meta")?.get(name)?.as_str()
    }

    /// Group name to the nanoseconds within which an instance must be healthy, where a deployment watches it.
    pub fn healthy_deadlines(&self) -> BTreeMap<String, i64> {
        let groups = self.job.get("TaskGroups").and_then(Value::as_array).into_iter().flatten();
        let deadline = |g: &Value| g.pointer("/Update/HealthyDeadline").and_then(Value::as_i64);
        groups.filter_map(|g| Some((g.get("Name")?.as_str()?.to_owned(), deadline(g)?))).collect()
    }

    /// Group name to count.
    pub fn counts(&self) -> BTreeMap<&'a str, u64> {
        let groups = self.job.get("TaskGroups").and_then(Value::as_array).into_iter().flatten();
        groups
            .filter_map(|g| Some((g.get("Name")?.as_str()?, g.get("Count").and_then(Value::as_u64)?)))
            .collect()
    }
}
