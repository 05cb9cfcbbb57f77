//! The command line of an app's history and surroundings: diff, release, graph.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{AppArg, FileArg, TurnArgs};
use crate::model::names::Placement;

/// Show what differs between releases, or in this folder
///
/// Without a release: from what runs to what a deploy of this folder would make. With one: from it to what runs. With
/// two: from the first to the second. Never shows a secret's value.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau diff\n  terreau diff 3\n  terreau diff 3 5 --job\n  terreau diff 2 --app carnet@preproduction"
)]
pub struct DiffArgs {
    /// From this release
    #[arg(value_name = "FROM", value_parser = super::release)]
    pub from: Option<u64>,
    /// To this release
    #[arg(value_name = "TO", value_parser = super::release)]
    pub to: Option<u64>,
    /// The app [default: the project of the terreau.hcl in this folder or above it]
    #[arg(long, short, value_name = "APP[@ENV]")]
    pub app: Option<Placement>,
    /// Where the descriptor is.
    #[command(flatten)]
    pub file: FileArg,
    /// Also compare the rendered Nomad jobs, line by line
    #[arg(long)]
    pub job: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// Draw apps, what they are made of, and what they need
///
/// Hosts, apps, processes, the services that they are and need, buckets, engines and nodes: what depends on what is said
/// by the descriptors, what is there now by Consul. Mermaid stands in Markdown as it is; the picture needs no program.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("app", |a| a.help("Only of this app [default: every app that you may see]")),
    after_help = "Examples:\n  terreau graph\n  terreau graph carnet --format svg > carnet.svg\n  terreau graph --format json"
)]
pub struct GraphArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// How it is drawn
    #[arg(long, value_enum, default_value_t = GraphFormat::Mermaid)]
    pub format: GraphFormat,
    /// Print JSON for programs (as --format json)
    #[arg(long)]
    pub json: bool,
}

/// How a graph is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum GraphFormat {
    /// Mermaid's flowchart.
    Mermaid,
    /// A picture.
    Svg,
    /// Nodes and edges.
    Json,
}

/// `terreau release`
#[derive(Debug, Clone, Subcommand)]
pub enum ReleaseCommand {
    /// Print a release as a file: its descriptor and what it was rendered with
    ///
    /// The file holds no secret, and names the artifact by its hashes: bringing it in needs the artifact where the app
    /// keeps it.
    #[command(
        after_help = "Examples:\n  terreau release export > carnet.json\n  terreau release export 3 > carnet-3.json"
    )]
    Export(ReleaseExportArgs),
    /// Verify a release in a file, compare it with what runs, and deploy it with --deploy
    ///
    /// Its hashes must hold, and it must render to the very same job. A file of another project is refused. Configuration comes
    /// with it where it is the app's own, and from another environment of the project its content alone; credentials and the cluster's settings are those of here, and settings that differ are named. With --deploy, what it changes
    /// and takes away is said first, as `terreau release import` without it says; like `terreau deploy`, it asks for no confirmation.
    #[command(
        after_help = "Examples:\n  terreau release import carnet-3.json\n  terreau release import carnet-3.json --deploy"
    )]
    Import(ReleaseImportArgs),
}

/// `terreau release export`
#[derive(Debug, Clone, Args)]
pub struct ReleaseExportArgs {
    /// Which release [default: the one that runs]
    #[arg(value_name = "RELEASE", value_parser = super::release)]
    pub number: Option<u64>,
    /// The app [default: the project of the terreau.hcl in this folder or above it]
    #[arg(long, short, value_name = "APP[@ENV]")]
    pub app: Option<Placement>,
}

/// `terreau release import`
#[derive(Debug, Clone, Args)]
pub struct ReleaseImportArgs {
    /// The file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The app [default: the project of the terreau.hcl in this folder or above it]
    #[arg(long, short, value_name = "APP[@ENV]")]
    pub app: Option<Placement>,
    /// Make it the app's next release
    #[arg(long)]
    pub deploy: bool,
    /// Why, for the list of releases [default: what the file says]
    #[arg(long, short, value_name = "TEXT")]
    pub message: Option<String>,
    /// Whether it waits for its turn.
    #[command(flatten)]
    pub turn: TurnArgs,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}
