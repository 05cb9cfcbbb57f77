//! The job as HCL: what `terreau render` prints, what `nomad job run` takes unchanged, and what Nomad's UI shows.
//!
//! It parses to exactly what `json` writes. Strings are escaped here, not by hcl-rs, whose escaping leaves `$${`
//! as it is (which HCL reads as a literal `${`).

use std::fmt::Write as _;
use std::time::Duration;

use hcl::expr::{Heredoc, TemplateExpr};
use hcl::format::Formatter;
use hcl::{Block, BlockBuilder, Body, Expression, Identifier};
use serde_json::Value;

use super::RenderError;
use super::spec::{
    APP_DIR, Change, Check, Group, Job, PRIORITY, Role, SPLAY, STOP_SIGNAL, Service, Task, Template,
};

pub(super) fn job(job: &Job) -> Result<String, RenderError> {
    let block = Block::builder("job")
        .add_label(job.id.as_str())
        .add_attribute(("namespace", text(&job.namespace)))
        .add_attribute(("type", text("service")))
        .add_attribute(("priority", Expression::from(PRIORITY)))
        .add_attribute(("datacenters", texts(&job.datacenters)))
        .add_block(Block::builder("meta").add_attribute(("terreau", text(&job.mark))).build())
        .add_blocks(job.groups.iter().map(group))
        .build();
    let body = Body::builder().add_block(block).build();
    let mut out = Vec::with_capacity(4096);
    let mut formatter = Formatter::builder().compact_arrays(false).build(&mut out);
    // Neither can happen: the bytes are ours, and a Vec takes them all.
    hcl::format::Format::format(&body, &mut formatter).map_err(|e| RenderError::Hcl(e.to_string()))?;
    String::from_utf8(out).map_err(|e| RenderError::Hcl(e.to_string()))
}

/// Quotes text for HCL. References to Nomad's runtime stay as people write them; every other marker is doubled.
fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 8);
    let mut before = '\0';
    for (i, c) in s.char_indices() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            '$' | '%' if s[i + 1..].starts_with('{') => {
                if c == '%' || before == '$' || !is_live(&s[i..]) {
                    out.push(c);
                }
                out.push(c);
            }
            c => out.push(c),
        }
        before = c;
    }
    out
}

/// True for `${NOMAD_…}`, `${meta.…}` and `${node.…}`: HCL as Nomad reads it hands these on unread.
fn is_live(s: &str) -> bool {
    let Some(rest) = s.strip_prefix("${") else { return false };
    let Some(end) = rest.find('}') else { return false };
    let name = &rest[..end];
    let known =
        ["NOMAD_", "meta.", "node."].iter().any(|p| name.strip_prefix(p).is_some_and(|r| !r.is_empty()));
    known
        && name.split('.').all(|part| part.starts_with(|c: char| c.is_ascii_alphabetic()))
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
}

fn text(s: &str) -> Expression {
    Expression::TemplateExpr(Box::new(TemplateExpr::QuotedString(quote(s))))
}

fn texts<S: AsRef<str>>(items: &[S]) -> Expression {
    Expression::Array(items.iter().map(|s| text(s.as_ref())).collect())
}

/// Several lines as a heredoc where that is exact: it ends in a newline, nothing needs an escape, and no line of it
/// could be the end mark.
fn block_text(s: &str) -> Expression {
    const MARK: &str = "TERREAU";
    let plain = s.ends_with('\n')
        && s.len() > 1
        && !s.contains(MARK)
        && !s.contains("${")
        && !s.contains("%{")
        && s.chars().all(|c| c == '\n' || c == '\t' || !c.is_control());
    if !plain {
        return text(s);
    }
    let heredoc = Heredoc::new(Identifier::unchecked(MARK), s);
    Expression::TemplateExpr(Box::new(TemplateExpr::Heredoc(heredoc)))
}

/// As Nomad's HCL takes durations.
fn duration(d: Duration) -> Expression {
    let nanos = d.as_nanos();
    let written = if nanos.is_multiple_of(60_000_000_000) && nanos > 0 {
        format!("{}m", nanos / 60_000_000_000)
    } else if nanos.is_multiple_of(1_000_000_000) {
        format!("{}s", nanos / 1_000_000_000)
    } else if nanos.is_multiple_of(1_000_000) {
        format!("{}ms", nanos / 1_000_000)
    } else {
        format!("{nanos}ns")
    };
    text(&written)
}

