//! Names, hosts and paths as people write them, with what to write instead.

use super::fault::code;
use super::source::{Ctx, Report, Span, error};
use crate::model::names::{HostName, NameError};

impl Ctx<'_> {
    /// A checked name, or a fault with the nearest valid spelling.
    pub(super) fn name<T>(&self, made: Result<T, NameError>, at: Span) -> Option<T> {
        match made {
            Ok(name) => Some(name),
            Err(fault) => {
                let near: String = fault
                    .value
                    .to_lowercase()
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
                    .collect::<String>()
                    .split('-')
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join("-");
                let usable = near != fault.value
                    && near.len() <= 20
                    && near.starts_with(|c: char| c.is_ascii_lowercase())
                    && fault.what != "login"
                    && fault.what != "environment variable";
                let report = error(at, code::NAME, fault.to_string());
                if usable { report.suggest(format!("\"{near}\"")) } else { report }.none(self)
            }
        }
    }

    /// The host of a route.
    pub(super) fn host(&self, text: &str, at: Span) -> Option<HostName> {
        let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (bare, path) = match bare.split_once('/') {
            Some((host, path)) => (host, Some(path)),
            None => (bare, None),
        };
        let host = match HostName::new(text) {
            Ok(host) => host,
            Err(fault) => return odd_host(text, bare, path, &fault, at).none(self),
        };
        let zone = text.rsplit('.').next().unwrap_or_default();
        if zone == "consul" {
            return error(
                at,
                code::NAME,
                format!("host {text:?} lies in the catalogue's own zone `.consul`"),
            )
            .help("apps are reached inside the cluster by `service.<name>` without a route")
            .none(self);
        }
        if text.split('.').all(|l| l.bytes().all(|b| b.is_ascii_digit())) {
            return error(at, code::NAME, format!("host {text:?} is an address, not a name")).none(self);
        }
        Some(host)
    }

    /// A path relative to the descriptor, without `..`; `./` before and `/` after it are dropped.
    pub(super) fn relative_path(&self, text: &str, what: &str, at: Span) -> Option<String> {
        if text.starts_with('/') {
            return error(at, code::VALUE, format!("{what} must be a relative path"))
                .help("leave the first `/` out")
                .none(self);
        }
        if text.split('/').any(|p| p == "..") {
            return error(at, code::VALUE, format!("{what} must not lead upwards with `..`")).none(self);
        }
        if text.is_empty() || text.len() > 1024 || text.chars().any(|c| c.is_control() || c == '\\') {
            return error(at, code::VALUE, format!("{what} is not a path that every machine can hold"))
                .none(self);
        }
        let parts: Vec<&str> = text.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
        Some(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
    }

    /// A path inside a container: absolute, without `..`.
    pub(super) fn absolute_path(&self, text: &str, what: &str, at: Span) -> Option<String> {
        if !text.starts_with('/') {
            return error(at, code::VALUE, format!("{what} must be an absolute path"))
                .suggest(format!("\"/{}\"", text.trim_start_matches("./")))
                .none(self);
        }
        if text.split('/').any(|p| p == "..") {
            return error(at, code::VALUE, format!("{what} must not lead upwards with `..`")).none(self);
        }
        if text.len() > 1024 || text.chars().any(|c| c.is_control() || c == ':' || c == '\\') {
            return error(at, code::VALUE, format!("{what} holds characters that a path there cannot have"))
                .none(self);
        }
        let parts: Vec<&str> = text.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
        Some(format!("/{}", parts.join("/")))
    }
}

fn odd_host(text: &str, bare: &str, path: Option<&str>, fault: &NameError, at: Span) -> Report {
    let report = error(at, code::NAME, fault.to_string());
    if text.contains('*') {
        return report.help("a route names one host; `*` belongs to the cluster's own catch-all");
    }
    let (name, port) = bare.split_once(':').map_or((bare, None), |(n, p)| (n, Some(p)));
    let lower = name.trim_end_matches('.').to_lowercase();
    if HostName::new(lower.as_str()).is_err() {
        return if text.is_ascii() {
            report
        } else {
            report.help("international names are written in their ASCII form (xn--…)")
        };
    }
    let report = report.suggest(format!("\"{lower}\""));
    match (path, port) {
        (Some(path), _) if !path.is_empty() => {
            report.help(format!("the path is a setting: `route \"{lower}\" {{ path = \"/{path}\" }}`"))
        }
        (_, Some(_)) => report.help("people reach a route on the proxy's own port; leave the port out"),
        _ => report,
    }
}
