//! Tokens for programs: sessions that are for some verbs on some apps, made by a person, and no more than that person
//! at any moment. Must never show a token but to its maker, once.

use std::time::Duration;

use jiff::Timestamp;

use super::scope::{Scope, TokenScope};
use super::sessions::{self, Fresh, SessionRecord};
use super::{Access, AccessError, Opened, Session};
use crate::engines::{EngineError, Fault};
use crate::model::Login;

/// A person has at most so many.
pub const MOST_TOKENS: usize = 50;
/// A token lasts at least this long.
pub const SHORTEST_TOKEN: Duration = Duration::from_mins(1);
/// A token lasts at most this long.
pub const LONGEST_TOKEN: Duration = Duration::from_hours(24 * 366);

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its public half.
    pub id: String,
    /// Who made it.
    pub login: Login,
    /// What it is for.
    pub scope: TokenScope,
    /// Since when.
    pub created: Timestamp,
    /// Until when.
    pub expires: Timestamp,
}

impl Access {
    /// Makes a token. `None`: this person has as many as one may.
    pub async fn make_token(
        &self,
        maker: &Session,
        scope: TokenScope,
        lasts: Duration,
    ) -> Result<Option<(String, Opened)>, AccessError> {
        let login = maker.subject.login.clone();
        if self.tokens(Some(&login)).await?.len() >= MOST_TOKENS {
            return Ok(None);
        }
        let now = self.inner.clock.now();
        let lasts = jiff::SignedDuration::try_from(lasts).unwrap_or(jiff::SignedDuration::MAX);
        let expires = now.saturating_add(lasts).unwrap_or(Timestamp::MAX);
        let fresh = Fresh::make();
        let record = SessionRecord {
            v: 1,
            login: login.clone(),
            dn: maker.dn.clone(),
            sha256: fresh.sha256,
            fingerprint: maker.fingerprint.clone(),
            created: now,
            expires,
            scope: Scope::Token(scope),
        };
        sessions::write(&self.inner.consul, &fresh.id, &record).await?;
        Ok(Some((fresh.id, Opened { token: fresh.token, login, expires })))
    }

    /// The tokens that have not expired, of one person or of all; the newest first.
    pub async fn tokens(&self, of: Option<&Login>) -> Result<Vec<Token>, EngineError> {
        let now = self.inner.clock.now();
        let mut found: Vec<Token> = Vec::new();
        for (id, record) in sessions::all(&self.inner.consul).await? {
            if let Scope::Token(scope) = record.scope
                && record.expires > now
                && of.is_none_or(|l| *l == record.login)
            {
                let (login, created, expires) = (record.login, record.created, record.expires);
                found.push(Token { id, login, scope, created, expires });
            }
        }
        found.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        Ok(found)
    }

    /// Ends a token: on every agent, at once.
    pub async fn revoke(&self, token: &Token) -> Result<(), EngineError> {
        self.inner.consul.kv_delete(&sessions::key(&token.id)).await
    }

    /// How many sessions and tokens somebody has.
    pub async fn sessions_of(&self, login: &Login) -> Result<(usize, usize), EngineError> {
        let (now, mut logins, mut tokens) = (self.inner.clock.now(), 0, 0);
        for (_, record) in sessions::all(&self.inner.consul).await? {
            if record.login == *login && record.expires > now {
                *(if matches!(record.scope, Scope::Token(_)) { &mut tokens } else { &mut logins }) += 1;
            }
        }
        Ok((logins, tokens))
    }

    /// Ends every session and token of somebody; gives their number.
    pub async fn end_sessions(&self, login: &Login) -> Result<usize, EngineError> {
        let mut ended = 0;
        for (id, record) in sessions::all(&self.inner.consul).await? {
            if record.login == *login {
                match self.inner.consul.kv_delete(&sessions::key(&id)).await {
                    Err(e) if e.fault != Fault::NotFound => return Err(e),
                    _ => ended += 1,
                }
            }
        }
        Ok(ended)
    }
}
