//! The keys of the grammar, by place, and what to say about keys that people know from elsewhere. Data only.

pub(super) use crate::model::nearest;

/// A place in the grammar, and what may stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// As named in messages.
    pub name: &'static str,
    /// `key = value`
    pub settings: &'static [&'static str],
    /// `key { }`
    pub blocks: &'static [&'static str],
}

const fn kind(
    name: &'static str,
    settings: &'static [&'static str],
    blocks: &'static [&'static str],
) -> Kind {
    Kind { name, settings, blocks }
}

/// The file itself.
pub const FILE: Kind = kind("the file", &[], &["project"]);
/// `project "name" { }`
pub const PROJECT: Kind =
    kind("project", &["owners"], &["build", "process", "route", "env", "secret", "file", "uses"]);
/// `build "static" { }`
pub const BUILD_STATIC: Kind = kind("build \"static\"", &["dir", "index", "error"], &[]);
/// `build "archive" { }`
pub const BUILD_ARCHIVE: Kind = kind("build \"archive\"", &["dir"], &[]);
/// `process "name" { }`
pub const PROCESS: Kind = kind(
    "process",
    &["command", "instances", "cpu", "memory", "stop_timeout", "driver"],
    &["port", "check", "route", "volume", "env", "restart", "update", "logs", "config"],
);
/// `port "name" { }`
pub const PORT: Kind = kind("port", &["static"], &[]);
/// `check "http" { }`
pub const CHECK_HTTP: Kind = kind("check \"http\"", &["path", "port", "interval", "timeout", "grace"], &[]);
/// `check "tcp" { }`
pub const CHECK_TCP: Kind = kind("check \"tcp\"", &["port", "interval", "timeout", "grace"], &[]);
/// `route "host" { }` in a process.
pub const ROUTE: Kind = kind("route", &["path", "priority", "port"], &["headers", "redirect"]);
/// `redirect "host" { }` in a route.
pub const REDIRECT: Kind = kind("redirect", &["path", "code"], &[]);
/// `route "host" { }` of a static site.
pub const SITE_ROUTE: Kind = kind("route of a static site", &[], &[]);
/// `volume "name" { }`
pub const VOLUME: Kind = kind("volume", &["path", "node"], &[]);
/// `restart { }`
pub const RESTART: Kind = kind("restart", &["attempts", "interval", "delay", "mode"], &[]);
/// `update { }`
pub const UPDATE: Kind = kind(
    "update",
    &["canary", "promote", "max_parallel", "auto_revert", "min_healthy_time", "healthy_deadline"],
    &[],
);
/// `logs { }`
pub const LOGS: Kind = kind("logs", &["max_files", "max_file_size"], &[]);
/// `secret "name" { type = "generated" }`
pub const SECRET_GENERATED: Kind = kind("secret of type \"generated\"", &["type", "length"], &[]);
/// `secret "name" { type = "user" }`
pub const SECRET_USER: Kind = kind("secret of type \"user\"", &["type", "description", "example"], &[]);
/// A secret whose type could not be read.
pub const SECRET_ANY: Kind = kind("secret", &["type", "length", "description", "example"], &[]);
/// `file "name" { }`
pub const FILE_BLOCK: Kind = kind("file", &["content", "mode", "processes"], &[]);
/// `uses "ldap" { }`
pub const USES_LDAP: Kind = kind("uses \"ldap\"", &[], &[]);
/// `uses "bucket" { }`
pub const USES_BUCKET: Kind = kind("uses \"bucket\"", &["max_size", "max_objects"], &[]);

/// Every place, for reference documentation and for "belongs into".
pub const ALL: [Kind; 20] = [
    FILE,
    PROJECT,
    BUILD_STATIC,
    BUILD_ARCHIVE,
    PROCESS,
    PORT,
    CHECK_HTTP,
    CHECK_TCP,
    ROUTE,
    REDIRECT,
    SITE_ROUTE,
    VOLUME,
    RESTART,
    UPDATE,
    LOGS,
    SECRET_GENERATED,
    SECRET_USER,
    FILE_BLOCK,
    USES_LDAP,
    USES_BUCKET,
];

