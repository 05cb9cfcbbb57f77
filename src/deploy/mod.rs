//! Releases, deploy, rollback, delete, status, logs: what people do with an app.
//!
//! Reads the world, renders, plans, and hands the plan to `operation`. Who may do it was decided before.

mod audit;
pub mod config;
mod connects;
mod copy;
mod course;
mod delete;
pub mod diff;
mod doctor;
mod drift;
mod error;
mod events;
pub mod feed;
mod follow;
mod graph;
mod held;
pub mod history;
pub mod hooks;
mod instances;
pub mod leave;
mod left_runs;
mod lineage;
mod logs;
mod maintenance;
mod one_off;
mod operations;
pub mod owners;
mod prepare;
mod program;
mod reach;
mod rollback;
mod run;
mod run_input;
mod source;
mod stats;
mod status;
mod tickets;
pub mod transfer;
mod uploads;
mod versions;
mod waits;

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::model::artifact::Artifact;
use crate::model::head::AppState;
use crate::model::origin::Origin;
use crate::model::project::Owner;
use crate::model::{Placement, ReleaseNumber, SecretName, Sha256Hex, Uid};
use crate::operation::{Lock, Opening, Runner};
use crate::plan::Plan;
use crate::store::Versioned;
use crate::store::records::{By, Verb};

use error::{is_missing, no_part, no_such, obstacles};
use source::Source;

pub use crate::operation::Front;
pub use crate::plan::Data;
pub use audit::{AuditPlace, AuditQuery};
pub use drift::{DriftFigures, DriftWatch};
pub use error::Error;
pub use follow::Course;
pub use lineage::Old;
pub use logs::{Keeper, LogForm, LogQuery, LogStreamName};
pub use maintenance::Maintained;
pub use one_off::{Run, RunOutput};
pub use operations::{Line, Listed};
pub use program::{Program, ProgramOutput};
pub use reach::Reached;
pub use rollback::{Back, Ill};
pub use run::{Change, Changed};
pub use run_input::Fed;
pub use status::Ended;

/// What a deploy is asked with.
#[derive(Debug, Default)]
pub struct DeployInput {
    /// `terreau.hcl`, as it is.
    pub descriptor: String,
    /// What was built and uploaded.
    pub artifact: Option<Artifact>,
    /// The capability that the upload of a first deploy was given.
    pub ticket: Option<String>,
    /// The token of a reviewed plan.
    pub token: Option<Sha256Hex>,
    /// Why, in the person's words.
    pub message: Option<String>,
    /// The commit that its folder was at.
    pub origin: Option<Origin>,
    /// Values of `user` secrets.
    pub secrets: BTreeMap<SecretName, SecretString>,
}

/// What came of asking for a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// An operation runs.
    Operation(Uid),
    /// There is nothing to do; this release runs.
    Unchanged(ReleaseNumber),
}

/// The use cases of apps. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deployer {
    runner: Runner,
    ticket_key: tickets::TicketKey,
    room: uploads::Room,
    courier: hooks::Courier,
    pages: maintenance::Pages,
    connects: connects::Connects,
}

impl Deployer {
    /// Use cases on this runner.
    pub fn new(runner: Runner) -> Self {
        Self {
            runner,
            ticket_key: tickets::TicketKey::default(),
            room: uploads::Room::default(),
            courier: hooks::Courier::default(),
            pages: maintenance::Pages::default(),
            connects: connects::Connects::default(),
        }
    }

    /// The runner underneath.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// An app's owners; `None` where there is no such app.
    pub async fn owners(&self, app: &Placement) -> Result<Option<Vec<Owner>>, Error> {
        Ok(self.runner.store().head(app).await?.map(|h| h.value.owners))
    }

    /// What a deploy would do. Nothing is written. While somebody changes the app there is nothing to be said of it.
    pub async fn plan(&self, by: &By, app: &Placement, input: &DeployInput) -> Result<Plan, Error> {
        let source = Source::from_input(app, input)?;
        if let Some(holder) = self.runner.store().holder(app).await? {
            return Err(Error::Held { app: app.clone(), holder: Box::new(holder) });
        }
        Ok(self.prepare(by, app, &source, prepare::DryRuns::Wanted).await?.plan)
    }

    /// Deploys. Gives an operation's id at once; nothing has happened where it gives an error.
    pub async fn deploy(&self, by: &By, app: &Placement, input: &DeployInput) -> Result<Accepted, Error> {
        let source = Source::from_input(app, input)?;
        if let Some(artifact) = &source.artifact
            && !source.given.is_empty()
        {
            // Before the lock: it may take a while.
            let head = self.any_head(app).await?;
            let capability = self.capability(by, app, head.as_ref(), source.ticket.as_deref()).await?;
            Box::pin(self.look_for_given(&capability, artifact, &source.given)).await?;
        }
        self.release(by, app, &source, Verb::Deploy).await
    }

