//! `driver` and `config`: which keys of which driver a member may set, and how. What is not in these tables is
//! refused: through a driver's settings one could otherwise reach the node itself.

use std::collections::BTreeMap;

use hcl_edit::expr::Expression;
use serde_json::Value;

use super::draft::Named;
use super::fault::code;
use super::grammar::nearest;
use super::reference::describe;
use super::scope::{Item, entries_of_object};
use super::source::{Ctx, Span, error, span_of, warning};
use super::value::clip;
use crate::model::names::PartName;
use crate::model::project::port_label;

/// What a key of `config` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Text,
    Texts,
    Bool,
    Number,
    /// `{ NAME = "text" }`
    Map,
    /// Names of the process's ports.
    Ports,
    /// `local/…:/path` or `secrets/…:/path`.
    Volumes,
    /// `host`, `bridge` or `none`.
    Network,
    /// Absolute.
    Path,
    /// An image's name.
    Image,
}

/// The allow-lists.
const DRIVERS: [(&str, &[(&str, Want)]); 3] = [
    (
        "docker",
        &[
            ("image", Want::Image),
            ("command", Want::Text),
            ("args", Want::Texts),
            ("entrypoint", Want::Texts),
            ("ports", Want::Ports),
            ("volumes", Want::Volumes),
            ("readonly_rootfs", Want::Bool),
            ("work_dir", Want::Path),
            ("network_mode", Want::Network),
            ("hostname", Want::Text),
            ("extra_hosts", Want::Texts),
            ("labels", Want::Map),
            ("init", Want::Bool),
            ("force_pull", Want::Bool),
            ("cap_drop", Want::Texts),
            ("pids_limit", Want::Number),
            ("shm_size", Want::Number),
        ],
    ),
    // Their program is the process's own `command`; everything else of theirs would reach beyond the app.
    ("exec", &[]),
    ("raw_exec", &[]),
];

/// Every driver and the keys of its `config`, for reference documentation.
pub fn allowed() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    DRIVERS.iter().map(|(name, keys)| (*name, keys.iter().map(|(k, _)| *k).collect()))
}

