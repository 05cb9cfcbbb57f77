//! What differs between two releases, in words: names and numbers, what the descriptor says of routes, and its values of
//! the environment for those alone who may read it. Never a secret, and never what a person set. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use serde::Serialize;
use serde_json::Value;

use super::artifacts::artifact;
use super::difference::{Difference, Fate};
use super::pairs::{named, pairs, set};
use super::routes::{by_place, routes};
use crate::model::Bindings;
use crate::model::names::EnvName;
use crate::model::project::{Owner, Process, Project};
use crate::model::text::{Piece, Text};

/// The most characters of a value that are told.
const LONGEST: usize = 80;

/// A release, or what would be one.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// What its descriptor says.
    pub project: &'a Project,
    /// What it was rendered with.
    pub bindings: &'a Bindings,
}

/// Whether values of the descriptor's environment are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Their names alone.
    Named,
    /// What they were and are: to those who may read the descriptor.
    Shown,
}

/// What differs, one thing a line, as `memory of web 64 → 128 MiB`; empty: nothing.
pub fn differences(old: Side<'_>, new: Side<'_>, values: Values) -> Vec<Difference> {
    let mut out = Vec::new();
    out.extend(artifact(old.bindings.artifact.as_ref(), new.bindings.artifact.as_ref()));
    let (a, b) = (old.project, new.project);
    if json(&a.build) != json(&b.build) {
        out.push(Difference::stays("build"));
    }
    if a.owners != b.owners {
        let names = |list: &[Owner]| {
            let names: Vec<String> = list.iter().map(owner).collect();
            if names.is_empty() { "nobody named".to_owned() } else { names.join(", ") }
        };
        out.push(Difference::stays(format!("owners {} → {}", names(&a.owners), names(&b.owners))));
    }
    named("host", "", &set(a.site_routes.iter()), &set(b.site_routes.iter()), &mut out);
    let (was, is) = (by(&a.processes, |p| p.name.to_string()), by(&b.processes, |p| p.name.to_string()));
    each(&was, &is, "process", "", &mut out, |name, (was, is), out| {
        process(name, (was, is), (values, new.bindings), out);
    });
    env("", (&a.env, &b.env), (values, new.bindings), &mut out);
    versions("env", "", &old.bindings.env_versions, &new.bindings.env_versions, &mut out);
    changed("secret", "", &by_json(&a.secrets, "name"), &by_json(&b.secrets, "name"), &mut out);
    let both = |name: &str| {
        let declared = |p: &Project| p.secrets.iter().any(|s| s.name.as_str() == name);
        declared(a) && declared(b)
    };
    let kept = |s: &Bindings| -> BTreeMap<String, u64> {
        let all = s.secret_versions.iter().map(|(n, v)| (n.to_string(), *v));
        all.filter(|(n, _)| both(n)).collect()
    };
    versions("secret", "", &kept(old.bindings), &kept(new.bindings), &mut out);
    changed("file", "", &by_json(&a.files, "name"), &by_json(&b.files, "name"), &mut out);
    changed("uses", "", &by_json(&a.uses, "name"), &by_json(&b.uses, "name"), &mut out);
    let counts = |s: &Bindings| -> BTreeMap<String, Value> {
        s.counts.iter().map(|(n, c)| (n.to_string(), Value::from(*c))).collect()
    };
    for (name, (was, is)) in pairs(&counts(old.bindings), &counts(new.bindings)) {
        if was != is {
            let word = |v: Option<&Value>| v.map_or_else(|| "as described".to_owned(), ToString::to_string);
            out.push(Difference::stays(format!("scale of {name} {} → {}", word(was), word(is))));
        }
    }
    if old.bindings.node != new.bindings.node {
        let word = |n: &Option<String>| n.clone().unwrap_or_else(|| "none".to_owned());
        out.push(Difference::stays(format!(
            "node {} → {}",
            word(&old.bindings.node),
            word(&new.bindings.node)
        )));
    }
    for setting in settings(old.bindings, new.bindings) {
        out.push(Difference::stays(format!("cluster setting {setting}")));
    }
    out
}

