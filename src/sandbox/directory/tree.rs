//! The tree and what may be done to it: decisions over plain data, in Bottin's manner and with its result codes.
//!
//! Every change is worked out here as a [`Batch`] and made by somebody else, after it is on disk. No schema: any
//! attribute is accepted. Facts from Bottin: deleting a value that is not there, or adding one that is, is no
//! error; `member` may only name entries that exist; `memberof` is the server's; a password is stored as given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ldap3_proto::LdapResultCode as Code;
use ldap3_proto::proto::{LdapModify, LdapModifyType, LdapPartialAttribute};
use serde::{Deserialize, Serialize};

use super::acl::{Acl, Action, Who};
use crate::engines::directory::dn;

/// Written by the server alone.
const SYSTEM: [&str; 6] =
    ["memberof", "entryuuid", "creatorsname", "createtimestamp", "modifiersname", "modifytimestamp"];

/// Attribute name in lower case → values.
pub type Attrs = BTreeMap<String, Vec<String>>;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Canonical DN.
    pub dn: String,
    /// What it holds; no attribute is empty.
    pub attrs: Attrs,
}

impl Node {
    /// Values of an attribute, by its lower-case name.
    pub fn all(&self, name: &str) -> &[String] {
        self.attrs.get(name).map_or(&[], Vec::as_slice)
    }
}

/// One step of a change; a batch is made whole or not at all, and again without harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The entry is now this.
    Put(Node),
    /// The entry is gone.
    Delete(String),
}

/// What one request comes to.
pub type Batch = Vec<Step>;

/// A request that is not carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// LDAP's result code.
    pub code: Code,
    /// For people.
    pub text: String,
}

impl Refusal {
    /// Builds one.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// When and by whom, for the operational attributes.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// `20260102030405Z`.
    pub time: String,
    /// A fresh UUID, for a new entry.
    pub uuid: String,
}

/// All entries. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Tree {
    base: String,
    /// By the DN's parts from the root down, so that what stands below an entry follows it.
    nodes: BTreeMap<String, Arc<Node>>,
}

impl Tree {
    /// An empty one. `base` is canonical.
    pub fn new(base: &str) -> Self {
        Self { base: base.to_owned(), nodes: BTreeMap::new() }
    }

    /// True before the seed.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Every entry, parents first.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// The entry of a canonical DN.
    pub fn get(&self, dn: &str) -> Option<&Arc<Node>> {
        self.nodes.get(&key(dn))
    }

    /// What stands below an entry, at any depth, without itself.
    pub fn below(&self, dn: &str) -> impl Iterator<Item = &Arc<Node>> {
        let key = key(dn);
        self.nodes.range(format!("{key}\u{1}")..format!("{key}\u{2}")).map(|(_, node)| node)
    }

    /// Makes a change that is on disk already.
    pub fn apply(&mut self, batch: &[Step]) {
        for step in batch {
            match step {
                Step::Put(node) => self.nodes.insert(key(&node.dn), Arc::new(node.clone())),
                Step::Delete(dn) => self.nodes.remove(&key(dn)),
            };
        }
    }

    /// A DN that stands in this tree, in canonical form.
    pub fn own(&self, dn: &str) -> Result<String, Refusal> {
        let canonical = dn::canonical(dn).map_err(|e| Refusal::new(Code::InvalidDNSyntax, e.to_string()))?;
        if dn::is_under(&canonical, &self.base) {
            return Ok(canonical);
        }
        Err(Refusal::new(Code::InvalidDNSyntax, format!("DN {dn} is not under base DN {}", self.base)))
    }

    /// The base of a search: what stands above the suffix means the suffix.
    pub fn search_base(&self, dn: &str) -> Result<String, Refusal> {
        if dn.trim().is_empty() || dn::is_under(&self.base, dn) {
            return Ok(self.base.clone());
        }
        self.own(dn)
    }

    /// Works out an add.
    pub fn add(
        &self,
        acl: &Acl,
        who: &Who,
        dn: &str,
        attributes: &[LdapPartialAttribute],
        stamp: &Stamp,
    ) -> Result<Batch, Refusal> {
        let dn = self.own(dn)?;
        let mut attrs = Attrs::new();
        for attribute in attributes {
            let values = texts(&attribute.vals)?;
            attrs.entry(attr_name(&attribute.atype)?).or_default().extend(values);
        }
        let names: Vec<&str> = attrs.keys().map(String::as_str).collect();
        if !acl.allows(who, Action::Add, &dn, &names) {
            return Err(no_right());
        }
        if self.get(&dn).is_some() {
            return Err(Refusal::new(Code::EntryAlreadyExists, format!("{dn} already exists")));
        }
        if let Some((_, parent)) = dn.split_once(',')
            && dn != self.base
            && self.get(parent).is_none()
        {
            return Err(Refusal::new(Code::NoSuchObject, format!("Parent object {parent} does not exist")));
        }
        self.add_unchecked(&dn, attrs, who, stamp)
    }

