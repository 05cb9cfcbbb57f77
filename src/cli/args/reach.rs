//! `exec`, `run`, `cp`, `proxy`, `open`: reaching into what runs.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::logs::alloc_id;
use super::{AppArg, OfApp};
use crate::model::ProcessName;
use crate::model::names::Placement;
use crate::model::wire::Which;

/// Which instance.
#[derive(Debug, Clone, Args)]
pub struct WhichArgs {
    /// In an instance of this process [default: the descriptor's first]
    #[arg(long, short, value_name = "NAME")]
    pub process: Option<ProcessName>,
    /// In this instance (the first digits of its allocation's id)
    #[arg(long, value_name = "ID", conflicts_with = "process", value_parser = alloc_id)]
    pub alloc: Option<String>,
}

impl WhichArgs {
    /// Whether any instance will do.
    pub fn is_any(&self) -> bool {
        self.process.is_none() && self.alloc.is_none()
    }

    /// As it is sent.
    pub fn which(&self) -> Which {
        Which { process: self.process.as_ref().map(ToString::to_string), alloc: self.alloc.clone() }
    }
}

/// Run a program in a running instance: a shell, where none is named
///
/// It starts in the folder where the app's own program does. Without a command it is a shell. From a terminal the
/// program gets one too, with its size and every key; otherwise its input and output are ours, byte for byte. The exit
/// code is the program's; 125 is our own failure. Ctrl-C without a terminal, and the end of this command in any other
/// way, end the program.
///
/// The audit log keeps who ran a program of which name in which instance; not its arguments, which may hold secrets.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  terreau exec
  terreau exec carnet --process worker -- ps aux
  terreau exec carnet -- sh -c 'cat > import.csv' < import.csv")]
pub struct ExecArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Which instance.
    #[command(flatten)]
    pub which: WhichArgs,
    /// Give the program a terminal, whether there is one here or not
    #[arg(long, short)]
    pub tty: bool,
    /// Give it none
    #[arg(long, conflicts_with = "tty")]
    pub no_tty: bool,
    /// Hand our input on to it (it is so anyway: for those who are used to `-it`)
    #[arg(long = "stdin", short = 'i')]
    pub stdin: bool,
    /// Let it read nothing
    #[arg(long, conflicts_with = "stdin")]
    pub no_stdin: bool,
    /// End it after so long without a byte either way [default: 30m; at most 24h]
    #[arg(long, value_name = "TIME", value_parser = idle)]
    pub idle: Option<Duration>,
    /// The program and its arguments [default: /bin/sh]
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Run a program once, with all that an app's process has
///
/// It runs in an instance of its own, with the environment, secrets, files, volumes and limits of the app's current
/// release, and without its services, routes and restarts. What it writes comes as it does; its exit code is ours, 125
/// is our own failure. Ctrl-C asks it to stop; a second one leaves it to the server, which ends it. At most 10 commands
/// of an app run at once; they end with it when it is deleted.
///
/// What is piped into this command, or read from a file, is what the program reads, byte for byte, to its end; the end
/// of this command alone ends the program, and is no end of its input. From a terminal it reads nothing without
/// `--stdin`, and it never has a terminal itself: for that there is `terreau exec`. A run that reads needs `sh`,
/// `mkfifo` and `cat` in its image.
///
/// The command stands in the job's specification while it runs, where people with access to Nomad can read it: hand
/// secrets over by the app's own secrets.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  terreau run -- ./manage migrate
  terreau run carnet --process worker -- python3 -c 'print(1)'
  terreau run carnet -- sh -c 'wc -l' < import.csv
  terreau run carnet --detach --timeout 2h -- ./reindex")]
pub struct OnceArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// With what this process has [default: the descriptor's first]
    #[arg(long, short, value_name = "NAME")]
    pub process: Option<ProcessName>,
    /// Begin it, print its name, and leave it to itself: `terreau ps` lists it, `terreau stop --run` ends it
    #[arg(long, short)]
    pub detach: bool,
    /// Hand our input on to it also from a terminal
    #[arg(long = "stdin", short = 'i', conflicts_with = "detach")]
    pub stdin: bool,
    /// Let it read nothing: in a loop that reads, for instance
    #[arg(long, conflicts_with = "stdin")]
    pub no_stdin: bool,
    /// Ask it to end after so long [default: 24h; at most 168h]
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub timeout: Option<Duration>,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Copy a file or a folder to or from a running instance
///
/// One of the two paths is APP:PATH, or :PATH for the app of --app, else this folder's. A path that does not begin with
/// / is relative to the folder where the app's program starts, as with `exec`; APP: alone, as TO, is that folder. In the
/// place of the path here `-` is standard output, or standard input: one file. It is copied through `tar` in the instance,
/// as it comes: nothing of it is kept on the way.
///
/// Links in a folder are copied as links, both ways. Of what comes from an instance, a link that leads out of the folder
/// is refused, because it could lead anywhere here; hard links and devices are refused too. Where FROM itself is a link
/// here, what it leads to is copied.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  terreau cp carnet:report.csv .
  terreau cp carnet:report.csv -
  terreau cp ./seed.sql carnet:/tmp/seed.sql
  terreau cp ./seed.sql carnet:
  terreau cp :notes ./notes-there --process worker")]
