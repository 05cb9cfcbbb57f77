//! The command line of `terreau operations`.

use clap::{Args, Subcommand};

use super::AppArg;
use crate::model::Uid;

/// `terreau operations`
#[derive(Debug, Clone, Subcommand)]
pub enum OperationsCommand {
    /// List the changes that are under way, and the last that have ended
    #[command(
        after_help = "Examples:\n  terreau operations list\n  terreau operations list carnet --ended 5\n  \
                            terreau operations list --json"
    )]
    List(OperationsListArgs),
    /// Watch an operation until it ends, and exit as its command would have
    ///
    /// Ctrl-C stops watching, not the operation.
    #[command(after_help = "Examples:\n  terreau operations follow 01jc5zxq6e1v2m3n4p5q6r7s8t")]
    Follow(OperationArgs),
    /// Show an operation and its steps
    #[command(after_help = "Examples:\n  terreau operations show 01jc5zxq6e1v2m3n4p5q6r7s8t")]
    Show(OperationArgs),
    /// Turn an operation back, before the job is registered
    ///
    /// What it has made so far is taken back, and the app is as it was. It can be asked by anybody who may change the
    /// app, on any server of the cluster. Once the job is registered an operation goes forward: the answer then says
    /// what to do instead.
    #[command(after_help = "Examples:\n  terreau operations cancel 01jc5zxq6e1v2m3n4p5q6r7s8t")]
    Cancel(OperationArgs),
}

/// An operation.
#[derive(Debug, Clone, Args)]
pub struct OperationArgs {
    /// The operation's id
    #[arg(value_name = "ID")]
    pub id: Uid,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `terreau operations list`
#[derive(Debug, Clone, Args)]
#[command(mut_arg("app", |a| a.help("Only of this app [default: of every app that you may see]")))]
pub struct OperationsListArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// How many that have ended, at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=200))]
    pub ended: u64,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}
