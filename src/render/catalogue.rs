//! Services: what stands in Consul's catalogue, with the tags that the proxy and DNS read (CLUSTER.md, "Service tags").

use std::fmt::Write as _;
use std::time::Duration;

use super::RenderError;
use super::names::{check_len, main_port, service_of_port};
use super::scope::Scope;
use super::spec::{Check, Service};
use crate::model::cluster::ProxyKind;
use crate::model::project::{CheckKind, Process, Route};

/// A new instance may fail its checks this long before they count.
const GRACE: Duration = Duration::from_secs(90);
/// An instance is restarted when its check has failed this long: three checks of 60 s, on clusters as they are.
const PATIENCE: Duration = Duration::from_mins(3);
/// An instance whose checks have failed about this long is kept from visitors.
const DOUBT: Duration = Duration::from_secs(10);

/// A service for each port; the checks and routes of a port stand on its own.
pub(super) fn services(scope: &Scope<'_>) -> Result<Vec<Service>, RenderError> {
    let process = scope.process;
    let mut services: Vec<Service> = Vec::with_capacity(process.ports.len());
    for port in &process.ports {
        let name = service_of_port(scope.project, scope.placement, process, port);
        check_len("service", &name)?;
        let routes: Vec<&Route> = process.routes.iter().filter(|r| r.port == port.name).collect();
        let mut checks: Vec<Check> = Vec::new();
        for check in process.checks.iter().filter(|c| c.port == port.name) {
            checks.push(check_of(process, check, &checks)?);
        }
        let is_main = main_port(process).is_some_and(|p| p.name == port.name);
        if is_main && process.checks.is_empty() {
            checks.push(default_check());
        }
        let cluster = &scope.bindings.cluster;
        let mut tags = match cluster.proxy {
            ProxyKind::Tricot => tricot(process, &routes)?,
            ProxyKind::Traefik => traefik(process, &name, &routes)?,
        };
        for host in
            routes.iter().flat_map(|r| [&r.host].into_iter().chain(r.redirects.iter().map(|r| &r.host)))
        {
            let tag = format!("d53-cname {host}");
            if cluster.has_dns(host.as_str()) && !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        services.push(Service { name, port: port.label(), tags, checks });
    }
    Ok(services)
}

fn default_check() -> Check {
    Check {
        name: "tcp".to_owned(),
        kind: "tcp",
        path: None,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(5),
        failures: failures(Duration::from_secs(2)),
        limit: limit(Duration::from_secs(2)),
        grace: GRACE,
    }
}

/// How many checks in a row fail before visitors are kept away: one that a busy node answers late must not take an app's
/// only instance from them. A new instance still serves no sooner than its first check passes, and one that ends is
/// taken out at once, by Nomad.
fn failures(interval: Duration) -> u32 {
    let n = DOUBT.as_millis() / interval.as_millis().max(1);
    u32::try_from(n).unwrap_or(u32::MAX).clamp(1, 3)
}

/// How many failed checks make up the patience.
fn limit(interval: Duration) -> u32 {
    let n = PATIENCE.as_millis().div_ceil(interval.as_millis().max(1));
    u32::try_from(n).unwrap_or(u32::MAX).max(1)
}

fn check_of(
    process: &Process,
    check: &crate::model::project::Check,
    before: &[Check],
) -> Result<Check, RenderError> {
    let (kind, path) = match &check.kind {
        CheckKind::Http { path } => ("http", Some(writable(process, "check path", path)?.to_owned())),
        CheckKind::Tcp => ("tcp", None),
    };
    let same = before.iter().filter(|c| c.kind == kind).count();
    Ok(Check {
        // Names are unique within a service.
        name: if same == 0 { kind.to_owned() } else { format!("{kind} {}", same + 1) },
        kind,
        path,
        interval: check.interval,
        timeout: check.timeout,
        failures: failures(check.interval),
        limit: limit(check.interval),
        grace: check.grace.unwrap_or(GRACE),
    })
}

/// Refuses what Nomad would evaluate in a place where it knows no escape, and what would end a tag's word.
fn writable<'a>(process: &Process, what: &'static str, value: &'a str) -> Result<&'a str, RenderError> {
    let why = if value.contains("${") || value.contains("%{") {
        "\"${\" or \"%{\", which Nomad would evaluate there"
    } else if value.chars().any(char::is_control) {
        "control characters"
    } else if what != "header" && value.contains([' ', '`']) {
        "spaces or backquotes"
    } else {
        return Ok(value);
    };
    Err(RenderError::Unwritable { process: process.name.to_string(), what, value: value.to_owned(), why })
}

/// `tricot <host>[/<path>] [<priority>]` for each route, then `tricot-add-header <Name> <value>`: the headers are the
/// service's, each once.
fn tricot(process: &Process, routes: &[&Route]) -> Result<Vec<String>, RenderError> {
    let mut tags = Vec::new();
    for route in routes {
        let mut tag = format!("tricot {}", route.host);
        if let Some(path) = &route.path {
            tag.push_str(writable(process, "route path", path)?);
        }
        if let Some(priority) = route.priority {
            let _ = write!(tag, " {priority}");
        }
        tags.push(tag);
    }
    for route in routes {
        let to = format!("{}{}", route.host, route.path.as_deref().unwrap_or_default());
        for redirect in &route.redirects {
            let path = match &redirect.path {
                Some(path) => writable(process, "redirect path", path)?,
                None => "",
            };
            tags.push(format!("tricot-add-redirect {}{path} {to} {}", redirect.host, redirect.code));
        }
    }
    for (name, value) in routes.iter().flat_map(|r| &r.headers) {
        let name = writable(process, "header name", name)?;
        let tag = format!("tricot-add-header {name} {}", writable(process, "header", value)?);
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

/// A router for each route, named after the service.
fn traefik(process: &Process, service: &str, routes: &[&Route]) -> Result<Vec<String>, RenderError> {
    if routes.is_empty() {
        return Ok(Vec::new());
    }
    let mut tags = vec!["traefik.enable=true".to_owned()];
    for (n, route) in routes.iter().enumerate() {
        let id = if n == 0 { service.to_owned() } else { format!("{service}-route{}", n + 1) };
        let mut rule = format!("Host(`{}`)", route.host);
        if let Some(path) = &route.path {
            let _ = write!(rule, " && PathPrefix(`{}`)", writable(process, "route path", path)?);
        }
        tags.push(format!("traefik.http.routers.{id}.rule={rule}"));
        if let Some(priority) = route.priority {
            tags.push(format!("traefik.http.routers.{id}.priority={priority}"));
        }
        if !route.headers.is_empty() {
            tags.push(format!("traefik.http.routers.{id}.middlewares={id}"));
        }
        for (name, value) in &route.headers {
            let name = writable(process, "header name", name)?;
            let value = writable(process, "header", value)?;
            tags.push(format!("traefik.http.middlewares.{id}.headers.customresponseheaders.{name}={value}"));
        }
        tags.extend(traefik_redirects(process, &id, route)?);
    }
    Ok(tags)
}

/// A router and a middleware for each redirect: Traefik knows 301 and 302, and keeps the method where it is 308 or 307
/// by itself.
fn traefik_redirects(process: &Process, id: &str, route: &Route) -> Result<Vec<String>, RenderError> {
    let mut tags = Vec::new();
    for (n, redirect) in route.redirects.iter().enumerate() {
        let name = format!("{id}-redirect{}", n + 1);
        let path = match &redirect.path {
            Some(path) => writable(process, "redirect path", path)?,
            None => "",
        };
        let mut rule = format!("Host(`{}`)", redirect.host);
        if !path.is_empty() {
            let _ = write!(rule, " && PathPrefix(`{path}`)");
        }
        let quoted: String = format!("{}{path}", redirect.host)
            .chars()
            .flat_map(
                |c| if c.is_ascii_alphanumeric() || "/-_~%".contains(c) { vec![c] } else { vec!['\\', c] },
            )
            .collect();
        let to = format!("{}{}", route.host, route.path.as_deref().unwrap_or_default());
        let lasts = matches!(redirect.code, 301 | 308);
        let middleware = format!("traefik.http.middlewares.{name}.redirectregex");
        tags.push(format!("traefik.http.routers.{name}.rule={rule}"));
        tags.push(format!("traefik.http.routers.{name}.middlewares={name}"));
        // `$1`, not `${1}`: Nomad would take that for its own.
        tags.push(format!("{middleware}.regex=^(https?)://{quoted}(.*)"));
        tags.push(format!("{middleware}.replacement=$1://{to}$2"));
        tags.push(format!("{middleware}.permanent={lasts}"));
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_checks_may_fail_twice_and_rare_ones_never() {
        let of = |s| failures(Duration::from_secs(s));
        assert_eq!([of(1), of(2), of(3), of(4), of(5), of(9), of(10), of(60)], [3, 3, 3, 2, 2, 1, 1, 1]);
    }

    #[test]
    fn patience_is_180_seconds_whatever_the_interval() {
        assert_eq!(limit(Duration::from_secs(2)), 90);
        assert_eq!(limit(Duration::from_mins(1)), 3);
        assert_eq!(limit(Duration::from_secs(7)), 26);
        assert_eq!(limit(Duration::from_mins(10)), 1);
    }
}
