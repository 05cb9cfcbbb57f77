//! Setting values: from the command line, a file, standard input or a prompt; and writing them out.

use std::io::Read;
use std::path::Path;

use secrecy::ExposeSecret;

use super::{
    At, Change, Client, Context, ExitStatus, Failure, Hidden, Ran, What, app_path, dotenv, harmless, hidden,
    local, reveal, send, staged, waiting,
};
use crate::cli::args::{ConfigExportArgs, ConfigImportArgs, EnvSetArgs, EnvUnsetArgs, SecretSetArgs};
use crate::model::config::MAX_VALUE;
use crate::model::wire::{SecretList, SecretType};
use crate::model::{Placement, nearest};

/// A file of values is no larger: what is named by mistake is not read to its end.
const MAX_FILE: u64 = 1 << 20;

/// `terreau env set`
pub(super) fn set_env(args: &EnvSetArgs, cx: &Context) -> Ran {
    let mut change = Change::default();
    if args.stdin || args.file.is_some() {
        let [name] = args.pairs.as_slice() else {
            return Err(Failure::usage("--stdin and --file give the value of one name")
                .hint("terreau env set NAME --file FILE; for several: terreau env import FILE"));
        };
        if name.contains('=') {
            return Err(Failure::usage("a value stands on the command line already")
                .hint("terreau env set NAME --stdin, or terreau env set NAME=VALUE"));
        }
        let value = match &args.file {
            Some(path) => from_file(path)?,
            None => from_stdin()?,
        };
        change.set.insert(name.clone(), value);
    } else {
        for pair in &args.pairs {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(Failure::usage(format!("{pair:?} has no value: wanted is NAME=VALUE"))
                    .hint("terreau env set NAME --stdin reads it from standard input"));
            };
            if change.set.insert(name.to_owned(), Hidden::new(value)).is_some() {
                return Err(Failure::usage(format!("{name} stands twice")));
            }
        }
    }
    check(What::Env, &change)?;
    let app = local::app(args.how.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    waiting(async { send(What::Env, &args.how, &app, &client, change, cx).await })
}

