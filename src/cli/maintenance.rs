//! `terreau maintenance`: a page in the place of an app, and the app again.

use http::Method;

use super::args::MaintenanceCommand;
use super::client::app_path;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::printer::GREEN;
use super::{local, turn, waiting};
use crate::model::Placement;
use crate::model::wire::{MaintenanceRequest, MaintenanceView};

/// The most bytes that are read of a page; the server says how many it takes.
const MOST: u64 = 1 << 20;

/// Runs it.
pub fn run(command: &MaintenanceCommand, cx: &Context) -> Ran {
    let (named, turn, json, request) = match command {
        MaintenanceCommand::On(args) => {
            let page = args.page.as_deref().map(read).transpose()?;
            let message = args.message.clone();
            let request = MaintenanceRequest { on: true, message, page };
            (&args.app.app, args.turn, args.json, request)
        }
        MaintenanceCommand::Off(args) => {
            let request = MaintenanceRequest { on: false, message: None, page: None };
            (&args.app.app, args.turn, args.json, request)
        }
    };
    let app = local::app(named.as_ref(), cx.printer)?;
    let client = cx.client()?;
    let path = app_path(&app, "/maintenance");
    waiting(async {
        let done: MaintenanceView =
            turn::take(cx, &client, turn, async || client.call(Method::POST, &path, &request).await)
                .await
                .map_err(|failure| or_message(failure, named.as_ref(), &request))?;
        if json {
            cx.printer.json(&done)?;
            return Ok(ExitStatus::Done);
        }
        for url in &done.urls {
            cx.printer.data(harmless(url))?;
        }
        match done.on {
            true => {
                cx.printer.say(format!("{GREEN}done{GREEN:#}: visitors of {app} see the maintenance page"));
                match (&done.message, &request.page) {
                    (Some(message), _) => {
                        cx.printer
                            .say(format!("it says: {}", harmless(message).replace('\n', "\n         ")));
                    }
                    (None, None) => cx.printer.say("it is the page of your own that stood there already"),
                    (None, Some(_)) => {}
                }
                cx.printer.hint(format!("`terreau maintenance off {app}` shows them the app again"));
            }
            false if done.change.is_none() => {
                cx.printer.say(format!("there is no maintenance page in the place of {app}"));
            }
            false => cx.printer.say(format!("{GREEN}done{GREEN:#}: visitors see {app} again")),
        }
        Ok(ExitStatus::Done)
    })
}

/// Adds what was probably meant where the word that was taken for an app is none, and nothing is said on the page.
fn or_message(failure: Failure, word: Option<&Placement>, request: &MaintenanceRequest) -> Failure {
    let Some(word) = word else { return failure };
    let is_bare = request.on && request.message.is_none() && request.page.is_none();
    if failure.status != ExitStatus::NotFound || !failure.hints.is_empty() || !is_bare {
        return failure;
    }
    failure.hint(format!("what the page says stands after -m: `terreau maintenance on -m \"{word}\"`"))
}

fn read(path: &std::path::Path) -> Result<String, Failure> {
    use std::io::Read;
    let wrong = |e: std::io::Error| Failure::file("read", path, &e);
    let mut text = String::new();
    std::fs::File::open(path).map_err(wrong)?.take(MOST).read_to_string(&mut text).map_err(wrong)?;
    Ok(text)
}
