//! Services: what stands in Consul's catalogue, with the tags that the proxy and DNS read (CLUSTER.md, "Service tags").

use std::fmt::Write as _;
use std::time::Duration;

use super::RenderError;
use super::names::{check_len, main_port, service_of_port};
use super::scope::Scope;
use super::spec::{Check, Service};
use crate::model::cluster::{Cluster, ProxyKind};
use crate::model::project::{CheckKind, Process, Route};

/// A new instance may fail its checks this long before they count.
const GRACE: Duration = Duration::from_secs(90);
/// An instance is restarted when its check has failed this long: three checks of 60 s, on clusters as they are.
const PATIENCE: Duration = Duration::from_mins(3);

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
        for route in &routes {
            let tag = format!("d53-cname {}", route.host);
            if in_dns(cluster, route.host.as_str()) && !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        services.push(Service { name, port: port.label(), tags, checks });
    }
    Ok(services)
}

/// True where D53 may edit the host's zone.
fn in_dns(cluster: &Cluster, host: &str) -> bool {
    cluster
        .dns_domains
        .iter()
        .any(|d| host.strip_suffix(d.as_str()).is_some_and(|h| h.is_empty() || h.ends_with('.')))
}

fn default_check() -> Check {
    Check {
        name: "tcp".to_owned(),
        kind: "tcp",
        path: None,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(5),
        limit: limit(Duration::from_secs(2)),
        grace: GRACE,
    }
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
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_180_seconds_whatever_the_interval() {
        assert_eq!(limit(Duration::from_secs(2)), 90);
        assert_eq!(limit(Duration::from_mins(1)), 3);
        assert_eq!(limit(Duration::from_secs(7)), 26);
        assert_eq!(limit(Duration::from_mins(10)), 1);
    }

    #[test]
    fn dns_is_written_for_the_domains_that_d53_may_edit_and_no_others() {
        let cluster = Cluster { dns_domains: vec!["example.org".into()], ..Cluster::default() };
        assert!(in_dns(&cluster, "example.org"));
        assert!(in_dns(&cluster, "a.b.example.org"));
        assert!(!in_dns(&cluster, "badexample.org"));
        assert!(!in_dns(&cluster, "example.com"));
    }
}
