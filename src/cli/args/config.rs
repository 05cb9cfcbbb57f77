//! The command line of configuration: `terreau env` and `terreau secret`.

use std::path::PathBuf;

use clap::builder::{StringValueParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::{OfApp, TurnArgs};
use crate::model::names::{EnvName, SecretName};
use crate::model::wire::Hidden;

/// `terreau env`
#[derive(Debug, Clone, Subcommand)]
#[allow(missing_docs)] // A comment on a variant would hide the arguments' own, which is the command's help.
pub enum EnvCommand {
    /// List the environment of an app: what is set, by whom, and what the descriptor says
    ///
    /// Values that were set are not shown; with --show they are, and that they were looked at is written down. What is staged is
    /// listed with what it changes: `2 (1 runs)` is version 2, staged, where version 1 runs; `unset, staged` runs until the next release.
    #[command(
        after_help = "Examples:\n  terreau env list\n  terreau env list --app carnet@preproduction --json"
    )]
    List(ConfigListArgs),
    Set(EnvSetArgs),
    /// Set values no more: what the descriptor says counts again
    Unset(EnvUnsetArgs),
    /// Set what a dotenv file says
    ///
    /// Reads lines NAME=VALUE: bare, in single quotes (as it stands, over several lines too), or in double quotes (\n \r \t \" \\
    /// \$ \` \uXXXX are one character each). `$` is never expanded. Names that the file does not have stay as they are.
    #[command(
        after_help = "Examples:\n  terreau env import .env\n  terreau env export --app carnet | terreau env import - --app carnet@preproduction"
    )]
    Import(ConfigImportArgs),
    /// Print what is set as a dotenv file, values included
    ///
    /// What runs is printed: the values that the running release has; with --staged those that the next one gets. Values are shown, and
    /// that they were is written down. `import` reads the same values again, byte for byte.
    #[command(after_help = "Examples:\n  terreau env export > carnet.env\n  terreau env export --staged")]
    Export(ConfigExportArgs),
    /// Edit what is set in your editor
    ///
    /// Opens it in $VISUAL or $EDITOR (else sensible-editor, nano or vi, whichever is there), in a file that only you can
    /// read and that is removed afterwards. What was changed is sent, and nothing else; where somebody else changed the same value
    /// meanwhile, nothing is. Without a terminal there is `import`.
    #[command(after_help = "Examples:\n  EDITOR=nano terreau env edit")]
    Edit(ConfigEditArgs),
    /// List the versions of values: who made them, and when
    History(EnvHistoryArgs),
}

/// `terreau secret`
#[derive(Debug, Clone, Subcommand)]
#[allow(missing_docs)] // A comment on a variant would hide the arguments' own, which is the command's help.
pub enum SecretCommand {
    /// List the secrets of an app, without their values
    ///
    /// Values that people gave are not shown; with --show they are, and that they were looked at is written down. `2 (1 runs)` is
    /// version 2, staged, where version 1 runs. A `generated` value is made by the server, once: for another one declare the secret under
    /// another name, and deploy.
    #[command(
        after_help = "Examples:\n  terreau secret list\n  terreau secret list --app carnet@preproduction --json"
    )]
    List(ConfigListArgs),
    Set(SecretSetArgs),
    /// Give secrets the values of a dotenv file
    ///
    /// Reads lines NAME=VALUE: bare, in single quotes (as it stands, over several lines too), or in double quotes (\n \r \t \" \\
    /// \$ \` \uXXXX are one character each). `$` is never expanded. Names that the file does not have stay as they are.
    #[command(
        after_help = "Examples:\n  terreau secret import secrets.env\n  terreau secret export --app carnet | terreau secret import - --app carnet@preproduction"
    )]
    Import(ConfigImportArgs),
    /// Print the values that people gave as a dotenv file
    ///
    /// What runs is printed: the values that the running release has; with --staged those that the next one gets. Values are shown, and
    /// that they were is written down. `import` reads the same values again, byte for byte.
    #[command(after_help = "Examples:\n  terreau secret export > secrets.env")]
    Export(ConfigExportArgs),
    /// Edit the values that people gave in your editor
    ///
    /// Opens them in $VISUAL or $EDITOR (else sensible-editor, nano or vi, whichever is there), in a file that only you can
    /// read and that is removed afterwards. What was changed is sent, and nothing else; where somebody else changed the same value
    /// meanwhile, nothing is. Without a terminal there is `import`. A line that is deleted changes nothing.
    #[command(after_help = "Examples:\n  EDITOR=nano terreau secret edit --stage")]
    Edit(ConfigEditArgs),
    /// List the versions of secrets: who gave them, and when
    History(SecretHistoryArgs),
}

