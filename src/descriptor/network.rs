//! Reads how a process is reached: `port`, `check` and `route`.

use std::time::Duration;

use hcl_edit::expr::Expression;

use super::draft::{DraftRoute, Fixed, Named};
use super::fault::code;
use super::grammar::{self, nearest};
use super::scope::{Scope, label};
use super::source::{Ctx, error, span_of};
use super::value::clip;
use crate::model::names::PartName;
use crate::model::project::{Check, CheckKind, Redirect, Route};

/// Between checks, and until one has failed.
pub(super) const CHECK_PERIOD: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// Ports that programs of the cluster hold on every node.
const TAKEN: [(u16, &str); 17] = [
    (22, "SSH"),
    (80, "the HTTP proxy"),
    (443, "the HTTP proxy"),
    (3900, "Garage"),
    (3901, "Garage"),
    (3902, "Garage"),
    (3903, "Garage"),
    (3904, "Garage"),
    (4646, "Nomad"),
    (4647, "Nomad"),
    (4648, "Nomad"),
    (8300, "Consul"),
    (8301, "Consul"),
    (8302, "Consul"),
    (8500, "Consul"),
    (8501, "Consul"),
    (8600, "Consul"),
];

/// The ports of a process.
pub(super) type Ports = [Named<Option<Fixed>>];

/// Reads `port "name" { }`.
pub(super) fn read_ports(ctx: &Ctx<'_>, scope: &Scope<'_>) -> Vec<Named<Option<Fixed>>> {
    let mut ports: Vec<Named<Option<Fixed>>> = Vec::new();
    for block in scope.blocks("port") {
        let Some((name, at)) = label(ctx, block) else { continue };
        let inner = Scope::open(ctx, block, grammar::PORT);
        let sound = ctx.name(PartName::new(name), at.clone()).is_some();
        if ports.iter().any(|p| p.label == name) {
            error(at, code::DUPLICATE, format!("{} has more than one port `{name}`", scope.what)).add(ctx);
            continue;
        }
        let fixed = match inner.get("static") {
            None => sound.then_some(None),
            Some(expr) => fixed_port(ctx, expr).filter(|_| sound).map(Some),
        };
        ports.push(Named { label: name.to_owned(), at: inner.at, value: fixed });
    }
    ports
}

fn fixed_port(ctx: &Ctx<'_>, expr: &Expression) -> Option<Fixed> {
    let at = span_of(expr);
    let number = u16::try_from(ctx.integer(expr, "`static`", 1..=65_535)?).ok()?;
    if let Some((_, owner)) = TAKEN.iter().find(|(n, _)| *n == number) {
        return error(at, code::CONFLICT, format!("port {number} belongs to {owner} on every node"))
            .help("leave `static` out: Nomad then chooses a free port, which `port.<name>` stands for")
            .none(ctx);
    }
    Some(Fixed { number, at })
}

/// The port that a check or route names, else the process's first.
fn port_of(ctx: &Ctx<'_>, inner: &Scope<'_>, process: &str, ports: &Ports) -> Option<PartName> {
    if let Some(expr) = inner.get("port") {
        let at = span_of(expr);
        if let Expression::Number(_) = expr {
            return error(at, code::TYPE, "`port` takes the name of a port, not a number")
                .help("declare it: `port \"http\" {}`, and name it here: `port = \"http\"`")
                .none(ctx);
        }
        let text = ctx.literal(expr, "`port`")?;
        if ports.iter().any(|p| p.label == text) {
            return PartName::new(text).ok();
        }
        let near = nearest(&text, ports.iter().map(|p| p.label.as_str())).map(|n| format!("\"{n}\""));
        return error(at, code::REFERENCE, format!("{process} has no port {:?}", clip(&text)))
            .maybe_suggest(near)
            .help("declare it in the process: `port \"http\" {}`")
            .none(ctx);
    }
    match ports.first() {
        Some(first) => PartName::new(first.label.as_str()).ok(),
        None => error(
            inner.at.clone(),
            code::MISSING,
            format!("{} needs a port, and {process} has none", inner.what),
        )
        .help("declare one in the process: `port \"http\" {}`")
        .none(ctx),
    }
}

