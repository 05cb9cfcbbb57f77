//! The pieces that a value is made of, by where each comes from.

use std::fmt;

/// A piece of a value, by where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Atom {
    /// Known now.
    Text(String),
    /// Known to the running task.
    Live(Live),
    /// A port's number, by the port's label.
    LivePort(String),
    /// The value at a key of Consul.
    Key(String),
    /// A service in the catalogue, followed while the task runs.
    Service(String, Part),
}

/// What is wanted of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// `host:port`, the host in brackets where it is an IPv6 address.
    Address,
    Host,
    Port,
}

/// What Nomad's runtime tells a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Live {
    Site,
    TaskDir,
    SecretsDir,
}

impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Site => "meta.site",
            Self::TaskDir => "NOMAD_TASK_DIR",
            Self::SecretsDir => "NOMAD_SECRETS_DIR",
        })
    }
}

/// Neighbouring texts as one, so that what is looked for (`${`) cannot hide between two.
pub(super) fn merged(atoms: Vec<Atom>) -> Vec<Atom> {
    let mut out: Vec<Atom> = Vec::with_capacity(atoms.len());
    for atom in atoms {
        match (out.last_mut(), atom) {
            (_, Atom::Text(t)) if t.is_empty() => {}
            (Some(Atom::Text(before)), Atom::Text(t)) => before.push_str(&t),
            (_, atom) => out.push(atom),
        }
    }
    out
}
