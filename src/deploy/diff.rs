//! What differs between two releases, between one and what runs, or between what runs and a descriptor: in words, and as
//! the difference of the rendered jobs. Writes nothing.

use similar::TextDiff;

use super::prepare::DryRuns;
use super::source::Source;
use super::{DeployInput, Deployer, Error};
use crate::model::{Bindings, Placement, Project, ReleaseNumber};
use crate::plan::compare::{Side, Values, differences};
use crate::plan::difference;
use crate::render;
use crate::store::records::By;

/// Lines around a change.
const CONTEXT: usize = 3;
/// What stands for the capability that opens the app's artifacts.
const MASK: &str = "(the app's own)";

/// One side of a comparison.
#[derive(Debug)]
pub enum Which {
    /// The release that serves.
    Running,
    /// A release, whatever became of it.
    Release(ReleaseNumber),
    /// What a deploy of this would make.
    Descriptor(Box<DeployInput>),
}

/// Whether the rendered jobs are compared, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jobs {
    /// Words are enough.
    Left,
    /// Compared, with what opens the artifacts masked.
    Masked,
    /// Compared as they are: for those who may read the job.
    Open,
}

/// What differs.
#[derive(Debug)]
pub struct Difference {
    /// The first side, in words.
    pub from: String,
    /// The second one.
    pub to: String,
    /// What differs, one thing a line.
    pub words: Vec<String>,
    /// The unified difference of the rendered jobs; empty: they are equal.
    pub job: Option<String>,
}

/// A side, looked up.
struct Found {
    name: String,
    project: Project,
    bindings: Bindings,
}

impl Deployer {
    /// Compares two sides.
    pub async fn diff(
        &self,
        by: &By,
        app: &Placement,
        (from, to): (Which, Which),
        jobs: Jobs,
    ) -> Result<Difference, Error> {
        let (a, b) = (self.side(by, app, from).await?, self.side(by, app, to).await?);
        let words = differences(
            Side { project: &a.project, bindings: &a.bindings },
            Side { project: &b.project, bindings: &b.bindings },
            Values::Shown,
        );
        let words = difference::words(words);
        let job = if jobs == Jobs::Left {
            None
        } else {
            let (old, new) = (hcl(app, &a, jobs)?, hcl(app, &b, jobs)?);
            let diff = TextDiff::from_lines(&old, &new);
            Some(diff.unified_diff().context_radius(CONTEXT).header(&a.name, &b.name).to_string())
        };
        Ok(Difference { from: a.name, to: b.name, words, job })
    }

    async fn side(&self, by: &By, app: &Placement, which: Which) -> Result<Found, Error> {
        let number = match which {
            Which::Descriptor(input) => {
                let source = Source::from_input(app, &input)?;
                let made = self.prepare(by, app, &source, DryRuns::Left).await?;
                let name = "terreau.hcl".to_owned();
                return Ok(Found { name, project: source.project, bindings: made.release.bindings });
            }
            Which::Release(number) => number,
            Which::Running => match self.head(app).await?.value.release {
                Some(r) => r.number,
                None => return Err(Error::NotFound(format!("{app} has no release that serves"))),
            },
        };
        let release = self.one_release(app, number).await?.release;
        let project = super::history::project(&release).ok_or_else(|| {
            Error::Invalid(format!("the descriptor of release {number} is not read by this version any more"))
        })?;
        Ok(Found { name: format!("release {number}"), project, bindings: release.bindings })
    }
}

/// The rendered job of a side; empty for a site.
fn hcl(app: &Placement, side: &Found, jobs: Jobs) -> Result<String, Error> {
    let lost = |e: render::RenderError| Error::Invalid(format!("{} cannot be rendered: {e}", side.name));
    let desired = render::render(&side.project, app, &side.bindings).map_err(lost)?;
    let text = desired.job.map(|j| j.hcl).unwrap_or_default();
    Ok(match jobs {
        Jobs::Open => text,
        _ => text.replace(&side.bindings.capability, MASK),
    })
}
