//! Maintenance pages: a stand-in of our own at an app's hosts, in Consul's catalogue, that the proxy prefers to the app.
//!
//! A door is an instance of [`MAINTENANCE_SERVICE`] on a node without an agent, for each app and each agent that serves
//! pages, with tags of a priority that no app may use. It has no check: where no agent is left, visitors meet an error
//! of the proxy and never the app. Must never touch a job: what runs goes on.
//!
//! # Guarantees
//! Putting a page up and taking it down are one transaction each, of head, page, doors and audit record: a kill leaves
//! all or nothing. What moves afterwards (agents, an app's hosts) the leader follows, by looking; each of its
//! transactions rewrites or deletes the page that it belongs to, so that none brings back a door of a page that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::lock::{Lock, OpenError};
use super::run::{Runner, encode};
use super::session::Lease;
use crate::engines::consul::{Instance, ServiceRecord, TxnOp};
use crate::engines::{EngineError, Fault};
use crate::model::desired::{Name, Space};
use crate::model::head::{AppState, LastOperation, Maintenance, Outcome};
use crate::model::{Head, Placement};
use crate::resources::names::MAINTENANCE_SERVICE;
use crate::store::records::{By, MaintenancePage, Verb};
use crate::store::{Versioned, keys};

/// The node that doors stand on.
const NODE: &str = "terreau-ext-maintenance";
/// What no route of an app may have (`1..=1_000_000`).
const PRIORITY: u32 = 2_000_000;
/// In a door's meta: whose it is.
const APP: &str = "app";

/// What visitors of an app shall see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Front {
    /// This page.
    Page {
        /// In plain words.
        message: Option<String>,
        /// All of it, as HTML.
        page: Option<String>,
    },
    /// The app.
    App,
}

/// The hosts at which an app's page stands: all that it holds, those of a deploy under way included.
fn hosts(names: &[Name]) -> BTreeSet<String> {
    names.iter().filter(|n| n.space == Space::Host).map(|n| n.name.clone()).collect()
}

/// The doors that shall be there for an app, by their ids.
fn wanted(
    app: &Placement,
    hosts: &[String],
    agents: &BTreeSet<SocketAddr>,
) -> BTreeMap<String, ServiceRecord> {
    let door = |at: &SocketAddr| {
        let id = format!("{MAINTENANCE_SERVICE}-{}-{}-{}", app.flat(), at.ip(), at.port());
        let tags = hosts.iter().map(|host| format!("tricot {host} {PRIORITY}")).collect();
        let record = ServiceRecord {
            id: id.clone(),
            service: MAINTENANCE_SERVICE.to_owned(),
            tags,
            meta: BTreeMap::from([(APP.to_owned(), app.to_string())]),
            address: at.ip().to_string(),
            port: at.port(),
        };
        (id, record)
    };
    agents.iter().map(door).collect()
}

/// What makes the doors that are there those that shall be.
fn moves(there: &[&Instance], mut wanted: BTreeMap<String, ServiceRecord>) -> Vec<TxnOp> {
    let mut ops = Vec::new();
    for door in there {
        let node = door.node.clone();
        match wanted.remove(&door.service_id) {
            None => ops.push(TxnOp::ServiceDeleteCas {
                node,
                id: door.service_id.clone(),
                service: door.service.clone(),
                index: door.modify_index,
            }),
            Some(w) if (&w.tags, &w.address, w.port) == (&door.tags, &door.address, door.port) => {}
            Some(w) => ops.push(TxnOp::ServiceCas { node, service: w, index: door.modify_index }),
        }
    }
    if !wanted.is_empty() {
        let address = "127.0.0.1".to_owned();
        let meta = [("external-node", "true"), ("external-probe", "false")];
        let meta = meta.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        ops.push(TxnOp::NodeSet { node: NODE.to_owned(), address, meta });
        let made = wanted.into_values();
        ops.extend(made.map(|service| TxnOp::ServiceCreate { node: NODE.to_owned(), service }));
    }
    ops
}

