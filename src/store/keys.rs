//! Where records lie: everything of ours stands under `terreau/v1/`.

use crate::model::desired::Space;
use crate::model::{EnvironmentName, Placement, ProjectName, TenantName, Uid};

/// Everything.
pub const ALL: &str = "terreau/v1/";
/// Heads of apps.
pub const HEADS: &str = "terreau/v1/app/";
/// Open operations.
pub const OPERATIONS: &str = "terreau/v1/op/";
/// Open plans of one step.
pub const INTENTS: &str = "terreau/v1/intent/";
/// What a sweep will delete.
pub const DOOMED: &str = "terreau/v1/doomed/";
/// Index entries of names.
pub const NAMES: &str = "terreau/v1/name/";
/// Locks of apps.
pub const LOCKS: &str = "terreau/v1/lock/";
/// Audit events: those that wait for their export, and the last of those that stand in the chain.
pub const AUDIT: &str = "terreau/v1/audit/";
/// The leader's lock key.
pub const LEADER: &str = "terreau/v1/leader";
/// The key that tickets of uploads are signed with: 64 hex digits.
pub const TICKETS: &str = "terreau/v1/tickets";
/// Ring of the last changed keys.
pub const BELL: &str = "terreau/v1/bell";
/// What was done about people, likewise.
pub const PEOPLE: &str = "terreau/v1/audit-people/";
/// Both of them: one look sees records in the order in which they were written.
pub const ALL_AUDIT: &str = "terreau/v1/audit";
/// Heads of append-only logs.
pub const CHAINS: &str = "terreau/v1/chain/";
/// Changes of apps' configuration.
pub const CONFIG: &str = "terreau/v1/config/";
/// Maintenance pages.
pub const MAINTENANCE: &str = "terreau/v1/maintenance/";
/// What is not on the engines as it was left.
pub const DRIFT: &str = "terreau/v1/drift/";
/// Live agents.
pub const AGENTS: &str = "terreau/v1/agent/";

/// What is told to others about apps: who is told, what waits to be told, what is going on.
pub const HOOKS: &str = "terreau/v1/hook/";
/// So that what is watched is never absent.
pub const HOOKS_META: &str = "terreau/v1/hook/meta";

/// Who is told of an app.
pub fn hook_book(app: &Placement) -> String {
    format!("{HOOKS}book/{}", app.path())
}
/// What waits to be told to one of them.
pub fn hook_queue(hook: &str) -> String {
    format!("{HOOKS}queue/{hook}")
}
/// Something that happened, and that nobody has been told yet.
pub fn hook_news(id: &Uid) -> String {
    format!("{HOOKS}news/{id}")
}
/// An app that crashes again and again, as was told.
pub fn hook_crash(uid: &Uid) -> String {
    format!("{HOOKS}crash/{uid}")
}
/// What is told to a hook is signed with this. Not among the others: nobody who lists them reads it.
pub fn hook_secret(hook: &str) -> String {
    format!("terreau/v1/hook-secret/{hook}")
}
/// The head of an app.
pub fn head(app: &Placement) -> String {
    format!("{HEADS}{}", app.path())
}
/// The app of a head's key.
pub fn app_of(key: &str) -> Option<Placement> {
    let mut parts = key.strip_prefix(HEADS)?.split('/');
    let (tenant, environment, project) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Placement {
        tenant: TenantName::new(tenant).ok()?,
        environment: EnvironmentName::new(environment).ok()?,
        project: ProjectName::new(project).ok()?,
    })
}
/// The lock of an app.
pub fn lock(app: &Placement) -> String {
    format!("{LOCKS}{}", app.path())
}
/// An open operation.
pub fn operation(id: &Uid) -> String {
    format!("{OPERATIONS}{id}")
}
/// An open plan of one step.
pub fn intent(id: &Uid) -> String {
    format!("{INTENTS}{id}")
}
/// An entry of the name index.
pub fn name(space: Space, name: &str) -> String {
    format!("{NAMES}{}/{name}", space.as_str())
}
/// The changes of an app's configuration, each below it by its id.
pub fn config(app: &Placement) -> String {
    format!("{CONFIG}{}/", app.path())
}
/// One change of an app's configuration.
pub fn config_change(app: &Placement, id: &Uid) -> String {
    format!("{}{id}", config(app))
}
/// An audit event.
pub fn audit(id: &Uid) -> String {
    format!("{AUDIT}{id}")
}
/// Something that was done about a person.
pub fn people(id: &Uid) -> String {
    format!("{PEOPLE}{id}")
}
/// The head of an append-only log.
pub fn chain(name: &str) -> String {
    format!("{CHAINS}{name}")
}
/// Something doomed.
pub fn doomed(id: &Uid) -> String {
    format!("{DOOMED}{id}")
}
/// The maintenance page of an app.
pub fn maintenance(app: &Placement) -> String {
    format!("{MAINTENANCE}{}", app.path())
}
/// How an app drifts.
pub fn drift(app: &Placement) -> String {
    format!("{DRIFT}{}", app.path())
}
/// A live agent, held by its session.
pub fn agent(id: &Uid) -> String {
    format!("{AGENTS}{id}")
}
