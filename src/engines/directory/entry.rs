//! What the directory hands back: an entry, with attribute names in lower case. No decisions here.

use std::collections::BTreeMap;
use std::fmt;

use ldap3::ResultEntry;
use ldap3::asn1::{PL, StructureTag};

use super::{dn, hash};

/// One entry of the tree. `Debug` shows names and counts, never values: hashes and keys are among them.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as the server wrote it.
    pub dn: String,
    /// Attribute name in lower case → values in the server's order. An attribute with a value that is not
    /// UTF-8 (a photo) is left out.
    pub attrs: BTreeMap<String, Vec<String>>,
}

impl Entry {
    /// The first value of an attribute; the name may be written in any case.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    /// All values of an attribute; empty where it is not there, or not readable for us.
    pub fn all(&self, name: &str) -> &[String] {
        self.attrs.get(&name.to_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// DNs of the groups that hold this entry (kept by the server).
    pub fn memberof(&self) -> &[String] {
        self.all("memberof")
    }

    /// True where `memberof` names this group, without regard to case and space.
    pub fn is_member_of(&self, group_dn: &str) -> bool {
        self.memberof().iter().any(|group| dn::dn_eq(group, group_dn))
    }

    /// Changes whenever the password does (see [`hash::fingerprint`]).
    pub fn password_fingerprint(&self) -> String {
        hash::fingerprint(self.all("userpassword"))
    }

    /// Reads the wire form. `None` where it is not an entry (a referral) or not LDAP at all; the library's
    /// own reader panics on the latter.
    pub(super) fn from_wire(raw: ResultEntry) -> Option<Self> {
        if raw.is_ref() || raw.is_intermediate() || raw.0.id != 4 {
            return None;
        }
        let mut parts = raw.0.expect_constructed()?.into_iter();
        let dn = String::from_utf8(parts.next()?.expect_primitive()?).ok()?;
        let mut attrs = BTreeMap::new();
        for attribute in parts.next()?.expect_constructed()? {
            let mut parts = attribute.expect_constructed()?.into_iter();
            let name = String::from_utf8(parts.next()?.expect_primitive()?).ok()?.to_lowercase();
            let values = parts.next()?.expect_constructed()?;
            if let Some(values) = values.into_iter().map(text).collect::<Option<Vec<_>>>() {
                attrs.entry(name).or_insert_with(Vec::new).extend(values);
            }
        }
        Some(Self { dn, attrs })
    }
}

fn text(value: StructureTag) -> Option<String> {
    match value.payload {
        PL::P(bytes) => String::from_utf8(bytes).ok(),
        PL::C(_) => None,
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: BTreeMap<&str, usize> =
            self.attrs.iter().map(|(name, values)| (name.as_str(), values.len())).collect();
        f.debug_struct("Entry").field("dn", &self.dn).field("values", &counts).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_shown_for_debugging_holds_no_value() {
        let attrs = BTreeMap::from([("userpassword".to_owned(), vec!["{SSHA512}canary".to_owned()])]);
        let entry = Entry { dn: "cn=a,dc=ex".to_owned(), attrs };
        assert!(!format!("{entry:?}").contains("canary"));
        assert_eq!(entry.first("userPassword"), Some("{SSHA512}canary"));
        assert!(entry.memberof().is_empty());
    }

    #[test]
    fn what_is_no_entry_is_no_panic() {
        use ldap3::asn1::TagClass;
        let tag = |id, payload| StructureTag { class: TagClass::Application, id, payload };
        for raw in [
            tag(4, PL::P(vec![1, 2])),
            tag(4, PL::C(vec![])),
            tag(4, PL::C(vec![tag(4, PL::P(vec![0xff]))])),
            tag(7, PL::C(vec![])),
        ] {
            assert_eq!(Entry::from_wire(ResultEntry::new(raw)), None);
        }
    }
}
