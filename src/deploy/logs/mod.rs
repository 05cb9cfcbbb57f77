//! Logs: what living, previous and crashed instances wrote, byte for byte, in order within each of them.
//!
//! Nomad keeps no times: between instances the order is that of their beginnings, and of the times that lines bear
//! themselves. Of ended instances that Nomad has forgotten, Garage keeps the last words ([`Keeper`]).

mod files;
mod keeper;
mod lines;
mod tail;

use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;

use super::error::not_of_a_site;
use super::{Deployer, Error, no_part};
use crate::engines::EngineError;
use crate::model::head::Wanted;
use crate::model::{Placement, ProcessName};
use crate::render::{is_run_of, run_job};

pub use files::LogStreamName;
pub use keeper::Keeper;
pub(super) use tail::{JobLogs, Tail, ended};

/// Which part of which logs.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Go on as the app writes, and with instances that begin later.
    pub follow: bool,
    /// The last so many lines of each source.
    pub tail: Option<usize>,
    /// Only instances that lived after this, and lines that bear no earlier time. Where instances are left out by time alone, no
    /// line is told.
    pub since: Option<Timestamp>,
    /// Only instances that began before this, and lines that bear no later time.
    pub until: Option<Timestamp>,
    /// Only lines that match: a regular expression.
    pub grep: Option<String>,
    /// Only this process.
    pub process: Option<String>,
    /// Only this instance (a prefix of its id).
    pub alloc: Option<String>,
    /// Standard output, standard error, or both (`None`).
    pub stream: Option<LogStreamName>,
    /// Instances that have ended, instead of those that live.
    pub previous: bool,
    /// Of a one-off command of this name, instead of the app's own instances.
    pub run: Option<String>,
    /// How it is told.
    pub form: LogForm,
}

/// How logs are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogForm {
    /// The bytes alone.
    #[default]
    Raw,
    /// A JSON object for each line ([`crate::model::wire::LogLine`]).
    Lines,
}

/// Logs as they come.
pub type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, EngineError>> + Send>>;

impl Deployer {
    /// The logs that a query means. What is told next is read when the reader has taken what was told before: a slow
    /// reader holds one piece in memory and no connection to an engine.
    pub async fn logs(&self, app: &Placement, query: LogQuery) -> Result<Chunks, Error> {
        let head = self.head(app).await?;
        let what = if query.previous { "ended " } else { "" };
        let mut query = query;
        let mut job =
            JobLogs { namespace: app.namespace().to_owned(), job: app.flat(), uid: head.value.uid.clone() };
        if let Some(run) = &query.run {
            job.job = run_job(&job.job, run);
            let found = self.runner.hands().nomad.job(&job.namespace, &job.job).await?;
            if found.is_some_and(|found| !is_run_of(&found, job.uid.as_str())) {
                return Err(Error::NotFound(format!("{app} has no run {run}")));
            }
            if query.alloc.is_none() {
                // All that there is of it, whether it goes on or not.
                let all = self.runner.hands().nomad.allocations(&job.namespace, &job.job).await?;
                query.alloc = all.first().map(|a| a.id.clone());
                query.previous = query.alloc.is_none();
            }
        }
        let (process, is_present) = (query.process.clone(), !query.previous && query.run.is_none());
        let alloc = query.alloc.clone().filter(|_| query.run.is_none());
        let tail = Tail::open(self.runner.clone(), job, query).await?;
        if let Some(tail) = tail {
            return Ok(tail.chunks());
        }
        not_of_a_site(&head.value, "no process of it writes any log")?;
        let known: Vec<&str> = head.value.processes.keys().map(ProcessName::as_str).collect();
        if let Some(process) = process.filter(|p| !known.is_empty() && !known.contains(&p.as_str())) {
            return Err(no_part(app, "process", &process, &known));
        }
        if let Some(alloc) = alloc {
            let short: String = alloc.chars().take(40).collect();
            return Err(Error::Absent {
                why: format!("{app} has no instance {short} whose logs could be read"),
                hint: format!("`terreau ps {app} --all` shows its instances"),
            });
        }
        let why = match (head.value.wanted, is_present) {
            (Wanted::Stopped, true) => format!("{app} is stopped: no instance of it runs now"),
            _ => format!("{app} has no {what}instance whose logs could be read"),
        };
        Err(if is_present {
            let hint = format!("`terreau logs {app} --previous` shows what its ended instances wrote");
            Error::Absent { why, hint }
        } else {
            Error::NotFound(why)
        })
    }
}
