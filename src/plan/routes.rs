//! What differs in where an app answers, in words: which host and path, and what of it. Pure.

use std::collections::BTreeMap;

use super::difference::{self, Difference};
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
    difference::words(out)
}

pub(super) fn routes(old: &Routes, new: &Routes, out: &mut Vec<Difference>) {
    for (place, found) in pairs(old, new) {
        match found {
            (None, Some((_, is))) => {
                out.push(Difference::stays(format!("route added {place}")));
                out.extend(how((&place, "added"), (None, is)));
            }
            (Some(_), None) => out.push(Difference::goes(format!("route removed {place}"))),
            (Some((was_of, was)), Some((is_of, is))) => {
                if was_of != is_of {
                    let words = format!("route changed {place}: process {was_of} → {is_of}");
                    out.push(Difference::stays(words));
                }
                out.extend(how((&place, "changed"), (Some(was), is)));
            }
            (None, None) => {}
        }
    }
}

/// How a route differs, a line for each part of it: the headers that it adds, who is sent to it, its port and priority.
fn how((place, what): (&str, &str), (old, new): (Option<&Route>, &Route)) -> Vec<Difference> {
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
    for (part, was, is) in &parts {
        for (name, found) in pairs(was, is) {
            said.push(match found {
                (None, Some(is)) => Difference::stays(format!("{part} {name} added ({is})")),
                (Some(was), None) => Difference::goes(format!("{part} {name} removed ({was})")),
                (Some(was), Some(is)) if was != is => {
                    Difference::stays(format!("{part} {name} {was} → {is}"))
                }
                _ => continue,
            });
        }
    }
    if let Some(old) = old {
        let priority = |r: &Route| r.priority.map_or_else(|| "the default".to_owned(), |p| p.to_string());
        if old.priority != new.priority {
            let words = format!("priority {} → {}", priority(old), priority(new));
            said.push(Difference::stays(words));
        }
        if old.port != new.port {
            said.push(Difference::stays(format!("port {} → {}", old.port, new.port)));
        }
        let is_told = |r: &Route| Route { headers: vec![], redirects: vec![], priority: None, ..r.clone() };
        if said.is_empty()
            && (is_told(old) != is_told(new) || old.headers != new.headers || old.redirects != new.redirects)
        {
            said.push(Difference::stays("the order of its parts"));
        }
    }
    let of = |d: Difference| Difference { words: format!("route {what} {place}: {}", d.words), ..d };
    said.into_iter().map(of).collect()
}
