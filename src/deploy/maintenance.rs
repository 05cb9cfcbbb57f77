//! The maintenance page: visitors of an app see it in the place of the app, which runs on.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::prepare::unfinished;
use super::{Deployer, Error};
use crate::model::cluster::ProxyKind;
use crate::model::desired::Space;
use crate::model::{Head, Placement, Uid};
use crate::operation::Front;
use crate::store::records::{By, MaintenancePage, Verb};
use crate::store::{Versioned, keys};

/// The most bytes of a message, and of a page.
const MOST: (usize, usize) = (2_000, 64 << 10);
/// How long what was read of pages is believed, and the shortest time between two reads.
const FRESH: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(100));
/// How often what others change at once is tried again.
const TRIES: u32 = 5;

/// What came of asking for a page, or for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintained {
    /// Its id; `None`: there was nothing to do.
    pub id: Option<Uid>,
    /// Where the page stands, or stood.
    pub urls: Vec<String>,
    /// What visitors see from now on.
    pub front: Front,
}

/// The pages as they were read last. Visitors come in any number: Consul is asked at most ten times a second.
#[derive(Debug, Clone, Default)]
pub(super) struct Pages {
    known: Arc<Mutex<Option<Known>>>,
    /// Where this agent serves them.
    own: Option<SocketAddr>,
}

/// When they were read, and what they were.
type Known = (Instant, Arc<Vec<MaintenancePage>>);

impl Deployer {
    /// With the address at which this agent serves maintenance pages.
    #[must_use]
    pub fn with_pages(mut self, own: Option<SocketAddr>) -> Self {
        self.pages.own = own;
        self
    }

    /// Puts a page in the place of an app, or takes it away: one Consul transaction under the app's lock.
    pub async fn maintain(&self, by: &By, app: &Placement, front: &Front) -> Result<Maintained, Error> {
        if let Front::Page { message, page } = front {
            let size = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            if size(message) > MOST.0 || size(page) > MOST.1 {
                return Err(Error::TooLarge(format!(
                    "a message has at most {} bytes, a page {} KiB",
                    MOST.0,
                    MOST.1 >> 10
                )));
            }
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_maintain(by, app, front).await {
                // The leader moves doors without the app's lock.
                Err(Error::Moved(..)) if tries < TRIES => {}
                done => return done,
            }
        }
    }

    async fn try_maintain(&self, by: &By, app: &Placement, front: &Front) -> Result<Maintained, Error> {
        let lock = self.runner.lock(app, by, Verb::Maintenance).await?;
        let id = lock.operation().clone();
        let found = self.may_be_maintained(app, front).await;
        let (head, urls, agents) = match found {
            Ok((head, urls, _)) if *front == Front::App && head.value.maintenance.is_none() => {
                self.runner.unlock(lock).await;
                return Ok(Maintained { id: None, urls, front: Front::App });
            }
            Ok(found) => found,
            Err(e) => {
                self.runner.unlock(lock).await;
                return Err(e);
            }
        };
        let front = match self.or_standing(&head.value, front).await {
            Ok(front) => front,
            Err(e) => {
                self.runner.unlock(lock).await;
                return Err(e);
            }
        };
        self.runner.maintain(lock, head, by, &front, &agents).await?;
        Ok(Maintained { id: Some(id), urls, front })
    }

    /// What is asked for; a page that says nothing of its own is the one that stands there already. Under the app's lock.
    async fn or_standing(&self, head: &Head, front: &Front) -> Result<Front, Error> {
        if head.maintenance.is_none() || !matches!(front, Front::Page { message: None, page: None }) {
            return Ok(front.clone());
        }
        let standing = self.runner.store().read::<MaintenancePage>(&keys::maintenance(&head.app)).await?;
        let again = standing.map(|p| Front::Page { message: p.value.message, page: p.value.page });
        Ok(again.unwrap_or_else(|| front.clone()))
    }

    async fn may_be_maintained(
        &self,
        app: &Placement,
        front: &Front,
    ) -> Result<(Versioned<Head>, Vec<String>, BTreeSet<SocketAddr>), Error> {
        let head = self.head(app).await?;
        unfinished(&head.value)?;
        if let Some(operation) = &head.value.operation {
            let why = format!("operation {operation} is being taken over; try again in a moment");
            return Err(Error::Moved(why, None));
        }
        let cluster = &self.runner.hands().cluster;
        // With their paths, as `status` shows them, where the release can be read.
        let mut urls = match self.current(&head.value).await {
            Ok(Some(release)) => self.urls_of(&release),
            _ => Vec::new(),
        };
        if urls.is_empty() {
            urls = head.value.hosts().into_iter().map(|host| cluster.url_of(host)).collect();
        }
        let mut agents = BTreeSet::new();
        if *front != Front::App {
            if cluster.proxy != ProxyKind::Tricot {
                return Err(Error::Invalid(
                    "the proxy of this cluster is Traefik: maintenance pages are for Tricot only, so far"
                        .to_owned(),
                ));
            }
            if !head.value.names.iter().any(|n| n.space == Space::Host) {
                return Err(Error::Invalid(format!("{app} has no route at which a page could stand")));
            }
            // This one serves, also where its record waits for a new session.
            agents = self.runner.serving_pages().await?;
            agents.extend(self.pages.own);
            if agents.is_empty() {
                return Err(Error::Refused {
                    why: "no agent of this cluster serves maintenance pages".to_owned(),
                    hint: "an admin gives `maintenance.listen` an address that the proxy reaches, in the agent's \
                           settings"
                        .to_owned(),
                });
            }
        }
        Ok((head, urls, agents))
    }

    /// The page that stands at a host. `None`: at this moment there is none that this agent knows of.
    pub async fn page_at(&self, host: &str) -> Option<MaintenancePage> {
        let of =
            |pages: &[MaintenancePage]| pages.iter().find(|p| p.hosts.iter().any(|h| h == host)).cloned();
        let mut known = self.pages.known.lock().await;
        if let Some((at, pages)) = &*known {
            let found = of(pages);
            if at.elapsed() < if found.is_some() { FRESH.0 } else { FRESH.1 } {
                return found;
            }
        }
        match self.runner.store().maintenance().await {
            Ok(read) => {
                let pages: Vec<MaintenancePage> = read.into_iter().map(|p| p.value).collect();
                let found = of(&pages);
                *known = Some((Instant::now(), Arc::new(pages)));
                found
            }
            Err(e) => {
                tracing::warn!(error = %e, "maintenance pages cannot be read: the last known ones are shown");
                // Consul is left alone for a moment, too.
                let pages = known.take().map(|(_, pages)| pages).unwrap_or_default();
                let found = of(&pages);
                *known = Some((Instant::now(), pages));
                found
            }
        }
    }
}
