//! `docs/cli.md`, made of the same texts as the help.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use super::args::Line;

/// The whole page.
pub fn markdown() -> String {
    let mut page = String::from(
        "# The command line\n\n\
         Made from the program's own help by a test; edit `src/cli/args`, not this page.\n\n\
         Data goes to stdout, everything else to stderr. `--json` is for programs. Nothing secret stands on a \
         command line or in output.\n\n\
         | exit code | meaning |\n|---|---|\n\
         | 0 | done |\n| 1 | failed |\n| 2 | wrong usage |\n| 3 | not logged in |\n| 4 | not allowed |\n\
         | 5 | conflict: the world moved, or somebody else is at it |\n| 6 | not found |\n\
         | 7 | the server or an engine is away |\n| 10 | a plan has changes |\n",
    );
    // No colours, no terminal's width: the same bytes everywhere.
    let mut top = Line::command().color(clap::ColorChoice::Never).term_width(100);
    top.build();
    describe(&mut top, "terreau", &mut page);
    page
}

fn describe(command: &mut Command, path: &str, page: &mut String) {
    let depth = "#".repeat(path.split(' ').count().min(3) + 1);
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    // Writing to a String cannot fail.
    let _ = write!(page, "\n{depth} {path}\n\n```text\n{}\n```\n", help.join("\n").trim());
    for sub in command.get_subcommands_mut() {
        if sub.is_hide_set() || sub.get_name() == "help" {
            continue;
        }
        let path = format!("{path} {}", sub.get_name());
        describe(sub, &path, page);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The paragraphs after the first one of every comment that stands on arguments or on a command.
    fn written(dir: &Path, all: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                written(&path, all);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let mut comment: Vec<&str> = Vec::new();
            let mut attributes = String::new();
            for line in text.lines().map(str::trim) {
                if let Some(line) = line.strip_prefix("///") {
                    if !attributes.is_empty() {
                        (comment, attributes) = (Vec::new(), String::new());
                    }
                    comment.push(line.trim());
                } else if line.starts_with("pub struct") || line.starts_with("struct") {
                    let is_ours = attributes.contains("Args") || attributes.contains("Parser");
                    if is_ours && let Some(rest) = comment.split(|l| l.is_empty()).nth(1) {
                        all.push((line.to_owned(), plain(&rest.join(" "))));
                    }
                    (comment, attributes) = (Vec::new(), String::new());
                } else if !comment.is_empty() {
                    attributes.push_str(line);
                }
            }
        }
    }

    fn plain(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn each(command: &mut Command, path: &str, seen: &mut impl FnMut(&str, &mut Command)) {
        seen(path, command);
        for sub in command.get_subcommands_mut() {
            let path = format!("{path} {}", sub.get_name());
            each(sub, &path, seen);
        }
    }

    /// A comment on a command's variant hides the one on its arguments, and so their long text.
    #[test]
    fn every_long_text_of_arguments_is_in_the_help_of_a_command() {
        let mut help = String::new();
        let mut root = Line::command().color(clap::ColorChoice::Never);
        root.build();
        each(&mut root, "terreau", &mut |path, command| {
            let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
            let short = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!short.is_empty() && !short.starts_with('`'), "{path}: {short:?} says nothing");
            if !long.is_empty() {
                assert!(long.starts_with(&short), "{path}: {short:?} does not begin {long:?}");
                assert!(plain(&command.render_long_help().to_string()).contains(&plain(&long)), "{path}");
            }
            help.push_str(&plain(&long));
        });
        let mut all = Vec::new();
        written(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli"), &mut all);
        assert!(all.len() > 20, "{all:?}");
        for (of, text) in all {
            assert!(help.contains(&text), "{of}: no command's help says {text:?}");
        }
    }
}
