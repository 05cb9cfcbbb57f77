//! Looking at configuration: what is set, by whom, since when; and values, for who may see them.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;

use super::judge::Scene;
use crate::deploy::{Deployer, Error};
use crate::model::head::Outcome;
use crate::model::names::EnvName;
use crate::model::project::{Project, SecretKind};
use crate::model::text::{Piece, Text};
use crate::model::wire::{
    ConfigHistory, ConfigVersion, EnvList, EnvOrigin, EnvView, SecretList, SecretType, SecretView,
};
use crate::model::{Placement, Release, SecretName, Uid, nearest};
use crate::operation::run::fresh_uid;
use crate::resources::{env, secret};
use crate::store::records::{Audit, By, SCHEMA};
use crate::store::{ConfigChange, EnvMade, keys};

/// The most releases that are looked at for one that took what was staged.
const LOOKED_AT: usize = 100;

/// Of which values one is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Those that the running release has.
    Serving,
    /// The current ones, staged ones among them: the next release gets them. Where canaries are held, those that they have.
    Next,
}

/// Values with the version of each, by name.
pub type Values = BTreeMap<String, (u64, SecretString)>;

impl Deployer {
    /// The environment of an app: what it is made of, never a value that was set.
    pub async fn env_list(&self, app: &Placement) -> Result<EnvList, Error> {
        let scene = self.scene(app).await?;
        let project = scene.project(app)?;
        let mut list = set_ones(&scene);
        if let Some(project) = &project {
            list.extend(said_ones(project, scene.coming_env()));
        }
        list.sort_by(|a, b| (a.origin, &a.name, &a.process).cmp(&(b.origin, &b.name, &b.process)));
        Ok(EnvList { app: app.to_string(), release: release(&scene), env: list })
    }

    /// The secrets of an app, without their values.
    pub async fn secret_list(&self, app: &Placement) -> Result<SecretList, Error> {
        let scene = self.scene(app).await?;
        let mut secrets: Vec<SecretView> = Vec::new();
        if let Some(project) = scene.project(app)? {
            let serving = scene.release.as_ref().map(|r| &r.bindings.secret_versions);
            let view = |name: &SecretName, kind, description: Option<String>| {
                let version = scene.coming_secret(name);
                let serving = serving.and_then(|s| s.get(name).copied());
                let staged = version.is_some() && serving != version;
                let made = scene.changes.iter().rev().find(|c| c.made.secrets.get(name).copied() == version);
                SecretView {
                    name: name.to_string(),
                    kind,
                    description: description.filter(|d| !d.is_empty()),
                    version,
                    at: made.filter(|_| version.is_some()).map(|c| c.at.clone()),
                    by: made.filter(|_| version.is_some()).map(|c| c.by.login.clone()),
                    staged,
                    held: staged && scene.held.is_some(),
                    serving,
                }
            };
            secrets.extend(project.secrets.iter().map(|s| match &s.kind {
                SecretKind::User { description, .. } => {
                    view(&s.name, SecretType::User, Some(description.clone()))
                }
                SecretKind::Generated { .. } => view(&s.name, SecretType::Generated, None),
            }));
            secrets.extend(project.uses.iter().map(|u| {
                view(&u.secret_name(), SecretType::Credential, Some(format!("of uses.{}", u.name)))
            }));
        }
        secrets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(SecretList { app: app.to_string(), release: release(&scene), secrets })
    }

