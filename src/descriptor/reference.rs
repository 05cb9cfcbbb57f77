//! Text with references. Anything else that HCL could compute is refused: nothing is evaluated here.

use hcl_edit::Span as _;
use hcl_edit::expr::{Expression, Traversal, TraversalOperator};
use hcl_edit::template::{Element, Strip};

use super::fault::code;
use super::grammar::nearest;
use super::source::{Ctx, Place, Report, Span, Used, error, span_of};
use crate::model::names::{PartName, ProcessName, SecretName};
use crate::model::text::{Piece, Reference, Text};

const ROOTS: [&str; 8] = ["secret", "uses", "service", "meta", "port", "volume", "file", "process"];

/// What references there are, for help.
const POSSIBLE: &str = "possible are secret.<name>, uses.<name>.<field>, service.<name>, meta.site, port.<name>, \
                        volume.<name>, file.<name> and process.<name>.host; `$${` writes a literal `${`";

impl Ctx<'_> {
    /// Text with references; `what` names it in messages. Numbers and booleans are taken as they are written.
    pub(super) fn text_of(&self, expr: &Expression, what: &str, place: Place) -> Option<Text> {
        let at = span_of(expr);
        let pieces = match expr {
            Expression::String(text) => vec![Piece::Literal(text.as_str().to_owned())],
            Expression::Number(_) | Expression::Bool(_) => {
                vec![Piece::Literal(self.text().get(at.clone())?.to_owned())]
            }
            Expression::StringTemplate(template) => self.pieces(template.iter(), place)?,
            Expression::HeredocTemplate(heredoc) => self.pieces(heredoc.template.iter(), place)?,
            Expression::Traversal(_) | Expression::Variable(_) => {
                vec![Piece::Ref(self.reference(expr, at.clone(), place)?)]
            }
            other => return wrong_text(other, what).none(self),
        };
        let nul = pieces.iter().any(|p| matches!(p, Piece::Literal(t) if t.contains('\0')));
        if nul {
            return error(
                at,
                code::VALUE,
                format!("{what} holds a NUL character, which no program can be given"),
            )
            .none(self);
        }
        Some(Text(pieces))
    }

    /// Text without references.
    pub(super) fn literal(&self, expr: &Expression, what: &str) -> Option<String> {
        let at = span_of(expr);
        let text = match expr {
            Expression::String(text) => text.as_str().to_owned(),
            Expression::HeredocTemplate(_) | Expression::StringTemplate(_) => {
                let elements: Vec<&Element> = match expr {
                    Expression::HeredocTemplate(h) => h.template.iter().collect(),
                    Expression::StringTemplate(t) => t.iter().collect(),
                    _ => Vec::new(),
                };
                let mut text = String::new();
                for element in elements {
                    let Element::Literal(literal) = element else {
                        let at = element.span().unwrap_or(at);
                        return error(
                            at,
                            code::EXPRESSION,
                            format!("{what} must be plain text, without `${{`"),
                        )
                        .help("references are possible in `env`, `command` and a file's `content`")
                        .none(self);
                    };
                    text.push_str(literal);
                }
                text
            }
            Expression::Traversal(_) => {
                return error(at, code::EXPRESSION, format!("{what} must be plain text, not a reference"))
                    .help("references are possible in `env`, `command` and a file's `content`")
                    .none(self);
            }
            Expression::Variable(word) => {
                return error(at, code::TYPE, format!("{what} must be text in quotes"))
                    .suggest(format!("\"{}\"", word.as_str()))
                    .none(self);
            }
            other => return wrong_text(other, what).none(self),
        };
        if text.contains('\0') {
            return error(at, code::VALUE, format!("{what} holds a NUL character")).none(self);
        }
        Some(text)
    }

    fn pieces<'e>(&self, elements: impl Iterator<Item = &'e Element>, place: Place) -> Option<Vec<Piece>> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut sound = true;
        for element in elements {
            match element {
                Element::Literal(text) => match pieces.last_mut() {
                    Some(Piece::Literal(before)) => before.push_str(text),
                    _ => pieces.push(Piece::Literal(text.as_str().to_owned())),
                },
                Element::Interpolation(inner) => {
                    let at = element.span().unwrap_or(0..0);
                    if inner.strip != Strip::None {
                        error(at.clone(), code::EXPRESSION, "`${~` and `~}` are not part of a descriptor")
                            .help("write `${` and `}`")
                            .add(self);
                        sound = false;
                    }
                    match self.reference(&inner.expr, at, place) {
                        Some(reference) => pieces.push(Piece::Ref(reference)),
                        None => sound = false,
                    }
                }
                Element::Directive(_) => {
                    let at = element.span().unwrap_or(0..0);
                    error(
                        at.start..at.start + 2,
                        code::EXPRESSION,
                        "`%{` directives are not evaluated in a descriptor",
                    )
                    .help("`%%{` writes a literal `%{`")
                    .add(self);
                    sound = false;
                }
            }
        }
        sound.then_some(pieces)
    }

    /// Reads one reference, and notes where it stands.
    fn reference(&self, expr: &Expression, at: Span, place: Place) -> Option<Reference> {
        let reference = match expr {
            Expression::Traversal(traversal) => self.traversal(traversal, at.clone())?,
            Expression::Variable(word) => return bare_word(word.as_str(), at).none(self),
            other => {
                let what = match other {
                    Expression::FuncCall(_) => "functions are",
                    Expression::Conditional(_) => "conditions are",
                    Expression::BinaryOp(_) | Expression::UnaryOp(_) => "calculations are",
                    Expression::ForExpr(_) => "loops are",
                    _ => "expressions of this kind are",
                };
                let file = matches!(other, Expression::FuncCall(f)
                    if f.name.name.as_str().contains("file"));
                let help = if file {
                    "write the text into a `file \"name\" { content = <<EOT … EOT }` block"
                } else {
                    POSSIBLE
                };
                return error(at, code::EXPRESSION, format!("{what} not evaluated in a descriptor"))
                    .help(help)
                    .none(self);
            }
        };
        self.used.borrow_mut().push(Used { reference: reference.clone(), at, place });
        Some(reference)
    }

    fn traversal(&self, traversal: &Traversal, at: Span) -> Option<Reference> {
        let Expression::Variable(root) = &traversal.expr else {
            return error(at, code::EXPRESSION, "this is not a reference").help(POSSIBLE).none(self);
        };
        let mut path: Vec<String> = Vec::new();
        for operator in &traversal.operators {
            match operator.value() {
                TraversalOperator::GetAttr(word) => path.push(word.as_str().to_owned()),
                TraversalOperator::Index(Expression::String(text)) => path.push(text.as_str().to_owned()),
                TraversalOperator::LegacyIndex(n) => path.push(n.value().to_string()),
                _ => {
                    return error(at, code::EXPRESSION, "a reference holds names only, no positions or `*`")
                        .help(POSSIBLE)
                        .none(self);
                }
            }
        }
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let name_fault =
            |e: crate::model::names::NameError| error(at.clone(), code::REFERENCE, e.to_string());
        match (root.as_str(), parts.as_slice()) {
            ("secret", [_, ..]) => match SecretName::new(parts.join(".")) {
                Ok(name) => Some(Reference::Secret(name)),
                Err(e) => name_fault(e).none(self),
            },
            ("file", [_, ..]) => Some(Reference::File(parts.join("."))),
            ("uses", [name, field]) => match PartName::new(*name) {
                Ok(name) => Some(Reference::Use { name, field: (*field).to_owned() }),
                Err(e) => name_fault(e).none(self),
            },
            ("service", [name]) => {
                let ok = name.len() <= 63
                    && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                    && !name.is_empty();
                if ok {
                    return Some(Reference::Service((*name).to_owned()));
                }
                error(
                    at,
                    code::REFERENCE,
                    format!("service name {name:?} is not one that Consul's DNS could serve"),
                )
                .help("lower-case letters, digits and dashes, at most 63")
                .none(self)
            }
            ("meta", ["site"]) => Some(Reference::Site),
            ("meta", _) => {
                error(at, code::REFERENCE, "of a node's meta data only `meta.site` can be used").none(self)
            }
            ("port", [name]) => match PartName::new(*name) {
                Ok(name) => Some(Reference::Port(name)),
                Err(e) => name_fault(e).none(self),
            },
            ("volume", [name]) => match PartName::new(*name) {
                Ok(name) => Some(Reference::Volume(name)),
                Err(e) => name_fault(e).none(self),
            },
            ("process", [name, "host"]) => match ProcessName::new(*name) {
                Ok(name) => Some(Reference::Host(name)),
                Err(e) => name_fault(e).none(self),
            },
            ("uses", [name]) => error(at, code::REFERENCE, format!("`uses.{name}` needs a field"))
                .help("uses.<name>.<field>, for example `uses.ldap.url`")
                .none(self),
            ("process", _) => error(at, code::REFERENCE, "of a process only its host can be used")
                .help("process.<name>.host")
                .none(self),
            (root @ ("port" | "volume" | "service"), _) => {
                error(at, code::REFERENCE, format!("`{root}.` takes one name")).help(POSSIBLE).none(self)
            }
            (root, rest) => unknown_root(root, &rest.join("."), at).none(self),
        }
    }
}

