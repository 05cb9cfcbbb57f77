//! Words that people know from elsewhere, and what they mean here. Only says so: what deletes or changes something is
//! never done by a word that is not its own.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
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
    ("", &["up", "push", "publish", "redeploy"], Is("deploy")),
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

/// What was probably meant by a command that does not exist, where a table or the spelling says it. What the parser would
/// suggest of its own, hidden commands among it, is taken out of the error.
pub fn of(args: &[OsString], error: &mut Error) -> Option<String> {
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
        if arg == word {
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
        let said = of(&args, &mut error);
        assert!(!error.to_string().contains("similar"), "{error}");
        said
    }

    #[test]
    fn every_word_of_the_table_is_no_command_and_leads_to_one() {
        let root = Line::command();
        for (below, words, meant) in TABLE {
            if let Is(meant) = meant {
                let leads = meant.split(' ').try_fold(&root, |at, name| {
                    at.get_subcommands().find(|c| c.get_name() == name && !c.is_hide_set())
                });
                assert!(leads.is_some(), "there is no {meant}");
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
        ] {
            let args = std::iter::once("terreau").chain(words.iter().copied());
            assert!(Line::try_parse_from(args).is_ok(), "{words:?}");
        }
    }
}
