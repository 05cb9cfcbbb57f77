//! A command that runs once, with all that a process of the app's release has: a batch job of its own name, made
//! create-only, purged when its end is known.
//!
//! It is no part of the app: no head, no release, no route knows it. What an agent leaves behind by its own end, the
//! leader purges ([`Deployer::purge_runs`]): runs without a living agent that waits for them, and those that ended.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::logs::{JobLogs, LogQuery, LogStreamName, Tail};
use super::{Deployer, Error, is_missing, no_part};
use crate::engines::EngineError;
use crate::engines::nomad::{AllocStub, Evaluation, JobDetail, JobStub, Purge, Registration};
use crate::model::wire::{RunBegin, RunState, RunView, Started};
use crate::model::{Placement, Uid};
use crate::operation::points;
use crate::render::{
    AGENT_META, BEGUN_META, BY_META, OneOff, PROCESS_META, PROGRAM_META, RUN_META, UNTIL_META, one_off,
    render, run_job,
};
use crate::resources::judge::placement;
use crate::store::records::By;

/// How many commands of one app may run at once.
const MOST: usize = 10;
/// How long one may run where nobody says otherwise, and the most that may be said.
const TIME: (u32, u32) = (86_400, 7 * 86_400);

/// A command that was begun.
#[derive(Debug, Clone)]
pub struct Run {
    name: String,
    pub(super) uid: Uid,
    pub(super) process: String,
    pub(super) logs: JobLogs,
    evaluation: String,
    time: Duration,
}

/// What a run says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutput {
    /// It printed this.
    Stdout(Bytes),
    /// It complained.
    Stderr(Bytes),
    /// It has ended: its exit code. Last.
    Exited(i32),
}

impl Run {
    /// How long it may run.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// As it is told to people and programs.
    pub fn started(&self) -> Started {
        let instance = format!("{}-run.{}", self.process, self.name);
        Started { instance, alloc: String::new(), run: Some(self.name.clone()), is_folder: false }
    }
}

impl Deployer {
    /// Begins a command. The audit log hears of the program's name, never of its arguments.
    pub async fn run_once(&self, by: &By, app: &Placement, what: &RunBegin) -> Result<Run, Error> {
        let program = super::program::program(&what.command)?;
        if what.input && what.detach {
            return Err(Error::Invalid("a detached run has nobody who could feed it".to_owned()));
        }
        let head = self.head(app).await?.value;
        let release = self.current(&head).await?;
        let release =
            release.ok_or_else(|| Error::NotFound(format!("{app} has no release that could be run")))?;
        let checked = crate::descriptor::check("terreau.hcl", &release.descriptor);
        let project = checked.project.ok_or(Error::Descriptor(checked.faults))?;
        let desired = render(&project, app, &release.bindings);
        let desired = desired.map_err(|e| Error::Invalid(format!("its release cannot be rendered: {e}")))?;
        let job = desired.job.ok_or_else(|| {
            Error::Invalid(format!(
                "{app} is a static site: it has no process whose environment a program could run with"
            ))
        })?;
        let first = project.processes.first().map(|p| p.name.to_string());
        let process = what.process.clone().or(first).unwrap_or_default();
        let name = hex::encode(rand::random::<[u8; 4]>());
        let agent = self.runner.agent().to_string();
        let waits = (!what.detach).then_some(agent.as_str());
        let seconds = what.timeout_seconds.unwrap_or(TIME.0).clamp(1, TIME.1);
        let (time, now) = (Duration::from_secs(u64::from(seconds)), self.runner.now());
        let until = now.checked_add(time).unwrap_or(now);
        let notes = [
            (BY_META, by.login.clone()),
            (BEGUN_META, now.to_string()),
            (UNTIL_META, until.to_string()),
            (PROCESS_META, process.clone()),
            (PROGRAM_META, program.to_owned()),
        ];
        let one = OneOff {
            process: &process,
            run: &name,
            agent: waits,
            words: &what.command,
            reads: what.input,
            notes: &notes,
        };
        let job = one_off(&job.json, &one).ok_or_else(|| {
            let all: Vec<&str> = project.processes.iter().map(|p| p.name.as_str()).collect();
            no_part(app, "process", &process, &all)
        })?;
        let there = self.run_jobs(app, &head.uid).await?;
        if there.iter().filter(|j| j.status != "dead").count() >= MOST {
            return Err(Error::Refused {
                why: format!("{MOST} commands of {app} are running already, the most at once"),
                hint: format!(
                    "see them with `terreau ps {app}`; end one with `terreau stop {app} --run NAME`"
                ),
            });
        }
        let told = format!("{program} as run {name}, with what {process} has");
        self.runner.tell(by, (app, &head.uid), "run", told).await?;
        tracing::info!(login = by.login, %app, run = name, program, "run");
        let lease = self.runner.session().lease().ok_or_else(|| Error::Unready("no session".to_owned()))?;
        let nomad = self.runner.hands().nomad.clone().with_gate(lease.gate());
        points::pass("run.job.before");
        // Create-only, under a name that nobody else has: no lock is needed.
        let wanted = Registration { job, enforce_index: Some(0), submission_hcl: None };
        let registered = nomad.register(&wanted).await;
        points::pass("run.job.after");
        let logs = JobLogs {
            namespace: app.namespace().to_owned(),
            job: run_job(&app.flat(), &name),
            uid: head.uid.clone(),
        };
        let uid = head.uid;
        match registered {
            Ok(registered) => Ok(Run { name, uid, process, logs, evaluation: registered.eval_id, time }),
            Err(e) => {
                // Its answer may have been lost after the effect, and nobody waits for it any more.
                let lost = Run { name, uid, process, logs, evaluation: String::new(), time };
                let deployer = self.clone();
                tokio::spawn(async move { deployer.purge_run(&lost).await });
                Err(e.into())
            }
        }
    }

