//! The inside of one block: its settings and blocks, checked against the grammar when it is opened.

use hcl_edit::Span as _;
use hcl_edit::expr::{Expression, Object, ObjectKey};
use hcl_edit::structure::{Block, Body, Structure};

use super::fault::code;
use super::grammar::{self, Hint, Kind};
use super::source::{Ctx, Span, error, header, span_of};

/// A key and its value.
#[derive(Clone)]
pub(super) struct Item<'a> {
    /// The key.
    pub(super) key: String,
    /// Its place.
    pub(super) at: Span,
    /// The value.
    pub(super) value: &'a Expression,
}

/// The inside of a block.
pub(super) struct Scope<'a> {
    /// As named in messages: process `web`.
    pub(super) what: String,
    /// The block's first words.
    pub(super) at: Span,
    settings: Vec<Item<'a>>,
    blocks: Vec<&'a Block>,
}

impl<'a> Scope<'a> {
    /// Opens a block. What the grammar does not know there is reported.
    pub(super) fn open(ctx: &Ctx<'_>, block: &'a Block, kind: Kind) -> Self {
        let label = block.labels.first().map(|l| format!(" `{}`", l.as_str())).unwrap_or_default();
        Self::of_body(ctx, &block.body, kind, format!("{}{label}", block.ident.as_str()), header(block))
    }

    /// Opens the file.
    pub(super) fn of_body(ctx: &Ctx<'_>, body: &'a Body, kind: Kind, what: String, at: Span) -> Self {
        let mut scope = Self { what, at, settings: Vec::new(), blocks: Vec::new() };
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => {
                    let key = attribute.key.as_str();
                    let at = attribute.key.span().unwrap_or(0..0);
                    if ctx.ignored.contains(&at.start) {
                        continue;
                    }
                    if kind.settings.contains(&key)
                        || (kind.blocks.contains(&key) && grammar::EITHER.contains(&key))
                    {
                        scope.settings.push(Item { key: key.to_owned(), at, value: &attribute.value });
                    } else if kind.blocks.contains(&key) {
                        error(at, code::TYPE, format!("`{key}` is a block, not a setting"))
                            .help(format!("write `{}` without `=`", example(key)))
                            .add(ctx);
                    } else {
                        unknown(ctx, kind, key, at, "setting");
                    }
                }
                Structure::Block(block) => {
                    let key = block.ident.as_str();
                    if kind.blocks.contains(&key) {
                        scope.blocks.push(block);
                    } else if kind.settings.contains(&key) {
                        error(header(block), code::TYPE, format!("`{key}` is a setting, not a block"))
                            .help(format!("write `{key} = …`"))
                            .add(ctx);
                    } else {
                        unknown(ctx, kind, key, header(block), "block");
                    }
                }
            }
        }
        scope
    }

    /// The value of a setting.
    pub(super) fn get(&self, key: &str) -> Option<&'a Expression> {
        self.settings.iter().find(|i| i.key == key).map(|i| i.value)
    }

    /// The place of a setting's key, else of the block.
    pub(super) fn place(&self, key: &str) -> Span {
        self.settings.iter().find(|i| i.key == key).map_or_else(|| self.at.clone(), |i| i.at.clone())
    }

    /// The blocks of a name, in order.
    pub(super) fn blocks(&self, name: &'a str) -> impl Iterator<Item = &'a Block> + use<'_, 'a> {
        self.blocks.iter().copied().filter(move |b| b.ident.as_str() == name)
    }

    /// The one block of a name; further ones are faults.
    pub(super) fn single(&self, ctx: &Ctx<'_>, name: &'a str) -> Option<&'a Block> {
        let mut blocks = self.blocks(name);
        let first = blocks.next();
        for extra in blocks {
            error(header(extra), code::DUPLICATE, format!("{} has more than one `{name}`", self.what))
                .help("keep one of them")
                .add(ctx);
        }
        first
    }

    /// The entries of what may be written as `key { a = 1 }` or as `key = { a = 1 }`.
    pub(super) fn entries(&self, ctx: &Ctx<'_>, key: &'a str) -> Option<Vec<Item<'a>>> {
        let block = self.single(ctx, key);
        if let (Some(block), Some(value)) = (block, self.get(key)) {
            let later = header(block).start.max(self.place(key).start);
            error(
                later..later + key.len(),
                code::DUPLICATE,
                format!("{} has more than one `{key}`", self.what),
            )
            .help("keep one of them")
            .add(ctx);
            let _ = value;
        }
        if let Some(block) = block {
            no_labels(ctx, block);
            return Some(entries_of_body(ctx, &block.body, key));
        }
        match self.get(key)? {
            Expression::Object(object) => Some(entries_of_object(ctx, object)),
            other => {
                error(span_of(other), code::TYPE, format!("`{key}` must be `{{ NAME = value }}`")).none(ctx)
            }
        }
    }
}

fn entries_of_body<'a>(ctx: &Ctx<'_>, body: &'a Body, key: &str) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    for structure in body {
        match structure {
            Structure::Attribute(attribute) => {
                let at = attribute.key.span().unwrap_or(0..0);
                if !ctx.ignored.contains(&at.start) {
                    items.push(Item { key: attribute.key.as_str().to_owned(), at, value: &attribute.value });
                }
            }
            Structure::Block(block) => {
                error(header(block), code::TYPE, format!("`{key}` holds `name = value` lines, no blocks"))
                    .add(ctx);
            }
        }
    }
    items
}

