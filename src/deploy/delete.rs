//! The end of an app: its job and routes go, its credentials are useless at once, the rest goes with the sweep.
//!
//! Must never free a name while something that bears it may still be there.

use super::error::no_such;
use super::{Accepted, Deployer, Error, prepare, to_the_minute, versions};
use crate::model::head::{AppState, Head};
use crate::model::{Placement, Uid};
use crate::operation::{Given, Opening};
use crate::plan::{self, Data, Plan};
use crate::resources::secret;
use crate::store::Versioned;
use crate::store::records::{By, Verb};

impl Deployer {
    /// What a delete would do. Nothing is written.
    pub async fn plan_delete(&self, app: &Placement, data: Data) -> Result<Plan, Error> {
        let head = self.head(app).await?;
        Ok(plan::delete(&plan::DeleteInput { head: &head.value, data }))
    }

    /// When the app's name would be free again, if it were deleted now. Refused as the delete would be.
    pub async fn deletion(&self, app: &Placement, data: Data) -> Result<jiff::Timestamp, Error> {
        self.deletable(app, data).await?;
        Ok(self.runner.free_at())
    }

    /// Deletes an app: its job and routes go, its credentials are useless at once, the rest goes with the sweep.
    pub async fn delete(&self, by: &By, app: &Placement, data: Data) -> Result<Accepted, Error> {
        self.deletable(app, data).await?;
        let lock = self.runner.lock(app, by, Verb::Delete).await?;
        match self.delete_opening(by, app, data).await {
            Ok(opening) => {
                let (uid, of) = (opening.head.value.uid.clone(), app.clone());
                let operation = Box::pin(self.runner.open(lock, opening)).await?;
                let deployer = self.clone();
                tokio::spawn(async move { deployer.purge_runs_of(&of, &uid).await });
                Ok(Accepted::Operation(operation))
            }
            Err(e) => {
                self.give_back(lock).await;
                Err(e)
            }
        }
    }

    async fn deletable(&self, app: &Placement, data: Data) -> Result<Versioned<Head>, Error> {
        let head = self.runner.store().head(app).await?.ok_or_else(|| no_such(app))?;
        if head.value.state == AppState::Deleted && (data == Data::Kept || head.value.owned.is_empty()) {
            return Err(match self.free_at(&head.value.uid).await? {
                Some(at) => Error::NotFound(format!("{app} is deleted already; its name is free at {at}")),
                None => no_such(app),
            });
        }
        Ok(head)
    }

    async fn delete_opening(&self, by: &By, app: &Placement, data: Data) -> Result<Opening, Error> {
        let head = self.deletable(app, data).await?;
        prepare::unfinished(&head.value)?;
        let mut plan = plan::delete(&plan::DeleteInput { head: &head.value, data });
        let existing = secret::versions(&self.runner.hands().consul, app).await?;
        versions::mark(&mut plan.after.doomed, &head.value, &existing);
        Ok(Opening { head, plan, verb: Verb::Delete, by: by.clone(), given: Given::default() })
    }

    /// When the names of a deleted app are free (UTC, to the minute); `None`: now.
    pub(super) async fn free_at(&self, uid: &Uid) -> Result<Option<String>, Error> {
        let doomed = self.runner.store().doomed().await?;
        let last = doomed.into_iter().filter(|d| d.value.uid == *uid).map(|d| d.value.not_before).max();
        Ok(last.map(|at| to_the_minute(&at)))
    }
}
