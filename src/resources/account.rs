//! Service accounts in the directory: `cn=<app>,ou=services,ou=users,<base>`, marked by `description: terreau:<uid>`.
//!
//! Create-only under a name chosen beforehand: "exists" with our mark is done, without it a conflict.

use std::time::Duration;

use super::secret;
use super::{Evidence, Work, conflict};
use crate::engines::directory::{Change, Entry, hash};
use crate::engines::{Engine, EngineError, Fault};
use crate::model::SecretName;

/// Reads are stale after a write: how long to look again (CLUSTER.md: a second or two).
const STALE: Duration = Duration::from_secs(3);

pub(super) async fn add(
    work: &Work<'_>,
    dn: &str,
    password: &SecretName,
    version: u64,
) -> Result<Evidence, EngineError> {
    let value = secret::read(&work.hands.consul, work.app, password, version).await?;
    let directory = &work.hands.directory;
    let cn = work.app.flat();
    let attrs = [
        (
            "objectclass",
            ["inetOrgPerson", "organizationalPerson", "person", "top"].map(str::to_owned).to_vec(),
        ),
        ("structuralobjectclass", vec!["inetOrgPerson".to_owned()]),
        ("cn", vec![cn.clone()]),
        ("sn", vec![cn.clone()]),
        ("displayname", vec![cn]),
        ("description", vec![work.mark()]),
        ("userpassword", vec![hash::ssha512_fresh(&value)]),
    ];
    match directory.add(dn, &attrs).await {
        Ok(()) => {}
        Err(e) if e.fault == Fault::Conflict => {
            let entry = directory.read_back(dn, STALE, |e| e.is_some()).await?;
            match entry {
                Some(entry) if is_ours(&entry, &work.mark()) => {
                    let hashes = entry.all("userpassword");
                    if !hashes.iter().any(|h| hash::verify(h, &value)) {
                        let set = Change::Replace {
                            attr: "userpassword".to_owned(),
                            values: vec![hash::ssha512_fresh(&value)],
                        };
                        directory.modify(dn, &[set]).await?;
                    }
                }
                _ => {
                    return Err(conflict(
                        Engine::Directory,
                        format!("add {dn}"),
                        "it exists, and is not ours",
                    ));
                }
            }
        }
        Err(e) => return Err(e),
    }
    let mark = work.mark();
    directory.read_back(dn, STALE, |e| e.is_some_and(|e| is_ours(e, &mark))).await?;
    Ok(Evidence::new())
}

/// True where the entry bears our mark.
pub fn is_ours(entry: &Entry, mark: &str) -> bool {
    entry.all("description").iter().any(|d| d == mark)
}

pub(super) async fn disable(work: &Work<'_>, dn: &str) -> Result<Evidence, EngineError> {
    let directory = &work.hands.directory;
    match directory.get(dn).await? {
        Some(entry) if is_ours(&entry, &work.mark()) && !entry.all("userpassword").is_empty() => {
            directory
                .modify(dn, &[Change::Replace { attr: "userpassword".to_owned(), values: Vec::new() }])
                .await?;
        }
        _ => {}
    }
    Ok(Evidence::new())
}

/// Removes an account that bears our mark; another's is left alone.
pub async fn remove_ours(work: &Work<'_>, dn: &str) -> Result<Evidence, EngineError> {
    let directory = &work.hands.directory;
    match directory.get(dn).await? {
        Some(entry) if is_ours(&entry, &work.mark()) => match directory.delete(dn).await {
            Err(e) if e.fault != Fault::NotFound => Err(e),
            _ => Ok(Evidence::new()),
        },
        _ => Ok(Evidence::new()),
    }
}
