//! Distinguished names, as far as Bottin's tree needs them. Pure.
//!
//! Bottin splits a DN at commas and knows no escapes, keeps it lower case, and refuses `/` (it is the separator
//! of its Consul keys). Names that we write are therefore held to what needs no escape at all; names that we
//! read are compared without regard to case and space, whoever wrote them.

/// Why a name was refused. Carries a text for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DnError(String);

/// The strict form: lower case, no space around `,` and `=`, every part `attribute=value`.
pub fn canonical(dn: &str) -> Result<String, DnError> {
    let wrong = |why: &str| DnError(format!("{dn:?} is no DN that Bottin can hold: {why}"));
    if dn.trim().is_empty() {
        return Err(wrong("it is empty"));
    }
    if dn.len() > 1024 {
        return Err(DnError("a DN of more than 1024 bytes is refused".to_owned()));
    }
    if dn.chars().any(|c| c == '/' || c == '\\' || c.is_control()) {
        return Err(wrong("it holds a slash, a backslash or a control character"));
    }
    let mut parts = Vec::new();
    for part in dn.split(',') {
        let (name, value) = part.split_once('=').ok_or_else(|| wrong("a part has no `=`"))?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || value.is_empty() {
            return Err(wrong("a part has no name or no value"));
        }
        parts.push(format!("{}={}", name.to_lowercase(), squeeze(value)));
    }
    Ok(parts.join(","))
}

/// True where both name the same entry, without regard to case and to space around separators.
pub fn dn_eq(a: &str, b: &str) -> bool {
    folded(a) == folded(b)
}

/// True where `dn` is `base` or stands below it.
pub fn is_under(dn: &str, base: &str) -> bool {
    let (dn, base) = (folded(dn), folded(base));
    dn == base || dn.strip_suffix(&base).is_some_and(|rest| rest.ends_with(',') && !base.is_empty())
}

/// The value of the first part: `alice` of `cn=alice,ou=users,…`. Lower case.
pub fn leaf(dn: &str) -> Option<String> {
    folded(dn).split(',').next()?.split_once('=').map(|(_, value)| value.to_owned())
}

/// A login that Bottin and Guichet accept: `[a-z0-9._-]+`, at most 64 bytes.
pub fn check_login(login: &str) -> Result<(), DnError> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    if login.is_empty() || login.len() > 64 || !login.bytes().all(fits) {
        // The text is not repeated: people type passwords into the login field.
        return Err(DnError(
            "a login is made of 1 to 64 of the characters a-z, 0-9, dot, underscore and hyphen".to_owned(),
        ));
    }
    Ok(())
}

/// `cn=<login>,ou=users,<base>`.
pub fn people(base: &str, login: &str) -> Result<String, DnError> {
    check_login(login)?;
    Ok(format!("cn={login},ou=users,{base}"))
}

/// `cn=<cn>,ou=services,ou=users,<base>`.
pub fn service(base: &str, cn: &str) -> Result<String, DnError> {
    check_login(cn).map_err(|_| plain_name("service account", cn))?;
    Ok(format!("cn={cn},ou=services,ou=users,{base}"))
}

/// `cn=<cn>,ou=groups,<base>`. Groups are named by people: spaces and capitals are allowed, separators are not.
pub fn group(base: &str, cn: &str) -> Result<String, DnError> {
    let separators = ['/', ',', '=', '+', '"', '\\', '<', '>', ';', '#'];
    if cn.trim() != cn
        || cn.is_empty()
        || cn.len() > 64
        || cn.contains(separators)
        || cn.chars().any(char::is_control)
    {
        return Err(plain_name("group", cn));
    }
    Ok(format!("cn={cn},ou=groups,{base}"))
}

fn plain_name(what: &str, cn: &str) -> DnError {
    DnError(format!("{cn:?} cannot name a {what}: use 1 to 64 characters without separators"))
}

/// For comparing: cut at commas that are not escaped, trimmed, lower case.
fn folded(dn: &str) -> String {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in dn.chars() {
        if c == ',' && !escaped {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    let fold = |part: &String| match part.split_once('=') {
        Some((name, value)) => format!("{}={}", name.trim().to_lowercase(), squeeze(value)),
        None => squeeze(part),
    };
    parts.iter().map(fold).collect::<Vec<_>>().join(",")
}

/// Lower case, trimmed, runs of space as one.
fn squeeze(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_regard_to_case_and_space() {
        assert!(dn_eq("CN=Admin, ou=Groups,dc=ex", "cn=admin,ou=groups , dc=EX"));
        assert!(!dn_eq("cn=admin,ou=groups", "cn=admin,ou=users"));
        assert!(!dn_eq(r"cn=a\,b,dc=ex", "cn=a,b,dc=ex"));
    }

    #[test]
    fn the_strict_form_is_lower_case_and_refuses_what_bottin_cannot_hold() {
        assert_eq!(canonical(" CN=Al ice , ou = Users,dc=ex").unwrap(), "cn=al ice,ou=users,dc=ex");
        for dn in
            ["", "  ", "alice", "cn=,dc=ex", "=x", "cn=a/b,dc=ex", r"cn=a\,b,dc=ex", "cn=a,", "cn=a\0,dc=b"]
        {
            assert!(canonical(dn).is_err(), "{dn:?}");
        }
    }

    #[test]
    fn logins_that_would_change_the_meaning_of_a_name_are_refused() {
        assert_eq!(people("dc=ex", "al.ice_2-b").unwrap(), "cn=al.ice_2-b,ou=users,dc=ex");
        for login in ["", "Alice", "a b", "a,ou=services", "a=b", "a*", "é", &"a".repeat(65)] {
            assert!(people("dc=ex", login).is_err(), "{login:?}");
            assert!(service("dc=ex", login).is_err(), "{login:?}");
        }
        assert_eq!(group("dc=ex", "Les Jardiniers").unwrap(), "cn=Les Jardiniers,ou=groups,dc=ex");
        assert!(group("dc=ex", "a,ou=users").is_err());
    }

    #[test]
    fn a_refused_login_is_not_repeated_in_the_message() {
        let error = people("dc=ex", "MyPassw0rd!").unwrap_err().to_string();
        assert!(!error.contains("Passw0rd"), "{error}");
    }

    #[test]
    fn what_stands_below_a_base_is_recognised() {
        assert!(is_under("cn=a,DC=ex,dc=org", "dc=ex, dc=org"));
        assert!(is_under("dc=ex", "dc=ex"));
        assert!(!is_under("cn=a,xdc=ex", "dc=ex"));
        assert!(!is_under("cn=a", ""));
        assert_eq!(leaf("cn=Admin,ou=groups").as_deref(), Some("admin"));
    }
}