    /// The versions of env values, newest first.
    pub async fn env_history(&self, app: &Placement, of: Option<&EnvName>) -> Result<ConfigHistory, Error> {
        let scene = self.scene(app).await?;
        let serving = scene.release.as_ref().map(|r| &r.bindings.env_versions);
        let latest = |name: &EnvName| scene.changes.iter().rev().find_map(|c| c.made.env.get(name)).copied();
        let served = self.served(&scene).await;
        let mut versions = Vec::new();
        for change in scene.changes.iter().rev() {
            for (name, made) in change.made.env.iter().filter(|(n, _)| of.is_none_or(|of| of == *n)) {
                let version = made.version();
                let now = scene.head.value.env.get(name).copied();
                let runs = serving.and_then(|s| s.get(name).copied());
                versions.push(ConfigVersion {
                    name: name.to_string(),
                    version,
                    what: if matches!(made, EnvMade::Set(_)) { "set" } else { "unset" }.to_owned(),
                    at: change.at.clone(),
                    by: change.by.login.clone(),
                    release: change.release.or_else(|| took_env(&served, change, name, *made)),
                    current: now == Some(version)
                        || (now.is_none() && latest(name) == Some(EnvMade::Unset(version))),
                    serving: runs == Some(version),
                });
            }
        }
        Ok(ConfigHistory { versions })
    }

    /// The versions of `user` secrets, newest first.
    pub async fn secret_history(
        &self,
        app: &Placement,
        of: Option<&SecretName>,
    ) -> Result<ConfigHistory, Error> {
        let scene = self.scene(app).await?;
        let serving = scene.release.as_ref().map(|r| &r.bindings.secret_versions);
        let served = self.served(&scene).await;
        let took = |name, version| {
            served.iter().find(|r| r.bindings.secret_versions.get(name) == Some(version)).map(|r| r.number.0)
        };
        let mut versions = Vec::new();
        for change in scene.changes.iter().rev() {
            for (name, version) in change.made.secrets.iter().filter(|(n, _)| of.is_none_or(|of| of == *n)) {
                versions.push(ConfigVersion {
                    name: name.to_string(),
                    version: *version,
                    what: "set".to_owned(),
                    at: change.at.clone(),
                    by: change.by.login.clone(),
                    release: change.release.or_else(|| took(name, version)),
                    current: scene.head.value.secrets.get(name) == Some(version),
                    serving: serving.and_then(|s| s.get(name)) == Some(version),
                });
            }
        }
        if let (Some(name), true) = (of, versions.is_empty()) {
            let project = scene.project(app)?;
            let all: Vec<&str> = project.iter().flat_map(|p| &p.secrets).map(|s| s.name.as_str()).collect();
            if !all.contains(&name.as_str()) {
                return Err(Error::Absent {
                    why: format!("{app} has no secret {name}"),
                    hint: see(name.as_str(), &all, "secret"),
                });
            }
        }
        Ok(ConfigHistory { versions })
    }

    /// The newest releases that served, oldest first, where something was staged: one of them may have taken it. Of those
    /// before, and where Garage does not tell, nothing is known: the oldest of these is only what the next is compared with.
    async fn served(&self, scene: &Scene) -> Vec<Release> {
        let mut served = Vec::new();
        if scene.changes.iter().all(|c| c.release.is_some()) {
            return served;
        }
        let mut next = scene.release.clone();
        while let Some(release) = next.take() {
            if let Some((_, object)) = &release.previous {
                let read = self.runner.store().objects().get_json(object).await;
                match read.ok().filter(|_| served.len() + 1 < LOOKED_AT) {
                    Some(older) => next = Some(older),
                    // What it runs may be an older one's.
                    None => break,
                }
            }
            served.push(release);
        }
        served.reverse();
        served
    }

