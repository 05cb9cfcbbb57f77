//! Dotenv text: names and values, one after the other. What is written here is read back byte for byte, and read by
//! shells and by most programs in the same way. Nothing is ever expanded: `$` is a dollar.
//!
//! Never puts a value into an error: a fault names its line and, where there is one, its name.

use std::fmt::Write as _;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Fault {
    /// Counting from 1.
    pub line: usize,
    /// What, and what is wanted.
    pub why: String,
}

/// Writes names and values, in their order.
pub fn write<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name}={}", quoted(value));
    }
    out
}

/// A value as it is written: bare where nothing in it means anything, in single quotes where it holds none, else in
/// double quotes with escapes.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,=-".contains(c);
    if value.chars().all(is_plain) {
        return value.to_owned();
    }
    // A line break of another kind than `\n` may be changed by whatever the text passes through.
    if value.chars().all(|c| c != '\'' && (c == '\n' || !c.is_control())) {
        return format!("'{value}'");
    }
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' | '$' | '`' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// One name with its value, and the line where it begins.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// As written; whether it may be one is the caller's to say.
    pub name: String,
    /// As meant.
    pub value: String,
    /// Counting from 1.
    pub line: usize,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (line {}, {} bytes)", self.name, self.line, self.value.len())
    }
}

/// Reads a whole text. The first thing that is wrong is told; nothing is guessed.
pub fn read(text: &str) -> Result<Vec<Entry>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { rest: text, line: 1 };
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        reader.skip(|c| c.is_ascii_whitespace());
        if reader.rest.is_empty() {
            return Ok(entries);
        }
        if reader.rest.starts_with('#') {
            reader.skip(|c| c != '\n');
            continue;
        }
        let entry = reader.entry()?;
        if let Some(before) = entries.iter().find(|e| e.name == entry.name) {
            let why =
                format!("{} stands twice (first in line {}); leave one of them", entry.name, before.line);
            return Err(Fault { line: entry.line, why });
        }
        entries.push(entry);
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn fault(&self, why: impl Into<String>) -> Fault {
        Fault { line: self.line, why: why.into() }
    }

    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn skip(&mut self, what: impl Fn(char) -> bool) {
        while self.rest.chars().next().is_some_and(&what) {
            self.take();
        }
    }

    fn until(&mut self, end: impl Fn(char) -> bool) -> String {
        let mut out = String::new();
        while let Some(c) = self.rest.chars().next().filter(|c| !end(*c)) {
            out.push(c);
            self.take();
        }
        out
    }

    fn entry(&mut self) -> Result<Entry, Fault> {
        let line = self.line;
        let first = self.until(|c| c == '=' || c == '\n');
        let name = first.trim();
        let name = name.strip_prefix("export").filter(|n| n.starts_with([' ', '\t'])).unwrap_or(name).trim();
        if !self.rest.starts_with('=') {
            // Not repeated: it may be a piece of a value.
            return Err(Fault { line, why: "wanted is NAME=VALUE".to_owned() });
        }
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Fault { line, why: "wanted is NAME=VALUE, with a name without spaces".to_owned() });
        }
        self.take();
        self.skip(|c| c == ' ' || c == '\t');
        let value = match self.rest.chars().next() {
            Some('\'') => {
                self.take();
                let value = self.until(|c| c == '\'');
                self.close(line, name)?;
                value
            }
            Some('"') => {
                self.take();
                let value = self.escaped(line, name)?;
                self.close(line, name)?;
                value
            }
            _ => self.bare(),
        };
        if value.contains('\0') {
            return Err(Fault { line, why: format!("{name} holds a NUL byte, which no environment can") });
        }
        Ok(Entry { name: name.to_owned(), value, line })
    }

    /// Up to the end of the line, or to a comment after a space.
    fn bare(&mut self) -> String {
        let mut out = self.until(|c| c == '\n');
        if out.starts_with('#') {
            out.clear();
        }
        if let Some(at) =
            out.match_indices('#').map(|(at, _)| at).find(|at| out[..*at].ends_with([' ', '\t']))
        {
            out.truncate(at);
        }
        out.trim_end_matches([' ', '\t', '\r']).to_owned()
    }

    fn escaped(&mut self, line: usize, name: &str) -> Result<String, Fault> {
        let mut out = String::new();
        loop {
            out.push_str(&self.until(|c| c == '"' || c == '\\'));
            if !self.rest.starts_with('\\') {
                return Ok(out);
            }
            self.take();
            match self.take() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some(c @ ('"' | '\\' | '$' | '`')) => out.push(c),
                Some('u') => {
                    let hex: String = self.rest.chars().take(4).collect();
                    let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 4);
                    let Some(c) = code.and_then(char::from_u32) else {
                        return Err(self
                            .fault(format!("{name}: after \\u wanted are four hex digits of a character")));
                    };
                    for _ in 0..4 {
                        self.take();
                    }
                    out.push(c);
                }
                // As most programs do: a backslash before anything else is one.
                Some(c) => out.extend(['\\', c]),
                None => return Err(unclosed(line, name)),
            }
        }
    }

    /// The closing quote, and nothing but a comment after it.
    fn close(&mut self, line: usize, name: &str) -> Result<(), Fault> {
        if self.take().is_none() {
            return Err(unclosed(line, name));
        }
        self.skip(|c| matches!(c, ' ' | '\t' | '\r'));
        match self.rest.chars().next() {
            None | Some('\n') => Ok(()),
            Some('#') => {
                self.skip(|c| c != '\n');
                Ok(())
            }
            Some(_) => Err(self.fault(format!(
                "{name}: after the closing quote there is more; inside double quotes write \\\" for a quote"
            ))),
        }
    }
}

