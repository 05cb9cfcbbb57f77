//! `docs/json.md` and `docs/json-schema.json`: what `--json` prints, for people and for programs. Made of the table of
//! shapes alone; must never say what no command prints.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};
use utoipa::OpenApi;

#[cfg(feature = "sandbox")]
use super::DevShapes;
use super::{LINES, PRINTED, Shapes};

/// The schemas of everything: JSON Schema 2020-12, with what each command prints under `commands`.
pub fn schema() -> Value {
    #[cfg_attr(not(feature = "sandbox"), allow(unused_mut))]
    let mut components = Shapes::openapi().components.unwrap_or_default().schemas;
    #[cfg(feature = "sandbox")]
    components.extend(DevShapes::openapi().components.unwrap_or_default().schemas);
    let all: BTreeMap<String, Value> = components
        .into_iter()
        .map(|(name, schema)| (name, local(serde_json::to_value(schema).unwrap_or_default())))
        .collect();
    let mut meant = BTreeSet::new();
    let commands: BTreeMap<&str, Value> = PRINTED
        .iter()
        .filter(|(path, _)| cfg!(feature = "sandbox") || !path.starts_with("dev"))
        .map(|(path, shapes)| {
            let refs: Vec<Value> = shapes.iter().map(|s| json!({ "$ref": format!("#/$defs/{s}") })).collect();
            meant.extend(shapes.iter().map(|s| (*s).to_owned()));
            let printed = match refs.as_slice() {
                [one] => one.clone(),
                _ => json!({ "anyOf": refs }),
            };
            (*path, json!({ "lines": LINES.contains(path), "printed": printed }))
        })
        .collect();
    // Only what some command prints, and what that is made of.
    let mut kept = BTreeMap::new();
    let mut next: Vec<String> = meant.into_iter().collect();
    while let Some(name) = next.pop() {
        let Some(schema) = all.get(&name).filter(|_| !kept.contains_key(&name)) else { continue };
        references(schema, &mut next);
        kept.insert(name, schema.clone());
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What terreau's commands print with --json",
        "commands": commands,
        "$defs": kept,
    })
}

/// References within this document.
fn local(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| match (key.as_str(), &value) {
                    ("$ref", Value::String(at)) => {
                        let at = at.replace("#/components/schemas/", "#/$defs/");
                        (key, Value::String(at))
                    }
                    _ => (key, local(value)),
                })
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.into_iter().map(local).collect()),
        other => other,
    }
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("$ref", Value::String(at)) => {
                        found.extend(at.strip_prefix("#/$defs/").map(str::to_owned));
                    }
                    _ => references(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

/// `docs/json-schema.json`.
pub fn document() -> String {
    // Through a value with sorted keys: which order a dependency gives maps is not ours to rely upon.
    let sorted: Value = serde_json::from_str(&crate::model::canonical_json(&schema())).unwrap_or_default();
    serde_json::to_string_pretty(&sorted).unwrap_or_default() + "\n"
}

/// `docs/json.md`.
pub fn markdown() -> String {
    let schema = schema();
    let mut page = String::from(
        "# What `--json` prints\n\n\
         Made from the program's own types by a test, which also holds against it what commands really print; edit \
         `src/cli/shapes/`, not this page.\n\n\
         With `--json` a command prints one JSON object on stdout, and nothing else there. It only grows: ignore fields that you do \
         not know. Errors go to stderr in words, and the [exit code](exit-codes.md) says which kind. The same as JSON Schema: \
         [json-schema.json](json-schema.json).\n\n| command | prints |\n|---|---|\n",
    );
    let link = |name: &str| format!("[{name}](#{})", name.to_lowercase());
    for (path, shapes) in PRINTED {
        let names: Vec<String> = shapes.iter().map(|s| link(s)).collect();
        let lines = if LINES.contains(path) { ", an object a line" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{path}` | {}{lines} |", names.join(" or "));
    }
    page.push_str(
        "\n`events --follow` prints EventView, an object a line. What cannot be watched to its end (Ctrl-C) prints nothing.\n",
    );
    let none = serde_json::Map::new();
    for (name, shape) in schema["$defs"].as_object().unwrap_or(&none) {
        let _ = write!(page, "\n## {name}\n\n{}\n", words(shape));
        if let Some(list) = shape["enum"].as_array() {
            let all: Vec<String> = list.iter().filter_map(Value::as_str).map(|v| format!("`{v}`")).collect();
            let _ = write!(page, "\nOne of {}.\n", all.join(", "));
        }
        let fields = shape["properties"].as_object().unwrap_or(&none);
        if fields.is_empty() {
            continue;
        }
        let must: BTreeSet<&str> =
            shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        page.push_str("\n| field | type | |\n|---|---|---|\n");
        for (field, of) in fields {
            let may = if must.contains(field.as_str()) { "" } else { ", may be absent" };
            let _ = writeln!(page, "| `{field}` | {}{may} | {} |", kind(of), words(of));
        }
    }
    page
}

fn words(of: &Value) -> String {
    of["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}

/// A type, for people.
fn kind(of: &Value) -> String {
    if let Some(name) = of["$ref"].as_str().and_then(|at| at.strip_prefix("#/$defs/")) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Some(list) = of[several].as_array() {
            return list.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    let one = |t: &str| match t {
        "array" => format!("list of {}", kind(&of["items"])),
        "object" if of["additionalProperties"].is_object() => {
            format!("object of {}", kind(&of["additionalProperties"]))
        }
        other => other.to_owned(),
    };
    match &of["type"] {
        Value::String(t) => one(t),
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(one).collect::<Vec<_>>().join(" or "),
        _ => "anything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_that_a_command_prints_is_defined() {
        let schema = schema();
        for (path, shapes) in PRINTED {
            for shape in *shapes {
                let is_there = schema["$defs"][shape].is_object();
                assert!(
                    is_there || (path.starts_with("dev") && !cfg!(feature = "sandbox")),
                    "{path}: {shape}"
                );
            }
        }
    }
}
