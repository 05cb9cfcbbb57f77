//! The development proxy: what Tricot does on a cluster, over plain HTTP on loopback. Follows Consul with
//! blocking queries, sends a request to an instance that is up, passes WebSockets and event streams through,
//! and hands unknown hosts to Garage's websites as the catch-all of such clusters does. Must never cache, and
//! never ask Consul while a request waits.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::apps::Apps;
use super::routes::{self, Choice, Health, Scheme, Services};
use super::{SandboxError, http as local};

/// What `terreau proxy` reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// Where browsers come.
    pub listen: SocketAddr,
    /// Consul's HTTP API.
    pub consul: String,
    /// Garage's websites.
    pub web: SocketAddr,
    /// Garage's admin API: its `/check?domain=` says whether a website has that name.
    pub garage_admin: SocketAddr,
}

#[derive(Debug)]
struct Proxy {
    config: ProxyConfig,
    services: RwLock<Arc<Services>>,
    apps: Apps,
    turn: AtomicUsize,
    asking: reqwest::Client,
}

/// Serves until `stop` turns true.
pub async fn serve(config: ProxyConfig, mut stop: watch::Receiver<bool>) -> Result<(), SandboxError> {
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|e| SandboxError::Other(format!("the proxy cannot listen on {}: {e}", config.listen)))?;
    let proxy = Arc::new(Proxy {
        config,
        services: RwLock::default(),
        apps: Apps::default(),
        turn: AtomicUsize::new(0),
        asking: local::client(Duration::from_secs(5)),
    });
    let following = tokio::spawn(follow_catalogue(proxy.clone()));
    let known = proxy.clone();
    let knowing = tokio::spawn(async move { known.apps.follow(known.config.consul.clone()).await });
    let app = axum::Router::new().fallback(handle).with_state(proxy);
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    // Open tunnels do not hold us up: whoever stops the proxy means it.
    let ended = tokio::select! {
        ended = axum::serve(listener, service) => ended,
        _ = stop.wait_for(|stopped| *stopped) => Ok(()),
    };
    following.abort();
    knowing.abort();
    ended.map_err(|e| SandboxError::Other(format!("the proxy stopped: {e}")))
}

/// One long call to Consul; returns the answer and the index to ask for next.
async fn block(client: &reqwest::Client, url: &str, index: u64) -> Option<(serde_json::Value, u64)> {
    let reply = client.get(format!("{url}?index={index}&wait=60s")).send().await.ok()?;
    if !reply.status().is_success() {
        return None;
    }
    let next = reply.headers().get("x-consul-index")?.to_str().ok()?.parse::<u64>().ok()?;
    // Consul's advice: an index that goes backwards is asked for from the beginning again.
    let next = if next < index { 0 } else { next };
    Some((reply.json().await.ok()?, next))
}

/// Keeps one follower for each service that has a door.
async fn follow_catalogue(proxy: Arc<Proxy>) {
    let client = local::client(Duration::from_secs(90));
    let url = format!("{}/v1/catalog/services", proxy.config.consul);
    let mut followers: BTreeMap<String, Follower> = BTreeMap::new();
    let mut index = 0;
    loop {
        let Some((answer, next)) = block(&client, &url, index).await else {
            // Consul is away: what is known stays in force.
            tokio::time::sleep(Duration::from_millis(500)).await;
            index = 0;
            continue;
        };
        index = next;
        let Some(catalogue) = answer.as_object() else { continue };
        let has_door = |tags: &serde_json::Value| {
            let words = tags.as_array().into_iter().flatten().filter_map(|t| t.as_str());
            words.into_iter().any(|t| t.starts_with("tricot"))
        };
        let wanted: Vec<&String> =
            catalogue.iter().filter(|(_, tags)| has_door(tags)).map(|(n, _)| n).collect();
        followers.retain(|name, _| wanted.contains(&name));
        proxy.change(|services| services.retain(|name, _| wanted.contains(&name)));
        for name in wanted {
            if !followers.contains_key(name) {
                let task = tokio::spawn(follow_service(proxy.clone(), client.clone(), name.clone()));
                followers.insert(name.clone(), Follower(task));
            }
        }
    }
}

/// Ends with its place in the list.
struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn follow_service(proxy: Arc<Proxy>, client: reqwest::Client, name: String) {
    let escaped = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
    let url = format!("{}/v1/health/service/{escaped}", proxy.config.consul);
    let mut index = 0;
    loop {
        if let Some((answer, next)) = block(&client, &url, index).await {
            index = next;
            let instances = routes::instances(&answer);
            proxy.change(|services| {
                services.insert(name.clone(), instances);
            });
        } else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            index = 0;
        }
    }
}

