//! What is owned by nobody, and what the records hold half: pure, of the records of one moment and a list of things that were
//! there before it.

use std::collections::{BTreeMap, BTreeSet};

use super::Whom;
use super::things::{Thing, Whose};
use crate::model::desired::{Name, Space};
use crate::model::head::{AppState, Kind};
use crate::model::{Head, Placement, Uid};
use crate::store::{Whole, keys};

/// Something that no record accounts for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Orphan {
    /// A thing on an engine, and the app that it was of, where the records still tell.
    Thing(Thing, Option<Whom>),
    /// An entry of the name index whose app does not hold it: its key.
    Entry(String, Placement, Uid),
    /// A name that an app holds, and that the index does not give it: another app could take it.
    Unheld(Name, Placement, Uid),
}

/// Whether a thing is accounted for by these records after all.
pub(super) fn is_known(thing: &Thing, whole: &Whole) -> bool {
    Known::of(whole).accounts_for(thing)
}

/// All of them.
pub(super) fn orphans(there: &BTreeSet<Thing>, whole: &Whole) -> BTreeSet<Orphan> {
    let known = Known::of(whole);
    let mut found: BTreeSet<Orphan> = there
        .iter()
        .filter(|t| !known.accounts_for(t))
        .map(|t| {
            let app = match &t.whose {
                Whose::Marked(uid) => whole.app_of(uid).map(|app| (app.clone(), uid.clone())),
                Whose::Named(flat) => known.last_of(flat),
            };
            Orphan::Thing(t.clone(), app)
        })
        .collect();
    for (key, entry) in &whole.names {
        let owner = &entry.value;
        // The name of values goes with them.
        let guards = found.iter().any(|o| matches!(o, Orphan::Thing(t, _) if t.is_below(key)));
        if !guards && !known.names.contains(&(&owner.uid, key.clone())) {
            found.insert(Orphan::Entry(key.clone(), owner.app.clone(), owner.uid.clone()));
        }
    }
    for head in whole.heads.iter().map(|h| &h.value) {
        let lacks = |n: &&Name| {
            whole.names.get(&keys::name(n.space, &n.name)).is_none_or(|e| e.value.uid != head.uid)
        };
        found.extend(
            head.names
                .iter()
                .filter(lacks)
                .map(|n| Orphan::Unheld(n.clone(), head.app.clone(), head.uid.clone())),
        );
    }
    found
}

/// Who names what, in the records.
struct Known<'a> {
    heads: BTreeMap<&'a Uid, &'a Head>,
    /// Flat names of apps that are there, or whose things wait for the sweep.
    flats: BTreeSet<String>,
    doomed: BTreeSet<(&'a Uid, Kind, String)>,
    names: BTreeSet<(&'a Uid, String)>,
    whole: &'a Whole,
}

impl<'a> Known<'a> {
    fn of(whole: &'a Whole) -> Self {
        let heads: BTreeMap<&Uid, &Head> = whole.heads.iter().map(|h| (&h.value.uid, &h.value)).collect();
        let mut known =
            Self { heads, flats: BTreeSet::new(), doomed: BTreeSet::new(), names: BTreeSet::new(), whole };
        let key = |n: &Name| keys::name(n.space, &n.name);
        for head in known.heads.values() {
            known.flats.insert(head.app.flat());
            known.names.extend(head.names.iter().map(|n| (&head.uid, key(n))));
        }
        for op in &whole.operations {
            known.flats.insert(op.app.flat());
            known.names.extend(op.after.names.iter().map(|n| (&op.uid, key(n))));
        }
        for d in &whole.doomed {
            known.flats.insert(d.app.flat());
            for thing in &d.things {
                known.doomed.insert((&d.uid, thing.kind, spelled(thing.kind, &thing.id)));
                known.names.extend(thing.names.iter().map(|n| (&d.uid, key(n))));
            }
        }
        known
    }

    fn accounts_for(&self, thing: &Thing) -> bool {
        match &thing.whose {
            Whose::Named(flat) => self.flats.contains(flat),
            Whose::Marked(uid) => {
                let is_doomed = self.doomed.contains(&(uid, thing.kind, spelled(thing.kind, &thing.id)));
                is_doomed || self.heads.get(uid).is_some_and(|h| owns(h, thing))
            }
        }
    }

    /// The last app of this flat name that the audit records in Consul tell of.
    fn last_of(&self, flat: &str) -> Option<Whom> {
        let of = |a: &&crate::store::Audit| a.uid.is_some() && a.app.flat() == flat;
        let last = self.whole.audits.iter().rev().map(|a| &a.value).find(of)?;
        Some((last.app.clone(), last.uid.clone()?))
    }
}

fn spelled(kind: Kind, id: &str) -> String {
    if kind == Kind::Account { id.to_ascii_lowercase() } else { id.to_owned() }
}

fn owns(head: &Head, thing: &Thing) -> bool {
    // Whoever drives its operation, or takes it up, knows what to do with it.
    let moves = head.operation.is_some() || head.intent.is_some() || head.state == AppState::New;
    moves || head.owned.iter().any(|o| o.kind == thing.kind && thing.kind.is_same(&o.id, &thing.id))
}

/// Under which name what is left of an app's values is kept from another app, until it is gone.
pub(super) fn values_of(app: &Placement) -> Name {
    Name { space: Space::Secrets, name: app.flat() }
}
