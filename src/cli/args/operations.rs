//! The command line of `terreau operations`.

use std::str::FromStr;

use clap::{Args, Subcommand};

use super::{AppArg, OfApp};
use crate::model::Uid;
use crate::model::names::{NameError, Placement};

/// The length of an id, and of the shortest beginning of one that is taken.
const LENGTH: usize = 26;
const SHORTEST: usize = 4;

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
    #[command(
        after_help = "Examples:\n  terreau operations follow\n  terreau operations follow 01jc5zxq6e1v2m3n4p5q6r7s8t"
    )]
    Follow(OperationArgs),
    /// Show an operation and its steps
    #[command(after_help = "Examples:\n  terreau operations show 01jc5zxq6e1v2m3n4p5q6r7s8t\n  \
                      terreau operations show 01jc5zxq")]
    Show(OperationArgs),
    /// Turn an operation back, or give up on a release that does not get healthy
    ///
    /// Before the job is registered, what was made so far is taken back, and the app is as it was. While the instances
    /// are waited for, the release is given up: Nomad goes back to the one that served (unless its descriptor says
    /// `auto_revert = false`), and a first one is stopped. It can be asked by anybody who may change the app, on any
    /// server of the cluster. In between an operation goes forward: the answer then says what to do instead.
    #[command(
        after_help = "Examples:\n  terreau operations cancel\n  terreau operations cancel carnet\n  terreau operations cancel 01jc5zxq6e1v2m3n4p5q6r7s8t"
    )]
    Cancel(OperationArgs),
    /// End an operation where it stands (admins)
    ///
    /// For one that cannot go on and cannot be turned back, as where an engine is gone for good. No step of it is run or
    /// taken back any more; what it made, and what may have come of the step in hand, stays the app's. The app is
    /// `abandoned` until it is deployed again or deleted. Where `terreau operations cancel` will do, use that.
    #[command(
        after_help = "Examples:\n  terreau operations abandon --force\n  terreau operations abandon 01jc5zxq6e1v2m3n4p5q6r7s8t --force"
    )]
    Abandon(AbandonArgs),
}

/// `terreau operations abandon`
#[derive(Debug, Clone, Args)]
pub struct AbandonArgs {
    /// Which operation.
    #[command(flatten)]
    pub which: OperationArgs,
    /// Leave it half-way
    #[arg(long, required = true)]
    pub force: bool,
}

/// An operation.
#[derive(Debug, Clone, Args)]
pub struct OperationArgs {
    /// The operation's id, or the beginning of it that no other has (4 characters at least); or the app that it is under way
    /// on [default: the folder's app]
    #[arg(value_name = "ID|APP[@ENV]")]
    pub which: Option<WhichOperation>,
    /// Which app, where no id is given.
    #[command(flatten)]
    pub app: OfApp,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// An operation as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichOperation {
    /// By the whole of its id.
    Whole(Uid),
    /// By the beginning of its id.
    Beginning(String),
    /// The one that is under way on this app.
    Of(Placement),
}

impl FromStr for WhichOperation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // An id begins with a digit, as the time does that it holds, and no name does.
        if text.starts_with(|c: char| c.is_ascii_lowercase()) {
            return text.parse().map(Self::Of).map_err(|e: NameError| e.to_string());
        }
        let text = text.to_ascii_lowercase();
        if let Ok(id) = Uid::new(text.as_str()) {
            return Ok(Self::Whole(id));
        }
        let is_one = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if is_one && (SHORTEST..LENGTH).contains(&text.len()) {
            return Ok(Self::Beginning(text));
        }
        Err(format!("an id has {LENGTH} letters and digits; its first {SHORTEST} at least are wanted"))
    }
}

/// `terreau operations list`
#[derive(Debug, Clone, Args)]
#[command(mut_arg("app", |a| a.help("Only of this app [default: of every app that you may see]")))]
pub struct OperationsListArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// How many that have ended, at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = super::number(0_u64, 200))]
    pub ended: u64,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}