    /// Values of the environment that were set: those named, or all. Written down in the audit first.
    pub async fn reveal_env(
        &self,
        by: &By,
        app: &Placement,
        of: &BTreeSet<EnvName>,
        at: At,
    ) -> Result<Values, Error> {
        let scene = self.scene(app).await?;
        let set = match at {
            At::Next => scene.coming_env().clone(),
            At::Serving => scene.release.map(|r| r.bindings.env_versions).unwrap_or_default(),
        };
        if let Some(name) = of.iter().find(|n| !set.contains_key(*n)) {
            let all: Vec<&str> = set.keys().map(EnvName::as_str).collect();
            return Err(Error::Absent {
                why: format!("{app} has no value set for {name}"),
                hint: see(name.as_str(), &all, "env"),
            });
        }
        let wanted = set.into_iter().filter(|(n, _)| of.is_empty() || of.contains(n));
        let wanted: BTreeMap<EnvName, u64> = wanted.collect();
        self.seen(by, (app, &scene.head.value.uid), "env", wanted.keys().map(EnvName::as_str)).await?;
        let values = env::read(&self.runner.hands().consul, app, &wanted).await?;
        let version = |n: &EnvName| wanted.get(n).copied().unwrap_or_default();
        Ok(values.into_iter().map(|(n, value)| (n.to_string(), (version(&n), value))).collect())
    }

    /// Values of `user` secrets: those named, or all. Written down in the audit first.
    pub async fn reveal_secrets(
        &self,
        by: &By,
        app: &Placement,
        of: &BTreeSet<SecretName>,
        at: At,
    ) -> Result<Values, Error> {
        let scene = self.scene(app).await?;
        let project = scene.project(app)?;
        let given =
            project.iter().flat_map(|p| &p.secrets).filter(|s| matches!(s.kind, SecretKind::User { .. }));
        let kept = |name: &SecretName| match at {
            At::Next => scene.coming_secret(name),
            At::Serving => scene.release.as_ref()?.bindings.secret_versions.get(name).copied(),
        };
        let all: BTreeMap<&SecretName, u64> = given.filter_map(|s| Some((&s.name, kept(&s.name)?))).collect();
        let meant = all.iter().filter(|(n, _)| of.is_empty() || of.contains(**n));
        let wanted: BTreeMap<SecretName, u64> = meant.map(|(n, v)| ((*n).clone(), *v)).collect();
        if let Some(name) = of.iter().find(|n| !wanted.contains_key(*n)) {
            let all: Vec<&str> = all.keys().map(|n| n.as_str()).collect();
            return Err(Error::Absent {
                why: format!("{app} has no secret {name} that a person gave"),
                hint: see(name.as_str(), &all, "secret"),
            });
        }
        self.seen(by, (app, &scene.head.value.uid), "secret", wanted.keys().map(SecretName::as_str)).await?;
        let mut values = Values::new();
        for (name, version) in wanted {
            let value = secret::read(&self.runner.hands().consul, app, &name, version).await?;
            values.insert(name.to_string(), (version, value));
        }
        Ok(values)
    }

    /// Writes down that somebody sees values.
    async fn seen<'a>(
        &self,
        by: &By,
        (app, uid): (&Placement, &Uid),
        what: &str,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<(), Error> {
        let names: Vec<&str> = names.collect();
        if names.is_empty() {
            return Ok(());
        }
        self.runner.has_audit_room("reveal")?;
        let id = fresh_uid(self.runner.now());
        let audit = Audit {
            v: SCHEMA,
            at: self.runner.now().to_string(),
            by: by.clone(),
            app: app.clone(),
            uid: Some(uid.clone()),
            about: Vec::new(),
            verb: "reveal".to_owned(),
            operation: id.clone(),
            outcome: Outcome::Done,
            summary: format!("{what} {}", names.join(", ")),
        };
        let value = serde_json::to_vec(&audit).map_err(|e| Error::Invalid(e.to_string()))?;
        Ok(self.runner.store().consul().kv_create(&keys::audit(&id), value).await?)
    }
}

/// The first release that served with what was staged.
fn took_env(served: &[Release], change: &ConfigChange, name: &EnvName, made: EnvMade) -> Option<u64> {
    let of = |r: &Release| r.bindings.env_versions.get(name).copied();
    let took = match made {
        EnvMade::Set(version) => served.iter().find(|r| of(r) == Some(version)),
        // The next one that served, unless somebody set the name again before it.
        EnvMade::Unset(_) => {
            let at = |text: &str| text.parse::<jiff::Timestamp>().ok();
            let since = at(&change.at);
            served.iter().find(|r| at(&r.at) >= since).filter(|r| of(r).is_none())
        }
    };
    took.map(|r| r.number.0)
}

