//! `terreau init`: a first descriptor for what is in a folder. Writes that one file, and never over another.

use std::io::Write;
use std::path::Path;

use super::args::InitArgs;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran};
use super::local::FILE_NAME;
use crate::build::detect::{self, Kind};
use crate::descriptor::init::{Detected, DetectedKind, write};
use crate::model::ProjectName;

/// Runs it.
pub fn run(args: &InitArgs, cx: &Context) -> Ran {
    let path = args.dir.join(FILE_NAME);
    if path.is_file() {
        cx.printer.say(format!("{} is there already: nothing was written", path.display()));
        return Ok(ExitStatus::Done);
    }
    let name = match &args.name {
        Some(name) => ProjectName::new(name.as_str()).map_err(|e| Failure::usage(e.to_string()))?,
        None => name_of(&args.dir)?,
    };
    let found = recognise(&args.dir, cx);
    let text = write(&name, &found);
    create(&args.dir, &path, &text).map_err(|e| Failure::file("write", &path, &e))?;
    cx.printer.data(path.display())?;
    cx.printer.hint("look it over, then `terreau validate` and `terreau deploy`");
    Ok(ExitStatus::Done)
}

/// The first kind that this version can deploy.
fn recognise(dir: &Path, cx: &Context) -> Detected {
    let all = detect::detect(dir);
    let program = |command, because: &str| Detected {
        kind: DetectedKind::Archive,
        dir: ".".to_owned(),
        command,
        port: None,
        host: None,
        because: because.to_owned(),
    };
    let known = |one: &detect::Detected| match &one.kind {
        Kind::Static { root } => {
            Some(Detected { kind: DetectedKind::Static, dir: root.clone(), ..program(Vec::new(), &one.why) })
        }
        Kind::Archive { command } => Some(program(command.clone(), &one.why)),
        Kind::Nix | Kind::Dockerfile | Kind::Buildpack { .. } => None,
    };
    if let Some(found) = all.iter().find_map(known) {
        return found;
    }
    if all.is_empty() {
        let below = detect::detect_below(dir).into_iter();
        let below: Vec<_> =
            below.filter_map(|(name, all)| Some((name, all.iter().find_map(known)?))).collect();
        if let [(name, found)] = below.as_slice() {
            let because = format!("{} in {name}", found.because);
            // What lies below a folder below is named from here.
            let dir = if found.dir == "." { name.clone() } else { format!("{name}/{}", found.dir) };
            return Detected { dir, because, ..found.clone() };
        }
        if below.len() > 1 {
            let names: Vec<&str> = below.iter().map(|(name, _)| name.as_str()).collect();
            cx.printer.say(format!("several folders may be the app: {}", names.join(", ")));
        }
    }
    cx.printer.warn("nothing that says how this is started was found: correct `command` in the descriptor");
    program(Vec::new(), all.first().map_or("", |d| d.why.as_str()))
}

/// The folder's name as a project's.
fn name_of(dir: &Path) -> Result<ProjectName, Failure> {
    let full = dir.canonicalize().map_err(|e| Failure::file("open the folder", dir, &e))?;
    let raw = full.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    ProjectName::new(tidy(&raw)).map_err(|e| {
        Failure::usage(format!("the folder's name {raw:?} makes no project name"))
            .because(e.to_string())
            .hint("say one: `terreau init NAME`")
    })
}

/// What is left of a name when all that is not allowed has become single dashes.
fn tidy(raw: &str) -> String {
    let parts: Vec<&str> = raw
        .split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit())
        .filter(|p| !p.is_empty())
        .collect();
    let joined = parts.join("-");
    let letters = joined.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    letters.chars().take(26).collect::<String>().trim_end_matches('-').to_owned()
}

/// All of it or nothing, and never over a file that appeared meanwhile.
fn create(dir: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut file = tempfile::Builder::new()
        .prefix(".terreau")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.persist_noclobber(path).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_become_project_names() {
        for (raw, want) in
            [("my app_2", "my-app-2"), ("2048", ""), ("3d-printer--web", "d-printer-web"), ("é", "")]
        {
            assert_eq!(tidy(raw), want);
        }
        assert_eq!(tidy("abcdefghijklmnopqrstuvwxy-z"), "abcdefghijklmnopqrstuvwxy");
    }
}
