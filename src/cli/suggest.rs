//! Words and options that people know from elsewhere, and what they mean here. Only says so: what deletes or changes
//! something is never done by a word that is not its own.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, Error};

use super::args::Line;
use crate::model::nearest;

/// What a word means.
#[derive(Debug, Clone, Copy)]
enum Meant {
    /// This command.
    Command(&'static str),
    /// Nothing that one command does.
    Words(&'static str),
}

use Meant::{Command as Is, Words};

/// Below which command, which words, and what they mean.
const TABLE: &[(&str, &[&str], Meant)] = &[
    ("", &["up", "push", "publish", "redeploy", "update"], Is("deploy")),
    ("", &["promote"], Is("deploy --promote")),
    ("", &["version"], Is("--version")),
    (
        "",
        &["upgrade", "self-update"],
        Words(
            "`terreau deploy` makes a new release of an app; terreau itself is replaced by whatever installed it",
        ),
    ),
    ("", &["rm", "remove", "undeploy", "uninstall"], Is("delete")),
    ("", &["down", "kill", "halt", "suspend"], Is("stop")),
    ("", &["resume", "unpause"], Is("start")),
    ("", &["reboot", "reload"], Is("restart")),
    ("", &["revert", "undo"], Is("rollback")),
    ("", &["config", "vars", "variables", "environment", "set"], Is("env")),
    ("", &["signin", "sign-in", "log-in", "auth"], Is("login")),
    ("", &["signout", "sign-out", "log-out", "logoff"], Is("logout")),
    ("", &["check", "lint"], Is("validate")),
    ("", &["new", "create"], Is("init")),
    ("", &["info", "show", "describe"], Is("status")),
    ("", &["history", "versions"], Is("releases")),
    ("", &["instances"], Is("ps")),
    ("", &["metrics", "stats"], Is("top")),
    ("", &["tail"], Is("logs")),
    ("", &["tunnel", "forward", "port-forward"], Is("proxy")),
    ("", &["webhook", "webhooks"], Is("hook")),
    ("env", &["remove", "rm", "delete", "del"], Is("env unset")),
    ("env", &["add", "put", "create"], Is("env set")),
    ("env", &["ls", "get", "show"], Is("env list")),
    (
        "secret",
        &["unset", "remove", "rm", "delete", "del"],
        Words(
            "a secret goes with the `secret` block that declares it: take that out of terreau.hcl, and `terreau deploy`",
        ),
    ),
    ("secret", &["add", "put", "create"], Is("secret set")),
    ("secret", &["ls", "get", "show"], Is("secret list")),
    ("hook", &["create", "new"], Is("hook add")),
    ("hook", &["delete", "rm", "del"], Is("hook remove")),
    ("hook", &["ls", "show"], Is("hook list")),
    ("tokens", &["add", "new", "make"], Is("tokens create")),
    ("tokens", &["remove", "rm", "delete", "del"], Is("tokens revoke")),
    ("tokens", &["ls", "show"], Is("tokens list")),
    ("server", &["rm", "delete", "del"], Is("server remove")),
    ("server", &["switch", "select"], Is("server use")),
    ("server", &["add"], Words("`terreau login --server URL` adds a server")),
    ("server", &["ls", "show"], Is("server list")),
    ("owners", &["rm", "delete", "del"], Is("owners remove")),
    ("owners", &["ls", "show"], Is("owners list")),
    ("users", &["rm", "delete", "del"], Is("users remove")),
    (
        "users",
        &["add", "create"],
        Words("people are in the cluster's directory, and log in with their account there"),
    ),
    ("users", &["ls"], Is("users list")),
    ("release", &["list", "ls"], Is("releases")),
    ("operations", &["ls"], Is("operations list")),
    ("operations", &["watch"], Is("operations follow")),
    ("operations", &["stop", "abort", "rm"], Is("operations cancel")),
    ("maintenance", &["start", "enable"], Is("maintenance on")),
    ("maintenance", &["stop", "disable"], Is("maintenance off")),
];

/// Of which command, which options that it does not have, and what to write instead.
const OPTIONS: &[(&str, &[&str], &str)] = &[
    (
        "ps",
        &["--watch", "-w", "--follow", "-f"],
        "`terreau top` draws itself anew until Ctrl-C; `watch terreau ps` lists again and again",
    ),
    ("status", &["--watch", "-w", "--follow", "-f"], "`watch terreau status` looks again and again"),
    (
        "deploy",
        &["--yes", "-y"],
        "a deploy asks for no confirmation: leave it out (what secrets need, --secret-file gives)",
    ),
    ("deploy", &["--wait", "--watch"], "a deploy waits by itself until the app answers; --detach does not"),
    (
        "deploy",
        &["--env", "-e"],
        "values are set by `terreau env set`; an environment is a part of the app's name: APP@ENV",
    ),
    ("rollback", &["--to", "--release"], "the release stands by itself: `terreau rollback 3`"),
    ("scale", &["--count"], "the count stands by its process: `terreau scale web=2`"),
];

/// The two ways of a copy.
pub const COPIES: &str = "`terreau cp APP:PATH HERE` from an instance, `terreau cp HERE APP:PATH` to one; `:PATH` is of this folder's app";

/// What to write where the words of a command are not what it takes.
pub fn hint(args: &[OsString], error: &mut Error) -> Option<String> {
    let hint =
        program(args, error.kind()).or_else(|| option(args, error)).or_else(|| copy(args, error.kind()));
    if hint.is_some() {
        // Its own advice would make an app of a program, and a path of an option.
        for kind in [ContextKind::Suggested, ContextKind::SuggestedArg] {
            error.remove(kind);
        }
    }
    hint.or_else(|| of(args, error))
}

/// What to write where a program's own words were taken for ours.
fn program(args: &[OsString], kind: ErrorKind) -> Option<String> {
    let root = Line::command();
    let verb = command(&root, args).filter(|path| matches!(path.as_str(), "exec" | "run"))?;
    let is_ours = matches!(kind, ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument);
    let is_said = args.iter().any(|a| a == "--");
    (is_ours && !is_said).then(|| {
        format!("the program and its arguments stand after `--`: `terreau {verb} -- ls -l`, `terreau {verb} APP -- ls -l`")
    })
}

/// What to write in the place of an option that a command does not have.
fn option(args: &[OsString], error: &Error) -> Option<String> {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return None };
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let name = given.split('=').next().unwrap_or(given);
    let root = Line::command();
    let path = command(&root, args)?;
    let known = OPTIONS.iter().find(|(of, names, _)| *of == path && names.contains(&name));
    known.map(|(.., words)| (*words).to_owned())
}

/// The two ways of a copy, where it was asked for by neither.
fn copy(args: &[OsString], kind: ErrorKind) -> Option<String> {
    let is_ours = matches!(
        kind,
        ErrorKind::MissingRequiredArgument | ErrorKind::ValueValidation | ErrorKind::InvalidValue
    );
    let root = Line::command();
    (is_ours && command(&root, args)? == "cp").then(|| COPIES.to_owned())
}

/// The command that is meant, by its own name.
fn command(root: &Command, args: &[OsString]) -> Option<String> {
    let (_, path) = parent(root, args, "--");
    (!path.is_empty()).then_some(path)
}

/// What was probably meant by a command that does not exist, where a table or the spelling says it. What the parser would
/// suggest of its own, hidden commands among it, is taken out of the error.
fn of(args: &[OsString], error: &mut Error) -> Option<String> {
    let word = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => word.clone(),
        _ => return None,
    };
    for kind in [ContextKind::SuggestedSubcommand, ContextKind::Suggested] {
        error.remove(kind);
    }
    let root = Line::command();
    let (parent, path) = parent(&root, args, &word);
    let known = TABLE.iter().filter(|(below, ..)| *below == path);
    match known.into_iter().find(|(_, words, _)| words.contains(&word.as_str())) {
        Some((.., Is(meant))) => return Some(format!("did you mean `terreau {meant}`?")),
        Some((.., Words(words))) => return Some((*words).to_owned()),
        None => {}
    }
    let open = parent.get_subcommands().filter(|c| !c.is_hide_set()).map(Command::get_name);
    let near = nearest(&word, open)?;
    let path = if path.is_empty() { String::new() } else { format!("{path} ") };
    Some(format!("did you mean `terreau {path}{near}`?"))
}

