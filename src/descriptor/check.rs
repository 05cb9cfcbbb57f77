//! What holds between the parts: names that clash, references that lead nowhere, things that exclude each other.

use super::draft::{Draft, DraftProcess, Named};
use super::fault::code;
use super::grammar::nearest;
use super::resolve;
use super::source::{Ctx, Span, error, warning};
use super::syntax::Whole;
use crate::model::project::{Build, UseKind};
use crate::model::text::Reference;

/// Stop timeouts above this are cut by a node that has Nomad's own default `max_kill_timeout`.
const NODE_KILL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// Nomad's own range of dynamic ports.
const DYNAMIC: std::ops::RangeInclusive<u16> = 20_000..=32_000;

/// Bytes of a DNS label, which a service's name is.
const MAX_LABEL: usize = 63;

/// Checks a whole project.
pub(super) fn check(ctx: &Ctx<'_>, draft: &Draft, whole: Whole) {
    shape(ctx, draft);
    duplicates(ctx, draft);
    hosts(ctx, draft);
    static_ports(ctx, draft);
    volumes(ctx, draft);
    uses(ctx, draft);
    files(ctx, draft);
    services(ctx, draft);
    resolve::references(ctx, draft);
    for process in &draft.processes {
        updates(ctx, process);
        reserved_env(ctx, draft, process);
    }
    if whole == Whole::Yes {
        unused(ctx, draft);
    }
    habits(ctx, draft);
}

fn is_static(draft: &Draft) -> bool {
    draft.build.as_ref().is_some_and(|b| b.label == "static")
}

/// A site, or processes; never both, never neither.
fn shape(ctx: &Ctx<'_>, draft: &Draft) {
    let site = is_static(draft);
    if let (true, Some(build), Some(process)) = (site, &draft.build, draft.processes.first()) {
        error(process.at.clone(), code::CONFLICT, "a static site has no process")
            .help(format!(
                "line {} says `build \"static\"`; write `build \"archive\"` where a process serves the files, or leave the process out",
                line_of(ctx, &build.at)
            ))
            .add(ctx);
    }
    if !draft.processes.is_empty() {
        for route in &draft.site_routes {
            error(route.at.clone(), code::CONFLICT, "a route belongs into the process that answers it")
                .help(format!("move it into `process \"{}\" {{ … }}`", draft.processes[0].label))
                .add(ctx);
        }
        return;
    }
    if site {
        if draft.site_routes.is_empty() {
            error(draft.at.clone(), code::MISSING, "a static site needs a route")
                .help("for example `route \"www.example.org\" {}`")
                .add(ctx);
        }
        let useless = |at: &Span, what: &str| {
            error(at.clone(), code::CONFLICT, format!("a static site runs nothing that could use {what}"))
                .help("leave it out, or add a process and `build \"archive\"`")
                .add(ctx);
        };
        draft.secrets.iter().for_each(|s| useless(&s.at, "a secret"));
        draft.files.iter().for_each(|f| useless(&f.at, "a file"));
        draft.uses.iter().for_each(|u| useless(&u.at, "a backing service"));
        if let Some((_, at)) = draft.env_at.first() {
            useless(at, "an environment variable");
        }
    } else if draft.build.as_ref().is_none_or(|b| b.label == "archive") {
        error(draft.at.clone(), code::MISSING, "the project has nothing to run")
            .help("add `process \"web\" { command = […] }`, or `build \"static\" {}` and a route for a site of files")
            .add(ctx);
    }
}

fn twice<'a, T: 'a>(ctx: &Ctx<'_>, what: &str, named: impl Iterator<Item = &'a Named<T>>) {
    let mut seen: Vec<&str> = Vec::new();
    for one in named {
        if seen.contains(&one.label.as_str()) {
            error(
                one.at.clone(),
                code::DUPLICATE,
                format!("{what} `{}` stands here a second time", one.label),
            )
            .add(ctx);
        }
        seen.push(&one.label);
    }
}