/// Blocks that may be written as `key = { … }` as well.
pub(super) const EITHER: [&str; 3] = ["env", "headers", "config"];

/// What to say about a key that does not exist at a place.
pub(super) enum Hint {
    /// Another key does that.
    Instead(&'static str),
    /// A sentence.
    Say(&'static str),
    /// Of the design, not of this version.
    NotYet,
    /// Needs the right `RawJob`.
    Raw,
}

/// Keys that people bring from Compose, Nomad, Terraform, Kubernetes, or from later versions of Terreau.
pub(super) fn hint(place: Kind, key: &str) -> Option<Hint> {
    use Hint::{Instead, NotYet, Raw, Say};
    let common = match key {
        "nomad" | "artifact" | "identity" | "template" | "vault" | "consul" | "connect" | "csi_plugin"
        | "device" | "lifecycle" | "meta" | "affinity" | "spread" | "privileged" => Some(Raw),
        "cron" | "environment" | "release" | "external" | "constraint" | "sleep" | "memory_max"
        | "stop_signal" | "rotate" | "defaults" | "job" | "group" | "task" | "public" => Some(NotYet),
        _ => None,
    };
    let special = match (place.name, key) {
        ("the file", "job" | "service" | "app" | "application") => {
            Some(Say("a descriptor begins with `project \"name\" {`"))
        }
        ("the file", "version" | "services") => {
            Some(Say("this looks like a Compose file; a descriptor begins with `project \"name\" {`"))
        }
        ("the file", "resource" | "provider" | "terraform" | "module" | "data" | "output") => {
            Some(Say("this looks like Terraform; a descriptor begins with `project \"name\" {`"))
        }
        ("the file", "variable" | "variables" | "locals") => {
            Some(Say("a descriptor has no variables; write the value where it is used"))
        }
        ("project", "environment") => Some(Say(
            "overlays for other environments are not built yet; for environment variables write `env { NAME = \"…\" }`",
        )),
        ("project" | "process", "group" | "task" | "service" | "services" | "app" | "web" | "worker") => {
            Some(Say("what runs is written as `process \"web\" { … }`"))
        }
        ("project", "job") => {
            Some(Say("the project itself is the job; write `process \"web\" { … }` inside it"))
        }
        ("project" | "process", "name") => {
            Some(Say("the name stands before the brace: `project \"name\" {`, `process \"name\" {`"))
        }
        ("project" | "process", "image" | "container") => Some(Say(
            "an image is run by `driver = \"docker\"` and `config { image = \"…\" }` inside a process",
        )),
        (
            "project" | "process",
            "domain" | "domains" | "host" | "hosts" | "hostname" | "ingress" | "url" | "tags",
        ) => Some(Say("a host is given by `route \"app.example.org\" {}`")),
        (
            "project" | "process",
            "database" | "postgres" | "bucket" | "ldap" | "s3" | "backing" | "depends_on" | "requires"
            | "links",
        ) => Some(Say("backing services are written as `uses \"ldap\" {}` or `uses \"bucket\" {}`")),
        ("project", "datacenters" | "region" | "type" | "priority" | "namespace" | "site" | "sites") => {
            Some(Say("where apps run is a setting of the cluster, not of a project"))
        }
        ("project" | "process", "ports" | "expose" | "network") => {
            Some(Say("ports are blocks of a process, one for each: `port \"http\" {}`"))
        }
        ("project" | "process", "secrets") => {
            Some(Say("secrets are blocks, one for each: `secret \"name\" { type = \"generated\" }`"))
        }
        ("project" | "process", "volumes" | "mounts" | "mount" | "volume_mount" | "storage") => {
            Some(Say("volumes are blocks of a process, one for each: `volume \"data\" { path = \"/data\" }`"))
        }
        ("project" | "process", "files" | "configs") => {
            Some(Say("files are blocks of the project, one for each: `file \"name\" { content = … }`"))
        }
        ("project", "owner" | "users" | "team") => Some(Instead("owners")),
        ("project", "use") => Some(Instead("uses")),
        ("project", "processes") => Some(Instead("process")),
        ("process", "replicas" | "count" | "scale" | "copies" | "number") => Some(Instead("instances")),
        ("process", "environment" | "environments" | "envs" | "env_vars")
        | ("project", "envs" | "env_vars" | "vars") => Some(Instead("env")),
        ("process", "cmd" | "entrypoint" | "args" | "exec" | "run" | "start") => Some(Instead("command")),
        ("process", "resources" | "limits") => {
            Some(Say("write `cpu = 200` (MHz) and `memory = \"256 MiB\"` directly in the process"))
        }
        ("process", "mem" | "ram" | "memory_limit" | "mem_limit") => Some(Instead("memory")),
        ("process", "cpus" | "cores" | "cpu_shares") => Some(Say("`cpu` is a share in MHz: `cpu = 200`")),
        ("process", "healthcheck" | "health_check" | "health" | "probe" | "checks") => Some(Instead("check")),
        ("process", "kill_timeout" | "stop_grace_period" | "shutdown_timeout" | "grace_period") => {
            Some(Instead("stop_timeout"))
        }
        ("process", "log" | "logging" | "log_config") => Some(Instead("logs")),
        ("logs", "files" | "max-file") => Some(Instead("max_files")),
        ("logs", "size" | "max_size" | "max-size" | "file_size") => Some(Instead("max_file_size")),
        ("process", "user" | "kill_signal") => Some(Raw),
        ("process", "routes") => Some(Instead("route")),
        ("port", "port" | "number" | "value") => Some(Instead("static")),
        ("update", "auto_promote" | "manual" | "hold") => {
            Some(Say("canaries that wait for a person: `promote = \"manual\"`"))
        }
        ("port", "to" | "host_network")
        | ("update", "stagger" | "progress_deadline" | "health_check")
        | ("route" | "route of a static site", "tls" | "https" | "scheme") => Some(NotYet),
        ("volume", "host" | "host_path" | "source" | "size" | "read_only" | "target" | "mount") => Some(Say(
            "where the data lies is a setting of the cluster; a volume has a `path`, and a `node` where you must choose",
        )),
        (
            "secret" | "secret of type \"generated\"" | "secret of type \"user\"",
            "value" | "default" | "content",
        ) => Some(Say("a descriptor holds no secret; the value is asked for at the first deploy")),
        ("secret" | "secret of type \"generated\"" | "secret of type \"user\"", "generated" | "user") => {
            Some(Say("write `type = \"generated\"` or `type = \"user\"`"))
        }
        ("file", "source" | "path" | "src" | "destination" | "template") => Some(Say(
            "the label is the file's name and `content` its text; where it lies is what `file.<name>` stands for",
        )),
        ("file", "data" | "text" | "contents" | "body") => Some(Instead("content")),
        ("file", "permissions" | "perms" | "chmod") => Some(Instead("mode")),
        ("build \"static\"" | "build \"archive\"", "path" | "directory" | "folder" | "root" | "public") => {
            Some(Instead("dir"))
        }
        ("build \"static\"" | "build \"archive\"", "command" | "builder") => {
            Some(Say("building from source is not there yet: build first, then deploy the folder"))
        }
        ("build \"static\"", "not_found" | "error_page" | "404") => Some(Instead("error")),
        ("uses \"bucket\"", "size" | "quota") => Some(Instead("max_size")),
        ("uses \"bucket\"", "website" | "public") => {
            Some(Say("a public website is a project of its own with `build \"static\"`"))
        }
        ("route", "header") => Some(Instead("headers")),
        ("route", "redirects" | "aliases" | "alias" | "from" | "redirect_from") => {
            Some(Say("another host that leads here is a block: `redirect \"www.example.org\" {}`"))
        }
        ("redirect", "status" | "status_code" | "permanent" | "type") => Some(Instead("code")),
        ("redirect", "to" | "target") => {
            Some(Say("a redirect leads to the route that it stands in; its label is the host that is left"))
        }
        ("process" | "project", "redirect" | "redirects") => Some(Say(
            "a redirect stands in the route that it leads to: `route \"example.org\" { redirect \"www.example.org\" {} }`",
        )),
        _ => None,
    };
    special.or(common)
}
