//! `terreau agent`: the server itself. Reads its configuration and serves until it is told to stop.

use std::process::ExitCode;

use super::args::AgentArgs;
use super::failure::Failure;
use crate::agent::{self, Config, Sources, config};

/// Runs the agent. A wrong configuration is told whole, and nothing is started.
pub(super) fn run(args: AgentArgs) -> Result<ExitCode, Failure> {
    let file = args.config.or_else(|| Some(config::default_file()).filter(|f| f.exists()));
    let config = Config::load(&Sources::of_process(file, args.set))?;
    super::serving(async {
        agent::run(config).await?;
        Ok(ExitCode::SUCCESS)
    })
}

impl From<agent::ConfigError> for Failure {
    fn from(e: agent::ConfigError) -> Self {
        let failure = Self::failed("the agent's configuration is wrong; nothing was started");
        e.0.iter().fold(failure, |failure, fault| failure.detail(fault.to_string()))
    }
}
