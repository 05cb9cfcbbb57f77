//! The command line of hooks.

use clap::{Args, Subcommand};

use super::{AppArg, OfApp};
use crate::model::wire::HookEvent;

/// `terreau hook`
#[derive(Debug, Clone, Subcommand)]
#[allow(missing_docs)] // A comment on a variant would hide the arguments' own, which is the command's help.
pub enum HookCommand {
    Add(HookAddArgs),
    /// List who is told of an app, what arrived last, and what waits
    List(HookListArgs),
    /// Tell a URL no more
    #[command(after_help = "Examples:\n  terreau hook remove carnet@preproduction 3f9a")]
    Remove(HookIdArgs),
    /// Send a test to a hook, now, and show what it answers
    #[command(after_help = "Examples:\n  terreau hook test 3f9a\n  terreau hook test 3f9a --json")]
    Test(HookTestArgs),
}

/// Have a URL told of what happens to an app
///
/// Each time the app is changed (deploy), a change does not come through (failure), a process ends again and again
/// (crash-loop) or runs again (recovery), the URL gets a POST of JSON, signed as Standard Webhooks says
/// (https://www.standardwebhooks.com). The signing secret is made by the server and printed once, alone on stdout; or give
/// your own by standard input. What does not arrive is tried again for some eight hours, in order.
///
/// Only public addresses are sent to, and those that the server's configuration allows (webhooks.allow).
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau hook add https://example.org/told\n  terreau hook add carnet@preproduction https://example.org/told --on failure,crash-loop\n  \
                  terreau hook add https://example.org/signed --secret-stdin < secret"
)]
pub struct HookAddArgs {
    /// [APP[@ENV]] URL: the app, where it is not the folder's, and where to
    #[arg(value_name = "URL", required = true, num_args = 1..=2)]
    pub words: Vec<String>,
    /// Which app.
    #[command(flatten)]
    pub app: OfApp,
    /// Of what, separated by commas: deploy, failure, crash-loop, recovery, deletion [default: all]
    #[arg(long, value_name = "EVENTS", value_delimiter = ',')]
    pub on: Vec<HookEvent>,
    /// Read the signing secret (whsec_ and base64) from standard input
    #[arg(long)]
    pub secret_stdin: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `terreau hook list`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau hook list\n  terreau hook list carnet --json")]
pub struct HookListArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `terreau hook test`
#[derive(Debug, Clone, Args)]
pub struct HookTestArgs {
    /// [APP[@ENV]] ID: the app, where it is not the folder's, and the hook's id, the beginning of it, or its URL [default:
    /// the app's only hook]
    #[arg(value_name = "ID", num_args = 0..=2)]
    pub words: Vec<String>,
    /// Which app.
    #[command(flatten)]
    pub app: OfApp,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `terreau hook remove`
#[derive(Debug, Clone, Args)]
pub struct HookIdArgs {
    /// [APP[@ENV]] ID: the app, where it is not the folder's, and the hook's id, the beginning of it, or its URL
    #[arg(value_name = "ID", required = true, num_args = 1..=2)]
    pub words: Vec<String>,
    /// Which app.
    #[command(flatten)]
    pub app: OfApp,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}
