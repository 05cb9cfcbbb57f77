//! What differs in where an app answers, in words: which host and path, and what of it. Pure.

use std::collections::BTreeMap;

use super::pairs::{named, pairs, set};
use crate::model::project::{Project, Redirect, Route};

/// Where a route leads from: host and path.
fn place(r: &Route) -> String {
    format!("{}{}", r.host, r.path.as_deref().unwrap_or_default())
}

/// Routes by where they lead from, each with its process.
pub(super) type Routes = BTreeMap<String, (String, Route)>;

/// Routes of a process by where they lead from.
pub(super) fn by_place(routes: &[Route], process: &str) -> Routes {
    routes.iter().map(|r| (place(r), (process.to_owned(), r.clone()))).collect()
}

/// What differs in where a project answers, over all its processes; `None`: there was nothing before.
pub fn answers(old: Option<&Project>, new: &Project) -> Vec<String> {
    let of = |p: &Project| -> Routes {
        p.processes.iter().flat_map(|p| by_place(&p.routes, p.name.as_str())).collect()
    };
    let hosts = |p: &Project| set(p.site_routes.iter());
    let mut out = Vec::new();
    named("host", "", &old.map(hosts).unwrap_or_default(), &hosts(new), &mut out);
    routes(&old.map(of).unwrap_or_default(), &of(new), &mut out);
    out
}

pub(super) fn routes(old: &Routes, new: &Routes, out: &mut Vec<String>) {
    for (place, found) in pairs(old, new) {
        match found {
            (None, Some((_, is))) => {
                out.push(format!("route added {place}"));
                let with = how(&place, (None, is));
                out.extend(with.iter().map(|line| line.replacen("route changed", "route added", 1)));
            }
            (Some(_), None) => out.push(format!("route removed {place}")),
            (Some((was_of, was)), Some((is_of, is))) => {
                if was_of != is_of {
                    out.push(format!("route changed {place}: process {was_of} → {is_of}"));
                }
                out.extend(how(&place, (Some(was), is)));
            }
            (None, None) => {}
        }
    }
}

/// How a route differs, a line for each part of it: the headers that it adds, who is sent to it, its port and priority.
fn how(place: &str, (old, new): (Option<&Route>, &Route)) -> Vec<String> {
    let mut said = Vec::new();
    let headers = |r: &Route| -> BTreeMap<String, String> {
        // Of one name there may be several.
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &r.headers {
            let known = all.entry(name.clone()).or_default();
            *known = if known.is_empty() { value.clone() } else { format!("{known}, {value}") };
        }
        all
    };
    let redirects = |r: &Route| -> BTreeMap<String, String> {
        let from = |r: &Redirect| format!("{}{}", r.host, r.path.as_deref().unwrap_or_default());
        r.redirects.iter().map(|r| (from(r), r.code.to_string())).collect()
    };
    let parts = [
        ("header", old.map(headers).unwrap_or_default(), headers(new)),
        ("redirect from", old.map(redirects).unwrap_or_default(), redirects(new)),
    ];
    for (what, was, is) in &parts {
        for (name, found) in pairs(was, is) {
            said.push(match found {
                (None, Some(is)) => format!("{what} {name} added ({is})"),
                (Some(was), None) => format!("{what} {name} removed ({was})"),
                (Some(was), Some(is)) if was != is => format!("{what} {name} {was} → {is}"),
                _ => continue,
            });
        }
    }
    if let Some(old) = old {
        let priority = |r: &Route| r.priority.map_or_else(|| "the default".to_owned(), |p| p.to_string());
        if old.priority != new.priority {
            said.push(format!("priority {} → {}", priority(old), priority(new)));
        }
        if old.port != new.port {
            said.push(format!("port {} → {}", old.port, new.port));
        }
        let is_told = |r: &Route| Route { headers: vec![], redirects: vec![], priority: None, ..r.clone() };
        if said.is_empty()
            && (is_told(old) != is_told(new) || old.headers != new.headers || old.redirects != new.redirects)
        {
            said.push("the order of its parts".to_owned());
        }
    }
    said.into_iter().map(|what| format!("route changed {place}: {what}")).collect()
}
