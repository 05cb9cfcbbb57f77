//! What bears our mark on the engines, or lies where only we write: one list of each kind. Reads only, and no values.

use std::collections::BTreeSet;

use crate::deploy::one_off::is_run;
use crate::engines::EngineError;
use crate::engines::directory::{Entry, Scope};
use crate::engines::nomad::JobDetail;
use crate::model::Uid;
use crate::model::desired::Space;
use crate::model::head::Kind;
use crate::operation::Runner;
use crate::store::keys;
use crate::store::records::DoomedThing;

/// Whose a thing is, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// It bears the mark of the app with this identity.
    Marked(Uid),
    /// It lies under this app's flat name.
    Named(String),
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Thing {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) whose: Whose,
}

impl Thing {
    /// Whether this entry of the name index keeps others away from it.
    pub(super) fn is_below(&self, entry: &str) -> bool {
        matches!(&self.whose, Whose::Named(flat) if entry == keys::name(Space::Secrets, flat))
    }
}

/// All of them. What could not be asked for is told, and what it holds is not among them.
pub(super) async fn marked(runner: &Runner) -> (BTreeSet<Thing>, Vec<String>) {
    let hands = runner.hands();
    let (jobs, keys, accounts, values) = tokio::join!(
        hands.nomad.jobs("*", "", JobDetail::Meta),
        hands.garage.keys(),
        hands.directory.search(
            hands.directory.base(),
            Scope::Sub,
            "(description=terreau:*)",
            &["description"]
        ),
        hands.consul.kv_keys("secrets/"),
    );
    let mut unseen = Vec::new();
    let mut things = BTreeSet::new();
    let thing = |kind, id: String, whose| Thing { kind, id, whose };
    // Commands that run once have a timer of their own.
    things.extend(seen(jobs, &mut unseen).into_iter().filter(|j| !is_run(j)).filter_map(|j| {
        let uid = Uid::new(j.meta.get("terreau")?.as_str()).ok()?;
        Some(thing(Kind::Job, j.id, Whose::Marked(uid)))
    }));
    things.extend(
        seen(keys, &mut unseen)
            .into_iter()
            .filter_map(|k| Some(thing(Kind::Key, k.id, Whose::Marked(of_mark(&k.name)?)))),
    );
    things.extend(seen(accounts, &mut unseen).into_iter().filter_map(|e: Entry| {
        let uid = e.all("description").iter().find_map(|d| of_mark(d))?;
        Some(thing(Kind::Account, e.dn, Whose::Marked(uid)))
    }));
    things.extend(
        seen(values, &mut unseen)
            .iter()
            .filter_map(|key| of_value(key))
            .map(|(flat, name)| thing(Kind::Secret, name.to_owned(), Whose::Named(flat.to_owned()))),
    );
    (things, unseen)
}

fn seen<T>(asked: Result<Vec<T>, EngineError>, unseen: &mut Vec<String>) -> Vec<T> {
    asked.unwrap_or_else(|e| {
        unseen.push(e.to_string());
        Vec::new()
    })
}

/// The app that a mark names: `terreau:<uid>`, or `terreau:<uid>:<purpose>`.
fn of_mark(mark: &str) -> Option<Uid> {
    mark.strip_prefix("terreau:")?.split(':').next().and_then(|u| Uid::new(u).ok())
}

/// The app's flat name and the secret's name, of a key that only we write: `secrets/<app>/.v/<name>/<n>` and those of the
/// environment. A plain `secrets/<app>/<name>` may be anybody's.
fn of_value(key: &str) -> Option<(&str, &str)> {
    let (flat, rest) = key.strip_prefix("secrets/")?.split_once('/')?;
    if let Some(version) = rest.strip_prefix(".v/") {
        return version.split_once('/').map(|(name, _)| (flat, name));
    }
    rest.starts_with(&format!("{}/", DoomedThing::ENV)).then_some((flat, DoomedThing::ENV))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_terreau_alone_writes_is_taken_for_ours() {
        assert_eq!(of_value("secrets/carnet/.v/session/3"), Some(("carnet", "session")));
        assert_eq!(of_value("secrets/carnet/.env/mode/1"), Some(("carnet", ".env")));
        for foreign in ["secrets/carnet/session", "secrets/consul/.vault", "secrets/nomad", "other/.v/a/1"] {
            assert_eq!(of_value(foreign), None, "{foreign}");
        }
        let uid = "01hzzzzzzzzzzzzzzzzzzzzzzz";
        assert_eq!(of_mark(&format!("terreau:{uid}:media")).unwrap().as_str(), uid);
        assert_eq!(of_mark(&format!("terreau:{uid}")).unwrap().as_str(), uid);
        assert_eq!(of_mark("terreau-agent"), None);
        assert_eq!(of_mark("terreau:not a uid"), None);
    }
}
