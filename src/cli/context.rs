//! What every command is given: the printer, the session file, the server.

use super::args::Global;
use super::client::{Client, login_hint};
use super::exit::ExitStatus;
use super::failure::Failure;
use super::printer::Printer;
use super::server::Server;
use super::session::{Session, SessionFile, TOKEN, token};

/// What every command is given.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where to write.
    pub printer: Printer,
    global: Global,
}

impl Context {
    /// From the global options.
    pub fn new(printer: Printer, global: Global) -> Self {
        Self { printer, global }
    }

    /// The session file.
    pub fn session_file(&self) -> Result<SessionFile, Failure> {
        SessionFile::locate(self.global.config_dir.clone())
    }

    /// The server that was named, by flag or environment.
    pub fn named_server(&self) -> Option<&Server> {
        self.global.server.as_ref()
    }

    /// The server that is meant: the one named, else that of the last login.
    pub fn server(&self) -> Result<Server, Failure> {
        if let Some(server) = self.named_server() {
            return Ok(server.clone());
        }
        if token()?.is_some() {
            // It belongs to one server, and must not go to another that happens to be saved.
            let saved = self.session_file()?.read().unwrap_or_default();
            let mut names = saved.sessions.keys();
            let which = match (names.next(), names.next()) {
                (Some(only), None) => format!("TERREAU_SERVER={only} where it is of that one, or --server"),
                _ => "TERREAU_SERVER, or --server".to_owned(),
            };
            return Err(Failure::usage(format!("{TOKEN} is set, and no server is named"))
                .hint(format!("say for which server it is: {which}")));
        }
        let current = self.session_file()?.read()?.current;
        current.and_then(|s| Server::new(&s).ok()).ok_or_else(|| {
            Failure::new(ExitStatus::NotLoggedIn, "you are not logged in anywhere")
                .hint("log in with `terreau login --server URL --user NAME`")
                .hint("no cluster yet? `terreau dev` starts one on this machine")
        })
    }

    /// The session for a server, if it has not ended.
    pub fn session(&self, server: &Server) -> Result<Session, Failure> {
        if let Some(token) = token()? {
            // Until when it is good, the server knows.
            return Ok(Session { user: String::new(), token, expires_at: String::new() });
        }
        let session = self.session_file()?.session(server)?.ok_or_else(|| {
            Failure::new(ExitStatus::NotLoggedIn, format!("you are not logged in to {server}"))
                .hint(login_hint(server))
        })?;
        if session.seconds_left(jiff::Timestamp::now()) == 0 {
            return Err(Failure::new(ExitStatus::NotLoggedIn, format!("your session at {server} has ended"))
                .because(format!("it lasted until {}", session.expires_at))
                .hint(login_hint(server)));
        }
        Ok(session)
    }

    /// A connection as the person who is logged in.
    pub fn client(&self) -> Result<Client, Failure> {
        let server = self.server()?;
        Client::with_session(&server, &self.session(&server)?)
    }
}
