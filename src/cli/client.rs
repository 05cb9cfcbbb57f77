//! The HTTP client of the commands: JSON in and out, every error answer as a [`Failure`] with its exit code.
//!
//! Follows no redirect (a token must not travel on), and never puts a token or a password into an error.

use std::fmt::Write as _;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exit::ExitStatus;
use super::failure::Failure;
use super::server::Server;
use super::session::{Session, token};
use crate::model::names::Placement;
use crate::model::nearest;
use crate::model::wire::{Apps, FieldFault, Problem, ProblemCode};

/// What stands in a path segment as it is: `@` is ours, `/` of a tenant is not.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');

/// A call that answers at once.
const CALL: Duration = Duration::from_mins(1);
/// A call whose answer would only be a help.
const SUGGESTION: Duration = Duration::from_secs(2);
/// Silence on a stream: the server sends a heartbeat every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// Which versions of HTTP may be spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Versions {
    All,
    Http1,
}

/// A connection to one server, as one person or as nobody.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    server: Server,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// Without a session.
    pub fn anonymous(server: &Server) -> Result<Self, Failure> {
        Self::build(server, Some(SILENCE), Versions::All)
    }

    /// The same, for streams that may be silent for hours; the system's keep-alive finds a dead peer.
    pub fn patient(self) -> Result<Self, Failure> {
        let built = Self::build(&self.server, None, Versions::All)?;
        Ok(Self { authorization: self.authorization, ..built })
    }

    /// The same, for tunnels: a WebSocket begins as a request of HTTP/1.1.
    pub fn tunnel(self) -> Result<Self, Failure> {
        let built = Self::build(&self.server, None, Versions::Http1)?;
        Ok(Self { authorization: self.authorization, ..built })
    }

    fn build(server: &Server, silence: Option<Duration>, versions: Versions) -> Result<Self, Failure> {
        // Another part of the process may have installed it before: the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("terreau/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .tcp_keepalive(Duration::from_secs(30));
        if let Some(silence) = silence {
            builder = builder.read_timeout(silence);
        }
        if server.as_str().starts_with("http://") {
            // No certificate is looked at: do not spend time on reading the machine's.
            builder = builder.tls_certs_only([]);
        }
        if server.is_loopback() {
            builder = builder.no_proxy();
        }
        if versions == Versions::Http1 {
            builder = builder.http1_only();
        }
        let http = builder.build().map_err(|e| Failure::failed("cannot set up HTTPS").because_of(&e))?;
        Ok(Self { http, server: server.clone(), authorization: None })
    }

    /// With a session.
    pub fn with_session(server: &Server, session: &Session) -> Result<Self, Failure> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", session.token.expose()))
            .map_err(|_| Failure::failed("the saved session is damaged").hint("log in again"))?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value), ..Self::anonymous(server)? })
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// A request for `path` (with its query), with the session.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.server));
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        }
    }

    /// Sends; any answer but 2xx is a failure.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|e| self.away(&e))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    /// Sends; any answer but this one is a failure.
    pub async fn send_for(&self, request: RequestBuilder, wanted: StatusCode) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|e| self.away(&e))?;
        if response.status() == wanted { Ok(response) } else { Err(self.refusal(response).await) }
    }

    /// GET of JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let response = self.send(self.request(Method::GET, path).timeout(CALL)).await?;
        self.read(response).await
    }

    /// A call with a JSON body and a JSON answer.
    pub async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<T, Failure> {
        let response = self.send(self.request(method, path).timeout(CALL).json(body)).await?;
        self.read(response).await
    }

    /// A call without an answer's body.
    pub async fn order(&self, method: Method, path: &str) -> Result<(), Failure> {
        self.send(self.request(method, path).timeout(CALL)).await.map(drop)
    }

    /// An open stream of `accept`.
    pub async fn stream(&self, path: &str, accept: &'static str) -> Result<Response, Failure> {
        self.send(self.request(Method::GET, path).header(ACCEPT, accept)).await
    }

    /// The answer's JSON.
    pub async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let bytes = response.bytes().await.map_err(|e| self.away(&e))?;
        serde_json::from_slice(&bytes).map_err(|e| {
            Failure::failed(format!("{} answered something that this terreau does not understand", self.server))
                .because(e.to_string())
                .hint("client and server may be of different versions: compare `terreau --version` and `terreau whoami`")
        })
    }

    /// The failure of a call that got no answer, or half of one.
    pub fn away(&self, error: &reqwest::Error) -> Failure {
        let server = &self.server;
        let what = if error.is_connect() {
            format!("cannot reach the server {server}")
        } else if error.is_timeout() {
            format!("the server {server} did not answer in time")
        } else {
            format!("the connection to {server} broke")
        };
        let hint = if server.is_loopback() {
            "is it running? `terreau dev` starts a cluster on this machine, `terreau dev status` shows it"
        } else {
            "check the address (`--server`, TERREAU_SERVER) and the network"
        };
        Failure::new(ExitStatus::EngineAway, what).because(root_cause(error)).hint(hint)
    }

    /// The apps that this person may see, as commands name them. Nothing where nobody answers soon: for suggestions.
    pub async fn app_names(&self) -> Vec<String> {
        let ask = async {
            let reply = self.request(Method::GET, "/v1/apps").send().await.ok()?;
            serde_json::from_slice::<Apps>(&reply.bytes().await.ok()?).ok()
        };
        let apps = tokio::time::timeout(SUGGESTION, ask).await.ok().flatten();
        apps.map(|a| a.apps.into_iter().map(|a| a.app).collect()).unwrap_or_default()
    }

    /// What was probably meant by the app of this path, where there is no such app.
    async fn near(&self, path: &str) -> Option<String> {
        let wanted = path.strip_prefix("/v1/apps/")?.split('/').next()?;
        let wanted = percent_encoding::percent_decode_str(wanted).decode_utf8().ok()?;
        let names = self.app_names().await;
        if names.iter().any(|n| *n == wanted) {
            return None;
        }
        nearest(&wanted, names.iter().map(String::as_str))
    }

    async fn refusal(&self, response: Response) -> Failure {
        let status = response.status();
        let path = response.url().path().to_owned();
        let location = response.headers().get(http::header::LOCATION).cloned();
        let body = response.bytes().await.unwrap_or_default();
        if let Ok(problem) = serde_json::from_slice::<Problem>(&body) {
            let is_missing = problem.code == ProblemCode::NotFound;
            let failure = problem_failure(problem, &self.server);
            return match if is_missing { self.near(&path).await } else { None } {
                Some(near) => failure.hint(format!("did you mean {near}?")),
                None => failure,
            };
        }
        let server = &self.server;
        let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
        let failure = Failure::new(
            status_exit(status),
            format!("{server} answered {status}, and not as a Terreau server does"),
        );
        if let Some(to) = location.as_ref().and_then(|l| l.to_str().ok()) {
            return failure
                .hint(format!("it points to {to}: is that the address? (redirects are not followed)"));
        }
        let failure = if text.trim().is_empty() { failure } else { failure.because(text) };
        if status.is_server_error() {
            failure.hint("something between here and the server answered for it; try again in a moment")
        } else {
            failure.hint("check the address given by --server or TERREAU_SERVER")
        }
    }
}

