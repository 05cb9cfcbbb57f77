//! `terreau completions`: a script for a shell.

use clap::CommandFactory;

use super::args::{CompletionsArgs, Line};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::Ran;

/// Runs it.
pub fn run(args: &CompletionsArgs, cx: &Context) -> Ran {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Line::command(), "terreau", &mut script);
    cx.printer.bytes(&script)?;
    Ok(ExitStatus::Done)
}