fn duplicates(ctx: &Ctx<'_>, draft: &Draft) {
    twice(ctx, "secret", draft.secrets.iter());
    twice(ctx, "file", draft.files.iter());
    let mut seen: Vec<&str> = Vec::new();
    for process in &draft.processes {
        if !process.label.is_empty() && seen.contains(&process.label.as_str()) {
            error(
                process.at.clone(),
                code::DUPLICATE,
                format!("process `{}` stands here a second time", process.label),
            )
            .add(ctx);
        }
        seen.push(&process.label);
    }
}

fn hosts(ctx: &Ctx<'_>, draft: &Draft) {
    let mut seen: Vec<(&str, Option<&str>, &Span)> = Vec::new();
    let routed = draft
        .processes
        .iter()
        .flat_map(|p| p.routes.iter().map(|r| (r.host.as_str(), r.path.as_deref(), &r.at)));
    let of_site = draft
        .site_routes
        .iter()
        .filter(|_| draft.processes.is_empty())
        .map(|r| (r.label.as_str(), None, &r.at));
    for (host, path, at) in routed.chain(of_site) {
        if let Some((_, _, first)) = seen.iter().find(|(h, p, _)| *h == host && *p == path) {
            let to = path.map(|p| format!(" with the path `{p}`")).unwrap_or_default();
            error(at.clone(), code::DUPLICATE, format!("host `{host}`{to} has two routes"))
                .help(format!(
                    "the first one stands in line {}; two routes of one host need different paths",
                    line_of(ctx, first)
                ))
                .add(ctx);
        }
        seen.push((host, path, at));
    }
}

fn static_ports(ctx: &Ctx<'_>, draft: &Draft) {
    let mut seen: Vec<(u16, &Span)> = Vec::new();
    for process in &draft.processes {
        for port in &process.ports {
            let Some(Some(fixed)) = &port.value else { continue };
            if let Some((_, first)) = seen.iter().find(|(n, _)| *n == fixed.number) {
                error(
                    fixed.at.clone(),
                    code::DUPLICATE,
                    format!("static port {} is used twice", fixed.number),
                )
                .help(format!("the first one stands in line {}", line_of(ctx, first)))
                .add(ctx);
            }
            if DYNAMIC.contains(&fixed.number) {
                warning(
                    fixed.at.clone(),
                    code::SUSPICIOUS,
                    format!("Nomad gives out port {} as a dynamic one, too", fixed.number),
                )
                .help("a static port outside 20000 to 32000 does not collide")
                .add(ctx);
            }
            if process.instances.0 > 1 {
                warning(
                    process.instances.1.clone(),
                    code::SUSPICIOUS,
                    format!(
                        "with a static port, {} instances need {} nodes",
                        process.instances.0, process.instances.0
                    ),
                )
                .add(ctx);
            }
            seen.push((fixed.number, &fixed.at));
        }
    }
}

/// An app is pinned to one node, the one that holds its volumes.
fn volumes(ctx: &Ctx<'_>, draft: &Draft) {
    let all = || draft.processes.iter().flat_map(|p| p.volumes.iter().map(move |v| (p, v)));
    let mut first: Option<&(String, Span)> = None;
    for (_, volume) in all() {
        let Some(node) = volume.value.as_ref().and_then(|v| v.node.as_ref()) else { continue };
        match first {
            None => first = Some(node),
            Some(one) if one.0 != node.0 => {
                error(
                    node.1.clone(),
                    code::CONFLICT,
                    format!(
                        "the volumes of one project lie on one node, not on `{}` and `{}`",
                        one.0, node.0
                    ),
                )
                .help(format!("line {} says `{}`", line_of(ctx, &one.1), one.0))
                .add(ctx);
            }
            Some(_) => {}
        }
    }
    for process in &draft.processes {
        if let (Some(volume), true) = (process.volumes.first(), process.instances.0 > 1) {
            warning(
                process.instances.1.clone(),
                code::SUSPICIOUS,
                format!("{} instances will share volume `{}` on one node", process.instances.0, volume.label),
            )
            .help("make sure that the program can do that, or run one instance")
            .add(ctx);
        }
    }
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (process, volume) in all() {
        if let Some((_, other)) = seen.iter().find(|(v, p)| *v == volume.label && *p != process.label) {
            warning(
                volume.at.clone(),
                code::SUSPICIOUS,
                format!("volume `{}` is the same directory as that of process `{other}`", volume.label),
            )
            .help("give it another name if each process shall have its own")
            .add(ctx);
        }
        seen.push((&volume.label, &process.label));
    }
}

