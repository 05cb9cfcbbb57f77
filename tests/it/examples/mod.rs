//! The examples in the help. Every command has some, each of them is a command line, and each of them is run here on one
//! real cluster, as somebody would who copies it: by a shell, in the folder of an app `carnet`.
//!
//! What an example needs besides (a terminal, an editor, something that was there before) is said in `table.rs`.

pub mod schema;
mod table;
mod words;
mod world;

use clap::{CommandFactory, Parser};
use terreau::cli::args::Line;

use self::table::{LATE, special};
use self::words::{commands, split};
use self::world::World;

/// A command and its examples.
struct Page {
    path: String,
    examples: Vec<String>,
}

/// Every visible command that is one, in the order of the help.
fn pages() -> Vec<Page> {
    fn walk(command: &clap::Command, path: &str, found: &mut Vec<Page>) {
        for sub in command.get_subcommands().filter(|s| !s.is_hide_set() && s.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name()).trim_start().to_owned();
            if !sub.is_subcommand_required_set() {
                let text = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                let examples = text.strip_prefix("Examples:\n").unwrap_or_default();
                let examples = examples.lines().map(|l| l.trim().to_owned()).collect();
                found.push(Page { path: path.clone(), examples });
            }
            walk(sub, &path, found);
        }
    }
    let mut found = Vec::new();
    let mut line = Line::command();
    line.build();
    walk(&line, "", &mut found);
    found
}

#[test]
fn every_command_has_examples_and_each_is_a_command_line() {
    let mut wrong = Vec::new();
    for Page { path, examples } in pages() {
        let mut is_shown = false;
        for example in &examples {
            let mut has_one = false;
            for words in commands(&split(example)) {
                has_one = true;
                if let Err(e) = Line::try_parse_from(&words) {
                    wrong.push(format!("{path}: {example}: {e}"));
                }
                is_shown |= words[1..].join(" ").starts_with(&path);
            }
            if !has_one {
                wrong.push(format!("{path}: {example}: calls no terreau"));
            }
        }
        if !is_shown {
            wrong.push(format!(
                "terreau {path} has no example of its own in its help (after_help = \"Examples:…\")"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_of_examples_names_none_that_is_gone() {
    let all: Vec<String> = pages().into_iter().flat_map(|p| p.examples).collect();
    let gone: Vec<_> =
        table::LINES.iter().filter(|s| !all.iter().any(|e| e == s.line)).map(|s| s.line).collect();
    assert!(gone.is_empty(), "these examples are in no help any more: {gone:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_help_works_on_a_real_cluster() {
    let world = World::new().await;
    let schema = schema::Schema::read();
    let mut pages = pages();
    // What takes things away comes last; within that, the order of the help.
    pages.sort_by_key(|p| LATE.iter().position(|l| *l == p.path).map_or(0, |n| n + 1));
    let mut wrong = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut json = with_json();
    for page in &pages {
        // What takes things away is last: before it, what every command prints for programs.
        if LATE.first() == Some(&page.path.as_str()) {
            wrong.extend(world.prints(&schema, &json).await);
            json.clear();
        }
        for example in page.examples.iter().filter(|e| seen.insert((*e).clone())) {
            let begun = std::time::Instant::now();
            let done = world.tries(example, special(example)).await;
            println!("{:>6} ms  {example}", begun.elapsed().as_millis());
            let is_json = example.contains(" --json") && !example.contains(['|', '>']);
            let as_documented = |out: String| {
                if is_json { schema.check(&page.path, &out) } else { Ok(()) }
            };
            if is_json {
                json.retain(|path| *path != page.path);
            }
            if let Err(why) = done.and_then(as_documented) {
                wrong.push(format!("$ {example}\n{why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} examples do not work:\n{}", wrong.len(), wrong.join("\n\n"));
}

/// Every command that takes `--json`.
fn with_json() -> Vec<String> {
    fn walk(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        for sub in command.get_subcommands().filter(|s| !s.is_hide_set() && s.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name()).trim_start().to_owned();
            if !sub.is_subcommand_required_set() && sub.get_arguments().any(|a| a.get_id() == "json") {
                found.push(path.clone());
            }
            walk(sub, &path, found);
        }
    }
    let mut found = Vec::new();
    let mut line = Line::command();
    line.build();
    walk(&line, "", &mut found);
    found.sort();
    found
}

#[test]
fn every_command_with_json_is_in_the_schema() {
    assert_eq!(with_json(), schema::Schema::read().commands());
}
