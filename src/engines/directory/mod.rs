//! The directory over LDAP: a client for Bottin, or any LDAPv3 server with its tree. No decisions here.
//!
//! *Guarantees.* Every call ends within the configured limit. A write is sent once at most, after the gate said
//! yes; reads are asked a second time where the old connection turned out to be gone. Passwords of people
//! travel on connections of their own, encrypted unless loopback or declared so, and an empty one is refused
//! before anything is sent.
//!
//! *Caveats.* Bottin's reads are stale: use [`Directory::read_back`] after a write. Bottin fixes the groups of
//! a connection when it binds, ignores the deletion of a value that is not there (so delete-old + add-new is
//! one request, but no comparison), and knows the filters and, or, not, equality and presence only.

mod config;
mod connect;
pub mod dn;
mod entry;
pub mod hash;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ldap3::{Ldap, LdapError, Mod};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

pub use self::config::{DirectoryConfig, PlainAllowed, StartTls};
pub use self::entry::Entry;

use self::config::Target;
use self::connect::{Failed, within};
use super::{Engine, EngineError, Fault, Open, SharedGate};

/// What a server said to a name and a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The password is this entry's.
    Accepted,
    /// It is not, or there is no such entry: the two are not told apart.
    Refused,
}

/// How far below its base a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The base itself.
    Base,
    /// Its children.
    One,
    /// Itself and everything below.
    Sub,
}

/// One change of one attribute. Several make one request, carried out whole or not at all (RFC 4511, 4.6).
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Adds values.
    Add {
        /// Name of the attribute.
        attr: String,
        /// At least one.
        values: Vec<String>,
    },
    /// Removes values; the whole attribute where none is named.
    Delete {
        /// Name of the attribute.
        attr: String,
        /// Which ones, or none for all.
        values: Vec<String>,
    },
    /// Sets the values; none removes the attribute.
    Replace {
        /// Name of the attribute.
        attr: String,
        /// The new values.
        values: Vec<String>,
    },
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, attr, values) = match self {
            Change::Add { attr, values } => ("Add", attr, values),
            Change::Delete { attr, values } => ("Delete", attr, values),
            Change::Replace { attr, values } => ("Replace", attr, values),
        };
        // Values may be hashes: their number only.
        f.debug_struct(what).field("attr", attr).field("values", &values.len()).finish()
    }
}

/// The client. Cheap to clone; clones share one connection of the service account.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<Shared>,
    gate: SharedGate,
}

struct Shared {
    config: DirectoryConfig,
    target: Target,
    slot: tokio::sync::Mutex<Slot>,
}

/// The service account's connection, if there is one, and how many there were.
#[derive(Default)]
struct Slot {
    live: Option<Ldap>,
    generation: u64,
}

/// A handle on the shared connection, and whether it was there before this call.
struct Lent {
    ldap: Ldap,
    generation: u64,
    reused: bool,
}

impl Directory {
    /// Checks the configuration; connects at the first call. Errors: [`Fault::Invalid`].
    pub fn new(config: DirectoryConfig) -> Result<Self, EngineError> {
        let target = Target::of(&config).map_err(|why| invalid("read the directory's configuration", why))?;
        let shared = Shared { config, target, slot: tokio::sync::Mutex::default() };
        Ok(Self { shared: Arc::new(shared), gate: Arc::new(Open) })
    }

    /// The same connection behind another gate.
    #[must_use]
    pub fn with_gate(&self, gate: SharedGate) -> Self {
        Self { shared: self.shared.clone(), gate }
    }

    /// The tree's suffix, lower case, without spaces.
    pub fn base(&self) -> &str {
        &self.shared.target.base
    }

    /// The DN of a person. Errors: [`Fault::Invalid`] where the login is none.
    pub fn people_dn(&self, login: &str) -> Result<String, EngineError> {
        dn::people(self.base(), login).map_err(|why| invalid("name a person", why))
    }

    /// The DN of a service account.
    pub fn service_dn(&self, cn: &str) -> Result<String, EngineError> {
        dn::service(self.base(), cn).map_err(|why| invalid("name a service account", why))
    }