    /// What a run writes until it ends, and how it ended.
    pub async fn run_output(&self, run: &Run) -> Result<BoxStream<'static, Result<RunOutput, Error>>, Error> {
        let alloc = self.placed(run).await?;
        let mut both = Vec::new();
        for stream in [LogStreamName::Stdout, LogStreamName::Stderr] {
            let query = LogQuery {
                follow: true,
                alloc: Some(alloc.clone()),
                stream: Some(stream),
                ..LogQuery::default()
            };
            let tail = Tail::open(self.runner.clone(), run.logs.clone(), query).await?;
            let of = if stream == LogStreamName::Stdout { RunOutput::Stdout } else { RunOutput::Stderr };
            both.extend(tail.map(|t| t.chunks().map(move |b| b.map(of).map_err(Error::from)).boxed()));
        }
        // Both logs end with the instance.
        let (deployer, run) = (self.clone(), run.clone());
        let end =
            futures::stream::once(
                async move { deployer.exit_code(&run, &alloc).await.map(RunOutput::Exited) },
            );
        Ok(futures::stream::select_all(both).chain(end).boxed())
    }

    /// Its instance, once it is placed; why there is no room, otherwise.
    pub(super) async fn placed(&self, run: &Run) -> Result<String, Error> {
        let nomad = &self.runner.hands().nomad;
        let mut changes = self.runner.hands().world.subscribe().await;
        loop {
            let all = nomad.allocations(&run.logs.namespace, &run.logs.job).await?;
            if let Some(first) = all.first() {
                return Ok(first.id.clone());
            }
            if let Some(done) = nomad.evaluation(&run.evaluation).await?.filter(Evaluation::is_settled) {
                let why: Vec<String> =
                    done.failed_tg_allocs.iter().flat_map(|(group, m)| placement(group, m)).collect();
                if !why.is_empty() {
                    return Err(Error::Unreachable(format!("there is no room for it: {}", why.join("; "))));
                }
            }
            let news = changes.changed(&run.logs.namespace, &run.logs.job);
            // A stream that is being opened again tells nothing meanwhile.
            let _ = tokio::time::timeout(Duration::from_secs(1), news).await;
        }
    }

    async fn exit_code(&self, run: &Run, alloc: &str) -> Result<i32, Error> {
        let gone =
            || Error::NotFound(format!("nobody knows how run {} ended: nomad has forgotten it", run.name));
        let a = self.runner.hands().nomad.allocation(alloc).await?.ok_or_else(gone)?;
        exit_of(&a, &run.process).map_err(Error::Unreachable)
    }

    /// Asks a run to end. What it still writes comes, then its exit code.
    pub async fn stop_run(&self, run: &Run) -> Result<(), Error> {
        self.deregister_run(&run.logs.namespace, &run.logs.job, Purge::Keep).await.map_err(Into::into)
    }

    /// Takes a run away, whether it runs or not.
    pub async fn purge_run(&self, run: &Run) {
        points::pass("run.purge.before");
        if let Err(e) = self.deregister_run(&run.logs.namespace, &run.logs.job, Purge::Purge).await {
            tracing::warn!(run = run.name, error = %e, "a run is left to the leader");
        }
        points::pass("run.purge.after");
    }

    pub(super) async fn deregister_run(
        &self,
        namespace: &str,
        job: &str,
        purge: Purge,
    ) -> Result<(), EngineError> {
        let Some(lease) = self.runner.session().lease() else { return Ok(()) };
        let nomad = self.runner.hands().nomad.clone().with_gate(lease.gate());
        match nomad.deregister(namespace, job, purge).await {
            Err(e) if !is_missing(&e) => Err(e),
            _ => Ok(()),
        }
    }

    /// The jobs of an app's runs, oldest first.
    pub(super) async fn run_jobs(&self, app: &Placement, uid: &Uid) -> Result<Vec<JobStub>, EngineError> {
        let prefix = run_job(&app.flat(), "");
        let nomad = &self.runner.hands().nomad;
        let mut jobs = nomad.jobs(app.namespace(), &prefix, JobDetail::Meta).await?;
        // Another app's name may begin so.
        jobs.retain(|j| is_run(j) && j.meta.get("terreau").is_some_and(|u| u == uid.as_str()));
        jobs.sort_by_key(|j| j.create_index);
        Ok(jobs)
    }

    /// The commands of an app that Nomad knows of, oldest first.
    pub async fn runs(&self, app: &Placement) -> Result<Vec<RunView>, Error> {
        let head = self.head(app).await?.value;
        Ok(self.run_jobs(app, &head.uid).await?.iter().map(view).collect())
    }

    /// Asks a command of this name to end, whoever began it; one line on it for people. What it still writes is kept.
    pub async fn stop_named_run(&self, by: &By, app: &Placement, name: &str) -> Result<String, Error> {
        let head = self.head(app).await?.value;
        let found = self.run_jobs(app, &head.uid).await?;
        let Some(job) = found.into_iter().find(|j| j.meta.get(RUN_META).is_some_and(|n| n == name)) else {
            return Err(Error::NotFound(format!("{app} has no run {name}; see `terreau ps {app}`")));
        };
        if job.status == "dead" {
            return Ok(format!("run {name} has ended already"));
        }
        self.runner.tell(by, (app, &head.uid), "run-stop", format!("run {name}")).await?;
        self.deregister_run(&job.namespace, &job.id, Purge::Keep).await?;
        Ok(format!("run {name} was asked to end"))
    }
}

