//! Which app a command is about: one rule for all of them. `--app APP[@ENV]` always names it; where the app is also a word
//! of the command, both may stand there if they say the same. Must never let one of two different names win silently.

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};
use clap_complete::engine::ArgValueCompleter;

use crate::model::names::Placement;

/// An app by name: the command's word or `--app`.
#[derive(Debug, Clone)]
pub struct AppArg {
    /// The app, where one is named.
    pub app: Option<Placement>,
}

/// Which app, where the words of a command are something else.
#[derive(Debug, Clone, Args)]
pub struct OfApp {
    /// The app [default: the project of the terreau.hcl in this folder or above it]
    #[arg(long, short, value_name = "APP[@ENV]", add = ArgValueCompleter::new(crate::cli::completions::apps))]
    pub app: Option<Placement>,
}

/// The two places as clap reads them.
#[derive(Debug, Clone, Args)]
struct Places {
    /// The app [default: the project of the terreau.hcl in this folder or above it]
    #[arg(value_name = "APP[@ENV]", add = ArgValueCompleter::new(crate::cli::completions::apps))]
    app: Option<Placement>,
    /// The app, named by an option
    #[arg(id = "app_option", long = "app", short = 'a', value_name = "APP[@ENV]", add = ArgValueCompleter::new(crate::cli::completions::apps))]
    option: Option<Placement>,
}

/// One app from the word and the option: the usage error's text where they differ.
pub fn one_of<'a>(
    word: Option<&'a Placement>,
    option: Option<&'a Placement>,
) -> Result<Option<&'a Placement>, String> {
    match (word, option) {
        (Some(word), Some(option)) if word != option => {
            Err(format!("the command names {word}, and --app names {option}: which one is meant?"))
        }
        (word, option) => Ok(word.or(option)),
    }
}

impl TryFrom<Places> for AppArg {
    type Error = Error;

    fn try_from(places: Places) -> Result<Self, Error> {
        match one_of(places.app.as_ref(), places.option.as_ref()) {
            Ok(app) => Ok(Self { app: app.cloned() }),
            Err(why) => Err(Error::raw(ErrorKind::ArgumentConflict, why)),
        }
    }
}

impl FromArgMatches for AppArg {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Places::from_arg_matches(matches)?.try_into()
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for AppArg {
    fn augment_args(command: Command) -> Command {
        Places::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Places::augment_args_for_update(command)
    }
}