    /// The DN of a group.
    pub fn group_dn(&self, cn: &str) -> Result<String, EngineError> {
        dn::group(self.base(), cn).map_err(|why| invalid("name a group", why))
    }

    /// Proves a password by binding as its owner, on a connection of its own. An empty password is refused and
    /// nothing is sent. `Err` says that the question could not be asked: [`Fault::Denied`] there means that the
    /// server's ACL lets nobody bind to this DN.
    pub async fn bind(&self, dn: &str, password: &SecretString) -> Result<Bound, EngineError> {
        Ok(match self.bound_as(dn, password).await? {
            None => Bound::Refused,
            Some(ldap) => {
                connect::close(ldap).await;
                Bound::Accepted
            }
        })
    }

    /// Binds as a person and reads an entry with that person's rights: for one's own `memberof`, `target` is
    /// `dn`. Errors: [`Fault::Denied`] where the password is refused or the entry may not be read.
    pub async fn read_as(
        &self,
        dn: &str,
        password: &SecretString,
        target: &str,
    ) -> Result<Option<Entry>, EngineError> {
        let doing = format!("read {target} as {dn}");
        let Some(ldap) = self.bound_as(dn, password).await? else {
            let refused =
                EngineError::new(Engine::Directory, Fault::Denied, doing, "the password is refused");
            return Err(refused.asked_with(None));
        };
        let found = within(self.limit(), base_search(ldap.clone(), target)).await;
        connect::close(ldap).await;
        one(found).map_err(|failed| failed.while_doing(doing).asked_with(None))
    }

    /// Reads one entry with all its attributes, `memberof` and the operational ones included.
    pub async fn get(&self, dn: &str) -> Result<Option<Entry>, EngineError> {
        one(self.read(|ldap| base_search(ldap, dn)).await)
            .map_err(|failed| failed.while_doing(format!("read {dn}")))
    }

    /// Entries that match. `filter` is LDAP's text form: build it with [`escape`]; `attrs` empty asks for all.
    /// A base that does not exist has no entries.
    pub async fn search(
        &self,
        base: &str,
        scope: Scope,
        filter: &str,
        attrs: &[&str],
    ) -> Result<Vec<Entry>, EngineError> {
        match self.read(|ldap| search(ldap, base, scope, filter, attrs)).await {
            Ok(found) => Ok(found),
            Err(failed) if failed.code() == Some(32) => Ok(Vec::new()),
            Err(failed) => Err(failed.while_doing(format!("search below {base}"))),
        }
    }

    /// True where one of the attribute's values is this one. Errors: [`Fault::NotFound`] without the entry.
    pub async fn compare(&self, dn: &str, attr: &str, value: &str) -> Result<bool, EngineError> {
        let compared =
            self.read(|mut ldap| async move { ldap.compare(dn, attr, value).await?.equal() }).await;
        compared.map_err(|failed| failed.while_doing(format!("compare {attr} of {dn}")))
    }

    /// Makes an entry. Errors: [`Fault::Conflict`] where it exists, [`Fault::NotFound`] where its parent (or a
    /// `member`) does not.
    pub async fn add(&self, dn: &str, attrs: &[(&str, Vec<String>)]) -> Result<(), EngineError> {
        let doing = format!("add entry {dn}");
        let mut wire: Vec<(Vec<u8>, HashSet<Vec<u8>>)> = Vec::new();
        for (name, values) in attrs {
            if values.is_empty() {
                return Err(invalid(doing, format!("attribute {name} has no value")));
            }
            wire.push((name.to_lowercase().into_bytes(), bytes(values)));
        }
        self.write(doing, |mut ldap| async move { ldap.add(dn, wire).await?.success() }).await
    }

    /// Changes an entry, in one request.
    pub async fn modify(&self, dn: &str, changes: &[Change]) -> Result<(), EngineError> {
        let doing = format!("modify entry {dn}");
        if changes.is_empty() {
            return Err(invalid(doing, "there is no change to make"));
        }
        let mut wire = Vec::new();
        for change in changes {
            wire.push(match change {
                Change::Add { attr, values } if values.is_empty() => {
                    return Err(invalid(doing, format!("no value to add to {attr}")));
                }
                Change::Add { attr, values } => Mod::Add(attr.to_lowercase().into_bytes(), bytes(values)),
                Change::Delete { attr, values } => {
                    Mod::Delete(attr.to_lowercase().into_bytes(), bytes(values))
                }
                Change::Replace { attr, values } => {
                    Mod::Replace(attr.to_lowercase().into_bytes(), bytes(values))
                }
            });
        }
        self.write(doing, |mut ldap| async move { ldap.modify(dn, wire).await?.success() }).await
    }

