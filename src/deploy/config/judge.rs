//! What a change of configuration comes to: nothing, values for the next release, or a release of its own; and what it is
//! refused for. Judged under the app's lock, by what is there then. Writes nothing.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::{ConfigCourse, ConfigInput, When, notes, words};
use crate::deploy::source::Source;
use crate::deploy::{Deployer, Error, held, no_such, prepare, versions};
use crate::model::config::MAX_INDEX;
use crate::model::head::Wanted;
use crate::model::names::EnvName;
use crate::model::project::{Project, SecretKind};
use crate::model::wire::SecretType;
use crate::model::{Head, Placement, Release, ReleaseNumber, SecretName, nearest};
use crate::operation::Given;
use crate::resources::{env, secret};
use crate::store::records::By;
use crate::store::{ConfigChange, Versioned};

/// A head is no larger than this as JSON.
const MAX_HEAD: usize = 8 << 10;

/// Everything that a change is judged by, read under the app's lock.
pub(super) struct Scene {
    pub(super) head: Versioned<Head>,
    pub(super) release: Option<Release>,
    /// The release whose canaries are held.
    pub(super) held: Option<Release>,
    pub(super) changes: Vec<ConfigChange>,
    env: BTreeMap<EnvName, Vec<u64>>,
    secrets: BTreeMap<SecretName, Vec<u64>>,
}

impl Scene {
    pub(super) fn project(&self, app: &Placement) -> Result<Option<Project>, Error> {
        let source = self.release.as_ref().map(|r| Source::same_as(app, r, None)).transpose()?;
        Ok(source.map(|s| s.project))
    }

    /// Which values of the environment come next: with the canaries that are held, else with the next release.
    pub(super) fn coming_env(&self) -> &BTreeMap<EnvName, u64> {
        self.held.as_ref().map_or(&self.head.value.env, |r| &r.bindings.env_versions)
    }

    /// Which version of a secret comes next.
    pub(super) fn coming_secret(&self, name: &SecretName) -> Option<u64> {
        let held = self.held.as_ref().and_then(|r| r.bindings.secret_versions.get(name));
        held.or_else(|| self.head.value.secrets.get(name)).copied()
    }

    /// A number that no version of this name ever had, unsettings included.
    fn next_env(&self, name: &EnvName) -> u64 {
        let written = self.env.get(name).and_then(|v| v.last().copied());
        let told = self.changes.iter().filter_map(|c| c.made.env.get(name)).map(|m| m.version());
        let head = &self.head.value;
        told.chain(written).chain(head.env.get(name).copied()).chain([head.spent]).max().unwrap_or(0) + 1
    }

    fn next_secret(&self, name: &SecretName) -> u64 {
        versions::next(&self.head.value, &self.secrets, name)
    }
}

/// What a change comes to.
pub(super) enum Decided {
    Nothing(Option<ReleaseNumber>),
    Stage { head: Box<Versioned<Head>>, given: Given, course: ConfigCourse },
    Release { source: Box<Source>, stage: Given, along: Option<String> },
}

impl Deployer {
    pub(super) async fn scene(&self, app: &Placement) -> Result<Scene, Error> {
        let consul = &self.runner.hands().consul;
        let (head, changes, env, secrets) = tokio::try_join!(
            self.head(app),
            async { Ok(self.runner.store().config_changes(app).await?) },
            async { Ok(env::versions(consul, app).await?) },
            async { Ok(secret::versions(consul, app).await?) },
        )?;
        let release = self.current(&head.value).await?;
        let canaries = match &head.value.held {
            Some(of) => Some(self.runner.store().objects().get_json(&of.release.object).await?),
            None => None,
        };
        let uid = head.value.uid.clone();
        let changes = changes.into_iter().map(|c| c.value).filter(|c| c.uid == uid).collect();
        Ok(Scene { head, release, held: canaries, changes, env, secrets })
    }

