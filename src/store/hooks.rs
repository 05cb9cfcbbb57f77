//! Records of hooks: who is told of an app, what waits to be told, what is going on. All of them stand below one prefix,
//! so that whoever tells reads them in one call; what they are signed with stands elsewhere, and in none of these.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{Store, Versioned, decode, keys};
use crate::engines::EngineError;
use crate::engines::consul::KvEntry;
use crate::model::head::Outcome;
use crate::model::wire::{DeliveryView, HookEvent};
use crate::model::{Placement, Uid};

/// Who is told of an app (`terreau/v1/hook/book/<tenant>/<env>/<project>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookBook {
    /// Schema.
    pub v: u32,
    /// Of which app.
    pub app: Placement,
    /// The app's identity: another app of that name, later, is another's.
    pub uid: Uid,
    /// Oldest first.
    pub hooks: Vec<Hook>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its id: hex digits.
    pub id: String,
    /// Where to.
    pub url: String,
    /// Of what.
    pub on: BTreeSet<HookEvent>,
    /// Who made it.
    pub by: String,
    /// When (RFC 3339, UTC).
    pub at: String,
}

/// What waits to be told to one of them, in order (`terreau/v1/hook/queue/<id>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookQueue {
    /// Schema.
    pub v: u32,
    /// Of which hook.
    pub hook: String,
    /// Of which app.
    pub app: Placement,
    /// The oldest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub pending: VecDeque<Message>,
    /// How often the first was tried.
    #[serde(default)]
    pub tries: u32,
    /// Not before (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<DeliveryView>,
    /// How many were given up, or dropped because too many waited.
    #[serde(default)]
    pub lost: u64,
    /// The hook itself, once its app is deleted and no book holds it: what waits is still told, and then all of it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Hook>,
}

/// Something to tell, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `webhook-id`: the same at every try.
    pub id: String,
    /// `app.deploy`…
    pub kind: String,
    /// The bytes that are signed and sent.
    pub body: String,
}

/// How a change ended (`terreau/v1/hook/news/<operation>`): written by the transaction that ends it, where somebody
/// wants to know; taken away by the one that makes it wait for each of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// Schema.
    pub v: u32,
    /// The operation.
    pub id: Uid,
    /// On which app.
    pub app: Placement,
    /// The app's identity.
    pub uid: Uid,
    /// What it is.
    pub event: HookEvent,
    /// When (RFC 3339, UTC).
    pub at: String,
    /// Who asked for it.
    pub by: String,
    /// `deploy`, `rollback`…
    pub verb: String,
    /// The release that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// One line for people.
    pub summary: String,
    /// Why, in a few lines; never what the app wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// Where the app answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// The hooks of an app that is deleted, which go with it once they are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<Hook>,
}

/// That an app crashes again and again was told (`terreau/v1/hook/crash/<uid>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// Schema.
    pub v: u32,
    /// Which app.
    pub app: Placement,
    /// Its identity.
    pub uid: Uid,
    /// Since when (RFC 3339, UTC).
    pub since: String,
    /// Which process.
    pub process: String,
    /// So many seconds without a bad end are a recovery.
    pub quiet: u64,
}

/// All of it, as it was at one moment. What cannot be read (of a newer schema) hides nothing else.
#[derive(Debug, Clone, Default)]
pub struct HookState {
    /// By app.
    pub books: BTreeMap<Placement, Versioned<HookBook>>,
    /// By hook.
    pub queues: BTreeMap<String, Versioned<HookQueue>>,
    /// As they happened.
    pub news: Vec<Versioned<News>>,
    /// By the app's identity.
    pub crashes: BTreeMap<Uid, Versioned<Crash>>,
}

impl HookState {
    /// From everything that stands below the prefix.
    pub fn of(entries: &[KvEntry]) -> Self {
        let mut state = Self::default();
        for entry in entries {
            let rest = entry.key.strip_prefix(keys::HOOKS).unwrap_or_default();
            let read = match rest.split('/').next() {
                Some("book") => decode(entry).map(|b: Versioned<HookBook>| {
                    state.books.insert(b.value.app.clone(), b);
                }),
                Some("queue") => decode(entry).map(|q: Versioned<HookQueue>| {
                    state.queues.insert(q.value.hook.clone(), q);
                }),
                Some("news") => decode(entry).map(|n| state.news.push(n)),
                Some("crash") => decode(entry).map(|c: Versioned<Crash>| {
                    state.crashes.insert(c.value.uid.clone(), c);
                }),
                _ => Ok(()),
            };
            if let Err(e) = read {
                tracing::warn!(error = %e, "a record of hooks is passed over");
            }
        }
        // An operation's id says when it began; in the order of these its ends were written.
        state.news.sort_by_key(|n| n.index);
        state
    }
}

impl Store {
    /// Who is told of an app of this identity; the index is that of the record, whosever it is.
    pub async fn hooks(&self, app: &Placement, uid: &Uid) -> Result<(Vec<Hook>, u64), EngineError> {
        let book: Option<Versioned<HookBook>> = self.read(&keys::hook_book(app)).await?;
        Ok(book.map_or((Vec::new(), 0), |b| {
            (if b.value.uid == *uid { b.value.hooks } else { Vec::new() }, b.index)
        }))
    }

    /// What waits to be told to a hook.
    pub async fn hook_queue(&self, hook: &str) -> Result<Option<Versioned<HookQueue>>, EngineError> {
        self.read(&keys::hook_queue(hook)).await
    }

    /// What a hook is signed with: base64.
    pub async fn hook_secret(&self, hook: &str) -> Result<Option<SecretString>, EngineError> {
        let found = self.consul.kv_get(&keys::hook_secret(hook)).await?;
        Ok(found.and_then(|e| String::from_utf8(e.value.to_vec()).ok()).map(SecretString::from))
    }
}
