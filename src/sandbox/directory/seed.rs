//! What an empty tree is filled with: its branches, and the first people, services and groups.
//!
//! Only ever an empty tree: what people changed since is theirs.

use std::collections::BTreeMap;
use std::io;

use secrecy::SecretString;

use super::acl::Who;
use super::store::Store;
use super::tree::{Attrs, Refusal};
use crate::engines::directory::{dn, hash};

/// The first entries.
#[derive(Debug, Clone, Default)]
pub struct Seed {
    /// Under `ou=users`.
    pub people: Vec<SeedPerson>,
    /// Under `ou=services,ou=users`.
    pub services: Vec<SeedService>,
    /// Under `ou=groups`, beside those that people and services name.
    pub groups: Vec<String>,
}

/// A person.
#[derive(Debug, Clone)]
pub struct SeedPerson {
    /// Their login.
    pub login: String,
    /// Stored hashed.
    pub password: SecretString,
    /// Their address, where they have one.
    pub mail: Option<String>,
    /// Names of their groups.
    pub groups: Vec<String>,
}

/// A service account.
#[derive(Debug, Clone)]
pub struct SeedService {
    /// Its name.
    pub cn: String,
    /// Stored hashed.
    pub password: SecretString,
    /// Names of its groups.
    pub groups: Vec<String>,
}

/// Writes the seed into an empty tree; a kill in between leaves it empty.
pub(super) fn plant(store: &Store, base: &str, seed: &Seed) -> io::Result<()> {
    if !store.newest().is_empty() {
        return Ok(());
    }
    let mut entries: Vec<(String, Attrs)> = Vec::new();
    let wrong = |e: dn::DnError| io::Error::new(io::ErrorKind::InvalidInput, format!("seed: {e}"));
    entries.push((base.to_owned(), object(&["top", "dcObject", "organization"], "organization", [])));
    for place in ["ou=users", "ou=services,ou=users", "ou=groups", "ou=invitations"] {
        entries.push((
            format!("{place},{base}"),
            object(&["top", "organizationalUnit"], "organizationalUnit", []),
        ));
    }
    let mut groups: BTreeMap<String, Vec<String>> =
        seed.groups.iter().map(|name| (name.clone(), Vec::new())).collect();
    let mut join = |names: &[String], dn: &str| {
        for name in names {
            groups.entry(name.clone()).or_default().push(dn.to_owned());
        }
    };
    for person in &seed.people {
        let dn = dn::people(base, &person.login).map_err(wrong)?;
        join(&person.groups, &dn);
        let mut attrs = a_person(&person.login, &person.password);
        attrs.extend(person.mail.iter().map(|mail| ("mail".to_owned(), vec![mail.clone()])));
        entries.push((dn, attrs));
    }
    for service in &seed.services {
        let dn = dn::service(base, &service.cn).map_err(wrong)?;
        join(&service.groups, &dn);
        let mut attrs = account([]);
        attrs.insert("userpassword".to_owned(), vec![hash::ssha512_fresh(&service.password)]);
        entries.push((dn, attrs));
    }
    for (name, members) in groups {
        let dn = dn::canonical(&dn::group(base, &name).map_err(wrong)?).map_err(wrong)?;
        let mut attrs = object(&["top", "groupOfNames"], "groupOfNames", []);
        attrs.insert("member".to_owned(), members);
        entries.push((dn, attrs));
    }
    let gardener = Who { dn: base.to_owned(), groups: Vec::new() };
    // One batch, so one line of the journal: all of it or nothing.
    let planted = store.write(|tree, stamp| {
        let mut growing = tree.clone();
        for (dn, attrs) in entries {
            if growing.get(&dn).is_some() {
                let text = format!("{dn} is named twice");
                return Err(Refusal::new(ldap3_proto::LdapResultCode::EntryAlreadyExists, text));
            }
            let stamp = super::tree::Stamp { time: stamp.time.clone(), uuid: super::store::fresh_uuid() };
            let batch = growing.add_unchecked(&dn, attrs, &gardener, &stamp)?;
            growing.apply(&batch);
        }
        Ok(growing.nodes().map(|node| super::tree::Step::Put(node.as_ref().clone())).collect())
    });
    planted.map_err(|refusal| io::Error::new(io::ErrorKind::InvalidInput, format!("seed: {}", refusal.text)))
}

/// What a person's entry holds.
pub(in crate::sandbox) fn a_person(login: &str, password: &SecretString) -> Attrs {
    let mut attrs = account(["displayname", "sn", "uid"].map(|name| (name, login.to_owned())));
    attrs.insert("userpassword".to_owned(), vec![hash::ssha512_fresh(password)]);
    attrs
}

fn account<const N: usize>(more: [(&str, String); N]) -> Attrs {
    object(&["inetOrgPerson", "organizationalPerson", "person", "top"], "inetOrgPerson", more)
}

fn object<const N: usize>(classes: &[&str], structural: &str, more: [(&str, String); N]) -> Attrs {
    let mut attrs = Attrs::new();
    attrs.insert("objectclass".to_owned(), classes.iter().map(|class| (*class).to_owned()).collect());
    attrs.insert("structuralobjectclass".to_owned(), vec![structural.to_owned()]);
    attrs.extend(more.map(|(name, value)| (name.to_owned(), vec![value])));
    attrs
}