/// The cluster's settings that differ, by name.
pub fn settings(old: &Bindings, new: &Bindings) -> Vec<String> {
    let map = |b: &Bindings| match json(&b.cluster) {
        Value::Object(map) => map.into_iter().collect::<BTreeMap<String, Value>>(),
        _ => BTreeMap::new(),
    };
    let (a, b) = (map(old), map(new));
    pairs(&a, &b).into_iter().filter(|(_, (was, is))| was != is).map(|(name, _)| name).collect()
}

fn json<T: Serialize>(value: &T) -> Value {
    // Plain data of ours: it always has a JSON form.
    serde_json::to_value(value).unwrap_or_default()
}

fn owner(o: &Owner) -> String {
    match o {
        Owner::User(u) => u.to_string(),
        Owner::Group(g) => format!("group:{g}"),
    }
}

fn by<T>(list: &[T], key: impl Fn(&T) -> String) -> BTreeMap<String, &T> {
    list.iter().map(|t| (key(t), t)).collect()
}

fn by_json<T: Serialize>(list: &[T], key: &str) -> BTreeMap<String, Value> {
    let values = list.iter().map(json);
    values.map(|v| (v.get(key).and_then(Value::as_str).unwrap_or_default().to_owned(), v)).collect()
}

/// Additions and removals by name; what is on both sides goes to `both`.
fn each<T>(
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    what: &str,
    of: &str,
    out: &mut Vec<Difference>,
    mut both: impl FnMut(&str, (&T, &T), &mut Vec<Difference>),
) {
    for (name, found) in pairs(old, new) {
        match found {
            (None, Some(_)) => out.push(Difference::stays(format!("{what} {name}{of} added"))),
            (Some(_), None) => out.push(Difference::goes(format!("{what} {name}{of} removed"))),
            (Some(was), Some(is)) => both(&name, (was, is), out),
            (None, None) => {}
        }
    }
}

/// The same, where what is on both sides has only changed or not.
fn changed(
    what: &str,
    of: &str,
    old: &BTreeMap<String, Value>,
    new: &BTreeMap<String, Value>,
    out: &mut Vec<Difference>,
) {
    each(old, new, what, of, out, |name, (was, is), out| {
        if was != is {
            out.push(Difference::stays(format!("{what} {name}{of}")));
        }
    });
}

/// `secret key: version 1 → 2`.
fn versions<K: Ord + Display>(
    what: &str,
    of: &str,
    old: &BTreeMap<K, u64>,
    new: &BTreeMap<K, u64>,
    out: &mut Vec<Difference>,
) {
    let map = |m: &BTreeMap<K, u64>| -> BTreeMap<String, u64> {
        m.iter().map(|(k, v)| (k.to_string(), *v)).collect()
    };
    for (name, found) in pairs(&map(old), &map(new)) {
        match found {
            (None, Some(v)) => out.push(Difference::stays(format!("{what} {name}{of} set (version {v})"))),
            (Some(_), None) => out.push(Difference::goes(format!("{what} {name}{of} unset"))),
            (Some(was), Some(is)) if was != is => {
                out.push(Difference::stays(format!("{what} {name}{of}: version {was} → {is}")));
            }
            _ => {}
        }
    }
}

/// `env LOG_LEVEL of web "info" → "debug"`, or without the values; of a name that a person has set: that it is not used.
fn env(
    of: &str,
    (old, new): (&BTreeMap<EnvName, Text>, &BTreeMap<EnvName, Text>),
    (values, bindings): (Values, &Bindings),
    out: &mut Vec<Difference>,
) {
    let names: BTreeSet<&EnvName> = old.keys().chain(new.keys()).collect();
    for name in names {
        let (was, is) = (old.get(name), new.get(name));
        let (what, fate) = match (was, is) {
            (Some(was), Some(is)) if was == is => continue,
            (None, _) => (" added", Fate::Stays),
            (_, None) => (" removed", Fate::Goes),
            (Some(_), Some(_)) => ("", Fate::Stays),
        };
        let told: Vec<String> = [was, is].into_iter().flatten().map(shown).collect();
        let told = match values {
            Values::Named => String::new(),
            Values::Shown => format!(" {}", told.join(" → ")),
        };
        let set =
            if bindings.env_versions.contains_key(name) { " (covered by `env set`, not used)" } else { "" };
        out.push(Difference { words: format!("env {name}{of}{what}{told}{set}"), fate });
    }
}

