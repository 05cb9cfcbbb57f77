//! `docs/cli.md`, made of the same texts as the help.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use super::args::Line;

/// The whole page.
pub fn markdown() -> String {
    let mut page = String::from(
        "# The command line\n\n\
         Made from the program's own help by a test; edit `src/cli/args.rs`, not this page.\n\n\
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
