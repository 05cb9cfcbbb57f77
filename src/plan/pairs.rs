//! What two sides have by name. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::difference::Difference;

/// What each side has under a key.
pub(super) type Pair<'a, T> = (Option<&'a T>, Option<&'a T>);

/// Keys of either side, in order, with what each side has.
pub(super) fn pairs<'a, T>(
    old: &'a BTreeMap<String, T>,
    new: &'a BTreeMap<String, T>,
) -> Vec<(String, Pair<'a, T>)> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter().map(|k| (k.clone(), (old.get(k), new.get(k)))).collect()
}

pub(super) fn set<T: Display>(list: impl Iterator<Item = T>) -> BTreeSet<String> {
    list.map(|t| t.to_string()).collect()
}

/// `host added x`, `host removed x`.
pub(super) fn named(
    what: &str,
    of: &str,
    old: &BTreeSet<String>,
    new: &BTreeSet<String>,
    out: &mut Vec<Difference>,
) {
    out.extend(new.difference(old).map(|n| Difference::stays(format!("{what} added {n}{of}"))));
    out.extend(old.difference(new).map(|n| Difference::goes(format!("{what} removed {n}{of}"))));
}
