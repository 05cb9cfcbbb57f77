//! Which project a descriptor is of, where nothing else of it is needed: also of one with faults. Must never guess: of two
//! names it takes none.

use super::source::Ctx;
use super::{bounds, plain, syntax};
use crate::model::names::ProjectName;

/// The name in `project "name" {`, whatever the rest of the file is like; `None` where it does not say one name.
pub fn project_name(bytes: &[u8]) -> Option<ProjectName> {
    let text = String::from_utf8_lossy(bytes);
    let text = plain(&text);
    let names = if bounds::check(&text).is_none() { of_tree(&text) } else { None };
    let names = names.unwrap_or_else(|| of_lines(&text));
    match names.as_slice() {
        [name] => ProjectName::new(name.as_str()).ok(),
        _ => None,
    }
}

/// The names that HCL's tree says, where there is one.
fn of_tree(text: &str) -> Option<Vec<String>> {
    let (body, _) = syntax::body(&mut Ctx::new("", text))?;
    let names: Vec<String> = body
        .get_blocks("project")
        .map(|b| b.labels.first().map(|l| l.as_str().to_owned()).unwrap_or_default())
        .collect();
    // Its very line may be the one that could not be read.
    (!names.is_empty()).then_some(names)
}

/// The names at the beginnings of lines, where the tree cannot be had: what is inside something else is indented, or in a
/// heredoc. All that follows one without an end may be in it.
fn of_lines(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let rest = line.strip_prefix("project")?;
        let rest = rest.strip_prefix([' ', '\t', '"'])?.trim_start_matches([' ', '\t', '"']);
        let end = rest.find(['"', ' ', '\t', '{']).unwrap_or(rest.len());
        let what_follows = rest[end..].trim_start_matches(['"', ' ', '\t']);
        (what_follows.is_empty() || what_follows.starts_with('{')).then(|| rest[..end].to_owned())
    };
    let (mut names, mut end) = (Vec::new(), None);
    for line in text.lines() {
        match end {
            Some(word) if line.trim() == word => end = None,
            Some(_) => {}
            None => {
                names.extend(name(line));
                end = heredoc(line);
            }
        }
    }
    names
}

/// The word that ends the heredoc which begins in this line.
fn heredoc(line: &str) -> Option<&str> {
    let (before, word) = line.rsplit_once("<<")?;
    let word = word.strip_prefix('-').unwrap_or(word).trim_end();
    let is_word =
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    // In a comment nothing begins.
    (is_word && !before.trim_start().starts_with(['#', '/'])).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<String> {
        project_name(text.as_bytes()).map(|n| n.to_string())
    }

    #[test]
    fn the_name_is_had_from_a_descriptor_with_faults() {
        for (text, wanted) in [
            ("project \"carnet\" {\n  owners = 3\n}\n", Some("carnet")),
            (
                "project \"carnet\" {\n  nonsense {}\n  process \"web\" {\n    cpu = \"much\"\n",
                Some("carnet"),
            ),
            ("# a word\nproject \"carnet\" {\n  x = = 3\n  y = \"open\n}}}\n", Some("carnet")),
            ("project \"carnet\" {\n  x = <<END\nnever\n", Some("carnet")),
            ("project \"carnet\" {\n  x = <<END\nproject \"other\" {\n", Some("carnet")),
            ("x = <<-END\nproject \"other\" {\n  END\n}}\nproject \"carnet\" {\n", Some("carnet")),
            ("x = <<END\nproject \"other\" {\n", None),
            ("# like <<END\nproject \"carnet\" {\n  }}\n", Some("carnet")),
            ("project carnet {\n  }}\n", Some("carnet")),
            ("\u{feff}project \"carnet\" {\r\n  owners = 3\r\n}\r\n", Some("carnet")),
            ("project \"carnet\" {\n", Some("carnet")),
            ("proj \"carnet\" {\n}\n", None),
            ("project = \"carnet\"\n", None),
            ("project \"Carnet!\" {\n}\n", None),
            ("project \"one\" {\n}\nproject \"two\" {\n}\n", None),
            ("project \"one\" {\n  }}\nproject \"two\" {\n}\n", None),
            ("", None),
            ("projects \"carnet\" {\n  }}\n", None),
            ("  project \"carnet\" {\n  }}\n", None),
        ] {
            assert_eq!(name(text).as_deref(), wanted, "{text}");
        }
        assert_eq!(project_name(b"project \"carnet\" {\n  x = \"\xff\"\n}\n").unwrap().as_str(), "carnet");
    }
}