impl Proxy {
    fn change(&self, change: impl FnOnce(&mut Services)) {
        let mut held = self.services.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut held));
    }

    fn services(&self) -> Arc<Services> {
        self.services.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The website that one of these names has, if any.
    async fn website<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        for name in names {
            let url = format!("http://{}/check", self.config.garage_admin);
            let reply = self.asking.get(url).query(&[("domain", name)]).send().await;
            if reply.is_ok_and(|r| r.status().is_success()) {
                return Some(name);
            }
        }
        None
    }
}

/// The names that a request's host may mean: itself, and what stands before `.localhost`.
fn names_of(host: &str) -> Vec<&str> {
    let mut names = vec![host];
    names.extend(host.strip_suffix(".localhost").filter(|h| !h.is_empty()));
    names
}

/// The host of a request, lower case, without port.
fn host_of(request: &Request) -> Option<String> {
    let text = match request.headers().get(header::HOST) {
        Some(value) => value.to_str().ok()?,
        None => request.uri().authority()?.as_str(),
    };
    let name =
        if text.starts_with('[') { text } else { text.rsplit_once(':').map_or(text, |(name, _)| name) };
    (!name.is_empty()).then(|| name.trim_end_matches('.').to_ascii_lowercase())
}

async fn handle(
    State(proxy): State<Arc<Proxy>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let Some(host) = host_of(&request) else {
        return page(StatusCode::BAD_REQUEST, "No host", "The request names no host.");
    };
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let services = proxy.services();
    let names = names_of(&host);
    let choice = names.iter().map(|n| routes::choose(&services, n, &path)).find(|c| *c != Choice::Nobody);
    match choice.unwrap_or(Choice::Nobody) {
        Choice::Backends { service, scheme, addresses, headers } => {
            if scheme == Scheme::Https {
                let why =
                    format!("{service} speaks HTTPS to its proxy, which the development proxy does not.");
                return page(StatusCode::BAD_GATEWAY, "Not in development", &why);
            }
            let mut reply = send_to_one(&proxy, &service, addresses, request, client).await;
            add_headers(reply.headers_mut(), &headers);
            reply
        }
        Choice::Down { service } => absent(&proxy, &names).unwrap_or_else(|| unavailable(&service)),
        Choice::Redirect { to, code } => redirect(&to, code, &host, proxy.config.listen.port()),
        Choice::Nobody => match proxy.website(&names).await {
            Some(alias) => to_website(&proxy, alias, request, client).await,
            None if matches!(host.as_str(), "localhost" | "127.0.0.1") => {
                listing(&services, proxy.config.listen.port())
            }
            // An app that has doors at the host answers there: what it has no door for is not there.
            None if names.iter().any(|n| routes::has_door(&services, n)) => {
                let why = format!("{host} has no such path.");
                page(StatusCode::NOT_FOUND, "Nothing here", &why)
            }
            None => absent(&proxy, &names).unwrap_or_else(|| {
                let why = format!("No app and no website has the name {host}.");
                page(StatusCode::NOT_FOUND, "Nothing here", &why)
            }),
        },
    }
}

/// Sends a request to the first of the instances that takes the connection, beginning with another one each
/// time. A connection of its own for each request: none goes stale while its instance is replaced.
async fn send_to_one(
    proxy: &Proxy,
    service: &str,
    mut addresses: Vec<SocketAddr>,
    request: Request,
    client: SocketAddr,
) -> Response {
    let turn = proxy.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
    addresses.rotate_left(turn);
    // What carries no body and changes nothing may be sent again when the instance dies under it.
    let repeatable = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && hyper::body::Body::is_end_stream(request.body())
        && !request.headers().contains_key(header::UPGRADE);
    let copy = repeatable.then(|| {
        let mut copy = Request::new(Body::empty());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        copy
    });
    let mut waiting = Some(request);
    for address in addresses {
        let Ok(stream) = connect(address).await else { continue };
        let Some(request) = waiting.take() else { break };
        match forward(stream, request, client).await {
            Ok(reply) => return reply,
            Err(e) => {
                tracing::debug!(service, %address, error = %e, "an instance took the connection and gave no answer");
                waiting = copy.as_ref().map(|c| {
                    let mut again = Request::new(Body::empty());
                    *again.method_mut() = c.method().clone();
                    *again.uri_mut() = c.uri().clone();
                    *again.headers_mut() = c.headers().clone();
                    again
                });
                if waiting.is_none() {
                    let why =
                        format!("{service} took the request and closed the connection without an answer.");
                    return page(StatusCode::BAD_GATEWAY, "No answer", &why);
                }
            }
        }
    }
    unavailable(service)
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn to_website(proxy: &Proxy, alias: &str, mut request: Request, client: SocketAddr) -> Response {
    let Ok(host) = HeaderValue::from_str(alias) else {
        return page(StatusCode::BAD_REQUEST, "No host", "The name is no host name.");
    };
    request.headers_mut().insert(header::HOST, host);
    let Ok(stream) = connect(proxy.config.web).await else { return unavailable("garage") };
    match forward(stream, request, client).await {
        Ok(reply) => reply,
        Err(_) => unavailable("garage"),
    }
}

/// Sends one request down a fresh connection. Upgrades are joined on both sides and left alone.
async fn forward(
    stream: TcpStream,
    mut request: Request,
    client: SocketAddr,
) -> Result<Response, hyper::Error> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());

    let upgrade = request.headers().get(header::UPGRADE).cloned();
    let downstream = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let host = request.headers().get(header::HOST).cloned();
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    *request.uri_mut() = path.parse().unwrap_or_default();
    *request.version_mut() = http::Version::HTTP_11;
    let headers = request.headers_mut();
    drop_hop_by_hop(headers);
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    if let Ok(value) = HeaderValue::from_str(&client.ip().to_string()) {
        headers.append("x-forwarded-for", value);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    if let Some(host) = host {
        headers.insert("x-forwarded-host", host);
    }

    let mut reply = sender.send_request(request).await?;
    if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upstream = hyper::upgrade::on(&mut reply);
        if let Some(downstream) = downstream {
            tokio::spawn(async move {
                if let (Ok(up), Ok(down)) = (upstream.await, downstream.await) {
                    let (mut up, mut down) = (TokioIo::new(up), TokioIo::new(down));
                    let _ = tokio::io::copy_bidirectional(&mut up, &mut down).await;
                }
            });
        }
    } else {
        drop_hop_by_hop(reply.headers_mut());
    }
    Ok(reply.map(Body::new))
}

