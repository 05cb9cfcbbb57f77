//! Bodies about configuration: env and secrets. Values are [`Hidden`]; only the answer to a reveal holds any.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Hidden;

/// Where a variable of the environment comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EnvOrigin {
    /// A person set it: `terreau env set`.
    Set,
    /// The descriptor says it.
    Descriptor,
    /// Terreau adds it: ports, volumes.
    Platform,
}

/// One variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvView {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub origin: EnvOrigin,
    /// The process that has it, where not all of them do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// What the descriptor says, references as they are written there. Never a value that was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The current version of a value that was set; of one that was unset, the version that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// When that version was made (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// True where the next release brings the change: what runs has another version, or none.
    #[serde(default)]
    pub staged: bool,
    /// True where that is the release whose canaries are held: it comes with their promotion, and goes where they go back.
    #[serde(default)]
    pub held: bool,
    /// True where it is unset by a change that is staged.
    #[serde(default)]
    pub unset: bool,
    /// The version that the running release has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<u64>,
    /// True where a value that was set takes its place.
    #[serde(default)]
    pub hidden_by_set: bool,
}

/// `GET /v1/apps/{app}/env`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvList {
    /// Which app.
    pub app: String,
    /// The release that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// By origin, then by name.
    pub env: Vec<EnvView>,
}

/// `POST /v1/apps/{app}/env`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvRequest {
    /// Values to set, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub set: BTreeMap<String, Hidden>,
    /// Names to set no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
    /// The versions that the change was made upon (0: there was none): refused where one is another by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upon: Option<BTreeMap<String, u64>>,
    /// Keep it for the next release instead of making one.
    #[serde(default)]
    pub stage: bool,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretType {
    /// A person gives its value.
    User,
    /// The server makes its value.
    Generated,
    /// The server made it, and an engine knows it too.
    Credential,
}

impl SecretType {
    /// How a secret whose value the server makes comes to another one.
    pub const ANEW: &str = "for another value declare the secret under another name, and deploy";
}

/// A secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretView {
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: SecretType,
    /// What the descriptor says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// When a person gave it (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Who gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// True where the next release brings the current version.
    #[serde(default)]
    pub staged: bool,
    /// True where that is the release whose canaries are held: it comes with their promotion, and goes where they go back.
    #[serde(default)]
    pub held: bool,
    /// The version that the running release has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<u64>,
}

/// `GET /v1/apps/{app}/secrets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretList {
    /// Which app.
    pub app: String,
    /// The release that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// By name.
    pub secrets: Vec<SecretView>,
}

/// `POST /v1/apps/{app}/secrets`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRequest {
    /// Values of `user` secrets, by name.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub set: BTreeMap<String, Hidden>,
    /// The versions that the change was made upon (0: there was none): refused where one is another by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upon: Option<BTreeMap<String, u64>>,
    /// Keep it for the next release instead of making one.
    #[serde(default)]
    pub stage: bool,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What came of a change of configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigAnswer {
    /// Which app.
    pub app: String,
    /// The version of each name that the change made; a value that was there already makes none.
    pub versions: BTreeMap<String, u64>,
    /// A release with it is under way: follow it at `/v1/operations/{id}/events`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// It is kept for the next release: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<String>,
    /// The release that runs on as it is, where nothing of it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// What the person should know: which of two values of one name wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// `POST /v1/apps/{app}/env/reveal` and `/v1/apps/{app}/secrets/reveal`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevealRequest {
    /// Whose values; none: every one that a person gave.
    #[serde(default)]
    pub names: Vec<String>,
    /// The values that the running release has, without what is staged; else those that the next release gets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runs: bool,
}

/// Values. That they were asked for is in the audit.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Revealed {
    /// By name.
    #[schema(value_type = BTreeMap<String, String>)]
    pub values: BTreeMap<String, Hidden>,
    /// The version of each.
    pub versions: BTreeMap<String, u64>,
}

/// One version of one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigVersion {
    /// Whose.
    pub name: String,
    /// Its number; nothing else ever has it.
    pub version: u64,
    /// `set` or `unset`.
    pub what: String,
    /// When (RFC 3339, UTC).
    pub at: String,
    /// Who.
    pub by: String,
    /// The release that it came with, or by which what was staged came to serve; none as long as there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// True where it is the current one.
    pub current: bool,
    /// True where the running release has it.
    pub serving: bool,
}

/// `GET /v1/apps/{app}/env/history` and `/v1/apps/{app}/secrets/history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigHistory {
    /// Newest first.
    pub versions: Vec<ConfigVersion>,
}