/// `terreau env unset`
pub(super) fn unset_env(args: &EnvUnsetArgs, cx: &Context) -> Ran {
    let unset = args.names.iter().map(ToString::to_string).collect();
    let change = Change { unset, ..Change::default() };
    let app = local::app(args.how.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    waiting(async { send(What::Env, &args.how, &app, &client, change, cx).await })
}

/// `terreau secret set`
pub(super) fn set_secret(args: &SecretSetArgs, cx: &Context) -> Ran {
    if args.name.contains('=') || !args.misplaced.is_empty() {
        // What follows may be the value: it is not repeated.
        return Err(Failure::usage(
            "a secret's value does not stand on the command line, where others can read it",
        )
        .hint("name it alone, and it is asked for: terreau secret set NAME (or --stdin, --file FILE)")
        .hint("this value is in your shell's history now: choose another one"));
    }
    let app = local::app(args.how.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    waiting(async {
        let value = match (&args.file, args.stdin) {
            (Some(path), _) => from_file(path)?,
            (None, true) => one_line_break_less(&from_stdin()?),
            (None, false) if cx.printer.can_ask() => {
                declared(&args.name, &app, &client).await?;
                let value = hidden::ask(cx.printer, &format!("Secret {} of {app}: ", args.name)).await?;
                Hidden::new(value.expose_secret())
            }
            (None, false) => {
                return Err(Failure::usage("there is no terminal to ask for the value on")
                    .hint("use --stdin or --file FILE"));
            }
        };
        if value.expose().is_empty() {
            return Err(Failure::failed("no value was given: nothing was changed"));
        }
        let change = Change { set: [(args.name.clone(), value)].into(), ..Change::default() };
        check(What::Secret, &change)?;
        send(What::Secret, &args.how, &app, &client, change, cx).await
    })
}

/// Refuses what the server would refuse, before somebody looks for the value and types it.
async fn declared(name: &str, app: &Placement, client: &Client) -> Result<(), Failure> {
    let list: SecretList = match client.get(&app_path(app, "/secrets")).await {
        // Whoever may set it and not look: the server says what it finds.
        Err(failure) if failure.status == ExitStatus::NotAllowed => return Ok(()),
        list => list?,
    };
    let users = list.secrets.iter().filter(|s| s.kind == SecretType::User).map(|s| s.name.as_str());
    match list.secrets.iter().find(|s| s.name == name).map(|s| s.kind) {
        Some(SecretType::User) => Ok(()),
        Some(kind) => {
            let failure =
                Failure::failed(format!("secret {name}: its value is made by the server, not given"));
            Err(if kind == SecretType::Generated { failure.hint(SecretType::ANEW) } else { failure })
        }
        None => {
            let failure = Failure::new(
                ExitStatus::NotFound,
                format!("the release of {app} that runs declares no secret {name}"),
            );
            Err(match nearest(name, users) {
                Some(near) => failure.hint(format!("did you mean {near}?")),
                None => failure.hint("declare it in the descriptor and deploy, which asks for its value"),
            })
        }
    }
}

/// A secret's value from a file, byte for byte, or from standard input (`-`).
pub(in crate::cli) fn secret_value(file: &Path) -> Result<Hidden, Failure> {
    if file.as_os_str() == "-" { Ok(one_line_break_less(&from_stdin()?)) } else { from_file(file) }
}

/// `echo … | terreau secret set` does not mean the line break.
fn one_line_break_less(value: &Hidden) -> Hidden {
    let text = value.expose();
    let text = text.strip_suffix('\n').unwrap_or(text);
    Hidden::new(text.strip_suffix('\r').unwrap_or(text))
}

/// `terreau env import`
pub(super) fn import(what: What, args: &ConfigImportArgs, cx: &Context) -> Ran {
    let is_stdin = args.file.as_os_str() == "-";
    let (text, name) = if is_stdin {
        (text_of(std::io::stdin().lock(), "standard input")?, "standard input".to_owned())
    } else {
        let file = std::fs::File::open(&args.file).map_err(|e| Failure::file("read", &args.file, &e))?;
        (text_of(file, &args.file.display().to_string())?, args.file.display().to_string())
    };
    let mut change = Change::default();
    for entry in dotenv::read(text.expose()).map_err(|fault| faulty(&name, &fault))? {
        if let Err(why) = what.check(&entry.name, &entry.value) {
            return Err(faulty(&name, &dotenv::Fault { line: entry.line, why }));
        }
        change.set.insert(entry.name, Hidden::new(entry.value));
    }
    if change.set.is_empty() {
        return Err(Failure::failed(format!("{name} sets nothing: there is no NAME=VALUE in it")));
    }
    let app = local::app(args.how.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    waiting(async { send(what, &args.how, &app, &client, change, cx).await })
}

/// The failure of a file with a faulty line.
pub(super) fn faulty(name: &str, fault: &dotenv::Fault) -> Failure {
    Failure::failed(format!("{name}, {fault}")).because("nothing was sent")
}

/// `terreau env export`
pub(super) fn export(what: What, args: &ConfigExportArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    waiting(async {
        let (release, staged) = staged(what, &app, &client).await?;
        // Before the first release there is nothing else.
        let at = if args.staged || release.is_none() { At::Next } else { At::Serving };
        let all = reveal(what, at, &app, &client).await?;
        if args.json {
            cx.printer.json(&all)?;
        } else {
            let pairs = all.values.iter().map(|(n, v)| (n.as_str(), v.expose()));
            cx.printer.document(&dotenv::write(pairs))?;
        }
        if !staged.is_empty() {
            let names = harmless(&staged.join(", "));
            if let (At::Serving, Some(number)) = (at, release) {
                cx.printer.say(format!(
                    "this is what release {number} has; staged for the next one, and not in it: {names}"
                ));
                cx.printer.hint(format!(
                    "`{} export --app {app} --staged` prints what the next release gets",
                    what.command()
                ));
            } else {
                cx.printer.say(format!("this is what the next release gets; staged: {names}"));
            }
        }
        Ok(ExitStatus::Done)
    })
}

fn check(what: What, change: &Change) -> Result<(), Failure> {
    for (name, value) in &change.set {
        what.check(name, value.expose()).map_err(Failure::usage)?;
    }
    Ok(())
}

fn from_stdin() -> Result<Hidden, Failure> {
    bounded(std::io::stdin().lock(), MAX_VALUE as u64, "standard input")
}

fn from_file(path: &Path) -> Result<Hidden, Failure> {
    let file = std::fs::File::open(path).map_err(|e| Failure::file("read", path, &e))?;
    bounded(file, MAX_VALUE as u64, &path.display().to_string())
}

fn text_of(from: impl Read, name: &str) -> Result<Hidden, Failure> {
    bounded(from, MAX_FILE, name)
}

fn bounded(from: impl Read, most: u64, name: &str) -> Result<Hidden, Failure> {
    let mut bytes = Vec::new();
    // Without what was read.
    from.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::failed(format!("cannot read {name}")).because(e.kind().to_string()))?;
    if bytes.len() as u64 > most {
        return Err(Failure::failed(format!("{name} has more than {most} bytes"))
            .hint("put what is larger into a `file` of the descriptor"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Hidden::new(text)),
        Err(e) => {
            let at = e.utf8_error().valid_up_to();
            Err(Failure::failed(format!("{name} is not UTF-8 (byte {at})"))
                .hint("encode it first, for example by base64, and let the program decode it"))
        }
    }
}
