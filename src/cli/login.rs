//! `terreau login`: proves who one is to the server, and keeps the session.

use std::io::BufRead;

use http::Method;
use secrecy::{ExposeSecret, SecretString};

use super::args::LoginArgs;
use super::client::Client;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::session::Session;
use super::shapes::LoggedIn;
use super::{hidden, waiting, whoami};
use crate::model::names::Login;
use crate::model::wire::{Hidden, LoginAnswer, LoginRequest};

/// A password is no longer than this: what comes by mistake on standard input is not read to its end.
const MAX_PASSWORD: u64 = 4096;

/// Runs it.
pub fn run(args: &LoginArgs, cx: &Context) -> Ran {
    let login = |name: &str| Login::new(name).map_err(|e| Failure::usage(e.to_string()));
    // What is wrong with a name is said before anything is asked for.
    let named = args.user.as_deref().map(login).transpose()?;
    let server = cx.server().map_err(|_| {
        Failure::usage("no server is named")
            .hint("say which one: `terreau login --server URL`, or set TERREAU_SERVER")
    })?;
    if server.is_exposed() && !args.allow_plain_http {
        return Err(Failure::usage(format!("{server} would get your password in the clear"))
            .hint("use https://, or --allow-plain-http where the network itself is encrypted (WireGuard)"));
    }
    let file = cx.session_file()?;
    // A file that cannot be read is found before the password is asked for.
    let mut sessions = file.read()?;
    let user = match named {
        Some(user) => user,
        None => login(&who(args, cx)?)?,
    };
    waiting(async {
        let password = if args.password_stdin { from_stdin()? } else { from_terminal(&user, cx).await? };
        if password.expose_secret().is_empty() {
            return Err(Failure::usage("the password is empty"));
        }
        let request =
            LoginRequest { user: user.to_string(), password: Hidden::new(password.expose_secret()) };
        let client = Client::anonymous(&server)?;
        let answer: LoginAnswer = client.call(Method::POST, "/v1/login", &request).await.map_err(refused)?;
        let session = Session { user: answer.user, token: answer.token, expires_at: answer.expires_at };
        sessions.sessions.insert(server.as_str().to_owned(), session.clone());
        sessions.current = Some(server.as_str().to_owned());
        if let Err(failure) = file.write(&sessions) {
            // A session that is kept nowhere must not live on.
            let _ = Client::with_session(&server, &session)?.order(Method::DELETE, "/v1/login").await;
            return Err(failure);
        }
        let (user, expires_at) = (harmless(&session.user), harmless(&session.expires_at));
        if args.json {
            cx.printer.json(&LoggedIn { user, server: server.to_string(), expires_at })?;
        } else {
            let left = whoami::words(session.seconds_left(jiff::Timestamp::now()));
            cx.printer.data(format!("logged in as {user} at {server}, {left} left"))?;
        }
        Ok(ExitStatus::Done)
    })
}

/// Asks who it is; whoever works here, where nothing is answered.
fn who(args: &LoginArgs, cx: &Context) -> Result<String, Failure> {
    if args.password_stdin || !cx.printer.can_ask() {
        let why = if args.password_stdin {
            "standard input is the password's"
        } else {
            "there is no terminal to ask on"
        };
        return Err(Failure::usage("nobody is named").because(why).hint("say who you are: --user NAME"));
    }
    let here = ["USER", "LOGNAME"]
        .iter()
        .filter_map(|v| std::env::var(v).ok())
        .find(|n| Login::new(n.as_str()).is_ok());
    let default = here.as_deref().map(|n| format!(" [{n}]")).unwrap_or_default();
    let answer = cx.printer.ask(&format!("Login{default}: "))?.unwrap_or_default();
    match (answer.trim(), here) {
        ("", Some(here)) => Ok(here),
        ("", None) => Err(Failure::usage("no login was given: nothing was sent")),
        (name, _) => Ok(name.to_owned()),
    }
}

/// A refused login is no missing one: telling people to log in would be of no use.
fn refused(mut failure: Failure) -> Failure {
    if failure.status == ExitStatus::NotLoggedIn {
        failure.hints.retain(|h| !h.contains("terreau login"));
    }
    failure
}

async fn from_terminal(user: &Login, cx: &Context) -> Result<SecretString, Failure> {
    if !cx.printer.can_ask() {
        return Err(Failure::usage("there is no terminal to ask for the password on")
            .hint("use --password-stdin: `terreau login --user NAME --password-stdin < FILE`"));
    }
    hidden::ask(cx.printer, &format!("Password of {user}: ")).await
}

fn from_stdin() -> Result<SecretString, Failure> {
    let mut line = String::new();
    let mut input = std::io::Read::take(std::io::stdin().lock(), MAX_PASSWORD);
    // What went wrong is said without what was read.
    input.read_line(&mut line).map_err(|_| Failure::failed("cannot read a password on standard input"))?;
    let end = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(end);
    Ok(SecretString::from(line))
}
