//! The command line: a file per command. Speaks HTTP to the API, except for the local commands.

#[cfg(feature = "sandbox")]
pub mod sandbox;

use std::process::ExitCode;

use clap::Parser;

/// What may stand on the command line.
#[derive(Debug, Parser)]
#[command(name = "terreau", version, about)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[cfg(feature = "sandbox")]
    #[command(hide = true)]
    Sandbox(sandbox::SandboxArgs),
    #[cfg(feature = "sandbox")]
    #[command(hide = true)]
    Proxy(sandbox::ProxyArgs),
    #[cfg(feature = "sandbox")]
    #[command(hide = true)]
    Guard(sandbox::GuardArgs),
}

/// Reads the command line and runs what it says.
pub async fn run() -> anyhow::Result<ExitCode> {
    match Line::parse().command {
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => sandbox::run_sandbox(args).await,
        #[cfg(feature = "sandbox")]
        Command::Proxy(args) => sandbox::run_proxy(args).await,
        #[cfg(feature = "sandbox")]
        Command::Guard(args) => sandbox::run_guard(args).await,
    }
}
