//! What is on the engines now, as far as one app's plan needs it. Reads only, all at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Hands, account, job, mark, names, secret};
use crate::engines::EngineError;
use crate::engines::nomad::{AllocMetric, DesiredUpdates, Diff, JobView};
use crate::model::desired::{Desired, JobWanted, Name};
use crate::model::{Head, Placement, SecretName, Sha256Hex, Uid};
use crate::store::Versioned;
use crate::store::records::NameRecord;

/// What is there.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Who owns each wanted name.
    pub names: Vec<(Name, Option<Versioned<NameRecord>>)>,
    /// Versions of secrets.
    pub secrets: BTreeMap<SecretName, Vec<u64>>,
    /// Accounts, by DN.
    pub accounts: BTreeMap<String, AccountSeen>,
    /// Buckets, by alias.
    pub buckets: BTreeMap<String, Option<BucketSeen>>,
    /// Keys, by id: the name each bears, and the buckets that it opens.
    pub keys: BTreeMap<String, Option<KeySeen>>,
    /// The site's bucket, where a site is wanted.
    pub site: Option<SiteSeen>,
    /// The job, where one is wanted or owned.
    pub job: JobSeen,
    /// Wanted hosts that a service of the catalogue answers at which is not the app's own: host and service.
    pub foreign_hosts: Vec<(String, String)>,
}

/// An account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountSeen {
    /// There is none.
    Absent,
    /// It bears our mark and has the password that it should have.
    Ours,
    /// It bears our mark; its password is another one, or none.
    OursWithOtherPassword,
    /// It does not bear our mark.
    Foreign,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketSeen {
    /// Garage's id.
    pub id: String,
    /// Quota in bytes.
    pub max_size: Option<u64>,
    /// Quota in objects.
    pub max_objects: Option<u64>,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySeen {
    /// Its name.
    pub name: String,
    /// Ids of buckets that it may read and write.
    pub buckets: Vec<String>,
}

/// A site's bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteSeen {
    /// Which aliases there are, and the bucket each names.
    pub aliases: BTreeMap<String, Option<String>>,
    /// Whether it is served as a website.
    pub served: bool,
}

/// A job.
#[derive(Debug, Clone)]
pub enum JobSeen {
    /// There is none, or none is wanted.
    Absent,
    /// It bears our mark.
    Ours(Box<OurJob>),
    /// It does not.
    Foreign,
}

/// A job of ours.
#[derive(Debug, Clone)]
pub struct OurJob {
    /// `JobModifyIndex`.
    pub index: u64,
    /// Deregistered, kept by Nomad for its history.
    pub stopped: bool,
    /// Instances by group.
    pub counts: BTreeMap<String, u64>,
    /// Whether it differs from what is wanted (counts left out); `None` where nothing is wanted.
    pub differs: Option<bool>,
}

/// What Nomad's scheduler would do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DryRun {
    /// By group.
    pub updates: BTreeMap<String, DesiredUpdates>,
    /// Groups without room, in words.
    pub unplaced: Vec<String>,
    /// Nomad's warnings.
    pub warnings: String,
}

/// What to look for.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// On which app.
    pub app: &'a Placement,
    /// Its identity.
    pub uid: &'a Uid,
    /// Its head.
    pub head: Option<&'a Head>,
    /// What it wants.
    pub desired: &'a Desired,
    /// The version of each secret that it wants.
    pub versions: &'a BTreeMap<SecretName, u64>,
}

/// Looks at everything at once.
pub async fn observe(hands: &Hands, wanted: &Wanted<'_>) -> Result<Observed, EngineError> {
    let (names, secrets, accounts, buckets, keys, site, job, foreign_hosts) = tokio::try_join!(
        names::owners(hands, &wanted.desired.names),
        secret::versions(&hands.consul, wanted.app),
        accounts(hands, wanted),
        buckets(hands, wanted),
        keys(hands, wanted),
        site(hands, wanted),
        job_seen(hands, wanted),
        names::foreign_hosts(hands, &wanted.desired.names, wanted.head),
    )?;
    Ok(Observed { names, secrets, accounts, buckets, keys, site, job, foreign_hosts })
}

async fn accounts(hands: &Hands, w: &Wanted<'_>) -> Result<BTreeMap<String, AccountSeen>, EngineError> {
    let reads = w.desired.accounts.iter().map(|a| async move {
        let seen = match hands.directory.get(&a.dn).await? {
            None => AccountSeen::Absent,
            Some(e) if !account::is_ours(&e, &mark(w.uid)) => AccountSeen::Foreign,
            Some(e) => {
                let version = w.versions.get(&a.password).copied().unwrap_or(0);
                match secret::read(&hands.consul, w.app, &a.password, version).await {
                    Ok(value)
                        if e.all("userpassword")
                            .iter()
                            .any(|h| crate::engines::directory::hash::verify(h, &value)) =>
                    {
                        AccountSeen::Ours
                    }
                    Ok(_) => AccountSeen::OursWithOtherPassword,
                    Err(e) if e.fault == crate::engines::Fault::NotFound => {
                        AccountSeen::OursWithOtherPassword
                    }
                    Err(e) => return Err(e),
                }
            }
        };
        Ok((a.dn.clone(), seen))
    });
    Ok(futures::future::try_join_all(reads).await?.into_iter().collect())
}

