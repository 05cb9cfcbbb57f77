//! Reads `env`, `secret`, `file`, `uses` and `build`.

use std::collections::BTreeMap;

use hcl_edit::structure::Block;

use super::draft::{DraftFile, Named};
use super::fault::code;
use super::grammar::{self, nearest};
use super::scope::{Scope, label, labels};
use super::source::Place;
use super::source::{Ctx, Span, error, span_of};
use super::value::{Unit, clip};
use crate::model::names::{EnvName, PartName, ProcessName, ProjectName, SecretName};
use crate::model::project::{Build, File, Secret, SecretKind, Use, UseKind};
use crate::model::text::{Piece, Text};

/// Bytes in an environment variable.
pub const MAX_ENV: usize = 32 * 1024;
/// Bytes of its JSON form: Nomad refuses lines of more than 64 KiB in a template that is read as environment.
pub const MAX_ENV_JSON: usize = 60_000;
/// Bytes in a tenant's and an environment's part of an app's name, with their dashes: `<16>---<project>--<16>`.
const LONGEST_FRAME: usize = 16 + 3 + 2 + 16;
/// Bytes in the alias of a bucket.
const MAX_BUCKET: usize = 63;

/// Reads the `env` of a project or a process.
pub(super) fn env(
    ctx: &Ctx<'_>,
    scope: &Scope<'_>,
    place: Place,
    places: &mut Vec<(String, Span)>,
) -> BTreeMap<EnvName, Text> {
    let mut env = BTreeMap::new();
    for item in scope.entries(ctx, "env").unwrap_or_default() {
        let name = ctx.name(EnvName::new(item.key.as_str()), item.at.clone());
        let reserved = ["NOMAD_", "TERREAU_"].iter().find(|p| item.key.to_uppercase().starts_with(**p));
        if let Some(prefix) = reserved {
            error(item.at.clone(), code::NAME, format!("environment variables `{prefix}…` are reserved"))
                .help("Nomad and Terreau set them themselves; choose another name")
                .add(ctx);
        }
        let text = ctx.text_of(item.value, &format!("`{}`", clip(&item.key)), place);
        places.push((item.key.clone(), item.at.clone()));
        let (Some(name), Some(text)) = (name, text) else { continue };
        if let Some(why) = too_long(&text) {
            error(span_of(item.value), code::LIMIT, format!("the value of `{}` {why}", item.key))
                .help("write it into a `file` and hand over the file's path")
                .add(ctx);
        }
        env.insert(name, text);
    }
    env
}

fn too_long(text: &Text) -> Option<String> {
    let literal = text.0.iter().map(|p| match p {
        Piece::Literal(t) => t.as_str(),
        Piece::Ref(_) => "",
    });
    let (mut bytes, mut json) = (0, 2);
    for part in literal {
        bytes += part.len();
        // The quotes around each piece are counted once, above.
        json += serde_json::to_string(part).map_or(0, |s| s.len() - 2);
    }
    if bytes > MAX_ENV {
        Some(format!("has {bytes} bytes; at most {MAX_ENV} are allowed"))
    } else if json > MAX_ENV_JSON {
        Some(format!("has {json} bytes as JSON; at most {MAX_ENV_JSON} are allowed"))
    } else {
        None
    }
}

