//! From a request to a plan: reads what is there, binds, renders, compares. Writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::config::notes;
use super::history::{newest, project};
use super::source::Source;
use super::versions::{self, Chosen};
use super::{Deployer, Error};
use crate::engines::EngineError;
use crate::model::canonical::hash_of;
use crate::model::desired::Desired;
use crate::model::head::{AppState, Head, Kind, Wanted as HeadWanted};
use crate::model::names::PartName;
use crate::model::project::{Owner, Project, UseKind};
use crate::model::text::Reference;
use crate::model::{Bindings, Login, Placement, ProcessName, Release, ReleaseNumber, SecretName};
use crate::operation::run::fresh_uid;
use crate::operation::{Given, OpenError};
use crate::plan::compare::{Side, Values, differences};
use crate::plan::{self, Obstacle, Plan};
use crate::render;
use crate::resources::observed::{self, JobSeen, Wanted};
use crate::resources::secret;
use crate::store::Versioned;
use crate::store::records::{By, LockHolder, SCHEMA, StepSpec};

/// Whether Nomad's scheduler is asked what it would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DryRuns {
    /// For people who read the plan.
    Wanted,
    /// For a deploy, which sees for itself.
    Left,
}

/// A plan and everything that it was made of.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) head: Versioned<Head>,
    pub(super) release: Release,
    pub(super) desired: Desired,
    pub(super) plan: Plan,
    pub(super) given: Given,
}

impl Deployer {
    /// The keys of an app that Garage has no more.
    async fn gone_keys(&self, head: &Head) -> Result<BTreeSet<String>, Error> {
        let garage = &self.runner.hands().garage;
        let owned = head.owned.iter().filter(|o| o.kind == Kind::Key).map(|o| &o.id);
        let looks = owned.map(|id| async move {
            let key = garage.key(id).await?;
            Ok::<_, EngineError>(key.is_none().then(|| id.clone()))
        });
        Ok(futures::future::try_join_all(looks).await?.into_iter().flatten().collect())
    }

