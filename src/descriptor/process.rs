//! Reads `process "name" { }`.

use std::time::Duration;

use hcl_edit::expr::Expression;
use hcl_edit::structure::Block;

use super::draft::{DraftProcess, DraftVolume, Named};
use super::fault::code;
use super::grammar::{self, nearest};
use super::network::{CHECK_PERIOD, Ports, read_checks, read_ports, read_routes};
use super::parts;
use super::reference::describe;
use super::scope::{Scope, label, no_labels};
use super::source::{Ctx, Place, Span, error, header, span_of};
use super::value::Unit;
use crate::model::names::{PartName, ProcessName};
use crate::model::project::{
    Check, CheckKind, Driver, Logs, Port, Process, Promote, Restart, RestartMode, Update, Volume,
};
use crate::model::text::{Piece, Text};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// Reads the n-th process.
pub(super) fn read(ctx: &Ctx<'_>, block: &Block, n: usize) -> DraftProcess {
    let name = label(ctx, block);
    let scope = Scope::open(ctx, block, grammar::PROCESS);
    let ports = read_ports(ctx, &scope);
    let (volumes, volume_values) = read_volumes(ctx, &scope);
    let (routes, route_values) = read_routes(ctx, &scope, &ports);
    let checks = read_checks(ctx, &scope, &ports);
    let mut env_at = Vec::new();
    let env = parts::env(ctx, &scope, Place::ProcessEnv(n), &mut env_at);
    let driver = read_driver(ctx, &scope, &ports);
    let mut relative_program = None;
    let command = read_command(ctx, &scope, n, driver.as_ref(), &mut relative_program);
    let instances = scope.get("instances").and_then(|e| ctx.small(e, "`instances`", 0..=1000)).unwrap_or(1);
    let cpu = scope.get("cpu").and_then(|e| ctx.small(e, "`cpu` (MHz)", 1..=1_000_000)).unwrap_or(100);
    let memory = scope.get("memory").and_then(|e| memory(ctx, e)).unwrap_or(128);
    let stop_timeout = scope
        .get("stop_timeout")
        .and_then(|e| ctx.duration(e, "`stop_timeout`", SECOND..=HOUR))
        .unwrap_or(Duration::from_secs(10));
    let restart = scope.single(ctx, "restart").map(|b| read_restart(ctx, b));
    let mut canary = None;
    let update = scope.single(ctx, "update").map(|b| read_update(ctx, b, &mut canary));

    let logs = scope.single(ctx, "logs").map(|b| read_logs(ctx, b));

    let (label, _) = name.clone().unwrap_or(("", scope.at.clone()));
    let checked = name.and_then(|(text, at)| ctx.name(ProcessName::new(text), at));
    let port_values: Vec<Port> = ports
        .iter()
        .filter_map(|p| {
            let fixed = p.value.as_ref()?.as_ref().map(|f| f.number);
            Some(Port { name: PartName::new(p.label.as_str()).ok()?, fixed })
        })
        .collect();
    let mut checks = checks;
    if checks.is_empty()
        && let Some(first) = port_values.first()
    {
        checks.push(Check {
            port: first.name.clone(),
            kind: CheckKind::Tcp,
            interval: CHECK_PERIOD,
            timeout: CHECK_PERIOD,
            grace: None,
        });
    }
    let value = checked.map(|name| Process {
        name,
        command: command.unwrap_or_default(),
        instances,
        cpu,
        memory,
        ports: port_values,
        checks,
        routes: route_values,
        volumes: volume_values,
        env,
        restart,
        update,
        logs,
        stop_timeout,
        driver,
    });
    DraftProcess {
        label: label.to_owned(),
        instances: (instances, scope.place("instances")),
        at: scope.at,
        ports,
        volumes,
        routes,
        canary,
        relative_program,
        env_at,
        value,
    }
}