/// Reads one `secret`.
pub(super) fn secret(ctx: &Ctx<'_>, block: &Block) -> Option<Named<Secret>> {
    let (text, at) = label(ctx, block)?;
    let name = ctx.name(SecretName::new(text), at.clone());
    let open = |kind| Scope::open(ctx, block, kind);
    // The type decides which other settings there may be.
    let kind_expr = block.body.get_attribute("type").map(|a| &a.value);
    let value = match kind_expr {
        None => {
            open(grammar::SECRET_ANY);
            error(
                super::source::header(block),
                code::MISSING,
                format!("secret `{}` has no `type`", clip(text)),
            )
            .help("`type = \"generated\"` makes a random value, `type = \"user\"` asks a person for it")
            .none(ctx)
        }
        Some(expr) => match ctx.literal(expr, "`type`").as_deref() {
            Some("generated") => {
                let scope = open(grammar::SECRET_GENERATED);
                let length = scope.get("length").map_or(Some(32), |e| ctx.small(e, "`length`", 16..=1024));
                length.map(|length| SecretKind::Generated { length })
            }
            Some("user") => {
                let scope = open(grammar::SECRET_USER);
                let line = |key: &str| {
                    let expr = scope.get(key)?;
                    let text = ctx.literal(expr, &format!("`{key}`"))?;
                    if text.chars().any(char::is_control) || text.chars().count() > 500 {
                        return error(
                            span_of(expr),
                            code::VALUE,
                            format!("`{key}` must be one line of at most 500 characters"),
                        )
                        .none(ctx);
                    }
                    Some(text)
                };
                let description = line("description").unwrap_or_else(|| format!("the value of {text}"));
                Some(SecretKind::User { description, example: line("example") })
            }
            Some(other) => {
                open(grammar::SECRET_ANY);
                let later = ["command", "constant", "rsa", "tls", "ldap", "ssl_cert", "ssl_key"];
                let at = span_of(expr);
                if later.iter().any(|l| other.to_lowercase().starts_with(l)) {
                    error(
                        at,
                        code::NOT_YET,
                        format!(
                            "secrets of type {:?} are not built yet in this version of Terreau",
                            clip(other)
                        ),
                    )
                    .help("there are \"generated\" and \"user\"")
                    .none(ctx)
                } else {
                    error(at, code::VALUE, format!("there is no secret of type {:?}", clip(other)))
                        .maybe_suggest(nearest(other, ["generated", "user"]).map(|n| format!("\"{n}\"")))
                        .help("there are \"generated\" and \"user\"")
                        .none(ctx)
                }
            }
            None => {
                open(grammar::SECRET_ANY);
                None
            }
        },
    };
    let value = name.zip(value).map(|(name, kind)| Secret { name, kind });
    Some(Named { label: text.to_owned(), at, value })
}

/// Reads the n-th `file`.
pub(super) fn file(ctx: &Ctx<'_>, block: &Block, n: usize) -> Option<Named<DraftFile>> {
    let (text, at) = label(ctx, block)?;
    let scope = Scope::open(ctx, block, grammar::FILE_BLOCK);
    let name = ctx.relative_path(text, "the name of a file", at.clone()).and_then(|name| {
        let odd = |c: char| !(c.is_ascii_alphanumeric() || "._-/".contains(c));
        if name.contains(odd) || name == "." || name.len() > 200 {
            return error(
                at.clone(),
                code::NAME,
                format!("file name {:?} must be letters, digits, `.`, `_`, `-` and `/`", clip(text)),
            )
            .none(ctx);
        }
        if name != text {
            return error(
                at.clone(),
                code::NAME,
                format!("file name {:?} can be written shorter", clip(text)),
            )
            .suggest(format!("\"{name}\""))
            .help("a file has one name, so that references find it")
            .none(ctx);
        }
        Some(name)
    });
    let content = match scope.get("content") {
        Some(expr) => ctx.text_of(expr, "`content`", Place::File(n)),
        None => error(scope.at.clone(), code::MISSING, format!("{} has no `content`", scope.what))
            .help("write `content = <<EOT`, the text, and `EOT` on a line of its own")
            .none(ctx),
    };
    let mode = match scope.get("mode") {
        None => Some("0644".to_owned()),
        Some(expr) => mode(ctx, expr),
    };
    let mut processes = Vec::new();
    if let Some(expr) = scope.get("processes") {
        for (text, item) in ctx.literals(expr, "`processes`").unwrap_or_default() {
            processes.push((text, span_of(item)));
        }
        if matches!(expr, hcl_edit::expr::Expression::Array(list) if list.is_empty()) {
            error(span_of(expr), code::VALUE, "no process would get this file")
                .help("name one, or leave `processes` out: then all get it")
                .add(ctx);
        }
    }
    let named = processes.iter().filter_map(|(p, _)| ProcessName::new(p.as_str()).ok()).collect();
    let value = match (name, content, mode) {
        (Some(name), Some(content), Some(mode)) if file_is_free(ctx, &name, &content, at.clone()) => {
            Some(File { name, content, mode, processes: named })
        }
        _ => None,
    };
    Some(Named { label: text.to_owned(), at, value: Some(DraftFile { processes, file: value }) })
}

