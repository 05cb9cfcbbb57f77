//! What the engines really do: each fact that the design leans on, tried on the real engine, so that a version
//! that behaves otherwise is found here and not by a user.
//!
//! All tests share one stack; each works on names of its own. Slow facts are ignored unless asked for
//! (`scripts/test --full`).

mod clients;
mod consul_kv;
mod consul_locks;
mod consul_services;
mod nomad_artifacts;
mod nomad_changes;
mod nomad_exec;
mod nomad_index;
mod nomad_rollouts;
mod nomad_slow;
mod nomad_streams;
mod nomad_tasks;

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use terreau::engines::EngineError;
use terreau::engines::consul::Consul;
use terreau::engines::http::HttpOptions;
use terreau::engines::nomad::{Allocation, LogFrom, LogStream, Nomad, Purge, Registered, Registration};

use crate::harness::{self, eventually, unique};

/// Long enough for a machine that runs other tests beside.
pub const SOON: Duration = Duration::from_secs(40);

/// Clients of the shared stack, made anew for each test: a connection belongs to the runtime that opened it.
pub struct Lab {
    pub nomad: Nomad,
    pub consul: Consul,
    pub nomad_addr: String,
    pub consul_addr: String,
    /// For what our clients refuse to send.
    pub raw: reqwest::Client,
}

impl Lab {
    pub async fn open() -> Self {
        let stack = harness::shared().await;
        Self::at(&stack.nomad(), &stack.consul())
    }

    /// True on Nomad 1.7, the oldest that the suite runs on. Facts that differ there were tried on 1.7.7 and 1.11.1;
    /// which release between them changed each is not known.
    pub async fn is_oldest(&self) -> bool {
        let asked = self.raw.get(format!("{}/v1/agent/self", self.nomad_addr)).send().await.unwrap();
        let about: Value = asked.json().await.unwrap();
        let version = about["config"]["Version"]["Version"].as_str().unwrap_or_else(|| panic!("{about}"));
        version.starts_with("1.7.")
    }

    pub fn at(nomad: &str, consul: &str) -> Self {
        let options = HttpOptions::default();
        Self {
            nomad: Nomad::new(nomad, None, None, &options).unwrap(),
            consul: Consul::new(consul, None, &options).unwrap(),
            nomad_addr: nomad.into(),
            consul_addr: consul.into(),
            raw: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// Parses and registers.
    pub async fn run(&self, hcl: &str) -> Result<Registered, EngineError> {
        let job = self.nomad.parse_hcl(hcl).await?;
        self.register(job).await
    }

    pub async fn register(&self, job: Value) -> Result<Registered, EngineError> {
        self.nomad.register(&Registration { job, enforce_index: None, submission_hcl: None }).await
    }

    pub async fn job(&self, id: &str) -> Value {
        self.nomad.job("default", id).await.unwrap().unwrap()
    }

    /// Waits for the newest instance to satisfy `is`.
    pub async fn instance(&self, job: &str, what: &str, is: impl Fn(&Allocation) -> bool) -> Allocation {
        eventually(&format!("{job}: {what}"), SOON, async || {
            self.nomad.allocations("default", job).await.unwrap().into_iter().find(|a| is(a))
        })
        .await
    }

    pub async fn running(&self, job: &str) -> Allocation {
        self.instance(job, "runs", |a| a.client_status == "running" && a.desired_status == "run").await
    }

    pub async fn failed(&self, job: &str) -> Allocation {
        self.instance(job, "fails", |a| a.client_status == "failed").await
    }

    pub async fn complete(&self, job: &str) -> Allocation {
        self.instance(job, "completes", |a| matches!(a.client_status.as_str(), "complete" | "failed")).await
    }

    /// All that a task printed so far.
    pub async fn output(&self, alloc: &str, task: &str) -> Vec<u8> {
        let mut stream = self.nomad.logs(alloc, task, LogStream::Stdout, LogFrom::ALL).await.unwrap();
        let mut all = Vec::new();
        while let Some(chunk) = stream.next().await {
            all.extend_from_slice(&chunk.unwrap());
        }
        all
    }

    /// Runs a job to its end and gives what its task `main` printed.
    pub async fn printed(&self, hcl: &str, job: &str) -> String {
        self.run(hcl).await.unwrap();
        let alloc = self.complete(job).await;
        let text = self.output(&alloc.id, "main").await;
        self.stop(job).await;
        String::from_utf8(text).unwrap()
    }

    /// What is known of a task's events, as one text.
    pub fn events_of(alloc: &Allocation) -> String {
        let events = alloc.task_states.values().flat_map(|s| &s.events);
        events.map(|e| format!("{}: {}", e.kind, e.display_message)).collect::<Vec<_>>().join("\n")
    }

    pub async fn stop(&self, job: &str) {
        self.nomad.deregister("default", job, Purge::Purge).await.unwrap();
    }
}

/// A service that only sleeps; healthy as soon as it runs. `extra` goes into the group.
pub fn sleeper(id: &str, count: u32, extra: &str) -> String {
    format!(
        r#"job "{id}" {{
  type = "service"
  group "main" {{
    count = {count}
    restart {{
      attempts = 0
      mode = "fail"
    }}
    reschedule {{
      attempts  = 0
      unlimited = false
    }}
    update {{
      health_check     = "task_states"
      min_healthy_time = "0s"
      healthy_deadline = "20s"
      progress_deadline = "30s"
    }}
    {extra}
    task "main" {{
      driver = "raw_exec"
      config {{
        command = "/bin/sleep"
        args    = ["100000"]
      }}
      resources {{
        cpu    = 10
        memory = 10
      }}
    }}
  }}
}}"#
    )
}

/// A batch job that runs one shell script and never again. `extra` goes into the task.
pub fn script(id: &str, script: &str, extra: &str) -> String {
    format!(
        r#"job "{id}" {{
  type = "batch"
  group "main" {{
    restart {{
      attempts = 0
      mode = "fail"
    }}
    reschedule {{
      attempts  = 0
      unlimited = false
    }}
    task "main" {{
      driver = "raw_exec"
      config {{
        command = "/bin/sh"
        args    = ["-c", {}]
      }}
      {extra}
      resources {{
        cpu    = 10
        memory = 10
      }}
    }}
  }}
}}"#,
        hcl::format::to_string(&hcl::Value::from(script)).unwrap()
    )
}

/// A job that makes no evaluation: registering it costs one raft write.
pub fn inert(id: &str, count: u32) -> String {
    sleeper(id, count, "").replace("type = \"service\"", "type = \"batch\"\n  parameterized {}").replace(
        "update {\n      health_check     = \"task_states\"\n      min_healthy_time = \"0s\"\n      healthy_deadline = \"20s\"\n      progress_deadline = \"30s\"\n    }",
        "",
    )
}

/// A name of a job or key for one test.
pub fn name(prefix: &str) -> String {
    unique(&format!("contract-{prefix}"))
}
