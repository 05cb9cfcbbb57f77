//! Whose a record is: an app's name may be another's later, and what happened to the one is not told to the other.

use crate::model::Uid;
use crate::operation::export::CLOCKS;
use crate::operation::run::made_at;
use crate::store::records::Audit;

/// Whether what may be another app's of that name, before, is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// To admins: audit records of older agents do not say whose they are.
    Told,
    /// To everybody else.
    Hidden,
}

impl Old {
    /// True where an audit record may be told of the app with this identity.
    pub(super) fn tells(self, a: &Audit, uid: &Uid) -> bool {
        a.uid.as_ref().map_or(self == Self::Told, |u| u == uid)
    }
}

/// When the app with this identity was first deployed: what bears its name and ended before was another's (a name is free an hour
/// after its app was deleted, at the soonest).
pub(super) fn born(uid: &Uid) -> jiff::Timestamp {
    made_at(uid).and_then(|at| at.checked_sub(CLOCKS).ok()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// When an operation was accepted: its id says so.
pub(super) fn began(id: &Uid) -> Option<String> {
    made_at(id).map(|at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operations_id_says_when_it_began() {
        let at: jiff::Timestamp = "2026-03-04T05:06:07.089Z".parse().unwrap();
        let id = crate::operation::run::fresh_uid(at);
        assert_eq!(began(&id).unwrap(), at.to_string());
    }
}