/// Files of Nomad's and of ours in the folder where this one would lie.
fn file_is_free(ctx: &Ctx<'_>, name: &str, content: &Text, at: Span) -> bool {
    let taken: &[&str] =
        if content.is_secret() { &["env", "services.env", "api.sock", "nomad_token"] } else { &["app"] };
    let first = name.split('/').next().unwrap_or_default();
    // Files inside the unpacked archive are welcome: `app/config.toml`.
    let clash = taken.contains(&name) || (content.is_secret() && taken.contains(&first));
    if clash {
        error(at, code::NAME, format!("file name {name:?} is taken by Nomad or Terreau in that folder"))
            .help("choose another name")
            .add(ctx);
    }
    !clash
}

fn mode(ctx: &Ctx<'_>, expr: &hcl_edit::expr::Expression) -> Option<String> {
    let at = span_of(expr);
    if let hcl_edit::expr::Expression::Number(_) = expr {
        let text = ctx.text().get(at.clone()).unwrap_or_default().to_owned();
        return error(at, code::TYPE, "`mode` is written in quotes, because it is octal")
            .suggest(format!("\"{text:0>4}\""))
            .none(ctx);
    }
    let text = ctx.literal(expr, "`mode`")?;
    let octal = text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match (octal, text.len()) {
        (true, 3) => Some(format!("0{text}")),
        (true, 4) if text.starts_with('0') => Some(text),
        _ => error(at, code::VALUE, "`mode` must be permissions in octal, such as \"0644\"")
            .help("set-user-id, set-group-id and sticky bits are not possible")
            .none(ctx),
    }
}

/// Reads one `uses`.
pub(super) fn uses(ctx: &Ctx<'_>, block: &Block, project: Option<&ProjectName>) -> Option<Named<Use>> {
    let mut given = labels(ctx, block, 2).into_iter();
    let (keyword, keyword_at) = given.next()?;
    let (text, at) = given.next().unwrap_or((keyword, keyword_at.clone()));
    let known = ["ldap", "bucket"];
    let kind = match keyword {
        "ldap" => {
            Scope::open(ctx, block, grammar::USES_LDAP);
            UseKind::Ldap
        }
        "bucket" => {
            let scope = Scope::open(ctx, block, grammar::USES_BUCKET);
            let max_size = scope.get("max_size").and_then(|e| ctx.size(e, "`max_size`", Unit::Byte));
            let max_objects =
                scope.get("max_objects").and_then(|e| ctx.integer(e, "`max_objects`", 1..=1 << 40));
            UseKind::Bucket { max_size, max_objects }
        }
        "postgres" | "postgresql" | "k2v" | "project" => {
            error(
                keyword_at,
                code::NOT_YET,
                format!("`uses \"{keyword}\"` is not built yet in this version of Terreau"),
            )
            .help("there are \"ldap\" and \"bucket\"")
            .add(ctx);
            return Some(Named { label: text.to_owned(), at, value: None });
        }
        other => {
            let near = match other {
                "s3" | "garage" | "minio" | "storage" => Some("\"bucket\"".to_owned()),
                "bottin" | "directory" => Some("\"ldap\"".to_owned()),
                _ => nearest(other, known).map(|n| format!("\"{n}\"")),
            };
            error(keyword_at, code::VALUE, format!("there is no backing service {:?}", clip(other)))
                .maybe_suggest(near)
                .help("there are \"ldap\" and \"bucket\"")
                .add(ctx);
            return Some(Named { label: text.to_owned(), at, value: None });
        }
    };
    let name = ctx.name(PartName::new(text), at.clone());
    if let (UseKind::Bucket { .. }, Some(name), Some(project)) = (&kind, &name, project) {
        bucket_alias(ctx, name, project, at.clone());
    }
    Some(Named { label: text.to_owned(), at, value: name.map(|name| Use { name, kind }) })
}

