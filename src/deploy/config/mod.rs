//! What an app is configured with: env values and `user` secrets, set at once by a new release of what runs, or kept
//! for the next one.
//!
//! Must never show a value but to who asks for values, and never write one without a record of who gave it.

mod judge;
mod look;
pub(super) mod notes;

use std::collections::{BTreeMap, BTreeSet};

use secrecy::{ExposeSecret, SecretString};

use super::{Deployer, Error};
use crate::model::config::{check_name, check_value};
use crate::model::names::EnvName;
use crate::model::{Head, Placement, ReleaseNumber, SecretName, Uid};
use crate::operation::{Given, Lock};
use crate::store::records::{By, Verb};
use crate::store::{ConfigMade, Versioned};

use judge::{Decided, with};
pub use look::{At, Values};

/// A change of an app's configuration.
#[derive(Debug, Default)]
pub struct ConfigInput {
    /// Values of the environment to set.
    pub env: BTreeMap<EnvName, SecretString>,
    /// Names of the environment to set no more.
    pub unset: BTreeSet<EnvName>,
    /// Values of `user` secrets.
    pub secrets: BTreeMap<SecretName, SecretString>,
    /// The versions that the change was made upon, where it must not be made upon others.
    pub upon: Option<Upon>,
    /// When it counts.
    pub when: When,
    /// Why, in the person's words.
    pub message: Option<String>,
}

/// Current versions as somebody saw them; 0: there was none.
#[derive(Debug, Default)]
pub struct Upon {
    /// Of env values.
    pub env: BTreeMap<EnvName, u64>,
    /// Of secrets.
    pub secrets: BTreeMap<SecretName, u64>,
}

/// When a change counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// By a release of its own.
    #[default]
    Now,
    /// With the next release.
    Staged,
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// Which versions were made: those of values that were there already are not.
    pub made: ConfigMade,
    /// How it goes on.
    pub course: ConfigCourse,
    /// What the person should know: which of two values of one name wins, and what was staged and comes along.
    pub notes: Vec<String>,
}

impl Configured {
    fn new(made: ConfigMade, course: ConfigCourse) -> Self {
        Self { made, course, notes: Vec::new() }
    }
}

/// How a change of configuration goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigCourse {
    /// A release with it is under way.
    Operation(Uid),
    /// The next release takes it; why not one of its own.
    Staged(String),
    /// Nothing that runs is concerned.
    Unchanged(Option<ReleaseNumber>),
}

impl Deployer {
    /// Changes what an app is configured with.
    pub async fn configure(
        &self,
        by: &By,
        app: &Placement,
        input: &ConfigInput,
    ) -> Result<Configured, Error> {
        for (name, value) in &input.env {
            check_name(name).map_err(|e| Error::Invalid(e.to_string()))?;
            check(name.as_str(), value)?;
        }
        for (name, value) in &input.secrets {
            check(name.as_str(), value)?;
            if value.expose_secret().is_empty() {
                return Err(Error::Invalid(format!("the value of secret {name} is empty")));
            }
        }
        if let Some(name) = input.unset.iter().find(|n| input.env.contains_key(*n)) {
            return Err(Error::Invalid(format!("{name} is to be set and unset at once")));
        }
        Box::pin(self.not_in_the_artifact(app, input)).await?;
        let lock = self.runner.lock(app, by, Verb::Configure).await?;
        let (decided, notes) = match self.judge_change(by, app, input).await {
            Ok(judged) => judged,
            Err(e) => return self.given_back(lock, e).await,
        };
        let done = self.carry_out(by, app, lock, decided).await?;
        Ok(Configured { notes: notes.into_iter().chain(done.notes.iter().cloned()).collect(), ..done })
    }

    async fn carry_out(
        &self,
        by: &By,
        app: &Placement,
        lock: Lock,
        decided: Decided,
    ) -> Result<Configured, Error> {
        match decided {
            Decided::Nothing(release) => {
                self.runner.unlock(lock).await;
                Ok(Configured::new(ConfigMade::default(), ConfigCourse::Unchanged(release)))
            }
            Decided::Stage { head, given, course } => self.keep(by, lock, *head, given, course).await,
            Decided::Release { source, stage, along } => {
                let made = stage.made();
                let operation = lock.operation().clone();
                let prepared = self.prepare_opening(by, app, &source, Verb::Configure, &operation);
                match Box::pin(prepared).await {
                    Ok(Ok(opening)) => {
                        let id = Box::pin(self.runner.open(lock, opening)).await?;
                        let notes = along.into_iter().collect();
                        Ok(Configured { notes, ..Configured::new(made, ConfigCourse::Operation(id)) })
                    }
                    // What is changed is no part of what runs: an unset of what was only staged.
                    Ok(Err(release)) => match self.scene(app).await {
                        Ok(scene) => {
                            let head = with(scene.head, &stage);
                            let course = ConfigCourse::Unchanged(Some(release));
                            self.keep(by, lock, head, stage, course).await
                        }
                        Err(e) => self.given_back(lock, e).await,
                    },
                    Err(e) => self.given_back(lock, e).await,
                }
            }
        }
    }

    async fn given_back<T>(&self, lock: Lock, e: Error) -> Result<T, Error> {
        self.runner.unlock(lock).await;
        Err(e)
    }

    async fn keep(
        &self,
        by: &By,
        lock: Lock,
        head: Versioned<Head>,
        given: Given,
        course: ConfigCourse,
    ) -> Result<Configured, Error> {
        let made = given.made();
        if given.is_empty() {
            self.runner.unlock(lock).await;
        } else {
            let summary = format!("staged: {}", words(&given));
            self.runner.stage(lock, head, by, &given, summary).await?;
        }
        Ok(Configured::new(made, course))
    }

    /// A secret's value must not stand in the artifact that runs with it. Before the lock: it may take a while.
    async fn not_in_the_artifact(&self, app: &Placement, input: &ConfigInput) -> Result<(), Error> {
        if input.secrets.is_empty() {
            return Ok(());
        }
        let head = self.head(app).await?.value;
        let release = self.current(&head).await?;
        match release.and_then(|r| r.bindings.artifact) {
            Some(artifact) => self.look_for_given(&head.capability, &artifact, &input.secrets).await,
            None => Ok(()),
        }
    }
}

fn check(name: &str, value: &SecretString) -> Result<(), Error> {
    check_value(value.expose_secret()).map_err(|e| Error::Invalid(format!("the value of {name} {e}")))
}

/// Names only.
fn words(given: &Given) -> String {
    let mut parts = Vec::new();
    let mut say = |what: &str, names: Vec<&str>| {
        let more = names.len().saturating_sub(8);
        let mut list = names[..names.len() - more].join(", ");
        if more > 0 {
            list = format!("{list} and {more} more");
        }
        if !list.is_empty() {
            parts.push(format!("{what} {list}"));
        }
    };
    say("set", given.env.iter().map(|(n, ..)| n.as_str()).collect());
    say("unset", given.unset.iter().map(|(n, _)| n.as_str()).collect());
    say("secret", given.secrets.iter().map(|(n, ..)| n.as_str()).collect());
    parts.join("; ")
}
