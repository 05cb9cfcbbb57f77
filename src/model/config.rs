//! Values that people set (`terreau env`, `terreau secret`): what one may be, and where its versions lie.
//!
//! Pure, and never shows a value: an error says how long it is, not what it is.

use super::names::{EnvName, NameError, Placement};

/// The most bytes that a value may have.
pub const MAX_VALUE: usize = 32 << 10;
/// The most bytes of its JSON form, by which it stands in the file that Nomad reads: lines over 64 KiB are refused there.
pub const MAX_JSON: usize = 60_000;
/// The most bytes of JSON that the names and versions of an app's values may take in its head.
pub const MAX_INDEX: usize = 4 << 10;

/// Why a value was refused. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Longer than [`MAX_VALUE`].
    #[error(
        "has {0} bytes; at most {MAX_VALUE} are allowed: put what is larger into a `file` of the descriptor"
    )]
    TooLong(usize),
    /// Longer than [`MAX_JSON`] once its special characters are escaped.
    #[error(
        "has {0} bytes once quotes, control characters and < > & are escaped; Nomad takes {MAX_JSON}: \
         put it into a `file` of the descriptor"
    )]
    TooLongEscaped(usize),
    /// It holds a NUL.
    #[error("holds a NUL byte, which no environment can")]
    Nul,
}

/// Says why a text cannot be a value; nothing where it can.
pub fn check_value(text: &str) -> Result<(), ValueError> {
    if text.len() > MAX_VALUE {
        return Err(ValueError::TooLong(text.len()));
    }
    if text.contains('\0') {
        return Err(ValueError::Nul);
    }
    let escaped = json_len(text);
    if escaped > MAX_JSON { Err(ValueError::TooLongEscaped(escaped)) } else { Ok(()) }
}

/// Bytes of the JSON form as Go's `encoding/json` writes it, quotes included.
fn json_len(text: &str) -> usize {
    let one = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => 6,
        c if u32::from(c) < 0x20 => 6,
        c => c.len_utf8(),
    };
    2 + text.chars().map(one).sum::<usize>()
}

/// A name that people may set: none of Nomad's or Terreau's own.
pub fn check_name(name: &EnvName) -> Result<(), NameError> {
    let upper = name.as_str().to_ascii_uppercase();
    match ["NOMAD_", "TERREAU_"].iter().find(|p| upper.starts_with(**p)) {
        Some(prefix) => Err(NameError {
            what: "environment variable",
            value: name.to_string(),
            reason: format!("is reserved: Nomad and Terreau set {prefix}… themselves; choose another name"),
        }),
        None => Ok(()),
    }
}

/// A variable's name as a part of a key, of which `[a-z0-9._-]` alone are allowed: upper case is the rule and is
/// written small, and a dash changes from one case to the other. `DATABASE_URL` is `database_url`, `http_proxy` is
/// `-http_proxy`, `myApp` is `-my-a-pp`.
fn coded(name: &EnvName) -> String {
    let mut out = String::with_capacity(name.as_str().len() + 4);
    let mut is_upper = true;
    for c in name.as_str().chars() {
        if c.is_ascii_alphabetic() && c.is_ascii_uppercase() != is_upper {
            out.push('-');
            is_upper = !is_upper;
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The name that a part of a key stands for; `None` where none is written so.
fn decoded(part: &str) -> Option<EnvName> {
    let mut out = String::with_capacity(part.len());
    let mut is_upper = true;
    for c in part.chars() {
        match c {
            '-' => is_upper = !is_upper,
            c if c.is_ascii_uppercase() => return None,
            c if is_upper => out.push(c.to_ascii_uppercase()),
            c => out.push(c),
        }
    }
    EnvName::new(out).ok().filter(|name| coded(name) == part)
}

impl Placement {
    /// `secrets/<app>/.env/`: no secret's name begins with a dot.
    pub fn env_prefix(&self) -> String {
        format!("{}.env/", self.secrets_prefix())
    }

    /// `secrets/<app>/.env/<coded name>/<n>`: version n of a value of `terreau env set`, never changed once written.
    pub fn env_version_key(&self, name: &EnvName, version: u64) -> String {
        format!("{}{}/{version}", self.env_prefix(), coded(name))
    }

    /// Which version of which value lies at a key.
    pub fn env_of_key(&self, key: &str) -> Option<(EnvName, u64)> {
        let (name, version) = key.strip_prefix(&self.env_prefix())?.split_once('/')?;
        Some((decoded(name)?, version.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn name(text: &str) -> EnvName {
        EnvName::new(text).unwrap()
    }

    #[test]
    fn every_name_has_a_key_of_its_own_and_is_read_back_from_it() {
        let app: Placement = "carnet@test".parse().unwrap();
        let names =
            ["DATABASE_URL", "database_url", "Database_Url", "a", "A", "_", "a1B2_c", "__X", "aBcDeF", "A9"];
        let mut keys = BTreeSet::new();
        for n in names.map(name) {
            let key = app.env_version_key(&n, 12);
            assert!(
                key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._/-".contains(&b)),
                "{key}"
            );
            assert_eq!(app.env_of_key(&key), Some((n, 12)), "{key}");
            keys.insert(key);
        }
        assert_eq!(keys.len(), names.len());
        let url = name("DATABASE_URL");
        assert_eq!(app.env_version_key(&url, 3), "secrets/carnet--test/.env/database_url/3");
        assert_eq!(app.env_of_key("secrets/carnet--test/.env/--a/1"), None, "one form for each name");
        assert_eq!(app.env_of_key("secrets/carnet--test/.v/a/1"), None);
    }

    #[test]
    fn the_longest_name_fits_a_key() {
        let worst: String = (0..128).map(|n| if n % 2 == 0 { 'a' } else { 'B' }).collect();
        let app: Placement =
            format!("{}/{}@{}", "t".repeat(16), "p".repeat(26), "e".repeat(16)).parse().unwrap();
        assert!(app.env_version_key(&name(&worst), u64::MAX).len() <= 512);
    }

    #[test]
    fn a_value_is_measured_as_nomad_will_write_it() {
        assert_eq!(check_value(&"a".repeat(MAX_VALUE)), Ok(()));
        assert_eq!(check_value(&"a".repeat(MAX_VALUE + 1)), Err(ValueError::TooLong(MAX_VALUE + 1)));
        assert_eq!(check_value("a\0"), Err(ValueError::Nul));
        assert_eq!(check_value(&"&".repeat(9_999)), Ok(()));
        assert_eq!(check_value(&"&".repeat(10_000)), Err(ValueError::TooLongEscaped(60_002)));
        assert_eq!(json_len("é\"\n\u{1}\u{2028}🌱"), 2 + 2 + 2 + 2 + 6 + 6 + 4);
    }

    #[test]
    fn names_of_the_platform_cannot_be_set() {
        for bad in ["NOMAD_TOKEN", "nomad_x", "TERREAU_UID"] {
            assert!(check_name(&name(bad)).is_err(), "{bad}");
        }
        assert!(check_name(&name("PORT")).is_ok());
    }
}
