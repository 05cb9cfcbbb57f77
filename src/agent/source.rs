//! Reads settings from where they stand (flags, environment, file), and collects every fault instead of stopping at
//! the first.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::settings::{Absent, Kind, SETTINGS, Setting};

/// Where settings are looked for; the first that has one wins.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--set key=value`, split.
    pub flags: Vec<(String, String)>,
    /// The environment; only names beginning with `TERREAU_` are looked at.
    pub env: Vec<(String, String)>,
    /// The TOML file.
    pub file: Option<PathBuf>,
}

impl Sources {
    /// This process's environment, and a file.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        let env = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .filter(|(k, _)| k.starts_with("TERREAU_"))
            .collect();
        Self { flags, env, file }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// The key, where it is known.
    pub key: String,
    /// `agent.toml:12:3`, `TERREAU_LISTEN`, `--set listen`, or nothing where the setting is missing.
    pub place: String,
    /// What is wrong, and what is wanted. Never repeats a value that may be a secret.
    pub message: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            write!(f, "{}: {}", self.key, self.message)
        } else {
            write!(f, "{}: {} ({})", self.key, self.message, self.place)
        }
    }
}

/// Every fault of a configuration, in one error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the agent's configuration is wrong:{}", lines(.0))]
pub struct ConfigError(pub Vec<ConfigFault>);

fn lines(faults: &[ConfigFault]) -> String {
    faults.iter().fold(String::new(), |text, fault| text + "\n  " + &fault.to_string())
}

/// A value as it stood somewhere.
#[derive(Debug, Clone, PartialEq)]
enum Raw {
    /// From a flag or a variable: its kind decides how it is read.
    Written(String),
    Text(String),
    Number(i64),
    Switch(bool),
    List(Vec<String>),
    Other(&'static str),
}

/// What was found, and what was wrong so far.
pub(super) struct Reader {
    found: BTreeMap<&'static str, (Raw, String)>,
    pub faults: Vec<ConfigFault>,
    /// Relative paths of the file are relative to its folder.
    folder: PathBuf,
}

impl Reader {
    /// Gathers from all sources; the values themselves are judged when they are asked for.
    pub(super) fn gather(sources: &Sources) -> Self {
        let mut reader = Self { found: BTreeMap::new(), faults: Vec::new(), folder: PathBuf::new() };
        for (key, value) in &sources.flags {
            let place = format!("--set {key}");
            match SETTINGS.iter().find(|s| s.key == key) {
                Some(s) => reader.keep(s, Raw::Written(value.clone()), place),
                None => reader.unknown(key, place, SETTINGS.iter().map(|s| s.key.to_owned())),
            }
        }
        reader.environment(&sources.env);
        if let Some(path) = &sources.file {
            reader.file(path);
        }
        reader
    }

    fn keep(&mut self, setting: &Setting, value: Raw, place: String) {
        self.found.entry(setting.key).or_insert((value, place));
    }

    fn unknown(&mut self, key: &str, place: String, known: impl Iterator<Item = String>) {
        let nearest = known
            .map(|k| (strsim::damerau_levenshtein(&k, key), k))
            .min()
            .filter(|(distance, _)| *distance <= 3)
            .map_or(String::new(), |(_, k)| format!("; did you mean {k}?"));
        self.fault(key, place, format!("there is no such setting{nearest}"));
    }

