//! Words and options that people know from elsewhere, and what they mean here. Only says so: what deletes or changes
//! something is never done by a word that is not its own.

mod words;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, Error};

use super::args::Line;
use crate::model::nearest;
use words::Meant::{Command as Is, Words};
use words::{OPTIONS, TABLE};

/// The two ways of a copy.
pub const COPIES: &str = "`terreau cp APP:PATH HERE` from an instance, `terreau cp HERE APP:PATH` to one; `:PATH` is of this folder's app";

/// Puts the command's own usage in the place of the parser's, which would name the one option that it takes the line for.
pub fn plain_usage(args: &[OsString], error: &mut Error) {
    if error.get(ContextKind::Usage).is_none() {
        return;
    }
    let mut root = Line::command();
    root.build();
    let (path, mut at) = (parent(&root, args, "--").1, &mut root);
    for name in path.split(' ').filter(|n| !n.is_empty()) {
        match at.find_subcommand_mut(name) {
            Some(next) => at = next,
            None => return,
        }
    }
    error.insert(ContextKind::Usage, ContextValue::StyledStr(at.render_usage()));
}

/// What to write where the words of a command are not what it takes.
pub fn hint(args: &[OsString], error: &mut Error) -> Option<String> {
    let path = parent(&Line::command(), args, "--").1;
    let hint =
        program(&path, args, error).or_else(|| option(&path, error)).or_else(|| copy(&path, error.kind()));
    if hint.is_some() {
        // Its own advice would make an app of a program, and a path of an option.
        for kind in [ContextKind::Suggested, ContextKind::SuggestedArg] {
            error.remove(kind);
        }
    } else if error.kind() == ErrorKind::UnknownArgument {
        modest(error);
    }
    hint.or_else(|| of(args, error))
}

/// Takes the parser's advice out where it would mislead: an option that is not like what was written, and the way to make a
/// value of it.
fn modest(error: &mut Error) {
    if let (Some(ContextValue::String(given)), Some(ContextValue::String(advice))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::SuggestedArg))
    {
        let bare = |option: &str| option.split('=').next().unwrap_or(option).trim_matches('-').to_owned();
        if nearest(&bare(given), [bare(advice).as_str()]).is_none() {
            error.remove(ContextKind::SuggestedArg);
        }
    }
    if let Some(ContextValue::StyledStrs(all)) = error.get(ContextKind::Suggested) {
        let kept: Vec<_> = all.iter().filter(|s| !s.to_string().contains("as a value")).cloned().collect();
        error.remove(ContextKind::Suggested);
        if !kept.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(kept));
        }
    }
}

/// What to write where a program's own words were taken for ours.
fn program(verb: &str, args: &[OsString], error: &Error) -> Option<String> {
    if !matches!(verb, "exec" | "run") {
        return None;
    }
    let is_ours = match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument => true,
        // A line of a shell, say, in the place of the app.
        ErrorKind::ValueValidation => matches!(error.get(ContextKind::InvalidArg),
            Some(ContextValue::String(of)) if of.contains("APP[@ENV]") && !of.starts_with('-')),
        _ => false,
    };
    let is_said = args.iter().any(|a| a == "--");
    (is_ours && !is_said).then(|| {
        format!(
            "the program and its arguments stand after `--`: `terreau {verb} -- ls -l`, `terreau {verb} APP -- ls -l`, a \
             shell's line as `terreau {verb} -- sh -c 'LINE'`"
        )
    })
}

/// Whether a command takes an app by `--app`.
fn takes_app(path: &str) -> bool {
    let root = Line::command();
    let command = path.split(' ').try_fold(&root, |at, word| at.find_subcommand(word));
    command.is_some_and(|c| c.get_arguments().any(|a| a.get_long() == Some("app")))
}

/// What to write in the place of an option that a command does not have.
fn option(path: &str, error: &Error) -> Option<String> {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return None };
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let name = given.split('=').next().unwrap_or(given);
    if !name.starts_with('-') && takes_app(path) {
        return Some(format!("is {name} an app? `terreau {path}` takes one by --app {name}"));
    }
    let known = OPTIONS.iter().find(|(of, names, _)| *of == path && names.contains(&name));
    known.map(|(.., words)| (*words).to_owned())
}

/// The two ways of a copy, where it was asked for by neither.
fn copy(path: &str, kind: ErrorKind) -> Option<String> {
    let is_ours = matches!(
        kind,
        ErrorKind::MissingRequiredArgument | ErrorKind::ValueValidation | ErrorKind::InvalidValue
    );
    (is_ours && path == "cp").then(|| COPIES.to_owned())
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
        let by_option = said(&["env", "list", "shop"]).unwrap_or_default();
        assert!(by_option.contains("`terreau env list` takes one by --app shop"), "{by_option}");
        assert_eq!(said(&["loops", "shop"]), None);
    }

    #[test]
    fn a_programs_own_words_stand_after_two_dashes_whatever_the_command_is_called() {
        for verb in ["exec", "ssh", "shell", "console"] {
            let said = said(&["--quiet", verb, "ls", "-l"]).unwrap_or_default();
            assert!(said.contains("`terreau exec -- ls -l`"), "{verb}: {said}");
        }
        assert!(said(&["run", "echo $X"]).unwrap_or_default().contains("`terreau run -- sh -c 'LINE'`"));
        assert_eq!(said(&["exec", "--idle", "5x"]), None);
        assert!(said(&["run", "ls"]).unwrap_or_default().contains("`terreau run APP -- ls -l`"));
    }

    #[test]
    fn the_parsers_advice_stays_only_where_it_leads_to_what_was_meant() {
        let told = |args: &[&str]| {
            let args: Vec<OsString> =
                std::iter::once("terreau").chain(args.iter().copied()).map(Into::into).collect();
            let mut error = Line::try_parse_from(&args).expect_err("it is no option");
            let _ = hint(&args, &mut error);
            error.to_string()
        };
        for line in
            [&["logs", "--level", "warn"][..], &["status", "--zzz"], &["graph", "--all"], &["ps", "--app2"]]
        {
            assert!(!told(line).contains("-- --"), "{}", told(line));
        }
        assert!(told(&["logs", "--folow"]).contains("'--follow'"));
        assert!(!told(&["open", "--port"]).contains("similar"));
    }

    #[test]
    fn a_usage_error_shows_the_commands_own_usage() {
        let told = |args: &[&str]| {
            let args: Vec<OsString> =
                std::iter::once("terreau").chain(args.iter().copied()).map(Into::into).collect();
            let mut error = Line::try_parse_from(&args).expect_err("it is wrong");
            plain_usage(&args, &mut error);
            error.to_string()
        };
        for (line, usage) in [
            (&["logs", "--folow"][..], "Usage: terreau logs [OPTIONS] [APP[@ENV]]\n"),
            (&["logs", "--level", "warn"], "Usage: terreau logs [OPTIONS] [APP[@ENV]]\n"),
            (&["logs", "--json", "--raw"], "Usage: terreau logs [OPTIONS] [APP[@ENV]]\n"),
            (&["env", "set"], "Usage: terreau env set [OPTIONS] <NAME=VALUE>...\n"),
            (&["status", "--zzz"], "Usage: terreau status [OPTIONS] [APP[@ENV]]\n"),
        ] {
            let told = told(line);
            assert!(told.contains(usage), "{line:?}: {told}");
        }
    }

    #[test]
    fn a_copy_that_is_none_says_the_two_ways() {
        for words in [&["x"][..], &[], &["", "x"]] {
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