impl Ctx<'_> {
    /// A driver's name.
    pub(super) fn driver_name(&self, expr: &Expression) -> Option<String> {
        let text = self.literal(expr, "`driver`")?;
        if DRIVERS.iter().any(|(name, _)| *name == text) {
            return Some(text);
        }
        let near = nearest(&text, DRIVERS.iter().map(|(n, _)| *n)).map(|n| format!("\"{n}\""));
        error(span_of(expr), code::RAW_JOB, format!("driver {:?} is not on the allow-list", clip(&text)))
            .maybe_suggest(near)
            .help("allowed are docker, exec and raw_exec; another one needs the right `RawJob` (admins), which this version does not have yet")
            .none(self)
    }

    /// The settings of a driver, checked against its allow-list.
    pub(super) fn driver_config(
        &self,
        driver: &str,
        items: &[Item<'_>],
        ports: &[Named<Option<super::draft::Fixed>>],
    ) -> BTreeMap<String, Value> {
        let keys = DRIVERS.iter().find(|(name, _)| *name == driver).map_or(&[][..], |(_, keys)| keys);
        let mut config = BTreeMap::new();
        for item in items {
            let Some((_, want)) = keys.iter().find(|(k, _)| *k == item.key) else {
                if ["command", "args"].contains(&item.key.as_str()) {
                    let message = format!("the program of the driver {driver} is not set in `config`");
                    error(item.at.clone(), code::CONFLICT, message)
                        .help("write it into the process: `command = [\"./server\", \"--port\", \"${port.http}\"]`")
                        .add(self);
                    continue;
                }
                let names = keys.iter().map(|(k, _)| *k);
                let near = nearest(&item.key, names);
                error(
                    item.at.clone(),
                    code::RAW_JOB,
                    format!("`{}` is not on the allow-list of the driver {driver}", clip(&item.key)),
                )
                .maybe_suggest(near)
                .help("it needs the right `RawJob` (admins), which this version does not have yet; leave it out")
                .add(self);
                continue;
            };
            let what = format!("`{}`", item.key);
            if let Some(value) = self.config_value(*want, item, &what, ports) {
                config.insert(item.key.clone(), value);
            }
        }
        config
    }

    fn config_value(
        &self,
        want: Want,
        item: &Item<'_>,
        what: &str,
        ports: &[Named<Option<super::draft::Fixed>>],
    ) -> Option<Value> {
        let at = span_of(item.value);
        Some(match want {
            Want::Text => Value::String(self.plain(item.value, what)?),
            Want::Bool => Value::Bool(self.boolean(item.value, what)?),
            Want::Number => Value::from(self.integer(item.value, what, 1..=1 << 40)?),
            Want::Texts => {
                let list = self.list(item.value, what)?;
                let each = format!("an item of {what}");
                Value::Array(list.iter().filter_map(|e| self.plain(e, &each)).map(Value::String).collect())
            }
            Want::Map => {
                let Expression::Object(object) = item.value else {
                    return error(
                        at,
                        code::TYPE,
                        format!(
                            "{what} must be `{{ name = \"text\" }}`, but this is {}",
                            describe(item.value)
                        ),
                    )
                    .none(self);
                };
                let mut map = serde_json::Map::new();
                for entry in entries_of_object(self, object) {
                    if let Some(text) = self.plain(entry.value, &format!("`{}`", entry.key)) {
                        map.insert(entry.key, Value::String(text));
                    }
                }
                Value::Object(map)
            }
            Want::Path => {
                let text = self.plain(item.value, what)?;
                Value::String(self.absolute_path(&text, what, at)?)
            }
            Want::Network => {
                let text = self.plain(item.value, what)?;
                if !["host", "bridge", "none"].contains(&text.as_str()) {
                    return error(
                        at,
                        code::VALUE,
                        format!("{what} must be \"host\", \"bridge\" or \"none\""),
                    )
                    .none(self);
                }
                Value::String(text)
            }
            Want::Image => Value::String(self.image(item.value)?),
            Want::Ports => {
                let list = self.literals(item.value, what)?;
                let labels = list.iter().filter_map(|(text, e)| self.port_of_config(text, span_of(e), ports));
                Value::Array(labels.map(Value::String).collect())
            }
            Want::Volumes => {
                let list = self.list(item.value, what)?;
                let binds = list.iter().filter_map(|e| self.bind(e));
                Value::Array(binds.map(Value::String).collect())
            }
        })
    }

    /// Plain text that Nomad will not evaluate either.
    fn plain(&self, expr: &Expression, what: &str) -> Option<String> {
        let text = self.literal(expr, what)?;
        if text.contains("${") || text.contains("%{") {
            return error(span_of(expr), code::EXPRESSION, format!("{what} must not hold `${{` or `%{{`"))
                .help("Nomad would evaluate it; references are possible in `command` and `env`")
                .none(self);
        }
        Some(text)
    }

    fn image(&self, expr: &Expression) -> Option<String> {
        let text = self.plain(expr, "`image`")?;
        let at = span_of(expr);
        let odd = |c: char| !(c.is_ascii_alphanumeric() || "._-/:@".contains(c));
        if text.is_empty() || text.contains(odd) || text.starts_with(['-', '/', ':', '.']) {
            return error(at, code::VALUE, format!("`image` is not an image's name: {:?}", clip(&text)))
                .help("for example \"docker.io/library/nginx:1.29\"")
                .none(self);
        }
        let tag = text.rsplit('/').next().and_then(|last| last.split_once([':', '@']));
        if tag.is_none_or(|(_, tag)| tag == "latest") {
            warning(at, code::SUSPICIOUS, "this image can change without a new release")
                .help("name a version or a digest, so that a rollback runs what ran before")
                .add(self);
        }
        Some(text)
    }

    fn port_of_config(
        &self,
        text: &str,
        at: Span,
        ports: &[Named<Option<super::draft::Fixed>>],
    ) -> Option<String> {
        for port in ports {
            if let Ok(name) = PartName::new(port.label.as_str())
                && (text == name.as_str() || text == port_label(&name))
            {
                return Some(port_label(&name));
            }
        }
        let near = nearest(text, ports.iter().map(|p| p.label.as_str())).map(|n| format!("\"{n}\""));
        error(at, code::REFERENCE, format!("this process has no port {:?}", clip(text)))
            .maybe_suggest(near)
            .help("declare it: `port \"http\" {}`")
            .none(self)
    }

    /// `local/x:/x` or `secrets/x:/x:ro`: never a path of the node.
    fn bind(&self, expr: &Expression) -> Option<String> {
        let text = self.plain(expr, "an item of `volumes`")?;
        let at = span_of(expr);
        let parts: Vec<&str> = text.split(':').collect();
        let (from, to, mode) = match parts.as_slice() {
            [from, to] => (*from, *to, None),
            [from, to, mode] => (*from, *to, Some(*mode)),
            _ => {
                return error(at, code::VALUE, "an item of `volumes` is written as \"local/x:/path\"")
                    .none(self);
            }
        };
        let inside = ["local", "secrets"].iter().any(|d| from == *d || from.starts_with(&format!("{d}/")));
        if !inside || from.split('/').any(|p| p == "..") {
            return error(at, code::RAW_JOB, "a path of the node cannot be mounted")
                .help("on the left stands `local/…` or `secrets/…` without `..`; for data that stays, write `volume \"data\" { path = \"/data\" }`")
                .none(self);
        }
        if mode.is_some_and(|m| m != "ro" && m != "rw") {
            return error(at, code::VALUE, "after the second `:` stands `ro` or `rw`").none(self);
        }
        let to = self.absolute_path(to, "the right side", at)?;
        Some(mode.map_or_else(|| format!("{from}:{to}"), |m| format!("{from}:{to}:{m}")))
    }
}
