//! `terreau dev`: a whole cluster on this machine, in one folder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::sandbox::dev::{self, DevInfo, DevOptions, DevStatus};

/// Start a whole cluster on this machine, in one folder
///
/// Consul, Nomad, Garage, a directory, the agent and a proxy, on loopback. Without a word it starts them in the
/// background and returns once all are ready. What is deployed here stays until `reset`. Each folder is a cluster of its own,
/// with its own ports and data: where one runs in another folder, this says so and starts another beside it. From a folder
/// below one that has a cluster, that one is meant, as the app is that of the nearest terreau.hcl.
#[derive(Debug, Clone, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  terreau dev\n  terreau dev --json"
)]
pub struct DevArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    place: Place,
    /// Stay in front: log here, and end everything at Ctrl-C
    #[arg(long)]
    foreground: bool,
}

#[derive(Debug, Clone, clap::Args)]
struct Place {
    #[command(flatten)]
    folder: Folder,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, clap::Args)]
struct Folder {
    /// The folder that holds everything [default: .terreau, of the nearest folder upward that has a cluster, else here]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Folder {
    /// The one that is named, else the nearest one upward.
    fn meant(&self) -> anyhow::Result<PathBuf> {
        if let Some(dir) = &self.dir {
            return Ok(dir.clone());
        }
        let here = std::env::current_dir()?;
        let found = dev::nearest(&here);
        Ok(if found.parent() == Some(here.as_path()) { dev::FOLDER.into() } else { found })
    }

