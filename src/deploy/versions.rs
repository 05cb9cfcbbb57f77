//! Which version of each secret and of each value of the environment a release reads: the one of its release, the
//! current one, one that waits for the sweep and is taken up again, or a new one.
//!
//! Must never give a number to a new value that an older one ever had: a rollback would find the wrong value under it.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::source::Source;
use super::{Deployer, Error, to_the_minute};
use crate::model::head::{Head, Kind};
use crate::model::names::EnvName;
use crate::model::project::{Project, SecretKind};
use crate::model::{Placement, SecretName};
use crate::plan::Obstacle;
use crate::resources::env;
use crate::store::records::{DoomedThing, DoomedVersions};

/// The versions that exist, by name.
pub(super) type Existing = BTreeMap<SecretName, Vec<u64>>;

/// A secret that no release uses, and whose values are there until the sweep.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The version that was current.
    version: u64,
    /// When it goes (UTC, to the minute).
    until: String,
}

/// What a release reads.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// The version of every secret that the job will read.
    pub(super) versions: BTreeMap<SecretName, u64>,
    /// The values that are written with this request.
    pub(super) given: Vec<(SecretName, u64, SecretString)>,
    /// What people should know of it.
    pub(super) notes: Vec<String>,
}

impl Deployer {
    /// Secrets of this project that the app's last release did not have, and an earlier one had.
    pub(super) async fn waiting(
        &self,
        project: &Project,
        head: &Head,
        existing: &Existing,
    ) -> Result<BTreeMap<SecretName, Waiting>, Error> {
        let is_back = |n: &SecretName| !head.secrets.contains_key(n) && existing.contains_key(n);
        if !project.secrets.iter().any(|s| is_back(&s.name)) {
            return Ok(BTreeMap::new());
        }
        let mut waiting = BTreeMap::new();
        for doomed in self.runner.store().doomed().await? {
            let doomed = doomed.value;
            for thing in doomed.things.iter().filter(|t| t.kind == Kind::Secret && doomed.uid == head.uid) {
                if let (Some(versions), Ok(name)) = (thing.versions, SecretName::new(thing.id.as_str())) {
                    let until = to_the_minute(&doomed.not_before);
                    waiting.insert(name, Waiting { version: versions.current, until });
                }
            }
        }
        Ok(waiting)
    }

    /// Versions of env that are nowhere: an instance would wait for them for ever.
    pub(super) async fn lost_env(
        &self,
        app: &Placement,
        source: &Source,
        wanted: &BTreeMap<EnvName, u64>,
    ) -> Result<Vec<Obstacle>, Error> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let existing = env::versions(&self.runner.hands().consul, app).await?;
        let is_there = |(name, version): &(&EnvName, &u64)| {
            existing.get(*name).is_some_and(|l| l.contains(version))
                || source.env_given.iter().any(|(n, v, _)| n == *name && v == *version)
        };
        let lost = wanted.iter().filter(|w| !is_there(w)).map(|(name, version)| Obstacle {
            code: "missing".to_owned(),
            target: name.to_string(),
            why: format!("version {version} of env {name} is not in Consul any more"),
            hint: format!("set it again: terreau env set {name} --stdin, or terreau env unset {name}"),
        });
        Ok(lost.collect())
    }
}

/// A number that no version of this secret ever had.
pub(super) fn next(head: &Head, existing: &Existing, name: &SecretName) -> u64 {
    let written = existing.get(name).and_then(|v| v.last().copied());
    let known = [written, head.dropped.get(name).copied(), head.secrets.get(name).copied(), Some(head.spent)];
    known.into_iter().flatten().max().unwrap_or(0) + 1
}

/// Says of the secrets that go with a plan which of their versions do.
pub(super) fn mark(doomed: &mut [DoomedThing], head: &Head, existing: &Existing) {
    for thing in doomed.iter_mut().filter(|t| t.kind == Kind::Secret) {
        let Ok(name) = SecretName::new(thing.id.as_str()) else { continue };
        if let Some(current) = head.secrets.get(&name).copied() {
            let highest = existing.get(&name).and_then(|v| v.last().copied()).unwrap_or(0).max(current);
            thing.versions = Some(DoomedVersions { current, highest });
        }
    }
}

