//! Who owns what: the projects that somebody sees, owners, transfers, and what becomes of the apps of who leaves.

use std::collections::BTreeSet;

use super::source::Source;
use super::{Deployer, Error, prepare};
use crate::access::Access;
use crate::model::head::AppState;
use crate::model::project::Owner;
use crate::model::{Head, Login, Placement};
use crate::operation::other_owners;
use crate::store::Versioned;
use crate::store::records::{By, Verb};

/// A change of an app's owners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewOwners {
    /// These too, and those no more.
    Change {
        /// Who comes.
        add: BTreeSet<Owner>,
        /// Who goes.
        remove: BTreeSet<Owner>,
    },
    /// This one alone.
    Only(Owner),
    /// Somebody leaves: another one comes in their place, where one is named.
    Instead {
        /// Who leaves.
        of: Login,
        /// Who comes.
        to: Option<Owner>,
    },
}

/// The app of somebody, and whether anybody else owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// Which.
    pub app: Placement,
    /// True where they are its only owner.
    pub alone: bool,
}

impl Deployer {
    /// Every app whose head passes the filter, by name. Nomad is not asked.
    pub async fn projects(&self, may_see: impl Fn(&Head) -> bool) -> Result<Vec<Head>, Error> {
        let heads = self.runner.store().heads().await?.into_iter().map(|h| h.value);
        let mut seen: Vec<Head> =
            heads.filter(|h| h.state != AppState::Deleted).filter(|h| may_see(h)).collect();
        seen.sort_by(|a, b| a.app.cmp(&b.app));
        Ok(seen)
    }

    /// The apps that a person owns by name.
    pub async fn owned_by(&self, login: &Login) -> Result<Vec<Owned>, Error> {
        let is_theirs = |h: &Head| h.owners.iter().any(|o| *o == Owner::User(login.clone()));
        // One that cannot be read may be theirs: better no answer than a wrong one.
        let heads = self.runner.store().every_head().await?.into_iter().map(|h| h.value);
        let mut owned: Vec<Head> = heads.filter(|h| h.state != AppState::Deleted).filter(is_theirs).collect();
        owned.sort_by(|a, b| a.app.cmp(&b.app));
        Ok(owned.into_iter().map(|h| Owned { alone: h.owners.len() == 1, app: h.app }).collect())
    }

    /// Changes who owns an app; gives its owners. One Consul transaction under the app's lock. Refuses who is not in the
    /// directory, and who may not log in.
    pub async fn change_owners(
        &self,
        access: &Access,
        by: &By,
        app: &Placement,
        new: &NewOwners,
    ) -> Result<Vec<Owner>, Error> {
        for owner in new.come() {
            self.may_own(access, owner).await?;
        }
        self.replace_owners(by, app, new).await
    }

    /// The same, of owners who were looked at before.
    pub(super) async fn replace_owners(
        &self,
        by: &By,
        app: &Placement,
        new: &NewOwners,
    ) -> Result<Vec<Owner>, Error> {
        let lock = self.runner.lock(app, by, Verb::Transfer).await?;
        let (head, before) = match self.with_owners(app, new).await {
            Ok(found) => found,
            Err(e) => {
                self.runner.unlock(lock).await;
                return Err(e);
            }
        };
        let owners = head.value.owners.clone();
        if owners == before {
            self.runner.unlock(lock).await;
            return Ok(owners);
        }
        let summary = format!("owners {} (were {})", words(&owners), words(&before));
        let told = (summary, other_owners(&before, &owners));
        self.runner.amend(lock, head, (by, Verb::Transfer), told).await?;
        Ok(owners)
    }

    async fn with_owners(
        &self,
        app: &Placement,
        new: &NewOwners,
    ) -> Result<(Versioned<Head>, Vec<Owner>), Error> {
        let mut head = self.head(app).await?;
        if let Some(operation) = &head.value.operation {
            let why = format!("operation {operation} is being taken over; try again in a moment");
            return Err(Error::Moved(why, None));
        }
        prepare::unfinished(&head.value)?;
        // Who leaves is gone whatever a descriptor says.
        if !matches!(new, NewOwners::Instead { .. }) {
            self.owners_are_free(app, &head.value).await?;
        }
        let before = head.value.owners.clone();
        let owners = &mut head.value.owners;
        match new {
            NewOwners::Change { add, remove } => {
                owners.retain(|o| !remove.contains(o));
                let more: Vec<_> = add.iter().filter(|o| !owners.contains(o)).cloned().collect();
                owners.extend(more);
            }
            NewOwners::Only(one) => *owners = vec![one.clone()],
            NewOwners::Instead { of, to } => {
                owners.retain(|o| *o != Owner::User(of.clone()));
                owners.extend(to.iter().filter(|o| !before.contains(o)).cloned());
            }
        }
        if owners.is_empty() {
            return Err(Error::Invalid(format!(
                "{app} would have no owner left, and nobody but admins could change it: add another one first, \
                 or hand it over with `terreau projects transfer {app} --to USER`"
            )));
        }
        Ok((head, before))
    }

    /// Refuses where the descriptor says who owns it: the next deploy would put them back.
    async fn owners_are_free(&self, app: &Placement, head: &Head) -> Result<(), Error> {
        let Some(release) = self.current(head).await? else { return Ok(()) };
        let source = Source::same_as(app, &release, None)?;
        if source.project.owners.is_empty() {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "the descriptor of {app} names its owners ({}), and wins at the next deploy: change `owners` there and deploy, \
             or take it out of there first",
            words(&source.project.owners)
        )))
    }

    /// Refuses an owner whom the directory does not know, or who could do nothing with what they own.
    pub(super) async fn may_own(&self, access: &Access, owner: &Owner) -> Result<(), Error> {
        let absent = |what: &str, name: &Login| Error::Absent {
            why: format!("there is no {what} {name} in the directory"),
            hint: "look at how it is written; a group is named as group:NAME".to_owned(),
        };
        match owner {
            Owner::Group(name) if access.is_group(name).await? => Ok(()),
            Owner::Group(name) => Err(absent("group", name)),
            Owner::User(login) => match access.user(login).await? {
                None => Err(absent("person", login)),
                Some(_) => match access.missing_group(login).await? {
                    None => Ok(()),
                    Some(group) => Err(Error::Refused {
                        why: format!(
                            "{login} may not log in here, so it would be nobody's: they are in the directory, and not in its group \
                             {group}, whose members may use Terreau"
                        ),
                        hint: format!(
                            "whoever administers the directory can put {login} into the group {group}; then ask again"
                        ),
                    }),
                },
            },
        }
    }
}

impl NewOwners {
    /// Who comes.
    fn come(&self) -> Vec<&Owner> {
        match self {
            Self::Change { add, .. } => add.iter().collect(),
            Self::Only(one) => vec![one],
            Self::Instead { to, .. } => to.iter().collect(),
        }
    }
}

/// Owners as people write them.
pub fn words(owners: &[Owner]) -> String {
    owners.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
