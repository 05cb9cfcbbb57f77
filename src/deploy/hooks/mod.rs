//! Hooks: who is told of what happens to an app, at which URL. They are bound to the app's identity: a later app of the
//! same name has none of them.

mod address;
mod courier;
mod deliver;
mod line;
mod message;
mod records;
mod sight;
mod teller;
mod watch;

use std::collections::BTreeSet;

use secrecy::{ExposeSecret, SecretString};

pub use address::{HookUrl, Networks};
pub use courier::{Courier, Sent};
pub use teller::Teller;

use super::{Deployer, Error};
use crate::engines::consul::TxnOp;
use crate::model::wire::HookEvent;
use crate::model::{Head, Placement};
use crate::operation::OpenError;
use crate::operation::run::{encode, fresh_uid};
use crate::store::hooks::{Hook, HookBook, HookQueue};
use crate::store::records::{By, SCHEMA};
use crate::store::{Versioned, keys};

/// So many hooks has an app at most.
pub const MOST_HOOKS: usize = 10;
/// How often a change is made again that somebody else's was faster than.
const TRIES: usize = 5;

/// A hook to be made.
#[derive(Debug)]
pub struct NewHook {
    /// Where to.
    pub url: String,
    /// Of what; all where it is empty.
    pub on: BTreeSet<HookEvent>,
    /// What it is signed with; made here where there is none.
    pub secret: Option<SecretString>,
}

impl Deployer {
    /// What carries messages, for this agent's settings.
    #[must_use]
    pub fn with_courier(mut self, courier: Courier) -> Self {
        self.courier = courier;
        self
    }

    /// An app's hooks, oldest first, each with what waits for it.
    pub async fn hooks(&self, app: &Placement) -> Result<Vec<(Hook, Option<HookQueue>)>, Error> {
        let head = self.head(app).await?.value;
        let store = self.runner.store();
        let (hooks, _) = store.hooks(app, &head.uid).await?;
        let queues = futures::future::try_join_all(hooks.iter().map(|h| store.hook_queue(&h.id))).await?;
        Ok(hooks.into_iter().zip(queues.into_iter().map(|q| q.map(|q| q.value))).collect())
    }

    /// Makes a hook. Gives the secret too, where it was made here: it is shown this once.
    pub async fn add_hook(
        &self,
        by: &By,
        app: &Placement,
        new: NewHook,
    ) -> Result<(Hook, Option<SecretString>), Error> {
        let url = HookUrl::new(&new.url).map_err(Error::Invalid)?;
        if let Some(secret) = &new.secret {
            courier::check_secret(secret).map_err(|why| Error::Invalid(format!("the secret: {why}")))?;
        }
        // Whoever may not have hooks here learns nothing of where names lead.
        self.head(app).await?;
        self.courier.look(&url).await.map_err(Error::Invalid)?;
        let made = new.secret.is_none().then(courier::fresh_secret);
        let secret =
            new.secret.as_ref().or(made.as_ref()).map_or("", |s| s.expose_secret()).trim().to_owned();
        let hook = Hook {
            id: hex::encode(rand::random::<[u8; 8]>()),
            url: url.as_str().to_owned(),
            on: if new.on.is_empty() { HookEvent::ALL.into() } else { new.on },
            by: by.login.clone(),
            at: self.runner.now().to_string(),
        };
        let queue = HookQueue {
            v: SCHEMA,
            hook: hook.id.clone(),
            app: app.clone(),
            pending: std::collections::VecDeque::new(),
            tries: 0,
            next: None,
            last: None,
            lost: 0,
            leaving: None,
        };
        let of: Vec<&str> = hook.on.iter().map(|e| e.as_str()).collect();
        let summary = format!("hook {} to {} of {}", hook.id, url.origin(), of.join(", "));
        self.change_hooks(by, app, "hook-add", &summary, |hooks| {
            if hooks.len() >= MOST_HOOKS {
                return Err(Error::Refused {
                    why: format!("{app} has {MOST_HOOKS} hooks, which is as many as an app may have"),
                    hint: "remove one: `terreau hook list` lists them".to_owned(),
                });
            }
            if let Some(same) = hooks.iter().find(|h| h.url == hook.url) {
                return Err(Error::Refused {
                    why: format!("hook {} of {app} goes to this URL already", same.id),
                    hint: format!("`terreau hook remove {}` takes it away", same.id),
                });
            }
            hooks.push(hook.clone());
            Ok(vec![
                TxnOp::Create { key: keys::hook_queue(&hook.id), value: encode(&queue)? },
                TxnOp::Create { key: keys::hook_secret(&hook.id), value: secret.clone().into_bytes() },
            ])
        })
        .await?;
        Ok((hook, made))
    }

