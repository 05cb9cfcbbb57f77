//! The command line of what changes an app by an operation: plan, deploy, delete, rollback.

use std::path::PathBuf;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::{AppArg, FileArg, TurnArgs};
use crate::model::names::{Placement, SecretName};

/// Show what a deploy would change, and change nothing
///
/// Ends with 0 where nothing would change, with 10 where something would, and with 5 where something is in the way: what it
/// names (a host of another app, a secret without a value), or a change of the app that is under way.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau plan\n  terreau plan --out review.plan\n  terreau plan carnet@preproduction --file preproduction.hcl --json"
)]
pub struct PlanArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Where the descriptor is.
    #[command(flatten)]
    pub file: FileArg,
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
    /// Save the plan, for review and `terreau deploy --plan FILE`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Put an app online, or a new release of it
///
/// Returns when the app answers its check, and prints its URL; or says why it does not, and the old release goes on.
/// Ctrl-C stops watching, not the deploy.
///
/// Values of `user` secrets that the app does not have yet are asked for on a terminal; elsewhere --secret-file gives them. A
/// value that the app has already changes nothing.
///
/// Where the descriptor says `update { promote = "manual" }`, it returns when the new release's canaries are healthy; they
/// are held beside the old instances until somebody says --promote or --revert.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau deploy\n  terreau deploy --message \"the search is quicker\"\n  \
                  terreau deploy --secret-file smtp_password=./smtp.txt\n  \
                  pass show smtp | terreau deploy --secret-file smtp_password=-\n  \
                  terreau deploy carnet --promote\n  terreau deploy --plan review.plan\n  terreau deploy carnet@preproduction --file preproduction.hcl --detach"
)]
pub struct DeployArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Where the descriptor is.
    #[command(flatten)]
    pub file: FileArg,
    /// Deploy exactly what this plan says, or nothing if the world has moved since
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Why, for the list of releases
    #[arg(long, short, value_name = "TEXT")]
    pub message: Option<String>,
    /// Give a `user` secret the value that stands in this file, byte for byte; several times for several. `-` is standard
    /// input, to its end; one line break at its end is left out
    #[arg(long, value_name = "NAME=FILE")]
    pub secret_file: Vec<String>,
    /// Let the held canaries go on: they replace the old instances
    #[arg(long, conflicts_with_all = ["plan", "file", "message", "secret_file", "revert"])]
    pub promote: bool,
    /// Take the held canaries back: the old release serves on
    #[arg(long, conflicts_with_all = ["plan", "file", "message", "secret_file"])]
    pub revert: bool,
    /// Return as soon as the deploy is accepted
    #[arg(long)]
    pub detach: bool,
    /// Whether it waits for its turn.
    #[command(flatten)]
    pub turn: TurnArgs,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

impl DeployArgs {
    /// What `--secret-file` names. Taken apart here and not by clap, which repeats what it refuses: it may be a value that
    /// was given by mistake.
    ///
    /// # Errors
    /// What is wrong, without a word of it.
    pub fn secret_files(&self) -> Result<Vec<(SecretName, PathBuf)>, String> {
        let one = |text: &String| {
            let parts = text.split_once('=').filter(|(_, file)| !file.is_empty());
            let parts =
                parts.and_then(|(name, file)| Some((SecretName::new(name).ok()?, PathBuf::from(file))));
            parts.ok_or_else(|| {
                "--secret-file wants NAME=FILE: the secret's name and the file that its value is in"
                    .to_owned()
            })
        };
        self.secret_file.iter().map(one).collect()
    }
}

/// Take an app offline and its credentials out of use
///
/// Removes the job and the routes and makes credentials useless at once; the values of its secrets go. Buckets and
/// volumes, with the files and databases in them, stay unless --with-data says otherwise. Its name rests for an hour:
/// until then nobody can use it, its owners neither.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau delete carnet\n  terreau delete carnet@preproduction --yes --with-data"
)]
pub struct DeleteArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Do not ask for the app's name
    #[arg(long, short)]
    pub yes: bool,
    /// Also delete its data: buckets and volumes
    #[arg(long)]
    pub with_data: bool,
    /// Return as soon as it is accepted
    #[arg(long)]
    pub detach: bool,
    /// Whether it waits for its turn.
    #[command(flatten)]
    pub turn: TurnArgs,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// Make a new release from an older one
///
/// Code and configuration are the old release's, credentials the current ones. It is a new release with a new number.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau rollback\n  terreau rollback 3 --message \"the search was slower\"\n  terreau rollback 1 --app carnet@preproduction"
)]
pub struct RollbackArgs {
    /// The release to go back to [default: the one before the running one, unless the last deploy failed]
    #[arg(value_name = "RELEASE", value_parser = super::release)]
    pub to: Option<u64>,
    /// The app [default: the project of the terreau.hcl in this folder or above it]
    #[arg(long, short, value_name = "APP[@ENV]", add = ArgValueCompleter::new(crate::cli::completions::apps))]
    pub app: Option<Placement>,
    /// Also to a release that never got healthy
    #[arg(long, short)]
    pub yes: bool,
    /// Why, for the list of releases
    #[arg(long, short, value_name = "TEXT")]
    pub message: Option<String>,
    /// Return as soon as it is accepted
    #[arg(long)]
    pub detach: bool,
    /// Whether it waits for its turn.
    #[command(flatten)]
    pub turn: TurnArgs,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}
