//! The command line of `terreau audit`.

use clap::{Args, Subcommand};

use super::logs::when;
use super::{AppArg, number};
use crate::model::Sha256Hex;
use crate::model::names::Login;

/// `terreau audit`
#[derive(Debug, Clone, Subcommand)]
#[allow(missing_docs)] // A comment on a variant would hide the arguments' own, which is the command's help.
pub enum AuditCommand {
    List(AuditListArgs),
    Verify(AuditVerifyArgs),
}

/// List who changed what, from where, newest first
///
/// Every change of an app, every look at its values, every program run in it, and what was done about people and their
/// tokens. What is marked `waits` is not yet in the chain in Garage: that takes some ten minutes.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("app", |a| a.help("Only of this app [default: of all]")),
    after_help = "Examples:\n  terreau audit list\n  terreau audit list carnet --since 7d\n  \
                  terreau audit list --login alice --limit 20 --json"
)]
pub struct AuditListArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Only by this person, or about them
    #[arg(long, short, value_name = "LOGIN")]
    pub login: Option<Login>,
    /// Only what is younger than an age or a time: 10m, 2h, 7d, 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub since: Option<String>,
    /// How many, at most
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = number(1_u64, 1_000_000))]
    pub limit: u64,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// Look whether nothing of the log was lost, altered or put in another order
///
/// Walks through the whole chain in Garage, from its head in Consul: each segment bears the hash of the one before. It ends with the head's
/// hash. Whoever notes that somewhere else can ask later, with --contains, whether everything up to it is still as it was; without,
/// somebody who can write to Consul and Garage could write the whole chain anew. Exits with 1 where the chain is torn.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau audit verify\n  terreau audit verify --json\n  \
                  terreau audit verify --contains 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
pub struct AuditVerifyArgs {
    /// A hash that was noted earlier: it must be in the chain
    #[arg(long, value_name = "SHA256", value_parser = hash)]
    pub contains: Option<Sha256Hex>,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

fn hash(text: &str) -> Result<Sha256Hex, String> {
    Sha256Hex::new(text.to_ascii_lowercase())
        .map_err(|_| "must be 64 hex digits, as `terreau audit verify` printed them".to_owned())
}