fn release(scene: &Scene) -> Option<u64> {
    scene.head.value.release.as_ref().map(|r| r.number.0)
}

/// What people set: as it is now, as it runs, and what is unset by the next release.
fn set_ones(scene: &Scene) -> Vec<EnvView> {
    let nothing = BTreeMap::new();
    let now = scene.coming_env();
    let runs = scene.release.as_ref().map_or(&nothing, |r| &r.bindings.env_versions);
    let names: BTreeSet<&EnvName> = now.keys().chain(runs.keys()).collect();
    let view = |name: &EnvName| {
        let (current, serving) = (now.get(name).copied(), runs.get(name).copied());
        let is_it = |m: &EnvMade| match current {
            Some(version) => *m == EnvMade::Set(version),
            None => matches!(m, EnvMade::Unset(_)),
        };
        let made = scene.changes.iter().rev().find(|c| c.made.env.get(name).is_some_and(is_it));
        EnvView {
            version: current.or_else(|| made.and_then(|c| c.made.env.get(name)).map(|m| m.version())),
            at: made.map(|c| c.at.clone()),
            by: made.map(|c| c.by.login.clone()),
            staged: current != serving,
            held: current != serving && scene.held.is_some(),
            unset: current.is_none(),
            serving,
            ..blank(name.as_str(), EnvOrigin::Set)
        }
    };
    names.into_iter().map(view).collect()
}

/// What the descriptor says, and what Terreau adds.
fn said_ones(project: &Project, set: &BTreeMap<EnvName, u64>) -> Vec<EnvView> {
    let is_set = |name: &str| set.keys().any(|n| n.as_str() == name);
    let mut list = Vec::new();
    let mut say = |name: &str, origin, process: Option<String>, value: Option<String>| {
        list.push(EnvView { process, value, hidden_by_set: is_set(name), ..blank(name, origin) });
    };
    for (name, text) in &project.env {
        say(name.as_str(), EnvOrigin::Descriptor, None, Some(written(text)));
    }
    for process in &project.processes {
        let of = Some(process.name.to_string());
        for (name, text) in &process.env {
            say(name.as_str(), EnvOrigin::Descriptor, of.clone(), Some(written(text)));
        }
        let said = |name: &str| project.env.keys().chain(process.env.keys()).any(|n| n.as_str() == name);
        let mut implied = Vec::new();
        if !process.ports.is_empty() {
            implied.push("PORT".to_owned());
        }
        let upper = |s: &str| s.replace('-', "_").to_ascii_uppercase();
        implied.extend(process.ports.iter().map(|p| format!("PORT_{}", upper(p.name.as_str()))));
        implied.extend(process.volumes.iter().map(|v| format!("VOLUME_{}", upper(v.name.as_str()))));
        for name in implied.into_iter().filter(|n| !said(n)) {
            say(&name, EnvOrigin::Platform, of.clone(), None);
        }
    }
    list
}

/// What to do about a name that there is not: which was meant, else where they are listed.
fn see(name: &str, all: &[&str], what: &str) -> String {
    match nearest(name, all.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("`terreau {what} list` shows what there is"),
    }
}

fn blank(name: &str, origin: EnvOrigin) -> EnvView {
    EnvView {
        name: name.to_owned(),
        origin,
        process: None,
        value: None,
        version: None,
        at: None,
        by: None,
        staged: false,
        held: false,
        unset: false,
        serving: None,
        hidden_by_set: false,
    }
}

/// A text as the descriptor has it: references are names, not values.
fn written(text: &Text) -> String {
    let piece = |p: &Piece| match p {
        Piece::Literal(t) => t.clone(),
        Piece::Ref(r) => format!("${{{r}}}"),
    };
    text.0.iter().map(piece).collect()
}
