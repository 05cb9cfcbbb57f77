//! What `--json` prints, command by command: `docs/json.md` and `docs/json-schema.json` are made of this, and a test holds
//! what commands really print against it. Bodies of the API are printed as they come; what is made here stands here.
//!
//! Such output only grows: a field that is there once stays, with its meaning.

mod written;

pub use written::{document, markdown, schema};

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

use crate::model::wire;
use crate::plan::Plan;

/// `login`.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoggedIn {
    /// Who.
    pub user: String,
    /// Where.
    pub server: String,
    /// Until when (RFC 3339, UTC).
    pub expires_at: String,
}

/// `whoami`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// Who.
    pub user: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// Whether they are an admin.
    pub admin: bool,
    /// Where.
    pub server: String,
    /// What runs there.
    pub version: String,
    /// The cluster's name.
    pub cluster: String,
    /// Until when (RFC 3339, UTC).
    pub expires_at: String,
    /// How long that is.
    pub seconds_left: i64,
    /// What a token is for; null for a person.
    pub scope: Option<String>,
}

/// `open`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Opened {
    /// The app's address.
    pub url: String,
}

/// `proxy`, once it listens.
#[derive(Debug, Serialize, ToSchema)]
pub struct Proxied {
    /// Where, on this machine.
    pub address: String,
    /// The instance that it leads to.
    pub instance: String,
}

/// `server list`.
#[derive(Debug, Serialize, ToSchema)]
pub struct SavedServers {
    /// By name.
    pub servers: Vec<SavedServer>,
}

/// A server that somebody is logged in to.
#[derive(Debug, Serialize, ToSchema)]
pub struct SavedServer {
    /// Its URL.
    pub server: String,
    /// As whom.
    pub user: String,
    /// Whether it is the one that is meant where none is named.
    pub current: bool,
    /// Until when (RFC 3339, UTC).
    pub expires_at: String,
    /// How long that is.
    pub seconds_left: i64,
}

/// `hook remove`.
#[derive(Debug, Serialize, ToSchema)]
pub struct HookRemoved {
    /// The hook's id, as it was given.
    pub removed: String,
}

/// The end of a change that was followed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ended {
    /// The operation's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The id of a change of one step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// `done`, `undone`, `held`, `reverted`, `failed`, `abandoned`.
    #[schema(value_type = String)]
    pub outcome: crate::model::head::Outcome,
    /// One line.
    pub summary: String,
    /// Where the app answers.
    pub url: Option<String>,
    /// Why it ended so, line by line.
    pub why: Option<String>,
}

/// A change that was not needed.
#[derive(Debug, Serialize, ToSchema)]
pub struct NoChange {
    /// True.
    pub unchanged: bool,
    /// The release that runs.
    pub release: u64,
    /// Where the app answers.
    pub url: Option<String>,
}

/// What became of values for which no release was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct Configured {
    /// Whether they are kept for the next release.
    pub staged: bool,
    /// Why they are.
    pub why: Option<String>,
    /// The version of each name that was made.
    pub versions: BTreeMap<String, u64>,
    /// The release that runs on as it is.
    pub release: Option<u64>,
    /// Whether they were so already.
    pub unchanged: bool,
}

/// `validate`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Checked {
    /// Whether a server would take it.
    pub valid: bool,
    /// The file.
    pub file: String,
    /// The project's name, where it is valid.
    pub project: Option<String>,
    /// What is wrong.
    #[schema(value_type = Vec<DescriptorFault>)]
    pub errors: crate::descriptor::Faults,
    /// What its author should know.
    #[schema(value_type = Vec<DescriptorFault>)]
    pub warnings: crate::descriptor::Faults,
}

/// Something wrong in a descriptor, and where.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "the words for what `descriptor::Fault` writes")]
struct DescriptorFault {
    /// `error` or `warning`.
    severity: String,
    /// Stable, for programs.
    code: String,
    /// One sentence.
    message: String,
    /// The file.
    file: String,
    /// Counting from 1.
    line: u32,
    /// Counting from 1, in characters.
    column: u32,
    /// The column after the last character that is meant.
    end_column: u32,
    /// The whole line, cut after 240 characters.
    source_line: String,
    /// What to do, or what is allowed.
    help: Option<String>,
    /// What probably was meant.
    suggestion: Option<String>,
}

/// `render`: the job as Nomad's API takes it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rendered {
    /// Nomad's own words; null for a static site.
    #[serde(rename = "Job")]
    #[schema(value_type = Option<Object>)]
    pub job: Option<Value>,
    /// The site, where it is one.
    #[serde(rename = "Site", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub site: Option<Value>,
}

