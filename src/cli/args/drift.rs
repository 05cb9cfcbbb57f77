//! The command line of `terreau drift`.

use clap::Args;

use super::AppArg;

/// Show what was changed outside of Terreau
///
/// Compares what apps own with what Nomad, Consul, the directory and Garage hold: jobs that were edited, scaled, stopped
/// or purged by hand, secrets that were overwritten or deleted, accounts, buckets and keys that are gone. Nothing is
/// undone: each line says what sets it right. The agent that leads looks each minute, and tells what it sees twice among
/// the app's events. Exits with 10 where something differs.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("app", |a| a.help("Only of this app [default: of all that you may see]")),
    after_help = "Examples:\n  terreau drift\n  terreau drift carnet\n  terreau drift --json"
)]
pub struct DriftArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}
