//! What may stand on the command line, as types, apart from what the commands do. The texts here are the manual:
//! help, `docs/cli.md` and completions are all made of them.

mod app;
mod audit;
mod changes;
mod config;
mod doctor;
mod drift;
mod history;
mod hook;
mod logs;
mod look;
mod loops;
mod operations;
mod people;
mod reach;
mod run;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use app::{AppArg, OfApp, one_of};
pub use audit::{AuditCommand, AuditListArgs, AuditVerifyArgs};
pub use changes::{DeleteArgs, DeployArgs, PlanArgs, RollbackArgs};
pub use config::{
    ConfigEditArgs, ConfigExportArgs, ConfigImportArgs, ConfigListArgs, EnvCommand, EnvSetArgs, EnvUnsetArgs,
    HowArgs, SecretCommand, SecretSetArgs,
};
pub use doctor::DoctorArgs;
pub use drift::DriftArgs;
pub use history::{DiffArgs, GraphArgs, GraphFormat, ReleaseCommand, ReleaseExportArgs, ReleaseImportArgs};
pub use hook::{HookAddArgs, HookCommand, HookIdArgs, HookListArgs, HookTestArgs};
pub use logs::{LogsArgs, Stream};
pub use look::{EventsArgs, PsArgs, TopArgs};
pub use loops::LoopsArgs;
pub use operations::{AbandonArgs, OperationArgs, OperationsCommand, OperationsListArgs, WhichOperation};
pub use people::{
    OwnersCommand, ProjectsArgs, ProjectsCommand, ServerCommand, TokensCommand, UserRemoveArgs, UsersCommand,
};
pub use reach::{CpArgs, ExecArgs, OnceArgs, OpenArgs, Place, PortArg, ProxyArgs, WhichArgs};
pub use run::{
    Count, MaintenanceCommand, MaintenanceOffArgs, MaintenanceOnArgs, RestartArgs, RunArgs, ScaleArgs,
    StopArgs, Word,
};

use super::server::Server;

/// Puts apps online on your own cluster of Nomad, Consul, LDAP and Garage.
#[derive(Debug, Parser)]
#[command(
    name = "terreau",
    version,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Wherever an app can be named, --app APP[@ENV] names it; without it the folder's own is meant.\n\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not logged in, 4 not allowed, 5 conflict, \
                  6 not found, 7 server or engine away, 10 a plan has changes, 125 our own failure \
                  where run and exec return the program's."
)]
pub struct Line {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What every command knows.
    #[command(flatten)]
    pub global: Global,
}

