//! Who somebody is by now, as the directory says: remembered for a short while, by login.
//!
//! Only logins whose session was found good are asked for here, so the memory is bounded by the directory.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{STALE_FOR, directory_away};
use crate::clock::SharedClock;
use crate::engines::EngineError;
use crate::engines::directory::{Directory, Scope, dn, escape};
use crate::model::Login;

/// No answer within this: the groups last seen are used.
const PATIENCE: Duration = Duration::from_secs(3);
/// After a failure the directory is left alone for this long.
const REST: Duration = Duration::from_secs(1);

/// What the directory says of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    /// The groups, by cn in lower case: those directly below `ou=groups`.
    pub groups: BTreeSet<String>,
    /// Changes with the password.
    pub fingerprint: String,
}

/// How good the knowledge is.
#[derive(Debug, Clone)]
pub(super) enum Freshness {
    /// The directory said so this long ago.
    Known {
        /// How long.
        age: Duration,
    },
    /// It said so once, and does not answer now.
    Stale {
        /// What it does instead.
        why: EngineError,
    },
}

#[derive(Default)]
struct Memory {
    seen: Option<(Duration, Option<Arc<Person>>)>,
    failed: Option<(Duration, EngineError)>,
}

type Slots = Mutex<HashMap<Login, Arc<tokio::sync::Mutex<Memory>>>>;

pub(super) struct People {
    directory: Directory,
    clock: SharedClock,
    slots: Slots,
}

impl People {
    pub(super) fn new(directory: Directory, clock: SharedClock) -> Self {
        Self { directory, clock, slots: Mutex::default() }
    }

    fn slot(&self, login: &Login) -> Arc<tokio::sync::Mutex<Memory>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).entry(login.clone()).or_default().clone()
    }

    /// Somebody as the directory knew them at most `age` ago, or as it last did while it is away. `None`: no
    /// such entry. Requests of one person wait for one question.
    pub(super) async fn look(
        &self,
        login: &Login,
        dn: &str,
        age: Duration,
    ) -> Result<(Option<Arc<Person>>, Freshness), EngineError> {
        let slot = self.slot(login);
        let mut memory = slot.lock().await;
        let now = self.clock.boot();
        if let Some((at, person)) = &memory.seen
            && now.saturating_sub(*at) < age
        {
            return Ok((person.clone(), Freshness::Known { age: now.saturating_sub(*at) }));
        }
        let resting = memory.failed.as_ref().filter(|(at, _)| now.saturating_sub(*at) < REST);
        let why = match resting {
            Some((_, why)) => why.clone(),
            None => match self.fetch(dn).await {
                Ok(person) => {
                    *memory = Memory { seen: Some((now, person.clone())), failed: None };
                    return Ok((person, Freshness::Known { age: Duration::ZERO }));
                }
                Err(why) => {
                    tracing::warn!(%login, error = %why, "the directory does not answer; groups last seen serve reads");
                    memory.failed = Some((now, why.clone()));
                    why
                }
            },
        };
        match &memory.seen {
            Some((at, person)) if now.saturating_sub(*at) < STALE_FOR => {
                Ok((person.clone(), Freshness::Stale { why }))
            }
            _ => Err(why),
        }
    }

    /// Asks now, and remembers.
    pub(super) async fn ask(&self, login: &Login, dn: &str) -> Result<Option<Arc<Person>>, EngineError> {
        let person = self.fetch(dn).await?;
        // Who does not exist is not remembered: logins are guessed by anybody.
        if person.is_some() {
            let seen = Some((self.clock.boot(), person.clone()));
            *self.slot(login).lock().await = Memory { seen, failed: None };
        }
        Ok(person)
    }

    /// Asks now, and remembers nothing.
    pub(super) async fn fetch(&self, dn: &str) -> Result<Option<Arc<Person>>, EngineError> {
        tokio::time::timeout(PATIENCE, self.read(dn))
            .await
            .unwrap_or_else(|_| Err(directory_away(format!("no answer within {} s", PATIENCE.as_secs()))))
    }

    async fn read(&self, person: &str) -> Result<Option<Arc<Person>>, EngineError> {
        let Some(entry) = self.directory.get(person).await? else { return Ok(None) };
        let groups_of = format!("ou=groups,{}", self.directory.base());
        let mut groups: Vec<String> = entry.memberof().to_vec();
        if groups.is_empty() {
            // A server without `memberof` (it is not in LDAP itself) still knows its groups.
            let filter = format!("(member={})", escape(person));
            let found = self.directory.search(&groups_of, Scope::One, &filter, &["cn"]).await?;
            groups = found.into_iter().map(|e| e.dn).collect();
        }
        let groups = groups.iter().filter_map(|g| group_name(g, &groups_of)).collect();
        Ok(Some(Arc::new(Person { groups, fingerprint: entry.password_fingerprint() })))
    }

    /// Drops what is too old to serve anything.
    pub(super) fn forget_old(&self) {
        let now = self.clock.boot();
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, slot| {
            slot.try_lock().map_or(true, |memory| {
                memory.seen.as_ref().is_some_and(|(at, _)| now.saturating_sub(*at) < STALE_FOR)
            })
        });
    }
}

/// `cn=devs,ou=groups,<base>` → `devs`. Groups elsewhere in the tree are not ours to honour: whoever may write
/// there could make themselves an admin.
pub(super) fn group_name(group: &str, groups_of: &str) -> Option<String> {
    let canonical = dn::canonical(group).ok()?.to_lowercase();
    let (first, rest) = canonical.split_once(',')?;
    let name = first.strip_prefix("cn=")?;
    (dn::dn_eq(rest, groups_of) && !name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_directly_below_the_groups_branch_count() {
        let of = "ou=groups,dc=ex,dc=org";
        assert_eq!(group_name("cn=admin,ou=groups,dc=ex,dc=org", of).as_deref(), Some("admin"));
        assert_eq!(group_name("CN=Admin, ou=Groups,dc=ex,dc=org", of).as_deref(), Some("admin"));
        for other in [
            "cn=admin,ou=mailings,dc=ex,dc=org",
            "cn=admin,ou=x,ou=groups,dc=ex,dc=org",
            "uid=admin,ou=groups,dc=ex,dc=org",
            "ou=groups,dc=ex,dc=org",
            "",
        ] {
            assert_eq!(group_name(other, of), None, "{other}");
        }
    }
}
