//! A member's text to the forms that Nomad takes, byte exact: plain environment, driver arguments, environment
//! templates, files.
//!
//! A member's text is never template source and never evaluated: in templates it stands as a quoted Go string, or
//! between delimiters made of its own hash.

use std::fmt::Write as _;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::RenderError;
use super::atom::{Atom, Part};
use crate::model::sha256_hex;

/// For `env {}`, where that is exact. Nomad replaces `${name}` there and knows no escape, and HCL brings text into
/// Unicode's form C: whatever either could touch goes into a template instead (`None`).
pub(super) fn plain_env(atoms: &[Atom]) -> Option<String> {
    let mut out = String::new();
    for atom in atoms {
        match atom {
            Atom::Text(t) if t.contains("${") || t.contains("%{") || !is_nfc(t) => return None,
            Atom::Text(t) => out.push_str(t),
            Atom::Live(name) => {
                let _ = write!(out, "${{{name}}}");
            }
            Atom::LivePort(label) => {
                let _ = write!(out, "${{NOMAD_PORT_{label}}}");
            }
            Atom::Key(_) | Atom::Service(..) => return None,
        }
    }
    // A dollar before a reference, or half a marker at the end of one, would read differently.
    let exact = atoms.windows(2).all(|w| match (&w[0], &w[1]) {
        (Atom::Text(t), Atom::Live(_) | Atom::LivePort(_)) => !t.ends_with('$') && !t.ends_with('%'),
        _ => true,
    });
    exact.then_some(out)
}

/// For a driver's `config`: the client evaluates strings as HCL templates, so markers are doubled. `None` where the
/// value is only known in a template (a secret, a service).
pub(super) fn argument(atoms: &[Atom]) -> Option<String> {
    let mut out = String::new();
    for (i, atom) in atoms.iter().enumerate() {
        match atom {
            Atom::Text(t) => {
                let before_reference = matches!(atoms.get(i + 1), Some(Atom::Live(_) | Atom::LivePort(_)));
                match t.strip_suffix('$').filter(|_| before_reference) {
                    // `$` and then `${…}` would read as an escaped marker.
                    Some(head) => {
                        out.push_str(&doubled(head));
                        out.push_str("${\"$\"}");
                    }
                    None => out.push_str(&doubled(t)),
                }
            }
            Atom::Live(name) => {
                let _ = write!(out, "${{{name}}}");
            }
            Atom::LivePort(label) => {
                let _ = write!(out, "${{NOMAD_PORT_{label}}}");
            }
            Atom::Key(_) | Atom::Service(..) => return None,
        }
    }
    Some(out)
}

/// Literal text for a driver's `config`, in Unicode's form C: Nomad's client would bring it there anyway.
pub(super) fn doubled(text: &str) -> String {
    let text: String = text.nfc().collect();
    text.replace("${", "$${").replace("%{", "%%{")
}

/// The same for strings at any depth of a driver's own settings.
pub(super) fn doubled_json(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(s) => Value::String(doubled(s)),
        Value::Array(items) => items.iter().map(doubled_json).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), doubled_json(v))).collect(),
        other => other.clone(),
    }
}

/// A line of an environment template: `NAME={{ … | toJSON }}`. `toJSON` restores newlines, quotes, `$`, tabs and
/// UTF-8 exactly, where other forms kill the task or change the value. A line that needs a service is not there
/// while nobody offers it: half an address helps no program.
pub(super) fn env_line(name: &str, atoms: &[Atom]) -> String {
    let mut prelude = String::new();
    let mut services: Vec<String> = Vec::new();
    let mut terms: Vec<String> = Vec::with_capacity(atoms.len());
    for atom in atoms {
        terms.push(match atom {
            Atom::Text(t) => go_quote(t),
            Atom::Key(key) => format!("key {}", go_quote(key)),
            Atom::Live(name) => format!("env \"{name}\""),
            Atom::LivePort(label) => format!("env \"NOMAD_PORT_{label}\""),
            Atom::Service(service, part) => {
                let variable = format!("$v{}", services.len());
                prelude.push_str(&service_prelude(&variable, service, *part, "{{", "}}"));
                services.push(variable.clone());
                variable
            }
        });
    }
    let value = match terms.as_slice() {
        [] => "\"\"".to_owned(),
        [one] => one.clone(),
        many => {
            let mut out = format!("printf \"{}\"", "%s".repeat(many.len()));
            for term in many {
                let bare = term.starts_with('"') || term.starts_with('$');
                let _ = if bare { write!(out, " {term}") } else { write!(out, " ({term})") };
            }
            out
        }
    };
    let line = format!("{name}={{{{ {value} | toJSON }}}}");
    match services.as_slice() {
        [] => format!("{line}\n"),
        [one] => format!("{prelude}{{{{ if {one} }}}}{line}{{{{ end }}}}\n"),
        many => format!("{prelude}{{{{ if and {} }}}}{line}{{{{ end }}}}\n", many.join(" ")),
    }
}