    /// The same without rights and places: for the seed.
    pub fn add_unchecked(
        &self,
        dn: &str,
        mut attrs: Attrs,
        who: &Who,
        stamp: &Stamp,
    ) -> Result<Batch, Refusal> {
        for name in attrs.keys() {
            not_system(name)?;
        }
        attrs.retain(|_, values| {
            unique(values);
            !values.is_empty()
        });
        let mut members = BTreeSet::new();
        if let Some(named) = attrs.get_mut("member") {
            members = self.members(named)?;
            *named = members.iter().cloned().collect();
        }
        let (name, value) = rdn(dn);
        let values = attrs.entry(name).or_default();
        if !values.iter().any(|held| held.to_lowercase() == value) {
            values.push(value);
        }
        attrs.entry("objectclass".to_owned()).or_insert_with(|| vec!["top".to_owned()]);
        attrs.insert("creatorsname".to_owned(), vec![who.dn.clone()]);
        attrs.insert("createtimestamp".to_owned(), vec![stamp.time.clone()]);
        attrs.insert("entryuuid".to_owned(), vec![stamp.uuid.clone()]);
        let mut batch = vec![Step::Put(Node { dn: dn.to_owned(), attrs })];
        self.set_memberships(&mut batch, dn, &members, &BTreeSet::new());
        Ok(batch)
    }

    /// Works out a modify: all its changes, in their order, or none.
    pub fn modify(
        &self,
        acl: &Acl,
        who: &Who,
        dn: &str,
        changes: &[LdapModify],
        stamp: &Stamp,
    ) -> Result<Batch, Refusal> {
        let dn = self.own(dn)?;
        let may = |action, names: &[&str]| acl.allows(who, action, &dn, names);
        if !may(Action::Modify, &[]) && !may(Action::ModifyAdd, &[]) {
            return Err(no_right());
        }
        let old = self.get(&dn).ok_or_else(|| missing(&dn))?;
        let mut attrs = old.attrs.clone();
        for change in changes {
            let name = attr_name(&change.modification.atype)?;
            let mut values = texts(&change.modification.vals)?;
            unique(&mut values);
            not_system(&name)?;
            if name == rdn(&dn).0 {
                let text = format!("{name} may not be changed as it is part of object path");
                return Err(Refusal::new(Code::ObjectClassViolation, text));
            }
            let adds = change.operation == LdapModifyType::Add;
            let allowed = may(Action::Modify, &[&name]) || adds && may(Action::ModifyAdd, &[&name]);
            if !allowed {
                return Err(no_right());
            }
            if name == "member" {
                // A value to be deleted may name what is gone already.
                values = values.iter().map(|value| self.own(value)).collect::<Result<_, _>>()?;
            }
            let held = attrs.entry(name).or_default();
            match change.operation {
                LdapModifyType::Add => {
                    held.extend(values);
                    unique(held);
                }
                LdapModifyType::Delete if values.is_empty() => held.clear(),
                LdapModifyType::Delete => held.retain(|value| !values.contains(value)),
                LdapModifyType::Replace => *held = values,
                LdapModifyType::Increment => {
                    return Err(Refusal::new(Code::UnwillingToPerform, "increment is not implemented"));
                }
            }
        }
        attrs.retain(|_, values| !values.is_empty());
        if !attrs.contains_key("objectclass") {
            return Err(Refusal::new(Code::InsufficentAccessRights, "Cannot remove all objectclass values"));
        }
        let before: BTreeSet<String> = old.all("member").iter().cloned().collect();
        let after: BTreeSet<String> = attrs.get("member").into_iter().flatten().cloned().collect();
        let added: Vec<String> = after.difference(&before).cloned().collect();
        self.members(&added)?;
        attrs.insert("modifiersname".to_owned(), vec![who.dn.clone()]);
        attrs.insert("modifytimestamp".to_owned(), vec![stamp.time.clone()]);
        let mut batch = vec![Step::Put(Node { dn: dn.clone(), attrs })];
        self.set_memberships(&mut batch, &dn, &after, &before);
        Ok(batch)
    }

