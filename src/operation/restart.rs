//! Restarts instances by Nomad's own allocation restart, one after the other: the next one only when the one before
//! passes its checks again, so that an app with several instances serves on.
//!
//! The intent holds when each instance's task had begun: an instance whose task began later was restarted already.

use std::collections::BTreeSet;
use std::time::Duration;

use super::intended::Fulfilled;
use super::intent::{Tell, Tried, judge};
use super::lock::Lock;
use super::points;
use super::run::Runner;
use crate::engines::nomad::Allocation;
use crate::engines::{EngineError, Fault};
use crate::model::Head;
use crate::model::head::Intent;
use crate::resources::crash::{self, main_task};
use crate::resources::health;
use crate::resources::{Hands, judge as verdict};

/// How long one instance may take to come back before the others are left alone.
const COME_BACK: Duration = Duration::from_mins(5);
/// When an instance's task began, as an intent remembers it.
pub fn began(a: &Allocation) -> Option<&str> {
    main_task(a)?.started_at.as_deref()
}

impl Runner {
    pub(super) async fn restart_each(
        &self,
        hands: &Hands,
        lock: &Lock,
        head: &Head,
        intent: &Intent,
        tell: &mut Tell,
    ) -> Tried {
        let (mut left, again) = match self.still_to_restart(hands, head, intent).await {
            Ok(found) => found,
            Err(e) => return judge(e),
        };
        if !left.is_empty() {
            // Restarted by a try before this one, or by an agent that is gone: whether they came back nobody has seen.
            for id in &again {
                match self.waits_for(hands, head, intent, (id, Until::Well)).await {
                    Ok(()) => {}
                    Err(tried) => return tried,
                }
            }
        }
        while let Some(id) = left.pop() {
            match self.ordered_back(intent).await {
                Ok(None) => {}
                Ok(Some(by)) => return Tried::Over(Fulfilled::Cancelled(by)),
                Err(e) => return judge(e),
            }
            if lock.lease.is_lost() {
                let why = "the agent's session may be gone";
                let e = EngineError::new(crate::engines::Engine::Consul, Fault::Fenced, "restart", why);
                return Tried::Unknown(e);
            }
            points::pass("restart.instance.before");
            let done = hands.nomad.restart_allocation(&id, None).await;
            points::pass("restart.instance.after");
            match done {
                Ok(()) => {}
                // It ended meanwhile: its successor is new anyway.
                Err(e) if matches!(e.fault, Fault::NotFound | Fault::Invalid) => continue,
                // It waits for its next start already.
                Err(e) if e.message.contains("not running") => continue,
                Err(e) => return judge(e),
            }
            if let Some(tell) = tell.take() {
                // Whoever asked may have had enough.
                let _ = tell.send(Ok(()));
            }
            // Whether the last one is well is waited for by whoever watches, not under the lock.
            let until = if left.is_empty() { Until::Begun } else { Until::Well };
            if let Err(tried) = self.waits_for(hands, head, intent, (&id, until)).await {
                return tried;
            }
        }
        Tried::Over(Fulfilled::Done(None))
    }

    /// Waits for an instance; `Err` says how the restart ends, or is left, where it need not go on.
    async fn waits_for(
        &self,
        hands: &Hands,
        head: &Head,
        intent: &Intent,
        (id, until): (&str, Until),
    ) -> Result<(), Tried> {
        tokio::select! {
            back = self.comes_back(hands, head, intent, (id, until)) => match back {
                Ok(None) => Ok(()),
                Ok(Some(why)) => Err(Tried::Over(Fulfilled::Refused(why))),
                Err(e) => Err(judge(e)),
            },
            by = self.until_ordered_back(intent) => Err(Tried::Over(Fulfilled::Cancelled(by))),
            () = self.inner.stop.cancelled() => Err(Tried::Left),
        }
    }

    /// The instances that the intent names: those that were not restarted yet (the last one comes first: those that are
    /// ill, so that there is always one that serves), and those that were.
    async fn still_to_restart(
        &self,
        hands: &Hands,
        head: &Head,
        intent: &Intent,
    ) -> Result<(Vec<String>, Vec<String>), EngineError> {
        let all = hands.nomad.allocations(head.app.namespace(), &head.app.flat()).await?;
        let passing = health::passing(&hands.consul, &head.app).await?;
        let (old, again): (Vec<&Allocation>, Vec<&Allocation>) = all
            .iter()
            .filter(|a| !a.is_terminal() && intent.restarts.contains_key(&a.id))
            .partition(|a| intent.restarts.get(&a.id).map(String::as_str) == began(a));
        let mut left: Vec<(bool, u64, String)> =
            old.into_iter().map(|a| (passing.is_well(a), a.create_index, a.id.clone())).collect();
        left.sort_by(|a, b| b.cmp(a));
        let again = again.into_iter().map(|a| a.id.clone()).collect();
        Ok((left.into_iter().map(|(.., id)| id).collect(), again))
    }

    /// Waits until an instance passes again; `Some`: why it does not.
    async fn comes_back(
        &self,
        hands: &Hands,
        head: &Head,
        intent: &Intent,
        (id, until): (&str, Until),
    ) -> Result<Option<String>, EngineError> {
        let (namespace, job) = (head.app.namespace(), head.app.flat());
        let stored = hands.nomad.job(namespace, &job).await?;
        let mut follower = hands.world.subscribe().await;
        let deadline = tokio::time::Instant::now() + COME_BACK;
        loop {
            let all = hands.nomad.allocations(namespace, &job).await?;
            let instance = verdict::short(id);
            let Some(a) = all.iter().find(|a| a.id == id).filter(|a| !a.is_terminal()) else {
                return Ok(Some(format!("instance {instance} ended while it was restarted")));
            };
            let is_new = began(a) != intent.restarts.get(id).map(String::as_str);
            let well = || async {
                let now = health::passing(&hands.consul, &head.app).await?;
                Ok::<_, EngineError>(now.expecting(stored.as_ref()).is_well(a))
            };
            if is_new && (until == Until::Begun || well().await?) {
                return Ok(None);
            }
            // What it did before it was restarted is no reason to give up on it.
            if let Some(why) = crashes(a).filter(|_| is_new) {
                return Ok(Some(format!(
                    "instance {instance} does not come back: {why}; the others were left alone"
                )));
            }
            let changed = follower.changed(namespace, &job);
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Ok(Some(format!(
                    "instance {instance} does not pass its checks after {} s; the others were left alone",
                    COME_BACK.as_secs()
                )));
            }
        }
    }
}

/// Until when an instance is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Its task has begun again.
    Begun,
    /// It passes its checks again.
    Well,
}

/// Why an instance that was restarted will not come back: it ends again and again.
pub fn crashes(a: &Allocation) -> Option<String> {
    let task = main_task(a)?;
    let asked = task.events.iter().rposition(|e| e.display_message.contains("User requested")).unwrap_or(0);
    // Before it began again it ended by the restart itself. By an end with exit code 0 it does not come back either.
    let began = asked + task.events[asked..].iter().position(|e| e.kind == "Started")?;
    let ends: Vec<_> = crash::own_ends(task).filter(|(n, _)| *n > began).collect();
    (ends.len() >= crash::CRASHES).then(|| {
        let words: BTreeSet<String> =
            ends.iter().map(|(_, e)| format!("it ended with exit code {}", e.exit_code)).collect();
        words.into_iter().collect::<Vec<_>>().join(", ")
    })
}