/// Chooses.
pub(super) fn choose(
    source: &Source,
    values: &BTreeMap<SecretName, SecretString>,
    head: &Head,
    existing: &Existing,
    waiting: &BTreeMap<SecretName, Waiting>,
) -> Chosen {
    let mut chosen = Chosen::default();
    let is_there = |name: &SecretName, v: u64| existing.get(name).is_some_and(|l| l.contains(&v));
    for s in &source.project.secrets {
        let name = &s.name;
        let new = next(head, existing, name);
        if let (Some(value), SecretKind::User { .. }) = (values.get(name), &s.kind) {
            chosen.versions.insert(name.clone(), new);
            chosen.given.push((name.clone(), new, value.clone()));
            continue;
        }
        // Configuration rolls back with its release; credentials are always the current ones.
        let again = source.again.as_ref().and_then(|(of, old)| Some((*of, old.get(name).copied()?)));
        let current = head.secrets.get(name).copied();
        let waits = waiting.get(name).filter(|_| current.is_none());
        let known = [again.map(|(_, v)| v), current, waits.map(|w| w.version)];
        let found = known.into_iter().flatten().find(|v| is_there(name, *v));
        chosen.versions.insert(name.clone(), found.unwrap_or(new));
        let is_made = matches!(s.kind, SecretKind::Generated { .. });
        let note = match (found, waits, again) {
            (Some(version), Some(waits), _) => Some(format!(
                "secret {name} has version {version} again, which no release used any more and which was to be deleted \
                 at {}",
                waits.until
            )),
            (Some(version), None, Some((of, lost))) if lost != version => Some(format!(
                "secret {name} keeps version {version}: version {lost}, which release {of} had, is gone"
            )),
            (None, _, Some((of, lost))) if is_made => Some(format!(
                "secret {name} gets a new value: version {lost}, which release {of} had, is gone"
            )),
            (None, _, None) if is_made && head.dropped.contains_key(name) => Some(format!(
                "secret {name} gets a new value: the one that it had is gone, an hour after no release used it any more"
            )),
            _ => None,
        };
        chosen.notes.extend(note);
    }
    for u in &source.project.uses {
        let name = u.secret_name();
        let current = head.secrets.get(&name).copied().filter(|v| is_there(&name, *v));
        let version = current.unwrap_or_else(|| next(head, existing, &name));
        chosen.versions.insert(name, version);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ProjectName, ReleaseNumber, Uid};

    const TEXT: &str = r#"project "carnet" {
  process "web" {
    command = ["/bin/web"]
    env     = { A = secret.made, B = secret.told }
  }
  secret "made" { type = "generated" }
  secret "told" { type = "user" }
}
"#;

    fn name(name: &str) -> SecretName {
        SecretName::new(name).unwrap()
    }

    fn both(made: u64, told: u64) -> BTreeMap<SecretName, u64> {
        [(name("made"), made), (name("told"), told)].into()
    }

    fn head() -> Head {
        let app = Placement::production(ProjectName::new("carnet").unwrap());
        Head::new(app, Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzz").unwrap(), String::new(), vec![])
    }

    fn source(again: Option<BTreeMap<SecretName, u64>>) -> Source {
        let app = Placement::production(ProjectName::new("carnet").unwrap());
        let input = super::super::DeployInput { descriptor: TEXT.to_owned(), ..Default::default() };
        Source { again: again.map(|a| (ReleaseNumber(3), a)), ..Source::from_input(&app, &input).unwrap() }
    }

    fn existing(versions: &[u64]) -> Existing {
        [(name("made"), versions.to_vec()), (name("told"), versions.to_vec())].into()
    }

    #[test]
    fn what_was_dropped_is_taken_up_again_while_it_is_there_whatever_was_written_besides() {
        let waits = || Waiting { version: 1, until: "11:05 UTC".to_owned() };
        let waiting: BTreeMap<_, _> = [(name("made"), waits()), (name("told"), waits())].into();
        // Version 2 was given with a release that never served.
        let there = existing(&[1, 2]);
        let chosen = choose(&source(None), &BTreeMap::new(), &head(), &there, &waiting);
        assert_eq!(chosen.versions, both(1, 1));
        assert!(chosen.notes.iter().all(|n| n.contains("version 1 again") && n.contains("11:05 UTC")));
        assert_eq!(chosen.notes.len(), 2);
        // A rollback has what its release had.
        let chosen = choose(&source(Some(both(2, 2))), &BTreeMap::new(), &head(), &there, &waiting);
        assert_eq!(chosen.versions, both(2, 2));
        // Without a word on it nothing is taken: it may be a value that nobody came to use.
        let chosen = choose(&source(None), &BTreeMap::new(), &head(), &there, &BTreeMap::new());
        assert_eq!(chosen.versions, both(3, 3));
    }

    #[test]
    fn after_the_sweep_numbers_go_on_and_the_old_ones_are_not_taken_for_new_ones() {
        let mut head = head();
        head.dropped = both(2, 2);
        let none = BTreeMap::new();
        let chosen = choose(&source(Some(both(1, 1))), &none, &head, &Existing::new(), &BTreeMap::new());
        assert_eq!(chosen.versions, both(3, 3));
        let [said] = &chosen.notes[..] else { panic!("{:?}", chosen.notes) };
        assert!(said.contains("made gets a new value: version 1, which release 3 had, is gone"), "{said}");
        // What it has now is taken rather than nothing.
        head.secrets = both(3, 3);
        let chosen = choose(&source(Some(both(1, 1))), &none, &head, &existing(&[3]), &BTreeMap::new());
        assert_eq!(chosen.versions, both(3, 3));
        assert!(chosen.notes.iter().all(|n| n.contains("keeps version 3: version 1")), "{:?}", chosen.notes);
    }

    #[test]
    fn what_goes_is_marked_with_its_versions() {
        let mut head = head();
        head.secrets = both(1, 2);
        let thing = |id: &str| DoomedThing::new(Kind::Secret, id, vec![]);
        let mut doomed = [thing("made"), thing("told"), thing(DoomedThing::ENV), thing("other")];
        mark(&mut doomed, &head, &existing(&[1, 2, 3]));
        let marks: Vec<_> = doomed.iter().map(|d| d.versions.map(|v| (v.current, v.highest))).collect();
        assert_eq!(marks, [Some((1, 3)), Some((2, 3)), None, None]);
    }
}
