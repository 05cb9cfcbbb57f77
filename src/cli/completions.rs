//! `terreau completions` and `terreau man`: what a shell and `man` want to know, made of the command line itself.

use clap::CommandFactory;

use super::args::{CompletionsArgs, Line, ManArgs};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran};

/// Runs it.
pub fn run(args: &CompletionsArgs, cx: &Context) -> Ran {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Line::command(), "terreau", &mut script);
    cx.printer.bytes(&script)?;
    Ok(ExitStatus::Done)
}

/// Runs `terreau man`.
pub fn man(args: &ManArgs, cx: &Context) -> Ran {
    let cannot = |e: std::io::Error| {
        Failure::failed(format!("cannot write manual pages into {}", args.dir.display()))
            .because(e.to_string())
    };
    std::fs::create_dir_all(&args.dir).map_err(cannot)?;
    clap_mangen::generate_to(Line::command(), &args.dir).map_err(cannot)?;
    cx.printer.say(format!("manual pages are in {}", args.dir.display()));
    Ok(ExitStatus::Done)
}