    async fn release(
        &self,
        by: &By,
        app: &Placement,
        source: &Source,
        verb: Verb,
    ) -> Result<Accepted, Error> {
        let lock = self.runner.lock(app, by, verb).await?;
        let opening = Box::pin(self.prepare_opening(by, app, source, verb, lock.operation())).await;
        self.opened(lock, opening).await
    }

    /// Begins an operation, or gives its lock back.
    async fn opened(
        &self,
        lock: Lock,
        opening: Result<Result<Opening, ReleaseNumber>, Error>,
    ) -> Result<Accepted, Error> {
        match opening {
            Ok(Ok(opening)) => Ok(Accepted::Operation(Box::pin(self.runner.open(lock, opening)).await?)),
            Ok(Err(number)) => {
                self.runner.unlock(lock).await;
                Ok(Accepted::Unchanged(number))
            }
            Err(e) => {
                self.runner.unlock(lock).await;
                Err(e)
            }
        }
    }

    /// Under the lock: the plan, its checks, and the objects that the records will name.
    async fn prepare_opening(
        &self,
        by: &By,
        app: &Placement,
        source: &Source,
        verb: Verb,
        operation: &Uid,
    ) -> Result<Result<Opening, ReleaseNumber>, Error> {
        let mut made = self.prepare(by, app, source, prepare::DryRuns::Left).await?;
        made.release.operation = Some(operation.clone());
        if let Some(token) = &source.token
            && *token != made.plan.token
        {
            let why = "the world has changed since this plan was made; look at the new one, then deploy it";
            return Err(Error::Moved(why.to_owned(), Some(Box::new(made.plan))));
        }
        if !made.plan.obstacles.is_empty() {
            return Err(obstacles(made.plan.obstacles));
        }
        if let (true, Some(held)) = (made.plan.is_empty(), &made.head.value.held) {
            return Err(Error::Refused {
                why: format!(
                    "release {} has just this content, and its canaries are held",
                    held.release.number
                ),
                hint: "`terreau deploy --promote` lets them go on, `terreau deploy --revert` takes them back"
                    .to_owned(),
            });
        }
        // One that was abandoned half-way is alive again by a release, whatever it holds.
        if made.plan.is_empty()
            && made.head.value.state != AppState::Abandoned
            && let Some(release) = &made.head.value.release
        {
            return Ok(Err(release.number));
        }
        let bindings = &made.release.bindings;
        if let Some(artifact) = &bindings.artifact {
            self.check_artifact(&bindings.capability, artifact).await?;
        }
        let objects = self.runner.store().objects();
        let job = made.desired.job.as_ref();
        let json = async {
            match job {
                Some(j) => objects.put(crate::model::canonical_json(&j.json).into_bytes()).await.map(|_| ()),
                None => Ok(()),
            }
        };
        let hcl = async {
            match job {
                Some(j) => objects.put(j.hcl.clone().into_bytes()).await.map(|_| ()),
                None => Ok(()),
            }
        };
        let is_back = |r: &&crate::model::head::ReleaseRef| made.plan.release == Some(r.number);
        if let Some(same) = made.head.value.release.as_ref().filter(is_back) {
            tokio::try_join!(json, hcl)?;
            made.plan.after.release = Some(same.clone());
        } else {
            let (object, (), ()) = tokio::try_join!(objects.put_json(&made.release), json, hcl)?;
            made.plan.after.release =
                Some(crate::model::head::ReleaseRef { number: made.release.number, object });
        }
        Ok(Ok(Opening { head: made.head, plan: made.plan, verb, by: by.clone(), given: made.given }))
    }

    async fn give_back(&self, lock: Lock) {
        self.runner.unlock(lock).await;
    }

    async fn head(&self, app: &Placement) -> Result<Versioned<crate::model::Head>, Error> {
        let Some(head) = self.runner.store().head(app).await? else { return Err(no_such(app)) };
        if head.value.state != AppState::Deleted {
            return Ok(head);
        }
        Err(match self.free_at(&head.value.uid).await? {
            Some(at) => {
                Error::NotFound(format!("there is no app {app}: it was deleted; its name is free at {at}"))
            }
            None => no_such(app),
        })
    }
}

/// A time (RFC 3339) as people read it: UTC, to the second.
fn to_the_second(at: &str) -> String {
    match at.parse::<jiff::Timestamp>() {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => at.to_owned(),
    }
}

/// A time of today (RFC 3339) as people read it: UTC, to the minute.
fn to_the_minute(at: &str) -> String {
    match at.parse::<jiff::Timestamp>() {
        Ok(at) => at.strftime("%H:%M UTC").to_string(),
        Err(_) => at.to_owned(),
    }
}