#[derive(OpenApi)]
#[openapi(components(schemas(
    HookRemoved, LoggedIn, Me, Opened, Proxied, SavedServers, Ended, NoChange, Configured, Checked, Rendered, Plan,
    wire::Accepted, wire::Agents, wire::AppStatus, wire::Apps, wire::AuditPage, wire::AuditVerified, wire::Changed, wire::Checkup, wire::ConfigHistory, wire::DiffAnswer, wire::Drift,
    wire::EnvList, wire::Events, wire::EventView, wire::Graph, wire::HookAnswer, wire::HookTested, wire::Hooks, wire::ImportAnswer, wire::Instances,
    wire::LogLine<'static>, wire::MaintenanceView, wire::OperationEnd, wire::OperationView, wire::Operations,
    wire::Owners, wire::Projects, wire::Releases, wire::Removed, wire::Revealed, wire::SecretList, wire::Stats,
    wire::TokenAnswer, wire::Tokens, wire::UserView, wire::Users,
)))]
struct Shapes;

#[cfg(feature = "sandbox")]
#[derive(OpenApi)]
#[openapi(components(schemas(crate::sandbox::dev::DevInfo, crate::sandbox::dev::DevStatus)))]
struct DevShapes;

/// What a change prints: its end, that nothing was to be done, or with --detach that it is accepted.
const CHANGE: &[&str] = &["Ended", "NoChange", "Accepted"];
const ONE_STEP: &[&str] = &["Ended", "Changed"];
const VALUES: &[&str] = &["Ended", "Configured", "Accepted"];

/// Every command with `--json`, and what it prints: one of these.
const PRINTED: &[(&str, &[&str])] = &[
    ("login", &["LoggedIn"]),
    ("whoami", &["Me"]),
    ("validate", &["Checked"]),
    ("render", &["Rendered"]),
    ("plan", &["Plan"]),
    ("deploy", CHANGE),
    ("delete", CHANGE),
    ("status", &["AppStatus", "Apps"]),
    ("logs", LINES_OF_LOGS),
    ("proxy", &["Proxied"]),
    ("open", &["Opened"]),
    ("releases", &["Releases"]),
    ("release import", &["ImportAnswer", "Ended"]),
    ("diff", &["DiffAnswer"]),
    ("rollback", CHANGE),
    ("ps", &["Instances"]),
    ("top", &["Stats"]),
    ("events", &["Events", "EventView"]),
    ("hook add", &["HookAnswer"]),
    ("hook list", &["Hooks"]),
    ("hook remove", &["HookRemoved"]),
    ("hook test", &["HookTested"]),
    ("start", ONE_STEP),
    ("stop", ONE_STEP),
    ("restart", ONE_STEP),
    ("scale", ONE_STEP),
    ("maintenance on", &["MaintenanceView"]),
    ("maintenance off", &["MaintenanceView"]),
    ("graph", &["Graph"]),
    ("server list", &["SavedServers"]),
    ("tokens create", &["TokenAnswer"]),
    ("tokens list", &["Tokens"]),
    ("projects", &["Projects"]),
    ("projects transfer", &["Owners"]),
    ("owners list", &["Owners"]),
    ("owners add", &["Owners"]),
    ("owners remove", &["Owners"]),
    ("users list", &["Users"]),
    ("users show", &["UserView"]),
    ("users remove", &["Removed"]),
    ("env list", &["EnvList"]),
    ("env set", VALUES),
    ("env unset", VALUES),
    ("env import", VALUES),
    ("env export", &["Revealed"]),
    ("env edit", VALUES),
    ("env history", &["ConfigHistory"]),
    ("secret list", &["SecretList"]),
    ("secret set", VALUES),
    ("secret import", VALUES),
    ("secret export", &["Revealed"]),
    ("secret edit", VALUES),
    ("secret history", &["ConfigHistory"]),
    ("operations list", &["Operations"]),
    ("operations follow", &["Ended"]),
    ("operations show", &["OperationView"]),
    ("operations cancel", &["OperationEnd"]),
    ("operations abandon", &["OperationEnd"]),
    ("drift", &["Drift"]),
    ("doctor", &["Checkup"]),
    ("loops", &["Agents"]),
    ("audit list", &["AuditPage"]),
    ("audit verify", &["AuditVerified"]),
    ("dev", &["DevInfo"]),
    ("dev status", &["DevStatus"]),
    ("dev user", &["DevInfo"]),
];
const LINES_OF_LOGS: &[&str] = &["LogLine"];

/// What is printed an object a line, of these commands always, of `events` with --follow.
const LINES: &[&str] = &["logs"];