/// RFC 9110, 7.6.1: what concerns one connection is not passed on.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in
        ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"]
    {
        headers.remove(name);
    }
}

fn add_headers(headers: &mut HeaderMap, added: &[(String, String)]) {
    for (name, value) in added {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
}

/// Back to a name that the browser reaches: where the request came by `.localhost`, so does the answer.
fn redirect(to: &str, code: u16, host: &str, port: u16) -> Response {
    let to = to.trim_start_matches("https://").trim_start_matches("http://");
    let location = match to.split_once('/') {
        _ if !host.ends_with(".localhost") => format!("http://{to}"),
        Some((name, path)) => format!("http://{}:{port}/{path}", local_name(name)),
        None => format!("http://{}:{port}/", local_name(to)),
    };
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::FOUND);
    (status, [(header::LOCATION, location)]).into_response()
}

fn local_name(host: &str) -> String {
    if host.ends_with(".localhost") { host.to_owned() } else { format!("{host}.localhost") }
}

/// The page of a host that an app holds, nothing of which answers.
fn absent(proxy: &Proxy, names: &[&str]) -> Option<Response> {
    let (app, absence) = names.iter().find_map(|n| proxy.apps.at(n))?;
    let (title, why) = absence.words(&app);
    let mut reply = page(StatusCode::SERVICE_UNAVAILABLE, &escape(&title), &why);
    reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    Some(reply)
}

fn unavailable(service: &str) -> Response {
    let why = format!("{service} has no instance that is up: it is stopped, starting, or failing its check.");
    let mut reply = page(StatusCode::SERVICE_UNAVAILABLE, "Not running", &why);
    reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    reply
}

fn listing(services: &Services, port: u16) -> Response {
    // Each door, with its service, and whether anything is behind it.
    let mut doors = BTreeMap::new();
    for (name, list) in services {
        let all = list.iter().flat_map(|i| i.tags.doors.iter().map(move |d| (i, d)));
        for (instance, door) in all.filter(|(_, d)| !d.host.contains('*')) {
            let url = format!("http://{}:{port}{}", local_name(&door.host), door.path);
            *doors.entry((url, name)).or_insert(false) |= instance.health == Health::Up;
        }
    }
    let row = |((url, name), is_up): (&(String, &String), &bool)| {
        let down = if *is_up { "" } else { ", not running" };
        format!("<li><a href=\"{0}\">{0}</a> ({1}{down})</li>", escape(url), escape(name))
    };
    let rows = doors.iter().map(row).collect::<Vec<_>>().concat();
    let body =
        if rows.is_empty() { "<p>No app has a route yet.</p>".into() } else { format!("<ul>{rows}</ul>") };
    html(StatusCode::OK, "Apps of this machine", &body)
}

fn page(status: StatusCode, title: &str, why: &str) -> Response {
    html(status, title, &format!("<p>{}</p>", escape(why)))
}

fn html(status: StatusCode, title: &str, body: &str) -> Response {
    let text = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <body style=\"font-family: sans-serif; margin: 4em auto; max-width: 40em\">\
         <h1>{title}</h1>{body}<p><small>Terreau's development proxy</small></p></body></html>\n"
    );
    (status, axum::response::Html(text)).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
