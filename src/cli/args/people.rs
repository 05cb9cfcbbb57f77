//! The command line of where and who: servers, tokens, projects, owners, users.

use clap::{Args, Subcommand};

use super::{OfApp, TurnArgs};
use crate::access::{LONGEST_TOKEN, SHORTEST_TOKEN};
use crate::model::names::{Login, Placement};
use crate::model::project::Owner;

/// `terreau server`
#[derive(Debug, Clone, Subcommand)]
pub enum ServerCommand {
    /// List the servers that you are logged in to, and the one that is meant when none is named
    #[command(after_help = "Examples:\n  terreau server list\n  terreau server list --json")]
    List(super::JsonArgs),
    /// Mean another server from now on
    #[command(after_help = "Examples:\n  terreau server use terreau.example.org")]
    Use(ServerArg),
    /// Log out of a server and forget it
    #[command(after_help = "Examples:\n  terreau server remove terreau.example.org")]
    Remove(ServerArg),
}

/// A saved server.
#[derive(Debug, Clone, Args)]
pub struct ServerArg {
    /// Its URL, or a part of it that no other saved server has
    #[arg(value_name = "SERVER")]
    pub which: String,
}

/// `terreau tokens`
#[derive(Debug, Clone, Subcommand)]
#[allow(missing_docs)] // A comment on a variant would hide the arguments' own, which is the command's help.
pub enum TokensCommand {
    Create(TokenCreateArgs),
    /// List your tokens
    #[command(after_help = "Examples:\n  terreau tokens list\n  terreau tokens list --all --json")]
    List(TokenListArgs),
    /// End a token, at once and everywhere
    Revoke(TokenRevokeArgs),
}

/// Make a token for a program, and print it: once
///
/// A program uses it by TERREAU_TOKEN, together with TERREAU_SERVER (or --server). It may do what it is for, on the apps that it is for, as
/// long as you may yourself: it ends with your account, and when you change your password. It can make no other tokens.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau tokens create ci --app carnet --verb deploy --expires 90d\n  \
                  terreau tokens create watch --app carnet --app carnet@preproduction --verb read --verb logs")]
pub struct TokenCreateArgs {
    /// What it is called in lists
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What app it is for; several times for several
    #[arg(long, short, value_name = "APP[@ENV]", required = true)]
    pub app: Vec<Placement>,
    /// What it may do; several times for several: read (status, ps, releases, events), logs, deploy (with plan and upload),
    /// rollback, run (start, stop, restart, scale, maintenance), exec (exec, run, cp), connect (proxy), configure (set env and
    /// secrets), reveal (see their values), cancel (operations), transfer (owners), notify (hook), delete, deleteData (delete
    /// --with-data), rawJob. Each may read, too
    #[arg(long, value_name = "VERB", required = true)]
    pub verb: Vec<String>,
    /// When it ends, from now: 90m, 12h, 30d, 26w; at most a year (366d)
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = seconds)]
    pub expires: u64,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// A span as people write it, in seconds; the server says the same of its bounds.
fn seconds(text: &str) -> Result<u64, String> {
    let (least, most) = (SHORTEST_TOKEN.as_secs(), LONGEST_TOKEN.as_secs());
    let wanted = format!(
        "wanted is a whole number with its unit, m (minutes), h (hours), d (days) or w (weeks), as 90m, 12h, 30d, 26w: at least \
         {}m, at most {}d",
        least / 60,
        most / 86_400
    );
    let unit = match text.chars().last() {
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        Some('w') => 7 * 86_400,
        _ => return Err(wanted),
    };
    let number = text.get(..text.len() - 1).and_then(|n| n.parse::<u64>().ok());
    number.and_then(|n| n.checked_mul(unit)).filter(|s| (least..=most).contains(s)).ok_or(wanted)
}

