//! The book in `docs/`: every page is in its summary, every link leads somewhere, and every command in a `console` block
//! is run here, in the order of the book, on one cluster.
//!
//! What stands below a command is what it printed: `TERREAU_BLESS=1` writes it anew, and without it this test compares,
//! but for what differs from run to run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::Home;
use crate::harness::{Stack, StackOptions, terreau};
use crate::screens::essence;
use crate::tour::{Person, Project};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Every page below a folder, as paths from `docs/`.
fn pages(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|e| e == "md") {
            found.insert(path.strip_prefix(docs()).unwrap().display().to_string());
        }
    }
}

/// Where a page's links lead, without what is elsewhere or on the page itself.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("](") {
        let rest = &text[at + 2..];
        let Some(end) = rest.find([')', '\n']) else { continue };
        let target = rest[..end].split('#').next().unwrap_or_default();
        if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
            found.push(target.to_owned());
        }
    }
    found
}

/// The pages in the order of the summary.
fn summary() -> Vec<String> {
    links(&std::fs::read_to_string(docs().join("SUMMARY.md")).unwrap())
}

#[test]
fn every_page_is_in_the_book_and_every_link_leads_somewhere() {
    let mut all = BTreeSet::new();
    pages(&docs(), &mut all);
    all.remove("SUMMARY.md");
    let listed: BTreeSet<String> = summary().into_iter().collect();
    let missing: Vec<_> = all.difference(&listed).collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
    let mut broken = Vec::new();
    for page in
        all.iter().map(|p| docs().join(p)).chain([docs().join("SUMMARY.md"), docs().join("../README.md")])
    {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            if !page.parent().unwrap().join(&link).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere: {broken:#?}");
}

/// A block of commands.
struct Block {
    /// Lines of the page: the first after the fence, and the fence that ends it.
    lines: std::ops::Range<usize>,
    /// What is typed, and what stands below each.
    commands: Vec<(String, Vec<String>)>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// `console`: prompts, commands and what they print.
    Console,
    /// `sh`: a script, which must end well.
    Script,
}

fn blocks(text: &str) -> Vec<Block> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let kind = match lines[at].trim_end() {
            "```console" => Some(Kind::Console),
            "```sh" => Some(Kind::Script),
            _ => None,
        };
        if let Some(kind) = kind {
            let begin = at + 1;
            let end = (begin..lines.len()).find(|n| lines[*n].starts_with("```")).expect("a block ends");
            if kind == Kind::Script {
                let script = format!("( set -e\n{}\n)", lines[begin..end].join("\n"));
                found.push(Block { lines: begin..end, commands: vec![(script, Vec::new())], kind });
                at = end + 1;
                continue;
            }
            let mut commands: Vec<(String, Vec<String>)> = Vec::new();
            for line in &lines[begin..end] {
                match (line.strip_prefix("$ "), line.strip_prefix("> "), commands.last_mut()) {
                    (Some(command), ..) => commands.push((command.to_owned(), Vec::new())),
                    // A here-document goes on.
                    (None, Some(more), Some((command, shown))) if shown.is_empty() => {
                        command.push('\n');
                        command.push_str(more);
                    }
                    (None, _, Some((_, shown))) => shown.push((*line).to_owned()),
                    (None, _, None) => panic!("a console block begins with a command: {line}"),
                }
            }
            found.push(Block { lines: begin..end, commands, kind });
            at = end;
        }
        at += 1;
    }
    found
}

/// What a command printed, both streams together, and its exit code.
type Seen = (Vec<String>, i32);

/// Runs a page's commands in one shell.
fn play(home: &Home, dir: &Path, commands: &[String]) -> Vec<Seen> {
    const MARK: &str = "==end-of-a-command:";
    let mut script = String::new();
    for command in commands {
        script.push_str(&format!("{command}\nprintf '\\n{MARK}%s\\n' $?\n"));
    }
    let program = terreau().parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([program].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let environment = home.command(dir, &[]);
    let mut shell = Command::new("bash");
    // From a file: a command that reads standard input must not read the rest of the page.
    let file = home.dir.path().join("page.sh");
    std::fs::write(&file, script).unwrap();
    shell.args(["--norc", "-c", "exec bash --norc \"$0\" 2>&1"]).arg(&file).env_clear();
    shell.envs(environment.get_envs().filter_map(|(k, v)| Some((k, v?)))).env("PATH", path);
    let ran = shell.current_dir(dir).stdin(Stdio::null()).output().expect("bash is there");
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    let mut shown = Vec::new();
    let mut rest = out.as_str();
    while let Some((text, more)) = rest.split_once(&format!("\n{MARK}")) {
        let (code, after) = more.split_once('\n').unwrap();
        shown.push((text.trim_end().lines().map(str::to_owned).collect(), code.parse().unwrap()));
        rest = after;
    }
    assert_eq!(shown.len(), commands.len(), "{out}");
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_book_does_what_the_book_shows() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::start(StackOptions::with_agent()).await));
    let person = Person::of(stack);
    let app = Project::named("carnet");
    let bless = std::env::var_os("TERREAU_BLESS").is_some();
    let (mut old, mut failed) = (Vec::new(), Vec::new());
    for page in summary() {
        let file = docs().join(&page);
        let text = std::fs::read_to_string(&file).unwrap();
        let blocks = blocks(&text);
        if blocks.is_empty() {
            continue;
        }
        let commands: Vec<String> =
            blocks.iter().flat_map(|b| b.commands.iter().map(|(c, _)| c.clone())).collect();
        let shown = tokio::task::block_in_place(|| play(&person.home, app.path(), &commands));
        let mut seen = shown.iter();
        let mut made: Vec<String> = Vec::new();
        let lines: Vec<&str> = text.lines().collect();
        let mut at = 0;
        for block in &blocks {
            made.extend(lines[at..block.lines.start].iter().map(|l| (*l).to_owned()));
            for (command, kept) in &block.commands {
                let (now, code) = seen.next().unwrap();
                if block.kind == Kind::Script {
                    failed.extend(
                        (*code != 0)
                            .then(|| format!("{page}: {command} ended with {code}:\n{}", now.join("\n"))),
                    );
                    made.extend(lines[block.lines.clone()].iter().map(|l| (*l).to_owned()));
                    continue;
                }
                if essence(kept) != essence(now) {
                    old.push(format!("{page}: $ {command}\n  kept: {kept:#?}\n  seen: {now:#?}"));
                }
                made.push(format!("$ {}", command.replace('\n', "\n> ")));
                made.extend(now.iter().cloned());
            }
            at = block.lines.end;
        }
        made.extend(lines[at..].iter().map(|l| (*l).to_owned()));
        if bless {
            std::fs::write(&file, made.join("\n") + "\n").unwrap();
        }
    }
    assert!(failed.is_empty(), "these do not work:\n{}", failed.join("\n"));
    assert!(
        bless || old.is_empty(),
        "TERREAU_BLESS=1 scripts/test book writes these anew:\n{}",
        old.join("\n")
    );
}
