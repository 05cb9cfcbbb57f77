//! People as an admin sees them: who is in the directory, in which groups; and how somebody leaves.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Access, AccessError, Standing};
use crate::engines::directory::{Change, Entry, Scope, dn};
use crate::engines::{Engine, EngineError, Fault};
use crate::model::Login;

/// Reads are stale after a write: how long to look again (CLUSTER.md: a second or two).
const STALE: Duration = Duration::from_secs(3);

/// Somebody of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Their login.
    pub login: Login,
    /// What they are called.
    pub name: Option<String>,
    /// Where they get mail.
    pub mail: Option<String>,
    /// Their groups, by cn.
    pub groups: BTreeSet<String>,
    /// Whether they are an admin.
    pub standing: Standing,
    /// Whether they may log in.
    pub may_log_in: bool,
}

/// How somebody left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Out of the group of those who may log in; the entry stays, for the other programs that read it.
    LoginGroup,
    /// There is no such group here: their entry is deleted.
    Directory,
    /// They were gone already.
    Before,
}

impl Access {
    /// Everybody directly below `ou=users`, by login. Service accounts are elsewhere.
    pub async fn users(&self) -> Result<Vec<User>, EngineError> {
        let directory = &self.inner.directory;
        let base = format!("ou=users,{}", directory.base());
        let attributes = ["cn", "displayname", "mail", "memberof", "userpassword"];
        let found = directory.search(&base, Scope::One, "(objectclass=*)", &attributes).await?;
        let mut users: Vec<User> = found.iter().filter_map(|e| self.user_of(e)).collect();
        users.sort_by(|a, b| a.login.cmp(&b.login));
        Ok(users)
    }

    /// Somebody; `None` where there is no such entry.
    pub async fn user(&self, login: &Login) -> Result<Option<User>, EngineError> {
        let dn = self.inner.directory.people_dn(login.as_str())?;
        Ok(self.inner.directory.get(&dn).await?.as_ref().and_then(|e| self.user_of(e)))
    }

    /// The group of those who may log in, where somebody of the directory is not in it: looked at as their login would be.
    pub async fn missing_group(&self, login: &Login) -> Result<Option<&str>, EngineError> {
        let dn = self.inner.directory.people_dn(login.as_str())?;
        let Some(person) = self.inner.people.fetch(&dn).await? else { return Ok(None) };
        Ok(self.inner.config.login_group.as_deref().filter(|_| !self.may_log_in(&person.groups)))
    }

    /// Whether there is such a group.
    pub async fn is_group(&self, name: &Login) -> Result<bool, EngineError> {
        let dn = self.inner.directory.group_dn(name.as_str())?;
        Ok(self.inner.directory.get(&dn).await?.is_some())
    }

    fn user_of(&self, entry: &Entry) -> Option<User> {
        let canonical = dn::canonical(&entry.dn).ok()?;
        let login = Login::new(canonical.split(',').next()?.strip_prefix("cn=")?).ok()?;
        let groups_of = format!("ou=groups,{}", self.inner.directory.base());
        let groups: BTreeSet<String> =
            entry.all("memberof").iter().filter_map(|g| super::people::group_name(g, &groups_of)).collect();
        let text = |name: &str| entry.all(name).first().cloned().filter(|t| !t.is_empty());
        Some(User {
            name: text("displayname"),
            mail: text("mail"),
            standing: self.standing(&groups),
            may_log_in: !entry.all("userpassword").is_empty() && self.may_log_in(&groups),
            login,
            groups,
        })
    }

    /// Takes somebody out: out of the group of those who may log in, where the configuration names one, else out of
    /// the directory. Their sessions end. Fine where they are gone already.
    pub async fn take_out(&self, login: &Login) -> Result<Left, AccessError> {
        let directory = &self.inner.directory;
        let dn = directory.people_dn(login.as_str())?;
        // First: whoever is taken out does not go on with what is open.
        self.end_sessions(login).await?;
        let left = match &self.inner.config.login_group {
            Some(group) => {
                let group = directory.group_dn(group)?;
                let is_in =
                    |e: Option<&Entry>| e.is_some_and(|e| e.all("member").iter().any(|m| dn::dn_eq(m, &dn)));
                let now = directory.get(&group).await?;
                if is_in(now.as_ref()) {
                    // As it is written there.
                    let named = now.iter().flat_map(|e| e.all("member")).find(|m| dn::dn_eq(m, &dn));
                    let values = vec![named.cloned().unwrap_or_else(|| dn.clone())];
                    directory.modify(&group, &[Change::Delete { attr: "member".to_owned(), values }]).await?;
                    let seen = directory.read_back(&group, STALE, |e| !is_in(e)).await?;
                    if is_in(seen.as_ref()) {
                        return Err(still_there(format!("take {login} out of {group}")).into());
                    }
                    Left::LoginGroup
                } else {
                    Left::Before
                }
            }
            None => match directory.delete(&dn).await {
                Ok(()) => {
                    let seen = directory.read_back(&dn, STALE, |e| e.is_none()).await?;
                    if seen.is_some() {
                        return Err(still_there(format!("delete {dn}")).into());
                    }
                    Left::Directory
                }
                Err(e) if e.fault == Fault::NotFound => Left::Before,
                Err(e) => return Err(e.into()),
            },
        };
        // One may have been opened in between.
        self.end_sessions(login).await?;
        Ok(left)
    }
}

fn still_there(doing: String) -> EngineError {
    EngineError::new(Engine::Directory, Fault::Broken, doing, "it answered yes, and nothing has changed")
}