fn read_volumes(ctx: &Ctx<'_>, scope: &Scope<'_>) -> (Vec<Named<DraftVolume>>, Vec<Volume>) {
    let (mut drafts, mut volumes): (Vec<Named<DraftVolume>>, Vec<Volume>) = (Vec::new(), Vec::new());
    for block in scope.blocks("volume") {
        let Some((text, at)) = label(ctx, block) else { continue };
        let inner = Scope::open(ctx, block, grammar::VOLUME);
        let name = ctx.name(PartName::new(text), at.clone());
        if drafts.iter().any(|v| v.label == text) {
            error(at, code::DUPLICATE, format!("{} has more than one volume `{text}`", scope.what)).add(ctx);
            continue;
        }
        let path = match inner.get("path") {
            None => error(inner.at.clone(), code::MISSING, format!("{} has no `path`", inner.what))
                .help("say where the process finds it: `path = \"/data\"`")
                .none(ctx),
            Some(expr) => ctx
                .literal(expr, "`path`")
                .and_then(|t| ctx.absolute_path(&t, "`path`", span_of(expr)))
                .and_then(|path| mount_point(ctx, path, span_of(expr), &volumes)),
        };
        let node = inner.get("node").and_then(|expr| node_name(ctx, expr));
        drafts.push(Named {
            label: text.to_owned(),
            at: inner.at,
            value: Some(DraftVolume { node: node.clone() }),
        });
        if let (Some(name), Some(path)) = (name, path) {
            volumes.push(Volume { name, path, node: node.map(|(n, _)| n) });
        }
    }
    (drafts, volumes)
}

fn mount_point(ctx: &Ctx<'_>, path: String, at: Span, others: &[Volume]) -> Option<String> {
    let first = path.split('/').nth(1).unwrap_or_default();
    if path == "/" || ["proc", "sys", "dev", "alloc", "local", "secrets"].contains(&first) {
        return error(at, code::VALUE, format!("a volume cannot lie at `{path}`"))
            .help("that path is the system's or Nomad's own; choose another, such as \"/data\"")
            .none(ctx);
    }
    if others.iter().any(|v| v.path == path) {
        return error(at, code::DUPLICATE, format!("two volumes lie at `{path}`")).none(ctx);
    }
    Some(path)
}

fn node_name(ctx: &Ctx<'_>, expr: &Expression) -> Option<(String, Span)> {
    let text = ctx.literal(expr, "`node`")?;
    let at = span_of(expr);
    let ok = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !ok {
        return error(at, code::NAME, format!("{:?} is not the name of a node", super::value::clip(&text)))
            .none(ctx);
    }
    Some((text, at))
}

fn read_logs(ctx: &Ctx<'_>, block: &Block) -> Logs {
    no_labels(ctx, block);
    let inner = Scope::open(ctx, block, grammar::LOGS);
    let usual = Logs::default();
    let max_files = inner.get("max_files").and_then(|e| ctx.small(e, "`max_files`", 1..=100));
    let size = |e: &Expression| {
        let bytes = ctx.size(e, "`max_file_size`", Unit::Mebibyte)?;
        match u32::try_from(bytes >> 20) {
            Ok(n) if u64::from(n) << 20 == bytes && (1..=1024).contains(&n) => Some(n),
            _ => error(span_of(e), code::VALUE, "`max_file_size` must be whole MiB, from 1 MiB to 1 GiB")
                .help("for example `max_file_size = \"10 MiB\"`, or the number of MiB")
                .none(ctx),
        }
    };
    let max_file_size = inner.get("max_file_size").and_then(size).unwrap_or(usual.max_file_size);
    Logs { max_files: max_files.unwrap_or(usual.max_files), max_file_size }
}

fn memory(ctx: &Ctx<'_>, expr: &Expression) -> Option<u32> {
    let bytes = ctx.size(expr, "`memory`", Unit::Mebibyte)?;
    let mib = bytes >> 20;
    match u32::try_from(mib) {
        Ok(n) if mib << 20 == bytes && (10..=1 << 20).contains(&n) => Some(n),
        _ => error(span_of(expr), code::VALUE, "`memory` must be whole MiB, from 10 MiB to 1 TiB")
            .help("for example `memory = \"256 MiB\"`, or the number of MiB")
            .none(ctx),
    }
}