/// Reads `check "http" { }` and `check "tcp" { }`.
pub(super) fn read_checks(ctx: &Ctx<'_>, scope: &Scope<'_>, ports: &Ports) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for block in scope.blocks("check") {
        let Some((kind, at)) = label(ctx, block) else { continue };
        let grammar = match kind {
            "http" => grammar::CHECK_HTTP,
            "tcp" => grammar::CHECK_TCP,
            "script" | "grpc" => {
                error(
                    at,
                    code::NOT_YET,
                    format!("a check by {kind} is not built yet in this version of Terreau"),
                )
                .help("there are `check \"http\"` and `check \"tcp\"`")
                .add(ctx);
                continue;
            }
            other => {
                error(at, code::VALUE, format!("there is no check {:?}", clip(other)))
                    .maybe_suggest(nearest(other, ["http", "tcp"]).map(|n| format!("\"{n}\"")))
                    .help("there are `check \"http\"` and `check \"tcp\"`")
                    .add(ctx);
                continue;
            }
        };
        let inner = Scope::open(ctx, block, grammar);
        let port = port_of(ctx, &inner, &scope.what, ports);
        let period =
            |key: &str| inner.get(key).and_then(|e| ctx.duration(e, &format!("`{key}`"), SECOND..=HOUR));
        let (interval, timeout) = (period("interval"), period("timeout"));
        let grace = inner.get("grace").and_then(|e| ctx.duration(e, "`grace`", Duration::ZERO..=HOUR));
        let kind = if kind == "http" {
            let path = inner.get("path").map(|e| url_path(ctx, e));
            match path {
                None => Some(CheckKind::Http { path: "/".to_owned() }),
                Some(path) => path.map(|path| CheckKind::Http { path }),
            }
        } else {
            Some(CheckKind::Tcp)
        };
        let (Some(port), Some(kind)) = (port, kind) else { continue };
        if checks.iter().any(|c| c.port == port && c.kind == kind) {
            error(inner.at, code::DUPLICATE, format!("{} asks the same thing in two checks", scope.what))
                .add(ctx);
            continue;
        }
        checks.push(Check {
            port,
            kind,
            interval: interval.unwrap_or(CHECK_PERIOD),
            timeout: timeout.unwrap_or(CHECK_PERIOD),
            grace,
        });
    }
    checks
}

/// The path of a URL, as proxies and checks can hold it.
fn url_path(ctx: &Ctx<'_>, expr: &Expression) -> Option<String> {
    let text = ctx.literal(expr, "`path`")?;
    let at = span_of(expr);
    if !text.starts_with('/') {
        return error(at, code::VALUE, "`path` must begin with `/`")
            .suggest(format!("\"/{text}\""))
            .none(ctx);
    }
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "/-._~%@:+=&?,;!".contains(c));
    if text.contains(odd) || text.len() > 512 || text.split('/').any(|p| p == "..") {
        return error(at, code::VALUE, "`path` holds something that a URL's path cannot have")
            .help("letters, digits and `-._~%@:+=&?,;!/`, without `..`; write the rest as %XX")
            .none(ctx);
    }
    Some(text)
}

