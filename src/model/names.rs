//! Identifiers: newtypes with a checked constructor, and the injective names in flat spaces.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name was refused: a sentence for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} {reason}")]
pub struct NameError {
    /// Which kind of name.
    pub what: &'static str,
    /// What was written, at most 80 characters of it.
    pub value: String,
    /// What is wrong, and what is allowed.
    pub reason: String,
}

fn name_error(what: &'static str, value: &str, reason: impl Into<String>) -> NameError {
    NameError { what, value: value.chars().take(80).collect(), reason: reason.into() }
}

/// `[a-z][a-z0-9]*(-[a-z0-9]+)*`: no double dash, so that joining parts by `--` and `---` stays injective.
fn check_part(what: &'static str, value: &str, max: usize) -> Result<(), NameError> {
    if value.is_empty() {
        return Err(name_error(what, value, "is empty"));
    }
    if value.len() > max {
        return Err(name_error(what, value, format!("has {} bytes; at most {max} are allowed", value.len())));
    }
    let starts = value.starts_with(|c: char| c.is_ascii_lowercase());
    let letters = value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !starts || !letters || value.ends_with('-') || value.contains("--") {
        return Err(name_error(
            what,
            value,
            "must be lower-case letters, digits and single dashes, beginning with a letter",
        ));
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and makes one.
            pub fn new(value: impl Into<String>) -> Result<Self, NameError> {
                let value = value.into();
                let check: fn(&'static str, &str) -> Result<(), NameError> = $check;
                check($what, &value)?;
                Ok(Self(value))
            }
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(s: &str) -> Result<Self, NameError> {
                Self::new(s)
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(s: String) -> Result<Self, NameError> {
                Self::new(s)
            }
        }
        impl From<$name> for String {
            fn from(n: $name) -> String {
                n.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

/// Names that belong to the cluster's own programs.
const RESERVED: [&str; 8] =
    ["consul", "nomad", "diplonat", "tricot", "stolon", "albatros", "garage", "postgres"];

name_type!(
    /// A project: at most 26 bytes, none of the reserved words.
    ProjectName, "project name", |what, v| {
        check_part(what, v, 26)?;
        if RESERVED.contains(&v) || v.starts_with("terreau") {
            return Err(name_error(what, v, "is reserved for the cluster's own programs; choose another"));
        }
        Ok(())
    }
);
name_type!(
    /// A tenant: at most 16 bytes. The collective itself is `default`.
    TenantName, "tenant name", |what, v| check_part(what, v, 16)
);
name_type!(
    /// An environment: at most 16 bytes; `production` unless said otherwise.
    EnvironmentName, "environment name", |what, v| check_part(what, v, 16)
);
name_type!(
    /// A process (task group) of a project: at most 20 bytes.
    ProcessName, "process name", |what, v| check_part(what, v, 20)
);
name_type!(
    /// The name of something inside a project: a port, a volume, a use. At most 20 bytes.
    PartName, "name", |what, v| check_part(what, v, 20)
);
name_type!(
    /// A secret's name, the last part of its Consul key: `[a-z0-9][a-z0-9._-]*`, at most 64 bytes.
    SecretName, "secret name", |what, v| {
        if v.is_empty() || v.len() > 64 {
            return Err(name_error(what, v, "must have 1 to 64 bytes"));
        }
        let ok = v.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        if !ok || !v.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(name_error(
                what, v, "must be lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit",
            ));
        }
        Ok(())
    }
);
name_type!(
    /// An environment variable's name: `[A-Za-z_][A-Za-z0-9_]*`, at most 128 bytes.
    EnvName, "environment variable", |what, v| {
        let ok = !v.is_empty() && v.len() <= 128
            && v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !v.starts_with(|c: char| c.is_ascii_digit());
        if ok { Ok(()) } else {
            Err(name_error(what, v, "must be letters, digits and '_', not beginning with a digit"))
        }
    }
);
name_type!(
    /// A DNS host name, lower case, without a trailing dot and without a wildcard.
    HostName, "host", |what, v| {
        if v.is_empty() || v.len() > 253 {
            return Err(name_error(what, v, "must have 1 to 253 bytes"));
        }
        let label_ok = |l: &str| {
            !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && !l.ends_with('-')
                && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if v.split('.').all(label_ok) { Ok(()) } else {
            Err(name_error(what, v, "must be a lower-case DNS name such as app.example.org"))
        }
    }
);
name_type!(
    /// A person's login in the directory: `[a-z0-9._-]+`, at most 64 bytes.
    Login, "login", |what, v| {
        let ok = !v.is_empty() && v.len() <= 64
            && v.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        if ok { Ok(()) } else { Err(name_error(what, v, "must be lower-case letters, digits, '.', '_' and '-'")) }
    }
);
name_type!(
    /// An identity for life: a lower-case ULID (26 characters). Marks what belongs to an app, names operations.
    Uid, "uid", |what, v| {
        let ok = v.len() == 26 && v.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if ok { Ok(()) } else { Err(name_error(what, v, "must be a lower-case ULID")) }
    }
);

impl TenantName {
    /// The collective itself.
    pub fn default_tenant() -> Self {
        Self("default".to_owned())
    }
    /// True for the collective itself.
    pub fn is_default(&self) -> bool {
        self.0 == "default"
    }
}

impl EnvironmentName {
    /// The default environment.
    pub fn production() -> Self {
        Self("production".to_owned())
    }
    /// True for the default environment.
    pub fn is_production(&self) -> bool {
        self.0 == "production"
    }
}

/// The number of a release of one app, counting from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseNumber(pub u64);

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where a release runs: an **app** is a project at a placement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// The isolation boundary.
    pub tenant: TenantName,
    /// Production unless said otherwise.
    pub environment: EnvironmentName,
    /// The project.
    pub project: ProjectName,
}

impl Placement {
    /// A project of the default tenant in production.
    pub fn production(project: ProjectName) -> Self {
        Self { tenant: TenantName::default_tenant(), environment: EnvironmentName::production(), project }
    }

    /// The app's name in flat spaces (job, LDAP cn, secrets prefix): `<project>`,
    /// `<project>--<environment>`, `<tenant>---<project>`, `<tenant>---<project>--<environment>`.
    /// Injective, because no part may hold a double dash; at most 63 bytes, by the parts' limits.
    pub fn flat(&self) -> String {
        let mut name = String::new();
        if !self.tenant.is_default() {
            name.push_str(self.tenant.as_str());
            name.push_str("---");
        }
        name.push_str(self.project.as_str());
        if !self.environment.is_production() {
            name.push_str("--");
            name.push_str(self.environment.as_str());
        }
        name
    }

    /// `<tenant>/<environment>/<project>`, as in the keys of our records.
    pub fn path(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.environment, self.project)
    }

    /// The app of such a path.
    pub fn from_path(path: &str) -> Option<Self> {
        let mut parts = path.split('/');
        let (tenant, environment, project) = (parts.next()?, parts.next()?, parts.next()?);
        let app = Self {
            tenant: TenantName::new(tenant).ok()?,
            environment: EnvironmentName::new(environment).ok()?,
            project: ProjectName::new(project).ok()?,
        };
        parts.next().is_none().then_some(app)
    }

    /// The Nomad namespace: the tenant's; the default tenant's is `default`.
    pub fn namespace(&self) -> &str {
        self.tenant.as_str()
    }

    /// The service of a process: `<app>` for the first routed one, else `<app>-<process>`.
    pub fn service(&self, process: &ProcessName, is_first_routed: FirstRouted) -> String {
        match is_first_routed {
            FirstRouted::Yes => self.flat(),
            FirstRouted::No => format!("{}-{process}", self.flat()),
        }
    }

    /// `secrets/<app>/`
    pub fn secrets_prefix(&self) -> String {
        format!("secrets/{}/", self.flat())
    }

    /// `secrets/<app>/<name>`: the current value, raw, as the convention wants it.
    pub fn secret_key(&self, name: &SecretName) -> String {
        format!("secrets/{}/{name}", self.flat())
    }

    /// `secrets/<app>/.v/<name>/<n>`: version n, never changed once written.
    pub fn secret_version_key(&self, name: &SecretName, version: u64) -> String {
        format!("secrets/{}/.v/{name}/{version}", self.flat())
    }
}

/// Whether a process is the first of its project that has a route (its service bears the app's own name).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstRouted {
    /// It is.
    Yes,
    /// It is not.
    No,
}

impl fmt::Display for Placement {
    /// `project` or `project@environment`, as people name an app (with `tenant/` before it where it is not the default).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.tenant.is_default() {
            write!(f, "{}/", self.tenant)?;
        }
        write!(f, "{}", self.project)?;
        if !self.environment.is_production() {
            write!(f, "@{}", self.environment)?;
        }
        Ok(())
    }
}

