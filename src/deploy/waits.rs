//! What a change that is under way waits for, as whoever asks from outside is told: where it was begun, or at any other agent.
//!
//! Changes nothing, and fails nobody who asks for something else besides.

use super::Deployer;
use crate::model::Uid;
use crate::model::wire::Waits;
use crate::operation::Progress;
use crate::resources::waits;

impl Deployer {
    /// What an operation waits for; `None` where it waits for nothing, or nobody can tell.
    pub async fn waits(&self, id: &Uid) -> Option<Waits> {
        let open = self.runner.store().operation(id).await.ok()??.value;
        // An engine that is away, or a lock: only the agent that drives it knows.
        if let Some((past, _)) = self.runner.hub().follow(id)
            && let Some(Progress::Waiting { why }) = past.last()
        {
            return Some(Waits { why: vec![why.clone()], until: None });
        }
        match waits::waits(self.runner.hands(), &open.steps).await {
            Ok(found) => found.map(|w| Waits { why: w.why, until: w.until.map(|at| at.to_string()) }),
            Err(e) => Some(Waits { why: vec![e.to_string()], until: None }),
        }
    }
}
