//! Who somebody is and what they may do: login, sessions, groups, and the policies about people.
//!
//! *Guarantees.* A password is only ever handed to a bind as its owner. A session is read at every request, so a
//! logout holds on every agent at once. Somebody who left the directory, left the login group or changed the
//! password since is refused within [`GROUPS_FOR`] of the directory's knowing it. Deny by default.
//!
//! *Caveats.* While the directory is away the groups last seen serve reads for [`STALE_FOR`], changes not at all.

mod decide;
mod login;
mod people;
mod policies;
mod scope;
mod sessions;
mod tokens;
mod users;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;

pub use self::decide::{Decision, Object, Verb, decide};
pub use self::policies::{Policies, PolicyError};
pub use self::scope::{Scope, TokenScope, meaning, token_verbs};
pub use self::sessions::SESSIONS;
pub use self::tokens::{LONGEST_TOKEN, MOST_TOKENS, SHORTEST_TOKEN, Token};
pub use self::users::{Left, User};

use self::people::{Freshness, People};
use crate::clock::SharedClock;
use crate::engines::consul::Consul;
use crate::engines::directory::Directory;
use crate::engines::{Engine, EngineError};
use crate::model::Login;

/// How long a person's groups are believed.
pub const GROUPS_FOR: Duration = Duration::from_secs(30);
/// How long they serve reads when the directory does not answer.
pub const STALE_FOR: Duration = Duration::from_mins(15);
/// After this long somebody's groups are asked again before a refusal: who was just added gets in at once.
const RECENT: Duration = Duration::from_secs(1);

/// What the operator decides about people.
#[derive(Debug, Clone)]
pub struct AccessConfig {
    /// The group (its cn) that one must be in to log in; everybody of the directory where there is none.
    pub login_group: Option<String>,
    /// The group (its cn) of the admins.
    pub admin_group: String,
    /// How long a session lasts.
    pub session: Duration,
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self { login_group: None, admin_group: "admin".to_owned(), session: Duration::from_hours(12) }
    }
}

/// Why somebody was not let in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AccessError {
    /// Login and password do not open a session. Why is not said: it would tell who exists.
    #[error("wrong login or password, or this account may not use this server")]
    Refused,
    /// The token opens nothing (any more).
    #[error("{0}")]
    NotLoggedIn(&'static str),
    /// Too many people log in at this moment.
    #[error("too many logins at once")]
    Busy,
    /// The directory or Consul did not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Whether somebody is in the admins' group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not an admin.
    Member,
    /// An admin.
    Admin,
}

/// Somebody who asks for something: what the policies are told, and what the audit records.
#[derive(Clone)]
pub struct Subject {
    /// Who.
    pub login: Login,
    /// The groups, by cn.
    pub groups: BTreeSet<String>,
    /// Admin or not.
    pub standing: Standing,
    /// From where.
    pub address: Option<IpAddr>,
    /// What the token that is used is for; none: it is no token, but a login.
    pub scope: Option<Arc<TokenScope>>,
    /// The policies of this agent.
    law: Arc<Policies>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("login", &self.login)
            .field("standing", &self.standing)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Subject {
    /// Somebody, under given policies.
    pub fn new(login: Login, groups: BTreeSet<String>, standing: Standing, law: Arc<Policies>) -> Self {
        Self { login, groups, standing, address: None, scope: None, law }
    }

    /// The holder of the cluster's own credentials (`--direct`): may do everything.
    pub fn operator(login: Login) -> Self {
        Self::new(login, BTreeSet::new(), Standing::Admin, Policies::built_in())
    }

    /// By a token that is for this alone.
    #[must_use]
    pub fn within(mut self, scope: Option<Arc<TokenScope>>) -> Self {
        self.scope = scope;
        self
    }

    /// From where they ask.
    #[must_use]
    pub fn from_address(mut self, address: Option<IpAddr>) -> Self {
        self.address = address;
        self
    }
}

/// A session that was just read and found good.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id: the token's public half.
    pub id: String,
    /// Whose.
    pub subject: Subject,
    /// Until when.
    pub expires: Timestamp,
    freshness: Freshness,
    dn: String,
    fingerprint: String,
}

impl Session {
    /// `Err` while the directory is away: what changes anything needs groups that are known to be true.
    pub fn may_change(&self) -> Result<(), AccessError> {
        match &self.freshness {
            Freshness::Known { .. } => Ok(()),
            Freshness::Stale { why } => Err(AccessError::Engine(why.clone())),
        }
    }
}

/// A session that was just opened.
#[derive(Debug)]
pub struct Opened {
    /// `<id>.<secret>`
    pub token: SecretString,
    /// Who.
    pub login: Login,
    /// Until when.
    pub expires: Timestamp,
}

/// The door-keeper. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

