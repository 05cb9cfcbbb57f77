//! Starting, stopping, scaling, restarting.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/apps/{app}/scale`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// Instances by process; processes that are not named keep theirs.
    pub counts: BTreeMap<String, u32>,
}

impl ScaleRequest {
    /// The most instances that a process may have.
    pub const MOST: u32 = 100;
}

/// `POST /v1/apps/{app}/restart`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartRequest {
    /// Only this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Only this instance: the beginning of its allocation's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alloc: Option<String>,
}

/// `POST /v1/apps/{app}/maintenance`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceRequest {
    /// Whether visitors see a page, or the app.
    pub on: bool,
    /// What the page says, in plain words; at most 2,000 bytes. With neither this nor `page`, what stands there stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The whole page as HTML, in the place of ours; at most 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MaintenanceView {
    /// The app.
    pub app: String,
    /// Whether its visitors see a page from now on, or the app.
    pub on: bool,
    /// The change's id, also in the audit log; absent where nothing was to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// Where the page stands, or stood.
    pub urls: Vec<String>,
    /// What the page says; absent where it is one of the app's own, and where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A change that Nomad has taken, or that was not needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// The app.
    pub app: String,
    /// The change's id, also in the audit log; absent where nothing was to be done. Follow it at
    /// `/v1/apps/{app}/course`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// A release that brings the app back is under way, because its job was gone: follow it at
    /// `/v1/operations/{id}/events`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Nothing was to be done.
    pub unchanged: bool,
    /// One line for people.
    pub summary: String,
    /// How many instances each process shall have now.
    pub counts: BTreeMap<String, u32>,
}
