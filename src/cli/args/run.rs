//! The command line of what runs: start, stop, restart, scale.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

use super::{AppArg, OfApp, TurnArgs};
use crate::model::ProcessName;
use crate::model::names::Placement;
use crate::model::wire::ScaleRequest;

/// Stop an app until somebody starts or deploys it
///
/// Ends every instance within its stop_timeout and keeps everything else: routes (which answer 503), data, the release,
/// the counts. It stays so until somebody runs `terreau start` or `terreau deploy`; nothing else wakes it. With `--run`
/// it ends one command of `terreau run` instead, and nothing of the app.
///
/// Waits until it is so, and says how it goes; Ctrl-C stops waiting, not the change.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau stop\n  terreau stop carnet@preproduction --no-wait\n  terreau stop carnet --run 1a2b3c4d"
)]
pub struct StopArgs {
    /// The app, and how.
    #[command(flatten)]
    pub how: RunArgs,
    /// Only this command of `terreau run`: its name, or the beginning of it that no other has (see `terreau ps`)
    #[arg(long, value_name = "NAME", conflicts_with_all = ["detach", "no_wait"], value_parser = super::logs::run_name)]
    pub run: Option<String>,
}

/// Bring a stopped app back
///
/// It comes back with the same release and the same counts. Where Nomad has no job of it any more, because somebody purged
/// it, that release is made once again, under a new number, with the configuration that it had; what is staged stays staged.
///
/// Waits until it is so, and says how it goes; Ctrl-C stops waiting, not the change.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
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

/// Restart an app's instances, one after the other
///
/// Restarts the instances in place, on their nodes, one after the other: the next one only when the one before passes
/// its checks again, so that an app with several instances serves on. Configuration does not change by it: `terreau
/// deploy` releases what is new.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau restart\n  terreau restart carnet --process web\n  terreau restart --alloc 1a2b3c4d"
)]
pub struct RestartArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Only this process
    #[arg(long, short, value_name = "PROCESS")]
    pub process: Option<ProcessName>,
    /// Only this instance: its id, or the beginning of it (see `terreau ps`)
    #[arg(long, value_name = "ID", value_parser = super::logs::alloc_id)]
    pub alloc: Option<String>,
    /// Return as soon as the first one is restarted
    #[arg(long)]
    pub detach: bool,
    /// Whether it waits for its turn.
    #[command(flatten)]
    pub turn: TurnArgs,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// Set how many instances processes have
///
/// The counts hold until they are set again, through deploys and restarts. Of a stopped app they are remembered for its
/// next start. `web=0` is allowed: the other processes run on.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau scale web=2\n  terreau scale carnet web=2 worker=1\n  terreau scale --app carnet@preproduction web=1"
)]
pub struct ScaleArgs {
    /// [APP[@ENV]] PROCESS=COUNT...: the app, where it is not the folder's, and how many instances processes have; a COUNT
    /// alone where the app has one process
    #[arg(value_name = "PROCESS=COUNT", required = true, num_args = 1..)]
    pub words: Vec<Word>,
    /// Which app.
    #[command(flatten)]
    pub app: OfApp,
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

/// `terreau maintenance`
#[derive(Debug, Clone, Subcommand)]
#[allow(missing_docs)] // A comment on a variant would hide the arguments' own, which is the command's help.
pub enum MaintenanceCommand {
    On(MaintenanceOnArgs),
    /// Show visitors the app again
    Off(MaintenanceOffArgs),
}

/// Show visitors a page instead of the app, which runs on
///
/// Visitors of every route of the app get status 503 (and Retry-After) and a page that says so, within a moment. What runs
/// goes on, and can be deployed, stopped and started meanwhile: the page stays until `terreau maintenance off`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau maintenance on\n  terreau maintenance on carnet --message \"Back at 14:00.\"\n  \
                  terreau maintenance on --page maintenance.html"
)]
pub struct MaintenanceOnArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// What the page says [default: what it says already, where it is up]
    #[arg(long, short, value_name = "TEXT")]
    pub message: Option<String>,
    /// A page of your own, in HTML; at most 64 KiB
    #[arg(long, value_name = "FILE", conflicts_with = "message")]
    pub page: Option<PathBuf>,
    /// Whether it waits for its turn.
    #[command(flatten)]
    pub turn: TurnArgs,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `terreau maintenance off`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau maintenance off\n  terreau maintenance off carnet --json")]
pub struct MaintenanceOffArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Whether it waits for its turn.
    #[command(flatten)]
    pub turn: TurnArgs,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// A process and its count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The process.
    pub process: String,
    /// Its instances.
    pub count: u32,
}

/// One word of `scale`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// `web=2`
    Count(Count),
    /// `2`
    Alone(u32),
    /// An app.
    App(Placement),
}

impl FromStr for Word {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((process, number)) = text.split_once('=') else {
            if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
                return count(text).map(Self::Alone);
            }
            let app =
                text.parse().map_err(|e| format!("neither PROCESS=COUNT, as web=2, nor an app: {e}"))?;
            return Ok(Self::App(app));
        };
        // Whether there is such a process is the server's to say: it knows the names.
        let process = process.trim().to_owned();
        if process.is_empty() {
            return Err("a process is missing before `=`: web=2".to_owned());
        }
        let text = number.trim();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("{process} needs a whole number: {process}=2"));
        }
        Ok(Self::Count(Count { process, count: count(text)? }))
    }
}

/// So many instances.
fn count(digits: &str) -> Result<u32, String> {
    let most = ScaleRequest::MOST;
    let count = digits.parse().ok().filter(|n| *n <= most);
    count.ok_or_else(|| format!("a process has at most {most} instances"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_count_or_an_app() {
        assert_eq!("web=2".parse(), Ok(Word::Count(Count { process: "web".into(), count: 2 })));
        assert!(matches!("carnet@preproduction".parse(), Ok(Word::App(_))));
        assert_eq!("2".parse(), Ok(Word::Alone(2)));
        assert_eq!("web=100".parse(), Ok(Word::Count(Count { process: "web".into(), count: 100 })));
        for bad in ["", "web=", "=2", "web=two", "web=-1", "99999999999", "101", "web=101", "Not An App"] {
            assert!(bad.parse::<Word>().is_err(), "{bad}");
        }
    }
}
