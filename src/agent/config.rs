//! The agent's configuration: one struct, read from flags, environment, file and defaults, every fault at once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::source::{ConfigError, Reader, Sources};
use crate::access::{AccessConfig, Policies};
use crate::deploy::hooks::Networks;
use crate::engines::directory::{DirectoryConfig, PlainAllowed, StartTls};
use crate::engines::http::HttpOptions;
use crate::model::Cluster;
use crate::model::cluster::ProxyKind;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Lines,
    /// For programs.
    Json,
}

/// How one HTTP engine is reached.
#[derive(Debug, Clone)]
pub struct EngineAt {
    /// Its address.
    pub address: String,
    /// Its token, where it wants one.
    pub token: Option<SecretString>,
    /// TLS and time limit.
    pub options: HttpOptions,
}

/// How Garage is reached.
#[derive(Debug, Clone)]
pub struct GarageAt {
    /// The admin API.
    pub admin: String,
    /// Its token.
    pub admin_token: SecretString,
    /// The S3 API.
    pub s3: String,
    /// S3's region.
    pub region: String,
    /// Id of the agent's own key.
    pub key_id: String,
    /// Its secret.
    pub key_secret: SecretString,
    /// The bucket of artifacts.
    pub artifacts: String,
    /// The bucket of records.
    pub records: String,
    /// TLS and time limit.
    pub options: HttpOptions,
}

/// Everything that the agent is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// How it is called.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it serves maintenance pages; `None`: nowhere.
    pub pages: Option<SocketAddr>,
    /// How it logs.
    pub log_format: LogFormat,
    /// What it logs.
    pub log_level: String,
    /// What renderings know of the cluster.
    pub cluster: Cluster,
    /// Nomad.
    pub nomad: EngineAt,
    /// Consul.
    pub consul: EngineAt,
    /// The directory.
    pub directory: DirectoryConfig,
    /// Garage.
    pub garage: GarageAt,
    /// Logins.
    pub access: AccessConfig,
    /// What people may do.
    pub law: Arc<Policies>,
    /// Opens `/metrics` and nothing else.
    pub metrics_token: Option<SecretString>,
    /// Networks that hooks may send to, besides public addresses.
    pub webhooks: Networks,
}

impl Config {
    /// Reads it. The error lists every fault of every source.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut r = Reader::gather(sources);
        let config = read(&mut r);
        match config {
            Some(config) if r.faults.is_empty() => Ok(config),
            _ => Err(ConfigError(r.faults)),
        }
    }
}