fn read_command(
    ctx: &Ctx<'_>,
    scope: &Scope<'_>,
    n: usize,
    driver: Option<&Driver>,
    relative: &mut Option<Span>,
) -> Option<Vec<Text>> {
    let Some(expr) = scope.get("command") else {
        // What could not be read in `driver` or `config` was reported already.
        let docker = driver.is_some_and(|d| d.name == "docker");
        let given = || scope.entries(ctx, "config").unwrap_or_default().iter().any(|i| i.key == "command");
        if scope.get("driver").is_none() || (driver.is_some() && !docker && !given()) {
            error(scope.at.clone(), code::MISSING, format!("{} has no `command`", scope.what))
                .help("for example `command = [\"./server\", \"--port\", \"${port.http}\"]`")
                .add(ctx);
        }
        return None;
    };
    if driver.is_some_and(|d| ["command", "args"].iter().any(|k| d.config.contains_key(*k))) {
        error(scope.place("command"), code::CONFLICT, "`command` stands here and in `config` as well")
            .help("keep the one of the process; its items after the first are the arguments")
            .add(ctx);
    }
    let at = span_of(expr);
    let place = Place::Command(n);
    let command: Vec<Text> = match expr {
        Expression::Array(list) if list.is_empty() => {
            return error(at, code::VALUE, "`command` is empty")
                .help("it holds at least a program")
                .none(ctx);
        }
        Expression::Array(list) => {
            let read: Vec<Option<Text>> =
                list.iter().map(|e| ctx.text_of(e, "an item of `command`", place)).collect();
            read.into_iter().collect::<Option<Vec<Text>>>()?
        }
        Expression::String(_) | Expression::StringTemplate(_) => {
            let text = ctx.text_of(expr, "`command`", place)?;
            let source = ctx.text().get(at.clone()).unwrap_or_default().trim_matches('"');
            let spaces =
                text.0.iter().any(|p| matches!(p, Piece::Literal(t) if t.contains(char::is_whitespace)));
            if spaces {
                let words: Vec<String> = source.split_whitespace().map(|w| format!("\"{w}\"")).collect();
                let shell = source.contains(['|', '&', ';', '<', '>', '\'', '\\', '`', '*']);
                let report =
                    error(at, code::VALUE, "`command` is not run by a shell, so it cannot be one line");
                let report = if shell {
                    report.help("write a list of program and arguments; for a shell say so: [\"/bin/sh\", \"-c\", \"…\"]")
                } else {
                    report.suggest(format!("[{}]", words.join(", ")))
                };
                return report.none(ctx);
            }
            vec![text]
        }
        other => {
            return error(
                at,
                code::TYPE,
                format!("`command` must be a list of text, but this is {}", describe(other)),
            )
            .help("for example [\"./server\", \"--port\", \"${port.http}\"]")
            .none(ctx);
        }
    };
    match command.first().and_then(Text::as_literal) {
        Some(program) if program.trim().is_empty() => {
            return error(at, code::VALUE, "`command` begins with an empty program").none(ctx);
        }
        Some(program) if program.contains('/') && !program.starts_with('/') => *relative = Some(at),
        _ => {}
    }
    Some(command)
}

fn read_driver(ctx: &Ctx<'_>, scope: &Scope<'_>, ports: &Ports) -> Option<Driver> {
    let config = scope.entries(ctx, "config");
    let Some(expr) = scope.get("driver") else {
        if config.is_some() {
            let at = scope.single(ctx, "config").map_or_else(|| scope.place("config"), header);
            error(at, code::MISSING, "`config` needs a `driver`")
                .help("for example `driver = \"docker\"`; each driver has its own settings")
                .add(ctx);
        }
        return None;
    };
    let name = ctx.driver_name(expr)?;
    let config = ctx.driver_config(&name, &config.unwrap_or_default(), ports);
    if name == "docker" && !config.contains_key("image") {
        let given = scope.entries(ctx, "config").unwrap_or_default().iter().any(|i| i.key == "image");
        if !given {
            error(scope.place("driver"), code::MISSING, "the driver docker needs an `image`")
                .help("write `config { image = \"…\" }`")
                .add(ctx);
        }
    }
    Some(Driver { name, config })
}