async fn buckets(hands: &Hands, w: &Wanted<'_>) -> Result<BTreeMap<String, Option<BucketSeen>>, EngineError> {
    let reads = w.desired.buckets.iter().map(|b| async move {
        let seen = hands.garage.bucket_by_alias(&b.alias).await?.map(|s| BucketSeen {
            id: s.id,
            max_size: s.quotas.max_size,
            max_objects: s.quotas.max_objects,
        });
        Ok((b.alias.clone(), seen))
    });
    Ok(futures::future::try_join_all(reads).await?.into_iter().collect())
}

async fn keys(hands: &Hands, w: &Wanted<'_>) -> Result<BTreeMap<String, Option<KeySeen>>, EngineError> {
    let reads = w.desired.buckets.iter().map(|b| async move {
        let seen = hands.garage.key(&b.access_key_id).await?.map(|k| KeySeen {
            name: k.name,
            buckets: k
                .buckets
                .into_iter()
                .filter(|b| b.permissions.read && b.permissions.write)
                .map(|b| b.id)
                .collect(),
        });
        Ok((b.access_key_id.clone(), seen))
    });
    Ok(futures::future::try_join_all(reads).await?.into_iter().collect())
}

async fn site(hands: &Hands, w: &Wanted<'_>) -> Result<Option<SiteSeen>, EngineError> {
    let Some(site) = &w.desired.site else { return Ok(None) };
    let mut seen = SiteSeen { aliases: BTreeMap::new(), served: false };
    for host in &site.hosts {
        let bucket = hands.garage.bucket_by_alias(host.as_str()).await?;
        seen.served |= bucket.as_ref().is_some_and(|b| b.website.is_some());
        seen.aliases.insert(host.to_string(), bucket.map(|b| b.id));
    }
    Ok(Some(seen))
}

async fn job_seen(hands: &Hands, w: &Wanted<'_>) -> Result<JobSeen, EngineError> {
    let id = w.app.flat();
    let Some(stored) = hands.nomad.job(w.app.namespace(), &id).await? else { return Ok(JobSeen::Absent) };
    let view = JobView::of(&stored)?;
    if view.meta("terreau") != Some(w.uid.as_str()) {
        return Ok(JobSeen::Foreign);
    }
    let index = view.job_modify_index();
    let stopped = view.is_stopped();
    let differs = match &w.desired.job {
        None => None,
        Some(_) if stopped => Some(true),
        Some(job) => Some(job_differs(hands, w.head, job, index).await?),
    };
    let counts = view.counts().into_iter().map(|(g, n)| (g.to_owned(), n)).collect();
    Ok(JobSeen::Ours(Box::new(OurJob { index, stopped, counts, differs })))
}

/// While the stored job is the one that our head knows, its hash says everything; else Nomad's own difference does
/// (the server adds to the stored job, so comparing it with the rendered one would differ for ever).
async fn job_differs(
    hands: &Hands,
    head: Option<&Head>,
    wanted: &JobWanted,
    index: u64,
) -> Result<bool, EngineError> {
    if let Some(head) = head
        && head.job_index == Some(index)
    {
        return Ok(head.spec_hash.as_ref() != Some(&wanted.spec_hash));
    }
    Ok(job::differs(&hands.nomad.plan(&wanted.json, Diff::Wanted).await?.diff))
}

/// Asks Nomad's scheduler what it would do, without doing it.
pub async fn dry_run(hands: &Hands, job: &JobWanted) -> Result<DryRun, EngineError> {
    let plan = hands.nomad.plan(&job.json, Diff::Wanted).await?;
    let unplaced = plan
        .failed_tg_allocs
        .iter()
        .flat_map(|(group, metric): (&String, &AllocMetric)| super::judge::placement(group, metric))
        .collect();
    Ok(DryRun { updates: plan.annotations, unplaced, warnings: plan.warnings })
}

impl Observed {
    /// Semantic hashes of everything observed, for the apply token: indexes and counts are left out.
    pub fn semantic_hash(&self) -> Sha256Hex {
        let names: Vec<_> = self.names.iter().map(|(n, o)| (n, o.as_ref().map(|o| &o.value.uid))).collect();
        let job = match &self.job {
            JobSeen::Absent => "absent".to_owned(),
            JobSeen::Foreign => "foreign".to_owned(),
            JobSeen::Ours(j) => format!("ours stopped={} differs={:?}", j.stopped, j.differs),
        };
        // By what they are, not by id: a first deploy makes up its key ids.
        let keys: Vec<&KeySeen> = self.keys.values().flatten().collect();
        crate::model::canonical::hash_of(&(
            names,
            &self.secrets,
            &self.accounts,
            &self.buckets,
            keys,
            &self.site,
            job,
        ))
    }
}