    pub(super) async fn prepare(
        &self,
        by: &By,
        app: &Placement,
        source: &Source,
        dry_runs: DryRuns,
    ) -> Result<Prepared, Error> {
        let hands = self.runner.hands();
        let (found, existing, missing) = tokio::try_join!(
            async { Ok::<_, Error>(self.runner.store().head(app).await?) },
            async { Ok(secret::versions(&hands.consul, app).await?) },
            self.missing_services(&source.project),
        )?;
        let head = self.revive(app, source, found, by).await?;
        let number = ReleaseNumber(head.value.last_number + 1);
        let given = self.new_secrets(app, &head.value, &source.given).await?;
        let waiting = self.waiting(&source.project, &head.value, &existing).await?;
        let Chosen { versions, given: secrets, notes } =
            versions::choose(source, &given, &head.value, &existing, &waiting);
        let env = source.env.clone().unwrap_or_else(|| head.value.env.clone());
        let (lost, node, gone) = tokio::try_join!(
            self.lost_env(app, source, &env),
            self.node(&source.project, &head.value),
            self.gone_keys(&head.value),
        )?;
        let processes: BTreeMap<ProcessName, u32> =
            source.project.processes.iter().map(|p| (p.name.clone(), p.instances)).collect();
        // What somebody scaled stays scaled, until the descriptor says the same.
        let mut counts = head.value.counts.clone();
        counts.retain(|name, count| processes.get(name).is_some_and(|d| d != count));
        let bindings = Bindings {
            cluster: hands.cluster.clone(),
            uid: head.value.uid.clone(),
            capability: head.value.capability.clone(),
            artifact: source.artifact.clone(),
            secret_versions: versions.clone(),
            env_versions: env,
            counts: counts.clone(),
            node,
            uses: render::resolve_uses(&source.project, app, &hands.cluster, |u| {
                key_id(&head.value, &u.name, &gone)
            }),
        };
        let desired =
            render::render(&source.project, app, &bindings).map_err(|e| Error::Invalid(e.to_string()))?;
        let observed = observed::observe(
            hands,
            &Wanted {
                app,
                uid: &head.value.uid,
                head: (head.index > 0).then_some(&head.value),
                desired: &desired,
                versions: &versions,
            },
        )
        .await?;
        let job_changes = !matches!(&observed.job, JobSeen::Foreign)
            && !matches!(&observed.job, JobSeen::Ours(j) if j.differs == Some(false));
        let dry_run = match &desired.job {
            Some(job) if dry_runs == DryRuns::Wanted && job_changes => {
                Some(observed::dry_run(hands, job).await?)
            }
            _ => None,
        };
        let owners = if source.as_it_ran {
            head.value.owners.clone()
        } else {
            owners(&source.project, &head.value, by)
        };
        let names: BTreeSet<SecretName> = secrets.iter().map(|(n, ..)| n.clone()).collect();
        let mut plan = plan::deploy(&plan::Input {
            app,
            head: (head.index > 0).then_some(&head.value),
            bindings: &bindings,
            desired: &desired,
            observed: &observed,
            dry_run: dry_run.as_ref(),
            given: &names,
            processes: processes.clone(),
            owners,
            number,
            source: hash_of(&(
                &source.descriptor,
                &source.artifact,
                &versions,
                &bindings.env_versions,
                &bindings.cluster,
                &bindings.node,
            )),
        });
        let only_counts = matches!(&observed.job, JobSeen::Ours(j) if !j.stopped && j.differs == Some(false))
            && plan.changes.iter().all(|c| c.kind == Kind::Job);
        if head.value.wanted == HeadWanted::Stopped
            && only_counts
            && (&processes, &counts) == (&head.value.processes, &head.value.counts)
        {
            // Nothing is new: the release that was stopped comes back.
            plan.release = head.value.release.as_ref().map(|r| r.number).or(plan.release);
        }
        if plan.is_empty() && head.value.held.is_none() {
            plan.changes.extend(self.kept_alone(&head.value, source, &plan, &bindings).await?);
        }
        versions::mark(&mut plan.after.doomed, &head.value, &existing);
        plan.notes.extend(notes);
        if source.as_it_ran {
            still_staged(&mut plan, &head.value, &existing);
        }
        if head.value.wanted == HeadWanted::Stopped && !plan.is_empty() {
            plan.notes.push(format!("{app} is stopped: this starts it"));
        }
        for (name, count) in &counts {
            plan.notes.push(format!(
                "{name} keeps its {count} instances, as it was scaled; the descriptor says {}",
                processes.get(name).copied().unwrap_or(0)
            ));
        }
        if let Some(held) = &head.value.held {
            let number = held.release.number;
            plan.notes.push(if plan.is_empty() {
                format!("release {number} has just this content, and waits with canaries")
            } else {
                format!("release {number} waits with canaries: this replaces it")
            });
        }
        // Garage being away is no reason to withhold the plan for a note.
        if dry_runs == DryRuns::Wanted
            && let Ok(release) = self.current(&head.value).await
        {
            let notes = notes::config_notes(&head.value, release.as_ref(), &source.project, &plan);
            plan.notes.extend(notes);
            let before = release.as_ref().and_then(project);
            let front = |c: &&mut plan::Change| matches!(c.kind, Kind::Job | Kind::Site);
            if let Some(change) = plan.changes.iter_mut().find(front) {
                change.details.extend(plan::answers(before.as_ref(), &source.project));
            }
        }
        plan.obstacles.extend(missing.into_iter().chain(lost));
        let given = Given { secrets, env: source.env_given.clone(), unset: source.env_unset.clone() };
        if !given.env.is_empty() && !plan.is_empty() {
            let values = given.env.iter().map(|(n, v, _)| (n.clone(), *v)).collect();
            plan.steps.insert(0, StepSpec::EnvGiven { values });
        }
        let release = Release {
            v: 1,
            app: app.clone(),
            number,
            at: self.runner.now().to_string(),
            actor: by.login.clone(),
            message: source.message.clone(),
            source: source.origin.clone(),
            operation: None,
            rollback_of: source.again.as_ref().filter(|_| !source.as_it_ran).map(|(n, _)| *n),
            descriptor: source.descriptor.clone(),
            bindings,
            spec_hash: desired.job.as_ref().map(|j| j.spec_hash.clone()),
            previous: head.value.release.as_ref().map(|r| (r.number, r.object.clone())),
            before: newest(&head.value).map(|r| (r.number, r.object.clone())),
        };
        Ok(Prepared { head, release, desired, plan, given })
    }