    pub(super) fn fault(&mut self, key: &str, place: impl Into<String>, message: impl Into<String>) {
        let fault = ConfigFault { key: key.to_owned(), place: place.into(), message: message.into() };
        // Some settings are asked for twice, for two parts of the configuration.
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// A fault of a setting, at the place where it was given.
    pub(super) fn wrong(&mut self, key: &'static str, message: impl Into<String>) {
        let place = self.found.get(key).map(|(_, place)| place.clone()).unwrap_or_default();
        self.fault(key, place, message);
    }

    fn environment(&mut self, env: &[(String, String)]) {
        // Variables of other commands (TERREAU_SERVER…) are none of our business; those of our sections are.
        let sections: Vec<String> = SETTINGS
            .iter()
            .filter_map(|s| s.key.split_once('.'))
            .map(|(table, _)| format!("TERREAU_{}_", table.to_uppercase()))
            .collect();
        for (name, value) in env {
            match SETTINGS.iter().find(|s| s.variable() == *name) {
                Some(s) => self.keep(s, Raw::Written(value.clone()), name.clone()),
                None if sections.iter().any(|s| name.starts_with(s)) => {
                    self.unknown(name, "environment".to_owned(), SETTINGS.iter().map(Setting::variable));
                }
                None => {}
            }
        }
    }

    fn file(&mut self, path: &Path) {
        let shown = path.display().to_string();
        self.folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) => return self.fault("--config", shown, format!("cannot be read: {e}")),
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for e in errors {
            let at = e.span().map_or(0, |s| s.start);
            self.fault("toml", place(&shown, &text, at), e.message().to_owned());
        }
        for (key, value) in table.get_ref() {
            let at = place(&shown, &text, key.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => {
                    for (name, value) in inner {
                        let full = format!("{}.{}", key.get_ref(), name.get_ref());
                        self.set_in_file(&full, value.get_ref(), place(&shown, &text, name.span().start));
                    }
                }
                leaf => self.set_in_file(key.get_ref(), leaf, at),
            }
        }
    }

    fn set_in_file(&mut self, key: &str, value: &DeValue<'_>, at: String) {
        match SETTINGS.iter().find(|s| s.key == key) {
            Some(setting) => self.keep(setting, raw(value), at),
            None => self.unknown(key, at, SETTINGS.iter().map(|s| s.key.to_owned())),
        }
    }

    fn setting(key: &str) -> &'static Setting {
        SETTINGS.iter().find(|s| s.key == key).unwrap_or_else(|| unreachable!("{key} stands in the table"))
    }

    /// The value, or the default; a missing required one is a fault.
    fn value(&mut self, key: &'static str) -> Option<Raw> {
        if let Some((raw, _)) = self.found.get(key) {
            return Some(raw.clone());
        }
        match Self::setting(key).absent {
            Absent::Required(example) => {
                self.fault(key, "", format!("is missing; for example {key} = {example}"));
                None
            }
            Absent::Default(toml) => DeValue::parse(toml).ok().map(|v| raw(v.get_ref())),
            Absent::Nothing(_) => None,
        }
    }

