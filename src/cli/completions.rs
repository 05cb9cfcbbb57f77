//! `terreau completions` and `terreau man`: what a shell and `man` want to know, made of the command line itself.

use std::ffi::OsStr;

use clap::CommandFactory;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{CompleteEnv, Shells};

use super::args::{CompletionsArgs, Global, Line, ManArgs};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran};
use super::printer::{Printer, Talk};
use super::server::Server;
use super::waiting;

/// By this the scripts ask the program.
const VARIABLE: &str = "TERREAU_COMPLETE";

/// Runs it.
pub fn run(args: &CompletionsArgs, cx: &Context) -> Ran {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = args.shell.to_string();
    let cannot =
        |why: String| Failure::failed(format!("cannot write a completion script for {shell}")).because(why);
    let completer = shells.completer(&shell).ok_or_else(|| cannot("it is not known".to_owned()))?;
    completer
        .write_registration(VARIABLE, "terreau", "terreau", "terreau", &mut script)
        .map_err(|e| cannot(e.to_string()))?;
    cx.printer.bytes(&script)?;
    Ok(ExitStatus::Done)
}

/// Answers a shell that completes a line, and ends the process; returns where nobody asks.
pub fn answer() {
    if std::env::var_os(VARIABLE).is_some() {
        CompleteEnv::with_factory(Line::command).var(VARIABLE).complete();
    }
}

/// The apps that the person who is logged in may see. A shell waits for the answer: what is not known soon is not
/// suggested, and nothing is ever said.
pub fn apps(begun: &OsStr) -> Vec<CompletionCandidate> {
    let Some(begun) = begun.to_str() else { return Vec::new() };
    let global = Global { server: None, config_dir: None, quiet: true };
    let global = Global {
        server: std::env::var("TERREAU_SERVER").ok().and_then(|s| Server::new(&s).ok()),
        config_dir: std::env::var_os("TERREAU_CONFIG_DIR").map(Into::into),
        ..global
    };
    let Ok(client) = Context::new(Printer::new(Talk::Quiet), global).client() else { return Vec::new() };
    let mut names = Vec::new();
    let asked = waiting(async {
        names = client.app_names().await;
        Ok(ExitStatus::Done)
    });
    if asked.is_err() {
        return Vec::new();
    }
    names.into_iter().filter(|n| n.starts_with(begun)).map(CompletionCandidate::new).collect()
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