fn uses(ctx: &Ctx<'_>, draft: &Draft) {
    twice(ctx, "use", draft.uses.iter());
    let mut ldap: Option<&Span> = None;
    for one in &draft.uses {
        let Some(value) = &one.value else { continue };
        if matches!(value.kind, UseKind::Ldap) {
            if let Some(first) = ldap
                && draft.uses.iter().filter(|u| u.label == one.label).count() == 1
            {
                error(one.at.clone(), code::DUPLICATE, "an app has one account in the directory")
                    .help(format!("the first one stands in line {}", line_of(ctx, first)))
                    .add(ctx);
            }
            ldap = ldap.or(Some(&one.at));
        }
        let credential = value.secret_name();
        if let Some(secret) = draft.secrets.iter().find(|s| s.label == credential.as_str()) {
            error(
                secret.at.clone(),
                code::DUPLICATE,
                format!("secret `{credential}` is the one that `uses \"{}\"` makes", value.name),
            )
            .help(format!("refer to it as `uses.{}.…`, and give yours another name", value.name))
            .add(ctx);
        }
    }
}

/// Each port is a service in the catalogue: `<app>` for the port of the first route, `<app>-<process>` for the main
/// port of another process, `<app>-<process>-<port>` for the ports beside it. Names are DNS labels.
fn services(ctx: &Ctx<'_>, draft: &Draft) {
    let Some(project) = &draft.name else { return };
    let mut seen: Vec<(String, &Span)> = Vec::new();
    let mut first_routed = true;
    for process in &draft.processes {
        let Some(value) = &process.value else { continue };
        let main = value.routes.first().map(|r| &r.port).or_else(|| value.ports.first().map(|p| &p.name));
        let bears_the_app = first_routed && !value.routes.is_empty();
        first_routed &= value.routes.is_empty();
        for port in &process.ports {
            let name = match (main.is_some_and(|m| m.as_str() == port.label), bears_the_app) {
                (true, true) => project.to_string(),
                (true, false) => format!("{project}-{}", process.label),
                (false, _) => format!("{project}-{}-{}", process.label, port.label),
            };
            if name.len() > MAX_LABEL {
                error(
                    port.at.clone(),
                    code::NAME,
                    format!("the service `{name}` has {} bytes; at most {MAX_LABEL} are allowed", name.len()),
                )
                .help("shorten the name of the project, the process or the port")
                .add(ctx);
            }
            if let Some((_, first)) = seen.iter().find(|(n, _)| *n == name) {
                error(port.at.clone(), code::CONFLICT, format!("the service `{name}` would be made twice"))
                    .help(format!(
                        "the first one is that of line {}; rename a process or a port",
                        line_of(ctx, first)
                    ))
                    .add(ctx);
            }
            seen.push((name, &port.at));
        }
    }
}

fn files(ctx: &Ctx<'_>, draft: &Draft) {
    for one in &draft.files {
        if let Some(outer) = draft.files.iter().find(|o| one.label.starts_with(&format!("{}/", o.label))) {
            error(
                one.at.clone(),
                code::CONFLICT,
                format!("file `{}` lies in `{}`, which is a file", one.label, outer.label),
            )
            .add(ctx);
        }
    }
    for file in draft.files.iter().filter_map(|f| f.value.as_ref()) {
        let mut seen: Vec<&str> = Vec::new();
        for (name, at) in &file.processes {
            if !draft.processes.iter().any(|p| p.label == *name) {
                let near = nearest(name, draft.processes.iter().map(|p| p.label.as_str()));
                error(at.clone(), code::REFERENCE, format!("there is no process {name:?}"))
                    .maybe_suggest(near.map(|n| format!("\"{n}\"")))
                    .add(ctx);
            } else if seen.contains(&name.as_str()) {
                error(at.clone(), code::DUPLICATE, format!("process `{name}` is named twice")).add(ctx);
            }
            seen.push(name);
        }
    }
}

