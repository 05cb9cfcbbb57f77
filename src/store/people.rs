//! What was done about a person or their tokens, not about an app (`terreau/v1/audit-people/<ulid>`).

use serde::{Deserialize, Serialize};

use super::records::By;
use super::{Store, keys};
use crate::engines::{Engine, EngineError, Fault};
use crate::model::{Login, Uid};

/// An event for the audit chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeopleAudit {
    /// Schema.
    pub v: u32,
    /// Its own id.
    pub id: Uid,
    /// When (RFC 3339, UTC).
    pub at: String,
    /// Who, from where.
    pub by: By,
    /// About whom.
    pub person: Login,
    /// What.
    pub verb: String,
    /// One line for people.
    pub summary: String,
}

impl Store {
    /// Writes it down; what it tells must not be done where this fails.
    pub async fn tell_of_person(&self, audit: &PeopleAudit) -> Result<(), EngineError> {
        let json = serde_json::to_vec(audit)
            .map_err(|e| EngineError::new(Engine::Consul, Fault::Invalid, "write a record", e.to_string()))?;
        self.consul().kv_create(&keys::people(&audit.id), json).await
    }
}