/// A value as the descriptor writes it: a reference stands for what it refers to.
fn shown(text: &Text) -> String {
    let piece = |p: &Piece| match p {
        Piece::Literal(text) => text.clone(),
        Piece::Ref(r) => format!("${{{r}}}"),
    };
    let whole: String = text.0.iter().map(piece).collect();
    let mut some: String = whole.chars().take(LONGEST).collect();
    if some.len() < whole.len() {
        some.push('…');
    }
    format!("{some:?}")
}

fn process(
    name: &str,
    (old, new): (&Process, &Process),
    (values, bindings): (Values, &Bindings),
    out: &mut Vec<Difference>,
) {
    let of = format!(" of {name}");
    let (Value::Object(was), Value::Object(is)) = (json(old), json(new)) else { return };
    let (was, is): (BTreeMap<_, _>, BTreeMap<_, _>) = (was.into_iter().collect(), is.into_iter().collect());
    // By the fields that there are, so that one which is added later is never passed over in silence.
    for (key, (a, b)) in pairs(&was, &is) {
        if a == b {
            continue;
        }
        match key.as_str() {
            "env" => env(&of, (&old.env, &new.env), (values, bindings), out),
            "ports" => changed("port", &of, &by_json(&old.ports, "name"), &by_json(&new.ports, "name"), out),
            "volumes" => {
                changed("volume", &of, &by_json(&old.volumes, "name"), &by_json(&new.volumes, "name"), out);
            }
            "routes" => {
                let of = |p: &Process| by_place(&p.routes, "");
                routes(&of(old), &of(new), out);
            }
            _ => out.push(Difference::stays(match (a, b) {
                (Some(a), Some(b)) if is_plain(a) && is_plain(b) => {
                    format!("{key}{of} {a} → {b}{}", unit(&key))
                }
                _ => format!("{key}{of}"),
            })),
        }
    }
}

fn is_plain(v: &Value) -> bool {
    matches!(v, Value::Number(_) | Value::Bool(_))
}

