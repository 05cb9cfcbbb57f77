//! Pure: project + placement + bindings to desired resources, the Nomad job, its HCL and JSON.
//!
//! The same input gives the same bytes, on any machine. No I/O, no clock, no randomness; what only a cluster knows
//! comes in through the bindings. `docs/rendering.md` says what a job looks like and why.

mod atom;
mod catalogue;
mod hcl;
mod job;
mod json;
mod names;
mod offline;
mod one_off;
mod scope;
mod spec;
mod task;
mod value;

pub use names::{access_key_id, bucket_alias, ldap_dn, resolve_uses, service_name};
pub use offline::placeholders;
pub use one_off::{
    AGENT_META, BEGUN_META, BY_META, OneOff, PROCESS_META, PROGRAM_META, RUN_META, UNTIL_META, enters,
    is_run_of, one_off, run_job,
};

use std::collections::BTreeSet;

use crate::model::bindings::{Bindings, ResolvedUse};
use crate::model::canonical::hash_of;
use crate::model::desired::{
    AccountWanted, BucketWanted, Desired, JobWanted, Name, SecretWanted, SiteWanted, Space,
};
use crate::model::names::{Placement, SecretName};
use crate::model::project::{Build, Project, SecretKind, UseKind};

/// Why a project cannot be rendered. What a descriptor alone can tell is refused before, with its line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A value names something that is not there.
    #[error(
        "process {process:?} refers to {reference}, which does not exist; declare it or correct the name"
    )]
    UnknownReference {
        /// As written in the descriptor.
        reference: String,
        /// Where.
        process: String,
    },
    /// A use was not resolved.
    #[error("the bindings do not say what uses.{name} is; resolve it before rendering")]
    UnresolvedUse {
        /// The use.
        name: String,
    },
    /// A secret without a version.
    #[error("secret {name:?} has no version yet; give it a value before rendering")]
    MissingVersion {
        /// The secret.
        name: String,
    },
    /// A project with a build, and no artifact.
    #[error("the project is built, but there is no artifact to run; upload one before rendering")]
    MissingArtifact,
    /// A volume, and no node that holds it.
    #[error("process {process:?} has a volume, but no node holds it yet; choose one before rendering")]
    NoNode {
        /// The process.
        process: String,
    },
    /// A process without a program.
    #[error("process {process:?} has no command; add command = [\"./program\"]")]
    NoCommand {
        /// The process.
        process: String,
    },
    /// A value that only a template knows stands in a command line.
    #[error(
        "process {process:?}: {reference} cannot stand in a command line, which everybody on the node can read; \
         put it into env or into a file, and let the program read that"
    )]
    InCommand {
        /// The process.
        process: String,
        /// What stands there.
        reference: String,
    },
    /// Text in a place where Nomad evaluates it and knows no escape.
    #[error("process {process:?}: {what} {value:?} must not hold {why}")]
    Unwritable {
        /// The process.
        process: String,
        /// `header`, `path`…
        what: &'static str,
        /// The text.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A name over its limit.
    #[error("{what} {name:?} has {len} bytes; at most {max} are allowed: shorten the names that it is made of", len = name.len())]
    TooLong {
        /// `service`, `bucket`.
        what: &'static str,
        /// The name.
        name: String,
        /// Bytes.
        max: usize,
    },
    /// Two things of one name.
    #[error("two things of this app would both be the {what} {name:?}; rename one of them")]
    Collision {
        /// `service`, `secret`, `file`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A file where something else is.
    #[error("file {name:?} would stand where the platform keeps something of its own; choose another name")]
    ReservedFile {
        /// The file.
        name: String,
    },
    /// A file that holds the hash of itself.
    #[error("file {file:?} holds the very mark that would delimit its references; change any byte of it")]
    Delimiter {
        /// The file.
        file: String,
    },
    /// A static site without a host.
    #[error("a static site needs at least one route: route \"www.example.org\" {{}}")]
    NoHost,
    /// Our own failure to write HCL.
    #[error("cannot write the job as HCL: {0}")]
    Hcl(String),
}

/// Everything that an app wants of the engines.
pub fn render(project: &Project, placement: &Placement, bindings: &Bindings) -> Result<Desired, RenderError> {
    let mut accounts = Vec::new();
    let mut buckets = Vec::new();
    let mut secrets: Vec<SecretWanted> = project
        .secrets
        .iter()
        .map(|s| SecretWanted { name: s.name.clone(), kind: s.kind.clone(), credential_of: None })
        .collect();
    for a_use in &project.uses {
        let unresolved = || RenderError::UnresolvedUse { name: a_use.name.to_string() };
        let secret = a_use.secret_name();
        let length = match (&a_use.kind, bindings.uses.get(&a_use.name).ok_or_else(unresolved)?) {
            (UseKind::Ldap, ResolvedUse::Ldap { dn }) => {
                accounts.push(AccountWanted {
                    of: a_use.name.clone(),
                    dn: dn.clone(),
                    password: secret.clone(),
                });
                48
            }
            (
                UseKind::Bucket { max_size, max_objects },
                ResolvedUse::Bucket { bucket, access_key_id: key_id },
            ) => {
                names::check_len("bucket", bucket)?;
                buckets.push(BucketWanted {
                    of: a_use.name.clone(),
                    alias: bucket.clone(),
                    access_key_id: key_id.clone(),
                    secret: secret.clone(),
                    max_size: *max_size,
                    max_objects: *max_objects,
                });
                64
            }
            _ => return Err(unresolved()),
        };
        if secrets.iter().any(|s| s.name == secret) {
            return Err(RenderError::Collision { what: "secret", name: secret.to_string() });
        }
        secrets.push(SecretWanted {
            name: secret,
            kind: SecretKind::Generated { length },
            credential_of: Some(a_use.name.clone()),
        });
    }
    let site = site(project, bindings)?;
    let job = if project.is_site() { None } else { Some(job_wanted(project, placement, bindings)?) };
    let names = claimed(project, placement, job.is_some(), &accounts, &buckets, site.as_ref());
    let fronts = project.fronts().into_iter().cloned().collect();
    Ok(Desired { names, secrets, accounts, buckets, site, job, fronts })
}

fn job_wanted(
    project: &Project,
    placement: &Placement,
    bindings: &Bindings,
) -> Result<JobWanted, RenderError> {
    let spec = job::job(project, placement, bindings)?;
    let json = json::job(&spec);
    let hcl = hcl::job(&spec)?;
    let spec_hash = hash_of(&json::without_counts(&json));
    Ok(JobWanted { id: spec.id, namespace: spec.namespace, json, hcl, spec_hash })
}

fn site(project: &Project, bindings: &Bindings) -> Result<Option<SiteWanted>, RenderError> {
    let Some(Build::Static { index, error, .. }) = project.build.as_ref().filter(|_| project.is_site())
    else {
        return Ok(None);
    };
    if project.site_routes.is_empty() {
        return Err(RenderError::NoHost);
    }
    Ok(Some(SiteWanted {
        hosts: project.site_routes.clone(),
        index: index.clone(),
        error: error.clone(),
        artifact: bindings.artifact.clone().ok_or(RenderError::MissingArtifact)?,
    }))
}

/// The names that the app claims, sorted.
fn claimed(
    project: &Project,
    placement: &Placement,
    has_job: bool,
    accounts: &[AccountWanted],
    buckets: &[BucketWanted],
    site: Option<&SiteWanted>,
) -> Vec<Name> {
    let flat = placement.flat();
    let mut names = BTreeSet::new();
    let mut claim = |space, name: String| names.insert(Name { space, name });
    if has_job || !project.secrets.is_empty() || !project.uses.is_empty() {
        claim(Space::Secrets, flat.clone());
    }
    if has_job {
        // The job's own id, which is the service of the first routed process too.
        claim(Space::Service, flat.clone());
    }
    for process in &project.processes {
        for port in &process.ports {
            claim(Space::Service, names::service_of_port(project, placement, process, port));
            if let Some(n) = port.fixed {
                claim(Space::Port, n.to_string());
            }
        }
    }
    for account in accounts {
        claim(Space::Ldap, names::cn_of(&account.dn).unwrap_or(&flat).to_owned());
    }
    for bucket in buckets {
        claim(Space::Bucket, bucket.alias.clone());
    }
    for host in project.hosts() {
        claim(Space::Host, host.to_string());
    }
    for host in site.iter().flat_map(|s| &s.hosts) {
        // A site's hosts are global aliases of its bucket.
        claim(Space::Bucket, host.to_string());
    }
    names.into_iter().collect()
}

/// The pinned key of a secret's current version.
fn secret_key(placement: &Placement, bindings: &Bindings, name: &SecretName) -> Result<String, RenderError> {
    let version = bindings.secret_versions.get(name);
    let version = version.ok_or_else(|| RenderError::MissingVersion { name: name.to_string() })?;
    Ok(placement.secret_version_key(name, *version))
}
