//! `terreau server`: which servers one is logged in to, and which one is meant.

use http::Method;

use super::args::ServerCommand;
use super::client::Client;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::printer::table;
use super::server::Server;
use super::session::Sessions;
use super::shapes::{SavedServer, SavedServers};
use super::{waiting, whoami};

/// Runs it.
pub fn run(command: &ServerCommand, cx: &Context) -> Ran {
    let file = cx.session_file()?;
    let mut saved = file.read()?;
    match command {
        ServerCommand::List(args) => list(&saved, args.json, cx),
        ServerCommand::Use(args) => {
            let server = find(&saved, &args.which)?;
            saved.current = Some(server.clone());
            file.write(&saved)?;
            cx.printer.say(format!("from now on, {server} is meant"));
            if let Some(named) = cx.named_server().filter(|n| n.as_str() != server) {
                cx.printer.warn(format!("TERREAU_SERVER names {named}, which goes before"));
            }
            Ok(ExitStatus::Done)
        }
        ServerCommand::Remove(args) => {
            let name = find(&saved, &args.which)?;
            let session = saved.sessions.remove(&name);
            if saved.current.as_deref() == Some(name.as_str()) {
                saved.current = None;
            }
            // Forgotten here in any case; there it ends by itself where it cannot be told.
            let told = match (Server::new(&name), session) {
                (Ok(server), Some(session)) => waiting(async {
                    Client::with_session(&server, &session)?.order(Method::DELETE, "/v1/login").await?;
                    Ok(ExitStatus::Done)
                }),
                _ => Ok(ExitStatus::Done),
            };
            file.write(&saved)?;
            match told {
                Err(f) if f.status != ExitStatus::NotLoggedIn => {
                    cx.printer
                        .warn(format!("{name} could not be told that the session is over: {}", f.message));
                }
                _ => {}
            }
            cx.printer.say(format!("{name} is forgotten"));
            Ok(ExitStatus::Done)
        }
    }
}

fn list(saved: &Sessions, json: bool, cx: &Context) -> Ran {
    let now = jiff::Timestamp::now();
    let is_meant = |name: &str| match cx.named_server() {
        Some(named) => named.as_str() == name,
        None => saved.current.as_deref() == Some(name),
    };
    if json {
        let servers: Vec<_> = saved
            .sessions
            .iter()
            .map(|(name, s)| SavedServer {
                server: name.clone(),
                user: s.user.clone(),
                current: is_meant(name),
                expires_at: s.expires_at.clone(),
                seconds_left: s.seconds_left(now),
            })
            .collect();
        cx.printer.json(&SavedServers { servers })?;
        return Ok(ExitStatus::Done);
    }
    if saved.sessions.is_empty() {
        cx.printer.say("you are not logged in anywhere");
        cx.printer.hint("log in with `terreau login --server URL --user NAME`");
        return Ok(ExitStatus::Done);
    }
    let rows: Vec<Vec<String>> = saved
        .sessions
        .iter()
        .map(|(name, s)| {
            let left = match s.seconds_left(now) {
                0 => "ended".to_owned(),
                left => whoami::words(left),
            };
            let mark = if is_meant(name) { "*" } else { "" };
            vec![mark.to_owned(), name.clone(), harmless(&s.user), left]
        })
        .collect();
    cx.printer.data(table(&["", "SERVER", "USER", "LEFT"], &rows))?;
    Ok(ExitStatus::Done)
}

/// The saved server that is meant: by its whole URL, or by a part without a scheme that no other one has.
fn find(saved: &Sessions, text: &str) -> Result<String, Failure> {
    if let Ok(server) = Server::new(text)
        && saved.sessions.contains_key(server.as_str())
    {
        return Ok(server.as_str().to_owned());
    }
    // A whole URL is that server or none: `http://127.0.0.1:1` is no part of `http://127.0.0.1:12801`.
    let is_whole = text.contains("://");
    let found: Vec<&String> = saved.sessions.keys().filter(|name| !is_whole && name.contains(text)).collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Failure::new(ExitStatus::NotFound, format!("you are not logged in to {text}")).hint(
            "`terreau server list` lists where you are; `terreau login --server URL --user NAME` adds one",
        )),
        several => {
            let names: Vec<&str> = several.iter().map(|n| n.as_str()).collect();
            Err(Failure::usage(format!("{text} is a part of {}: write more of it", names.join(" and "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::session::Session;
    use crate::model::wire::Hidden;

    #[test]
    fn a_whole_url_is_that_server_or_none_and_a_part_is_the_only_one_that_has_it() {
        let session = Session {
            user: "ada".into(),
            token: Hidden::new("id.canary"),
            expires_at: "2030-01-01T00:00:00Z".into(),
        };
        let names = ["http://127.0.0.1:12801", "https://terreau.example.org"];
        let sessions = names.map(|n| (n.to_owned(), session.clone())).into();
        let saved = Sessions { current: None, sessions };
        let found = |text: &str| find(&saved, text);
        assert_eq!(found("http://127.0.0.1:1").unwrap_err().status, ExitStatus::NotFound);
        assert_eq!(found("https://terreau").unwrap_err().status, ExitStatus::NotFound);
        assert_eq!(found("http://127.0.0.1:12801/").unwrap(), names[0]);
        assert_eq!(found("12801").unwrap(), names[0]);
        assert_eq!(found("terreau.example.org").unwrap(), names[1]);
        assert_eq!(found("1").unwrap(), names[0]);
    }
}
