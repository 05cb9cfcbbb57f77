//! Where an app's artifacts lie: under its capability. Before its first deploy an app has no record that could keep
//! one, so what an upload is given, its ticket, is computed, and becomes the capability with the first deploy.
//!
//! A ticket is HMAC-SHA256, under a key that only the agents know, over the app, the person, the day, and the
//! capability that a deleted app of that name had. That is enough, without a record for each upload:
//! - nobody can choose or guess one: without the key it looks like 32 random bytes;
//! - another app's or person's ticket is not taken: both stand in what is signed;
//! - who read a job of a deleted app knows its capability, and not the next one;
//! - it opens nothing by itself: every call that takes one also needs a session and the right to upload;
//! - a second try on the same day finds what the first one uploaded; yesterday's is still taken, older ones are not.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tokio::sync::OnceCell;

use super::{Deployer, Error};
use crate::engines::{Engine, EngineError, Fault};
use crate::model::head::AppState;
use crate::model::{Head, Placement, Sha256Hex};
use crate::store::keys;
use crate::store::records::By;

/// Seconds.
const DAY: i64 = 24 * 60 * 60;

/// The key of all agents, once it was read.
#[derive(Debug, Clone, Default)]
pub(super) struct TicketKey(Arc<OnceCell<SecretString>>);

impl Deployer {
    /// The capability that an app's artifacts lie under: its own, or before its first deploy the ticket that this
    /// person is given for it today. A ticket that came with the request must be one of those.
    pub(super) async fn capability(
        &self,
        by: &By,
        app: &Placement,
        head: Option<&Head>,
        ticket: Option<&str>,
    ) -> Result<String, Error> {
        let unknown = || {
            let text =
                format!("there is no such upload for {app}: its ticket is another's, or older than a day");
            Error::NotFound(format!("{text}; upload again"))
        };
        let is_the_same = |a: &str, b: &str| bool::from(a.as_bytes().ct_eq(b.as_bytes()));
        if let Some(head) = head.filter(|h| h.state != AppState::Deleted) {
            return match ticket {
                Some(ticket) if !is_the_same(ticket, &head.capability) => Err(unknown()),
                _ => Ok(head.capability.clone()),
            };
        }
        let before = head.map_or("", |h| h.capability.as_str());
        let key = self.ticket_key().await?;
        let today = self.runner.now().as_second().div_euclid(DAY);
        let [now, yesterday] = [today, today - 1].map(|day| mac(key, app, &by.login, day, before));
        match ticket {
            None => Ok(now),
            Some(ticket) => [now, yesterday].into_iter().find(|t| is_the_same(t, ticket)).ok_or_else(unknown),
        }
    }

    /// Made by the first agent that needs it, and read by all.
    async fn ticket_key(&self) -> Result<&SecretString, Error> {
        let consul = self.runner.store().consul();
        let read = async || {
            let found = consul.kv_get(keys::TICKETS).await?;
            let text = found.and_then(|e| String::from_utf8(e.value.to_vec()).ok());
            Ok::<_, EngineError>(text.filter(|t| Sha256Hex::new(t.as_str()).is_ok()).map(SecretString::from))
        };
        let key = self.ticket_key.0.get_or_try_init(|| async {
            if let Some(key) = read().await? {
                return Ok(key);
            }
            match consul.kv_create(keys::TICKETS, hex::encode(rand::random::<[u8; 32]>())).await {
                // Another agent was faster.
                Err(e) if e.fault != Fault::Conflict => return Err(e),
                _ => {}
            }
            read().await?.ok_or_else(|| {
                let doing = format!("read {}", keys::TICKETS);
                let why = "it is no key; delete it, and the next upload makes another one";
                EngineError::new(Engine::Consul, Fault::Broken, doing, why)
            })
        });
        Ok(key.await?)
    }
}

fn mac(key: &SecretString, app: &Placement, login: &str, day: i64, before: &str) -> String {
    let key = key.expose_secret().as_bytes();
    // HMAC takes keys of any length.
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    // No part can hold a newline: nothing can be read in two ways.
    let text = format!("terreau upload 1\n{}\n{login}\n{day}\n{before}", app.path());
    hex::encode(mac.chain_update(text).finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_another_one_for_another_app_person_day_past_or_key() {
        let (app, other): (Placement, Placement) =
            ("carnet".parse().unwrap(), "carnet@staging".parse().unwrap());
        let (key, key2) = (SecretString::from("k".repeat(64)), SecretString::from("l".repeat(64)));
        let all = [
            mac(&key, &app, "alice", 1, ""),
            mac(&key, &other, "alice", 1, ""),
            mac(&key, &app, "bob", 1, ""),
            mac(&key, &app, "alice", 2, ""),
            mac(&key, &app, "alice", 1, "before"),
            mac(&key2, &app, "alice", 1, ""),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(|t| Sha256Hex::new(t.as_str()).is_ok()));
        assert_eq!(all[0], mac(&key, &app, "alice", 1, ""));
    }
}
