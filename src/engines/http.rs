//! What the HTTP engines share: one client each, time limits, the gate, and one mapping of errors.
//!
//! Nothing here retries, follows a redirect, reads a proxy from the environment, or lets a reply body of more
//! than 400 bytes into a message. Tokens go into headers marked sensitive and never into an address.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use super::{Engine, EngineError, Fault, Open, SharedGate};

/// Bytes of a reply body that may stand in a message.
const SHOWN: usize = 400;
/// No answer of an engine that we read whole is larger (40,000 KV keys were 39 MB).
const LARGEST_REPLY: usize = 256 << 20;
/// What may stand unescaped in a path segment. `/` is escaped: segments are joined by us.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How to reach an engine: TLS files and the time limit of a plain call.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// PEM file of the authorities to trust instead of the machine's own.
    pub ca: Option<PathBuf>,
    /// PEM file of our client certificate (with its chain).
    pub client_cert: Option<PathBuf>,
    /// PEM file of its key.
    pub client_key: Option<PathBuf>,
    /// Limit of a whole plain call, from connecting to the last byte. Blocking queries add their wait to it;
    /// streams are bounded by silence instead.
    pub timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { ca: None, client_cert: None, client_key: None, timeout: Duration::from_secs(10) }
    }
}

/// Installs ring as this process's TLS provider. Harmless when done again, or by somebody else before.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The TLS settings of `options`: its authorities (else the machine's) and its client certificate.
///
/// `doing` and `engine` only name the errors.
pub fn tls_config(engine: Engine, options: &HttpOptions) -> Result<rustls::ClientConfig, EngineError> {
    install_crypto();
    let invalid = |message: String| EngineError::new(engine, Fault::Invalid, "read TLS settings", message);
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = &options.ca {
        for cert in CertificateDer::pem_file_iter(path)
            .map_err(|e| invalid(format!("authorities in {}: {e}", path.display())))?
        {
            let cert = cert.map_err(|e| invalid(format!("authorities in {}: {e}", path.display())))?;
            roots.add(cert).map_err(|e| invalid(format!("authorities in {}: {e}", path.display())))?;
        }
        if roots.is_empty() {
            return Err(invalid(format!("{} holds no certificate", path.display())));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    match (&options.client_cert, &options.client_key) {
        (Some(cert), Some(key)) => {
            let chain = CertificateDer::pem_file_iter(cert)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|e| invalid(format!("client certificate {}: {e}", cert.display())))?;
            // The key's own text must not reach a message; the PEM error names only its place.
            let secret = PrivateKeyDer::from_pem_file(key)
                .map_err(|e| invalid(format!("client key {}: {e}", key.display())))?;
            builder
                .with_client_auth_cert(chain, secret)
                .map_err(|e| invalid(format!("client certificate {}: {e}", cert.display())))
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(invalid("a client certificate and its key must be given together".into())),
    }
}

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
            .pool_idle_timeout(Duration::from_secs(30));
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
        Call { http: self, request, doing, effect, limit: self.timeout }
    }

    fn error(&self, fault: Fault, doing: &str, message: impl Into<String>) -> EngineError {
        EngineError::new(self.engine, fault, doing, message)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    Writes,
}

/// One call being put together.
pub struct Call<'a> {
    http: &'a Http,
    request: reqwest::RequestBuilder,
    doing: String,
    effect: Effect,
    limit: Duration,
}