struct Inner {
    directory: Directory,
    consul: Consul,
    clock: SharedClock,
    config: AccessConfig,
    law: Arc<Policies>,
    people: People,
    /// Binds at once: a flood of logins must not become a flood of connections to the directory.
    binds: tokio::sync::Semaphore,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl Access {
    /// A door-keeper over the agent's own clients.
    pub fn new(
        directory: Directory,
        consul: Consul,
        clock: SharedClock,
        law: Arc<Policies>,
        config: AccessConfig,
    ) -> Self {
        let people = People::new(directory.clone(), clock.clone());
        let binds = tokio::sync::Semaphore::new(16);
        Self { inner: Arc::new(Inner { directory, consul, clock, config, law, people, binds }) }
    }

    /// Reads the session of a token and who its owner is by now.
    pub async fn authenticate(
        &self,
        token: &SecretString,
        address: Option<IpAddr>,
    ) -> Result<Session, AccessError> {
        let (id, record) = sessions::read(&self.inner.consul, token, self.inner.clock.now()).await?;
        let scope = match record.scope {
            Scope::Whole(_) => None,
            Scope::Token(scope) => Some(Arc::new(scope)),
        };
        let found = self.session(
            id,
            record.login,
            record.dn,
            record.fingerprint,
            record.expires,
            address,
            GROUPS_FOR,
        );
        let mut session = found.await?;
        session.subject.scope = scope;
        Ok(session)
    }

    /// The same session with groups that were asked just now, for a second look before somebody is refused.
    /// `None` where the first look was fresh already.
    pub async fn look_again(&self, session: &Session) -> Result<Option<Session>, AccessError> {
        let age = match &session.freshness {
            Freshness::Known { age } => *age,
            Freshness::Stale { .. } => return Ok(None),
        };
        if age <= RECENT {
            return Ok(None);
        }
        let s = session.clone();
        let address = s.subject.address;
        let scope = s.subject.scope;
        let found = self.session(s.id, s.subject.login, s.dn, s.fingerprint, s.expires, address, RECENT);
        let mut session = found.await?;
        session.subject.scope = scope;
        Ok(Some(session))
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a record, all of different meaning")]
    async fn session(
        &self,
        id: String,
        login: Login,
        dn: String,
        fingerprint: String,
        expires: Timestamp,
        address: Option<IpAddr>,
        age: Duration,
    ) -> Result<Session, AccessError> {
        let (person, freshness) = self.inner.people.look(&login, &dn, age).await?;
        let Some(person) = person else {
            return Err(AccessError::NotLoggedIn("this account is not in the directory any more"));
        };
        if person.fingerprint != fingerprint {
            return Err(AccessError::NotLoggedIn("the password was changed since: log in again"));
        }
        if !self.may_log_in(&person.groups) {
            return Err(AccessError::NotLoggedIn("this account may not use this server any more"));
        }
        let standing = self.standing(&person.groups);
        let subject = Subject::new(login, person.groups.clone(), standing, self.inner.law.clone())
            .from_address(address);
        Ok(Session { id, subject, expires, freshness, dn, fingerprint })
    }

    /// A session that was good at its request, as it is now: for answers that go on for long. `None`: it is good no
    /// more; the same where nobody can be asked just now.
    pub async fn still(&self, session: &Session) -> Option<Session> {
        match sessions::is_there(&self.inner.consul, &session.id, self.inner.clock.now()).await {
            Ok(false) => return None,
            Ok(true) => {}
            Err(e) => {
                tracing::warn!(error = %e, "a session could not be looked at; its answer goes on");
                return Some(session.clone());
            }
        }
        let s = session.clone();
        let now = self.session(s.id, s.subject.login, s.dn, s.fingerprint, s.expires, None, GROUPS_FOR).await;
        match now {
            Ok(mut now) => {
                now.subject.scope.clone_from(&session.subject.scope);
                Some(now)
            }
            Err(AccessError::NotLoggedIn(_) | AccessError::Refused) => None,
            Err(_) => Some(session.clone()),
        }
    }

    /// Ends the session of a token: on every agent, at once. Fine where it has ended already.
    pub async fn logout(&self, session: &Session) -> Result<(), AccessError> {
        Ok(self.inner.consul.kv_delete(&sessions::key(&session.id)).await?)
    }

    /// Deletes the records of sessions that have ended; gives their number. For a timer of the leader.
    pub async fn sweep(&self) -> Result<usize, EngineError> {
        self.inner.people.forget_old();
        sessions::sweep(&self.inner.consul, self.inner.clock.now()).await
    }

    fn may_log_in(&self, groups: &BTreeSet<String>) -> bool {
        self.inner.config.login_group.as_ref().is_none_or(|g| groups.contains(&g.to_lowercase()))
    }

    fn standing(&self, groups: &BTreeSet<String>) -> Standing {
        if groups.contains(&self.inner.config.admin_group.to_lowercase()) {
            Standing::Admin
        } else {
            Standing::Member
        }
    }
}

/// True for errors of the directory: they are named to the client as such.
pub(crate) fn directory_away(message: impl Into<String>) -> EngineError {
    EngineError::new(Engine::Directory, crate::engines::Fault::Away, "read a person", message)
}
