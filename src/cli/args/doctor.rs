//! The command line of `terreau doctor`.

use clap::Args;

/// Look what is wrong with the cluster, and mend what is nobody's (admins)
///
/// Looks for what nobody looks after: keys, accounts, jobs, secrets and names that no app owns, changes that no agent
/// drives, loops that fail, records that cannot be read, audit records that wait; and says what keeps apps apart on this
/// cluster, and what does not. Nothing is changed without --fix, which gives what is nobody's to the sweep: it is deleted
/// an hour later. What bears the mark of an app that the records do not know may be another Terreau's, and is never
/// touched. Exits with 10 where something is found.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau doctor\n  terreau doctor --fix\n  terreau doctor --json")]
pub struct DoctorArgs {
    /// Mend what can be mended, after a question
    #[arg(long)]
    pub fix: bool,
    /// Ask nothing
    #[arg(long, short, requires = "fix")]
    pub yes: bool,
    /// Print JSON for programs
    #[arg(long, conflicts_with = "fix")]
    pub json: bool,
}
