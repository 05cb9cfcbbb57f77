//! From text to HCL's tree, by hcl-edit. Its parser stops at the first fault; so that people see all of theirs at
//! once, a line that cannot be read is left out and a key that is there twice is put aside, and the rest is read.

use hcl_edit::structure::Body;

use super::fault::code;
use super::source::{Ctx, error};

/// How many syntax faults are looked for in one file.
const MAX_TRIES: usize = 24;

/// Whether the tree is the whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    /// It is.
    Yes,
    /// Lines were left out: what seems to be missing may stand in them.
    No,
}

/// Parses, and reports what is not HCL.
pub(super) fn body(ctx: &mut Ctx<'_>) -> Option<(Body, Whole)> {
    let mut work = ctx.text().to_owned();
    let mut whole = Whole::Yes;
    let mut renamed = 0_usize;
    for _ in 0..MAX_TRIES {
        let fault = match hcl_edit::parser::parse_body(&work) {
            Ok(body) => return Some((body, whole)),
            Err(fault) => fault,
        };
        let at = fault.location().offset();
        if fault.message().contains("found redefined") {
            let (start, end) = word_at(&work, at)?;
            if !ctx.ignored.contains(&at) {
                let key = ctx.text().get(start..end).unwrap_or_default();
                error(start..end, code::DUPLICATE, format!("`{key}` is set twice here"))
                    .help("keep one of them")
                    .add(ctx);
                ctx.ignored.insert(at);
            }
            work.replace_range(start..end, &filler(end - start, renamed));
            renamed += 1;
            continue;
        }
        let (message, help) = explain(&work, at, fault.message());
        let past_end = at + 1 >= work.len() || fault.message().contains("heredoc end");
        let at =
            if fault.message().contains("heredoc end") { work[..at].rfind("<<").unwrap_or(at) } else { at };
        error(at..at + 1, code::SYNTAX, message).maybe_help(help).add(ctx);
        let (start, end) = line_around(&work, at);
        if past_end || !stands_alone(&work[start..end]) {
            return None;
        }
        work.replace_range(start..end, &" ".repeat(end - start));
        whole = Whole::No;
    }
    None
}

/// What the parser's words mean for a descriptor.
fn explain(text: &str, at: usize, message: &str) -> (String, Option<String>) {
    let (start, end) = line_around(text, at);
    let (before, after) = (&text[start..at.clamp(start, end)], &text[at.clamp(start, end)..end]);
    let help = |s: &str| Some(s.to_owned());
    if at + 1 >= text.len() && text[..at.min(text.len())].matches('{').count() > text.matches('}').count() {
        return ("the file ends inside a block".to_owned(), help("a `}` is missing"));
    }
    if message.contains("nesting depth") || message.contains("chained binary") {
        return ("this is nested too deeply".to_owned(), None);
    }
    if message.contains("heredoc end") {
        let text = "the text that begins with `<<` never ends";
        return (text.to_owned(), help("its closing word must stand alone on a line"));
    }
    if message.contains("escape sequence") || message.contains("hex code") {
        let text = "this is not an escape that text can hold";
        return (text.to_owned(), help("there are \\n, \\r, \\t, \\\", \\\\, \\uXXXX and \\UXXXXXXXX"));
    }
    if let Some((_, inside)) = before.rsplit_once('{')
        && inside.contains('=')
        && (message.contains('}') || message.contains("identifier") || message.contains("unexpected"))
        && !after.trim_start().is_empty()
    {
        return (
            "a block on one line holds one setting at most".to_owned(),
            help("write each setting on a line of its own"),
        );
    }
    if after.starts_with(':') || (before.trim_end().ends_with(':') && !before.contains('=')) {
        return ("a setting is written with `=`, not with `:`".to_owned(), help("this is HCL, not YAML"));
    }
    if after.starts_with('\'') || before.trim_end().ends_with('\'') {
        return ("text is written between double quotes".to_owned(), None);
    }
    let line = &text[start..end];
    if line.matches('"').count() % 2 == 1 && !line.contains('\\') {
        return ("this text is not closed".to_owned(), help("a `\"` is missing in this line"));
    }
    if before.matches('"').count() % 2 == 1 {
        return (
            format!("this text is not closed, or holds something odd ({message})"),
            help("a `\"` is missing"),
        );
    }
    let message =
        message.strip_prefix("invalid ").map_or_else(|| message.to_owned(), |m| format!("invalid {m}"));
    (format!("this is not HCL: {}", message.replace("`\n`", "a new line").replace('\n', "a new line")), None)
}

/// The line around a place, without its newline.
fn line_around(text: &str, at: usize) -> (usize, usize) {
    let at = at.min(text.len());
    let bytes = text.as_bytes();
    let start = bytes[..at].iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1);
    let end = bytes[start..].iter().position(|&b| b == b'\n').map_or(text.len(), |n| start + n);
    (start, end)
}

/// True where leaving the line out does not change what the others mean.
fn stands_alone(line: &str) -> bool {
    let mut open = Vec::new();
    for c in line.chars() {
        match c {
            '{' | '[' | '(' => open.push(c),
            '}' if open.pop() != Some('{') => return false,
            ']' if open.pop() != Some('[') => return false,
            ')' if open.pop() != Some('(') => return false,
            _ => {}
        }
    }
    open.is_empty() && !line.contains("<<") && !line.contains("/*") && !line.trim().is_empty()
}

/// The key at a place; of a quoted one the text between the quotes.
fn word_at(text: &str, at: usize) -> Option<(usize, usize)> {
    let rest = text.get(at..)?;
    let (start, rest) = match rest.strip_prefix('"') {
        Some(inner) => (at + 1, inner.split_once('"')?.0),
        None => (at, rest),
    };
    let length =
        rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))).unwrap_or(rest.len());
    (length > 0).then_some((start, start + length))
}

/// A key of this many bytes that nobody uses; another one for each `n`.
fn filler(length: usize, n: usize) -> String {
    let mut n = n;
    (0..length)
        .map(|_| {
            let letter = u8::try_from(n % 26).unwrap_or(0);
            n /= 26;
            char::from(b'z' - letter)
        })
        .collect()
}