fn unclosed(line: usize, name: &str) -> Fault {
    Fault { line, why: format!("the quote that opens the value of {name} is never closed") }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        read(text).unwrap().into_iter().map(|e| (e.name, e.value)).collect()
    }

    fn fault(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_back_byte_for_byte() {
        let pieces = [
            "a",
            " ",
            "\n",
            "\r",
            "\r\n",
            "\t",
            "'",
            "\"",
            "\\",
            "\\n",
            "$",
            "${HOME}",
            "`",
            "#",
            " #",
            "=",
            "é",
            "🌱",
            "\u{1}",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "e\u{301}",
            "%{",
            "{{ key }}",
            "export ",
            "\u{feff}",
        ];
        let mut rng = rand::rng();
        for round in 0..4_000 {
            let count = rng.random_range(0..8_usize);
            let value: String = (0..count).map(|_| pieces[rng.random_range(0..pieces.len())]).collect();
            let other: String = (0..count).map(|_| pieces[rng.random_range(0..pieces.len())]).collect();
            let text = write([("A", value.as_str()), ("b_1", other.as_str())]);
            assert_eq!(
                pairs(&text),
                [("A".to_owned(), value.clone()), ("b_1".to_owned(), other)],
                "round {round}: {text:?}"
            );
        }
    }

    #[test]
    fn files_of_other_programs_are_read_as_they_read_them() {
        let text = "# a comment\r\n\nexport A=1 # one\nB = two words \nC='x # y'  # z\nD=\"a\\nb$HOME \\d\"\nE=\nF=a#b\nG=#no\n";
        let wanted = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "x # y"),
            ("D", "a\nb$HOME \\d"),
            ("E", ""),
            ("F", "a#b"),
            ("G", ""),
        ];
        assert_eq!(pairs(text), wanted.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(pairs("A=1\r\nB=2\r\n"), [("A".into(), "1".into()), ("B".into(), "2".into())]);
        assert_eq!(pairs("KEY='-----BEGIN\nabc\n'\nB=1")[1].1, "1");
        assert_eq!(read("K='a\nb'\n\nB=1").unwrap()[1].line, 4);
    }

    #[test]
    fn a_faulty_line_is_named_and_its_value_is_not() {
        assert_eq!(fault("A=1\ncanary\n"), "line 2: wanted is NAME=VALUE");
        assert!(fault("A='canary\nB=2").starts_with("line 1: the quote that opens the value of A"));
        assert!(fault("\nA=\"canary\\").starts_with("line 2: the quote"));
        assert!(fault("A='canary'canary").starts_with("line 1: A: after the closing quote"));
        assert!(fault("A=1\nA=2").contains("line 2: A stands twice (first in line 1)"));
        assert!(fault("A=\"\\ud800\"").contains("four hex digits"));
        assert!(fault("a b=canary").contains("line 1"));
        for text in ["A=1\ncanary\n", "A='canary\nB=2", "A='canary'canary", "a b=canary"] {
            assert!(!fault(text).contains("canary"), "{text}");
        }
    }

    #[test]
    fn simple_values_are_written_without_quotes_and_others_as_shells_read_them() {
        assert_eq!(
            write([("A", "https://x.example.org:80/a,b"), ("B", "two words"), ("C", "")]),
            "A=https://x.example.org:80/a,b\nB='two words'\nC=\n"
        );
        assert_eq!(write([("A", "it's\n$x")]), "A=\"it's\\n\\$x\"\n");
    }
}
