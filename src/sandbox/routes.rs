//! The tags of Tricot, read as CLUSTER.md tells them, and the choice of a route. Pure: no socket, no clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The priority of a tag that names none.
const DEFAULT_PRIORITY: u32 = 100;

/// One `tricot <host>[/<path>] [<priority>]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// A host, `*.suffix`, or `*`.
    pub host: String,
    /// A path prefix that begins with `/`, or nothing.
    pub path: String,
    /// The higher wins.
    pub priority: u32,
    /// The backend speaks HTTPS.
    pub scheme: Scheme,
}

/// How the backend is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// `tricot-https`.
    Https,
}

/// One `tricot-add-redirect <from> <to> <code>`: a prefix (host and path) is replaced by another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The host and path prefix that are left.
    pub from: (String, String),
    /// The host and path prefix that take their place.
    pub to: String,
    /// 3xx.
    pub code: u16,
}

/// What the tags of one service instance say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags {
    /// Its doors.
    pub doors: Vec<Door>,
    /// Response headers to set.
    pub headers: Vec<(String, String)>,
    /// Its redirects.
    pub redirects: Vec<Redirect>,
}

impl Tags {
    /// Reads the tags. What is not Tricot's, or malformed, is left out, as Tricot does.
    pub fn read<S: AsRef<str>>(tags: &[S]) -> Self {
        let mut read = Self::default();
        for tag in tags.iter().map(AsRef::as_ref) {
            let (word, rest) = tag.split_once(' ').unwrap_or((tag, ""));
            match word {
                "tricot" => read.doors.extend(door(rest, Scheme::Http)),
                "tricot-https" => read.doors.extend(door(rest, Scheme::Https)),
                "tricot-add-header" => {
                    if let Some((name, value)) = rest.split_once(' ') {
                        read.headers.push((name.to_owned(), value.to_owned()));
                    }
                }
                "tricot-add-redirect" => read.redirects.extend(redirect(rest)),
                _ => (),
            }
        }
        read
    }
}

fn door(rest: &str, scheme: Scheme) -> Option<Door> {
    let mut words = rest.split_ascii_whitespace();
    let (host, path) = prefix(words.next()?);
    let priority = match words.next() {
        Some(word) => word.parse().ok()?,
        None => DEFAULT_PRIORITY,
    };
    Some(Door { host, path, priority, scheme })
}

fn redirect(rest: &str) -> Option<Redirect> {
    let mut words = rest.split_ascii_whitespace();
    let (from, to) = (prefix(words.next()?), words.next()?.to_owned());
    let code = words.next()?.parse().ok().filter(|c| (300..400).contains(c))?;
    Some(Redirect { from, to, code })
}

fn prefix(text: &str) -> (String, String) {
    match text.find('/') {
        Some(at) => (text[..at].to_ascii_lowercase(), text[at..].trim_end_matches('/').to_owned()),
        None => (text.to_ascii_lowercase(), String::new()),
    }
}

/// Whether requests may be sent to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// No check of it or of its node is critical.
    Up,
    /// One is; `serfHealth` counts.
    Down,
}

/// One instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it may be used.
    pub health: Health,
    /// What its tags say.
    pub tags: Tags,
}

/// Reads the answer of Consul's `/v1/health/service/<name>`. Instances without a numeric address are left out.
pub fn instances(answer: &serde_json::Value) -> Vec<Instance> {
    let read = |entry: &serde_json::Value| {
        let service = &entry["Service"];
        let own = service["Address"].as_str().filter(|a| !a.is_empty());
        let ip = own.or_else(|| entry["Node"]["Address"].as_str())?.parse().ok()?;
        let port = u16::try_from(service["Port"].as_u64()?).ok().filter(|p| *p > 0)?;
        let up = |check: &serde_json::Value| matches!(check["Status"].as_str(), Some("passing" | "warning"));
        let health = match entry["Checks"].as_array() {
            Some(checks) if !checks.iter().all(up) => Health::Down,
            _ => Health::Up,
        };
        let tags: Vec<&str> = service["Tags"]
            .as_array()
            .map(|t| t.iter().filter_map(|t| t.as_str()).collect())
            .unwrap_or_default();
        Some(Instance { address: SocketAddr::new(ip, port), health, tags: Tags::read(&tags) })
    };
    answer.as_array().map(|all| all.iter().filter_map(read).collect()).unwrap_or_default()
}

/// All services with doors, by name.
pub type Services = BTreeMap<String, Vec<Instance>>;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// To one of these, all up; headers to set on the answer.
    Backends {
        /// The service's name.
        service: String,
        /// How to speak to them.
        scheme: Scheme,
        /// Instances, in no order.
        addresses: Vec<SocketAddr>,
        /// Response headers.
        headers: Vec<(String, String)>,
    },
    /// The route exists; nobody behind it is up.
    Down {
        /// The service's name.
        service: String,
    },
    /// Elsewhere.
    Redirect {
        /// Host and path, without a scheme.
        to: String,
        /// 3xx.
        code: u16,
    },
    /// No service claims the host.
    Nobody,
}