impl FromStr for Placement {
    type Err = NameError;
    /// Reads `[tenant/]project[@environment]`.
    fn from_str(s: &str) -> Result<Self, NameError> {
        let (tenant, rest) = match s.split_once('/') {
            Some((t, r)) => (TenantName::new(t)?, r),
            None => (TenantName::default_tenant(), s),
        };
        let (project, environment) = match rest.split_once('@') {
            Some((p, e)) => (ProjectName::new(p)?, EnvironmentName::new(e)?),
            None => (ProjectName::new(rest)?, EnvironmentName::production()),
        };
        Ok(Self { tenant, environment, project })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_names_are_injective_and_read_back() {
        let cases = ["carnet", "carnet@preproduction", "acme/carnet", "acme/carnet@preproduction"];
        let flats: Vec<String> = cases.iter().map(|c| c.parse::<Placement>().unwrap().flat()).collect();
        assert_eq!(
            flats,
            ["carnet", "carnet--preproduction", "acme---carnet", "acme---carnet--preproduction"]
        );
        for c in cases {
            assert_eq!(c.parse::<Placement>().unwrap().to_string(), c);
        }
    }

    #[test]
    fn names_that_would_break_the_flat_spaces_are_refused() {
        for bad in
            ["", "A", "a--b", "-a", "a-", "1a", "a_b", "consul", "terreau-x", "abcdefghijklmnopqrstuvwxyzz"]
        {
            assert!(ProjectName::new(bad).is_err(), "{bad}");
        }
        for bad in ["", "*", "*.example.org", "Example.org", "a..b", "a.-b", "a.b."] {
            assert!(HostName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_longest_flat_name_fits_a_dns_label() {
        let p = Placement {
            tenant: TenantName::new("t".repeat(16)).unwrap(),
            environment: EnvironmentName::new("e".repeat(16)).unwrap(),
            project: ProjectName::new("p".repeat(26)).unwrap(),
        };
        assert_eq!(p.flat().len(), 63);
    }
}
