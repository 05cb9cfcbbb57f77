//! A release as a file: everything that it takes to render it again bit by bit, verified when it comes back.
//!
//! The file holds no secret, and not what opens the app's artifacts: those are named by their hashes. What comes in is
//! hostile: nothing of it is believed but what its own hashes, the descriptor's checks and a rendering confirm; its
//! bindings are only compared, and never used.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::history::project;
use super::source::Source;
use super::{Accepted, Deployer, Error};
use crate::descriptor;
use crate::model::origin::Origin;
use crate::model::{
    Bindings, Placement, Project, Release, ReleaseNumber, Sha256Hex, canonical_json, sha256_hex,
};
use crate::plan::compare::{Side, Values, differences, settings};
use crate::plan::difference::Difference;
use crate::render;
use crate::store::records::{By, Verb};

/// What a file begins to be recognised by.
const KIND: &str = "terreau release";
/// The schema that is written and read.
const SCHEMA: u32 = 1;

/// A release in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exported {
    /// `terreau release`.
    pub kind: String,
    /// Schema: 1.
    pub v: u32,
    /// Of which app.
    pub app: Placement,
    /// Its number there.
    pub number: ReleaseNumber,
    /// When it was made (RFC 3339, UTC).
    pub at: String,
    /// Who made it.
    pub actor: String,
    /// Why.
    pub message: Option<String>,
    /// The commit that its folder was at.
    pub source: Option<Origin>,
    /// `terreau.hcl`, byte for byte.
    pub descriptor: String,
    /// What it was rendered with; zeros stand for what opens the artifacts.
    pub bindings: Bindings,
    /// Of the job as rendered with these; `None` for a site.
    pub job: Option<Sha256Hex>,
    /// Of everything above.
    pub sha256: Sha256Hex,
}

/// What came of reading a file.
#[derive(Debug)]
pub struct Imported {
    /// Of which app it was.
    pub from: Placement,
    /// Its number there.
    pub number: ReleaseNumber,
    /// Settings of the cluster that differ from those that it was rendered with.
    pub settings: Vec<String>,
    /// What differs from what runs here, in words; `None` where nothing does run.
    pub differs: Option<Vec<Difference>>,
    /// What was begun, where it was to be deployed.
    pub accepted: Option<Accepted>,
}

/// Whether an imported release is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is only verified and compared.
    Look,
    /// It becomes the next release.
    Deploy,
}

impl Exported {
    fn of(release: &Release) -> Result<Self, Error> {
        let bindings = Bindings { capability: "0".repeat(64), ..release.bindings.clone() };
        let project = project(release).ok_or_else(|| {
            Error::Invalid(format!("the descriptor of release {} is not read any more", release.number))
        })?;
        let job = job(&project, &release.app, &bindings)?;
        Ok(Self {
            kind: KIND.to_owned(),
            v: SCHEMA,
            app: release.app.clone(),
            number: release.number,
            at: release.at.clone(),
            actor: release.actor.clone(),
            message: release.message.clone(),
            source: release.source.clone(),
            descriptor: release.descriptor.clone(),
            bindings,
            job,
            sha256: sha256_hex(""),
        }
        .sealed())
    }

    /// The same, with the hash of its content.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.sha256 = self.content();
        self
    }

    fn content(&self) -> Sha256Hex {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(map) = value.as_object_mut() {
            map.remove("sha256");
        }
        sha256_hex(canonical_json(&value))
    }

    /// Reads a file and believes nothing of it.
    fn read(text: &str) -> Result<(Self, Project), Error> {
        let bad = |why: String| Error::Invalid(format!("this is no exported release: {why}"));
        let it: Self = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        if it.kind != KIND || it.v != SCHEMA {
            return Err(bad(format!(
                "it is {:?} of schema {}; this version reads {KIND:?} of {SCHEMA}",
                it.kind, it.v
            )));
        }
        if it.content() != it.sha256 {
            return Err(bad("its content has another hash than it says: it was changed".to_owned()));
        }
        let project = descriptor::parse("terreau.hcl", &it.descriptor).map_err(Error::Descriptor)?;
        if project.name != it.app.project {
            return Err(bad(format!(
                "its descriptor is of {}, and it says that it is of {}",
                project.name, it.app
            )));
        }
        if let Some(artifact) = &it.bindings.artifact {
            super::uploads::check(&artifact.parts)?;
        }
        if job(&project, &it.app, &it.bindings)? != it.job {
            return Err(bad(
                "rendered again, its job is another one: it was changed, or made by another version of Terreau".to_owned(),
            ));
        }
        Ok((it, project))
    }
}

/// The hash of a rendered job.
fn job(project: &Project, app: &Placement, bindings: &Bindings) -> Result<Option<Sha256Hex>, Error> {
    let lost = |e: render::RenderError| Error::Invalid(format!("it cannot be rendered: {e}"));
    let desired = render::render(project, app, bindings).map_err(lost)?;
    Ok(desired.job.map(|j| sha256_hex(canonical_json(&j.json))))
}

impl Deployer {
    /// A release as a file.
    pub async fn export(&self, app: &Placement, number: ReleaseNumber) -> Result<Exported, Error> {
        Exported::of(&self.one_release(app, number).await?.release)
    }

    /// Verifies a file, compares it with what runs, and makes the next release of it where that is wanted. Its
    /// configuration comes with it where it is this very app's; credentials and settings are always those of here.
    pub async fn import(
        &self,
        by: &By,
        app: &Placement,
        (text, message): (&str, Option<String>),
        then: Then,
    ) -> Result<Imported, Error> {
        let (it, project) = Exported::read(text)?;
        if project.name != app.project {
            return Err(Error::Invalid(format!(
                "it is a release of {}, and the request names {app}: a release comes into its own project alone, in \
                 whichever environment",
                it.app
            )));
        }
        let here = Bindings { cluster: self.runner.hands().cluster.clone(), ..it.bindings.clone() };
        let settings = settings(&it.bindings, &here);
        let found = self.runner.store().head(app).await?.map(|h| h.value);
        let current = match &found {
            Some(head) => self.current(head).await?,
            None => None,
        };
        let is_same_app = found.as_ref().is_some_and(|h| h.uid == it.bindings.uid);
        let differs = current.as_ref().and_then(|c| {
            let running = super::history::project(c)?;
            let was = Side { project: &running, bindings: &c.bindings };
            let mut bindings = it.bindings.clone();
            if !is_same_app {
                // Another app's configuration stays where it is: this one goes on with its own.
                bindings.env_versions.clone_from(&c.bindings.env_versions);
                bindings.secret_versions.clone_from(&c.bindings.secret_versions);
            }
            let is = Side { project: &project, bindings: &bindings };
            Some(differences(was, is, Values::Named))
        });
        let mut imported = Imported { from: it.app, number: it.number, settings, differs, accepted: None };
        if then == Then::Deploy {
            let source = Source {
                project,
                descriptor: it.descriptor,
                artifact: it.bindings.artifact,
                ticket: None,
                token: None,
                message: message.or(it.message),
                origin: it.source,
                given: BTreeMap::new(),
                again: is_same_app.then_some((it.number, it.bindings.secret_versions)),
                as_it_ran: false,
                env: is_same_app.then_some(it.bindings.env_versions),
                env_given: Vec::new(),
                env_unset: Vec::new(),
            };
            imported.accepted = Some(self.release(by, app, &source, Verb::Deploy).await?);
        }
        Ok(imported)
    }
}