/// What every command knows.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The server to talk to [default: the one of the last login]
    #[arg(long, global = true, value_name = "URL", env = "TERREAU_SERVER", hide_env_values = true)]
    pub server: Option<Server>,
    /// Where the session file lies [default: $XDG_CONFIG_HOME/terreau]
    #[arg(long, global = true, value_name = "DIR", env = "TERREAU_CONFIG_DIR", hide_env_values = true)]
    pub config_dir: Option<PathBuf>,
    /// Only data and errors; no progress, no messages
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)] // A comment on a variant would hide the arguments' own, which is the command's help.
pub enum Command {
    Login(LoginArgs),
    /// End the session, on the server and here
    #[command(after_help = "Examples:\n  terreau logout")]
    Logout,
    /// Show who is logged in, where, and for how long
    #[command(after_help = "Examples:\n  terreau whoami\n  terreau whoami --json")]
    Whoami(JsonArgs),
    /// Write a terreau.hcl for what is in this folder
    Init(InitArgs),
    /// Check a terreau.hcl: every fault, with its line
    Validate(ValidateArgs),
    Render(RenderArgs),
    Plan(PlanArgs),
    Deploy(DeployArgs),
    #[command(alias = "destroy")]
    Delete(DeleteArgs),
    /// Show what apps are doing
    #[command(
        after_help = "Examples:\n  terreau status\n  terreau status --all\n  terreau status carnet\n  terreau status carnet@preproduction --json"
    )]
    Status(StatusArgs),
    /// List apps: `status`, of all of them where none is named, in a project's folder too
    #[command(name = "ls", alias = "list", hide = true)]
    List(StatusArgs),
    #[command(alias = "log")]
    Logs(LogsArgs),
    #[command(aliases = ["ssh", "shell", "console"])]
    Exec(ExecArgs),
    Run(OnceArgs),
    Cp(CpArgs),
    Proxy(ProxyArgs),
    /// Open an app's address in a browser
    Open(OpenArgs),
    /// List an app's releases
    #[command(after_help = "Examples:\n  terreau releases\n  terreau releases carnet --json")]
    Releases(AppJsonArgs),
    /// Take a release out as a file, or bring one in
    #[command(subcommand)]
    Release(ReleaseCommand),
    Diff(DiffArgs),
    Rollback(RollbackArgs),
    Ps(PsArgs),
    Top(TopArgs),
    Events(EventsArgs),
    #[command(after_help = "Examples:\n  terreau start\n  terreau start carnet@preproduction --detach")]
    Start(RunArgs),
    Stop(StopArgs),
    Restart(RestartArgs),
    Scale(ScaleArgs),
    /// Put a page in the place of an app, and take it away again
    #[command(subcommand)]
    Maintenance(MaintenanceCommand),
    Graph(GraphArgs),
    /// List and choose the servers that you are logged in to
    #[command(subcommand, alias = "servers")]
    Server(ServerCommand),
    /// Make and end tokens for programs
    #[command(subcommand, alias = "token")]
    Tokens(TokensCommand),
    /// List the projects that you may see, with their owners
    #[command(alias = "apps")]
    Projects(ProjectsArgs),
    /// List and change who owns an app
    #[command(subcommand, alias = "owner")]
    Owners(OwnersCommand),
    /// List and remove people (admins)
    #[command(subcommand, alias = "user")]
    Users(UsersCommand),
    /// Set what an app finds in its environment
    #[command(subcommand)]
    Env(EnvCommand),
    /// Give the secrets of an app their values
    #[command(subcommand, alias = "secrets")]
    Secret(SecretCommand),
    /// Have others told of what happens to an app
    #[command(subcommand, alias = "hooks")]
    Hook(HookCommand),
    /// List, follow and cancel changes
    #[command(subcommand, aliases = ["ops", "op", "operation"])]
    Operations(OperationsCommand),
    Drift(DriftArgs),
    Doctor(DoctorArgs),
    Loops(LoopsArgs),
    /// Read the log of every change, and look whether it is whole (admins)
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages into a folder
    Man(ManArgs),
    #[cfg(feature = "sandbox")]
    Dev(super::dev::DevArgs),
    /// Run the server (on the cluster; `terreau dev` starts one by itself)
    Agent(AgentArgs),
    /// Run the embedded engines (started by `terreau dev`)
    #[cfg(feature = "sandbox")]
    #[command(hide = true)]
    Sandbox(super::sandbox::SandboxArgs),
    /// Run the development proxy (started by `terreau dev`)
    #[cfg(feature = "sandbox")]
    #[command(hide = true)]
    DevProxy(super::sandbox::ProxyArgs),
    /// End a test's stack when standard input ends
    #[cfg(feature = "sandbox")]
    #[command(hide = true)]
    Guard(super::sandbox::GuardArgs),
}

