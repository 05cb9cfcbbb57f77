//! Evaluations and deployments: what the scheduler decided and how a rollout goes.

use reqwest::Method;
use serde_json::json;

use super::types::{Deployment, Evaluation};
use super::{EvalAnswer, Nomad, judge};
use crate::engines::EngineError;
use crate::engines::http::segment;

impl Nomad {
    /// An evaluation; `None` after Nomad's garbage collection.
    pub async fn evaluation(&self, id: &str) -> Result<Option<Evaluation>, EngineError> {
        let path = format!("/v1/evaluation/{}", segment(id));
        self.read(format!("read evaluation {id}"), &path).fetch_opt().await
    }

    /// All evaluations of a job that Nomad still has.
    pub async fn job_evaluations(&self, namespace: &str, id: &str) -> Result<Vec<Evaluation>, EngineError> {
        let path = format!("/v1/job/{}/evaluations", segment(id));
        let call = self.read(format!("list evaluations of job {id}"), &path).query("namespace", namespace);
        Ok(call.fetch_opt::<Option<_>>().await?.flatten().unwrap_or_default())
    }

    /// Has the scheduler look at a job again; gives the evaluation.
    pub async fn evaluate(&self, namespace: &str, id: &str) -> Result<String, EngineError> {
        let path = format!("/v1/job/{}/evaluate", segment(id));
        let call = self
            .write(Method::POST, format!("evaluate job {id}"), &path)
            .query("namespace", namespace)
            .json(&json!({ "JobID": id }));
        Ok(judge(call.send_any().await?)?.json::<EvalAnswer>()?.eval_id)
    }

    /// All deployments of a job that Nomad still has, newest first.
    pub async fn deployments(&self, namespace: &str, job: &str) -> Result<Vec<Deployment>, EngineError> {
        let path = format!("/v1/job/{}/deployments", segment(job));
        let call = self.read(format!("list deployments of job {job}"), &path).query("namespace", namespace);
        let mut found: Vec<Deployment> = call.fetch_opt::<Option<_>>().await?.flatten().unwrap_or_default();
        found.sort_by_key(|d| std::cmp::Reverse(d.create_index));
        Ok(found)
    }

    /// A deployment; `None` after garbage collection.
    pub async fn deployment(&self, id: &str) -> Result<Option<Deployment>, EngineError> {
        let path = format!("/v1/deployment/{}", segment(id));
        self.read(format!("read deployment {id}"), &path).fetch_opt().await
    }

    /// Ends a running deployment as failed: auto-revert happens where the group says so. Gives the
    /// evaluation. `Invalid` where it is over already.
    pub async fn deployment_fail(&self, id: &str) -> Result<String, EngineError> {
        let path = format!("/v1/deployment/fail/{}", segment(id));
        let call = self.write(Method::POST, format!("fail deployment {id}"), &path);
        let call = call.json(&json!({ "DeploymentID": id }));
        Ok(judge(call.send_any().await?)?.json::<EvalAnswer>()?.eval_id)
    }

    /// Promotes all canaries of a deployment; gives the evaluation.
    pub async fn deployment_promote(&self, id: &str) -> Result<String, EngineError> {
        let path = format!("/v1/deployment/promote/{}", segment(id));
        let call = self.write(Method::POST, format!("promote deployment {id}"), &path);
        let call = call.json(&json!({ "DeploymentID": id, "All": true }));
        Ok(judge(call.send_any().await?)?.json::<EvalAnswer>()?.eval_id)
    }
}