/// How a change of configuration is carried out.
#[derive(Debug, Clone, Args)]
pub struct HowArgs {
    /// Which app.
    #[command(flatten)]
    pub app: OfApp,
    /// Keep it for the next release instead of making one now
    #[arg(long)]
    pub stage: bool,
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

/// `terreau env list`, `terreau secret list`
#[derive(Debug, Clone, Args)]
pub struct ConfigListArgs {
    /// Which app.
    #[command(flatten)]
    pub app: OfApp,
    /// Show the values, too
    #[arg(long)]
    pub show: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// Set values, by a new release of what runs
///
/// Makes a new release of what runs, with these values: instances are replaced one after the other, and where the new
/// ones do not get healthy the old release goes on, with the old values. A value is at most 32 KiB, of UTF-8, and
/// comes to the process byte for byte. It wins over the descriptor's `env`, and stays through deploys.
///
/// What stands on a command line can be seen by others on this machine: give a secret by --stdin or --file, or declare it as a
/// `secret`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau env set LOG_LEVEL=debug GREETING='good morning'\n  terreau env set MOTD --file motd.txt\n  \
                  terreau env set --stage FEATURE_X=on"
)]
pub struct EnvSetArgs {
    /// What to set; a name alone with --stdin or --file
    #[arg(value_name = "NAME=VALUE", required = true)]
    pub pairs: Vec<String>,
    /// Read the value of the one name from standard input, to its end
    #[arg(long, conflicts_with = "file")]
    pub stdin: bool,
    /// Read the value of the one name from this file, byte for byte
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How.
    #[command(flatten)]
    pub how: HowArgs,
}

/// `terreau env unset`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau env unset LOG_LEVEL\n  terreau env unset --stage GREETING MOTD")]
pub struct EnvUnsetArgs {
    /// What to set no more
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<EnvName>,
    /// How.
    #[command(flatten)]
    pub how: HowArgs,
}

/// Give a secret another value, by a new release of what runs
///
/// The secret is one that the running release declares, of type `user`. Its value comes from a prompt that shows nothing, from
/// standard input or from a file, never from the command line. Makes a new release of what runs, as `terreau env set` does.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau secret set smtp_password\n  terreau secret set api_key --file key.txt\n  \
                  pass show smtp | terreau secret set smtp_password --stdin"
)]
pub struct SecretSetArgs {
    /// Which secret
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A value that does not belong here: taken only so that it is refused without being repeated
    #[arg(value_name = "VALUE", hide = true, value_parser = StringValueParser::new().map(Hidden::new))]
    pub misplaced: Vec<Hidden>,
    /// Read the value from standard input, to its end; one line break at its end is left out
    #[arg(long, conflicts_with = "file")]
    pub stdin: bool,
    /// Read the value from this file, byte for byte
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How.
    #[command(flatten)]
    pub how: HowArgs,
}

/// `terreau env import`, `terreau secret import`
#[derive(Debug, Clone, Args)]
pub struct ConfigImportArgs {
    /// The file; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How.
    #[command(flatten)]
    pub how: HowArgs,
}

/// `terreau env export`, `terreau secret export`
#[derive(Debug, Clone, Args)]
pub struct ConfigExportArgs {
    /// Which app.
    #[command(flatten)]
    pub app: OfApp,
    /// What the next release gets: with what is staged, and without what is staged to go
    #[arg(long)]
    pub staged: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `terreau env edit`, `terreau secret edit`
#[derive(Debug, Clone, Args)]
pub struct ConfigEditArgs {
    /// How.
    #[command(flatten)]
    pub how: HowArgs,
}

/// `terreau env history`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau env history\n  terreau env history LOG_LEVEL")]
pub struct EnvHistoryArgs {
    /// Only this one's versions
    #[arg(value_name = "NAME")]
    pub name: Option<EnvName>,
    /// Which app.
    #[command(flatten)]
    pub app: OfApp,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `terreau secret history`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau secret history smtp_password")]
pub struct SecretHistoryArgs {
    /// Only this one's versions
    #[arg(value_name = "NAME")]
    pub name: Option<SecretName>,
    /// Which app.
    #[command(flatten)]
    pub app: OfApp,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}
