//! Whether what a descriptor starts is in the folder that it packs: looked at here, where the folder is. Warns and never
//! refuses: what a program is may be decided where it runs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::local::Descriptor;
use crate::descriptor::{Fault, Faults, QUOTED, Severity, code};
use crate::model::project::{Build, Process};

/// Programs that start another file of the folder, which is their first argument.
const INTERPRETERS: [&str; 9] = ["sh", "bash", "python", "python3", "node", "deno", "ruby", "perl", "php"];

/// A warning for each process whose program is not where it will be looked for.
pub fn missing(descriptor: &Descriptor) -> Faults {
    let Some(Build::Archive { dir }) = &descriptor.project.build else { return Faults::default() };
    let folder = descriptor.folder().join(dir);
    let all = descriptor.project.processes.iter();
    Faults(all.filter_map(|p| of_process(descriptor, &folder, p)).collect())
}

fn of_process(descriptor: &Descriptor, folder: &Path, process: &Process) -> Option<Fault> {
    let word = |n: usize| process.command.get(n).and_then(crate::model::text::Text::as_literal);
    let program = word(0)?;
    if program.starts_with('/') {
        return None;
    }
    let script = word(1).filter(|w| !w.starts_with(['-', '/']) && w.contains('.'));
    let (what, is_run) = match script {
        _ if program.contains('/') => (program, true),
        Some(script) if INTERPRETERS.contains(&program.as_str()) => (script, false),
        // It is looked for in the PATH of where it runs.
        _ => return None,
    };
    let path = folder.join(what.strip_prefix("./").unwrap_or(&what));
    let name = &process.name;
    let (message, help) = match path.metadata() {
        Err(_) => (
            format!("process {name:?} starts {what}, and there is no {}", path.display()),
            format!("commands are looked for in the folder that is packed, {}", folder.display()),
        ),
        Ok(m) if m.is_dir() => (
            format!("process {name:?} starts {what}, and {} is a folder", path.display()),
            "name the program in it".to_owned(),
        ),
        Ok(m) if is_run && m.permissions().mode() & 0o111 == 0 => (
            format!("process {name:?} starts {what}, and {} may not be executed", path.display()),
            format!("chmod +x {}", path.display()),
        ),
        Ok(_) => return None,
    };
    Some(at(descriptor, &format!("process \"{name}\""), Some(&what), message, help))
}

/// A warning at the place of a word in the descriptor, after the line of its block, or else at that line.
pub(super) fn at(
    descriptor: &Descriptor,
    block: &str,
    word: Option<&str>,
    message: String,
    help: String,
) -> Fault {
    let lines: Vec<&str> = descriptor.text.lines().collect();
    let (kind, label) = block.split_once(' ').unwrap_or((block, ""));
    let opens = |l: &&str| l.trim_start().starts_with(kind) && l.contains(label);
    let from = lines.iter().position(opens).unwrap_or(0);
    let quoted = word.map_or_else(|| kind.to_owned(), |w| format!("\"{w}\""));
    let found = lines.iter().enumerate().skip(from).find_map(|(n, l)| Some((n, l.find(&quoted)?)));
    let (n, byte) = found.unwrap_or((from, 0));
    let line = lines.get(n).copied().unwrap_or_default();
    let column = line.get(..byte).unwrap_or_default().chars().count() + 1;
    let width = if found.is_some() { quoted.chars().count() } else { 1 };
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Fault {
        severity: Severity::Warning,
        code: code::SUSPICIOUS,
        message,
        file: descriptor.path.display().to_string(),
        line: number(n + 1),
        column: number(column),
        end_column: number(column + width),
        source_line: line.chars().take(QUOTED).collect(),
        help: Some(help),
        suggestion: None,
    }
}
