//! The descriptor that `terreau init` writes: short, commented, and accepted by [`super::parse`] as it is.

use std::fmt::Write as _;

use crate::model::names::ProjectName;

/// What was found in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// What it is.
    pub kind: DetectedKind,
    /// The folder to pack or to serve, relative to the descriptor.
    pub dir: String,
    /// Program and arguments; `${port.http}` stands for the port's number. Empty: not known.
    pub command: Vec<String>,
    /// `Some`: the program cannot be told its port and always listens on this one.
    pub port: Option<u16>,
    /// The host of its route; `None`: `<name>.example.org`.
    pub host: Option<String>,
    /// How it was recognised, for the first comment: "index.html".
    pub because: String,
}

/// What a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetectedKind {
    /// Pages.
    Static,
    /// A program that is packed as it is.
    Archive,
}

/// Writes a descriptor. What was detected is quoted, so that no folder's name can become HCL.
pub fn write(name: &ProjectName, found: &Detected) -> String {
    let mut out = String::new();
    let because: String = found.because.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let host = found.host.clone().unwrap_or_else(|| format!("{name}.example.org"));
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "# How Terreau runs this project. Reference: docs/descriptor.md; check it with `terreau validate`."
    );
    if !because.trim().is_empty() {
        let _ = writeln!(out, "# Written by `terreau init`: {}.", because.trim());
    }
    let _ = writeln!(out, "project {} {{", quote(name.as_str()));
    let _ = writeln!(
        out,
        "  # Who may change it besides you: logins and groups of the directory.\n  # owners = [\"alice\", \"group:devs\"]\n"
    );
    match found.kind {
        DetectedKind::Static => site(&mut out, found, &host),
        DetectedKind::Archive => program(&mut out, found, &host),
    }
    out.push_str("}\n");
    out
}

fn site(out: &mut String, found: &Detected, host: &str) {
    let _ = write!(
        out,
        "  # The files of this folder are served as they are.\n  build \"static\" {{\n    dir = {}\n    # error = \"404.html\"\n  }}\n\n  \
         # Where people find it.\n  route {} {{}}\n",
        quote(&found.dir),
        quote(host),
    );
}

fn program(out: &mut String, found: &Detected, host: &str) {
    let fixed = found.port.filter(|p| *p > 0);
    let command: Vec<String> = if found.command.is_empty() {
        vec!["./server".to_owned(), "--port".to_owned(), "${port.http}".to_owned()]
    } else {
        found.command.clone()
    };
    let command: Vec<String> = command.iter().map(|c| quote_with_port(c)).collect();
    let _ = write!(
        out,
        "  # This folder is packed as it is and unpacked where the process starts.\n  build \"archive\" {{\n    dir = {}\n  }}\n\n  \
         process \"web\" {{\n    # Program and arguments; no shell reads them.\n    command = [{}]\n\n",
        quote(&found.dir),
        command.join(", "),
    );
    let _ = match fixed {
        Some(port) => write!(
            out,
            "    # The program always listens on this port, so a new release stops the old one first.\n    port \"http\" {{\n      static = {port}\n    }}\n\n",
        ),
        None => write!(
            out,
            "    # Nomad chooses the number; `port.http` stands for it.\n    port \"http\" {{}}\n\n",
        ),
    };
    let _ = write!(
        out,
        "    # A new release serves only once this path answers with 2xx.\n    check \"http\" {{\n      path = \"/\"\n    }}\n\n    \
         # Where people find it.\n    route {} {{}}\n\n    # instances = 1\n    # cpu       = 100       # MHz\n    # memory    = \"128 MiB\"\n\n    \
         # Data that outlives releases:\n    # volume \"data\" {{ path = \"/data\" }}\n  }}\n\n  \
         # env {{\n  #   LOG_LEVEL   = \"info\"\n  #   SESSION_KEY = secret.session_key\n  # }}\n  \
         # secret \"session_key\" {{ type = \"generated\" }}\n\n  \
         # Backing services: an account in the directory, a bucket.\n  # uses \"ldap\" {{}}\n  # uses \"bucket\" {{}}\n",
        quote(host),
    );
}

/// Text as HCL writes it.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out.replace("${", "$${").replace("%{", "%%{")
}

/// The same, but for the one reference that detection itself writes.
fn quote_with_port(text: &str) -> String {
    quote(text).replace("$${port.http}", "${port.http}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor;
    use crate::model::project::Build;

    fn detected(kind: DetectedKind) -> Detected {
        Detected {
            kind,
            dir: ".".to_owned(),
            command: Vec::new(),
            port: None,
            host: None,
            because: "index.html".to_owned(),
        }
    }

    #[test]
    fn what_init_writes_is_accepted_without_a_warning() {
        let name = ProjectName::new("carnet").unwrap();
        for kind in [DetectedKind::Static, DetectedKind::Archive] {
            for port in [None, Some(8080)] {
                let text = write(&name, &Detected { port, ..detected(kind) });
                let checked = descriptor::check("terreau.hcl", &text);
                assert!(checked.project.is_some(), "{text}\n{}", checked.faults);
                assert!(checked.warnings.is_empty(), "{text}\n{}", checked.warnings);
            }
        }
    }

    #[test]
    fn commented_suggestions_are_accepted_once_they_are_uncommented() {
        let name = ProjectName::new("carnet").unwrap();
        let text = write(&name, &detected(DetectedKind::Archive));
        let code = |line: &str| {
            line.trim_start()
                .strip_prefix("# ")
                .filter(|l| {
                    l.contains('=') || l.trim() == "}" || l.starts_with("env") || l.starts_with("uses")
                })
                .map(str::to_owned)
        };
        let open: String = text.lines().map(|l| code(l).unwrap_or_else(|| l.to_owned()) + "\n").collect();
        assert!(open.contains("\nuses \"ldap\" {}"), "{open}");
        let parsed = descriptor::parse("terreau.hcl", &open);
        assert!(parsed.is_ok(), "{open}\n{}", parsed.unwrap_err());
    }

    #[test]
    fn a_folder_cannot_write_hcl() {
        let name = ProjectName::new("carnet").unwrap();
        let evil = "a\" }\nprocess \"x\" { command = [\"${secret.x}\"] } # %{ if".to_owned();
        let found = Detected {
            dir: evil.replace('\n', "/"),
            command: vec![evil.clone(), "${port.http}".to_owned()],
            because: evil.clone(),
            ..detected(DetectedKind::Archive)
        };
        let text = write(&name, &found);
        let project = descriptor::parse("terreau.hcl", &text).unwrap();
        assert_eq!(project.processes.len(), 1);
        assert_eq!(project.processes[0].command[0].as_literal(), Some(evil.clone()));
        assert!(matches!(project.build, Some(Build::Archive { .. })));
    }
}