/// `terreau tokens list`
#[derive(Debug, Clone, Args)]
pub struct TokenListArgs {
    /// Everybody's (admins)
    #[arg(long)]
    pub all: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `terreau tokens revoke`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau tokens revoke ci\n  terreau tokens revoke 3f9a")]
pub struct TokenRevokeArgs {
    /// Its name, its id, or the beginning of that (4 characters at least); a name that several of yours have is refused, with their ids
    #[arg(value_name = "NAME|ID")]
    pub id: String,
}

/// `terreau projects`
#[derive(Debug, Clone, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  terreau projects\n  terreau projects transfer carnet --to group:gardeners"
)]
pub struct ProjectsArgs {
    /// What to do; without, the projects are listed.
    #[command(subcommand)]
    pub command: Option<ProjectsCommand>,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// What is done with projects.
#[derive(Debug, Clone, Subcommand)]
#[allow(missing_docs)] // A comment on a variant would hide the arguments' own, which is the command's help.
pub enum ProjectsCommand {
    /// List them, as without a word
    #[command(hide = true, alias = "ls")]
    List(super::JsonArgs),
    Transfer(TransferArgs),
}

/// Hand an app over: its owner is somebody else, alone
///
/// Where the descriptor names owners it wins at the next deploy: a transfer is refused then, and `owners` is to be changed there.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  terreau projects transfer carnet --to alice")]
pub struct TransferArgs {
    /// Which app.
    #[command(flatten)]
    pub app: super::AppArg,
    /// Whose it will be: a login, or group:NAME
    #[arg(long, value_name = "OWNER")]
    pub to: Owner,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Whether it waits for its turn.
    #[command(flatten)]
    pub turn: TurnArgs,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `terreau owners`
#[derive(Debug, Clone, Subcommand)]
pub enum OwnersCommand {
    /// List who owns an app
    #[command(after_help = "Examples:\n  terreau owners list\n  terreau owners list carnet --json")]
    List(OwnersListArgs),
    /// Let somebody own an app too
    ///
    /// Owners may do everything with an app but raw job parts.
    #[command(after_help = "Examples:\n  terreau owners add alice group:gardeners")]
    Add(OwnersChangeArgs),
    /// Let somebody own an app no more
    ///
    /// The last one cannot be removed: hand the app over with `terreau projects transfer`.
    #[command(after_help = "Examples:\n  terreau owners remove alice --app carnet@preproduction")]
    Remove(OwnersChangeArgs),
}

/// `terreau owners list`
#[derive(Debug, Clone, Args)]
pub struct OwnersListArgs {
    /// Which app.
    #[command(flatten)]
    pub app: super::AppArg,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `terreau owners add`, `terreau owners remove`
#[derive(Debug, Clone, Args)]
pub struct OwnersChangeArgs {
    /// Who: logins, and groups as group:NAME
    #[arg(value_name = "OWNER", required = true)]
    pub owners: Vec<Owner>,
    /// Which app.
    #[command(flatten)]
    pub app: OfApp,
    /// Whether it waits for its turn.
    #[command(flatten)]
    pub turn: TurnArgs,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `terreau users`
#[derive(Debug, Clone, Subcommand)]
#[allow(missing_docs)] // A comment on a variant would hide the arguments' own, which is the command's help.
pub enum UsersCommand {
    /// List the people of the directory, their groups and their apps (admins)
    #[command(after_help = "Examples:\n  terreau users list\n  terreau users list --json")]
    List(super::JsonArgs),
    /// Show one of them (admins)
    #[command(after_help = "Examples:\n  terreau users show alice")]
    Show(UserArgs),
    Remove(UserRemoveArgs),
}

/// Somebody.
#[derive(Debug, Clone, Args)]
pub struct UserArgs {
    /// Their login
    #[arg(value_name = "USER")]
    pub user: Login,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// Remove somebody: their sessions, their access, and what is theirs (admins)
///
/// Takes them out of the group of those who may log in, where the server's configuration names one; else their entry is deleted from the
/// directory. Every session and token of theirs ends. Refused, with the list, while they alone own apps. What was cut off half-way is
/// completed by the same command.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  terreau users remove alice\n  terreau users remove alice --transfer-to bob\n  terreau users remove alice --cascade"
)]
pub struct UserRemoveArgs {
    /// Their login
    #[arg(value_name = "USER")]
    pub user: Login,
    /// Hand the apps that are theirs alone to this login, or group:NAME
    #[arg(long, value_name = "OWNER")]
    pub transfer_to: Option<Owner>,
    /// Delete the apps that are theirs alone, with their data
    #[arg(long, conflicts_with = "transfer_to")]
    pub cascade: bool,
    /// Do not ask for the login
    #[arg(long, short)]
    pub yes: bool,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_with_a_unit() {
        assert_eq!(seconds("30d"), Ok(2_592_000));
        assert_eq!(seconds("90m"), Ok(5_400));
        assert_eq!((seconds("1m"), seconds("366d").is_ok()), (Ok(60), true));
        for bad in ["", "d", "30", "-1d", "1s", "1y", "2y", "0m", "367d", "53w", "é", "99999999999999999999d"]
        {
            let why = seconds(bad).unwrap_err();
            assert!(why.contains("w (weeks)") && why.contains("at least 1m, at most 366d"), "{bad}: {why}");
        }
    }
}
