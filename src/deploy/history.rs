//! An app's releases: a chain of objects in Garage that begins at the head. What became of each is told by its operation.

use std::collections::BTreeMap;

use super::{Deployer, Error};
use crate::model::head::{Outcome, ReleaseRef};
use crate::model::{Head, Placement, Project, Release, ReleaseNumber, Sha256Hex};
use crate::plan::compare::{Side, Values, differences};
use crate::plan::difference;
use crate::resources::settle;
use crate::store::records::Ended;

/// The most releases that are listed.
const LISTED: usize = 100;

/// What became of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is the one that serves, as far as Terreau decides it.
    Running,
    /// It has served, and another one does now.
    Served,
    /// Its canaries wait for a person.
    Held,
    /// Its operation is under way.
    UnderWay,
    /// Its canaries were held, and did not go on.
    TakenBack,
    /// It never served: how its operation ended, and why.
    Never(Outcome, String),
    /// It never served, and how its operation ended is not kept.
    Unknown,
}

impl Fate {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Served => "served",
            Self::Held | Self::Never(Outcome::Held, _) => "held",
            Self::UnderWay => "under way",
            Self::TakenBack => "taken back",
            Self::Never(Outcome::Reverted, _) => "reverted",
            Self::Never(Outcome::Failed, _) => "failed",
            Self::Never(Outcome::Undone, _) => "undone",
            Self::Never(Outcome::Abandoned, _) => "abandoned",
            Self::Never(Outcome::Done, _) | Self::Unknown => "unknown",
        }
    }

    /// Why it does not serve, where it never did.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Never(_, why) => Some(why),
            _ => None,
        }
    }
}

/// A release in an app's history.
#[derive(Debug, Clone)]
pub struct Told {
    /// The release.
    pub release: Release,
    /// Its object: what it is known by, whatever it is called.
    pub object: Sha256Hex,
    /// What became of it.
    pub fate: Fate,
    /// What differs from the release that served before it, in words; `None` where there was none, or where one of the
    /// two has a descriptor that this agent does not read any more.
    pub differs: Option<Vec<String>>,
}

/// The last release made. Heads that were written before it was kept know the last that served.
pub(super) fn newest(head: &Head) -> Option<&ReleaseRef> {
    match (&head.newest, &head.release) {
        (Some(n), Some(r)) if n.number < r.number => Some(r),
        (Some(n), _) => Some(n),
        (None, r) => r.as_ref(),
    }
}

/// Who or what ended a release that never served, and why.
fn end_in_words(ended: &Ended) -> String {
    // The first line says most: what failed, before the log lines.
    let first = ended.why.first().cloned();
    let is_late = ended.why.iter().any(|line| line.contains("deadline"));
    let given_up = ended.record.steps.iter().find_map(|s| s.evidence.get(settle::GIVEN_UP));
    let who = match (&ended.record.cancel, given_up, ended.outcome) {
        (Some(cancel), _, Outcome::Undone) => format!("cancelled by {}", cancel.by.login),
        (_, Some(login), _) => format!("given up by {login}"),
        (_, None, Outcome::Reverted | Outcome::Failed) if is_late => {
            "timed out, given up by the app's healthy deadline".to_owned()
        }
        _ => return first.unwrap_or_else(|| ended.summary.clone()),
    };
    match first.filter(|first| !first.contains(&who)) {
        Some(first) => format!("{who}: {first}"),
        None => who,
    }
}

impl Deployer {
    /// An app's releases, newest first: all of them, those that never served and the one that is being made included.
    pub async fn releases(&self, app: &Placement) -> Result<Vec<Told>, Error> {
        let head = self.head(app).await?.value;
        let mut found: Vec<Told> = Vec::new();
        let mut serving = head.release.as_ref().map(|r| r.number);
        let mut next = self.first(&head).await?;
        while let Some((number, object)) = next.take()
            && found.len() < LISTED
        {
            let release: Release = self.runner.store().objects().get_json(&object).await?;
            let fate = if Some(number) == serving {
                serving = release.previous.as_ref().map(|(n, _)| *n);
                if head.release.as_ref().is_some_and(|r| r.number == number) {
                    Fate::Running
                } else {
                    Fate::Served
                }
            } else {
                self.fate(&head, &release).await?
            };
            next = release.before.clone().or_else(|| release.previous.clone());
            found.push(Told { release, object, fate, differs: None });
        }
        let projects: BTreeMap<u64, Project> =
            found.iter().filter_map(|t| Some((t.release.number.0, project(&t.release)?))).collect();
        for n in 0..found.len() {
            let Some((before, _)) = found[n].release.previous else { continue };
            let older = found.iter().find(|t| t.release.number == before).map(|t| &t.release);
            let side = |r: &'_ Release| projects.get(&r.number.0);
            if let Some(old) = older
                && let (Some(a), Some(b)) = (side(old), side(&found[n].release))
            {
                let was = Side { project: a, bindings: &old.bindings };
                let is = Side { project: b, bindings: &found[n].release.bindings };
                found[n].differs = Some(difference::words(differences(was, is, Values::Named)));
            }
        }
        Ok(found)
    }

    /// Where the chain of all releases begins: with the one that is being made, or with the last one made.
    async fn first(&self, head: &Head) -> Result<Option<(ReleaseNumber, Sha256Hex)>, Error> {
        if let Some(id) = &head.operation
            && let Some(open) = self.runner.store().operation(id).await?
            && let Some(r) = open.value.after.release
            && newest(head).is_none_or(|n| n.number < r.number)
        {
            return Ok(Some((r.number, r.object)));
        }
        Ok(newest(head).map(|r| (r.number, r.object.clone())))
    }

    async fn fate(&self, head: &Head, release: &Release) -> Result<Fate, Error> {
        if head.held.as_ref().is_some_and(|h| h.release.number == release.number) {
            return Ok(Fate::Held);
        }
        let Some(id) = &release.operation else { return Ok(Fate::Unknown) };
        if head.operation.as_ref() == Some(id) {
            return Ok(Fate::UnderWay);
        }
        let ended: Option<Ended> = self.runner.store().objects().get_ended(id).await?;
        Ok(match ended {
            // Its canaries were healthy, and somebody took them back or replaced them.
            Some(e) if e.outcome == Outcome::Held => Fate::TakenBack,
            Some(e) => Fate::Never(e.outcome, end_in_words(&e)),
            None => Fate::Unknown,
        })
    }

    /// The release that runs (or ran last).
    pub(super) async fn current(&self, head: &Head) -> Result<Option<Release>, Error> {
        match &head.release {
            Some(ReleaseRef { object, .. }) => {
                Ok(Some(self.runner.store().objects().get_json(object).await?))
            }
            None => Ok(None),
        }
    }

    /// One release of an app, whatever became of it.
    pub async fn one_release(&self, app: &Placement, number: ReleaseNumber) -> Result<Told, Error> {
        let all = self.releases(app).await?;
        all.into_iter().find(|t| t.release.number == number).ok_or_else(|| no_release(app, number))
    }
}

fn no_release(app: &Placement, number: ReleaseNumber) -> Error {
    Error::NotFound(format!("{app} has no release {number}; `terreau releases {app}` lists them"))
}

/// What a release's descriptor says; `None` where this agent does not read it any more.
pub(super) fn project(release: &Release) -> Option<Project> {
    crate::descriptor::parse("terreau.hcl", &release.descriptor).ok()
}