impl<'a> Call<'a> {
    /// Adds one query parameter, escaped.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.request = self.request.query(&[(name, value.to_string())]);
        self
    }

    /// Adds a query parameter that may be absent.
    #[must_use]
    pub fn query_opt(self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Sends `body` as JSON.
    #[must_use]
    pub fn json(mut self, body: &impl serde::Serialize) -> Self {
        self.request = self.request.json(body);
        self
    }

    /// Sends `body` as it is.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.request = self.request.body(body.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Makes room for an answer that the engine holds back for up to `wait`.
    #[must_use]
    pub fn patient(mut self, wait: Duration) -> Self {
        // Consul adds up to wait/16 of jitter to a blocking query.
        self.limit += wait + wait / 16;
        self
    }

    async fn open(self) -> Result<(reqwest::Response, &'a Http, String, tokio::time::Instant), EngineError> {
        let Self { http, request, doing, effect, limit } = self;
        let until = tokio::time::Instant::now() + limit;
        if effect == Effect::Writes {
            http.gate.check().map_err(|why| http.error(Fault::Fenced, &doing, why))?;
        }
        match tokio::time::timeout_at(until, request.send()).await {
            Err(_) => Err(http.error(Fault::Away, &doing, format!("no answer within {limit:?}"))),
            Ok(Err(e)) if e.is_builder() => Err(http.error(Fault::Invalid, &doing, chain(&e.without_url()))),
            Ok(Err(e)) => Err(http.error(Fault::Away, &doing, chain(&e.without_url()))),
            Ok(Ok(response)) => Ok((response, http, doing, until)),
        }
    }

    /// Sends the call and reads the whole answer, whatever its status says.
    pub async fn send_any(self) -> Result<Reply, EngineError> {
        let (mut response, http, doing, until) = self.open().await?;
        let mut body = bytes::BytesMut::new();
        loop {
            match tokio::time::timeout_at(until, response.chunk()).await {
                Err(_) => {
                    return Err(http.error(Fault::Away, &doing, "the answer stopped midway: time is up"));
                }
                Ok(Err(e)) => {
                    let why = format!("the answer was cut: {}", chain(&e.without_url()));
                    return Err(http.error(Fault::Broken, &doing, why));
                }
                Ok(Ok(None)) => break,
                Ok(Ok(Some(chunk))) if body.len() + chunk.len() > LARGEST_REPLY => {
                    return Err(http.error(Fault::Broken, &doing, "the answer is over 256 MiB"));
                }
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            }
        }
        Ok(Reply {
            engine: http.engine,
            doing,
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: body.freeze(),
        })
    }

    /// Sends the call; any status but 2xx is an error.
    pub async fn send(self) -> Result<Reply, EngineError> {
        self.send_any().await?.success()
    }

    /// Sends the call and reads the answer as JSON.
    pub async fn fetch<T: DeserializeOwned>(self) -> Result<T, EngineError> {
        self.send().await?.json()
    }

    /// Sends the call and reads the answer as JSON; 404 is `None`.
    pub async fn fetch_opt<T: DeserializeOwned>(self) -> Result<Option<T>, EngineError> {
        let reply = self.send_any().await?;
        if reply.status == StatusCode::NOT_FOUND { Ok(None) } else { reply.success()?.json().map(Some) }
    }

    /// Sends the call and hands out the body as it comes. Ends with `Away` after `silence` without a byte
    /// (`None`: silence is no fault), with `Broken` when the body is cut.
    pub async fn stream(self, silence: Option<Duration>) -> Result<ByteStream, EngineError> {
        let (mut response, http, doing, until) = self.open().await?;
        let engine = http.engine;
        if !response.status().is_success() {
            let mut body = bytes::BytesMut::new();
            while let Ok(Ok(Some(chunk))) = tokio::time::timeout_at(until, response.chunk()).await {
                body.extend_from_slice(&chunk);
                if body.len() > SHOWN {
                    break;
                }
            }
            let status = response.status();
            let reply = Reply { engine, doing, status, headers: HeaderMap::new(), body: body.freeze() };
            return Err(reply.refusal());
        }
        let state = (response, doing, true);
        Ok(futures::stream::unfold(state, move |(mut response, doing, alive)| async move {
            if !alive {
                return None;
            }
            let next = match silence {
                None => Ok(response.chunk().await),
                Some(limit) => tokio::time::timeout(limit, response.chunk()).await.map_err(|_| limit),
            };
            let fault = match next {
                Ok(Ok(Some(chunk))) => return Some((Ok(chunk), (response, doing, true))),
                Ok(Ok(None)) => return None,
                Ok(Err(e)) => {
                    let why = format!("the stream was cut: {}", chain(&e.without_url()));
                    EngineError::new(engine, Fault::Broken, doing.clone(), why)
                }
                Err(limit) => {
                    EngineError::new(engine, Fault::Away, doing.clone(), format!("silent for {limit:?}"))
                }
            };
            Some((Err(fault), (response, doing, false)))
        })
        .boxed())
    }
}