fn group(g: &Group) -> Block {
    let mut b = Block::builder("group")
        .add_label(g.name.as_str())
        .add_attribute(("count", Expression::from(g.count)));
    if let Some(node) = &g.node {
        b = b.add_block(
            Block::builder("constraint")
                .add_attribute(("attribute", text("${node.unique.name}")))
                .add_attribute(("value", text(node)))
                .build(),
        );
    }
    let u = &g.update;
    b = b.add_block(
        Block::builder("update")
            .add_attribute(("max_parallel", Expression::from(u.max_parallel)))
            .add_attribute(("canary", Expression::from(u.canary)))
            .add_attribute(("min_healthy_time", duration(u.min_healthy_time)))
            .add_attribute(("healthy_deadline", duration(u.healthy_deadline)))
            .add_attribute(("progress_deadline", duration(u.progress_deadline)))
            .add_attribute(("auto_revert", Expression::from(u.auto_revert)))
            .add_attribute(("auto_promote", Expression::from(u.auto_promote)))
            .build(),
    );
    b = b.add_block(
        Block::builder("restart")
            .add_attribute(("attempts", Expression::from(g.restart.attempts)))
            .add_attribute(("interval", duration(g.restart.interval)))
            .add_attribute(("delay", duration(g.restart.delay)))
            .add_attribute(("mode", text(g.restart.mode)))
            .build(),
    );
    if let Some(disk) = g.disk {
        let disk = Block::builder("ephemeral_disk").add_attribute(("size", Expression::from(disk)));
        b = b.add_block(disk.build());
    }
    if !g.ports.is_empty() {
        let ports = g.ports.iter().map(|p| {
            let b = Block::builder("port").add_label(p.label.as_str());
            match p.fixed {
                Some(n) => b.add_attribute(("static", Expression::from(n))).build(),
                None => b.build(),
            }
        });
        b = b.add_block(Block::builder("network").add_blocks(ports).build());
    }
    b = b.add_blocks(g.host_volumes.iter().map(|v| {
        Block::builder("volume")
            .add_label(v.name.as_str())
            .add_attribute(("type", text("host")))
            .add_attribute(("source", text(&v.source)))
            .build()
    }));
    b.add_blocks(g.tasks.iter().map(task)).build()
}

fn task(t: &Task) -> Block {
    let mut b = Block::builder("task").add_label(t.name.as_str());
    b = b.add_attribute(("driver", text(&t.driver)));
    if t.role == Role::Main {
        b = b.add_attribute(("kill_signal", text(STOP_SIGNAL)));
    }
    if let Some(d) = t.kill_timeout {
        b = b.add_attribute(("kill_timeout", duration(d)));
    }
    if let Some(d) = t.shutdown_delay {
        b = b.add_attribute(("shutdown_delay", duration(d)));
    }
    if t.role == Role::Prestart {
        b = b.add_block(
            Block::builder("lifecycle")
                .add_attribute(("hook", text("prestart")))
                .add_attribute(("sidecar", Expression::from(false)))
                .build(),
        );
    }
    b = b.add_block(attributes("config", t.config.iter().map(|(k, v)| (k.as_str(), value(v)))));
    if !t.env.is_empty() {
        b = b.add_block(attributes("env", t.env.iter().map(|(k, v)| (k.as_str(), text(v)))));
    }
    b = b.add_blocks(t.artifacts.iter().map(|a| {
        Block::builder("artifact")
            .add_attribute(("source", text(&a.source)))
            .add_attribute(("destination", text(APP_DIR)))
            .add_block(Block::builder("options").add_attribute(("checksum", text(&a.checksum))).build())
            .build()
    }));
    b = b.add_blocks(t.templates.iter().map(template));
    b = b.add_blocks(t.mounts.iter().map(|m| {
        Block::builder("volume_mount")
            .add_attribute(("volume", text(&m.volume)))
            .add_attribute(("destination", text(&m.destination)))
            .build()
    }));
    b = b.add_blocks(t.services.iter().map(service));
    if let Some((files, size)) = t.logs {
        b = b.add_block(
            Block::builder("logs")
                .add_attribute(("max_files", Expression::from(files)))
                .add_attribute(("max_file_size", Expression::from(size)))
                .build(),
        );
    }
    b.add_block(
        Block::builder("resources")
            .add_attribute(("cpu", Expression::from(t.cpu)))
            .add_attribute(("memory", Expression::from(t.memory)))
            .build(),
    )
    .build()
}