    /// Under the lock: what is to be done.
    pub(super) async fn judge_change(
        &self,
        by: &By,
        app: &Placement,
        input: &ConfigInput,
    ) -> Result<(Decided, Vec<String>), Error> {
        let scene = self.scene(app).await?;
        let head = &scene.head.value;
        if let Some(operation) = &head.operation {
            let why = format!("operation {operation} is being taken over; try again in a moment");
            return Err(Error::Moved(why, None));
        }
        prepare::unfinished(head)?;
        // They wait with what they are configured with.
        held::none_held(head)?;
        moved(app, head, input)?;
        let project = scene.project(app)?;
        notes::all_set(app, head, project.as_ref(), &input.unset)?;
        let (env, secrets) =
            (self.new_env(app, head, input).await?, self.new_secrets(app, head, &input.secrets).await?);
        if let Some(project) = &project {
            fits(app, project, input)?;
        } else if !input.secrets.is_empty() {
            let why = format!("{app} has no release that runs, so nothing declares a secret yet");
            return Err(Error::Invalid(format!(
                "{why}; terreau deploy asks for the values that it needs, or takes them by --secret-file NAME=FILE"
            )));
        }
        let said = project.iter().flat_map(|p| input.env.keys().flat_map(|n| notes::wins(p, n))).collect();
        let set = |(n, v): (&EnvName, &SecretString)| (n.clone(), scene.next_env(n), v.clone());
        let unset = input.unset.iter().filter(|n| head.env.contains_key(*n));
        let given = Given {
            secrets: secrets.iter().map(|(n, v)| (n.clone(), scene.next_secret(n), v.clone())).collect(),
            env: env.iter().map(set).collect(),
            unset: unset.map(|n| (n.clone(), scene.next_env(n))).collect(),
        };
        let after = with(scene.head.clone(), &given);
        bounded(app, &after.value)?;
        let why = match (&scene.release, input.when, head.wanted) {
            (None, ..) => Some(format!("{app} has no release yet: its first one takes it")),
            (_, When::Staged, _) => Some("the next release takes it".to_owned()),
            (_, When::Now, Wanted::Stopped) => {
                Some(format!("{app} is stopped: the next release takes it (terreau deploy makes one)"))
            }
            (Some(_), When::Now, Wanted::Running) => None,
        };
        if let Some(why) = why {
            let running = head.release.as_ref().map(|r| r.number);
            let runs =
                |n: &EnvName| scene.release.as_ref().is_some_and(|r| r.bindings.env_versions.contains_key(n));
            let is_unstaged = given.env.is_empty() && given.secrets.is_empty();
            let decided = if given.is_empty() {
                Decided::Nothing(running)
            } else if is_unstaged && !given.unset.iter().any(|(n, _)| runs(n)) {
                // What was only staged never ran: nothing is left for the next release to bring.
                let course = ConfigCourse::Unchanged(running);
                Decided::Stage { head: Box::new(after), given, course }
            } else {
                Decided::Stage { head: Box::new(after), given, course: ConfigCourse::Staged(why) }
            };
            return Ok((decided, said));
        }
        let Some(release) = &scene.release else { return Err(no_such(app)) };
        // Values that others staged, and whoever sets one now may not know of.
        let is_others = |n: &str| {
            let env = EnvName::new(n).is_ok_and(|n| input.env.contains_key(&n) || input.unset.contains(&n));
            !env && !SecretName::new(n).is_ok_and(|n| input.secrets.contains_key(&n))
        };
        let along = project.as_ref().and_then(|p| notes::staged(head, Some(release), p, is_others));
        let along = along.map(|names| format!("values that were staged before come with it: {names}"));
        let message = input.message.clone().or_else(|| (!given.is_empty()).then(|| words(&given)));
        let mut source = Source::same_as(app, release, message)?;
        source.env = Some(after.value.env);
        source.env_given.clone_from(&given.env);
        source.env_unset.clone_from(&given.unset);
        source.given = given.secrets.iter().map(|(n, _, v)| (n.clone(), v.clone())).collect();
        tracing::info!(%app, login = by.login, what = words(&given), "configuration changes");
        Ok((Decided::Release { source: Box::new(source), stage: given, along }, said))
    }

    /// Values that differ from the current ones.
    async fn new_env(
        &self,
        app: &Placement,
        head: &Head,
        input: &ConfigInput,
    ) -> Result<BTreeMap<EnvName, SecretString>, Error> {
        let known = head.env.iter().filter(|(n, _)| input.env.contains_key(*n));
        let known: BTreeMap<EnvName, u64> = known.map(|(n, v)| (n.clone(), *v)).collect();
        let now = match env::read(&self.runner.hands().consul, app, &known).await {
            Ok(now) => now,
            // A value that was lost is set again by this.
            Err(e) if e.fault == crate::engines::Fault::Conflict => BTreeMap::new(),
            Err(e) => return Err(e.into()),
        };
        let differs = |(n, v): &(&EnvName, &SecretString)| {
            now.get(*n).is_none_or(|old| old.expose_secret() != v.expose_secret())
        };
        Ok(input.env.iter().filter(differs).map(|(n, v)| (n.clone(), v.clone())).collect())
    }

