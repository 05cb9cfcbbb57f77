//! What is done without an operation is told too: who, from where, what, on which app, before it is done.

use super::run::{Runner, encode, fresh_uid};
use super::{OpenError, points};
use crate::engines::consul::TxnOp;
use crate::engines::{EngineError, Fault};
use crate::model::head::Outcome;
use crate::model::{Placement, Uid};
use crate::store::keys;
use crate::store::records::{Audit, By, SCHEMA};

impl Runner {
    /// Writes an audit record; gives its id. Where it cannot be written, what it would tell must not be done.
    pub async fn tell(
        &self,
        by: &By,
        app: &Placement,
        verb: &str,
        summary: String,
    ) -> Result<Uid, OpenError> {
        let lease = self.session().lease().ok_or(OpenError::NoSession)?;
        let id = fresh_uid(self.now());
        let audit = Audit {
            v: SCHEMA,
            at: self.now().to_string(),
            by: by.clone(),
            app: app.clone(),
            verb: verb.to_owned(),
            operation: id.clone(),
            outcome: Outcome::Done,
            summary,
        };
        points::pass(&format!("{verb}.audit.before"));
        let consul = self.hands().consul.clone().with_gate(lease.gate());
        let op = TxnOp::Cas { key: keys::audit(&id), value: encode(&audit)?, index: 0 };
        match consul.txn(&[op]).await {
            // The id is fresh: a conflict is an answer that came too late to an own earlier try.
            Ok(_) | Err(EngineError { fault: Fault::Conflict, .. }) => {}
            Err(e) => return Err(e.into()),
        }
        points::pass(&format!("{verb}.audit.after"));
        Ok(id)
    }
}