fn unknown_root(root: &str, rest: &str, at: Span) -> Report {
    let instead = |root: &str| format!("{root}.{rest}");
    let message = format!("nothing is known by the name `{root}`");
    let report = error(at, code::REFERENCE, message);
    match root {
        "var" | "local" | "locals" | "data" | "module" => {
            report.help("this looks like Terraform; a descriptor has no variables: write the value itself")
        }
        "env" => report.help("one environment variable cannot refer to another; write the value itself"),
        "node" | "attr" | "device" => {
            report.help("of Nomad's own variables only `meta.site` can be used; `$${` writes a literal `${`")
        }
        "secrets" => report.suggest(instead("secret")),
        "use" => report.suggest(instead("uses")),
        "ports" => report.suggest(instead("port")),
        "volumes" => report.suggest(instead("volume")),
        "files" => report.suggest(instead("file")),
        "services" => report.suggest(instead("service")),
        other => report.maybe_suggest(nearest(other, ROOTS).map(|n| instead(&n))).help(POSSIBLE),
    }
}

fn bare_word(word: &str, at: Span) -> Report {
    if let Some(port) = word.strip_prefix("NOMAD_PORT_") {
        let port = port.strip_suffix("_port").unwrap_or(port);
        return error(at, code::REFERENCE, format!("Nomad's variable `{word}` is not used in a descriptor"))
            .help(format!("write `port.{port}` for the number of the port `{port}`"));
    }
    if word.starts_with("NOMAD_") {
        return error(at, code::REFERENCE, format!("Nomad's variable `{word}` is not used in a descriptor"))
            .help("the process finds it in its environment; `$${` writes a literal `${`");
    }
    if ROOTS.contains(&word) {
        return error(at, code::REFERENCE, format!("`{word}` alone is not a reference")).help(POSSIBLE);
    }
    error(at, code::REFERENCE, format!("nothing is known by the name `{word}`"))
        .help(format!("for text write \"{word}\" in quotes; {POSSIBLE}"))
}

/// What an expression is, in words.
pub(super) fn describe(expr: &Expression) -> &'static str {
    match expr {
        Expression::Null(_) => "null",
        Expression::Bool(_) => "true or false",
        Expression::Number(_) => "a number",
        Expression::String(_) | Expression::StringTemplate(_) | Expression::HeredocTemplate(_) => "text",
        Expression::Array(_) => "a list",
        Expression::Object(_) => "an object",
        Expression::Variable(_) | Expression::Traversal(_) => "a reference",
        _ => "an expression",
    }
}

fn wrong_text(expr: &Expression, what: &str) -> Report {
    let at = span_of(expr);
    match expr {
        Expression::Number(n) => error(at, code::TYPE, format!("{what} must be text, but this is a number"))
            .suggest(format!("\"{}\"", n.value())),
        Expression::FuncCall(_)
        | Expression::Conditional(_)
        | Expression::BinaryOp(_)
        | Expression::UnaryOp(_)
        | Expression::ForExpr(_)
        | Expression::Parenthesis(_) => {
            error(at, code::EXPRESSION, "expressions are not evaluated in a descriptor")
                .help(format!("{what} must be text"))
        }
        other => error(at, code::TYPE, format!("{what} must be text, but this is {}", describe(other))),
    }
}
