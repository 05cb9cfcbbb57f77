//! Nomad's HTTP API: jobs as canonical JSON, what became of them, logs and events.
//!
//! A job travels as the JSON that Nomad's own parse gave, whole, so that no field that we do not know is ever
//! lost. Nothing here decides, waits for a rollout, or repeats a call. Facts were tried on 1.11.1 and stand in
//! the contract suite (`tests/it/contract`).

mod agent;
mod allocs;
mod exec;
mod jobs;
mod rollout;
mod stats;
mod streams;
mod types;

pub use agent::{AclPolicy, AclToken, AgentInfo, Eligibility};
pub use exec::{ExecOutput, ExecReader, ExecWriter, Terminal};
pub use jobs::{
    Diff, JobDetail, JobPlan, JobView, Purge, Registered, Registration, Scaled, Scaling, Validation,
};
pub use stats::{CpuStats, MemoryStats, ResourceUsage};
pub use streams::{Event, EventBatch, LogFrom, LogOrigin, LogStream, Topic};
pub use types::{
    AllocDeploymentStatus, AllocMetric, AllocStub, Allocation, Deployment, DeploymentGroup, DesiredUpdates,
    Evaluation, FileInfo, JobStub, Namespace, Node, Port, TaskEvent, TaskState,
};

use reqwest::Method;
use secrecy::SecretString;

use super::http::{Call, Credential, Http, HttpOptions, Reply};
use super::{Engine, EngineError, Fault, SharedGate};

/// A client of one Nomad agent.
#[derive(Debug, Clone)]
pub struct Nomad {
    http: Http,
    region: Option<String>,
}

impl Nomad {
    /// A client of the agent at `addr` (see [`Http::new`]). Opens no connection.
    pub fn new(
        addr: &str,
        token: Option<SecretString>,
        region: Option<String>,
        options: &HttpOptions,
    ) -> Result<Self, EngineError> {
        let mut http = Http::new(Engine::Nomad, addr, options)?;
        if let Some(token) = token {
            http = http.with_token(Credential::Header("x-nomad-token"), &token)?;
        }
        Ok(Self { http, region })
    }

    /// The same client, whose writes ask `gate` first.
    #[must_use]
    pub fn with_gate(mut self, gate: SharedGate) -> Self {
        self.http = self.http.with_gate(gate);
        self
    }

    /// The same client, whose calls wait behind nobody's: for the agent's session and its own few watches alone.
    #[must_use]
    pub fn aside(mut self) -> Self {
        self.http = self.http.aside();
        self
    }

    fn read(&self, doing: impl Into<String>, path: &str) -> Call<'_> {
        self.http.read(doing, path).query_opt("region", self.region.as_deref())
    }

    fn ask(&self, doing: impl Into<String>, path: &str) -> Call<'_> {
        self.http.ask(Method::POST, doing, path).query_opt("region", self.region.as_deref())
    }

    fn write(&self, method: Method, doing: impl Into<String>, path: &str) -> Call<'_> {
        self.http.write(method, doing, path).query_opt("region", self.region.as_deref())
    }
}

/// What many writes answer with.
#[derive(serde::Deserialize)]
struct EvalAnswer {
    /// "" where no evaluation was needed; without it the answer is not Nomad's.
    #[serde(rename = "EvalID", deserialize_with = "types::or_default")]
    eval_id: String,
}

/// Nomad answers 500 to much that is the caller's fault; its words tell the cases apart. What is not known
/// stays `Broken`, so that a passing trouble of Nomad's is never taken for a wrong job.
fn judge(reply: Reply) -> Result<Reply, EngineError> {
    if reply.status.is_success() {
        return Ok(reply);
    }
    let mut error = reply.refusal();
    let words = String::from_utf8_lossy(&reply.body);
    if reply.status.as_u16() == 500 {
        error.fault = fault_of_words(&words);
    } else if words.contains("blocked due to active deployment") {
        // A scale beside a rollout: 400, yet nothing is wrong with it but the time.
        error.fault = Fault::Conflict;
    }
    Err(error)
}

fn fault_of_words(body: &str) -> Fault {
    const PASSING: [&str; 6] = [
        "No cluster leader",
        "rpc error: EOF",
        "connection refused",
        "i/o timeout",
        "leadership lost",
        "raft",
    ];
    const INVALID: [&str; 14] = [
        "error occurred:",
        "errors occurred:",
        "invalid",
        "Invalid",
        "missing job",
        "mismatched request namespace",
        "nonexistent namespace",
        "can't be submitted",
        "cannot update",
        "can't revert",
        "can't evaluate",
        "can't promote",
        "can't fail terminal deployment",
        "Failed to parse",
    ];
    let has = |words: &[&str]| words.iter().any(|w| body.contains(w));
    if body.contains("Enforcing job modify index") || body.contains("enforcing version") {
        Fault::Conflict
    } else if has(&PASSING) {
        Fault::Broken
    } else if body.contains("Permission denied") {
        Fault::Denied
    } else if has(&INVALID) {
        Fault::Invalid
    } else if body.contains("not found") {
        Fault::NotFound
    } else {
        Fault::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_500_tell_the_cases_apart() {
        let cases = [
            (
                "Enforcing job modify index 7: job exists with conflicting job modify index: 9",
                Fault::Conflict,
            ),
            ("1 error occurred:\n\t* Missing job datacenters\n\n", Fault::Invalid),
            ("job \"x\" is in nonexistent namespace \"y\"", Fault::Invalid),
            ("No cluster leader", Fault::Broken),
            ("rpc error: Permission denied", Fault::Denied),
            ("job not found", Fault::NotFound),
            ("something never seen", Fault::Broken),
        ];
        for (body, fault) in cases {
            assert_eq!(fault_of_words(body), fault, "{body}");
        }
    }
}
