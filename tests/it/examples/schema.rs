//! Output of `--json` against its schema: the words of JSON Schema that ours are made of, and one thing more: an object has no
//! field that is not documented.

use std::collections::BTreeMap;

use serde_json::Value;

pub struct Schema(Value);

impl Schema {
    pub fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json-schema.json");
        Self(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    /// The commands that are in it.
    pub fn commands(&self) -> Vec<String> {
        self.0["commands"].as_object().unwrap().keys().cloned().collect()
    }

    /// Whether a command's whole output is as documented.
    pub fn check(&self, command: &str, out: &str) -> Result<(), String> {
        let printed = &self.0["commands"][command]["printed"];
        let lines = self.0["commands"][command]["lines"] == true;
        let documents: Vec<&str> = if lines { out.lines().collect() } else { vec![out] };
        for text in documents {
            let value = serde_json::from_str(text).map_err(|e| format!("no JSON: {e}: {text}"))?;
            self.fits(printed, &value, "").map_err(|e| format!("{e}\n{text}"))?;
        }
        Ok(())
    }

    /// The fields that a schema knows, those of its parts included.
    fn fields<'a>(&'a self, of: &'a Value, found: &mut BTreeMap<&'a str, &'a Value>) {
        let of = self.meant(of);
        found.extend(of["properties"].as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v)));
        of["allOf"].as_array().into_iter().flatten().for_each(|part| self.fields(part, found));
    }

    fn meant<'a>(&'a self, of: &'a Value) -> &'a Value {
        match of["$ref"].as_str() {
            Some(at) => &self.0["$defs"][at.strip_prefix("#/$defs/").unwrap()],
            None => of,
        }
    }

    fn fits(&self, of: &Value, value: &Value, at: &str) -> Result<(), String> {
        let of = self.meant(of);
        let wrong = |why: String| Err(format!("{at}: {why}"));
        let schema = of.as_object().unwrap_or_else(|| panic!("{at}: {of} is no schema"));
        if let Some(word) = schema.keys().find(|word| !KNOWN.contains(&word.as_str())) {
            return wrong(format!("this test does not know {word:?}: {of}"));
        }
        if let (Some(list), true) = (value.as_array(), of["uniqueItems"] == true)
            && list.iter().enumerate().any(|(n, item)| list[..n].contains(item))
        {
            return wrong(format!("{value} has something twice"));
        }
        for several in ["oneOf", "anyOf"] {
            if let Some(list) = of[several].as_array() {
                let tried: Vec<_> = list.iter().map(|s| self.fits(s, value, at)).collect();
                if tried.iter().all(Result::is_err) {
                    let all: Vec<_> = tried.into_iter().filter_map(Result::err).collect();
                    return wrong(format!("none of these: {}", all.join(" | ")));
                }
            }
        }
        if let Some(list) = of["enum"].as_array()
            && !list.contains(value)
        {
            return wrong(format!("{value} is none of {list:?}"));
        }
        if of.get("const").is_some_and(|c| c != value) {
            return wrong(format!("{value} is not {}", of["const"]));
        }
        let is = |t: &str| match t {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{at}: this test does not know the type {other}"),
        };
        let fitting = match &of["type"] {
            Value::String(t) => is(t),
            Value::Array(list) => list.iter().any(|t| is(t.as_str().unwrap())),
            _ => true,
        };
        if !fitting {
            return wrong(format!("{value} is no {}", of["type"]));
        }
        for (n, item) in value.as_array().into_iter().flatten().enumerate() {
            if of.get("items").is_some() {
                self.fits(&of["items"], item, &format!("{at}[{n}]"))?;
            }
        }
        let Some(object) = value.as_object() else { return Ok(()) };
        let mut fields = BTreeMap::new();
        self.fields(of, &mut fields);
        let must = |of: &Value| -> Vec<String> {
            of["required"].as_array().into_iter().flatten().map(|f| f.as_str().unwrap().to_owned()).collect()
        };
        let parts = of["allOf"].as_array().into_iter().flatten().map(|p| self.meant(p));
        for field in std::iter::once(of).chain(parts).flat_map(must) {
            if !object.contains_key(&field) {
                return wrong(format!("has no {field}"));
            }
        }
        for (field, inner) in object {
            let at = format!("{at}.{field}");
            match fields.get(field.as_str()) {
                Some(schema) => self.fits(schema, inner, &at)?,
                None if of["additionalProperties"].is_object() => {
                    self.fits(&of["additionalProperties"], inner, &at)?;
                }
                // An engine's own words, or anything.
                None if fields.is_empty() => {}
                None => return Err(format!("{at} is not documented")),
            }
        }
        Ok(())
    }
}

/// What of JSON Schema our own are made of.
const KNOWN: &[&str] = &[
    "type",
    "properties",
    "required",
    "items",
    "uniqueItems",
    "additionalProperties",
    "propertyNames",
    "enum",
    "const",
    "oneOf",
    "anyOf",
    "allOf",
    "description",
    "format",
    "minimum",
    "maximum",
    "title",
    "default",
    "examples",
    "deprecated",
];