fn of_app<'a>(doors: &'a [Instance], app: &Placement) -> Vec<&'a Instance> {
    let app = app.to_string();
    doors.iter().filter(|d| d.meta.get(APP) == Some(&app)).collect()
}

impl Runner {
    /// Puts a page of these agents in the place of an app, or takes it away, with one transaction. The lock is given back.
    /// An error means that nothing has changed, but for [`OpenError::Unsure`].
    pub async fn maintain(
        &self,
        lock: Lock,
        head: Versioned<Head>,
        by: &By,
        front: &Front,
        agents: &BTreeSet<SocketAddr>,
    ) -> Result<(), OpenError> {
        let summary = match front {
            Front::Page { .. } => "maintenance page up",
            Front::App => "maintenance page down",
        };
        let (next, ops) = match self.front(&lock, head, (by, summary), front, agents).await {
            Ok(found) => found,
            Err(e) => {
                self.unlock(lock).await;
                return Err(e);
            }
        };
        self.amend_with(lock, next, (by, Verb::Maintenance), summary.to_owned(), ops).await
    }

    async fn front(
        &self,
        lock: &Lock,
        mut head: Versioned<Head>,
        (by, summary): (&By, &str),
        front: &Front,
        agents: &BTreeSet<SocketAddr>,
    ) -> Result<(Versioned<Head>, Vec<TxnOp>), OpenError> {
        let (app, at) = (lock.app.clone(), self.now().to_string());
        let key = keys::maintenance(&app);
        let doors = self.hands().consul.health(MAINTENANCE_SERVICE).await?;
        let there = of_app(&doors, &app);
        let ops = match front {
            Front::Page { message, page } => {
                let hosts: Vec<String> = hosts(&head.value.names).into_iter().collect();
                let mut ops = moves(&there, wanted(&app, &hosts, agents));
                let (message, page) = (message.clone(), page.clone());
                let record = MaintenancePage { v: 1, app, hosts, message, page };
                ops.push(TxnOp::Set { key, value: encode(&record)? });
                ops
            }
            Front::App => {
                let mut ops = moves(&there, BTreeMap::new());
                // Where the leader has moved doors meanwhile, this fails, and nothing has changed.
                if let Some(page) = self.store().consul().kv_get(&key).await? {
                    ops.push(TxnOp::DeleteCas { key, index: page.modify_index });
                }
                ops
            }
        };
        let on = matches!(front, Front::Page { .. });
        head.value.maintenance = on.then(|| Maintenance { by: by.login.clone(), at: at.clone() });
        head.value.last_operation = Some(LastOperation {
            id: lock.operation.clone(),
            verb: Verb::Maintenance.as_str().to_owned(),
            outcome: Outcome::Done,
            summary: summary.to_owned(),
            at,
            by: by.login.clone(),
            release: None,
        });
        Ok((head, ops))
    }

    /// Where agents serve pages.
    pub async fn serving_pages(&self) -> Result<BTreeSet<SocketAddr>, EngineError> {
        Ok(self.store().agents().await?.into_iter().filter_map(|(_, a)| a.pages).collect())
    }
}