pub(super) fn is_run(job: &JobStub) -> bool {
    job.meta.contains_key(RUN_META) && job.meta.contains_key("terreau")
}

fn view(job: &JobStub) -> RunView {
    let meta = |key: &str| job.meta.get(key).cloned().unwrap_or_default();
    RunView {
        name: meta(RUN_META),
        state: match job.status.as_str() {
            "dead" => RunState::Ended,
            "running" => RunState::Running,
            _ => RunState::Waiting,
        },
        process: meta(PROCESS_META),
        program: meta(PROGRAM_META),
        by: meta(BY_META),
        begun: meta(BEGUN_META),
        until: meta(UNTIL_META),
        detached: !job.meta.contains_key(AGENT_META),
    }
}

/// The exit code of a run's task: 128 and the signal's number where a signal ended it.
fn exit_of(a: &AllocStub, process: &str) -> Result<i32, String> {
    let task = a.task_states.get(process).or_else(|| a.task_states.values().next());
    let Some(task) = task else { return Err("it was never begun".to_owned()) };
    if let Some(event) = task.events.iter().rev().find(|e| e.kind == "Terminated") {
        let said: Option<i64> = event.details.get("exit_code").and_then(|c| c.parse().ok());
        let code = if event.signal > 0 { 128 + event.signal } else { said.unwrap_or(event.exit_code) };
        return Ok(i32::try_from(code).unwrap_or(1));
    }
    // It did not come so far: a driver, a file or an artifact was at fault.
    let why: Vec<&str> = task.events.iter().map(|e| e.display_message.as_str()).collect();
    Err(format!("it could not be begun: {}", why.last().copied().unwrap_or("nomad does not say why")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::nomad::{TaskEvent, TaskState};

    #[test]
    fn a_run_ends_with_the_exit_code_of_its_task() {
        let with = |exit_code, signal| {
            let mut a = AllocStub::default();
            let event = TaskEvent { kind: "Terminated".into(), exit_code, signal, ..TaskEvent::default() };
            a.task_states.insert("web".into(), TaskState { events: vec![event], ..TaskState::default() });
            exit_of(&a, "web")
        };
        assert_eq!(with(0, 0), Ok(0));
        assert_eq!(with(7, 0), Ok(7));
        assert_eq!(with(0, 9), Ok(137));
        assert!(exit_of(&AllocStub::default(), "web").is_err());
    }
}