    /// Whether the one that is meant was found in a folder above, and named by nobody.
    fn is_found_above(&self, meant: &Path) -> bool {
        self.dir.is_none() && meant != Path::new(dev::FOLDER)
    }
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Verb {
    /// Show what runs, and where
    #[command(after_help = "Examples:\n  terreau dev status\n  terreau dev status --json")]
    Status(Place),
    /// Make another person, who may log in: to try out what they see of your apps
    #[command(after_help = "Examples:\n  terreau dev user robin\n  terreau dev user robin --json")]
    User {
        /// Their login: `a-z`, `0-9`, `.`, `_` and `-`
        #[arg(value_name = "NAME", value_parser = a_login)]
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// End everything; the data stays
    #[command(after_help = "Examples:\n  terreau dev stop")]
    Stop(Folder),
    /// End everything and forget the data, once you have said yes
    #[command(after_help = "Examples:\n  terreau dev reset\n  terreau dev reset --yes")]
    Reset {
        #[command(flatten)]
        folder: Folder,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Runs the command.
pub async fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    match args.verb {
        None if args.foreground => foreground(&args.place.folder.meant()?).await,
        None => start(&args.place).await,
        Some(Verb::Status(place)) => status(&place).await,
        Some(Verb::User { name, place }) => {
            let info = dev::person(&place.folder.meant()?, &name).await?;
            say(&if place.json { serde_json::to_string_pretty(&info)? } else { login(&info) })?;
            if !place.json {
                say(
                    "\nThat replaces your own session with this server; with `--config-dir DIR` theirs stands beside it.",
                )?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Verb::Stop(place)) => {
            let dir = place.meant()?;
            if dev::stop(&dir).await? == dev::Stopped::Nothing {
                let others = dev::status(&dir).await?.elsewhere;
                let at: Vec<String> = others.iter().map(|d| d.display().to_string()).collect();
                let more =
                    if at.is_empty() { String::new() } else { format!("; one runs in {}", at.join(", ")) };
                say(&format!("there is no cluster in {}{more}", dir.display()))?;
                return Ok(ExitCode::SUCCESS);
            }
            let (shown, option) = (dir.display(), dir_option(&dir));
            say(&format!(
                "stopped the cluster in {shown}; `terreau dev{option}` starts it again with its data"
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Verb::Reset { folder, yes }) => {
            let dir = folder.meant()?;
            let shown = dir.display();
            if yes && folder.is_found_above(&dir) {
                anyhow::bail!(
                    "nothing was forgotten: the cluster is in {shown}, above this folder; with --yes, name it: --dir {shown}"
                );
            }
            if !yes && !is_meant(&dir)? {
                anyhow::bail!("nothing was forgotten: `yes` was not the answer; scripts say --yes");
            }
            dev::reset(&dir).await?;
            say(&format!("ended and forgot the cluster in {shown}"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Asks: what a reset takes never comes back.
fn is_meant(dir: &Path) -> anyhow::Result<bool> {
    use std::io::Write;
    let mut err = std::io::stderr();
    write!(
        err,
        "This ends the cluster in {} and deletes all of its data. Type yes to go on: ",
        dir.display()
    )?;
    err.flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim() == "yes")
}

fn a_login(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let is_one = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.len() <= 32;
    if is_one && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("a login begins with a-z or 0-9, and goes on with these, `.`, `_` and `-`; at most 32".to_owned())
    }
}

fn options(dir: &Path) -> anyhow::Result<DevOptions> {
    let terreau = std::env::current_exe()?;
    Ok(DevOptions { dir: dir.to_owned(), terreau })
}

async fn foreground(dir: &Path) -> anyhow::Result<ExitCode> {
    super::sandbox::log_to_stderr();
    let stop = crate::sandbox::stop_signal()?;
    say_of_others(dir)?;
    let shown = dir.to_owned();
    dev::supervise(&options(dir)?, stop, |info| {
        let _ = say(&told(info, &shown));
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

async fn start(place: &Place) -> anyhow::Result<ExitCode> {
    let dir = place.folder.meant()?;
    if place.folder.is_found_above(&dir) {
        let shown = dir.display();
        note(&format!(
            "note: this is the cluster in {shown}; `terreau dev --dir {}` starts one of this folder",
            dev::FOLDER
        ))?;
    }
    say_of_others(&dir)?;
    let info = dev::start(&options(&dir)?).await?;
    if place.json {
        say(&serde_json::to_string_pretty(&info)?)?;
    } else {
        say(&told(&info, &dir))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(place: &Place) -> anyhow::Result<ExitCode> {
    let status = dev::status(&place.folder.meant()?).await?;
    if place.json {
        say(&serde_json::to_string_pretty(&status)?)?;
    } else {
        say(&listed(&status))?;
    }
    let well = status.supervisor.is_some() && status.parts.iter().all(|p| p.ready);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(info: &DevInfo, dir: &Path) -> String {
    let option = dir_option(dir);
    format!(
        "The cluster {cluster} is ready.\n\
         \n\
         \x20 Terreau    {api}\n\
         \x20 apps       {proxy}  (each at http://<host>.localhost:{port})\n\
         \x20 Nomad      {nomad}/ui\n\
         \x20 Consul     {consul}/ui\n\
         \x20 Garage     S3 {s3}, K2V {k2v}, web {web}, admin {admin}\n\
         \x20 directory  {ldap}, base {base}\n\
         \n\
         {login}\n\
         \n\
         `terreau dev stop{option}` ends it and keeps the data.",
        cluster = info.cluster,
        api = info.api,
        proxy = info.proxy,
        port = info.proxy.rsplit(':').next().unwrap_or_default(),
        nomad = info.nomad,
        consul = info.consul,
        s3 = info.s3,
        k2v = info.k2v,
        web = info.web,
        admin = info.garage_admin,
        ldap = info.ldap,
        base = info.ldap_base,
        login = login(info),
    )
}

fn say_of_others(own: &Path) -> std::io::Result<()> {
    dev::elsewhere(own).iter().try_for_each(|(dir, info)| note(&beside(dir, info.as_ref())))
}

/// What is said of a cluster that runs in another folder, before one is started here.
fn beside(dir: &Path, info: Option<&DevInfo>) -> String {
    let shown = dir.display();
    let api = info.map(|i| format!(", at {}", i.api)).unwrap_or_default();
    format!(
        "note: another cluster runs in {shown}{api}; it goes on, and this one has ports and data of its own\n\
         hint: `terreau dev --dir {shown}` says how to log in there; `terreau dev stop --dir {shown}` ends it"
    )
}

fn login(info: &DevInfo) -> String {
    format!(
        "Log in as {user}; the password is in {password}:\n\
         \n\
         \x20 terreau login --server {api} --user {user} --password-stdin < {password}",
        api = info.api,
        user = info.user,
        password = info.password_file.display(),
    )
}

fn listed(status: &DevStatus) -> String {
    if status.parts.is_empty() {
        let mut lines = vec![format!("nothing was started in {}", status.dir.display())];
        lines.extend(elsewhere(status));
        return lines.join("\n");
    }
    let mut lines = vec![match status.supervisor {
        Some(pid) => format!("supervisor  pid {pid}"),
        None => "supervisor  not running".to_owned(),
    }];
    lines.extend(status.parts.iter().map(|p| {
        let state = match (p.pid, p.ready) {
            (Some(pid), true) => format!("ready     pid {pid}"),
            (Some(pid), false) => format!("not ready pid {pid}, log {}", p.log.display()),
            (None, _) => "not running".to_owned(),
        };
        format!("{:<11} 127.0.0.1:{:<6} {state}", p.part.name(), p.port)
    }));
    lines.extend(elsewhere(status));
    lines.join("\n")
}

fn elsewhere(status: &DevStatus) -> impl Iterator<Item = String> {
    let say = |dir: &PathBuf| {
        let dir = dir.display();
        format!("another cluster runs in {dir}: `terreau dev status --dir {dir}` shows it")
    };
    status.elsewhere.iter().map(say)
}

/// ` --dir DIR` where it is not the default.
fn dir_option(dir: &Path) -> String {
    if dir == Path::new(dev::FOLDER) { String::new() } else { format!(" --dir {}", dir.display()) }
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// For people, beside what a program reads.
fn note(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stderr().lock(), "{text}")
}
