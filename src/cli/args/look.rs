//! The command line of what looks at running apps: ps, top, events.

use clap::Args;

use super::AppArg;

/// List an app's instances
///
/// One line for each instance: what it is doing, where, since when, how often it was restarted, how it ended last.
#[derive(Debug, Clone, Args)]
#[command(
    // Its own -a is --all.
    mut_arg("app_option", |a| a.short(None)),
    after_help = "Examples:\n  terreau ps\n  terreau ps carnet --all\n  terreau ps carnet@preproduction --json"
)]
pub struct PsArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Also instances that ended, as long as Nomad has them
    #[arg(long, short)]
    pub all: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// Show what an app's instances use
///
/// CPU in percent of one core, memory in use, and the limit at which the kernel ends the process (`none` where the
/// driver enforces none, as `raw_exec`). Refreshes on a terminal until Ctrl-C; in a pipe it measures once.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau top\n  terreau top carnet --once")]
pub struct TopArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Measure once
    #[arg(long)]
    pub once: bool,
    /// Print JSON for programs; measures once
    #[arg(long)]
    pub json: bool,
}

/// Show what happened to an app
///
/// What people did, what was rolled out, and what became of instances; newest last. With `--follow` it goes on until
/// Ctrl-C; with `--json` too, one object a line.
///
/// The same is a feed, at SERVER/v1/apps/APP/events.atom, which is not public: a feed reader logs in there with any user name
/// and, as the password, a token that may read the app: `terreau tokens create feed --app APP --verb read --expires 52w`.
/// `--atom` prints that feed.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau events\n  terreau events carnet --tail 20\n  terreau events carnet --json\n  \
                  terreau events --atom"
)]
pub struct EventsArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// The last so many of them
    #[arg(long, short = 'n', alias = "lines", value_name = "COUNT", default_value_t = 100, value_parser = super::number(0_usize, usize::MAX))]
    pub tail: usize,
    /// Go on as things happen
    #[arg(long, short)]
    pub follow: bool,
    /// Print the feed that readers subscribe to
    #[arg(long, conflicts_with_all = ["follow", "json", "tail"])]
    pub atom: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}
