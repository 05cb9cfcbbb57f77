//! What is done without an operation is told too: who, from where, what, on which app, before it is done or together with it.

use super::run::{Runner, encode, fresh_uid};
use super::{OpenError, points};
use crate::engines::consul::TxnOp;
use crate::engines::{EngineError, Fault};
use crate::model::head::Outcome;
use crate::model::project::Owner;
use crate::model::{Placement, Uid};
use crate::store::keys;
use crate::store::records::{Audit, By, SCHEMA};

/// Who is among the owners before or after, and not both: whom a change of them is about.
pub fn other_owners(before: &[Owner], after: &[Owner]) -> Vec<String> {
    let of = |these: &[Owner], those: &[Owner]| -> Vec<String> {
        these.iter().filter(|o| !those.contains(o)).map(ToString::to_string).collect()
    };
    [of(after, before), of(before, after)].concat()
}

impl Runner {
    /// Writes an audit record; gives its id. Where it cannot be written, what it would tell must not be done.
    pub async fn tell(
        &self,
        by: &By,
        (app, uid): (&Placement, &Uid),
        verb: &str,
        summary: String,
    ) -> Result<Uid, OpenError> {
        self.has_audit_room(verb)?;
        let lease = self.session().lease().ok_or(OpenError::NoSession)?;
        let audit = self.done_by(by, (app, uid), verb, summary);
        points::pass(&format!("{verb}.audit.before"));
        let consul = self.hands().consul.clone().with_gate(lease.gate());
        let id = audit.operation.clone();
        let op = TxnOp::Cas { key: keys::audit(&id), value: encode(&audit)?, index: 0 };
        match consul.txn(&[op]).await {
            // The id is fresh: a conflict is an answer that came too late to an own earlier try.
            Ok(_) | Err(EngineError { fault: Fault::Conflict, .. }) => {}
            Err(e) => return Err(e.into()),
        }
        points::pass(&format!("{verb}.audit.after"));
        Ok(id)
    }

    /// Writes records and an audit record in one transaction: all or nothing.
    pub async fn write_told(
        &self,
        by: &By,
        (app, uid): (&Placement, &Uid),
        verb: &str,
        summary: String,
        mut ops: Vec<TxnOp>,
    ) -> Result<(), OpenError> {
        self.has_audit_room(verb)?;
        let lease = self.session().lease().ok_or(OpenError::NoSession)?;
        ops.push(self.told(by, (app, uid), verb, summary)?);
        let consul = self.hands().consul.clone().with_gate(lease.gate());
        match consul.txn(&ops).await {
            Ok(_) => Ok(()),
            Err(e) if e.fault == Fault::Conflict => Err(OpenError::Moved(e.message)),
            Err(e) => Err(e.into()),
        }
    }

    /// Writes an audit record, as a part of a transaction.
    pub fn told(
        &self,
        by: &By,
        of: (&Placement, &Uid),
        verb: &str,
        summary: String,
    ) -> Result<TxnOp, EngineError> {
        let audit = self.done_by(by, of, verb, summary);
        Ok(TxnOp::Create { key: keys::audit(&audit.operation), value: encode(&audit)? })
    }

    fn done_by(&self, by: &By, (app, uid): (&Placement, &Uid), verb: &str, summary: String) -> Audit {
        Audit {
            v: SCHEMA,
            at: self.now().to_string(),
            by: by.clone(),
            app: app.clone(),
            uid: Some(uid.clone()),
            about: Vec::new(),
            verb: verb.to_owned(),
            operation: fresh_uid(self.now()),
            outcome: Outcome::Done,
            summary,
        }
    }
}
