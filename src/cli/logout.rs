//! `terreau logout`: ends the session on the server, then forgets it here.

use http::Method;

use super::client::Client;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran};
use super::waiting;

/// Runs it.
pub fn run(cx: &Context) -> Ran {
    let file = cx.session_file()?;
    let server = cx.server()?;
    let mut sessions = file.read()?;
    let Some(session) = sessions.sessions.remove(server.as_str()) else {
        return Err(Failure::new(ExitStatus::NotLoggedIn, format!("you are not logged in to {server}")));
    };
    if sessions.current.as_deref() == Some(server.as_str()) {
        sessions.current = None;
    }
    let revoked = waiting(async {
        Client::with_session(&server, &session)?.order(Method::DELETE, "/v1/login").await?;
        Ok(ExitStatus::Done)
    });
    match revoked {
        Ok(_) => {
            file.write(&sessions)?;
            cx.printer.say(format!("logged out of {server}"));
            Ok(ExitStatus::Done)
        }
        // The server does not know it any more: that is what was wanted.
        Err(f) if f.status == ExitStatus::NotLoggedIn => {
            file.write(&sessions)?;
            cx.printer.say(format!("logged out of {server} (the session had ended already)"));
            Ok(ExitStatus::Done)
        }
        Err(mut failure) => {
            file.write(&sessions)?;
            failure.causes.insert(0, failure.message);
            failure.message = format!(
                "the session was forgotten here, but {server} could not be told: it stays valid there until {}",
                session.expires_at
            );
            Err(failure)
        }
    }
}
