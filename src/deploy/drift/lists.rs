//! Everything that drift is looked for in: one list of each kind of thing, whatever the number of apps. Reads only; values of
//! secrets are hashed at once and dropped.

use std::collections::{BTreeMap, BTreeSet};

use crate::engines::EngineError;
use crate::engines::directory::Scope;
use crate::engines::nomad::{JobDetail, JobStub};
use crate::model::{Head, Sha256Hex, sha256_hex};
use crate::operation::Runner;

/// What the engines hold. `None`: that engine could not be asked.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// By namespace and id.
    pub(super) jobs: Option<BTreeMap<(String, String), JobStub>>,
    /// By the flat name of an app and the rest of the key: the value's hash.
    pub(super) secrets: Option<BTreeMap<String, BTreeMap<String, Sha256Hex>>>,
    /// The mark of each marked account, by its DN in lower case.
    pub(super) accounts: Option<BTreeMap<String, String>>,
    /// Every global alias.
    pub(super) buckets: Option<BTreeSet<String>>,
    /// The id of each key.
    pub(super) keys: Option<BTreeSet<String>>,
    /// Why something could not be looked at.
    pub(super) unseen: Vec<String>,
}

impl Lists {
    /// Looks. Of secrets, those of these apps are kept.
    pub(super) async fn look(runner: &Runner, heads: &[&Head]) -> Self {
        let hands = runner.hands();
        let ours: BTreeSet<String> = heads.iter().map(|h| h.app.flat()).collect();
        let (jobs, secrets, accounts, buckets, keys) = tokio::join!(
            hands.nomad.jobs("*", "", JobDetail::Meta),
            hands.consul.kv_list("secrets/"),
            hands.directory.search(
                hands.directory.base(),
                Scope::Sub,
                "(description=terreau:*)",
                &["description"]
            ),
            hands.garage.buckets(),
            hands.garage.keys(),
        );
        let mut unseen = Vec::new();
        let jobs = seen(jobs, &mut unseen)
            .map(|all| all.into_iter().map(|j| ((j.namespace.clone(), j.id.clone()), j)).collect());
        let secrets = seen(secrets, &mut unseen).map(|all| {
            let mut found: BTreeMap<String, BTreeMap<String, Sha256Hex>> = BTreeMap::new();
            for entry in all {
                let parts = entry.key.strip_prefix("secrets/").and_then(|k| k.split_once('/'));
                if let Some((flat, rest)) = parts
                    && ours.contains(flat)
                {
                    found
                        .entry(flat.to_owned())
                        .or_default()
                        .insert(rest.to_owned(), sha256_hex(&entry.value));
                }
            }
            found
        });
        let accounts = seen(accounts, &mut unseen).map(|all| {
            let marked = |e: crate::engines::directory::Entry| {
                let mark = e.first("description")?.to_owned();
                Some((e.dn.to_lowercase(), mark))
            };
            all.into_iter().filter_map(marked).collect()
        });
        let buckets =
            seen(buckets, &mut unseen).map(|all| all.into_iter().flat_map(|b| b.global_aliases).collect());
        let keys = seen(keys, &mut unseen).map(|all| all.into_iter().map(|k| k.id).collect());
        Self { jobs, secrets, accounts, buckets, keys, unseen }
    }
}

fn seen<T>(asked: Result<T, EngineError>, unseen: &mut Vec<String>) -> Option<T> {
    asked.map_err(|e| unseen.push(e.to_string())).ok()
}