/// Reads `route "host" { }`.
pub(super) fn read_routes(ctx: &Ctx<'_>, scope: &Scope<'_>, ports: &Ports) -> (Vec<DraftRoute>, Vec<Route>) {
    let (mut drafts, mut routes) = (Vec::new(), Vec::new());
    for block in scope.blocks("route") {
        let Some((text, at)) = label(ctx, block) else { continue };
        let inner = Scope::open(ctx, block, grammar::ROUTE);
        let host = ctx.host(text, at.clone());
        let port = port_of(ctx, &inner, &scope.what, ports);
        let path = inner.get("path").map(|e| prefix(ctx, e, "route"));
        let priority = inner.get("priority").and_then(|e| ctx.small(e, "`priority`", 1..=1_000_000));
        let headers = read_headers(ctx, &inner);
        let (left, redirects) = read_redirects(ctx, &inner);
        let path = match path {
            None => None,
            Some(None) => continue,
            Some(Some(path)) => Some(path).filter(|p| p != "/"),
        };
        drafts.push(DraftRoute { host: text.to_owned(), path: path.clone(), at });
        drafts.extend(left);
        if let (Some(host), Some(port)) = (host, port) {
            routes.push(Route { host, path, priority, headers, port, redirects });
        }
    }
    (drafts, routes)
}

/// A path that stands for everything below it.
fn prefix(ctx: &Ctx<'_>, expr: &Expression, of: &str) -> Option<String> {
    let path = url_path(ctx, expr)?;
    if path.contains(['?', ';', ',', '&', '=']) {
        let what = format!("the `path` of a {of} is a prefix, without a query");
        return error(span_of(expr), code::VALUE, what).none(ctx);
    }
    Some(path)
}

/// Reads `redirect "host" { }` of a route.
fn read_redirects(ctx: &Ctx<'_>, route: &Scope<'_>) -> (Vec<DraftRoute>, Vec<Redirect>) {
    let (mut drafts, mut redirects) = (Vec::new(), Vec::new());
    for block in route.blocks("redirect") {
        let Some((text, at)) = label(ctx, block) else { continue };
        let inner = Scope::open(ctx, block, grammar::REDIRECT);
        let host = ctx.host(text, at.clone());
        let path = inner.get("path").map(|e| prefix(ctx, e, "redirect"));
        let code = match inner.get("code") {
            None => Some(301),
            Some(expr) => ctx.integer(expr, "`code`", 300..=399).and_then(|n| match n {
                301 => Some(301),
                302 => Some(302),
                307 => Some(307),
                308 => Some(308),
                _ => error(span_of(expr), code::VALUE, format!("{n} is no code of a redirect"))
                    .help("301 and 308 are for good, 302 and 307 for now; 307 and 308 keep the method")
                    .none(ctx),
            }),
        };
        let path = match path {
            None => None,
            Some(None) => continue,
            Some(Some(path)) => Some(path).filter(|p| p != "/"),
        };
        drafts.push(DraftRoute { host: text.to_owned(), path: path.clone(), at });
        if let (Some(host), Some(code)) = (host, code) {
            redirects.push(Redirect { host, path, code });
        }
    }
    (drafts, redirects)
}

fn read_headers(ctx: &Ctx<'_>, inner: &Scope<'_>) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for item in inner.entries(ctx, "headers").unwrap_or_default() {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_|~".contains(c);
        if item.key.is_empty() || !item.key.chars().all(token) {
            error(item.at, code::NAME, format!("{:?} is not the name of an HTTP header", clip(&item.key)))
                .add(ctx);
            continue;
        }
        if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(&item.key)) {
            error(item.at, code::DUPLICATE, format!("header `{}` is set twice", item.key)).add(ctx);
            continue;
        }
        let Some(text) = ctx.literal(item.value, &format!("header `{}`", item.key)) else { continue };
        if text.chars().any(char::is_control) || text.len() > 4096 {
            error(
                span_of(item.value),
                code::VALUE,
                format!("header `{}` holds a control character or is too long", item.key),
            )
            .add(ctx);
            continue;
        }
        if text.contains("${") || text.contains("%{") {
            error(
                span_of(item.value),
                code::EXPRESSION,
                format!("header `{}` must not hold `${{` or `%{{`", item.key),
            )
            .help("Nomad would evaluate it, and knows no way to write it literally there")
            .add(ctx);
            continue;
        }
        headers.push((item.key, text));
    }
    headers
}