/// The entries of an object.
pub(super) fn entries_of_object<'a>(ctx: &Ctx<'_>, object: &'a Object) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    for (key, value) in object {
        let (name, at) = match key {
            ObjectKey::Ident(ident) => (ident.as_str().to_owned(), key.span().unwrap_or(0..0)),
            ObjectKey::Expression(Expression::String(text)) => {
                (text.as_str().to_owned(), key.span().unwrap_or(0..0))
            }
            ObjectKey::Expression(other) => {
                error(span_of(other), code::EXPRESSION, "a key must be a plain word or text in quotes")
                    .add(ctx);
                continue;
            }
        };
        if !ctx.ignored.contains(&at.start) {
            items.push(Item { key: name, at, value: value.expr() });
        }
    }
    items
}

/// Reports a key that is not in the grammar at this place.
pub(super) fn unknown(ctx: &Ctx<'_>, kind: Kind, key: &str, at: Span, form: &str) {
    let place = kind.name;
    let report = match grammar::hint(kind, key) {
        Some(Hint::Instead(other)) => {
            error(at, code::UNKNOWN, format!("{place} has no {form} `{key}`")).suggest(other)
        }
        Some(Hint::Say(sentence)) => {
            error(at, code::UNKNOWN, format!("{place} has no {form} `{key}`")).help(sentence)
        }
        Some(Hint::NotYet) => error(
            at,
            code::NOT_YET,
            format!("`{key}` in {place} is not built yet in this version of Terreau"),
        )
        .help("leave it out; nothing is ignored silently"),
        Some(Hint::Raw) => {
            error(at, code::RAW_JOB, format!("`{key}` in {place} would be a raw part of the Nomad job")).help(
                "it needs the right `RawJob` (admins), which this version does not have yet; leave it out",
            )
        }
        None => {
            let own = kind.settings.iter().chain(kind.blocks).copied();
            let near = grammar::nearest(key, own.clone());
            let elsewhere = grammar::ALL
                .iter()
                .find(|k| k.name != place && (k.settings.contains(&key) || k.blocks.contains(&key)));
            let known: Vec<String> = own.map(|k| format!("`{k}`")).collect();
            let help = match (elsewhere, known.len()) {
                (_, 0) => format!("{place} holds nothing"),
                (Some(kind), _) => format!("`{key}` belongs into {}", kind.name),
                (_, _) => format!("{place} knows {}", known.join(", ")),
            };
            error(at, code::UNKNOWN, format!("{place} has no {form} `{key}`"))
                .maybe_suggest(near.filter(|_| elsewhere.is_none()))
                .help(help)
        }
    };
    report.add(ctx);
}

/// How a block is begun.
fn example(key: &str) -> &'static str {
    match key {
        "project" => "project \"name\" { … }",
        "process" => "process \"web\" { … }",
        "port" => "port \"http\" {}",
        "check" => "check \"http\" { path = \"/\" }",
        "route" => "route \"app.example.org\" {}",
        "volume" => "volume \"data\" { path = \"/data\" }",
        "secret" => "secret \"name\" { type = \"generated\" }",
        "file" => "file \"name\" { content = … }",
        "uses" => "uses \"ldap\" {}",
        "build" => "build \"archive\" {}",
        "restart" => "restart { … }",
        "logs" => "logs { … }",
        "redirect" => "redirect \"www.example.org\" {}",
        _ => "update { … }",
    }
}

/// A block's one label.
pub(super) fn label<'a>(ctx: &Ctx<'_>, block: &'a Block) -> Option<(&'a str, Span)> {
    let labels = labels(ctx, block, 1);
    labels.into_iter().next()
}

/// A block's labels, of which there may be up to `max`; the first must be there.
pub(super) fn labels<'a>(ctx: &Ctx<'_>, block: &'a Block, max: usize) -> Vec<(&'a str, Span)> {
    let key = block.ident.as_str();
    if block.labels.is_empty() {
        error(header(block), code::MISSING, format!("`{key}` needs a name before the brace"))
            .help(format!("for example `{}`", example(key)))
            .add(ctx);
    }
    if let Some(extra) = block.labels.get(max) {
        let at = extra.span().unwrap_or_else(|| header(block));
        error(at, code::TYPE, format!("`{key}` has too many names before the brace"))
            .help(format!("for example `{}`", example(key)))
            .add(ctx);
    }
    block.labels.iter().take(max).map(|l| (l.as_str(), l.span().unwrap_or_else(|| header(block)))).collect()
}

/// Refuses labels where none belong.
pub(super) fn no_labels(ctx: &Ctx<'_>, block: &Block) {
    if let Some(first) = block.labels.first() {
        let key = block.ident.as_str();
        let at = first.span().unwrap_or_else(|| header(block));
        error(at, code::TYPE, format!("`{key}` takes no name before the brace"))
            .help(format!("write `{key} {{ … }}`"))
            .add(ctx);
    }
}
