//! Canaries that wait for a person: they go on (`promote`) or go back (`revert`), as operations like any other.

use super::{Accepted, Deployer, Error};
use crate::model::canonical::hash_of;
use crate::model::desired::JobWanted;
use crate::model::head::{Held, Kind, Owned};
use crate::model::{Bindings, Head, Placement, Release, canonical_json};
use crate::operation::intended::counts_of;
use crate::operation::{Given, Opening};
use crate::plan::{Action, Change, Guard, Impact, Plan};
use crate::render;
use crate::store::Versioned;
use crate::store::records::{After, By, First, OpRecord, StepSpec, StepState, Verb};

/// Refuses what would change an app whose canaries wait for a person.
pub(super) fn none_held(head: &Head) -> Result<(), Error> {
    let Some(canaries) = &head.held else { return Ok(()) };
    Err(Error::Refused {
        why: format!("the canaries of release {} of {} are held", canaries.release.number, head.app),
        hint: format!(
            "`terreau deploy {app} --revert` takes them back, `terreau deploy {app} --promote` lets them go on; then \
             ask again",
            app = head.app
        ),
    })
}

impl Deployer {
    /// Lets the held canaries go on: they replace the old instances, and their release becomes the app's.
    pub async fn promote(&self, by: &By, app: &Placement) -> Result<Accepted, Error> {
        self.decide_held(by, app, Verb::Promote).await
    }

    /// Takes the held canaries back: the old release serves on, alone.
    pub async fn revert(&self, by: &By, app: &Placement) -> Result<Accepted, Error> {
        self.decide_held(by, app, Verb::Revert).await
    }

    async fn decide_held(&self, by: &By, app: &Placement, verb: Verb) -> Result<Accepted, Error> {
        let lock = self.runner.lock(app, by, verb).await?;
        let opening = match verb {
            Verb::Promote => self.promotion(by, app).await,
            _ => self.reversal(by, app).await,
        };
        match opening {
            Ok(opening) => Ok(Accepted::Operation(self.runner.open(lock, opening).await?)),
            Err(e) => {
                self.runner.unlock(lock).await;
                Err(e)
            }
        }
    }

    /// Under the lock: the head, and what is held.
    async fn held(&self, app: &Placement) -> Result<(Versioned<Head>, Held), Error> {
        let head = self.head(app).await?;
        super::prepare::unfinished(&head.value)?;
        match head.value.held.clone() {
            Some(waits) => Ok((head, waits)),
            None => Err(Error::Refused {
                why: format!("no canaries of {app} are held"),
                hint: "a release whose descriptor says `update { promote = \"manual\" }` holds its canaries"
                    .to_owned(),
            }),
        }
    }

    async fn promotion(&self, by: &By, app: &Placement) -> Result<Opening, Error> {
        let (head, waits) = self.held(app).await?;
        let record: OpRecord = self.runner.store().objects().get_json(&waits.record).await?;
        let (namespace, id) = (app.namespace().to_owned(), app.flat());
        let index = head.value.job_index.unwrap_or_default();
        let mut steps = vec![
            StepSpec::JobPromote { namespace: namespace.clone(), id: id.clone(), index },
            settle(&head.value, namespace, &id),
        ];
        // What the deploy has left for after its canaries: whatever its release does not want any more.
        let left = record.steps.into_iter().filter(|s| s.state == StepState::Todo);
        steps.extend(left.map(|s| s.spec));
        let what = format!("the canaries of release {} replace the old instances", waits.release.number);
        let plan = plan(&head.value, &id, what, steps, record.after);
        Ok(Opening { head, plan, verb: Verb::Promote, by: by.clone(), given: Given::default() })
    }

    async fn reversal(&self, by: &By, app: &Placement) -> Result<Opening, Error> {
        let (head, waits) = self.held(app).await?;
        let h = &head.value;
        let Some(old) = self.current(h).await? else {
            return Err(Error::Refused {
                why: format!("{app} has no release that the canaries could go back to"),
                hint: "let them go on, or delete the app".to_owned(),
            });
        };
        let job = rendered_again(h, &old)?;
        let objects = self.runner.store().objects();
        let (json, hcl) = tokio::try_join!(
            objects.put(canonical_json(&job.json).into_bytes()),
            objects.put(job.hcl.clone().into_bytes()),
        )?;
        let (namespace, id) = (app.namespace().to_owned(), app.flat());
        let enforce = h.job_index.unwrap_or_default();
        let spec_hash = job.spec_hash.clone();
        let steps = vec![
            StepSpec::JobRegister {
                namespace: namespace.clone(),
                id: id.clone(),
                json,
                hcl,
                enforce,
                spec_hash: spec_hash.clone(),
            },
            settle(h, namespace, &id),
        ];
        let owned = h.owned.iter().map(|o| match o.kind {
            Kind::Job => Owned { hash: spec_hash.clone(), ..o.clone() },
            _ => o.clone(),
        });
        let after = After {
            // It goes on being the one that serves. What was made for the other one stays ours until the next deploy.
            release: h.release.clone(),
            spec_hash: Some(spec_hash.clone()),
            owned: owned.collect(),
            names: h.names.clone(),
            secrets: h.secrets.clone(),
            env: h.env.clone(),
            owners: h.owners.clone(),
            node: h.node.clone(),
            fronts: h.fronts.clone(),
            processes: h.processes.clone(),
            counts: h.counts.clone(),
            doomed: Vec::new(),
        };
        let what = format!("the canaries of release {} go", waits.release.number);
        let plan = plan(h, &id, what, steps, after);
        Ok(Opening { head, plan, verb: Verb::Revert, by: by.clone(), given: Given::default() })
    }
}

/// The job of a release that has run, from its own record, with the counts of today.
pub(super) fn rendered_again(head: &Head, old: &Release) -> Result<JobWanted, Error> {
    let lost = |why: String| {
        Error::Invalid(format!(
            "release {} cannot be rendered again: {why}; deploy what shall serve instead",
            old.number
        ))
    };
    let project =
        super::history::project(old).ok_or_else(|| lost("its descriptor is not read any more".into()))?;
    let bindings =
        Bindings { counts: head.counts.clone(), capability: head.capability.clone(), ..old.bindings.clone() };
    let desired = render::render(&project, &head.app, &bindings).map_err(|e| lost(e.to_string()))?;
    desired.job.ok_or_else(|| lost("it has no job".into()))
}

fn settle(head: &Head, namespace: String, id: &str) -> StepSpec {
    let counts = counts_of(head).into_iter().map(|(name, n)| (name.to_string(), u64::from(n)));
    StepSpec::JobSettle { namespace, id: id.to_owned(), first: First::No, counts: counts.collect() }
}

fn plan(head: &Head, id: &str, what: String, steps: Vec<StepSpec>, after: After) -> Plan {
    let change = Change {
        kind: Kind::Job,
        target: id.to_owned(),
        action: Action::Update,
        impact: Impact::Replaces { instances: None, gap: false },
        guard: Guard::Checked,
        details: vec![what],
    };
    Plan {
        v: 1,
        app: head.app.clone(),
        release: after.release.as_ref().map(|r| r.number),
        changes: vec![change],
        obstacles: Vec::new(),
        notes: Vec::new(),
        token: hash_of(&(&head.uid, &head.held, &head.job_index)),
        steps,
        new_names: Vec::new(),
        after,
    }
}
