//! Going back: a new release with the content and the configuration of an older one, and the credentials of today. Must
//! never go back further than people think: where the last deploy failed, they name the release.

use super::config::notes::staged;
use super::held::none_held;
use super::history::{Fate, newest};
use super::source::Source;
use super::{Accepted, Deployer, Error};
use crate::model::{Head, Placement, Release, ReleaseNumber};
use crate::store::records::{By, Verb};

/// Whether a release that never got healthy is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ill {
    /// No.
    Refused,
    /// The person knows, and wants it.
    Taken,
}

/// What a rollback is about.
#[derive(Debug, Clone)]
pub struct Back {
    /// The release that is gone back to.
    pub release: Release,
    /// What was set and is not deployed yet, in words: it does not come with an older release.
    pub dropped: Option<String>,
}

impl Deployer {
    /// Makes release n + 1 with the content of an older one, and current credentials.
    pub async fn rollback(
        &self,
        by: &By,
        app: &Placement,
        to: Option<ReleaseNumber>,
        message: Option<String>,
        ill: Ill,
    ) -> Result<(Accepted, Back), Error> {
        self.head(app).await?;
        let lock = self.runner.lock(app, by, Verb::Rollback).await?;
        // Chosen under the lock: whoever had it before may have made another release.
        let chosen = async {
            let head = self.head(app).await?.value;
            let runs = self.current(&head).await?;
            let release = self.find_release(&head, runs.as_ref(), to, ill).await?;
            let source = Source::from_release(app, &release, message)?;
            let dropped = staged(&head, runs.as_ref(), &source.project, |_| true);
            Ok((source, Back { release, dropped }))
        };
        match chosen.await {
            Ok((source, back)) => {
                let opening =
                    Box::pin(self.prepare_opening(by, app, &source, Verb::Rollback, lock.operation())).await;
                Ok((self.opened(lock, opening).await?, back))
            }
            Err(e) => {
                self.give_back(lock).await;
                Err(e)
            }
        }
    }

    /// The release to go back to: the one named, or the one before the current one.
    async fn find_release(
        &self,
        head: &Head,
        runs: Option<&Release>,
        to: Option<ReleaseNumber>,
        ill: Ill,
    ) -> Result<Release, Error> {
        let app = &head.app;
        let Some(wanted) = to else {
            // "Back" from what is held, or from what serves beside it? The person says.
            none_held(head)?;
            let Some(current) = runs else {
                let why = match newest(head) {
                    Some(_) => format!(
                        "no release of {app} has served yet, so there is none to go back to: see `terreau releases`"
                    ),
                    None => format!("{app} has no release yet"),
                };
                return Err(Error::NotFound(why));
            };
            let Some((before, object)) = &current.previous else {
                return Err(Error::NotFound(format!("{app} has only one release; there is none before it")));
            };
            if let Some(last) = newest(head).filter(|r| r.number > current.number) {
                return Err(Error::Refused {
                    why: format!(
                        "release {} of {app} never served: release {} runs, as before",
                        last.number, current.number
                    ),
                    hint: format!("`terreau rollback {before}` goes back to the release before that one"),
                });
            }
            return Ok(self.runner.store().objects().get_json(object).await?);
        };
        let told = self.one_release(app, wanted).await?;
        match &told.fate {
            // Its canaries were healthy: nothing speaks against it.
            Fate::Running | Fate::Served | Fate::TakenBack => Ok(told.release),
            Fate::Held => Err(Error::Refused {
                why: format!("the canaries of release {wanted} of {app} are held"),
                hint: "`terreau deploy --promote` lets them go on".to_owned(),
            }),
            _ if ill == Ill::Taken => Ok(told.release),
            Fate::UnderWay => Err(Error::Refused {
                why: format!("release {wanted} of {app} is being made just now"),
                hint: "wait until it has ended".to_owned(),
            }),
            fate => Err(Error::Refused {
                why: format!(
                    "release {wanted} of {app} never served: it is {}{}",
                    fate.word(),
                    fate.why().map(|w| format!(" ({w})")).unwrap_or_default()
                ),
                hint: format!("`terreau rollback {wanted} --yes` tries it all the same"),
            }),
        }
    }
}
