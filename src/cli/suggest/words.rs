//! The tables of words and options that people know from elsewhere. Nothing but words: what is done with them is said above.

/// What a word means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meant {
    /// This command.
    Command(&'static str),
    /// Nothing that one command does.
    Words(&'static str),
}

use Meant::{Command as Is, Words};

/// How an app comes to be.
const FIRST_DEPLOY: Meant =
    Words("the first deploy makes an app: `terreau init` writes its terreau.hcl, then `terreau deploy`");

/// Below which command, which words, and what they mean.
pub(super) const TABLE: &[(&str, &[&str], Meant)] = &[
    ("", &["up", "push", "publish", "redeploy", "update"], Is("deploy")),
    ("", &["promote"], Is("deploy --promote")),
    ("", &["version"], Is("--version")),
    (
        "",
        &["upgrade", "self-update"],
        Words(
            "`terreau deploy` makes a new release of an app; terreau itself is replaced by whatever installed it",
        ),
    ),
    ("", &["rm", "remove", "undeploy", "uninstall"], Is("delete")),
    ("", &["down", "kill", "halt", "suspend"], Is("stop")),
    ("", &["resume", "unpause"], Is("start")),
    ("", &["reboot", "reload"], Is("restart")),
    ("", &["revert", "undo"], Is("rollback")),
    ("", &["config", "vars", "variables", "environment", "set"], Is("env")),
    ("", &["signin", "sign-in", "log-in", "auth"], Is("login")),
    ("", &["signout", "sign-out", "log-out", "logoff"], Is("logout")),
    ("", &["check", "lint"], Is("validate")),
    ("", &["new", "create"], Is("init")),
    ("", &["info", "show", "describe"], Is("status")),
    ("", &["history", "versions"], Is("releases")),
    ("", &["apps:create", "create-app"], FIRST_DEPLOY),
    ("projects", &["create", "new", "add"], FIRST_DEPLOY),
    ("", &["config:set", "env:set"], Is("env set")),
    ("", &["config:unset", "env:unset"], Is("env unset")),
    ("", &["config:get", "env:get"], Is("env list")),
    (
        "",
        &["domains", "domain", "routes", "route"],
        Words(
            "an app's hosts are `route` blocks in terreau.hcl, and come with `terreau deploy`; `terreau status` shows them",
        ),
    ),
    (
        "",
        &["certs", "certificates", "ssl", "tls"],
        Words(
            "the cluster's proxy has the certificates: a host is a `route` block in terreau.hcl, and nothing else is to be done",
        ),
    ),
    (
        "",
        &["addons", "addon", "services", "db", "database", "volumes", "volume", "buckets", "bucket"],
        Words(
            "what an app needs stands in terreau.hcl and comes with `terreau deploy`: `volume \"data\" { path = \"/data\" }` in a \
             process, `uses \"bucket\" {}`, `uses \"ldap\" {}`",
        ),
    ),
    (
        "",
        &["build"],
        Words("`terreau deploy` brings what terreau.hcl names as it is deployed: no step goes before it"),
    ),
    (
        "",
        &["rename"],
        Words("an app keeps its name: under another one in terreau.hcl, `terreau deploy` makes a new app"),
    ),
    ("maintenance", &["status", "show", "list"], Is("status")),
    ("", &["instances"], Is("ps")),
    ("", &["metrics", "stats"], Is("top")),
    ("", &["tail"], Is("logs")),
    ("", &["tunnel", "forward", "port-forward"], Is("proxy")),
    ("", &["webhook", "webhooks"], Is("hook")),
    ("env", &["remove", "rm", "delete", "del"], Is("env unset")),
    ("env", &["add", "put", "create"], Is("env set")),
    ("env", &["ls", "get", "show"], Is("env list")),
    (
        "secret",
        &["unset", "remove", "rm", "delete", "del"],
        Words(
            "a secret goes with the `secret` block that declares it: take that out of terreau.hcl, and `terreau deploy`",
        ),
    ),
    ("secret", &["add", "put", "create"], Is("secret set")),
    ("secret", &["ls", "get", "show"], Is("secret list")),
    ("hook", &["create", "new"], Is("hook add")),
    ("hook", &["delete", "rm", "del"], Is("hook remove")),
    ("hook", &["ls", "show"], Is("hook list")),
    ("tokens", &["add", "new", "make"], Is("tokens create")),
    ("tokens", &["remove", "rm", "delete", "del"], Is("tokens revoke")),
    ("tokens", &["ls", "show"], Is("tokens list")),
    ("server", &["rm", "delete", "del"], Is("server remove")),
    ("server", &["switch", "select"], Is("server use")),
    ("server", &["add"], Words("`terreau login --server URL` adds a server")),
    ("server", &["ls", "show"], Is("server list")),
    ("owners", &["rm", "delete", "del"], Is("owners remove")),
    ("owners", &["ls", "show"], Is("owners list")),
    ("users", &["rm", "delete", "del"], Is("users remove")),
    (
        "users",
        &["add", "create"],
        Words("people are in the cluster's directory, and log in with their account there"),
    ),
    ("users", &["ls"], Is("users list")),
    ("owners", &["transfer", "give"], Is("projects transfer")),
    ("release", &["list", "ls"], Is("releases")),
    ("operations", &["ls"], Is("operations list")),
    ("operations", &["watch"], Is("operations follow")),
    ("operations", &["stop", "abort", "rm"], Is("operations cancel")),
    ("maintenance", &["start", "enable"], Is("maintenance on")),
    ("maintenance", &["stop", "disable"], Is("maintenance off")),
];

/// Of which command, which options that it does not have, and what to write instead.
pub(super) const OPTIONS: &[(&str, &[&str], &str)] = &[
    (
        "ps",
        &["--watch", "-w", "--follow", "-f"],
        "`terreau top` draws itself anew until Ctrl-C; `watch terreau ps` lists again and again",
    ),
    ("status", &["--watch", "-w", "--follow", "-f"], "`watch terreau status` looks again and again"),
    (
        "deploy",
        &["--yes", "-y"],
        "a deploy asks for no confirmation: leave it out (what secrets need, --secret-file gives)",
    ),
    ("deploy", &["--wait", "--watch"], "a deploy waits by itself until the app answers; --detach does not"),
    (
        "deploy",
        &["--env", "-e"],
        "values are set by `terreau env set`; an environment is a part of the app's name: APP@ENV",
    ),
    ("deploy", &["--force"], "a deploy of what runs already changes nothing: `terreau restart` restarts it"),
    ("graph", &["--all"], "without an app's name, every app that you may see is drawn"),
    ("restart", &["--force"], "a restart asks for nothing: leave it out"),
    ("logs", &["--level"], "`terreau logs --grep 'error|warn'` shows the lines that match"),
    ("rollback", &["--to", "--release"], "the release stands by itself: `terreau rollback 3`"),
    ("scale", &["--count"], "the count stands by its process: `terreau scale web=2`"),
];