/// Chooses for a host (lower case, without port) and a path with its query. An exact host wins over a pattern,
/// then the higher priority, then the longer path.
pub fn choose(services: &Services, host: &str, path: &str) -> Choice {
    let all = || services.iter().flat_map(|(name, list)| list.iter().map(move |i| (name, i)));
    let redirect = all()
        .flat_map(|(_, i)| &i.tags.redirects)
        .filter(|r| host_matches(&r.from.0, host).is_some() && path.starts_with(&r.from.1))
        .max_by_key(|r| r.from.1.len());
    if let Some(r) = redirect {
        return Choice::Redirect { to: format!("{}{}", r.to, &path[r.from.1.len()..]), code: r.code };
    }
    let rank = |door: &Door| {
        let host = host_matches(&door.host, host)?;
        path.starts_with(&door.path).then_some((host, door.priority, door.path.len()))
    };
    let best = all()
        .flat_map(|(name, i)| i.tags.doors.iter().map(move |d| (name, d)))
        .filter_map(|(name, door)| Some((rank(door)?, name, door)))
        .max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(a.1)));
    let Some((_, service, door)) = best else { return Choice::Nobody };
    // Instances of one service may differ while a deployment replaces them: only those with this door serve it.
    let up: Vec<&Instance> = services[service]
        .iter()
        .filter(|i| i.health == Health::Up && i.tags.doors.iter().any(|d| d == door))
        .collect();
    match up.first() {
        None => Choice::Down { service: service.clone() },
        Some(first) => Choice::Backends {
            service: service.clone(),
            scheme: door.scheme,
            addresses: up.iter().map(|i| i.address).collect(),
            headers: first.tags.headers.clone(),
        },
    }
}

/// Whether a service has a door or a redirect at exactly this host, whatever the path.
pub fn has_door(services: &Services, host: &str) -> bool {
    let mut all = services.values().flatten().map(|i| &i.tags);
    all.any(|t| t.doors.iter().any(|d| d.host == host) || t.redirects.iter().any(|r| r.from.0 == host))
}

/// How exactly a pattern names the host: the more, the better.
fn host_matches(pattern: &str, host: &str) -> Option<usize> {
    if pattern == host {
        return Some(usize::MAX);
    }
    let suffix = pattern.strip_prefix('*')?;
    (suffix.is_empty() || (host.ends_with(suffix) && host.len() > suffix.len())).then_some(suffix.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn entry(port: u16, tags: &[&str], checks: &[&str]) -> serde_json::Value {
        let checks: Vec<_> = checks.iter().map(|s| json!({ "Status": s })).collect();
        json!({ "Node": { "Address": "127.0.0.1" }, "Checks": checks,
                "Service": { "Address": "", "Port": port, "Tags": tags } })
    }

    fn services(list: &[(&str, serde_json::Value)]) -> Services {
        list.iter().map(|(n, v)| ((*n).to_owned(), instances(&json!([v])))).collect()
    }

    fn service_of(choice: &Choice) -> &str {
        match choice {
            Choice::Backends { service, .. } | Choice::Down { service } => service,
            _ => "",
        }
    }

    #[test]
    fn a_header_tag_keeps_the_rest_of_the_line_as_its_value() {
        let tags = Tags::read(&["tricot-add-header Strict-Transport-Security max-age=63072000; preload"]);
        assert_eq!(
            tags.headers,
            [("Strict-Transport-Security".to_owned(), "max-age=63072000; preload".to_owned())]
        );
    }

    #[test]
    fn the_higher_priority_wins_then_the_longer_path() {
        let services = services(&[
            ("site", entry(1, &["tricot a.org"], &["passing"])),
            ("api", entry(2, &["tricot a.org/api"], &["passing"])),
            ("forced", entry(3, &["tricot a.org/forced 200", "tricot b.org"], &["passing"])),
            ("all", entry(4, &["tricot * 1"], &["passing"])),
        ]);
        for (host, path, expected) in [
            ("a.org", "/", "site"),
            ("a.org", "/api/x", "api"),
            ("a.org", "/forced", "forced"),
            ("b.org", "/api", "forced"),
            ("c.org", "/", "all"),
        ] {
            assert_eq!(service_of(&choose(&services, host, path)), expected, "{host}{path}");
        }
    }

    #[test]
    fn a_node_check_takes_an_instance_down() {
        let one = services(&[("a", entry(1, &["tricot a.org"], &["passing", "critical"]))]);
        assert_eq!(choose(&one, "a.org", "/"), Choice::Down { service: "a".into() });
    }

    #[test]
    fn redirects_keep_the_rest_of_the_path() {
        let tags = ["tricot new.org", "tricot-add-redirect old.org/a new.org/b 301"];
        let one = services(&[("a", entry(1, &tags, &["passing"]))]);
        let expected = Choice::Redirect { to: "new.org/b/c?d".into(), code: 301 };
        assert_eq!(choose(&one, "old.org", "/a/c?d"), expected);
        assert_eq!(choose(&one, "old.org", "/z"), Choice::Nobody);
        assert!(has_door(&one, "old.org") && has_door(&one, "new.org") && !has_door(&one, "a.org"));
    }

    proptest! {
        #[test]
        fn no_tag_breaks_the_reader(tag in "(tricot|tricot-https|tricot-add-redirect|tricot-add-header)?.{0,40}") {
            let _ = Tags::read(&[tag]);
        }
    }
}