/// A body as it comes.
pub type ByteStream = futures::stream::BoxStream<'static, Result<Bytes, EngineError>>;

/// A stream of lines of `bytes` without their ends; empty lines are left out, a last line without an end is
/// dropped (it was cut).
pub fn lines(bytes: ByteStream) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + 'static {
    let state = (bytes, bytes::BytesMut::new(), 0_usize);
    futures::stream::unfold(state, |(mut bytes, mut buffer, mut seen)| async move {
        loop {
            if let Some(at) = buffer[seen..].iter().position(|b| *b == b'\n') {
                let mut line = buffer.split_to(seen + at + 1);
                line.truncate(seen + at);
                seen = 0;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Some((Ok(line.freeze()), (bytes, buffer, seen)));
            }
            seen = buffer.len();
            match bytes.next().await? {
                Ok(chunk) => buffer.extend_from_slice(&chunk),
                Err(e) => return Some((Err(e), (bytes, buffer, seen))),
            }
        }
    })
}

/// An answer read whole.
#[derive(Debug, Clone)]
pub struct Reply {
    engine: Engine,
    doing: String,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// Itself when 2xx, else the error that the status stands for.
    pub fn success(self) -> Result<Self, EngineError> {
        if self.status.is_success() { Ok(self) } else { Err(self.refusal()) }
    }

    /// The body as JSON; `Broken` when it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, EngineError> {
        serde_json::from_slice(&self.body).map_err(|e| {
            // A parser's message may quote a value; its place is enough.
            let what = match e.classify() {
                serde_json::error::Category::Data => "an unexpected shape",
                serde_json::error::Category::Eof => "JSON that ends too early",
                _ => "no JSON",
            };
            let why = format!("the answer is {what} (line {}, column {})", e.line(), e.column());
            self.fault(Fault::Broken, why)
        })
    }

    /// A header's number (`x-consul-index`, `x-nomad-index`).
    pub fn number(&self, header: &str) -> Option<u64> {
        self.headers.get(header)?.to_str().ok()?.parse().ok()
    }

    /// The body's beginning, fit for a message.
    pub fn text(&self) -> String {
        shorten(&String::from_utf8_lossy(&self.body))
    }

    /// An error of this call.
    pub fn fault(&self, fault: Fault, message: impl Into<String>) -> EngineError {
        EngineError::new(self.engine, fault, self.doing.clone(), message)
    }

    /// The error that a status other than 2xx stands for.
    pub fn refusal(&self) -> EngineError {
        let text = self.text();
        let message = if text.is_empty() {
            format!("HTTP {}", self.status)
        } else {
            format!("HTTP {}: {text}", self.status)
        };
        self.fault(fault_of(self.status), message)
    }
}

/// What a status means where the engine's own words say nothing better.
pub(super) fn fault_of(status: StatusCode) -> Fault {
    match status.as_u16() {
        401 | 403 => Fault::Denied,
        404 | 410 => Fault::NotFound,
        409 | 412 => Fault::Conflict,
        413 => Fault::TooLarge,
        // "Too many connections" passes by itself.
        408 | 429 => Fault::Broken,
        400..=499 => Fault::Invalid,
        _ => Fault::Broken,
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

/// Cuts a text to 400 bytes, at a character's border.
pub fn shorten(text: &str) -> String {
    let text = text.trim();
    if text.len() <= SHOWN {
        return text.to_owned();
    }
    let mut end = SHOWN;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// An error with its causes: reqwest's own text says only "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    shorten(&text)
}
