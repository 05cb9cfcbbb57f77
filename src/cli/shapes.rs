//! What `--json` prints, command by command: `docs/json.md` and `docs/json-schema.json` are made of this, and a test holds
//! what commands really print against it. Bodies of the API are printed as they come; what is made here stands here.
//!
//! Such output only grows: a field that is there once stays, with its meaning.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};
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
    wire::Accepted, wire::AppStatus, wire::Apps, wire::AuditPage, wire::AuditVerified, wire::Changed, wire::ConfigHistory, wire::DiffAnswer,
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
    ("audit list", &["AuditPage"]),
    ("audit verify", &["AuditVerified"]),
    ("dev", &["DevInfo"]),
    ("dev status", &["DevStatus"]),
    ("dev user", &["DevInfo"]),
];
const LINES_OF_LOGS: &[&str] = &["LogLine"];

/// What is printed an object a line, of these commands always, of `events` with --follow.
const LINES: &[&str] = &["logs"];

/// The schemas of everything: JSON Schema 2020-12, with what each command prints under `commands`.
pub fn schema() -> Value {
    #[cfg_attr(not(feature = "sandbox"), allow(unused_mut))]
    let mut components = Shapes::openapi().components.unwrap_or_default().schemas;
    #[cfg(feature = "sandbox")]
    components.extend(DevShapes::openapi().components.unwrap_or_default().schemas);
    let all: BTreeMap<String, Value> = components
        .into_iter()
        .map(|(name, schema)| (name, local(serde_json::to_value(schema).unwrap_or_default())))
        .collect();
    let mut meant = BTreeSet::new();
    let commands: BTreeMap<&str, Value> = PRINTED
        .iter()
        .filter(|(path, _)| cfg!(feature = "sandbox") || !path.starts_with("dev"))
        .map(|(path, shapes)| {
            let refs: Vec<Value> = shapes.iter().map(|s| json!({ "$ref": format!("#/$defs/{s}") })).collect();
            meant.extend(shapes.iter().map(|s| (*s).to_owned()));
            let printed = match refs.as_slice() {
                [one] => one.clone(),
                _ => json!({ "anyOf": refs }),
            };
            (*path, json!({ "lines": LINES.contains(path), "printed": printed }))
        })
        .collect();
    // Only what some command prints, and what that is made of.
    let mut kept = BTreeMap::new();
    let mut next: Vec<String> = meant.into_iter().collect();
    while let Some(name) = next.pop() {
        let Some(schema) = all.get(&name).filter(|_| !kept.contains_key(&name)) else { continue };
        references(schema, &mut next);
        kept.insert(name, schema.clone());
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What terreau's commands print with --json",
        "commands": commands,
        "$defs": kept,
    })
}

/// References within this document.
fn local(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| match (key.as_str(), &value) {
                    ("$ref", Value::String(at)) => {
                        let at = at.replace("#/components/schemas/", "#/$defs/");
                        (key, Value::String(at))
                    }
                    _ => (key, local(value)),
                })
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.into_iter().map(local).collect()),
        other => other,
    }
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("$ref", Value::String(at)) => {
                        found.extend(at.strip_prefix("#/$defs/").map(str::to_owned));
                    }
                    _ => references(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

/// `docs/json-schema.json`.
pub fn document() -> String {
    // Through a value with sorted keys: which order a dependency gives maps is not ours to rely upon.
    let sorted: Value = serde_json::from_str(&crate::model::canonical_json(&schema())).unwrap_or_default();
    serde_json::to_string_pretty(&sorted).unwrap_or_default() + "\n"
}

/// `docs/json.md`.
pub fn markdown() -> String {
    let schema = schema();
    let mut page = String::from(
        "# What `--json` prints\n\n\
         Made from the program's own types by a test, which also holds against it what commands really print; edit \
         `src/cli/shapes.rs`, not this page.\n\n\
         With `--json` a command prints one JSON object on stdout, and nothing else there. It only grows: ignore fields that you do \
         not know. Errors go to stderr in words, and the [exit code](exit-codes.md) says which kind. The same as JSON Schema: \
         [json-schema.json](json-schema.json).\n\n| command | prints |\n|---|---|\n",
    );
    let link = |name: &str| format!("[{name}](#{})", name.to_lowercase());
    for (path, shapes) in PRINTED {
        let names: Vec<String> = shapes.iter().map(|s| link(s)).collect();
        let lines = if LINES.contains(path) { ", an object a line" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{path}` | {}{lines} |", names.join(" or "));
    }
    page.push_str(
        "\n`events --follow` prints EventView, an object a line. What cannot be watched to its end (Ctrl-C) prints nothing.\n",
    );
    let none = serde_json::Map::new();
    for (name, shape) in schema["$defs"].as_object().unwrap_or(&none) {
        let _ = write!(page, "\n## {name}\n\n{}\n", words(shape));
        if let Some(list) = shape["enum"].as_array() {
            let all: Vec<String> = list.iter().filter_map(Value::as_str).map(|v| format!("`{v}`")).collect();
            let _ = write!(page, "\nOne of {}.\n", all.join(", "));
        }
        let fields = shape["properties"].as_object().unwrap_or(&none);
        if fields.is_empty() {
            continue;
        }
        let must: BTreeSet<&str> =
            shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        page.push_str("\n| field | type | |\n|---|---|---|\n");
        for (field, of) in fields {
            let may = if must.contains(field.as_str()) { "" } else { ", may be absent" };
            let _ = writeln!(page, "| `{field}` | {}{may} | {} |", kind(of), words(of));
        }
    }
    page
}

fn words(of: &Value) -> String {
    of["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}

/// A type, for people.
fn kind(of: &Value) -> String {
    if let Some(name) = of["$ref"].as_str().and_then(|at| at.strip_prefix("#/$defs/")) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Some(list) = of[several].as_array() {
            return list.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    let one = |t: &str| match t {
        "array" => format!("list of {}", kind(&of["items"])),
        "object" if of["additionalProperties"].is_object() => {
            format!("object of {}", kind(&of["additionalProperties"]))
        }
        other => other.to_owned(),
    };
    match &of["type"] {
        Value::String(t) => one(t),
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(one).collect::<Vec<_>>().join(" or "),
        _ => "anything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_that_a_command_prints_is_defined() {
        let schema = schema();
        for (path, shapes) in PRINTED {
            for shape in *shapes {
                let is_there = schema["$defs"][shape].is_object();
                assert!(
                    is_there || (path.starts_with("dev") && !cfg!(feature = "sandbox")),
                    "{path}: {shape}"
                );
            }
        }
    }
}
