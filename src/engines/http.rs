//! What the HTTP engines share: one client each, time limits, the gate, and one mapping of errors.
//!
//! Nothing here retries, follows a redirect, reads a proxy from the environment, or lets a reply body of more
//! than 400 bytes into a message. Tokens go into headers marked sensitive and never into an address.

mod call;
mod lanes;
mod reply;
mod socket;
mod tls;

pub use call::{ByteStream, Call, lines};
pub use lanes::{LONG, Place};
pub(super) use reply::fault_of;
pub use reply::{Reply, shorten};
pub use socket::Socket;
pub use tls::{HttpOptions, install_crypto, tls_config};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::{Engine, EngineError, Fault, Open, SharedGate};
use call::Effect;
use lanes::{Lane, Lanes};

/// What may stand unescaped in a path segment. `/` is escaped: segments are joined by us.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a token goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// Into a header of its own (`x-nomad-token`, `x-consul-token`).
    Header(&'static str),
    /// Into `authorization: Bearer …`.
    Bearer,
}

/// A connection pool to one engine at one address.
#[derive(Clone)]
pub struct Http {
    engine: Engine,
    base: Arc<str>,
    client: reqwest::Client,
    auth: Option<(HeaderName, HeaderValue)>,
    timeout: Duration,
    gate: SharedGate,
    /// `None`: its calls go past them.
    lanes: Option<Arc<Lanes>>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("engine", &self.engine).field("base", &self.base).finish_non_exhaustive()
    }
}

impl Http {
    /// A client of `engine` at `addr`: `http://host:port`, `https://…`, `host:port`, or `unix:///path` for an
    /// API on a socket. Opens no connection. `Invalid` when the address or a TLS file is wrong.
    pub fn new(engine: Engine, addr: &str, options: &HttpOptions) -> Result<Self, EngineError> {
        let doing = format!("use the address {addr}");
        let invalid = |message: String| EngineError::new(engine, Fault::Invalid, doing.clone(), message);
        install_crypto();
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // The gate is asked before connecting: together with its 6 s this stays below the 10 s of a session.
            .connect_timeout(options.timeout.min(Duration::from_secs(3)))
            .tcp_keepalive(Duration::from_secs(15))
            .tcp_keepalive_interval(Duration::from_secs(5))
            .tcp_keepalive_retries(3)
            .pool_idle_timeout(Duration::from_secs(30))
            // What lies idle counts among the 100 connections that Nomad takes from one address.
            .pool_max_idle_per_host(6);
        let base = if let Some(path) = addr.strip_prefix("unix://") {
            builder = builder.unix_socket(PathBuf::from(path));
            "http://localhost".to_owned()
        } else {
            let full = if addr.contains("://") { addr.to_owned() } else { format!("http://{addr}") };
            let url = url::Url::parse(&full).map_err(|e| invalid(e.to_string()))?;
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
                return Err(invalid("wanted is http://host:port or https://host:port".into()));
            }
            if url.password().is_some() || !url.username().is_empty() || url.query().is_some() {
                return Err(invalid("an address holds no user, password or query".into()));
            }
            full.trim_end_matches('/').to_owned()
        };
        // Reading the machine's authorities takes milliseconds that a plain-text address need not pay.
        let tls = if base.starts_with("https://") || options.ca.is_some() || options.client_cert.is_some() {
            tls_config(engine, options)?
        } else {
            rustls::ClientConfig::builder()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth()
        };
        let client = builder.tls_backend_preconfigured(tls).build().map_err(|e| invalid(chain(&e)))?;
        Ok(Self {
            engine,
            base: base.into(),
            client,
            auth: None,
            timeout: options.timeout,
            gate: Arc::new(Open),
            lanes: Some(Lanes::of(engine)),
        })
    }

    /// Sends `token` with every call. `Invalid` when it cannot stand in a header (it is not shown).
    pub fn with_token(mut self, how: Credential, token: &SecretString) -> Result<Self, EngineError> {
        let (name, text) = match how {
            Credential::Header(name) => (HeaderName::from_static(name), token.expose_secret().to_owned()),
            Credential::Bearer => (http::header::AUTHORIZATION, format!("Bearer {}", token.expose_secret())),
        };
        let mut value = HeaderValue::try_from(zeroize::Zeroizing::new(text).as_str()).map_err(|_| {
            EngineError::new(self.engine, Fault::Invalid, "use the token", "it holds a control character")
        })?;
        value.set_sensitive(true);
        self.auth = Some((name, value));
        Ok(self)
    }

    /// The same pool, with every write asking `gate` first.
    #[must_use]
    pub fn with_gate(mut self, gate: SharedGate) -> Self {
        self.gate = gate;
        self
    }

    /// The same pool, whose calls wait behind nobody's: for the agent's session and its own few watches alone.
    #[must_use]
    pub fn aside(mut self) -> Self {
        self.lanes = None;
        self
    }

    /// The address, without a trailing `/`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A call that changes nothing: the gate is not asked. `path` begins with `/` and is escaped already.
    pub fn read(&self, doing: impl Into<String>, path: &str) -> Call<'_> {
        self.call(Method::GET, doing.into(), path, Effect::Reads)
    }

    /// A call that changes something: the gate is asked right before the bytes leave.
    pub fn write(&self, method: Method, doing: impl Into<String>, path: &str) -> Call<'_> {
        self.call(method, doing.into(), path, Effect::Writes)
    }

    /// A call that is a POST or PUT but changes nothing (a parse, a plan, a validation, a transaction of
    /// reads).
    pub fn ask(&self, method: Method, doing: impl Into<String>, path: &str) -> Call<'_> {
        self.call(method, doing.into(), path, Effect::Reads)
    }

    fn call(&self, method: Method, doing: String, path: &str, effect: Effect) -> Call<'_> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some((name, value)) = &self.auth {
            request = request.header(name, value);
        }
        Call { http: self, request, doing, effect, limit: self.timeout, lane: Lane::Brief }
    }

    fn error(&self, fault: Fault, doing: &str, message: impl Into<String>) -> EngineError {
        EngineError::new(self.engine, fault, doing, message)
    }
}

/// Escapes one segment of a path.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Escapes a path whose `/` stay.
pub fn path(text: &str) -> String {
    text.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// An error with its causes: reqwest's own text says only "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !causes.iter().any(|c| c.contains(&text)) {
            causes.push(text);
        }
        source = cause.source();
    }
    // That a request was being sent is said already; with a cause these two say nothing more.
    let says =
        |text: &String| !text.starts_with("error sending request") && !text.starts_with("client error (");
    if causes.iter().any(says) {
        causes.retain(says);
    }
    shorten(&causes.join(": "))
}