/// As leader: doors follow the agents that live and the hosts that apps hold; what belongs to no page goes.
pub(super) async fn keep(
    runner: &Runner,
    lease: &Lease,
    pages: Vec<Versioned<MaintenancePage>>,
) -> Result<(), EngineError> {
    let consul = runner.hands().consul.clone().with_gate(lease.gate());
    let doors = consul.health(MAINTENANCE_SERVICE).await?;
    let mut known = BTreeSet::new();
    let agents = runner.serving_pages().await?;
    for found in pages {
        let (mut page, index) = (found.value, found.index);
        known.insert(page.app.to_string());
        let there = of_app(&doors, &page.app);
        let key = keys::maintenance(&page.app);
        let head = runner.store().head(&page.app).await?.map(|h| h.value);
        let head = head.filter(|h| h.maintenance.is_some() && h.state != AppState::Deleted);
        let ops = match head {
            None => {
                let mut ops = moves(&there, BTreeMap::new());
                ops.push(TxnOp::DeleteCas { key, index });
                ops
            }
            // Without an agent that serves pages, doors stay: the app was not to be seen.
            Some(_) if agents.is_empty() => continue,
            Some(head) => {
                let mut names = head.names.clone();
                if let Some(id) = &head.operation
                    && let Some(open) = runner.store().operation(id).await?
                {
                    names.extend(open.value.after.names);
                }
                let hosts: Vec<String> = hosts(&names).into_iter().collect();
                let mut ops = moves(&there, wanted(&page.app, &hosts, &agents));
                if ops.is_empty() && hosts == page.hosts {
                    continue;
                }
                page.hosts = hosts;
                ops.push(TxnOp::Cas { key, value: encode(&page)?, index });
                ops
            }
        };
        let ops: Vec<TxnOp> = std::iter::once(lease.leads()).chain(ops).collect();
        followed(&page.app.to_string(), consul.txn(&ops).await)?;
    }
    let left: Vec<&Instance> =
        doors.iter().filter(|d| d.meta.get(APP).is_none_or(|app| !known.contains(app))).collect();
    for door in left {
        // A page may have been put up since: then its app's key is there, and this fails.
        let app: Option<Placement> = door.meta.get(APP).and_then(|a| a.parse().ok());
        let absent = app.map(|app| TxnOp::CheckNotExists { key: keys::maintenance(&app) });
        let ops: Vec<TxnOp> =
            std::iter::once(lease.leads()).chain(absent).chain(moves(&[door], BTreeMap::new())).collect();
        followed(&door.service_id, consul.txn(&ops).await)?;
    }
    Ok(())
}

/// Who lost a race looks again in the next pass.
fn followed<T>(what: &str, done: Result<T, EngineError>) -> Result<(), EngineError> {
    match done {
        Ok(_) => tracing::info!(what, "the doors of a maintenance page follow"),
        Err(e) if e.fault == Fault::Conflict => {
            tracing::debug!(what, error = %e, "a maintenance page has moved");
        }
        Err(e) => return Err(e),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> Placement {
        "carnet".parse().unwrap()
    }

    fn there(record: &ServiceRecord) -> Instance {
        let r = record.clone();
        Instance {
            node: NODE.to_owned(),
            address: r.address,
            port: r.port,
            service_id: r.id,
            service: r.service,
            tags: r.tags,
            meta: r.meta,
            modify_index: 7,
            ..Instance::default()
        }
    }

    #[test]
    fn doors_stand_at_every_host_before_every_route_that_an_app_may_have() {
        let agents = BTreeSet::from(["10.0.0.1:4000".parse().unwrap(), "10.0.0.2:4000".parse().unwrap()]);
        let doors = wanted(&app(), &["a.org".to_owned(), "b.org".to_owned()], &agents);
        assert_eq!(doors.len(), 2);
        for door in doors.values() {
            assert_eq!(door.tags, ["tricot a.org 2000000", "tricot b.org 2000000"]);
        }
    }

    #[test]
    fn only_what_differs_is_moved() {
        let one: BTreeSet<SocketAddr> = BTreeSet::from(["10.0.0.1:4000".parse().unwrap()]);
        let two: BTreeSet<SocketAddr> = BTreeSet::from(["10.0.0.2:4000".parse().unwrap()]);
        let host = ["a.org".to_owned()];
        let have: Vec<Instance> = wanted(&app(), &host, &one).values().map(there).collect();
        let have: Vec<&Instance> = have.iter().collect();
        assert_eq!(moves(&have, wanted(&app(), &host, &one)), []);
        let ops = moves(&have, wanted(&app(), &host, &two));
        assert!(matches!(
            ops.as_slice(),
            [TxnOp::ServiceDeleteCas { index: 7, .. }, TxnOp::NodeSet { .. }, TxnOp::ServiceCreate { .. }]
        ));
        let more = ["a.org".to_owned(), "b.org".to_owned()];
        assert!(matches!(
            moves(&have, wanted(&app(), &more, &one)).as_slice(),
            [TxnOp::ServiceCas { index: 7, .. }]
        ));
    }
}