fn attributes<'a>(name: &str, items: impl Iterator<Item = (&'a str, Expression)>) -> Block {
    // Names of variables and of drivers' keys are identifiers (checked where they were made).
    let add = |b: BlockBuilder, (k, v): (&str, Expression)| b.add_attribute((Identifier::unchecked(k), v));
    items.fold(Block::builder(name), add).build()
}

/// A driver's setting.
fn value(v: &Value) -> Expression {
    match v {
        Value::Null => Expression::Null,
        Value::Bool(x) => Expression::from(*x),
        Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(i), _) => Expression::from(i),
            (None, Some(f)) => Expression::from(f),
            (None, None) => Expression::Null,
        },
        Value::String(s) => text(s),
        Value::Array(items) => Expression::Array(items.iter().map(value).collect()),
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            let entries = keys.into_iter().map(|k| (hcl::ObjectKey::Expression(text(k)), value(&map[k])));
            Expression::Object(entries.collect())
        }
    }
}

fn template(t: &Template) -> Block {
    let mut b = Block::builder("template")
        .add_attribute(("destination", text(&t.destination)))
        .add_attribute(("perms", text(&t.perms)));
    if t.env {
        b = b.add_attribute(("env", Expression::from(true)));
    }
    b = match t.change {
        Change::Noop => b.add_attribute(("change_mode", text("noop"))),
        Change::Restart => {
            b.add_attribute(("change_mode", text("restart"))).add_attribute(("splay", duration(SPLAY)))
        }
    };
    if let Some((left, right)) = &t.delimiters {
        b = b.add_attribute(("left_delimiter", text(left))).add_attribute(("right_delimiter", text(right)));
    }
    b.add_attribute(("data", block_text(&t.data))).build()
}

fn service(s: &Service) -> Block {
    let mut b = Block::builder("service")
        .add_attribute(("name", text(&s.name)))
        .add_attribute(("provider", text("consul")))
        .add_attribute(("port", text(&s.port)))
        .add_attribute(("address_mode", text("host")));
    if !s.tags.is_empty() {
        b = b.add_attribute(("tags", texts(&s.tags)));
    }
    b.add_blocks(s.checks.iter().map(check)).build()
}

fn check(c: &Check) -> Block {
    let mut b =
        Block::builder("check").add_attribute(("name", text(&c.name))).add_attribute(("type", text(c.kind)));
    if let Some(path) = &c.path {
        b = b.add_attribute(("path", text(path)));
    }
    b.add_attribute(("interval", duration(c.interval)))
        .add_attribute(("timeout", duration(c.timeout)))
        .add_attribute(("failures_before_critical", Expression::from(c.failures)))
        .add_block(
            Block::builder("check_restart")
                .add_attribute(("limit", Expression::from(c.limit)))
                .add_attribute(("grace", duration(c.grace)))
                .add_attribute(("ignore_warnings", Expression::from(false)))
                .build(),
        )
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_doubled_but_for_references_to_nomads_runtime() {
        assert_eq!(quote("${x} %{if}"), "$${x} %%{if}");
        assert_eq!(quote("${NOMAD_PORT_http_port}/${meta.site}"), "${NOMAD_PORT_http_port}/${meta.site}");
        assert_eq!(quote("$${NOMAD_A}"), "$$${NOMAD_A}");
        assert_eq!(quote("${NOMAD_A == 1}"), "$${NOMAD_A == 1}");
        assert_eq!(quote("a\"\\\n\t\u{b}$"), "a\\\"\\\\\\n\\t\\u000b$");
    }

    #[test]
    fn a_text_that_holds_the_end_mark_is_quoted() {
        let Expression::TemplateExpr(t) = block_text("a\nTERREAU\n") else { panic!() };
        assert_eq!(*t, TemplateExpr::QuotedString("a\\nTERREAU\\n".to_owned()));
        let Expression::TemplateExpr(t) = block_text("a\nb\n") else { panic!() };
        assert!(matches!(*t, TemplateExpr::Heredoc(_)));
    }
}