/// `/v1/apps/{app}` and what follows.
pub fn app_path(app: &Placement, rest: &str) -> String {
    format!("/v1/apps/{}{rest}", utf8_percent_encode(&app.to_string(), SEGMENT))
}

/// A query's value.
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A problem document as a failure.
pub fn problem_failure(problem: Problem, server: &Server) -> Failure {
    let status = match problem.code {
        ProblemCode::NotLoggedIn => ExitStatus::NotLoggedIn,
        ProblemCode::NotAllowed => ExitStatus::NotAllowed,
        ProblemCode::NotFound => ExitStatus::NotFound,
        ProblemCode::NameNotAvailable | ProblemCode::Conflict => ExitStatus::Conflict,
        ProblemCode::EngineAway => ExitStatus::EngineAway,
        ProblemCode::Invalid | ProblemCode::TooLarge | ProblemCode::TooMany | ProblemCode::Internal => {
            ExitStatus::Failed
        }
    };
    let mut failure = Failure::new(status, problem.detail);
    failure.busy = problem.operation.map(String::into_boxed_str);
    for fault in &problem.errors {
        // A single fault may be the sentence already.
        if !failure.message.ends_with(&fault.message) {
            failure = failure.detail(fault_text(fault));
        }
    }
    // Most conflicts name their holder in the sentence itself.
    if let Some(holder) = problem.holder
        && !failure.message.contains("under way")
    {
        failure = failure.because(format!("held by {holder}"));
    }
    if problem.code == ProblemCode::Internal
        && let Some(request) = problem.request
    {
        failure = failure.because(format!("the agent's log says more, under request {request}"));
    }
    let is_by_token = status == ExitStatus::NotLoggedIn && matches!(token(), Ok(Some(_)));
    match problem.hint.filter(|_| !is_by_token) {
        Some(hint) => failure.hint(hint),
        None if status == ExitStatus::NotLoggedIn => failure.hint(login_hint(server)),
        None => failure,
    }
}

