//! The descriptor on this machine: found upward like a repository's root, read, checked, and the app that it names.

use std::path::{Path, PathBuf};

use super::args;
use super::exit::ExitStatus;
use super::failure::Failure;
use super::printer::Printer;
use crate::descriptor::{self, Faults, Paint};
use crate::model::{Placement, Project};

/// Its name.
pub const FILE_NAME: &str = "terreau.hcl";

/// A descriptor without a fault.
#[derive(Debug, Clone)]
pub struct Descriptor {
    /// Where it is.
    pub path: PathBuf,
    /// Byte for byte.
    pub text: String,
    /// What it says.
    pub project: Project,
}

impl Descriptor {
    /// The folder that its paths are relative to.
    pub fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        }
    }
}

/// The descriptor that is meant: the one named, else the nearest one upward.
pub fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() });
    }
    if Path::new(FILE_NAME).is_file() {
        return Ok(PathBuf::from(FILE_NAME));
    }
    let here = std::env::current_dir()
        .map_err(|e| Failure::failed("cannot tell the folder").because(e.to_string()))?;
    here.ancestors()
        .skip(1)
        .filter(|d| is_ours(d))
        .map(|d| d.join(FILE_NAME))
        .find(|p| p.is_file())
        .ok_or_else(|| {
            Failure::failed(format!("there is no {FILE_NAME} in {} or above it", here.display()))
                .hint("`terreau init` writes one")
        })
}

/// Whether what lies in a folder above is this person's own word: not where anybody may put a file, as in `/tmp`, and not
/// where the file is somebody else's.
fn is_ours(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    const ANYBODY_WRITES: u32 = 0o002;
    let me = rustix::process::geteuid().as_raw();
    let file = std::fs::metadata(folder.join(FILE_NAME));
    let of_us = file.is_ok_and(|f| f.uid() == me || f.uid() == 0);
    of_us && std::fs::metadata(folder).is_ok_and(|d| d.mode() & ANYBODY_WRITES == 0)
}

/// Reads a file that cannot be larger than a descriptor may be.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read;
    let wrong = |e: std::io::Error| Failure::file("read", path, &e);
    let file = std::fs::File::open(path).map_err(wrong)?;
    let mut bytes = Vec::new();
    // One byte more than is allowed is enough for the refusal.
    file.take(descriptor::MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(wrong)?;
    Ok(bytes)
}

/// What checking gave: the project and the text, or all faults; and the warnings.
#[derive(Debug)]
pub struct Checked {
    /// The descriptor, where nothing is wrong.
    pub descriptor: Option<Descriptor>,
    /// Everything that is wrong.
    pub faults: Faults,
    /// What its author should know.
    pub warnings: Faults,
}

/// Reads and checks.
pub fn check(path: PathBuf) -> Result<Checked, Failure> {
    let bytes = read(&path)?;
    let name = path.display().to_string();
    Ok(match String::from_utf8(bytes) {
        Ok(text) => {
            let checked = descriptor::check(&name, &text);
            Checked {
                descriptor: checked.project.map(|project| Descriptor { path, text, project }),
                faults: checked.faults,
                warnings: checked.warnings,
            }
        }
        Err(e) => Checked {
            descriptor: None,
            faults: descriptor::parse_bytes(&name, e.as_bytes()).err().unwrap_or_default(),
            warnings: Faults::default(),
        },
    })
}

/// Reads and checks; warnings are said, faults are the failure.
pub fn load(named: Option<&Path>, printer: Printer) -> Result<Descriptor, Failure> {
    let path = find(named)?;
    let name = path.display().to_string();
    let checked = check(path)?;
    if let Some(descriptor) = checked.descriptor {
        if !checked.warnings.is_empty() {
            printer.say(checked.warnings.pretty(Paint::Colour).trim_end());
        }
        return Ok(descriptor);
    }
    Err(faulty(&name, &checked.faults))
}

/// The failure of a descriptor with faults.
pub fn faulty(name: &str, faults: &Faults) -> Failure {
    Failure::failed(format!("{name} is not valid")).painted(faults.pretty(Paint::Colour))
}

/// The app that is meant: the one named, else the descriptor's project in production. Only its name is needed, so that
/// a fault elsewhere in the descriptor keeps nobody from what runs.
pub fn app(named: Option<&Placement>, printer: Printer) -> Result<Placement, Failure> {
    const NAME_IT: &str = "name the app: --app APP[@ENV]";
    if let Some(app) = named {
        return Ok(app.clone());
    }
    let path = find(None).map_err(|failure| failure.hint(format!("or {NAME_IT}")))?;
    let bytes = read(&path)?;
    let file = path.display().to_string();
    let faults = match descriptor::parse_bytes(&file, &bytes) {
        Ok(project) => return Ok(Placement::production(project.name)),
        Err(faults) => faults,
    };
    let Some(name) = descriptor::project_name(&bytes) else {
        return Err(faulty(&file, &faults)
            .because("its faults hide the project's name, which is all that this command needs of it")
            .hint(format!("mend it (`terreau validate` lists its faults), or {NAME_IT}")));
    };
    printer.warn(format!("{file} has faults, which `terreau validate` lists; {name} is meant"));
    Ok(Placement::production(name))
}

/// Adds what was probably meant where the word that was taken for an app, which is not there, is a process of the folder's
/// app. `say` is given the process and that app.
pub fn or_process(
    failure: Failure,
    word: Option<&Placement>,
    say: impl FnOnce(&str, &str) -> String,
) -> Failure {
    let Some(word) = word.filter(|_| failure.status == ExitStatus::NotFound) else { return failure };
    let checked = find(None).and_then(check);
    let Some(found) = checked.ok().and_then(|c| c.descriptor) else { return failure };
    let name = word.to_string();
    let is_one =
        found.project.processes.iter().any(|p| p.name.as_str() == name) && found.project.name != word.project;
    if is_one { failure.hint(say(&name, found.project.name.as_str())) } else { failure }
}

/// The app of a command's words and of its `--app`, which must not differ.
pub fn one_of<'a>(
    word: Option<&'a Placement>,
    option: Option<&'a Placement>,
) -> Result<Option<&'a Placement>, Failure> {
    args::one_of(word, option).map_err(Failure::usage)
}

/// The app that a descriptor is for: the one named must be of its project.
pub fn app_of(descriptor: &Descriptor, named: Option<&Placement>) -> Result<Placement, Failure> {
    let name = &descriptor.project.name;
    match named {
        None => Ok(Placement::production(name.clone())),
        Some(app) if app.project == *name => Ok(app.clone()),
        Some(app) => Err(Failure::usage(format!(
            "{} is of project {name}, and the command names {app}",
            descriptor.path.display()
        ))),
    }
}