    /// Takes a hook away, with what waits for it.
    pub async fn remove_hook(&self, by: &By, app: &Placement, id: &str) -> Result<(), Error> {
        let hook = self.hook(app, id).await?;
        let origin = HookUrl::new(&hook.url).map(|u| u.origin()).unwrap_or_default();
        let summary = format!("hook {} to {origin} is removed", hook.id);
        self.change_hooks(by, app, "hook-remove", &summary, |hooks| {
            hooks.retain(|h| h.id != hook.id);
            let of = [keys::hook_queue(&hook.id), keys::hook_secret(&hook.id)];
            Ok(of.map(|key| TxnOp::Delete { key }).into())
        })
        .await
    }

    /// Sends a test to a hook, now and once.
    pub async fn test_hook(&self, by: &By, app: &Placement, id: &str) -> Result<(String, Sent), Error> {
        let hook = self.hook(app, id).await?;
        let secret = self.runner.store().hook_secret(&hook.id).await?;
        let secret = secret.ok_or_else(|| no_hook(app, id))?;
        let now = self.runner.now();
        let of = (app, self.runner.hands().cluster.name.as_str());
        let message = message::of_test(fresh_uid(now).as_str(), &now.to_string(), of, &by.login);
        let sent = self.courier.send(&hook.url, &secret, &message.id, now, &message.body).await;
        Ok((message.id, sent))
    }

    /// The one hook whose id this is, or the beginning of it.
    async fn hook(&self, app: &Placement, id: &str) -> Result<Hook, Error> {
        let head = self.head(app).await?.value;
        let (hooks, _) = self.runner.store().hooks(app, &head.uid).await?;
        let mut found: Vec<Hook> =
            hooks.into_iter().filter(|h| !id.is_empty() && h.id.starts_with(id)).collect();
        match (found.pop(), found.len()) {
            (Some(one), 0) => Ok(one),
            (None, _) => Err(no_hook(app, id)),
            (Some(_), more) => {
                Err(Error::Invalid(format!("{} hooks of {app} begin so: write more of the id", more + 1)))
            }
        }
    }

    /// Changes an app's book, in one transaction with its audit record and with what the change adds.
    async fn change_hooks(
        &self,
        by: &By,
        app: &Placement,
        verb: &str,
        summary: &str,
        mut change: impl FnMut(&mut Vec<Hook>) -> Result<Vec<TxnOp>, Error>,
    ) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            let head: Versioned<Head> = self.head(app).await?;
            let uid = head.value.uid;
            let (mut hooks, index) = self.runner.store().hooks(app, &uid).await?;
            let mut ops = vec![TxnOp::CheckIndex { key: keys::head(app), index: head.index }];
            ops.extend(change(&mut hooks)?);
            if hooks.is_empty() && index == 0 {
                // Somebody else took the last one away.
                return Ok(());
            }
            let key = keys::hook_book(app);
            ops.push(if hooks.is_empty() {
                TxnOp::DeleteCas { key, index }
            } else {
                let book = HookBook { v: SCHEMA, app: app.clone(), uid: uid.clone(), hooks };
                TxnOp::Cas { key, value: encode(&book)?, index }
            });
            tries += 1;
            match self.runner.write_told(by, (app, &uid), verb, summary.to_owned(), ops).await {
                // The app, or its book, was changed in between.
                Err(OpenError::Moved(_)) if tries < TRIES => {}
                done => return Ok(done?),
            }
        }
    }
}

fn no_hook(app: &Placement, id: &str) -> Error {
    let id: String = id.chars().filter(|c| !c.is_control()).take(32).collect();
    Error::NotFound(format!("{app} has no hook {id}"))
}