/// Sets a variable to the address of the first healthy instance (ordered by node and id, so that it moves only when
/// that one goes); empty while there is none.
fn service_prelude(variable: &str, service: &str, part: Part, l: &str, r: &str) -> String {
    let set = match part {
        Part::Host => format!("{l} {variable} = $s.Address {r}"),
        Part::Port => format!("{l} {variable} = printf \"%d\" $s.Port {r}"),
        Part::Address => format!(
            "{l} if regexMatch \":\" $s.Address {r}{l} {variable} = printf \"[%s]:%d\" $s.Address $s.Port {r}\
             {l} else {r}{l} {variable} = printf \"%s:%d\" $s.Address $s.Port {r}{l} end {r}"
        ),
    };
    format!(
        "{l} {variable} := \"\" {r}{l} range $i, $s := service {} {r}{l} if eq $i 0 {r}{set}{l} end {r}{l} end {r}",
        go_quote(service)
    )
}

/// A file's template and its delimiters: `<~` and 16 hex digits of the text's SHA-256, and the same backwards.
pub(super) fn file(name: &str, atoms: &[Atom]) -> Result<(String, (String, String)), RenderError> {
    let literal: String = atoms
        .iter()
        .filter_map(|a| match a {
            Atom::Text(t) => Some(t.as_str()),
            _ => None,
        })
        .collect();
    let left = format!("<~{}", &sha256_hex(&literal).as_str()[..16]);
    let right: String = left.chars().rev().collect();
    if literal.contains(&left) || literal.contains(&right) {
        return Err(RenderError::Delimiter { file: name.to_owned() });
    }
    let mut out = String::with_capacity(literal.len() + 64);
    for (n, atom) in atoms.iter().enumerate() {
        match atom {
            // HCL brings its own strings into form C; a quoted Go string keeps the bytes.
            Atom::Text(t) if !is_nfc(t) => {
                let _ = write!(out, "{left} {} {right}", go_quote(t));
            }
            Atom::Text(t) => out.push_str(t),
            Atom::Key(key) => {
                let _ = write!(out, "{left} key {} {right}", go_quote(key));
            }
            Atom::Live(name) => {
                let _ = write!(out, "{left} env \"{name}\" {right}");
            }
            Atom::LivePort(label) => {
                let _ = write!(out, "{left} env \"NOMAD_PORT_{label}\" {right}");
            }
            Atom::Service(service, part) => {
                let variable = format!("$v{n}");
                out.push_str(&service_prelude(&variable, service, *part, &left, &right));
                let _ = write!(out, "{left} {variable} {right}");
            }
        }
    }
    Ok((out, (left, right)))
}

/// A Go string in quotes: plain ASCII without anything that a template, HCL or Nomad could take for its own.
pub(super) fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '{' => out.push_str("\\x7b"),
            '}' => out.push_str("\\x7d"),
            ' '..='~' => out.push(c),
            c if u32::from(c) > 0xffff => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::super::atom::{Live, merged};
    use super::*;

    fn text(t: &str) -> Atom {
        Atom::Text(t.to_owned())
    }

    #[test]
    fn a_marker_that_two_texts_make_together_is_seen() {
        let atoms = merged(vec![text("a$"), text(""), text("{NOMAD_ALLOC_ID}")]);
        assert_eq!(atoms.len(), 1);
        assert_eq!(plain_env(&atoms), None);
        assert_eq!(argument(&atoms).unwrap(), "a$${NOMAD_ALLOC_ID}");
        assert_eq!(env_line("A", &atoms), "A={{ \"a$\\x7bNOMAD_ALLOC_ID\\x7d\" | toJSON }}\n");
    }

    #[test]
    fn a_dollar_before_a_reference_stays_a_dollar() {
        let atoms = [text("cost $"), Atom::LivePort("http_port".to_owned())];
        assert_eq!(plain_env(&atoms), None);
        assert_eq!(argument(&atoms).unwrap(), "cost ${\"$\"}${NOMAD_PORT_http_port}");
    }

    #[test]
    fn a_value_of_several_pieces_is_one_printf() {
        let atoms = [
            text("postgres://u:"),
            Atom::Key("secrets/a/.v/pw/3".to_owned()),
            text("@h"),
            Atom::Live(Live::Site),
        ];
        assert_eq!(
            env_line("URL", &atoms),
            "URL={{ printf \"%s%s%s%s\" \"postgres://u:\" (key \"secrets/a/.v/pw/3\") \"@h\" (env \"meta.site\") | toJSON }}\n"
        );
    }

    #[test]
    fn quoted_text_is_plain_ascii() {
        assert_eq!(go_quote("é{{\u{1F331}\"`\r"), "\"\\u00e9\\x7b\\x7b\\U0001f331\\\"`\\u000d\"");
    }
}