/// A canary runs beside the old instance: not where both want the same port or directory.
fn updates(ctx: &Ctx<'_>, process: &DraftProcess) {
    let Some(at) = &process.canary else { return };
    let fixed = process.ports.iter().find(|p| matches!(p.value, Some(Some(_))));
    let why = match (fixed, process.volumes.first()) {
        (Some(port), _) => format!("the static port `{}`", port.label),
        (None, Some(volume)) => format!("the volume `{}`", volume.label),
        (None, None) => return,
    };
    error(
        at.clone(),
        code::CONFLICT,
        format!("a canary cannot run beside the old instance: both want {why}"),
    )
    .help("write `canary = 0`: the old instance stops first, and a short gap is certain")
    .add(ctx);
}

/// Names that the renderer adds to the environment.
fn reserved_env(ctx: &Ctx<'_>, draft: &Draft, process: &DraftProcess) {
    for volume in &process.volumes {
        let name = format!("VOLUME_{}", volume.label.to_uppercase().replace('-', "_"));
        for (_, at) in process.env_at.iter().chain(&draft.env_at).filter(|(n, _)| *n == name) {
            error(
                at.clone(),
                code::NAME,
                format!("`{name}` is set to the directory of volume `{}`", volume.label),
            )
            .help(format!("choose another name, or use it: `volume.{}`", volume.label))
            .add(ctx);
        }
    }
}

fn unused(ctx: &Ctx<'_>, draft: &Draft) {
    let used = ctx.used.borrow();
    for secret in &draft.secrets {
        if !used.iter().any(|u| matches!(&u.reference, Reference::Secret(n) if n.as_str() == secret.label)) {
            warning(
                secret.at.clone(),
                code::SUSPICIOUS,
                format!("nothing uses the secret `{}`", secret.label),
            )
            .help(format!("for example `env {{ NAME = secret.{} }}`", secret.label))
            .add(ctx);
        }
    }
    for one in &draft.uses {
        if !used
            .iter()
            .any(|u| matches!(&u.reference, Reference::Use { name, .. } if name.as_str() == one.label))
        {
            warning(one.at.clone(), code::SUSPICIOUS, format!("nothing refers to `uses.{}`", one.label))
                .help("it is made all the same; hand its fields over in `env` or a `file`")
                .add(ctx);
        }
    }
}

fn habits(ctx: &Ctx<'_>, draft: &Draft) {
    for process in &draft.processes {
        if let (Some(at), None) = (&process.relative_program, &draft.build) {
            warning(
                at.clone(),
                code::SUSPICIOUS,
                "the program is in a folder of yours, but there is no `build`",
            )
            .help("`build \"archive\" {}` brings the folder along")
            .add(ctx);
        }
        let Some(value) = &process.value else { continue };
        if value.stop_timeout > NODE_KILL_TIMEOUT {
            warning(
                process.at.clone(),
                code::SUSPICIOUS,
                "nodes wait 30 s at most before they kill, unless their `max_kill_timeout` says more",
            )
            .add(ctx);
        }
    }
    if let Some(Named { value: Some(Build::Archive { dir }), at, .. }) = &draft.build
        && dir.starts_with(".git")
    {
        warning(at.clone(), code::SUSPICIOUS, "this packs git's own folder").add(ctx);
    }
}

fn line_of(ctx: &Ctx<'_>, at: &Span) -> usize {
    ctx.text().get(..at.start).map_or(1, |t| t.matches('\n').count() + 1)
}