/// The command below which a word was taken for a command, and its name.
fn parent<'a>(root: &'a Command, args: &[OsString], word: &str) -> (&'a Command, String) {
    let (mut at, mut path) = (root, Vec::new());
    for arg in args.iter().skip(1).filter_map(|a| a.to_str()) {
        if arg == word || arg == "--" {
            break;
        }
        if let Some(next) = at.find_subcommand(arg) {
            at = next;
            path.push(next.get_name());
        }
    }
    (at, path.join(" "))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn said(args: &[&str]) -> Option<String> {
        let args: Vec<OsString> =
            std::iter::once("terreau").chain(args.iter().copied()).map(Into::into).collect();
        let mut error = Line::try_parse_from(&args).expect_err("it is no command");
        let said = hint(&args, &mut error);
        assert!(!error.to_string().contains("similar"), "{error}");
        said
    }

    /// Whether a command has an option, hidden names of it among them.
    fn has(command: &Command, option: &str) -> bool {
        command.get_arguments().any(|a| match option.strip_prefix("--") {
            Some(long) => a.get_long_and_visible_aliases().into_iter().flatten().any(|l| l == long),
            None => a.get_short().is_some_and(|s| option.ends_with(s)),
        })
    }

    #[test]
    fn every_option_of_the_table_is_none_of_its_command_and_says_what_to_write() {
        let root = Line::command();
        for (path, names, words) in OPTIONS {
            let command = root.find_subcommand(path).unwrap();
            for name in *names {
                assert!(!has(command, name), "{path} has {name}");
                assert_eq!(said(&[path, name]).as_deref(), Some(*words), "{path} {name}");
            }
        }
        assert_eq!(said(&["deploy", "--yes=true"]).as_deref(), Some(OPTIONS[2].2));
        assert_eq!(said(&["open", "--zzzzzz"]), None);
    }

    #[test]
    fn a_programs_own_words_stand_after_two_dashes_whatever_the_command_is_called() {
        for verb in ["exec", "ssh", "shell", "console"] {
            let said = said(&["--quiet", verb, "ls", "-l"]).unwrap_or_default();
            assert!(said.contains("`terreau exec -- ls -l`"), "{verb}: {said}");
        }
        assert!(said(&["run", "ls"]).unwrap_or_default().contains("`terreau run APP -- ls -l`"));
    }

    #[test]
    fn a_copy_that_is_none_says_the_two_ways() {
        for words in [&["x"][..], &[], &["x", ":"], &["carnet:", "x"], &["", "x"]] {
            let line: Vec<&str> = std::iter::once("cp").chain(words.iter().copied()).collect();
            assert_eq!(said(&line).as_deref(), Some(COPIES), "{line:?}");
        }
    }

    #[test]
    fn every_word_of_the_table_is_no_command_and_leads_to_one() {
        let root = Line::command();
        for (below, words, meant) in TABLE {
            if let Is(meant) = meant {
                let (names, options): (Vec<&str>, Vec<&str>) =
                    meant.split(' ').partition(|w| !w.starts_with('-'));
                let leads = names.into_iter().try_fold(&root, |at, name| {
                    at.get_subcommands().find(|c| c.get_name() == name && !c.is_hide_set())
                });
                let leads = leads.unwrap_or_else(|| panic!("there is no {meant}"));
                for option in options.iter().filter(|o| **o != "--version") {
                    assert!(has(leads, option), "{} has no {option}", leads.get_name());
                }
            }
            for word in *words {
                let args: Vec<&str> = below.split(' ').filter(|w| !w.is_empty()).chain([*word]).collect();
                let said = said(&args).unwrap_or_else(|| panic!("{args:?} says nothing"));
                match meant {
                    Is(meant) => assert_eq!(said, format!("did you mean `terreau {meant}`?")),
                    Words(words) => assert_eq!(said, *words),
                }
            }
        }
    }

    #[test]
    fn a_word_that_is_nearly_right_leads_to_an_open_command_and_a_strange_one_to_none() {
        assert_eq!(said(&["deploi"]).as_deref(), Some("did you mean `terreau deploy`?"));
        assert_eq!(
            said(&["--server", "https://x.example", "stauts"]).as_deref(),
            Some("did you mean `terreau status`?")
        );
        assert_eq!(said(&["env", "sett"]).as_deref(), Some("did you mean `terreau env set`?"));
        assert_eq!(
            said(&["token", "rm"]).as_deref(),
            Some("did you mean `terreau tokens revoke`?"),
            "by its alias"
        );
        assert_eq!(said(&["dev-prox"]), None, "what is hidden is nobody's advice");
        assert_eq!(said(&["zzzzzz"]), None);
    }

    #[test]
    fn harmless_words_of_the_same_meaning_are_commands() {
        for words in [
            &["ls"][..],
            &["list"],
            &["apps"],
            &["log"],
            &["ssh"],
            &["shell"],
            &["console"],
            &["servers", "list"],
            &["op", "list"],
            &["ops", "list"],
            &["operation", "list"],
            &["projects", "list"],
            &["apps", "ls"],
            &["logs", "--lines", "5"],
            &["events", "--lines", "5"],
        ] {
            let args = std::iter::once("terreau").chain(words.iter().copied());
            assert!(Line::try_parse_from(args).is_ok(), "{words:?}");
        }
    }
}
