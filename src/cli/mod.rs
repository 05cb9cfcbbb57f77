//! The command line: a file per command. Speaks HTTP to the API, except for the local commands; decides nothing that
//! the server decides. Only [`printer`] writes to the terminal.

pub mod args;
mod audit;
pub mod client;
pub mod context;
#[cfg(feature = "sandbox")]
pub mod dev;
pub mod exit;
pub mod failure;
pub mod printer;
pub mod reference;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod server;
pub mod session;
pub mod shapes;
pub mod sse;

mod agent;
mod commit;
mod completions;
mod config;
mod cp;
mod delete;
mod deploy;
mod diff;
mod doctor;
mod dotenv;
mod drift;
mod events;
mod exec;
mod follow;
mod graph;
mod hidden;
mod hook;
mod init;
mod local;
mod login;
mod logout;
mod logs;
mod loops;
mod maintenance;
mod open;
mod operations;
mod people;
mod plan;
mod plan_words;
mod private;
mod programs;
mod proxy;
mod ps;
mod release;
mod releases;
mod render;
mod rollback;
mod scale;
mod servers;
mod site;
mod status;
mod suggest;
mod terminal;
mod tokens;
mod top;
mod tunnel;
mod turn;
mod unpack;
mod upload;
mod validate;
mod whoami;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::{Command, Line};
use context::Context;
use exit::ExitStatus;
use failure::Failure;
use printer::{Printer, Talk};

/// Reads the process's command line and does what it says.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Reads a command line and does what it says.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    completions::answer();
    let args: Vec<OsString> = args.into_iter().collect();
    let line = match Line::try_parse_from(&args) {
        Ok(line) => line,
        Err(mut e) => {
            let hint = suggest::hint(&args, &mut e);
            suggest::plain_usage(&args, &mut e);
            // Help and version go to stdout and are no error; clap knows which is which.
            let _ = e.print();
            if let Some(hint) = hint {
                Printer::new(Talk::Normal).hint(hint);
            }
            return if e.use_stderr() { ExitStatus::Usage } else { ExitStatus::Done }.into();
        }
    };
    let printer = Printer::new(if line.global.quiet { Talk::Quiet } else { Talk::Normal });
    let context = Context::new(printer, line.global);
    dispatch(line.command, &context).unwrap_or_else(|failure| {
        printer.failure(&failure);
        failure.status.into()
    })
}

fn dispatch(command: Command, cx: &Context) -> Result<ExitCode, Failure> {
    match command {
        Command::Login(args) => login::run(&args, cx),
        Command::Logout => logout::run(cx),
        Command::Whoami(args) => whoami::run(&args, cx),
        Command::Init(args) => init::run(&args, cx),
        Command::Validate(args) => validate::run(&args, cx),
        Command::Render(args) => render::run(&args, cx),
        Command::Plan(args) => plan::run(&args, cx),
        Command::Deploy(args) => deploy::run(&args, cx),
        Command::Delete(args) => delete::run(&args, cx),
        Command::Status(args) => status::run(&args, cx),
        Command::List(args) => status::list(args, cx),
        Command::Logs(args) => logs::run(&args, cx),
        Command::Exec(args) => return exec::exec(&args, cx),
        Command::Run(args) => return exec::run(&args, cx),
        Command::Cp(args) => cp::run(&args, cx),
        Command::Proxy(args) => proxy::run(&args, cx),
        Command::Open(args) => open::run(&args, cx),
        Command::Releases(args) => releases::run(&args, cx),
        Command::Release(command) => release::run(&command, cx),
        Command::Diff(args) => diff::run(&args, cx),
        Command::Rollback(args) => rollback::run(&args, cx),
        Command::Ps(args) => ps::run(&args, cx),
        Command::Top(args) => top::run(&args, cx),
        Command::Events(args) => events::run(&args, cx),
        Command::Start(args) => scale::start(&args, cx),
        Command::Stop(args) => scale::stop(&args, cx),
        Command::Restart(args) => scale::restart(&args, cx),
        Command::Scale(args) => scale::scale(&args, cx),
        Command::Maintenance(command) => maintenance::run(&command, cx),
        Command::Graph(args) => graph::run(&args, cx),
        Command::Server(command) => servers::run(&command, cx),
        Command::Tokens(command) => tokens::run(&command, cx),
        Command::Projects(args) => people::projects(&args, cx),
        Command::Owners(command) => people::owners(&command, cx),
        Command::Users(command) => people::users(&command, cx),
        Command::Env(command) => config::env(&command, cx),
        Command::Secret(command) => config::secret(&command, cx),
        Command::Hook(command) => hook::run(&command, cx),
        Command::Operations(command) => operations::run(&command, cx),
        Command::Drift(args) => drift::run(&args, cx),
        Command::Doctor(args) => doctor::run(&args, cx),
        Command::Loops(args) => loops::run(&args, cx),
        Command::Audit(command) => audit::run(&command, cx),
        Command::Completions(args) => completions::run(&args, cx),
        Command::Man(args) => completions::man(&args, cx),
        #[cfg(feature = "sandbox")]
        Command::Dev(args) => return serving(dev::run(args)),
        Command::Agent(args) => return agent::run(args),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => return serving(sandbox::run_sandbox(args)),
        #[cfg(feature = "sandbox")]
        Command::DevProxy(args) => return serving(sandbox::run_proxy(args)),
        #[cfg(feature = "sandbox")]
        Command::Guard(args) => return serving(sandbox::run_guard(args)),
    }
    .map(ExitCode::from)
}

/// Runs a command that waits for a server: on this very thread.
fn waiting<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed("cannot start").because(e.to_string()))?
        .block_on(work)
}

/// Runs a command that serves: on as many threads as there are cores.
fn serving(work: impl Future<Output = anyhow::Result<ExitCode>>) -> Result<ExitCode, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed("cannot start").because(e.to_string()))?
        .block_on(work)
        .map_err(Failure::from)
}