    /// What of a descriptor concerns nothing that runs: owners, how a secret comes to its value. It makes a release all the
    /// same: what is asked of the app later goes by the descriptor of the release that serves.
    async fn kept_alone(
        &self,
        head: &Head,
        source: &Source,
        plan: &Plan,
        bindings: &Bindings,
    ) -> Result<Option<plan::Change>, Error> {
        let Some(before) = self.current(head).await?.as_ref().and_then(project) else { return Ok(None) };
        // With the same bindings: what is staged or scaled besides is no part of the descriptor.
        let side = |project| Side { project, bindings };
        let details = differences(side(&before), side(&source.project), Values::Named);
        let front = plan.after.owned.iter().find(|o| matches!(o.kind, Kind::Job | Kind::Site));
        let Some(front) = front.filter(|_| !details.is_empty()) else { return Ok(None) };
        Ok(Some(plan::Change {
            kind: front.kind,
            target: front.id.clone(),
            action: plan::Action::Update,
            impact: plan::Impact::InPlace,
            guard: plan::Guard::Atomic,
            details: std::iter::once("nothing that runs is touched".to_owned())
                .chain(plan::difference::words(details))
                .collect(),
        }))
    }

    /// The head as it is, or as a first deploy makes it (index 0: to be created).
    async fn revive(
        &self,
        app: &Placement,
        source: &Source,
        found: Option<Versioned<Head>>,
        by: &By,
    ) -> Result<Versioned<Head>, Error> {
        let known = found.as_ref().map(|h| &h.value);
        let capability = self.capability(by, app, known, source.ticket.as_deref()).await?;
        let Some(mut head) = found else {
            let uid = fresh_uid(self.runner.now());
            let owners = owners_of(by);
            return Ok(Versioned { value: Head::new(app.clone(), uid, capability, owners), index: 0 });
        };
        if let Some(operation) = &head.value.operation {
            // Under the lock: its agent is gone, and the leader takes it up in a moment.
            return Err(self.runner.held_by(app, operation).await.map_err(OpenError::from)?.into());
        }
        unfinished(&head.value)?;
        if head.value.state == AppState::Deleted {
            if let Some(at) = self.free_at(&head.value.uid).await? {
                let why = format!(
                    "{app} was deleted, and its name rests until {at}, while what it had is taken away; nobody else can take it \
                     before, and from then on you can deploy it again"
                );
                return Err(Error::NameNotAvailable { why, hint: String::new() });
            }
            head.value.state = AppState::New;
            head.value.capability = capability;
        }
        Ok(head)
    }

    /// Services that the project depends on and that the catalogue does not have.
    async fn missing_services(&self, project: &Project) -> Result<Vec<Obstacle>, Error> {
        let cluster = &self.runner.hands().cluster;
        let mut wanted: BTreeMap<String, String> = BTreeMap::new();
        for u in &project.uses {
            let service = match u.kind {
                UseKind::Ldap => &cluster.ldap_service,
                UseKind::Bucket { .. } => &cluster.s3_service,
            };
            wanted.insert(service.clone(), format!("uses \"{}\"", u.kind.keyword()));
        }
        for text in texts(project) {
            for r in text.references() {
                if let Reference::Service(name) = r {
                    wanted.insert(name.clone(), format!("service.{name}"));
                }
            }
        }
        let consul = &self.runner.hands().consul;
        let looks = wanted.into_iter().map(|(service, by)| async move {
            let alive =
                consul.health(&service).await?.iter().any(crate::engines::consul::Instance::is_passing);
            Ok::<_, EngineError>((!alive).then(|| Obstacle {
                code: "missing".to_owned(),
                target: service.clone(),
                why: format!(
                    "{by} needs the service {service}, and no healthy instance of it is in the catalogue"
                ),
                hint: "see `consul catalog services`; deploy again once it is there".to_owned(),
            }))
        });
        Ok(futures::future::try_join_all(looks).await?.into_iter().flatten().collect())
    }

