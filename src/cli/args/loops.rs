//! The command line of `terreau loops`.

use clap::Args;

/// List the agents, and how what they do in the background fares (admins)
///
/// Every agent that lives, and for each thing that it does again and again when that last went well. `rests` is well:
/// another agent leads, or nobody waits for it. What `fails` is tried again by itself, and says why; what is `late`
/// hangs. The figures of /metrics say the same to programs that watch.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau loops\n  terreau loops --json")]
pub struct LoopsArgs {
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}