    /// A text, checked by the setting's kind.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let text = match self.value(key)? {
            Raw::Written(text) | Raw::Text(text) => text,
            other => {
                self.wrong(key, format!("is {}; wanted is a text", described(&other)));
                return None;
            }
        };
        match check(Self::setting(key).kind, &text) {
            Ok(()) => Some(text),
            Err(why) => {
                self.wrong(key, why);
                None
            }
        }
    }

    /// The path of a file or folder, relative to the configuration file's.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let from_file = matches!(self.found.get(key), Some((Raw::Text(_), _)));
        let path = PathBuf::from(self.text(key)?);
        let path = if from_file && path.is_relative() { self.folder.join(path) } else { path };
        let is_there = match Self::setting(key).kind {
            Kind::File => std::fs::File::open(&path).and_then(|f| f.metadata()).map(|m| m.is_file()),
            Kind::Folder => std::fs::metadata(&path).map(|m| m.is_dir()),
            _ => return Some(path),
        };
        match is_there {
            Ok(true) => Some(path),
            Ok(false) => {
                self.wrong(key, format!("{} is of the wrong kind", path.display()));
                None
            }
            Err(e) => {
                self.wrong(key, format!("{} cannot be read: {e}", path.display()));
                None
            }
        }
    }

    /// The content of a file, without the newline at its end.
    pub(super) fn content(&mut self, key: &'static str) -> Option<secrecy::SecretString> {
        let path = self.path(key)?;
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => zeroize::Zeroizing::new(text),
            Err(e) => {
                self.wrong(key, format!("{} cannot be read: {e}", path.display()));
                return None;
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            self.wrong(key, format!("{} is empty", path.display()));
            return None;
        }
        Some(secrecy::SecretString::from(text.to_owned()))
    }

    /// A switch.
    pub(super) fn switch(&mut self, key: &'static str) -> Option<bool> {
        match self.value(key)? {
            Raw::Switch(on) => Some(on),
            Raw::Written(text) if text == "true" => Some(true),
            Raw::Written(text) if text == "false" => Some(false),
            other => {
                self.wrong(key, format!("is {}; wanted is true or false", described(&other)));
                None
            }
        }
    }

    /// A port.
    pub(super) fn port(&mut self, key: &'static str) -> Option<u16> {
        let value = self.value(key)?;
        let number = match &value {
            Raw::Number(n) => u16::try_from(*n).ok(),
            Raw::Written(text) => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(port) if port > 0 => Some(port),
            _ => {
                self.wrong(key, format!("is {}; wanted is a port, 1 to 65535", described(&value)));
                None
            }
        }
    }

    /// A time.
    pub(super) fn span(&mut self, key: &'static str) -> Option<Duration> {
        let text = self.text(key)?;
        span(&text)
    }

    /// Texts.
    pub(super) fn list(&mut self, key: &'static str) -> Option<Vec<String>> {
        let list: Vec<String> = match self.value(key)? {
            Raw::List(items) => items,
            Raw::Written(text) => {
                text.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
            }
            other => {
                self.wrong(key, format!("is {}; wanted is a list of texts", described(&other)));
                return None;
            }
        };
        if list.is_empty() && matches!(Self::setting(key).absent, Absent::Required(_)) {
            self.wrong(key, "is empty; at least one is wanted");
            return None;
        }
        Some(list)
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(s) => Raw::Text(s.to_string()),
        DeValue::Integer(n) => {
            i64::from_str_radix(n.as_str(), n.radix()).map_or(Raw::Other("a large number"), Raw::Number)
        }
        DeValue::Boolean(b) => Raw::Switch(*b),
        DeValue::Array(items) => {
            let texts: Option<Vec<String>> =
                items.iter().map(|v| v.get_ref().as_str().map(str::to_owned)).collect();
            texts.map_or(Raw::Other("a list of other things than texts"), Raw::List)
        }
        DeValue::Float(_) => Raw::Other("a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

fn described(raw: &Raw) -> String {
    match raw {
        // Not repeated: people put passwords where a path is wanted.
        Raw::Written(_) | Raw::Text(_) => "a text".to_owned(),
        Raw::Number(n) => n.to_string(),
        Raw::Switch(b) => b.to_string(),
        Raw::List(_) => "a list".to_owned(),
        Raw::Other(what) => (*what).to_owned(),
    }
}

fn check(kind: Kind, text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    match kind {
        Kind::Choice(words) if !words.contains(&text) => Err(format!("wanted is {}", words.join(" or "))),
        Kind::Url(schemes) => url(schemes, text),
        Kind::Address if text.parse::<std::net::SocketAddr>().is_err() => {
            Err("wanted is address:port, as 127.0.0.1:3990 or [::]:3990".to_owned())
        }
        Kind::Span if span(text).is_none() => Err("wanted is a time, as 500ms, 3s, 15m or 12h".to_owned()),
        Kind::Dn => crate::engines::directory::dn::canonical(text).map(drop).map_err(|e| e.to_string()),
        Kind::NodePath if !text.starts_with('/') => Err("wanted is an absolute path".to_owned()),
        _ => Ok(()),
    }
}

fn url(schemes: &[&str], text: &str) -> Result<(), String> {
    let wanted = || format!("wanted is a URL that begins with {}://", schemes.join(":// or "));
    let url = url::Url::parse(text).map_err(|_| wanted())?;
    if !schemes.contains(&url.scheme()) {
        return Err(wanted());
    }
    if url.scheme() != "unix" && url.host_str().is_none_or(str::is_empty) {
        return Err("has no host".to_owned());
    }
    if url.password().is_some() || !url.username().is_empty() {
        return Err("holds credentials: they go into a file of their own".to_owned());
    }
    Ok(())
}

fn span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let n: u64 = text[..digits].parse().ok().filter(|n| *n > 0)?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(n)),
        "s" => Some(Duration::from_secs(n)),
        "m" => n.checked_mul(60).map(Duration::from_secs),
        "h" => n.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

/// `file:line:column`, counting from 1.
fn place(file: &str, text: &str, at: usize) -> String {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = before.split(|b| *b == b'\n').count();
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    format!("{file}:{line}:{column}")
}
