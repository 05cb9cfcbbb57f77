//! Reads the command line, nothing else.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    terreau::cli::run().await
}
