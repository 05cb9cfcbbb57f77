//! What an admin should know of the cluster: drift's comparison backwards (what is owned by nobody), changes that nobody drives,
//! loops that fail, records that cannot be read, and what keeps apps apart. What is nobody's can be given to the sweep.
//!
//! Must never take away what may be another's: only what bears the mark of an app that these records know, and only by the sweep,
//! an hour later and under that app's lock.

mod halves;
mod isolation;
mod mend;
mod orphans;
mod things;

use std::collections::BTreeSet;

use super::{Deployer, Error};
use crate::model::head::Kind;
use crate::model::wire::{Agents, Checkup, Finding, FindingKind, LoopState};
use crate::model::{Placement, Uid};
use crate::store::{Whole, keys};
use orphans::Orphan;
use things::Whose;

impl Deployer {
    /// Looks.
    pub async fn checkup(&self) -> Result<Checkup, Error> {
        let (looked, agents, isolation) =
            tokio::join!(Box::pin(self.orphans()), self.runner.agents(), isolation::isolation(&self.runner));
        let (orphans, whole, mut unseen) = looked?;
        let mut findings = halves::halves(&whole, self.runner.now());
        findings.extend(orphans.iter().map(|o| orphan(o, &whole)));
        match agents {
            Ok(agents) => findings.extend(fares(&agents)),
            Err(e) => unseen.push(e.to_string()),
        }
        let isolation = isolation.map_err(|e| unseen.push(e.to_string())).ok();
        findings.sort();
        unseen.sort();
        unseen.dedup();
        Ok(Checkup { findings, isolation, unseen })
    }

    /// What is nobody's, seen twice: what somebody was just making or taking away is not.
    async fn orphans(&self) -> Result<(BTreeSet<Orphan>, Whole, Vec<String>), Error> {
        let (found, whole, unseen) = self.orphans_once().await?;
        if found.is_empty() {
            return Ok((found, whole, unseen));
        }
        drop(whole);
        let (again, whole, also) = self.orphans_once().await?;
        let both = found.intersection(&again).cloned().collect();
        Ok((both, whole, [unseen, also].concat()))
    }

    async fn orphans_once(&self) -> Result<(BTreeSet<Orphan>, Whole, Vec<String>), Error> {
        // The records last: whatever was made meanwhile is in them.
        let (there, mut unseen) = things::marked(&self.runner).await;
        let whole = self.runner.store().whole().await?;
        let tells_whose = [keys::HEADS, keys::OPERATIONS, keys::INTENTS, keys::DOOMED, keys::NAMES];
        if whole.unread.iter().any(|(key, _)| tells_whose.iter().any(|prefix| key.starts_with(prefix))) {
            unseen.push("what is nobody's: a record that may say whose it is cannot be read".to_owned());
            return Ok((BTreeSet::new(), whole, unseen));
        }
        Ok((orphans::orphans(&there, &whole), whole, unseen))
    }
}

fn finding(
    kind: FindingKind,
    app: Option<&Placement>,
    target: String,
    (text, remedy): (String, String),
) -> Finding {
    Finding { kind, app: app.map(ToString::to_string), target, text, remedy, fixable: false }
}

/// By what an orphan is named when it is to be mended.
fn target(orphan: &Orphan) -> String {
    match orphan {
        Orphan::Thing(t, _) => match &t.whose {
            Whose::Marked(_) => format!("{}/{}", t.kind.as_str(), t.id),
            Whose::Named(flat) => format!("{}/{flat}/{}", t.kind.as_str(), t.id),
        },
        Orphan::Entry(key, ..) => key.clone(),
        Orphan::Unheld(name, ..) => keys::name(name.space, &name.name),
    }
}

fn orphan(orphan: &Orphan, whole: &Whole) -> Finding {
    const SWEPT: &str = "`terreau doctor --fix` gives it to the sweep, which deletes it an hour later";
    let target = target(orphan);
    match orphan {
        Orphan::Thing(t, app) => {
            let says = match &t.whose {
                Whose::Marked(uid) => format!("bears the mark of {uid}"),
                Whose::Named(flat) => format!("lies under the name of {flat}"),
            };
            let what = match t.kind {
                Kind::Secret => format!("values of secret {}", t.id),
                kind => format!("{} {}", kind.as_str(), t.id),
            };
            let (said, remedy) = match app {
                Some((app, _)) => (format!("{what}, once of {app}: nobody owns it now"), SWEPT.to_owned()),
                None => (
                    format!("{what} {says}, which these records do not know"),
                    "another Terreau's, or of an app that is long gone: delete it by hand where nobody needs it".to_owned(),
                ),
            };
            let app = app.as_ref().map(|(app, _)| app);
            Finding { fixable: app.is_some(), ..finding(FindingKind::Orphan, app, target, (said, remedy)) }
        }
        Orphan::Entry(key, app, _) => {
            let text = format!("the name {} is kept for {app}, which does not hold it", named(key));
            let remedy = "`terreau doctor --fix` frees it".to_owned();
            Finding { fixable: true, ..finding(FindingKind::Name, Some(app), target, (text, remedy)) }
        }
        Orphan::Unheld(name, app, _) => {
            let other = whole.names.get(&target).map(|e| &e.value.app);
            let what = named(&target);
            let (text, remedy) = match other {
                None => (
                    format!("the name {what} of {app} is not kept for it: another app could take it"),
                    "`terreau doctor --fix` keeps it".to_owned(),
                ),
                Some(other) => (
                    format!(
                        "the {} {} is held by {app}, and kept for {other}",
                        name.space.as_str(),
                        name.name
                    ),
                    "deploy one of them without it".to_owned(),
                ),
            };
            let fixable = other.is_none();
            Finding { fixable, ..finding(FindingKind::Name, Some(app), target, (text, remedy)) }
        }
    }
}

/// The space and the name of an entry's key.
fn named(key: &str) -> String {
    key.strip_prefix(keys::NAMES).unwrap_or(key).replacen('/', " ", 1)
}

/// How the agents and their loops fare, where something is wrong with them.
fn fares(found: &Agents) -> Vec<Finding> {
    let mut findings = Vec::new();
    if found.agents.iter().all(|a| !a.leads) {
        let said = ("no agent leads".to_owned(), "one begins to within 22 s: `terreau loops`".to_owned());
        findings.push(finding(FindingKind::Agent, None, "leader".to_owned(), said));
    }
    let versions: BTreeSet<&str> = found.agents.iter().map(|a| a.version.as_str()).collect();
    if versions.len() > 1 {
        let text = format!(
            "the agents are of different versions: {}",
            versions.into_iter().collect::<Vec<_>>().join(", ")
        );
        let said = (text, "upgrade the older ones".to_owned());
        findings.push(finding(FindingKind::Agent, None, "versions".to_owned(), said));
    }
    for agent in &found.agents {
        for l in agent.loops.iter().filter(|l| matches!(l.state, LoopState::Fails | LoopState::Late)) {
            let why = l.error.as_deref().unwrap_or("it has not gone round for long");
            let text = format!("{} at agent {}: {why}", l.name, agent.id);
            let said = (text, "`terreau loops` shows all of them; the agent's log says more".to_owned());
            findings.push(finding(FindingKind::Loop, None, format!("{}/{}", agent.id, l.name), said));
        }
    }
    findings
}

/// An app and its identity.
type Whom = (Placement, Uid);