    /// The node that holds the app's volumes: as written, as it was, or one that can take it.
    async fn node(&self, project: &Project, head: &Head) -> Result<Option<String>, Error> {
        let volumes: Vec<_> = project.processes.iter().flat_map(|p| &p.volumes).collect();
        if volumes.is_empty() {
            return Ok(None);
        }
        if let Some(named) = volumes.iter().find_map(|v| v.node.clone()) {
            return Ok(Some(named));
        }
        if let Some(node) = &head.node {
            return Ok(Some(node.clone()));
        }
        let hands = self.runner.hands();
        let mut nodes = hands.nomad.nodes().await?;
        nodes.retain(|n| {
            n.status == "ready"
                && n.scheduling_eligibility == "eligible"
                && hands.cluster.sites.contains(&n.datacenter)
        });
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        match nodes.first() {
            Some(node) => Ok(Some(node.name.clone())),
            None => Err(Error::Invalid(format!(
                "no node is ready at {} to hold the volumes",
                hands.cluster.sites.join(", ")
            ))),
        }
    }
}

/// A plan of one step whose agent is gone is finished first: nobody tramples it.
pub(super) fn unfinished(head: &Head) -> Result<(), Error> {
    let Some(intent) = &head.intent else { return Ok(()) };
    let holder = LockHolder {
        v: SCHEMA,
        // Whose agent is gone: who takes it up is not known yet.
        agent: intent.id.clone(),
        operation: intent.id.clone(),
        login: intent.actor.clone(),
        verb: intent.verb.clone(),
    };
    Err(Error::Held { app: head.app.clone(), holder: Box::new(holder) })
}

/// What is staged comes with the release after this one, as before.
fn still_staged(plan: &mut Plan, head: &Head, existing: &versions::Existing) {
    plan.after.env.clone_from(&head.env);
    for (name, version) in &mut plan.after.secrets {
        let staged = head.secrets.get(name).filter(|v| existing.get(name).is_some_and(|l| l.contains(v)));
        *version = staged.copied().unwrap_or(*version);
    }
}

fn owners_of(by: &By) -> Vec<Owner> {
    Login::new(by.login.as_str()).map(Owner::User).into_iter().collect()
}

/// Who deployed it first stays an owner unless the descriptor names others.
fn owners(project: &Project, head: &Head, by: &By) -> Vec<Owner> {
    if !project.owners.is_empty() {
        return project.owners.clone();
    }
    if head.owners.is_empty() { owners_of(by) } else { head.owners.clone() }
}

/// The id of the key of a bucket: the one that the app holds, or the one that its next release brings. It follows
/// from the app, the use and the release, so that a reviewed plan and its deploy agree, and an id that was used once
/// never comes back: one that somebody has deleted in Garage is not made again.
fn key_id(head: &Head, of: &PartName, gone: &BTreeSet<String>) -> String {
    let owned =
        |id: &String| !gone.contains(id) && head.owned.iter().any(|o| o.kind == Kind::Key && o.id == *id);
    let id_of = |n| render::access_key_id(&head.uid, of, n);
    let known = (1..=head.last_number).rev().map(id_of).find(owned);
    known.unwrap_or_else(|| id_of(head.last_number + 1))
}

/// Every text of a project that may hold references.
fn texts(project: &Project) -> impl Iterator<Item = &crate::model::text::Text> {
    let processes = project.processes.iter().flat_map(|p| p.command.iter().chain(p.env.values()));
    project.env.values().chain(project.files.iter().map(|f| &f.content)).chain(processes)
}
