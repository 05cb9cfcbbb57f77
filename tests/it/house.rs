//! The house has floors, and stairs lead only down: no module knows one above it, so there can be no circle.
//! Pure rooms do no I/O, take no clock and no randomness. Only `engines` opens sockets to engines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the roof to the ground. A room may know those further down, never its own floor's neighbours.
const FLOORS: [&[&str]; 17] = [
    &["cli"],
    &["sandbox"],
    &["agent"],
    &["api"],
    &["build"],
    &["deploy"],
    &["access"],
    &["operation"],
    &["plan"],
    &["resources"],
    &["store", "world"],
    &["engines"],
    &["archive"],
    &["render", "descriptor"],
    &["loops"],
    &["model"],
    &["clock"],
];
const PURE: [&str; 4] = ["model", "descriptor", "render", "plan"];
const EFFECTS: [&str; 7] =
    ["tokio::", "reqwest::", "std::fs", "std::net", "SystemTime::now", "Timestamp::now", "rand::"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

fn room_of(path: &Path) -> String {
    let first = path.strip_prefix(root()).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Code without comments and without unit tests, which stand at the end of a file.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The modules that a text names after a path like `crate::` (also in a group: `use crate::{a, b::c}`).
fn named(text: &str, path: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in text.match_indices(path) {
        // `super::super::` begins elsewhere.
        if text[..at].ends_with("::") {
            continue;
        }
        let rest = &text[at + path.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 && (c == ',' || c == ':') {
                    rooms.insert(std::mem::take(&mut word).trim().to_owned());
                    word.push(if c == ':' { '#' } else { ' ' });
                } else if depth == 0 && !word.starts_with('#') {
                    word.push(c);
                } else if depth == 0 && c == ',' {
                    word.clear();
                }
            }
            rooms.insert(word.trim().to_owned());
        } else {
            rooms.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    rooms
}

#[test]
fn stairs_lead_only_down() {
    let floor: BTreeMap<&str, usize> =
        FLOORS.iter().enumerate().flat_map(|(n, rooms)| rooms.iter().map(move |r| (*r, n))).collect();
    let mut faults = Vec::new();
    let mut edges = 0;
    for path in sources(&root()) {
        let room = room_of(&path);
        if matches!(room.as_str(), "lib" | "main") {
            continue;
        }
        let Some(&from) = floor.get(room.as_str()) else {
            faults.push(format!("{}: the room {room} stands on no floor", path.display()));
            continue;
        };
        for other in named(&code(&path), "crate::") {
            let Some(&to) = floor.get(other.as_str()) else { continue };
            edges += usize::from(other != room);
            if other != room && to <= from {
                faults.push(format!("{} knows {other}, which is not below {room}", path.display()));
            }
        }
    }
    assert!(edges > 50, "only {edges} edges were seen: this test looks at nothing");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The file of a module that stands beside this one.
fn beside(file: &Path, module: &str) -> Option<PathBuf> {
    let folder = file.parent().unwrap();
    let found = [folder.join(format!("{module}.rs")), folder.join(module).join("mod.rs")];
    found.into_iter().find(|f| f != file && f.exists())
}

/// Everything that a file reaches by the files beside it.
fn reached(edges: &BTreeMap<PathBuf, BTreeSet<PathBuf>>, from: &Path) -> BTreeSet<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(file) = open.pop() {
        for next in edges.get(&file).into_iter().flatten() {
            if seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    seen
}

#[test]
fn files_of_a_room_know_each_other_in_no_circle() {
    let mut edges = BTreeMap::new();
    for file in sources(&root()).into_iter().filter(|f| !f.ends_with("mod.rs")) {
        let names = named(&code(&file), "super::");
        let known: BTreeSet<PathBuf> = names.iter().filter_map(|n| beside(&file, n)).collect();
        edges.insert(file, known);
    }
    let seen: usize = edges.values().map(BTreeSet::len).sum();
    assert!(seen > 50, "only {seen} edges were seen: this test looks at nothing");
    let circles: Vec<_> = edges.keys().filter(|f| reached(&edges, f).contains(*f)).collect();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn pure_rooms_have_no_effects() {
    let mut faults = Vec::new();
    for path in sources(&root()) {
        if !PURE.contains(&room_of(&path).as_str()) {
            continue;
        }
        let text = code(&path);
        faults.extend(
            EFFECTS.iter().filter(|e| text.contains(**e)).map(|e| format!("{}: {e}", path.display())),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_group_of_rooms_is_seen_whole() {
    let seen = named("use crate::{engines::nomad::Nomad, model::{Head, Uid}, store};", "crate::");
    assert_eq!(
        seen.into_iter().filter(|s| !s.starts_with('#')).collect::<Vec<_>>(),
        ["engines", "model", "store"]
    );
}
