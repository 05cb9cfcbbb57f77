//! Opening a session: the password is proved by a bind as its owner, and by nothing else.
//!
//! A refusal never comes earlier than [`FLOOR`] after the question, and later ones come at whole multiples of it:
//! how long the directory took for somebody who exists, or does not, cannot be read off the answer.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::scope::{Scope, Whole};
use super::sessions::{Fresh, SessionRecord};
use super::{Access, AccessError, Opened, sessions};
use crate::engines::Fault;
use crate::engines::directory::Bound;
use crate::model::Login;

/// The earliest refusal.
pub const FLOOR: Duration = Duration::from_millis(400);
/// How long a login waits for its turn to bind.
const TURN: Duration = Duration::from_secs(5);
/// Longer ones are no passwords; directories hash them all the same.
const LONGEST: usize = 1024;

impl Access {
    /// Opens a session for who knows the password.
    pub async fn login(&self, user: &str, password: &SecretString) -> Result<Opened, AccessError> {
        let asked = Instant::now();
        let answer = self.try_login(user, password).await;
        if let Err(AccessError::Refused) = &answer {
            tokio::time::sleep_until(floor(asked, Instant::now())).await;
        }
        answer
    }

    async fn try_login(&self, user: &str, password: &SecretString) -> Result<Opened, AccessError> {
        let inner = &self.inner;
        let login = Login::new(user.trim().to_lowercase()).map_err(|_| AccessError::Refused)?;
        let length = password.expose_secret().len();
        if length == 0 || length > LONGEST || password.expose_secret().contains('\0') {
            return Err(AccessError::Refused);
        }
        let Ok(dn) = inner.directory.people_dn(login.as_str()) else { return Err(AccessError::Refused) };
        {
            let turn = tokio::time::timeout(TURN, inner.binds.acquire()).await;
            let _permit = turn.map_err(|_| AccessError::Busy)?.map_err(|_| AccessError::Busy)?;
            match inner.directory.bind(&dn, password).await {
                Ok(Bound::Accepted) => {}
                Ok(Bound::Refused) => return Err(AccessError::Refused),
                // The server lets nobody bind to this name: no account that can log in.
                Err(e) if matches!(e.fault, Fault::Denied | Fault::NotFound) => {
                    return Err(AccessError::Refused);
                }
                Err(e) => return Err(e.into()),
            }
        }
        // The password may be right for an entry that we are not told of, or that may not come in here.
        let Some(person) = inner.people.ask(&login, &dn).await? else { return Err(AccessError::Refused) };
        if !self.may_log_in(&person.groups) {
            return Err(AccessError::Refused);
        }
        let now = inner.clock.now();
        let length =
            jiff::SignedDuration::try_from(inner.config.session).unwrap_or(jiff::SignedDuration::MAX);
        let expires = now.saturating_add(length).unwrap_or(jiff::Timestamp::MAX);
        let fresh = Fresh::make();
        let record = SessionRecord {
            v: 1,
            login: login.clone(),
            dn,
            sha256: fresh.sha256,
            fingerprint: person.fingerprint.clone(),
            created: now,
            expires,
            scope: Scope::Whole(Whole::All),
        };
        sessions::write(&inner.consul, &fresh.id, &record).await?;
        tracing::info!(%login, session = %fresh.id, "logged in");
        Ok(Opened { token: fresh.token, login, expires })
    }
}

/// The first multiple of the floor after `asked` that is not before `now`.
fn floor(asked: Instant, now: Instant) -> Instant {
    let spent = now.duration_since(asked).as_nanos();
    let floors = spent.div_ceil(FLOOR.as_nanos()).max(1);
    asked + FLOOR * u32::try_from(floors).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_come_at_whole_multiples_of_the_floor() {
        let asked = Instant::now();
        let after = |ms: u64| floor(asked, asked + Duration::from_millis(ms)).duration_since(asked);
        assert_eq!(after(0), FLOOR);
        assert_eq!(after(1), FLOOR);
        assert_eq!(after(400), FLOOR);
        assert_eq!(after(401), FLOOR * 2);
    }
}