fn unit(key: &str) -> &'static str {
    match key {
        "memory" | "memory_max" => " MiB",
        "cpu" => " MHz",
        "stop_timeout" => " s",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Placement;
    use crate::plan::difference;
    use crate::render::placeholders;

    fn compared(old: &str, new: &str, values: Values) -> Vec<Difference> {
        let project = |text: &str| {
            crate::descriptor::parse("terreau.hcl", &format!("project \"carnet\" {{\n{text}\n}}\n")).unwrap()
        };
        let (a, b) = (project(old), project(new));
        let app = Placement::production(a.name.clone());
        let bindings = |p: &Project| placeholders(p, &app, &crate::model::Cluster::default()).0;
        let (old, new) = (bindings(&a), bindings(&b));
        differences(Side { project: &a, bindings: &old }, Side { project: &b, bindings: &new }, values)
    }

    fn told(old: &str, new: &str, values: Values) -> Vec<String> {
        difference::words(compared(old, new, values))
    }

    fn words(old: &str, new: &str) -> Vec<String> {
        told(old, new, Values::Named)
    }

    #[test]
    fn what_a_change_takes_away_is_told_from_what_it_changes() {
        let old = format!(
            "{}\n secret \"key\" {{ type = \"generated\" }}",
            WEB.replace(
                "route \"carnet.example.org\" {}",
                "route \"removed.example.org\" {\n redirect \"www.example.org\" {}\n }"
            )
        );
        let new = WEB.replace("OLD = \"1\"", "removed = \"unset\"").replace(
            "route \"carnet.example.org\" {}",
            "route \"removed.example.org\" {}\n route \"b.example.org\" {}",
        );
        let gone = |old: &str, new: &str| -> Vec<String> {
            compared(old, new, Values::Shown)
                .into_iter()
                .filter(|d| d.fate == Fate::Goes)
                .map(|d| d.words)
                .collect()
        };
        let lost = "route changed removed.example.org: redirect from www.example.org removed (301)";
        assert_eq!(gone(&old, &new), ["env OLD of web removed \"1\"", lost, "secret key removed"]);
        assert_eq!(gone(&new, &old), ["env removed of web removed \"unset\"", "route removed b.example.org"]);
        let (was, is) = (BTreeMap::from([("A", 1), ("B", 1)]), BTreeMap::from([("A", 2), ("C", 1)]));
        let mut out = Vec::new();
        versions("env", "", &was, &is, &mut out);
        let said: Vec<_> = out.iter().map(|d| (d.words.as_str(), d.fate)).collect();
        let (stays, goes) = (Fate::Stays, Fate::Goes);
        assert_eq!(
            said,
            [("env A: version 1 → 2", stays), ("env B unset", goes), ("env C set (version 1)", stays)]
        );
    }

    const WEB: &str = r#"process "web" {
        command = ["/bin/web"]
        port "http" {}
        route "carnet.example.org" {}
        env = { LOG_LEVEL = "info", OLD = "1" }
        memory = 64
    }"#;

    #[test]
    fn what_differs_is_said_in_words_without_values() {
        assert_eq!(words(WEB, WEB), Vec::<String>::new());
        let new = WEB
            .replace("\"info\", OLD = \"1\"", "\"canary-debug\", NEW = \"1\"")
            .replace("memory = 64", "memory = 128\n instances = 2")
            .replace(
                "route \"carnet.example.org\" {}",
                "route \"carnet.example.org\" {}\n route \"b.example.org\" { path = \"/x\" }",
            );
        let said = words(
            WEB,
            &format!(
                "{new}\n process \"worker\" {{ command = [\"/bin/w\"] }}\n secret \"key\" {{ type = \"generated\" }}"
            ),
        );
        assert_eq!(
            said,
            [
                "env LOG_LEVEL of web",
                "env NEW of web added",
                "env OLD of web removed",
                "instances of web 1 → 2",
                "memory of web 64 → 128 MiB",
                "route added b.example.org/x",
                "process worker added",
                "secret key added",
            ]
        );
    }

    #[test]
    fn who_may_read_the_descriptor_sees_what_its_values_were_and_are_and_references_stand_for_secrets() {
        let with = |env: &str| {
            format!("{}\n secret \"key\" {{ type = \"generated\" }}", WEB.replace("OLD = \"1\"", env))
        };
        let new = with("KEY = \"a-${secret.key}\"").replace("\"info\"", &format!("{:?}", "x".repeat(100)));
        let said = told(&with("OLD = \"1\""), &new, Values::Shown);
        let long = format!("env LOG_LEVEL of web \"info\" → \"{}…\"", "x".repeat(80));
        assert_eq!(said, ["env KEY of web added \"a-${secret.key}\"", &long, "env OLD of web removed \"1\""]);
    }

    #[test]
    fn of_a_route_it_is_said_which_and_what_differs_in_it() {
        let route = "route \"carnet.example.org\" {}";
        let with = |route: &str| WEB.replace("route \"carnet.example.org\" {}", route);
        let one = with(
            "route \"carnet.example.org\" {\n priority = 5\n headers = { X-Frame-Options = \"DENY\" }\n redirect \"www.example.org\" {}\n }",
        );
        let said = words(&with(route), &one);
        let of = "route changed carnet.example.org: ";
        assert_eq!(
            said,
            [
                format!("{of}header X-Frame-Options added (DENY)"),
                format!("{of}redirect from www.example.org added (301)"),
                format!("{of}priority the default → 5"),
            ]
        );
        let two = one.replace("DENY", "SAMEORIGIN").replace("redirect \"www.example.org\" {}", "");
        assert_eq!(
            words(&one, &two),
            [
                format!("{of}header X-Frame-Options DENY → SAMEORIGIN"),
                format!("{of}redirect from www.example.org removed (301)"),
            ]
        );
    }

    #[test]
    fn whatever_field_differs_something_is_said() {
        let restart =
            WEB.replace("memory = 64", "memory = 64\n restart { attempts = 1 }\n stop_timeout = \"20s\"");
        assert_eq!(words(WEB, &restart), ["restart of web", "stop_timeout of web 10.0 → 20.0 s"]);
        let gone = words(&format!("{WEB}\n uses \"ldap\" {{}}"), WEB);
        assert_eq!(gone, ["uses ldap removed"]);
    }
}
