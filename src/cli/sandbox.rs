//! Hidden commands: the processes that `terreau dev` and the tests supervise. People never type them.
//! The embedded Garage needs a runtime of several threads.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::sandbox::{self, guard};

/// `terreau sandbox`: the embedded Garage and directory.
#[derive(Debug, clap::Args)]
pub struct SandboxArgs {
    /// The configuration that `terreau dev` wrote.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// `terreau proxy`: the development proxy.
#[derive(Debug, clap::Args)]
pub struct ProxyArgs {
    /// The configuration that `terreau dev` wrote.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// `terreau guard`: ends a test's stack when its standard input ends.
#[derive(Debug, clap::Args)]
pub struct GuardArgs {
    /// The mark of the stack.
    #[arg(long)]
    mark: String,
    /// The stack's folder, which is removed.
    #[arg(long)]
    dir: PathBuf,
}

/// Runs `terreau sandbox`.
pub async fn run_sandbox(args: SandboxArgs) -> anyhow::Result<ExitCode> {
    let config = read(&args.config)?;
    sandbox::run(config, sandbox::stop_signal()?).await?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `terreau proxy`.
pub async fn run_proxy(args: ProxyArgs) -> anyhow::Result<ExitCode> {
    let config = read(&args.config)?;
    sandbox::proxy::serve(config, sandbox::stop_signal()?).await?;
    Ok(ExitCode::SUCCESS)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    log_to_stderr();
    let text =
        std::fs::read_to_string(path).map_err(|e| anyhow::anyhow!("cannot read {}: {e}", path.display()))?;
    toml::from_str(&text).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))
}

/// Runs `terreau guard`.
pub async fn run_guard(args: GuardArgs) -> anyhow::Result<ExitCode> {
    guard::run(guard::GuardConfig { mark: args.mark, dir: args.dir }).await?;
    Ok(ExitCode::SUCCESS)
}

/// Logs go where the supervisor put our standard error.
pub(super) fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,terreau=info"));
    // A subscriber that stands already (wired by the program's door) is as good.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
