//! Every setting of the agent, once: its key, what it may hold, and what people are told about it.
//!
//! The reader, the environment's names and `docs/agent.example.toml` are all made from this table.

use std::fmt::Write as _;

/// What a setting may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text that is not empty.
    Text,
    /// The path of a file that can be read.
    File,
    /// The path of a folder that can be read.
    Folder,
    /// A path on the cluster's nodes.
    NodePath,
    /// `true` or `false`.
    Switch,
    /// A whole number from 1 to 65535.
    Port,
    /// A time: `500ms`, `3s`, `15m`, `12h`.
    Span,
    /// Texts.
    List,
    /// One of these.
    Choice(&'static [&'static str]),
    /// A URL with one of these schemes.
    Url(&'static [&'static str]),
    /// `address:port`.
    Address,
    /// A DN.
    Dn,
}

/// What stands in for a setting that nobody gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// It must be given; an example.
    Required(&'static str),
    /// This, in TOML.
    Default(&'static str),
    /// Nothing; an example.
    Nothing(&'static str),
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub key: &'static str,
    pub kind: Kind,
    pub absent: Absent,
    pub doc: &'static str,
}

const fn setting(key: &'static str, kind: Kind, absent: Absent, doc: &'static str) -> Setting {
    Setting { key, kind, absent, doc }
}

use Absent::{Default as D, Nothing as N, Required as R};
use Kind::{Address, Choice, Dn, File, Folder, List, NodePath, Port, Span, Switch, Text, Url};

const HTTP: Kind = Url(&["http", "https"]);

/// In the order of the example.
pub(super) const SETTINGS: &[Setting] = &[
    setting("cluster", Text, R(r#""prod""#), "The cluster: Consul's datacenter and Nomad's region."),
    setting("sites", List, R(r#"["neptune", "jupiter"]"#), "The sites (Nomad datacenters) that apps run at."),
    setting("listen", Address, D(r#""127.0.0.1:3990""#), "Where the API listens. Put TLS in front of it."),
    setting(
        "maintenance.listen",
        Address,
        N(r#""10.83.1.1:3991""#),
        "Where the maintenance pages of apps are served to the proxy, which must reach it from other machines too; by default a \
         port of its own at the address of `listen`, and nowhere where that is every address.",
    ),
    setting(
        "name",
        Text,
        N(r#""agent-1""#),
        "How this agent is called in records and logs; the host's name by default.",
    ),
    setting(
        "log.format",
        Choice(&["lines", "json"]),
        D(r#""lines""#),
        "Logs go to standard error, as lines or as JSON.",
    ),
    setting("log.level", Text, D(r#""info""#), "What is logged: `info`, `debug`, or `terreau=debug,info`."),
    setting("login.session", Span, D(r#""12h""#), "How long a login lasts."),
    setting(
        "nomad.address",
        Url(&["http", "https", "unix"]),
        D(r#""http://localhost:4646""#),
        "Nomad's HTTP API. Connect by name where TLS is used: certificates name `localhost`.",
    ),
    setting(
        "nomad.token_file",
        File,
        N(r#""/run/secrets/nomad-token""#),
        "A Nomad ACL token, where Nomad's ACLs are on (policies/nomad/terreau-agent.hcl).",
    ),
    setting("nomad.ca", File, N(r#""/etc/terreau/nomad-ca.pem""#), "The authority of Nomad's certificate."),
    setting("nomad.cert", File, N(r#""/etc/terreau/nomad-client.pem""#), "Our client certificate, for mTLS."),
    setting("nomad.key", File, N(r#""/etc/terreau/nomad-client-key.pem""#), "Its key."),
    setting("consul.address", HTTP, D(r#""http://localhost:8500""#), "Consul's HTTP API."),
    setting(
        "consul.token_file",
        File,
        N(r#""/run/secrets/consul-token""#),
        "A Consul ACL token, where Consul's ACLs are on (policies/consul/terreau-agent.hcl).",
    ),
    setting(
        "consul.ca",
        File,
        N(r#""/etc/terreau/consul-ca.pem""#),
        "The authority of Consul's certificate.",
    ),
    setting(
        "consul.cert",
        File,
        N(r#""/etc/terreau/consul-client.pem""#),
        "Our client certificate, for mTLS.",
    ),
    setting("consul.key", File, N(r#""/etc/terreau/consul-client-key.pem""#), "Its key."),
    setting(
        "directory.url",
        Url(&["ldap", "ldaps"]),
        R(r#""ldap://bottin.service.prod.consul:389""#),
        "The directory.",
    ),
    setting("directory.base", Dn, R(r#""dc=example,dc=org""#), "The suffix of its tree."),
    setting(
        "directory.bind_dn",
        Dn,
        N(r#""cn=terreau,ou=services,ou=users,dc=example,dc=org""#),
        "The agent's account; by default `cn=terreau,ou=services,ou=users,<base>`.",
    ),
    setting(
        "directory.password_file",
        File,
        R(r#""/run/secrets/directory-password""#),
        "The password of that account.",
    ),
    setting(
        "directory.plain_ok",
        Switch,
        D("false"),
        "Declares that LDAP without TLS is safe here (WireGuard). On loopback it always is.",
    ),
    setting("directory.starttls", Switch, D("false"), "Raises ldap:// to TLS before anything else is said."),
    setting(
        "directory.ca",
        File,
        N(r#""/etc/terreau/directory-ca.pem""#),
        "The authority of the directory's certificate.",
    ),
    setting(
        "directory.service",
        Text,
        D(r#""bottin""#),
        "The directory's service in Consul's catalogue: apps that use LDAP follow it.",
    ),
    setting(
        "directory.login_group",
        Text,
        N(r#""login""#),
        "Only members of this group (cn) may log in; everybody of the directory by default.",
    ),
    setting(
        "directory.admin_group",
        Text,
        D(r#""admin""#),
        "Members of this group (cn) are Terreau's admins.",
    ),
    setting(
        "garage.admin",
        HTTP,
        R(r#""http://garage-admin.service.prod.consul:3903""#),
        "Garage's admin API.",
    ),
    setting(
        "garage.admin_token_file",
        File,
        R(r#""/run/secrets/garage-admin-token""#),
        "The token of that API.",
    ),
    setting("garage.s3", HTTP, R(r#""http://garage-api.service.prod.consul:3900""#), "Garage's S3 API."),
    setting(
        "garage.k2v",
        HTTP,
        N(r#""http://garage-k2v.service.prod.consul:3904""#),
        "Garage's K2V API. Not used by this version.",
    ),
    setting(
        "garage.web",
        HTTP,
        N(r#""http://garage-web.service.prod.consul:3902""#),
        "Garage's web server. Not used by this version.",
    ),
    setting("garage.region", Text, D(r#""garage""#), "S3's region."),
    setting(
        "garage.service",
        Text,
        D(r#""garage-api""#),
        "S3's service in Consul's catalogue: apps that use a bucket follow it.",
    ),
    setting(
        "garage.key_file",
        File,
        R(r#""/run/secrets/garage-key.json""#),
        "The agent's own S3 key: JSON, `id` (GK and 24 hex digits) and `secret` (64 hex digits). It is imported where Garage does not know it.",
    ),
    setting(
        "garage.ca",
        File,
        N(r#""/etc/terreau/garage-ca.pem""#),
        "The authority of Garage's certificates.",
    ),
    setting(
        "artifacts.host",
        Text,
        N(r#""garage-web.service.prod.consul""#),
        "The host of garage-web as nodes reach it, by default `garage-web.service.<cluster>.consul`. It becomes an alias of the artifacts' bucket.",
    ),
    setting("artifacts.web_port", Port, D("3902"), "Its port."),
    setting(
        "artifacts.bucket",
        Text,
        D(r#""terreau-artifacts""#),
        "The bucket of artifacts: a website that lists nothing.",
    ),
    setting("records.bucket", Text, D(r#""terreau""#), "The private bucket of releases, plans and chains."),
    setting("driver.archive", Text, D(r#""exec""#), "The Nomad driver of apps that are archives."),
    setting("volumes.root", NodePath, D(r#""/mnt/storage""#), "Where volumes lie on the nodes."),
    setting(
        "proxy.kind",
        Choice(&["tricot", "traefik"]),
        D(r#""tricot""#),
        "Whose service tags are written.",
    ),
    setting(
        "proxy.suffix",
        Text,
        R(r#""example.org""#),
        "The domain below which the cluster gives out hosts.",
    ),
    setting(
        "proxy.port",
        Port,
        N("8080"),
        "The proxy's plain HTTP port, where people do not reach it by https (development).",
    ),
    setting(
        "proxy.reaction",
        Span,
        D(r#""3s""#),
        "How long the proxy goes on sending to an instance that has left the catalogue.",
    ),
    setting(
        "proxy.dns_domains",
        List,
        D("[]"),
        "Domains that D53 may edit: routes below them get a `d53-cname` tag.",
    ),
    setting(
        "webhooks.allow",
        List,
        D("[]"),
        "Networks that are not public and that hooks may send to all the same, as `10.83.0.0/16`. Members choose where hooks send to.",
    ),
    setting(
        "policies.people",
        Folder,
        N(r#""/etc/terreau/policies""#),
        "A folder of Cedar policies (*.cedar) instead of the program's own.",
    ),
    setting(
        "metrics.token_file",
        File,
        N(r#""/run/secrets/terreau-metrics-token""#),
        "A token that opens /metrics and nothing else.",
    ),
];

impl Setting {
    /// `nomad.token_file` → `TERREAU_NOMAD_TOKEN_FILE`.
    pub(super) fn variable(&self) -> String {
        format!("TERREAU_{}", self.key.replace('.', "_").to_uppercase())
    }
}

/// `docs/agent.example.toml`.
pub fn example() -> String {
    let mut out = String::from(
        "# The agent's configuration: every setting that there is. A line that is commented out shows a default, or an\n\
         # example where there is none. A setting is taken from `--set key=value`, else from the environment\n\
         # (`nomad.address` is TERREAU_NOMAD_ADDRESS), else from this file, else its default holds.\n\
         # Made from src/agent/settings.rs: `TERREAU_BLESS=1 cargo test agent::`.\n",
    );
    let mut section = "";
    for s in SETTINGS {
        let (table, name) = s.key.split_once('.').unwrap_or(("", s.key));
        if table != section {
            let _ = write!(out, "\n[{table}]\n");
            section = table;
        }
        let (comment, value, note) = match s.absent {
            R(example) => ("", example, " Required."),
            D(default) => ("# ", default, ""),
            N(example) => ("# ", example, " Not set by default."),
        };
        let _ = write!(out, "# {}{note}\n{comment}{name} = {value}\n", s.doc);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_in_the_docs_is_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/agent.example.toml");
        if std::env::var_os("TERREAU_BLESS").is_some() {
            std::fs::write(path, example()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), example(), "TERREAU_BLESS=1 regenerates it");
    }

    #[test]
    fn keys_and_their_variables_are_unique() {
        let mut names: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