    /// Values of secrets that differ from the current ones.
    pub(in crate::deploy) async fn new_secrets(
        &self,
        app: &Placement,
        head: &Head,
        given: &BTreeMap<SecretName, SecretString>,
    ) -> Result<BTreeMap<SecretName, SecretString>, Error> {
        let mut new = BTreeMap::new();
        for (name, value) in given {
            let old = match head.secrets.get(name) {
                Some(version) => secret::read(&self.runner.hands().consul, app, name, *version).await.ok(),
                None => None,
            };
            if old.is_none_or(|old| old.expose_secret() != value.expose_secret()) {
                new.insert(name.clone(), value.clone());
            }
        }
        Ok(new)
    }
}

/// The head with what was given as its current versions.
pub(super) fn with(mut head: Versioned<Head>, given: &Given) -> Versioned<Head> {
    for (name, version, _) in &given.env {
        head.value.env.insert(name.clone(), *version);
    }
    for (name, _) in &given.unset {
        head.value.env.remove(name);
    }
    for (name, version, _) in &given.secrets {
        head.value.secrets.insert(name.clone(), *version);
    }
    head
}

/// Refuses a change that was made upon something else than what is there.
fn moved(app: &Placement, head: &Head, input: &ConfigInput) -> Result<(), Error> {
    let Some(upon) = &input.upon else { return Ok(()) };
    let env = upon.env.iter().find(|(n, v)| head.env.get(*n).copied().unwrap_or(0) != **v);
    let secret = upon.secrets.iter().find(|(n, v)| head.secrets.get(*n).copied().unwrap_or(0) != **v);
    match env.map(|(n, _)| n.to_string()).or(secret.map(|(n, _)| n.to_string())) {
        None => Ok(()),
        Some(name) => Err(Error::Moved(
            format!("{name} of {app} was changed by somebody else meanwhile; look at it again"),
            None,
        )),
    }
}

/// Refuses what the running release has no place for.
fn fits(app: &Placement, project: &Project, input: &ConfigInput) -> Result<(), Error> {
    if project.is_site() && !input.env.is_empty() {
        return Err(Error::Invalid(format!(
            "{app} is a static site: no process of it could read an environment"
        )));
    }
    let volumes = project.processes.iter().flat_map(|p| &p.volumes);
    for volume in volumes {
        let name = format!("VOLUME_{}", volume.name.as_str().replace('-', "_").to_ascii_uppercase());
        if input.env.keys().any(|n| n.as_str() == name) {
            return Err(Error::Invalid(format!(
                "{name} is the directory of volume {}; choose another name",
                volume.name
            )));
        }
    }
    for name in input.secrets.keys() {
        let why = match project.secrets.iter().find(|s| s.name == *name).map(|s| &s.kind) {
            Some(SecretKind::User { .. }) => continue,
            Some(SecretKind::Generated { .. }) => {
                format!(
                    "secret {name} is generated: its value is made by the server, not given; {}",
                    SecretType::ANEW
                )
            }
            None if project.uses.iter().any(|u| u.secret_name() == *name) => {
                format!(
                    "secret {name} is the credential of a use: its value is made by the server, not given"
                )
            }
            None => {
                let known: Vec<&str> = project
                    .secrets
                    .iter()
                    .filter(|s| matches!(s.kind, SecretKind::User { .. }))
                    .map(|s| s.name.as_str())
                    .collect();
                let near = nearest(name.as_str(), known.iter().copied());
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Error::Absent {
                    why: format!(
                        "the release of {app} that runs declares no secret {name} (of type user: {known})"
                    ),
                    hint: match near {
                        Some(near) => format!("did you mean {near}?"),
                        None => {
                            "declare it in the descriptor and deploy, which asks for its value".to_owned()
                        }
                    },
                });
            }
        };
        return Err(Error::Invalid(why));
    }
    Ok(())
}

/// The record of an app stays small: it is read at every request.
fn bounded(app: &Placement, head: &Head) -> Result<(), Error> {
    let size = |json: Result<Vec<u8>, serde_json::Error>| json.map_or(usize::MAX, |j| j.len());
    if size(serde_json::to_vec(&head.env)) > MAX_INDEX || size(serde_json::to_vec(head)) > MAX_HEAD {
        return Err(Error::TooLarge(format!(
            "{app} would have {} values set: their names are more than its record holds; \
             put values that belong together into one, or into a `file` of the descriptor",
            head.env.len()
        )));
    }
    Ok(())
}