    /// Works out a delete: leaves only; groups forget the entry, and members the group.
    pub fn delete(&self, acl: &Acl, who: &Who, dn: &str) -> Result<Batch, Refusal> {
        let dn = self.own(dn)?;
        if !acl.allows(who, Action::Delete, &dn, &[]) {
            return Err(no_right());
        }
        let old = self.get(&dn).ok_or_else(|| missing(&dn))?;
        if self.below(&dn).next().is_some() {
            return Err(Refusal::new(
                Code::NotAllowedOnNonLeaf,
                format!("Cannot delete {dn} as it has children"),
            ));
        }
        let mut batch = vec![Step::Delete(dn.clone())];
        for group in old.all("memberof") {
            if let Some(group) = self.get(group) {
                put_without(&mut batch, group, "member", &dn);
            }
        }
        let members = old.all("member").iter().cloned().collect();
        self.set_memberships(&mut batch, &dn, &BTreeSet::new(), &members);
        Ok(batch)
    }

    /// Canonical names of members, each of which must exist.
    fn members(&self, named: &[String]) -> Result<BTreeSet<String>, Refusal> {
        let mut members = BTreeSet::new();
        for name in named {
            let dn = self.own(name)?;
            if self.get(&dn).is_none() {
                let text = format!("Cannot add {dn} to members, it does not exist");
                return Err(Refusal::new(Code::NoSuchObject, text));
            }
            members.insert(dn);
        }
        Ok(members)
    }

    /// Brings `memberof` of those concerned in step with a group's members.
    fn set_memberships(
        &self,
        batch: &mut Batch,
        group: &str,
        after: &BTreeSet<String>,
        before: &BTreeSet<String>,
    ) {
        for gone in before.difference(after) {
            if let Some(node) = current(self, batch, gone) {
                put_without(batch, &node, "memberof", group);
            }
        }
        for new in after.difference(before) {
            if let Some(mut node) = current(self, batch, new) {
                let groups = node.attrs.entry("memberof".to_owned()).or_default();
                groups.push(group.to_owned());
                unique(groups);
                put(batch, node);
            }
        }
    }
}

/// An entry as the batch leaves it: a group may be a member of itself, and then the batch holds it already.
fn current(tree: &Tree, batch: &[Step], dn: &str) -> Option<Node> {
    for step in batch.iter().rev() {
        match step {
            Step::Put(node) if node.dn == dn => return Some(node.clone()),
            Step::Delete(gone) if gone == dn => return None,
            _ => {}
        }
    }
    tree.get(dn).map(|node| Node::clone(node))
}

fn put(batch: &mut Batch, node: Node) {
    batch.retain(|step| !matches!(step, Step::Put(other) if other.dn == node.dn));
    batch.push(Step::Put(node));
}

fn put_without(batch: &mut Batch, node: &Node, attr: &str, value: &str) {
    // What the batch deletes stays deleted.
    if batch.iter().any(|step| matches!(step, Step::Delete(dn) if *dn == node.dn)) {
        return;
    }
    let mut node = node.clone();
    if let Some(values) = node.attrs.get_mut(attr) {
        values.retain(|held| held != value);
        if values.is_empty() {
            node.attrs.remove(attr);
        }
    }
    put(batch, node);
}

fn key(dn: &str) -> String {
    dn.rsplit(',').collect::<Vec<_>>().join("\u{1}")
}

fn rdn(dn: &str) -> (String, String) {
    let first = dn.split(',').next().unwrap_or_default();
    let (name, value) = first.split_once('=').unwrap_or((first, ""));
    (name.to_owned(), value.to_owned())
}

fn unique(values: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    values.retain(|value| seen.insert(value.clone()));
}

fn texts(values: &[Vec<u8>]) -> Result<Vec<String>, Refusal> {
    let text = |value: &Vec<u8>| {
        let refused = || Refusal::new(Code::InvalidAttributeSyntax, "values must be UTF-8");
        String::from_utf8(value.clone()).map_err(|_| refused())
    };
    values.iter().map(text).collect()
}

/// Names are kept in lower case; what Consul's keys could not hold is refused.
fn attr_name(name: &str) -> Result<String, Refusal> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b';');
    if name.is_empty() || name.len() > 128 || !name.bytes().all(fits) {
        return Err(Refusal::new(Code::InvalidAttributeSyntax, format!("{name:?} is no attribute name")));
    }
    Ok(name.to_lowercase())
}

fn not_system(name: &str) -> Result<(), Refusal> {
    if SYSTEM.contains(&name) {
        let text = format!("{name} cannot be set directly, it is managed by the server");
        return Err(Refusal::new(Code::ObjectClassViolation, text));
    }
    Ok(())
}

/// True for what a search asks for with `+` rather than `*`.
pub fn is_operational(name: &str) -> bool {
    SYSTEM.contains(&name)
}

fn no_right() -> Refusal {
    Refusal::new(Code::InsufficentAccessRights, "Insufficient access rights")
}

fn missing(dn: &str) -> Refusal {
    Refusal::new(Code::NoSuchObject, format!("{dn} does not exist"))
}
