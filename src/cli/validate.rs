//! `terreau validate`: every fault of a descriptor at once. Asks no server; a server accepts exactly the same.

use super::args::ValidateArgs;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::Ran;
use super::shapes::Checked;
use super::{local, private, programs};
use crate::descriptor::Paint;

/// Runs it.
pub fn run(args: &ValidateArgs, cx: &Context) -> Ran {
    let path = local::find(args.path.as_deref().or(args.file.file.as_deref()))?;
    let name = path.display().to_string();
    let mut checked = local::check(path)?;
    if let Some(descriptor) = &checked.descriptor {
        checked
            .warnings
            .0
            .extend(programs::missing(descriptor).0.into_iter().chain(private::would_be_packed(descriptor)));
    }
    if args.json {
        let valid = checked.descriptor.is_some();
        cx.printer.json(&Checked {
            valid,
            file: name,
            project: checked.descriptor.map(|d| d.project.name.to_string()),
            errors: checked.faults,
            warnings: checked.warnings,
        })?;
        let status = if valid { ExitStatus::Done } else { ExitStatus::Failed };
        return Ok(status);
    }
    if !checked.warnings.is_empty() {
        cx.printer.say(checked.warnings.pretty(Paint::Colour).trim_end());
    }
    let Some(descriptor) = checked.descriptor else { return Err(local::faulty(&name, &checked.faults)) };
    cx.printer.say(format!("{name} is valid: project {}", descriptor.project.name));
    Ok(ExitStatus::Done)
}
