//! Does every reference lead somewhere, from the place where it stands?

use super::draft::{Draft, DraftProcess};
use super::fault::code;
use super::grammar::nearest;
use super::source::{Ctx, Span, error};
use super::source::{Place, Used};
use crate::model::text::Reference;

/// Checks every reference of a project.
pub(super) fn references(ctx: &Ctx<'_>, draft: &Draft) {
    for used in ctx.used.borrow().iter() {
        reference(ctx, draft, used);
    }
}

/// The processes in which a text at this place is used.
fn concerned(draft: &Draft, place: Place) -> Vec<&DraftProcess> {
    match place {
        Place::Env => draft.processes.iter().collect(),
        Place::ProcessEnv(n) | Place::Command(n) => draft.processes.get(n).into_iter().collect(),
        Place::File(n) => {
            let named: Vec<&str> = draft
                .files
                .get(n)
                .and_then(|f| f.value.as_ref())
                .map(|f| f.processes.iter().map(|(p, _)| p.as_str()).collect())
                .unwrap_or_default();
            draft.processes.iter().filter(|p| named.is_empty() || named.contains(&p.label.as_str())).collect()
        }
    }
}

fn reference(ctx: &Ctx<'_>, draft: &Draft, used: &Used) {
    let at = used.at.clone();
    if let (Place::Command(_), true) = (used.place, used.reference.is_secret()) {
        error(
            at.clone(),
            code::SECRET,
            format!("`{}` is a secret, and everybody on the machine can read a command", used.reference),
        )
        .help("hand it over as an environment variable (`env`) or in a `file`")
        .add(ctx);
    }
    if let (Place::Command(_), true) = (used.place, moves(&used.reference)) {
        error(at.clone(), code::REFERENCE, format!("`{}` is not possible in `command`", used.reference))
            .help("the address may change while the process runs: hand it over in `env` or in a `file`")
            .add(ctx);
    }
    match &used.reference {
        Reference::Secret(name) => {
            if !draft.secrets.iter().any(|s| s.label == name.as_str()) {
                let near = nearest(name.as_str(), draft.secrets.iter().map(|s| s.label.as_str()));
                error(at, code::REFERENCE, format!("there is no secret `{name}`"))
                    .maybe_suggest(near.map(|n| format!("secret.{n}")))
                    .help(format!("declare it: `secret \"{name}\" {{ type = \"generated\" }}`"))
                    .add(ctx);
            }
        }
        Reference::Use { name, field } => use_field(ctx, draft, name.as_str(), field, at),
        Reference::Service(_) | Reference::Site => {}
        Reference::Host(name) => match draft.processes.iter().find(|p| p.label == name.as_str()) {
            None => {
                let near = nearest(name.as_str(), draft.processes.iter().map(|p| p.label.as_str()));
                error(at, code::REFERENCE, format!("there is no process `{name}`"))
                    .maybe_suggest(near.map(|n| format!("process.{n}.host")))
                    .add(ctx);
            }
            Some(process) if process.routes.is_empty() => {
                error(at, code::REFERENCE, format!("process `{name}` has no route, so it has no host"))
                    .add(ctx);
            }
            Some(_) => {}
        },
        Reference::Port(name) => {
            in_each(ctx, draft, used, "port", name.as_str(), |p| {
                p.ports.iter().map(|x| x.label.as_str()).collect()
            });
        }
        Reference::Volume(name) => {
            in_each(ctx, draft, used, "volume", name.as_str(), |p| {
                p.volumes.iter().map(|x| x.label.as_str()).collect()
            });
        }
        Reference::File(name) => match draft.files.iter().find(|f| f.label == *name) {
            None => {
                let near = nearest(name, draft.files.iter().map(|f| f.label.as_str()));
                error(at, code::REFERENCE, format!("there is no file `{name}`"))
                    .maybe_suggest(near.map(|n| format!("file[{n:?}]")))
                    .help(format!("declare it: `file {name:?} {{ content = … }}`"))
                    .add(ctx);
            }
            Some(file) => {
                let Some(file) = &file.value else { return };
                let gets = |p: &DraftProcess| {
                    file.processes.is_empty() || file.processes.iter().any(|(n, _)| *n == p.label)
                };
                if let Some(without) = concerned(draft, used.place).into_iter().find(|p| !gets(p)) {
                    error(
                        at,
                        code::REFERENCE,
                        format!("process `{}` does not get the file `{name}`", without.label),
                    )
                    .help(format!("add it to the file's `processes`: \"{}\"", without.label))
                    .add(ctx);
                }
            }
        },
    }
}

/// True for what follows the catalogue: a template can, the words of a running program cannot.
fn moves(reference: &Reference) -> bool {
    match reference {
        Reference::Service(_) => true,
        Reference::Use { field, .. } => ["url", "host", "port", "endpoint"].contains(&field.as_str()),
        _ => false,
    }
}

fn use_field(ctx: &Ctx<'_>, draft: &Draft, name: &str, field: &str, at: Span) {
    let Some(one) = draft.uses.iter().find(|u| u.label == name) else {
        let near = nearest(name, draft.uses.iter().map(|u| u.label.as_str()));
        let kind = if name == "ldap" { "\"ldap\"".to_owned() } else { format!("\"bucket\" {name:?}") };
        error(at, code::REFERENCE, format!("there is no use `{name}`"))
            .maybe_suggest(near.map(|n| format!("uses.{n}.{field}")))
            .help(format!("declare it: `uses {kind} {{}}`"))
            .add(ctx);
        return;
    };
    let Some(value) = &one.value else { return };
    let fields = value.kind.fields();
    if !fields.contains(&field) {
        error(at, code::REFERENCE, format!("`uses \"{}\"` has no field `{field}`", value.kind.keyword()))
            .maybe_suggest(nearest(field, fields.iter().copied()).map(|n| format!("uses.{name}.{n}")))
            .help(format!("its fields are {}", fields.join(", ")))
            .add(ctx);
    }
}

/// Ports and volumes belong to a process: a text that several processes use must hold for each of them.
fn in_each<'d>(
    ctx: &Ctx<'_>,
    draft: &'d Draft,
    used: &Used,
    what: &str,
    name: &str,
    of: impl Fn(&'d DraftProcess) -> Vec<&'d str>,
) {
    let concerned = concerned(draft, used.place);
    let without: Vec<&&DraftProcess> = concerned.iter().filter(|p| !of(p).contains(&name)).collect();
    let Some(first) = without.first() else { return };
    let report =
        error(used.at.clone(), code::REFERENCE, format!("process `{}` has no {what} `{name}`", first.label));
    if without.len() < concerned.len() {
        let help = match used.place {
            Place::File(_) => format!("say which processes get this file: `processes = […]`, or give `{}` such a {what}", first.label),
            _ => "the project's `env` holds for every process; write this into the `env` of the process that has it".to_owned(),
        };
        report.help(help).add(ctx);
    } else {
        let near = nearest(name, of(first));
        let example = if what == "port" {
            format!("port \"{name}\" {{}}")
        } else {
            format!("volume \"{name}\" {{ path = \"/{name}\" }}")
        };
        report
            .maybe_suggest(near.map(|n| format!("{what}.{n}")))
            .help(format!("declare it in the process: `{example}`"))
            .add(ctx);
    }
}
