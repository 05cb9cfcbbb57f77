//! Pure: `terreau.hcl` to a project, with errors that point at the line. Reads no file, no clock, no environment.
//!
//! [`parse`] answers with everything that is wrong at once. What an author may not do is a fault, never a silent
//! omission. Text is never template source: it becomes literal pieces and checked references ([`crate::model::text`]).
//!
//! A byte order mark is skipped and CRLF is read as LF, so a file text in a descriptor has LF whatever editor wrote it.

use std::borrow::Cow;

mod bounds;
mod check;
mod draft;
mod driver;
mod fault;
pub mod grammar;
pub mod init;
mod named;
mod names;
mod network;
mod parts;
mod process;
mod project;
mod reference;
mod resolve;
mod scope;
mod source;
mod syntax;
mod value;

pub use bounds::{MAX_BYTES, MAX_DEPTH, MAX_ITEMS};
pub use driver::allowed as allowed_driver_settings;
pub use fault::{Fault, Faults, Paint, Severity, code};
pub use named::project_name;
pub use parts::{MAX_ENV, MAX_ENV_JSON};
pub use source::QUOTED;

use crate::model::project::Project;
use draft::Draft;
use source::{Ctx, error};

/// What was found in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The project, where nothing is wrong.
    pub project: Option<Project>,
    /// Everything that is wrong.
    pub faults: Faults,
    /// What its author should know.
    pub warnings: Faults,
}

/// Reads a descriptor. `file_name` is only named in faults.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn parse(file_name: &str, text: &str) -> Result<Project, Faults> {
    let checked = check(file_name, text);
    checked.project.ok_or(checked.faults)
}

/// The same from bytes, which must be UTF-8.
///
/// # Errors
/// As [`parse`].
pub fn parse_bytes(file_name: &str, bytes: &[u8]) -> Result<Project, Faults> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(file_name, text),
        Err(e) => {
            let good = String::from_utf8_lossy(&bytes[..e.valid_up_to().min(MAX_BYTES)]).into_owned();
            let ctx = Ctx::new(file_name, &good);
            error(good.len()..good.len(), code::SYNTAX, "the file is not UTF-8 text").add(&ctx);
            Err(ctx.finish().0)
        }
    }
}

/// Reads a descriptor, and says what is only suspicious as well.
pub fn check(file_name: &str, text: &str) -> Checked {
    let text = plain(text);
    let mut ctx = Ctx::new(file_name, &text);
    let project = read(&mut ctx);
    let ok = !ctx.has_errors();
    let (faults, warnings) = ctx.finish();
    Checked { project: project.filter(|_| ok), faults, warnings }
}

/// A text as it is read: without the mark that some editors put before it, its lines ended in one way.
fn plain(text: &str) -> Cow<'_, str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.contains("\r\n") { text.replace("\r\n", "\n").into() } else { text.into() }
}

fn read(ctx: &mut Ctx<'_>) -> Option<Project> {
    if let Some(report) = bounds::check(ctx.text()) {
        report.add(ctx);
        return None;
    }
    let (body, whole) = syntax::body(ctx)?;
    let draft = project::read(ctx, &body);
    if let Some(draft) = &draft {
        check::check(ctx, draft, whole);
    }
    if whole == syntax::Whole::No {
        // What seems to be missing or undeclared may stand in a line that could not be read.
        ctx.forget(&[code::MISSING, code::REFERENCE]);
    }
    let project = draft.and_then(assemble);
    if project.is_none() && !ctx.has_errors() {
        // Every part that is `None` was reported; this is the promise that a refusal always says why.
        error(0..0, code::SYNTAX, "the descriptor could not be read").add(ctx);
    }
    project
}

/// The project, where every part could be read.
fn assemble(draft: Draft) -> Option<Project> {
    Some(Project {
        name: draft.name?,
        owners: draft.owners,
        build: match draft.build {
            None => None,
            Some(build) => Some(build.value?),
        },
        site_routes: draft.site_routes.into_iter().map(|r| r.value).collect::<Option<_>>()?,
        processes: draft.processes.into_iter().map(|p| p.value).collect::<Option<_>>()?,
        env: draft.env,
        secrets: draft.secrets.into_iter().map(|s| s.value).collect::<Option<_>>()?,
        files: draft.files.into_iter().map(|f| f.value.and_then(|f| f.file)).collect::<Option<_>>()?,
        uses: draft.uses.into_iter().map(|u| u.value).collect::<Option<_>>()?,
    })
}