pub struct CpArgs {
    /// What to copy
    #[arg(value_name = "FROM")]
    pub from: Place,
    /// Where to; into it, where it is a folder
    #[arg(value_name = "TO")]
    pub to: Place,
    /// Which app.
    #[command(flatten)]
    pub app: OfApp,
    /// Which instance.
    #[command(flatten)]
    pub which: WhichArgs,
}

/// A path here or in an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Here.
    Here(String),
    /// In an instance of this app, or of this folder's.
    There(Option<Placement>, String),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        let Some((app, path)) = text.split_once(':') else { return Ok(Self::Here(text.to_owned())) };
        // Where the app's program starts.
        let path = if path.is_empty() { "." } else { path }.to_owned();
        if app.is_empty() {
            return Ok(Self::There(None, path));
        }
        Ok(match app.parse() {
            Ok(app) => Self::There(Some(app), path),
            // A file whose name holds a colon.
            Err(_) => Self::Here(text.to_owned()),
        })
    }
}

/// Reach a port of a running instance from this machine
///
/// Listens on 127.0.0.1 and carries each connection to one port of one instance, through the server. It prints the
/// address that it listens at, and goes on until Ctrl-C.
///
/// The audit log keeps who has reached which port of which instance: one entry for each use of this command in an hour,
/// whatever the number of connections.
#[derive(Debug, Clone, Args)]
#[command(
    allow_missing_positional = true,
    after_help = "Examples:
  terreau proxy http
  terreau proxy carnet 8080:http
  terreau proxy carnet metrics --process worker"
)]
pub struct ProxyArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// The instance's port, by its name in the descriptor or its number; before it the local one [default: any]
    #[arg(value_name = "[LOCAL:]PORT")]
    pub port: PortArg,
    /// Which instance.
    #[command(flatten)]
    pub which: WhichArgs,
    /// End a connection after so long without a byte either way [default: 1h; at most 24h]
    #[arg(long, value_name = "TIME", value_parser = idle)]
    pub idle: Option<Duration>,
    /// Print the address as JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `[LOCAL:]PORT`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortArg {
    /// The local port; 0: any.
    pub local: u16,
    /// The instance's.
    pub remote: String,
}

impl FromStr for PortArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (local, remote) = match text.split_once(':') {
            None => (0, text),
            Some((local, remote)) => {
                (local.parse().map_err(|_| format!("{local:?} is no port number"))?, remote)
            }
        };
        if remote.is_empty() || remote.len() > 64 {
            return Err("must name a port, as in 8080:http".to_owned());
        }
        Ok(Self { local, remote: remote.to_owned() })
    }
}

/// `terreau open`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  terreau open
  terreau open carnet@preproduction --print")]
pub struct OpenArgs {
    /// Which app.
    #[command(flatten)]
    pub app: AppArg,
    /// Print the address only
    #[arg(long)]
    pub print: bool,
    /// Print it as JSON for programs
    #[arg(long)]
    pub json: bool,
}

fn idle(text: &str) -> Result<Duration, String> {
    time(text, 24)
}

fn timeout(text: &str) -> Result<Duration, String> {
    time(text, 168)
}

fn time(text: &str, hours: u64) -> Result<Duration, String> {
    let cut = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(cut);
    let wanted = || "must be a number and one of s, m, h: 30m".to_owned();
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(wanted()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(wanted)?;
    if (1..=hours * 3_600).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(format!("must be between 1s and {hours}h"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_here_or_in_an_instance() {
        let there = |app: &str, path: &str| Ok(Place::There(Some(app.parse().unwrap()), path.to_owned()));
        assert_eq!("carnet:/tmp/x".parse(), there("carnet", "/tmp/x"));
        assert_eq!("carnet@test:a:b".parse(), there("carnet@test", "a:b"));
        assert_eq!(":x".parse(), Ok(Place::There(None, "x".to_owned())));
        assert_eq!("./a:b".parse(), Ok(Place::Here("./a:b".to_owned())));
        assert_eq!("x".parse(), Ok(Place::Here("x".to_owned())));
        assert_eq!("carnet:".parse(), there("carnet", "."));
        assert_eq!(":".parse(), Ok(Place::There(None, ".".to_owned())));
        assert!("".parse::<Place>().is_err());
    }

    #[test]
    fn a_port_may_have_a_local_one_before_it() {
        assert_eq!("http".parse(), Ok(PortArg { local: 0, remote: "http".into() }));
        assert_eq!("80:http".parse(), Ok(PortArg { local: 80, remote: "http".into() }));
        for bad in ["", "80:", "x:http", "70000:http"] {
            assert!(bad.parse::<PortArg>().is_err(), "{bad}");
        }
        assert_eq!(idle("30m").unwrap().as_secs(), 1_800);
        for bad in ["", "0s", "25h", "10", "1d"] {
            assert!(idle(bad).is_err(), "{bad}");
        }
    }
}
