//! An app's releases: a chain of objects in Garage that begins at the head.

use super::{Deployer, Error};
use crate::model::head::ReleaseRef;
use crate::model::{Head, Placement, Release, ReleaseNumber};

/// The most releases that are listed.
const LISTED: usize = 100;

impl Deployer {
    /// An app's releases, newest first; those that served.
    pub async fn releases(&self, app: &Placement) -> Result<Vec<Release>, Error> {
        let head = self.head(app).await?.value;
        let mut found = Vec::new();
        let mut next = head.release.map(|r| r.object);
        while let Some(object) = next.take()
            && found.len() < LISTED
        {
            let release: Release = self.runner.store().objects().get_json(&object).await?;
            next = release.previous.as_ref().map(|(_, o)| o.clone());
            found.push(release);
        }
        Ok(found)
    }

    /// The release that runs (or ran last).
    pub(super) async fn current(&self, head: &Head) -> Result<Option<Release>, Error> {
        match &head.release {
            Some(ReleaseRef { object, .. }) => {
                Ok(Some(self.runner.store().objects().get_json(object).await?))
            }
            None => Ok(None),
        }
    }

    /// The release to go back to: the one named, or the one before the current one.
    pub(super) async fn find_release(
        &self,
        head: &Head,
        to: Option<ReleaseNumber>,
    ) -> Result<Release, Error> {
        let app = &head.app;
        let mut next = match (&head.release, to) {
            (None, _) => return Err(Error::NotFound(format!("{app} has no release yet"))),
            (Some(r), Some(_)) => Some((r.number, r.object.clone())),
            (Some(r), None) => {
                let current: Release = self.runner.store().objects().get_json(&r.object).await?;
                if current.previous.is_none() {
                    return Err(Error::NotFound(format!(
                        "{app} has only one release; there is none before it"
                    )));
                }
                current.previous
            }
        };
        while let Some((number, object)) = next {
            match to {
                // Numbers only fall from here on.
                Some(wanted) if number < wanted => break,
                Some(wanted) if number > wanted => {
                    let release: Release = self.runner.store().objects().get_json(&object).await?;
                    next = release.previous;
                }
                _ => return Ok(self.runner.store().objects().get_json(&object).await?),
            }
        }
        let wanted = to.map_or_else(String::new, |n| n.to_string());
        Err(Error::NotFound(format!("{app} has no release {wanted} that served; see terreau releases {app}")))
    }
}
