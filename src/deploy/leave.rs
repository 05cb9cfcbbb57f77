//! How somebody leaves: their apps go to somebody else or away, their sessions end, they are taken out of the
//! directory. Each part is done once however often it is asked for, so that a removal that was cut off is repeated.

use super::owners::{NewOwners, Owned};
use super::{Accepted, Data, Deployer, Error};
use crate::access::{Access, AccessError, Left};
use crate::model::project::Owner;
use crate::model::{Login, Placement, Uid};
use crate::operation::points;
use crate::operation::run::fresh_uid;
use crate::store::people::PeopleAudit;
use crate::store::records::{By, SCHEMA};

/// What becomes of the apps that nobody else owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// There must be none.
    Refuse,
    /// They go to this owner.
    Transfer(Owner),
    /// They are deleted, with their data.
    Delete,
}

/// What became of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Became {
    /// Its other owners keep it.
    Left,
    /// It is the new owner's.
    Transferred,
    /// It is being deleted: by which operation.
    Deleting(Option<Uid>),
}

/// Why somebody could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum LeaveError {
    /// There is nobody of this login, and nothing that is theirs.
    #[error("there is no person {0}")]
    Nobody(Login),
    /// They own apps that nobody else owns.
    #[error("{login} is the only owner of {}", .apps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Owns {
        /// Who.
        login: Login,
        /// Which apps.
        apps: Vec<Placement>,
    },
    /// One of their apps could not be changed.
    #[error(transparent)]
    App(#[from] Error),
    /// The directory or Consul said no.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl From<crate::engines::EngineError> for LeaveError {
    fn from(e: crate::engines::EngineError) -> Self {
        Self::App(e.into())
    }
}

impl Deployer {
    /// Removes a person. Refused, before anything is changed, where they alone own something that is to be nobody's.
    pub async fn remove_person(
        &self,
        access: &Access,
        by: &By,
        login: &Login,
        fate: &Fate,
    ) -> Result<(Left, Vec<(Placement, Became)>), LeaveError> {
        let owned = self.owned_by(login).await?;
        let (logins, tokens) = access.sessions_of(login).await?;
        let known = access.user(login).await?;
        // Cut off half-way, they may be out of the directory and still own something.
        let is_out = known.as_ref().is_none_or(|u| !u.may_log_in);
        if owned.is_empty() && logins + tokens == 0 && known.is_none() {
            return Err(LeaveError::Nobody(login.clone()));
        }
        let alone: Vec<Placement> = owned.iter().filter(|o| o.alone).map(|o| o.app.clone()).collect();
        if *fate == Fate::Refuse && !alone.is_empty() {
            return Err(LeaveError::Owns { login: login.clone(), apps: alone });
        }
        if let Fate::Transfer(Owner::User(to)) = fate {
            if to == login {
                let why = format!("{to} cannot take over what is {login}'s: they leave themselves");
                return Err(LeaveError::App(Error::Invalid(why)));
            }
            if access.user(to).await?.is_none() {
                return Err(LeaveError::App(Error::Absent {
                    why: format!("there is no person {to} who could take over what is {login}'s"),
                    hint: "`terreau users list` shows everybody".to_owned(),
                }));
            }
        }
        // Before anything is changed: whoever leaves is out before their apps are somebody else's.
        if let Fate::Transfer(to) = fate {
            self.may_own(access, to).await?;
        }
        self.tell_of_person(by, login, "remove", fate, &alone).await?;
        points::pass("users.out.before");
        let left = access.take_out(login).await?;
        points::pass("users.out.after");
        tracing::info!(%login, by = by.login, ?left, was_out = is_out, "a person is removed");
        let mut became = Vec::new();
        for Owned { app, alone } in owned {
            points::pass("users.app.before");
            let what = match fate {
                Fate::Delete if alone => match self.delete(by, &app, Data::Deleted).await? {
                    Accepted::Operation(id) => Became::Deleting(Some(id)),
                    Accepted::Unchanged(_) => Became::Deleting(None),
                },
                _ => {
                    let to = match fate {
                        Fate::Transfer(to) if alone => Some(to.clone()),
                        _ => None,
                    };
                    let new = NewOwners::Instead { of: login.clone(), to };
                    self.replace_owners(by, &app, &new).await?;
                    if alone { Became::Transferred } else { Became::Left }
                }
            };
            points::pass("users.app.after");
            became.push((app, what));
        }
        Ok((left, became))
    }

    async fn tell_of_person(
        &self,
        by: &By,
        login: &Login,
        verb: &str,
        fate: &Fate,
        alone: &[Placement],
    ) -> Result<(), Error> {
        let apps: Vec<String> = alone.iter().map(ToString::to_string).collect();
        let what = match fate {
            Fate::Transfer(to) if !apps.is_empty() => format!("; {} to {to}", apps.join(", ")),
            Fate::Delete if !apps.is_empty() => format!("; {} deleted", apps.join(", ")),
            _ => String::new(),
        };
        self.told_of_person(by, login, verb, format!("{login} is removed{what}")).await
    }

    /// Writes down what was done about a person, or their tokens.
    pub async fn told_of_person(
        &self,
        by: &By,
        login: &Login,
        verb: &str,
        summary: String,
    ) -> Result<(), Error> {
        self.runner.has_audit_room(verb)?;
        let now = self.runner.now();
        let audit = PeopleAudit {
            v: SCHEMA,
            id: fresh_uid(now),
            at: now.to_string(),
            by: by.clone(),
            person: login.clone(),
            verb: verb.to_owned(),
            summary,
        };
        Ok(self.runner.store().tell_of_person(&audit).await?)
    }
}
