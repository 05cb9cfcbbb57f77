//! What is told of an operation's end: it is recorded by the very transaction that ends it, where somebody wants to
//! know; so it is told once the end is written, and never without it. Who is told, and how, others know.

use super::close::Closing;
use super::run::{Runner, encode};
use crate::engines::consul::TxnOp;
use crate::engines::{EngineError, Fault};
use crate::model::head::{AppState, Outcome};
use crate::model::wire::HookEvent;
use crate::store::hooks::News;
use crate::store::keys;
use crate::store::records::{Ended, OpRecord, SCHEMA, Verb};

/// So many reasons are told, each of so many characters: a message is small.
const REASONS: usize = 3;
const LONGEST: usize = 200;
/// So many addresses.
const URLS: usize = 3;

/// What an end is to those who are told; `None`: nothing that they would want to hear of.
fn event(op: &OpRecord, outcome: Outcome) -> Option<HookEvent> {
    match (op.verb, outcome) {
        (Verb::Delete, Outcome::Done) => Some(HookEvent::Deletion),
        (Verb::Delete | Verb::Transfer, _) => None,
        (_, Outcome::Done | Outcome::Held) => Some(HookEvent::Deploy),
        // Somebody turned it back who knows of it.
        (_, Outcome::Undone) if op.cancel.is_some() => None,
        (_, Outcome::Undone | Outcome::Reverted | Outcome::Failed | Outcome::Abandoned) => {
            Some(HookEvent::Failure)
        }
    }
}

/// The first words of a text, without control characters.
fn short(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(LONGEST).collect()
}

/// Reasons, without the last lines of what the app wrote: those may hold anything, and go to somebody else's server.
fn reasons(why: &[String]) -> Vec<String> {
    let told = why.iter().take_while(|l| !l.starts_with("last lines of "));
    told.filter(|l| !l.starts_with("  ")).take(REASONS).map(|l| short(l)).collect()
}

impl Runner {
    /// The records that an end writes or takes away for those who are told of the app.
    pub(super) async fn news_of(&self, ended: &Ended, closing: &Closing) -> Result<Vec<TxnOp>, EngineError> {
        let op = &ended.record;
        let hooks = match self.inner.store.hooks(&op.app, &op.uid).await {
            Ok((hooks, _)) => hooks,
            // A record that this agent cannot read: the end of an operation does not wait for it.
            Err(e) if e.fault == Fault::Broken => {
                tracing::warn!(app = %op.app, error = %e, "who is told of it is not known");
                return Ok(Vec::new());
            }
            Err(e) => return Err(e),
        };
        if hooks.is_empty() {
            return Ok(Vec::new());
        }
        let event = event(op, ended.outcome);
        let mut ops = Vec::new();
        if closing.head.as_ref().is_none_or(|h| h.state == AppState::Deleted) {
            // They go with their app: at once, or when they have been told of that, and of what waits.
            let mut gone = vec![keys::hook_book(&op.app), keys::hook_crash(&op.uid)];
            if event != Some(HookEvent::Deletion) {
                gone.extend(hooks.iter().flat_map(|h| [keys::hook_queue(&h.id), keys::hook_secret(&h.id)]));
            }
            ops.extend(gone.into_iter().map(|key| TxnOp::Delete { key }));
        }
        let Some(event) = event.filter(|e| *e == HookEvent::Deletion || ops.is_empty()) else {
            return Ok(ops);
        };
        let is_last = event == HookEvent::Deletion;
        if !is_last && !hooks.iter().any(|h| h.on.contains(&event)) {
            return Ok(ops);
        }
        let news = News {
            v: SCHEMA,
            id: op.id.clone(),
            app: op.app.clone(),
            uid: op.uid.clone(),
            event,
            at: ended.at.clone(),
            by: op.by.login.clone(),
            verb: op.verb.as_str().to_owned(),
            release: op.after.release.as_ref().map(|r| r.number.0),
            outcome: ended.outcome,
            summary: short(&ended.summary),
            why: reasons(&ended.why),
            urls: ended.urls.iter().take(URLS).cloned().collect(),
            leaving: if is_last { hooks } else { Vec::new() },
        };
        ops.push(TxnOp::Set { key: keys::hook_news(&op.id), value: encode(&news)? });
        Ok(ops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_app_wrote_is_never_among_the_reasons() {
        let why: Vec<String> =
            ["web ended\x1b with exit code 3", "last lines of web (1a2b):", "  canary", "more"]
                .map(str::to_owned)
                .to_vec();
        assert_eq!(reasons(&why), ["web ended  with exit code 3"]);
        assert_eq!(reasons(&["é".repeat(1_000)]), ["é".repeat(LONGEST)]);
    }
}
