//! Search filters on one entry. Pure.
//!
//! Values are compared without regard to case, but for `userpassword`. An attribute that the asker may not read
//! counts as absent: Bottin does not hide it from filters, and so tells a patient asker what it holds. Bottin
//! itself knows and, or, not, equality and presence only; a client for production keeps to those.

use ldap3_proto::proto::{LdapFilter, LdapSubstringFilter};

use super::tree::Node;

/// More parts than this are refused: each is tried on every entry.
const PARTS_MAX: usize = 1000;

/// A filter that is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// Approximate and extensible matches.
    Unsupported,
    /// Too many parts.
    TooLong,
}

/// Looks through a filter once, before any entry is looked at.
pub fn check(filter: &LdapFilter) -> Result<(), Unanswered> {
    let mut waiting = vec![filter];
    let mut parts = 0;
    while let Some(filter) = waiting.pop() {
        parts += 1;
        match filter {
            LdapFilter::And(all) | LdapFilter::Or(all) => waiting.extend(all),
            LdapFilter::Not(inner) => waiting.push(inner),
            LdapFilter::Substring(_, s) => parts += s.any.len(),
            LdapFilter::Approx(..) | LdapFilter::Extensible(_) => return Err(Unanswered::Unsupported),
            _ => {}
        }
        if parts > PARTS_MAX {
            return Err(Unanswered::TooLong);
        }
    }
    Ok(())
}

/// True where the entry fits; `readable` says which of its attributes the asker may know of.
pub fn fits(filter: &LdapFilter, node: &Node, readable: &dyn Fn(&str) -> bool) -> bool {
    let any = |attr: &str, test: &dyn Fn(&str) -> bool| {
        let attr = attr.to_lowercase();
        readable(&attr) && node.attrs.get(&attr).is_some_and(|values| values.iter().any(|value| test(value)))
    };
    match filter {
        LdapFilter::And(all) => all.iter().all(|part| fits(part, node, readable)),
        LdapFilter::Or(all) => all.iter().any(|part| fits(part, node, readable)),
        LdapFilter::Not(inner) => !fits(inner, node, readable),
        LdapFilter::Present(attr) => any(attr, &|_| true),
        LdapFilter::Equality(attr, wanted) => any(attr, &|value| equal(attr, value, wanted)),
        LdapFilter::Substring(attr, parts) => any(attr, &|value| holds(value, parts)),
        LdapFilter::GreaterOrEqual(attr, bound) => any(attr, &|value| order(value, bound).is_ge()),
        LdapFilter::LessOrEqual(attr, bound) => any(attr, &|value| order(value, bound).is_le()),
        LdapFilter::Approx(..) | LdapFilter::Extensible(_) => false,
    }
}

/// One value against one asked for.
pub fn equal(attr: &str, value: &str, wanted: &str) -> bool {
    if attr.eq_ignore_ascii_case("userpassword") {
        value == wanted
    } else {
        value == wanted || value.to_lowercase() == wanted.to_lowercase()
    }
}

/// Numbers as numbers (timestamps have one length, so text order is theirs), all else as folded text.
fn order(value: &str, bound: &str) -> std::cmp::Ordering {
    match (value.parse::<i64>(), bound.parse::<i64>()) {
        (Ok(value), Ok(bound)) => value.cmp(&bound),
        _ => value.to_lowercase().cmp(&bound.to_lowercase()),
    }
}

fn holds(value: &str, parts: &LdapSubstringFilter) -> bool {
    let value = value.to_lowercase();
    let mut rest = value.as_str();
    if let Some(initial) = &parts.initial {
        let Some(after) = rest.strip_prefix(&initial.to_lowercase()) else { return false };
        rest = after;
    }
    for part in &parts.any {
        let part = part.to_lowercase();
        let Some(at) = rest.find(&part) else { return false };
        rest = &rest[at + part.len()..];
    }
    parts.final_.as_ref().is_none_or(|last| rest.ends_with(&last.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use ldap3_proto::parse_ldap_filter_str;

    use super::*;

    fn alice() -> Node {
        let attrs =
            [("cn", "Alice"), ("mail", "alice@ex.org"), ("uidnumber", "9"), ("userpassword", "{SSHA}Ab")];
        let attrs = attrs.iter().map(|(k, v)| ((*k).to_owned(), vec![(*v).to_owned()])).collect();
        Node { dn: "cn=alice,dc=ex".to_owned(), attrs }
    }

    fn asked(text: &str) -> bool {
        let filter = parse_ldap_filter_str(text).unwrap();
        check(&filter).unwrap();
        fits(&filter, &alice(), &|_| true)
    }

    #[test]
    fn every_kind_of_filter_is_answered() {
        for (text, answer) in [
            ("(CN=alice)", true),
            ("(cn=bob)", false),
            ("(mail=*)", true),
            ("(phone=*)", false),
            ("(&(cn=alice)(mail=*))", true),
            ("(&(cn=alice)(phone=*))", false),
            ("(|(cn=bob)(mail=*))", true),
            ("(!(cn=bob))", true),
            ("(mail=al*@*org)", true),
            ("(mail=*ce@ex*)", true),
            ("(mail=*org*alice*)", false),
            ("(mail=alice@ex.org*org)", false),
            ("(uidnumber>=10)", false),
            ("(uidnumber<=10)", true),
            ("(cn>=ALA)", true),
            ("(userpassword={SSHA}Ab)", true),
            ("(userpassword={ssha}ab)", false),
        ] {
            assert_eq!(asked(text), answer, "{text}");
        }
    }

    #[test]
    fn what_may_not_be_read_cannot_be_guessed_through_a_filter() {
        let filter = parse_ldap_filter_str("(userpassword={SSHA}*)").unwrap();
        assert!(fits(&filter, &alice(), &|_| true));
        assert!(!fits(&filter, &alice(), &|attr| attr != "userpassword"));
    }

    #[test]
    fn approximate_and_endless_filters_are_refused() {
        let filter = parse_ldap_filter_str("(cn~=alice)").unwrap();
        assert_eq!(check(&filter), Err(Unanswered::Unsupported));
        let filter = LdapFilter::Or(vec![LdapFilter::Present("cn".to_owned()); PARTS_MAX + 1]);
        assert_eq!(check(&filter), Err(Unanswered::TooLong));
    }
}