fn read_restart(ctx: &Ctx<'_>, block: &Block) -> Restart {
    no_labels(ctx, block);
    let inner = Scope::open(ctx, block, grammar::RESTART);
    // CLUSTER.md's own habit for services.
    let attempts = inner.get("attempts").and_then(|e| ctx.small(e, "`attempts`", 0..=1000)).unwrap_or(10);
    let interval = inner
        .get("interval")
        .and_then(|e| ctx.duration(e, "`interval`", Duration::from_secs(5)..=24 * HOUR))
        .unwrap_or(Duration::from_mins(5));
    let delay = inner
        .get("delay")
        .and_then(|e| ctx.duration(e, "`delay`", Duration::ZERO..=HOUR))
        .unwrap_or(Duration::from_secs(15));
    let mode = match inner.get("mode").map(|e| (ctx.literal(e, "`mode`"), span_of(e))) {
        None | Some((None, _)) => RestartMode::Delay,
        Some((Some(text), at)) => match text.as_str() {
            "delay" => RestartMode::Delay,
            "fail" => RestartMode::Fail,
            _ => {
                error(at, code::VALUE, "`mode` must be \"delay\" or \"fail\"")
                    .maybe_suggest(nearest(&text, ["delay", "fail"]).map(|n| format!("\"{n}\"")))
                    .add(ctx);
                RestartMode::Delay
            }
        },
    };
    // Nomad refuses such a job ("can't restart the TaskGroup n times in an interval of … with a delay of …").
    if delay.checked_mul(attempts).is_none_or(|all| all > interval) {
        error(
            inner.at.clone(),
            code::CONFLICT,
            format!("{attempts} restarts with their delays do not fit into the interval"),
        )
        .help("lower `attempts` or `delay`, or raise `interval`")
        .add(ctx);
    }
    Restart { attempts, interval, delay, mode }
}

fn read_update(ctx: &Ctx<'_>, block: &Block, canary_at: &mut Option<Span>) -> Update {
    no_labels(ctx, block);
    let inner = Scope::open(ctx, block, grammar::UPDATE);
    let canary = inner.get("canary").and_then(|e| ctx.small(e, "`canary`", 0..=100));
    if canary.is_some_and(|n| n > 0) {
        *canary_at = Some(inner.place("canary"));
    }
    let promote = inner.get("promote").and_then(|e| {
        let at = span_of(e);
        match ctx.literal(e, "`promote`")?.as_str() {
            "auto" => Some(Promote::Auto),
            "manual" => Some(Promote::Manual),
            text => error(at, code::VALUE, "`promote` must be \"auto\" or \"manual\"")
                .maybe_suggest(nearest(text, ["auto", "manual"]).map(|n| format!("\"{n}\"")))
                .none(ctx),
        }
    });
    if promote == Some(Promote::Manual) {
        if canary == Some(0) {
            error(
                inner.place("promote"),
                code::CONFLICT,
                "without a canary there is nothing that a person could promote",
            )
            .help("leave `canary` out, or raise it")
            .add(ctx);
        } else if canary.is_none() {
            // It asks for one.
            *canary_at = Some(inner.place("promote"));
        }
    }
    let span = |key: &str, low: Duration| {
        inner.get(key).and_then(|e| ctx.duration(e, &format!("`{key}`"), low..=HOUR))
    };
    let min_healthy_time = span("min_healthy_time", Duration::ZERO);
    let healthy_deadline = span("healthy_deadline", SECOND);
    if let (Some(healthy), Some(deadline)) = (min_healthy_time, healthy_deadline)
        && healthy >= deadline
    {
        error(
            inner.place("min_healthy_time"),
            code::CONFLICT,
            "`min_healthy_time` must be shorter than `healthy_deadline`",
        )
        .add(ctx);
    }
    Update {
        canary,
        max_parallel: inner.get("max_parallel").and_then(|e| ctx.small(e, "`max_parallel`", 1..=1000)),
        promote,
        auto_revert: inner.get("auto_revert").and_then(|e| ctx.boolean(e, "`auto_revert`")),
        min_healthy_time,
        healthy_deadline,
    }
}
