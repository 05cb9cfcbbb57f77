//! Reads `project "name" { }` as a whole.

use hcl_edit::structure::{Block, Body};

use super::draft::{Draft, Named};
use super::fault::code;
use super::grammar;
use super::scope::{Scope, label};
use super::source::Place;
use super::source::{Ctx, error, header, span_of};
use super::value::clip;
use super::{parts, process};
use crate::model::names::{HostName, Login, ProjectName};
use crate::model::project::Owner;

/// Reads the file: exactly one project.
pub(super) fn read(ctx: &Ctx<'_>, body: &Body) -> Option<Draft> {
    let file = Scope::of_body(ctx, body, grammar::FILE, "the file".to_owned(), 0..0);
    let mut projects = file.blocks("project");
    let Some(first) = projects.next() else {
        return error(0..0, code::MISSING, "the file holds no project")
            .help("a descriptor begins with `project \"name\" {`")
            .none(ctx);
    };
    for extra in projects {
        error(header(extra), code::DUPLICATE, "the file holds more than one project")
            .help("write each project into a `terreau.hcl` of its own folder")
            .add(ctx);
    }
    Some(project(ctx, first))
}

fn project(ctx: &Ctx<'_>, block: &Block) -> Draft {
    let name = label(ctx, block).and_then(|(text, at)| ctx.name(ProjectName::new(text), at));
    let scope = Scope::open(ctx, block, grammar::PROJECT);
    let build = scope.single(ctx, "build").and_then(|b| parts::build(ctx, b));
    let processes = scope.blocks("process").enumerate().map(|(n, b)| process::read(ctx, b, n)).collect();
    let mut env_at = Vec::new();
    let env = parts::env(ctx, &scope, Place::Env, &mut env_at);
    let secrets = scope.blocks("secret").filter_map(|b| parts::secret(ctx, b)).collect();
    let mut files = Vec::new();
    for block in scope.blocks("file") {
        files.extend(parts::file(ctx, block, files.len()));
    }
    let uses = scope.blocks("uses").filter_map(|b| parts::uses(ctx, b, name.as_ref())).collect();
    // With a process the route belongs into it, and its settings there are another grammar: it is only named here.
    let has_process = scope.blocks("process").next().is_some();
    let site_routes = scope.blocks("route").filter_map(|b| site_route(ctx, b, has_process)).collect();
    Draft {
        owners: owners(ctx, &scope),
        at: scope.at.clone(),
        name,
        build,
        site_routes,
        processes,
        env,
        env_at,
        secrets,
        files,
        uses,
    }
}

fn site_route(ctx: &Ctx<'_>, block: &Block, has_process: bool) -> Option<Named<HostName>> {
    let (text, at) = label(ctx, block)?;
    if has_process {
        return Some(Named { label: text.to_owned(), at: header(block), value: None });
    }
    Scope::open(ctx, block, grammar::SITE_ROUTE);
    let value = ctx.host(text, at.clone());
    Some(Named { label: text.to_owned(), at, value })
}

fn owners(ctx: &Ctx<'_>, scope: &Scope<'_>) -> Vec<Owner> {
    let Some(expr) = scope.get("owners") else { return Vec::new() };
    let mut owners = Vec::new();
    for (text, item) in ctx.literals(expr, "`owners`").unwrap_or_default() {
        let at = span_of(item);
        let owner = match text.split_once(':') {
            None => ctx.name(Login::new(text.as_str()), at.clone()).map(Owner::User),
            Some(("group", group)) => ctx.name(Login::new(group), at.clone()).map(Owner::Group),
            Some((prefix, _)) => {
                error(at.clone(), code::VALUE, format!("{:?} is not a kind of owner", clip(prefix)))
                    .help("an owner is a login, \"alice\", or a group, \"group:devs\"")
                    .none(ctx)
            }
        };
        let Some(owner) = owner else { continue };
        if owners.contains(&owner) {
            error(at, code::DUPLICATE, format!("owner {text:?} is named twice")).add(ctx);
        } else {
            owners.push(owner);
        }
    }
    owners
}