/// The alias `<app>-<purpose>` must fit in every tenant and environment, else the same descriptor would work in one
/// and fail in the other.
fn bucket_alias(ctx: &Ctx<'_>, name: &PartName, project: &ProjectName, at: Span) {
    let longest = LONGEST_FRAME + project.as_str().len() + 1 + name.as_str().len();
    if longest > MAX_BUCKET {
        let room = MAX_BUCKET.saturating_sub(LONGEST_FRAME + project.as_str().len() + 1);
        let help = if room == 0 {
            format!("a project with buckets has at most {} bytes in its name", MAX_BUCKET - LONGEST_FRAME - 2)
        } else {
            format!(
                "with the project `{project}` a bucket's name has at most {room} bytes: `uses \"bucket\" \"…\" {{}}`"
            )
        };
        error(
            at,
            code::NAME,
            format!("the bucket's alias `<app>-{name}` could get {longest} bytes long; buckets have at most {MAX_BUCKET}"),
        )
        .help(help)
        .add(ctx);
    }
}

/// Reads `build`.
pub(super) fn build(ctx: &Ctx<'_>, block: &Block) -> Option<Named<Build>> {
    let (kind, at) = label(ctx, block)?;
    let path = |scope: &Scope<'_>, key: &str, default: Option<&str>| -> Result<Option<String>, ()> {
        match scope.get(key) {
            None => Ok(default.map(str::to_owned)),
            Some(expr) => {
                let what = format!("`{key}`");
                let text = ctx.literal(expr, &what).ok_or(())?;
                ctx.relative_path(&text, &what, span_of(expr)).map(Some).ok_or(())
            }
        }
    };
    let value = match kind {
        "static" => {
            let scope = Scope::open(ctx, block, grammar::BUILD_STATIC);
            let (dir, index, error_page) = (
                path(&scope, "dir", Some(".")),
                path(&scope, "index", Some("index.html")),
                path(&scope, "error", None),
            );
            match (dir, index, error_page) {
                (Ok(Some(dir)), Ok(Some(index)), Ok(error_page)) => {
                    if index.contains('/') || index == "." {
                        error(
                            scope.place("index"),
                            code::VALUE,
                            "`index` is the name of a page in each folder, without `/`",
                        )
                        .add(ctx);
                    }
                    Some(Build::Static { dir, index, error: error_page })
                }
                _ => None,
            }
        }
        "archive" => {
            let scope = Scope::open(ctx, block, grammar::BUILD_ARCHIVE);
            match path(&scope, "dir", Some(".")) {
                Ok(Some(dir)) => Some(Build::Archive { dir }),
                _ => None,
            }
        }
        "nix" | "dockerfile" | "buildpack" | "image" => {
            let help = if kind == "image" {
                "an image that exists is run by `driver = \"docker\"` and `config { image = \"…\" }` in a process"
            } else {
                "build on your machine and deploy the folder: `build \"archive\" { dir = \"…\" }`"
            };
            error(
                at.clone(),
                code::NOT_YET,
                format!("`build \"{kind}\"` is not built yet in this version of Terreau"),
            )
            .help(help)
            .none(ctx)
        }
        other => error(at.clone(), code::VALUE, format!("there is no build {:?}", clip(other)))
            .maybe_suggest(nearest(other, ["static", "archive"]).map(|n| format!("\"{n}\"")))
            .help("there are \"static\" and \"archive\"")
            .none(ctx),
    };
    Some(Named { label: kind.to_owned(), at, value })
}
