//! Editing values in the person's own editor. The file lies in a folder that only they can enter, and goes with it
//! whatever happens; values are never in the editor's arguments or environment.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ExitStatus as Ended, Stdio};

use tokio::signal::unix::{SignalKind, signal};

use super::{
    At, Change, Context, ExitStatus, Failure, Hidden, Ran, Revealed, What, dotenv, give, local, reveal, send,
    waiting,
};
use crate::cli::args::ConfigEditArgs;

/// `terreau env edit`
pub(super) fn run(what: What, args: &ConfigEditArgs, cx: &Context) -> Ran {
    let editor = editor(what, cx)?;
    let app = local::app(args.how.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    waiting(async {
        let before = reveal(what, At::Next, &app, &client).await?;
        let pairs = before.values.iter().map(|(n, v)| (n.as_str(), v.expose()));
        let head = match what {
            What::Env => format!(
                "# What is set in the environment of {app}, as the next release gets it: NAME=VALUE. Delete a line to unset its name.\n"
            ),
            What::Secret => {
                format!("# The secrets of {app} that people gave. A line that is deleted changes nothing.\n")
            }
        };
        let text = head + &dotenv::write(pairs);
        let cannot = |e: std::io::Error| Failure::failed("cannot keep a file to edit").because(e.to_string());
        let folder = tempfile::Builder::new()
            .prefix("terreau-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .map_err(cannot)?;
        let path = folder.path().join("values.env");
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(folder.path())
            .map_err(cannot)?;
        file.write_all(text.as_bytes()).map_err(cannot)?;
        file.persist(&path).map_err(|e| cannot(e.error))?;
        let edited = edited(what, (&path, &editor), &text, cx).await;
        // Before anything is sent, which may take a while.
        folder.close().map_err(cannot)?;
        let Some(entries) = edited? else {
            cx.printer.say("nothing was changed");
            return Ok(ExitStatus::Done);
        };
        let change = difference(what, &before, entries);
        if change.set.is_empty() && change.unset.is_empty() {
            cx.printer.say("nothing was changed");
            return Ok(ExitStatus::Done);
        }
        send(what, &args.how, &app, &client, change, cx).await
    })
}

/// What differs, and upon which versions.
fn difference(what: What, before: &Revealed, entries: Vec<dotenv::Entry>) -> Change {
    let mut change = Change::default();
    if what == What::Env {
        let gone = before.values.keys().filter(|n| entries.iter().all(|e| e.name != **n));
        change.unset = gone.cloned().collect();
    }
    for entry in entries {
        if before.values.get(&entry.name).is_none_or(|old| old.expose() != entry.value) {
            change.set.insert(entry.name, Hidden::new(entry.value));
        }
    }
    let touched = change.set.keys().chain(&change.unset);
    let version = |n: &String| (n.clone(), before.versions.get(n).copied().unwrap_or(0));
    change.upon = Some(touched.map(version).collect());
    change
}

/// What the person left in the file; `None` where they changed nothing. A faulty line is shown, and on a terminal the
/// file is opened again.
async fn edited(
    what: What,
    (path, editor): (&Path, &str),
    before: &str,
    cx: &Context,
) -> Result<Option<Vec<dotenv::Entry>>, Failure> {
    loop {
        open(path, editor).await?;
        let text = std::fs::read(path).map_err(|e| Failure::file("read", path, &e))?;
        let text = Hidden::new(
            String::from_utf8(text)
                .map_err(|_| Failure::failed("what was edited is not UTF-8").because("nothing was sent"))?,
        );
        if text.expose() == before {
            return Ok(None);
        }
        let fault = match dotenv::read(text.expose()) {
            Ok(entries) => {
                let wrong = entries.iter().find_map(|e| {
                    what.check(&e.name, &e.value).err().map(|why| dotenv::Fault { line: e.line, why })
                });
                match wrong {
                    None => return Ok(Some(entries)),
                    Some(fault) => fault,
                }
            }
            Err(fault) => fault,
        };
        let failure = give::faulty("what was edited", &fault);
        if !cx.printer.can_ask() {
            return Err(failure);
        }
        cx.printer.failure(&failure);
        match cx.printer.ask("Edit again? [Y/n] ")?.as_deref().map(str::trim) {
            Some("" | "y" | "Y" | "yes") => {}
            _ => return Err(Failure::failed("given up: nothing was sent")),
        }
    }
}

/// The editors that are looked for where nobody says which one.
const EDITORS: [&str; 3] = ["sensible-editor", "nano", "vi"];

/// The person's editor: what VISUAL or EDITOR says, else the first of [`EDITORS`] that is here, which is named before it opens.
fn editor(what: What, cx: &Context) -> Result<String, Failure> {
    let named = |v: &str| std::env::var(v).ok().filter(|e| !e.trim().is_empty());
    if let Some(editor) = named("VISUAL").or_else(|| named("EDITOR")) {
        return Ok(editor);
    }
    if !cx.printer.can_ask() {
        let command = what.command();
        return Err(Failure::usage("there is no terminal to edit on, and neither VISUAL nor EDITOR says with what")
            .hint(format!("`{command} import FILE` sets what a file says (`-`: standard input), `{command} export` writes one")));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_here = |name: &&str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let Some(editor) = EDITORS.into_iter().find(is_here) else {
        return Err(Failure::usage(format!(
            "there is no editor: none of {} is installed",
            EDITORS.join(", ")
        ))
        .hint("set VISUAL or EDITOR to the editor that you use"));
    };
    cx.printer.say(format!("opening {editor}; VISUAL or EDITOR would name another editor"));
    Ok(editor.to_owned())
}

/// Runs the editor on the file. Ctrl-C is the editor's own; a signal that would end us is heard, so that the file goes.
async fn open(path: &Path, editor: &str) -> Result<(), Failure> {
    let cannot = |e: &std::io::Error| {
        Failure::failed(format!("cannot run the editor {editor:?}")).because(e.to_string())
    };
    let mut heard = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        heard.push(signal(kind).map_err(|e| cannot(&e))?);
    }
    // As git does: what stands in the variable may be a command with words of its own.
    let mut child = tokio::process::Command::new("/bin/sh")
        .args(["-c", &format!("exec {editor} \"$1\""), "sh"])
        .arg(path)
        .stdin(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| cannot(&e))?;
    let [_, term, hangup] = &mut heard[..] else { unreachable!("three signals are heard") };
    let ended: Ended = tokio::select! {
        ended = child.wait() => ended.map_err(|e| cannot(&e))?,
        _ = term.recv() => return Err(Failure::failed("ended by a signal: nothing was sent")),
        _ = hangup.recv() => return Err(Failure::failed("the terminal is gone: nothing was sent")),
    };
    if ended.success() {
        return Ok(());
    }
    Err(Failure::failed(format!("the editor {editor:?} ended with {ended}"))
        .because("nothing was sent")
        .hint("set VISUAL or EDITOR to the editor that you use"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_changed_is_sent_with_the_version_that_it_was_made_upon() {
        let before = Revealed {
            values: [("A", "1"), ("B", "2"), ("C", "3")].map(|(n, v)| (n.to_owned(), Hidden::new(v))).into(),
            versions: [("A", 4), ("B", 5), ("C", 6)].map(|(n, v)| (n.to_owned(), v)).into(),
        };
        let change = difference(What::Env, &before, dotenv::read("A=1\nB=two\nD=new\n").unwrap());
        assert_eq!(change.set.keys().collect::<Vec<_>>(), ["B", "D"]);
        assert_eq!(change.unset, ["C"]);
        let upon = change.upon.unwrap();
        assert_eq!(upon.into_iter().collect::<Vec<_>>(), [("B".into(), 5), ("C".into(), 6), ("D".into(), 0)]);
        let secrets = difference(What::Secret, &before, dotenv::read("A=1").unwrap());
        assert!(secrets.set.is_empty() && secrets.unset.is_empty(), "a deleted line is no secret's end");
    }
}
