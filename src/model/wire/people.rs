//! Bodies about people: tokens, projects and their owners, users.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Hidden;

/// `POST /v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What it is called in lists.
    pub name: String,
    /// The apps that it may be used for.
    pub apps: Vec<String>,
    /// What for: `deploy`, `read`, `logs`…; `deploy` brings `plan`, `upload` and `read` along.
    pub verbs: Vec<String>,
    /// In how many seconds it ends.
    pub expires_in: u64,
}

/// A token that was just made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenAnswer {
    /// Its public half, by which it is revoked.
    pub id: String,
    /// `<id>.<secret>`: goes into `TERREAU_TOKEN`, or `Authorization: Bearer …`. Shown once.
    #[schema(value_type = String)]
    pub token: Hidden,
    /// When it ends (RFC 3339, UTC).
    pub expires_at: String,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its public half.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Who made it, and whose rights it has.
    pub user: String,
    /// The apps that it may be used for.
    pub apps: Vec<String>,
    /// What for.
    pub verbs: Vec<String>,
    /// Since when (RFC 3339, UTC).
    pub created_at: String,
    /// Until when (RFC 3339, UTC).
    pub expires_at: String,
}

/// `GET /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tokens {
    /// The newest first.
    pub tokens: Vec<TokenView>,
}

/// A project at a placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectView {
    /// `project[@environment]`.
    pub app: String,
    /// Who may change it: logins, and groups as `group:NAME`.
    pub owners: Vec<String>,
    /// `new`, `live`, `failed` or `abandoned`.
    pub state: String,
    /// The release that runs, or ran last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// How the last operation ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// When that was (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<String>,
}

/// `GET /v1/projects`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Projects {
    /// By name.
    pub projects: Vec<ProjectView>,
}

/// `POST /v1/apps/{app}/owners`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnersRequest {
    /// Who owns it too: logins, and groups as `group:NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// Who owns it no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Who owns it alone, instead of all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
}

/// Owners of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Owners {
    /// Which app.
    pub app: String,
    /// Logins, and groups as `group:NAME`.
    pub owners: Vec<String>,
}

/// Somebody of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// Their login.
    pub user: String,
    /// What they are called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where they get mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<String>,
    /// Their groups.
    pub groups: Vec<String>,
    /// Whether they are an admin.
    pub admin: bool,
    /// Whether they may log in here.
    pub may_log_in: bool,
    /// The apps that they own by name.
    pub apps: Vec<String>,
    /// Open sessions, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u64>,
    /// Tokens, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

/// `GET /v1/users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Users {
    /// By login.
    pub users: Vec<UserView>,
}

/// `POST /v1/users/{user}/remove`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveRequest {
    /// Who gets the apps that nobody else owns: a login, or a group as `group:NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_to: Option<String>,
    /// Delete those apps, with their data.
    #[serde(default)]
    pub cascade: bool,
}

/// What became of an app of somebody who was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemovedApp {
    /// Which.
    pub app: String,
    /// `kept` by its other owners, `transferred` or `deleting`.
    pub what: String,
    /// The operation that deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}

/// What came of a removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// Who.
    pub user: String,
    /// `login_group`: out of the group of those who may log in; `directory`: the entry is deleted; `before`: gone already.
    pub left: String,
    /// Their apps.
    pub apps: Vec<RemovedApp>,
}
