//! Commands that run once and that nobody waits for any more: of apps that are deleted, of agents that are gone, and those
//! whose time is over.
//!
//! Must never end one whose agent lives and waits for it, before its time.

use std::collections::BTreeSet;

use super::one_off::is_run;
use super::{Deployer, Error};
use crate::engines::EngineError;
use crate::engines::nomad::{JobDetail, JobStub, Purge};
use crate::model::head::AppState;
use crate::model::{Head, Placement, Uid};
use crate::render::{AGENT_META, UNTIL_META};
use crate::store::{Versioned, keys};

/// How long a run that has ended may lie there before the leader purges it: its agent does so at once, and the keeper
/// of logs has copied what it wrote.
const LEFT: jiff::SignedDuration = jiff::SignedDuration::from_mins(2);

/// What becomes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It goes on, or has just ended.
    Goes,
    /// Its time is over.
    Ends,
    /// Nobody waits for it any more.
    Purged,
}

impl Deployer {
    /// Takes away whatever runs of an app that is being deleted. What is left goes with the leader's next look.
    pub(super) async fn purge_runs_of(&self, app: &Placement, uid: &Uid) {
        let purged = async {
            for job in self.run_jobs(app, uid).await? {
                self.deregister_run(&job.namespace, &job.id, Purge::Purge).await?;
            }
            Ok::<_, EngineError>(())
        };
        if let Err(e) = purged.await {
            tracing::warn!(%app, error = %e, "the runs of a deleted app are left to the leader");
        }
    }

    /// Purges runs that nobody will, and ends those whose time is over: for a timer of the leader. Gives their number.
    pub async fn purge_runs(&self) -> Result<usize, Error> {
        let nomad = &self.runner.hands().nomad;
        let (mut jobs, _) = nomad.jobs_at("*", "", JobDetail::Meta).await?;
        jobs.retain(is_run);
        if jobs.is_empty() {
            return Ok(0);
        }
        let living = self.living().await?;
        let mut purged = 0;
        for job in jobs {
            match self.fate_of_run(&job, living.as_ref()).await? {
                Fate::Goes => {}
                Fate::Ends => self.deregister_run(&job.namespace, &job.id, Purge::Keep).await?,
                Fate::Purged => {
                    self.deregister_run(&job.namespace, &job.id, Purge::Purge).await?;
                    purged += 1;
                }
            }
        }
        Ok(purged)
    }

    /// The identities of the apps that there are; `None` where a head cannot be read, which may be of any.
    async fn living(&self) -> Result<Option<BTreeSet<String>>, EngineError> {
        let heads = self.runner.store().each_head().await?;
        let uid = |head: Result<Versioned<Head>, EngineError>| head.ok().map(|h| h.value);
        let heads: Option<Vec<Head>> = heads.into_iter().map(|(_, head)| uid(head)).collect();
        let living = |h: Head| (h.state != AppState::Deleted).then(|| h.uid.to_string());
        Ok(heads.map(|heads| heads.into_iter().filter_map(living).collect()))
    }

    async fn fate_of_run(&self, job: &JobStub, living: Option<&BTreeSet<String>>) -> Result<Fate, Error> {
        let is_orphan =
            living.is_some_and(|l| job.meta.get("terreau").is_some_and(|uid| !l.contains(uid.as_str())));
        if is_orphan {
            return Ok(Fate::Purged);
        }
        if job.status == "dead" {
            let is_over = self.is_long_over(&job.namespace, &job.id).await?;
            return Ok(if is_over { Fate::Purged } else { Fate::Goes });
        }
        if let Some(Ok(agent)) = job.meta.get(AGENT_META).map(|a| Uid::new(a.as_str())) {
            let record = self.runner.store().consul().kv_get(&keys::agent(&agent)).await?;
            if record.is_none_or(|r| r.session.is_none()) {
                return Ok(Fate::Purged);
            }
        }
        let until = job.meta.get(UNTIL_META).and_then(|at| at.parse::<jiff::Timestamp>().ok());
        Ok(if until.is_some_and(|at| at < self.runner.now()) { Fate::Ends } else { Fate::Goes })
    }

    async fn is_long_over(&self, namespace: &str, job: &str) -> Result<bool, EngineError> {
        let all = self.runner.hands().nomad.allocations(namespace, job).await?;
        let last = all.iter().map(super::logs::ended).max();
        Ok(last.is_none_or(|at| self.runner.now().duration_since(at) > LEFT))
    }
}