    /// Deletes an entry that has nothing below it. Errors: [`Fault::NotFound`], [`Fault::Conflict`] (not a leaf).
    pub async fn delete(&self, dn: &str) -> Result<(), EngineError> {
        self.write(format!("delete entry {dn}"), |mut ldap| async move { ldap.delete(dn).await?.success() })
            .await
    }

    /// Reads an entry until it is as wanted, because reads are stale after a write. Gives back the last thing
    /// seen when the time is over: the caller judges it again.
    pub async fn read_back(
        &self,
        dn: &str,
        patience: Duration,
        wanted: impl Fn(Option<&Entry>) -> bool,
    ) -> Result<Option<Entry>, EngineError> {
        let end = Instant::now() + patience;
        loop {
            let seen = self.get(dn).await?;
            if wanted(seen.as_ref()) || Instant::now() >= end {
                return Ok(seen);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn limit(&self) -> Duration {
        self.shared.config.timeout
    }

    /// A connection bound as somebody; `None` where the password is refused.
    async fn bound_as(&self, dn: &str, password: &SecretString) -> Result<Option<Ldap>, EngineError> {
        let doing = || format!("bind as {dn}");
        if dn.trim().is_empty() {
            return Err(invalid(doing(), "an empty DN would be an anonymous bind"));
        }
        if password.expose_secret().is_empty() {
            return Ok(None);
        }
        let mut ldap = connect::open(&self.shared.config, &self.shared.target)
            .await
            .map_err(|failed| failed.while_doing(doing()))?;
        match connect::bind(&mut ldap, self.limit(), dn, password).await {
            Ok(()) => Ok(Some(ldap)),
            Err(failed) => {
                let code = failed.code();
                connect::close(ldap).await;
                // 49 wrong password; 32 no entry or no password there (Bottin); 48 no way to bind to it.
                if matches!(code, Some(32 | 48 | 49)) {
                    Ok(None)
                } else {
                    Err(failed.while_doing(doing()).asked_with(None))
                }
            }
        }
    }

    /// The service account's connection, opened and bound where there is none.
    async fn lend(&self) -> Result<Lent, Failed> {
        let limit = self.limit();
        // Others may be waiting for the same dead server: nobody queues for longer than their own call.
        let Ok(mut slot) = tokio::time::timeout(limit * 2, self.shared.slot.lock()).await else {
            return Err(Failed::Late(limit * 2));
        };
        if let Some(ldap) = &mut slot.live
            && !ldap.is_closed()
        {
            let ldap = ldap.clone();
            return Ok(Lent { ldap, generation: slot.generation, reused: true });
        }
        slot.live = None;
        let config = &self.shared.config;
        if config.password.expose_secret().is_empty() {
            // It would be an anonymous bind, and succeed on many servers.
            return Err(Failed::empty_password());
        }
        let mut ldap = connect::open(config, &self.shared.target).await?;
        connect::bind(&mut ldap, limit, &config.bind_dn, &config.password).await?;
        slot.live = Some(ldap.clone());
        slot.generation += 1;
        Ok(Lent { ldap, generation: slot.generation, reused: false })
    }

    /// Lets go of a connection that proved dead, unless somebody replaced it already.
    async fn forget(&self, generation: u64) {
        let mut slot = self.shared.slot.lock().await;
        if slot.generation == generation {
            slot.live = None;
        }
    }

    async fn read<T, C>(&self, call: impl Fn(Ldap) -> C) -> Result<T, Failed>
    where
        C: Future<Output = Result<T, LdapError>>,
    {
        let mut again = true;
        loop {
            let lent = self.lend().await?;
            let failed = match within(self.limit(), call(lent.ldap)).await {
                Ok(read) => return Ok(read),
                Err(failed) => failed,
            };
            if failed.ends_connection() {
                self.forget(lent.generation).await;
            }
            if !(again && lent.reused && failed.connection_was_gone()) {
                return Err(failed);
            }
            again = false;
        }
    }

    async fn write<T, C>(&self, doing: String, call: impl FnOnce(Ldap) -> C) -> Result<(), EngineError>
    where
        C: Future<Output = Result<T, LdapError>>,
    {
        let lent = match self.lend().await {
            Ok(lent) => lent,
            Err(failed) => return Err(failed.while_doing(doing)),
        };
        // Connecting may have taken long: the gate is asked when nothing is left to do but to send.
        if let Err(why) = self.gate.check() {
            return Err(EngineError::new(Engine::Directory, Fault::Fenced, doing, why));
        }
        match within(self.limit(), call(lent.ldap)).await {
            Ok(_) => Ok(()),
            Err(failed) => {
                if failed.ends_connection() {
                    self.forget(lent.generation).await;
                }
                Err(failed.while_doing(doing))
            }
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("config", &self.shared.config).field("gate", &self.gate).finish()
    }
}

/// Makes a text safe to stand as a value inside a filter (RFC 4515).
pub fn escape(value: &str) -> String {
    ldap3::ldap_escape(value).into_owned()
}

fn invalid(doing: impl Into<String>, why: impl fmt::Display) -> EngineError {
    EngineError::new(Engine::Directory, Fault::Invalid, doing, why.to_string())
}

fn bytes(values: &[String]) -> HashSet<Vec<u8>> {
    values.iter().map(|value| value.clone().into_bytes()).collect()
}

async fn base_search(ldap: Ldap, dn: &str) -> Result<Vec<Entry>, LdapError> {
    // Some servers count `memberof` as operational, some need `+` for those: ask in all three ways.
    search(ldap, dn, Scope::Base, "(objectclass=*)", &["*", "+", "memberof"]).await
}

async fn search(
    mut ldap: Ldap,
    base: &str,
    scope: Scope,
    filter: &str,
    attrs: &[&str],
) -> Result<Vec<Entry>, LdapError> {
    let scope = match scope {
        Scope::Base => ldap3::Scope::Base,
        Scope::One => ldap3::Scope::OneLevel,
        Scope::Sub => ldap3::Scope::Subtree,
    };
    let (found, _) = ldap.search(base, scope, filter, attrs).await?.success()?;
    Ok(found.into_iter().filter_map(Entry::from_wire).collect())
}

/// Of a search for one DN: "no such object" and no entry are the same to us.
fn one(found: Result<Vec<Entry>, Failed>) -> Result<Option<Entry>, Failed> {
    match found {
        Ok(entries) => Ok(entries.into_iter().next()),
        Err(failed) if failed.code() == Some(32) => Ok(None),
        Err(failed) => Err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_can_be_made_from_tasks_that_move_between_threads() {
        fn sendable<T: Send>(_: &T) {}
        let config = DirectoryConfig::new(
            "ldap://127.0.0.1:1",
            "dc=ex",
            "cn=t,dc=ex",
            SecretString::from("p".to_owned()),
        );
        let directory = Directory::new(config).unwrap();
        let secret = SecretString::from("p".to_owned());
        sendable(&directory.bind("cn=a", &secret));
        sendable(&directory.get("cn=a"));
        sendable(&directory.search("cn=a", Scope::Sub, "(a=b)", &["a"]));
        sendable(&directory.add("cn=a", &[("cn", vec!["a".to_owned()])]));
        sendable(&directory.modify("cn=a", &[]));
        sendable(&directory.read_back("cn=a", Duration::ZERO, |entry| entry.is_some()));
    }

    #[test]
    fn a_value_cannot_leave_its_place_in_a_filter() {
        assert_eq!(escape("a)(cn=*"), r"a\29\28cn=\2a");
    }

    #[test]
    fn a_change_shown_for_debugging_holds_no_value() {
        let change = Change::Replace { attr: "userpassword".to_owned(), values: vec!["canary".to_owned()] };
        assert!(!format!("{change:?}").contains("canary"));
    }
}
