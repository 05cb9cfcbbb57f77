//! What is wrong with a descriptor, where, and what to do: one [`Fault`] for each thing, [`Faults`] for all of them.
//! Must never hold more of the file than the one line that it points at.

use std::fmt::{self, Write as _};

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The descriptor is refused.
    Error,
    /// It is accepted; the author should know.
    Warning,
}

/// One thing that is wrong, and the place in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// An error or a warning.
    pub severity: Severity,
    /// Stable, for programs: see [`code`].
    pub code: &'static str,
    /// What is wrong: one sentence without a full stop.
    pub message: String,
    /// The file's name as the caller gave it.
    pub file: String,
    /// Counting from 1.
    pub line: u32,
    /// Counting from 1, in characters (Unicode scalar values), not bytes; a tab is one character and a byte order
    /// mark none.
    pub column: u32,
    /// The column after the last character that is meant, on the same line.
    pub end_column: u32,
    /// The whole line, cut after 240 characters.
    pub source_line: String,
    /// What to do, or what is allowed.
    pub help: Option<String>,
    /// What probably was meant instead of the marked characters.
    pub suggestion: Option<String>,
}

/// The stable codes.
pub mod code {
    /// The text is not HCL.
    pub const SYNTAX: &str = "syntax";
    /// Too large, too deep, too many.
    pub const LIMIT: &str = "limit";
    /// A setting or block that does not exist here.
    pub const UNKNOWN: &str = "unknown";
    /// Known to the design, not built in this version.
    pub const NOT_YET: &str = "not-yet";
    /// Needs the right `RawJob`.
    pub const RAW_JOB: &str = "raw-job";
    /// A string where a number is wanted, a block where a setting is wanted…
    pub const TYPE: &str = "type";
    /// Of the right type, but not allowed.
    pub const VALUE: &str = "value";
    /// A name that breaks the rules or is reserved.
    pub const NAME: &str = "name";
    /// Something that must be there is not.
    pub const MISSING: &str = "missing";
    /// The same thing twice.
    pub const DUPLICATE: &str = "duplicate";
    /// A reference that leads nowhere.
    pub const REFERENCE: &str = "reference";
    /// An expression that a descriptor cannot hold.
    pub const EXPRESSION: &str = "expression";
    /// A secret where everybody would see it.
    pub const SECRET: &str = "secret";
    /// Two things that exclude each other.
    pub const CONFLICT: &str = "conflict";
    /// Declared and never used, or likely not what was meant.
    pub const SUSPICIOUS: &str = "suspicious";
}

/// Everything that is wrong with one file, in the order of the file, nothing twice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Faults(pub Vec<Fault>);

/// Whether colours are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Letters only: for pipes, files, problem documents.
    Plain,
    /// ANSI colours: for a terminal.
    Colour,
}

impl std::error::Error for Faults {}
impl std::error::Error for Fault {}

impl Faults {
    /// True where nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// One after the other, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }
    /// All of them as a compiler prints them, and a last line that counts.
    pub fn pretty(&self, paint: Paint) -> String {
        let mut out = String::new();
        for fault in &self.0 {
            out.push_str(&fault.pretty(paint));
            out.push('\n');
        }
        if let Some(first) = self.0.first() {
            let errors = self.0.iter().filter(|f| f.severity == Severity::Error).count();
            let warnings = self.0.len() - errors;
            let mut parts = Vec::new();
            for (n, word) in [(errors, "error"), (warnings, "warning")] {
                match n {
                    0 => {}
                    1 => parts.push(format!("1 {word}")),
                    n => parts.push(format!("{n} {word}s")),
                }
            }
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{} in {}", parts.join(", "), printable(&first.file));
        }
        out
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Fault {
    /// This one as a compiler prints it, with a newline at the end.
    pub fn pretty(&self, paint: Paint) -> String {
        let (red, bold, blue, off) = match (paint, self.severity) {
            (Paint::Plain, _) => ("", "", "", ""),
            (Paint::Colour, Severity::Error) => ("\x1b[1;31m", "\x1b[1m", "\x1b[1;34m", "\x1b[0m"),
            (Paint::Colour, Severity::Warning) => ("\x1b[1;33m", "\x1b[1m", "\x1b[1;34m", "\x1b[0m"),
        };
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let number = self.line.to_string();
        let gap = " ".repeat(number.len());
        let source = printable(&self.source_line);
        let mut out = format!(
            "{red}{word}[{}]{off}{bold}: {}{off}\n{gap}{blue}-->{off} {}:{}:{}\n{gap} {blue}|{off}\n{blue}{number} |{off} {}\n",
            self.code,
            printable(&self.message),
            printable(&self.file),
            self.line,
            self.column,
            source.replace('\t', "    ").trim_end(),
        );
        let before: usize = source
            .chars()
            .take(self.column.saturating_sub(1) as usize)
            .map(|c| if c == '\t' { 4 } else { 1 })
            .sum();
        let width = self.end_column.saturating_sub(self.column).max(1) as usize;
        if (self.column as usize) <= source.chars().count() + 1 {
            let _ = writeln!(
                out,
                "{gap} {blue}|{off} {}{red}{}{off}",
                " ".repeat(before),
                "^".repeat(
                    width.min((source.chars().count() + 1).saturating_sub(self.column as usize).max(1))
                )
            );
        }
        if let Some(suggestion) = &self.suggestion {
            let _ = writeln!(out, "{gap} {blue}={off} did you mean `{}`?", printable(suggestion));
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{gap} {blue}={off} {bold}help{off}: {}", printable(help));
        }
        out
    }
}

/// A hostile file must not steer the reader's terminal: control characters are shown as `\u{FFFD}`, but for tabs.
fn printable(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && c != '\t')
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pretty(Paint::Plain))
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pretty(Paint::Plain))
    }
}