/// Asks for every setting before anything is given up: `?` comes last.
fn read(r: &mut Reader) -> Option<Config> {
    let name = r.text("name").unwrap_or_else(host_name);
    let listen = r.text("listen").and_then(|a| a.parse().ok());
    let pages = r.text("maintenance.listen").and_then(|a| a.parse().ok());
    let log_format = r.text("log.format");
    let log_level = r.text("log.level");
    if let Some(level) = &log_level
        && let Err(e) = level.parse::<tracing_subscriber::filter::Targets>()
    {
        r.wrong("log.level", e.to_string());
    }
    let session = r.span("login.session");
    let nomad = http_engine(r, &["nomad.address", "nomad.token_file", "nomad.ca", "nomad.cert", "nomad.key"]);
    let consul =
        http_engine(r, &["consul.address", "consul.token_file", "consul.ca", "consul.cert", "consul.key"]);
    let directory = directory(r);
    let login_group = r.text("directory.login_group");
    let admin_group = r.text("directory.admin_group");
    let garage = garage(r);
    let law = match r.path("policies.people") {
        None => Some(Policies::built_in()),
        Some(folder) => match Policies::from_folder(&folder) {
            Ok(law) => Some(law),
            Err(e) => {
                r.wrong("policies.people", e.to_string());
                None
            }
        },
    };
    let metrics_token = r.content("metrics.token_file");
    let webhooks = r.list("webhooks.allow").and_then(|texts| match Networks::new(&texts) {
        Ok(networks) => Some(networks),
        Err(why) => {
            r.wrong("webhooks.allow", why);
            None
        }
    });
    let cluster = cluster(r);
    Some(Config {
        name,
        listen: listen?,
        pages: pages
            .or(listen.map(|l: SocketAddr| SocketAddr::new(l.ip(), 0)))
            .filter(|p| !p.ip().is_unspecified()),
        log_format: if log_format? == "json" { LogFormat::Json } else { LogFormat::Lines },
        log_level: log_level?,
        cluster: cluster?,
        nomad: nomad?,
        consul: consul?,
        directory: directory?,
        garage: garage?,
        access: AccessConfig { login_group, admin_group: admin_group?, session: session? },
        law: law?,
        metrics_token,
        webhooks: webhooks?,
    })
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn http_engine(r: &mut Reader, keys: &[&'static str; 5]) -> Option<EngineAt> {
    let [address, token, ca, cert, key] = *keys;
    let at = r.text(address);
    let token = r.content(token);
    let options = HttpOptions {
        ca: r.path(ca),
        client_cert: r.path(cert),
        client_key: r.path(key),
        ..HttpOptions::default()
    };
    if options.client_cert.is_some() != options.client_key.is_some() {
        r.wrong(if options.client_cert.is_some() { cert } else { key }, "certificate and key go together");
    }
    Some(EngineAt { address: at?, token, options })
}

fn directory(r: &mut Reader) -> Option<DirectoryConfig> {
    let url = r.text("directory.url");
    let base = r.text("directory.base");
    let bind_dn = r
        .text("directory.bind_dn")
        .or_else(|| Some(format!("cn=terreau,ou=services,ou=users,{}", base.as_ref()?)));
    let password = r.content("directory.password_file");
    let plain_ok = r.switch("directory.plain_ok");
    let starttls = r.switch("directory.starttls");
    let ca = r.path("directory.ca");
    let mut config = DirectoryConfig::new(url?, base?, bind_dn?, password?);
    config.plain = if plain_ok? { PlainAllowed::Declared } else { PlainAllowed::Loopback };
    config.starttls = if starttls? { StartTls::Required } else { StartTls::Off };
    config.ca = ca;
    if let Err(e) = crate::engines::directory::Directory::new(config.clone()) {
        r.wrong("directory.url", e.message);
    }
    Some(config)
}

/// The content of `garage.key_file`.
#[derive(serde::Deserialize)]
struct KeyFile {
    id: String,
    secret: String,
}

fn garage(r: &mut Reader) -> Option<GarageAt> {
    let admin = r.text("garage.admin");
    let admin_token = r.content("garage.admin_token_file");
    let s3 = r.text("garage.s3");
    // Read by other rooms when they are built; checked here, so that a wrong one is told now.
    let _ = (r.text("garage.k2v"), r.text("garage.web"));
    let region = r.text("garage.region");
    let key = r.content("garage.key_file");
    let key = key.and_then(|text| key_file(r, &text));
    let ca = r.path("garage.ca");
    let artifacts = r.text("artifacts.bucket");
    let records = r.text("records.bucket");
    if artifacts.is_some() && artifacts == records {
        r.wrong("records.bucket", "is the bucket of artifacts, which the cluster's nodes read without a key");
    }
    let (key_id, key_secret) = key?;
    Some(GarageAt {
        admin: admin?,
        admin_token: admin_token?,
        s3: s3?,
        region: region?,
        key_id,
        key_secret,
        artifacts: artifacts?,
        records: records?,
        // With one of three nodes left Garage answers a write after 6.5 s.
        options: HttpOptions { ca, timeout: Duration::from_secs(15), ..HttpOptions::default() },
    })
}

fn key_file(r: &mut Reader, text: &SecretString) -> Option<(String, SecretString)> {
    use secrecy::ExposeSecret;
    let is_hex = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_hexdigit());
    match serde_json::from_str::<KeyFile>(text.expose_secret()) {
        Ok(key) if key.id.strip_prefix("GK").is_some_and(|id| is_hex(id, 24)) && is_hex(&key.secret, 64) => {
            Some((key.id, SecretString::from(key.secret)))
        }
        // The parser's own words would repeat what stands in the file.
        _ => {
            r.wrong(
                "garage.key_file",
                r#"wanted is {"id": "GK + 24 hex digits", "secret": "64 hex digits"}"#,
            );
            None
        }
    }
}

fn cluster(r: &mut Reader) -> Option<Cluster> {
    let name = r.text("cluster");
    let sites = r.list("sites");
    let host =
        r.text("artifacts.host").or_else(|| Some(format!("garage-web.service.{}.consul", name.as_ref()?)));
    let artifacts_port = r.port("artifacts.web_port");
    let driver_archive = r.text("driver.archive");
    let volumes_root = r.text("volumes.root");
    let proxy = r.text("proxy.kind");
    let proxy_reaction = r.span("proxy.reaction");
    let domain = r.text("proxy.suffix");
    let dns_domains = r.list("proxy.dns_domains");
    let port = r.port("proxy.port");
    let (ldap_service, s3_service) = (r.text("directory.service"), r.text("garage.service"));
    let (ldap_base, s3_region) = (r.text("directory.base"), r.text("garage.region"));
    Some(Cluster {
        name: name?,
        sites: sites?,
        artifacts_host: host?,
        artifacts_port: artifacts_port?,
        driver_archive: driver_archive?,
        volumes_root: volumes_root?,
        proxy: if proxy? == "traefik" { ProxyKind::Traefik } else { ProxyKind::Tricot },
        proxy_reaction: proxy_reaction?,
        domain: domain?.trim_start_matches('.').to_owned(),
        dns_domains: dns_domains?,
        ldap_service: ldap_service?,
        ldap_base: ldap_base?,
        s3_service: s3_service?,
        s3_region: s3_region?,
        url_pattern: port.map_or("https://{host}/".to_owned(), |port| format!("http://{{host}}:{port}/")),
    })
}

/// Where the configuration is looked for when nobody says.
pub fn default_file() -> PathBuf {
    PathBuf::from("/etc/terreau/agent.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole configuration in a folder, as `terreau dev` writes one.
    fn whole(folder: &std::path::Path) -> PathBuf {
        let put = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        put("password", "canary-password\n");
        put("token", "canary-token");
        let key = format!(r#"{{"id":"GK{}","secret":"{}"}}"#, "0".repeat(24), "a".repeat(64));
        put("key.json", &key);
        put(
            "agent.toml",
            r#"
cluster = "dev"
listen = "127.0.0.1:0"
sites = ["dc1"]
[nomad]
address = "http://127.0.0.1:4646"
[consul]
address = "http://127.0.0.1:8500"
[directory]
url = "ldap://127.0.0.1:389"
base = "dc=home,dc=localhost"
password_file = "password"
plain_ok = true
[garage]
admin = "http://127.0.0.1:3903"
admin_token_file = "token"
s3 = "http://127.0.0.1:3900"
key_file = "key.json"
[artifacts]
host = "localhost"
web_port = 3902
[driver]
archive = "raw_exec"
[proxy]
suffix = "localhost"
port = 8080
reaction = "500ms"
"#,
        );
        folder.join("agent.toml")
    }

    fn sources(file: PathBuf) -> Sources {
        Sources { file: Some(file), ..Sources::default() }
    }

    #[test]
    fn what_terreau_dev_writes_is_read_and_shows_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::load(&sources(whole(folder.path()))).unwrap();
        assert_eq!(config.cluster.url_pattern, "http://{host}:8080/");
        assert_eq!(config.cluster.proxy_reaction, Duration::from_millis(500));
        assert_eq!(config.directory.bind_dn, "cn=terreau,ou=services,ou=users,dc=home,dc=localhost");
        let shown = format!("{config:?}");
        assert!(!shown.contains("canary") && !shown.contains(&"a".repeat(64)), "{shown}");
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut sources = sources(whole(folder.path()));
        let listen = |sources: &Sources| Config::load(sources).unwrap().listen.port();
        assert_eq!(listen(&sources), 0);
        sources.env = vec![("TERREAU_LISTEN".to_owned(), "127.0.0.1:2".to_owned())];
        assert_eq!(listen(&sources), 2);
        sources.flags = vec![("listen".to_owned(), "127.0.0.1:3".to_owned())];
        assert_eq!(listen(&sources), 3);
    }

    #[test]
    fn pt_77_every_wrong_key_is_told_at_once_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = whole(folder.path());
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text
            .replace("web_port = 3902", "web_port = 99999")
            .replace("reaction = \"500ms\"", "reaction = \"soon\"")
            .replace("plain_ok = true", "plain_ok = \"canary\"")
            .replace("key_file = \"key.json\"", "key_file = \"nowhere.json\"")
            .replace("sites = [\"dc1\"]\n", "")
            .replace("[driver]\narchive", "[driver]\narchiv");
        std::fs::write(&file, text).unwrap();
        let mut sources = sources(file);
        sources.env = vec![
            ("TERREAU_NOMAD_ADRESS".to_owned(), "http://x".to_owned()),
            ("TERREAU_CONSUL_ADDRESS".to_owned(), "ftp://x".to_owned()),
            ("TERREAU_SERVER".to_owned(), "somebody else's".to_owned()),
        ];
        let error = Config::load(&sources).unwrap_err();
        let told = error.to_string();
        for wanted in [
            "artifacts.web_port: is 99999",
            "proxy.reaction: wanted is a time",
            "directory.plain_ok: is a text",
            "garage.key_file:",
            "sites: is missing",
            "driver.archiv: there is no such setting; did you mean driver.archive?",
            "agent.toml:22:1",
            "TERREAU_NOMAD_ADRESS: there is no such setting; did you mean TERREAU_NOMAD_ADDRESS?",
            "consul.address: wanted is a URL that begins with http:// or https:// (TERREAU_CONSUL_ADDRESS)",
        ] {
            assert!(told.contains(wanted), "{wanted}\nnot in\n{told}");
        }
        assert_eq!(error.0.len(), 8, "{told}");
        assert!(!told.contains("canary"), "{told}");
    }

    #[test]
    fn text_that_is_no_toml_is_told_with_its_line_beside_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let file = whole(folder.path());
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("cluster = = 3\n{}", text.replace("cluster = \"dev\"", ""))).unwrap();
        let told = Config::load(&sources(file)).unwrap_err().to_string();
        assert!(told.contains("agent.toml:1:"), "{told}");
    }

    #[test]
    fn an_empty_configuration_names_every_setting_that_is_required() {
        let error = Config::load(&Sources::default()).unwrap_err();
        let keys: Vec<&str> = error.0.iter().map(|f| f.key.as_str()).collect();
        for wanted in ["cluster", "sites", "directory.url", "directory.base", "garage.s3", "proxy.suffix"] {
            assert_eq!(keys.iter().filter(|k| **k == wanted).count(), 1, "{wanted} in {keys:?}");
        }
    }
}