/// How to log in, or what is wrong with the token that is used instead.
pub fn login_hint(server: &Server) -> String {
    if matches!(token(), Ok(Some(_))) {
        return "TERREAU_TOKEN is set: its token has ended, was revoked, or is of another server; `terreau tokens list`, \
                without it, shows which are good"
            .to_owned();
    }
    format!("log in with `terreau login --server {server} --user NAME`")
}

/// A fault with its place, its source line and a mark under the column.
pub fn fault_text(fault: &FieldFault) -> String {
    let mut text = String::new();
    if let Some(file) = &fault.file {
        let _ = write!(text, "{file}");
        if let Some(line) = fault.line {
            let _ = write!(text, ":{line}");
            if let Some(column) = fault.column {
                let _ = write!(text, ":{column}");
            }
        }
        text.push_str(": ");
    } else if let Some(field) = &fault.field {
        let _ = write!(text, "{field}: ");
    }
    text.push_str(&fault.message);
    if let (Some(source), Some(line)) = (&fault.source, fault.line) {
        let margin = line.to_string();
        let _ = write!(text, "\n {margin} | {}", source.trim_end());
        if let Some(column) = fault.column {
            // Tabs stay tabs, so that the mark stands under its place.
            let pad: String = source
                .chars()
                .take(column.saturating_sub(1) as usize)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let _ = write!(text, "\n {} | {pad}^", " ".repeat(margin.len()));
        }
    }
    if let Some(suggestion) = &fault.suggestion {
        let _ = write!(text, "\n   = {suggestion}");
    }
    text
}

fn status_exit(status: StatusCode) -> ExitStatus {
    match status {
        StatusCode::UNAUTHORIZED => ExitStatus::NotLoggedIn,
        StatusCode::FORBIDDEN => ExitStatus::NotAllowed,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            ExitStatus::EngineAway
        }
        _ => ExitStatus::Failed,
    }
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut root: &dyn std::error::Error = error;
    while let Some(next) = root.source() {
        root = next;
    }
    root.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server::new("http://127.0.0.1:1").unwrap()
    }

    #[test]
    fn an_app_of_a_tenant_is_one_path_segment() {
        let app: Placement = "acme/carnet@staging".parse().unwrap();
        assert_eq!(app_path(&app, "/plan"), "/v1/apps/acme%2Fcarnet@staging/plan");
    }

    #[test]
    fn every_problem_code_has_its_exit_code() {
        let exit = |code| problem_failure(Problem::new(code, "x"), &server()).status.code();
        let codes = [
            (ProblemCode::NotLoggedIn, 3),
            (ProblemCode::NotAllowed, 4),
            (ProblemCode::NotFound, 6),
            (ProblemCode::NameNotAvailable, 5),
            (ProblemCode::Conflict, 5),
            (ProblemCode::Invalid, 1),
            (ProblemCode::TooLarge, 1),
            (ProblemCode::TooMany, 1),
            (ProblemCode::EngineAway, 7),
            (ProblemCode::Internal, 1),
        ];
        for (code, want) in codes {
            assert_eq!(exit(code), want, "{code:?}");
        }
    }

    #[test]
    fn a_fault_points_at_its_place_under_tabs_too() {
        let fault = FieldFault {
            file: Some("terreau.hcl".into()),
            line: Some(12),
            column: Some(3),
            source: Some("\t prot \"http\" {}".into()),
            message: "unknown block \"prot\"".into(),
            suggestion: Some("did you mean \"port\"?".into()),
            ..FieldFault::default()
        };
        assert_eq!(
            fault_text(&fault),
            "terreau.hcl:12:3: unknown block \"prot\"\n 12 | \t prot \"http\" {}\n    | \t ^\n   = did you mean \"port\"?"
        );
    }
}
