//! The text that is being read, positions in it, and the list that faults are collected in. Reads nothing itself.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use hcl_edit::Span as _;
use hcl_edit::expr::Expression;
use hcl_edit::structure::Block;

use super::fault::{Fault, Faults, Severity};
use crate::model::text::Reference;

/// Bytes in the text, from and to.
pub(super) type Span = Range<usize>;

/// Longest line that a fault quotes, in characters.
pub const QUOTED: usize = 240;

/// Where a text stands: decides what it may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The project's `env`: must hold for every process.
    Env,
    /// The `env` of the n-th process.
    ProcessEnv(usize),
    /// The `command` of the n-th process.
    Command(usize),
    /// The n-th file.
    File(usize),
}

/// A reference that somebody wrote.
pub(super) struct Used {
    pub(super) reference: Reference,
    pub(super) at: Span,
    pub(super) place: Place,
}

/// The text, and what was found in it so far.
pub(super) struct Ctx<'a> {
    file: &'a str,
    text: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    found: RefCell<Vec<(Span, Fault)>>,
    /// Every reference, with its place: resolved once everything was read.
    pub(super) used: RefCell<Vec<Used>>,
    /// Keys that recovery renamed: nobody looks at them again.
    pub(super) ignored: BTreeSet<usize>,
}

/// A fault that is being described; it is recorded by [`Report::add`] or when dropped into [`Ctx::push`].
pub(super) struct Report {
    span: Span,
    severity: Severity,
    code: &'static str,
    message: String,
    help: Option<String>,
    suggestion: Option<String>,
}

impl Report {
    /// What to do.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    /// The same, where there is something to say.
    pub(super) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }
    /// What was probably meant.
    pub(super) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
    /// The same, where something is close enough.
    pub(super) fn maybe_suggest(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }
    /// Records it.
    pub(super) fn add(self, ctx: &Ctx<'_>) {
        ctx.push(self);
    }
    /// Records it, and stands for the value that could not be read.
    pub(super) fn none<T>(self, ctx: &Ctx<'_>) -> Option<T> {
        ctx.push(self);
        None
    }
}

/// An error at a place.
pub(super) fn error(span: Span, code: &'static str, message: impl Into<String>) -> Report {
    Report { span, severity: Severity::Error, code, message: message.into(), help: None, suggestion: None }
}

/// A warning at a place.
pub(super) fn warning(span: Span, code: &'static str, message: impl Into<String>) -> Report {
    Report { severity: Severity::Warning, ..error(span, code, message) }
}

impl<'a> Ctx<'a> {
    /// Begins to read a text.
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self {
            file,
            text,
            lines,
            found: RefCell::default(),
            used: RefCell::default(),
            ignored: BTreeSet::new(),
        }
    }

    /// The text.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Records a fault.
    pub(super) fn push(&self, report: Report) {
        let start = floor(self.text, report.span.start);
        let line = self.lines.partition_point(|&l| l <= start).saturating_sub(1);
        let begin = self.lines[line];
        let end = self.text[begin..].find('\n').map_or(self.text.len(), |n| begin + n);
        let start = start.min(end);
        let stop = floor(self.text, report.span.end).clamp(start, end);
        let column = self.text[begin..start].chars().count() + 1;
        let width = self.text[start..stop].chars().count().max(1);
        let mut source_line: String = self.text[begin..end].chars().take(QUOTED).collect();
        if source_line.len() < end - begin {
            source_line.push('…');
        }
        let fault = Fault {
            severity: report.severity,
            code: report.code,
            message: report.message,
            file: self.file.to_owned(),
            line: number(line + 1),
            column: number(column),
            end_column: number(column + width),
            source_line,
            help: report.help,
            suggestion: report.suggestion,
        };
        self.found.borrow_mut().push((start..stop, fault));
    }

    /// True where something was refused so far.
    pub(super) fn has_errors(&self) -> bool {
        self.found.borrow().iter().any(|(_, f)| f.severity == Severity::Error)
    }

    /// Forgets what would only be a consequence of an earlier fault.
    pub(super) fn forget(&self, codes: &[&str]) {
        self.found.borrow_mut().retain(|(_, f)| !codes.contains(&f.code));
    }

    /// Everything, errors and warnings, each in the order of the file.
    pub(super) fn finish(self) -> (Faults, Faults) {
        let mut found = self.found.into_inner();
        found.sort_by(|(a, x), (b, y)| {
            (a.start, x.line, &x.message, a.end).cmp(&(b.start, y.line, &y.message, b.end))
        });
        found.dedup_by(|(a, x), (b, y)| a.start == b.start && x.code == y.code && x.message == y.message);
        let (errors, warnings): (Vec<_>, Vec<_>) =
            found.into_iter().map(|(_, f)| f).partition(|f| f.severity == Severity::Error);
        (Faults(errors), Faults(warnings))
    }
}

/// The place of an expression.
pub(super) fn span_of(expr: &Expression) -> Span {
    expr.span().unwrap_or(0..0)
}

/// The place of a block's first words: its keyword and labels.
pub(super) fn header(block: &Block) -> Span {
    let start = block.ident.span().unwrap_or(0..0);
    let end = block.labels.last().and_then(hcl_edit::Span::span).unwrap_or_else(|| start.clone());
    start.start..end.end.max(start.end)
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The next place at or before `at` where a character begins.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