/// `--json` alone.
#[derive(Debug, Clone, Args)]
pub struct JsonArgs {
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// Whether a change waits for its turn.
#[derive(Debug, Clone, Copy, Args)]
pub struct TurnArgs {
    /// If somebody else is changing the app, fail at once (exit code 5) instead of waiting for them
    #[arg(long)]
    pub no_wait: bool,
}

/// An app and `--json`.
#[derive(Debug, Clone, Args)]
pub struct AppJsonArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `terreau status`
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Every app that you may see, also in a project's folder
    #[arg(long, conflicts_with_all = ["app", "app_option"])]
    pub all: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// Where the descriptor is.
#[derive(Debug, Clone, Args)]
pub struct FileArg {
    /// The descriptor [default: terreau.hcl in this folder or above it]
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Log in with your directory account
///
/// Who you are is asked for on a terminal, where --user does not say it. The password comes from a prompt or from standard
/// input, never from the command line or the environment.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau login --server https://terreau.example.org --user alice\n  pass show terreau | terreau login --server https://terreau.example.org --user alice --password-stdin"
)]
pub struct LoginArgs {
    /// Your login in the directory [default: asked for on a terminal]
    #[arg(long, short, value_name = "NAME")]
    pub user: Option<String>,
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Send the password over plain HTTP to another machine (only where the network itself is encrypted)
    #[arg(long)]
    pub allow_plain_http: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `terreau init`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau init\n  terreau init carnet --dir ./carnet")]
pub struct InitArgs {
    /// The project's name [default: the folder's]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// The folder
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// `terreau validate`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau validate\n  terreau validate carnet/terreau.hcl --json")]
pub struct ValidateArgs {
    /// The descriptor, as by --file
    #[arg(value_name = "FILE", conflicts_with = "file")]
    pub path: Option<PathBuf>,
    /// Where the descriptor is.
    #[command(flatten)]
    pub file: FileArg,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// Print the Nomad job that a terreau.hcl becomes, without any server
///
/// Works offline: what only a cluster knows is a placeholder, named in a first comment.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau render\n  terreau render --json > job.json\n  terreau render --environment preproduction"
)]
pub struct RenderArgs {
    /// Where the descriptor is.
    #[command(flatten)]
    pub file: FileArg,
    /// Print the job as Nomad's API takes it, not as HCL
    #[arg(long)]
    pub json: bool,
    /// Settings of the cluster (TOML) [default: those of an ordinary cluster]
    #[arg(long, value_name = "FILE")]
    pub cluster: Option<PathBuf>,
    /// Render for this environment
    #[arg(long, short, value_name = "ENV")]
    pub environment: Option<crate::model::EnvironmentName>,
}

/// `terreau completions`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau completions bash >> ~/.bashrc\n  terreau completions zsh >> ~/.zshrc"
)]
pub struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `terreau man`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau man ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Where: `terreau man ~/.local/share/man/man1`, then `man terreau-deploy`
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// `terreau agent`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau agent --config /etc/terreau/agent.toml\n  terreau agent --config /etc/terreau/agent.toml --set log.level=debug"
)]
pub struct AgentArgs {
    /// The agent's configuration (TOML)
    #[arg(long, value_name = "FILE", env = "TERREAU_AGENT_CONFIG")]
    pub config: Option<PathBuf>,
    /// A setting that wins over the file and the environment: listen=127.0.0.1:3990
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
}

/// `key=value` of `--set`.
fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE, as listen=127.0.0.1:3990")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// A whole number within bounds, refused in words.
fn number<T>(least: T, most: T) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static + use<T>
where
    T: std::str::FromStr + std::fmt::Display + PartialOrd + Copy + Send + Sync + 'static,
{
    move |text| match text.parse::<T>() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        Ok(_) => Err(format!("must be {least} to {most}")),
        Err(_) => Err("must be a number, as 20".to_owned()),
    }
}

/// The number of a release, also as `v3`.
fn release(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let number = digits.parse().ok().filter(|n| *n > 0);
    number.ok_or_else(|| "must be the number of a release, as 3: `terreau releases` lists them".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn a_number_is_one_and_a_release_may_have_its_v() {
        assert_eq!((release("3"), release("v3"), release("V3")), (Ok(3), Ok(3), Ok(3)));
        for bad in ["", "v", "0", "v0", "vv3", "-1", "last"] {
            assert!(release(bad).is_err(), "{bad}");
        }
        let few = number(1_u64, 200);
        assert_eq!(few("200"), Ok(200));
        assert_eq!(few("x"), Err("must be a number, as 20".to_owned()));
        assert_eq!(few("0"), Err("must be 1 to 200".to_owned()));
    }

    #[test]
    fn the_command_line_is_consistent() {
        Line::command().debug_assert();
    }
}
