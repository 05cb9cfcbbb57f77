//! Where everything of one stack lies, and the configuration files that its parts read. Pure text and files;
//! starts nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::files::{write_private, write_public};
use super::garage::{self, GarageConfig};
use super::ports::Ports;
use super::proxy::ProxyConfig;
use super::{DirectoryAt, SandboxConfig, SandboxError};

/// The Consul datacenter and Nomad region of a stack.
pub const CLUSTER: &str = "dev";
/// Its only site: a Nomad datacenter.
pub const SITE: &str = "dc1";
/// The directory's base.
pub const BASE_DN: &str = "dc=home,dc=localhost";
/// The host by which websites and artifacts are fetched on one machine (see ENGINES: the alias `localhost`).
pub const ARTIFACT_HOST: &str = "localhost";
/// The bucket that holds artifacts.
pub const ARTIFACT_BUCKET: &str = "terreau-artifacts";

/// How much work Nomad believes that the machine can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capacity {
    /// What it really has.
    #[default]
    Real,
    /// More than any test asks for: tests place many tiny tasks with ordinary reservations.
    Boundless,
}

/// One stack's folder and choices.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The folder that holds everything. Absolute.
    pub dir: PathBuf,
    /// Its ports.
    pub ports: Ports,
    /// The login of the person who may do everything.
    pub user: String,
    /// What Nomad believes.
    pub capacity: Capacity,
}

impl Layout {
    /// Everything that a stack may leave in its folder.
    pub const ENTRIES: [&str; 21] = [
        "agent.toml",
        "consul",
        "consul.json",
        "dev.json",
        "directory",
        "garage",
        "garage-key.json",
        "lock",
        "log",
        "mark",
        "nomad",
        "nomad.hcl",
        "password",
        "people",
        "ports.json",
        "proxy.toml",
        "sandbox.toml",
        "service-password",
        "supervisor.json",
        "volumes",
        "alloc_mounts",
    ];

    /// A part's folder or file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where a part's output goes.
    pub fn log(&self, part: &str) -> PathBuf {
        self.dir.join("log").join(format!("{part}.log"))
    }

    /// The file with the person's password.
    pub fn password_file(&self) -> PathBuf {
        self.path("password")
    }

    /// The file with the password of another person.
    pub fn password_file_of(&self, login: &str) -> PathBuf {
        self.path("people").join(login)
    }

    /// The file with the password of the agent's own directory account.
    pub fn service_password_file(&self) -> PathBuf {
        self.path("service-password")
    }

    /// The agent's own directory account.
    pub fn service_dn() -> String {
        format!("cn=terreau,ou=services,ou=users,{BASE_DN}")
    }

    /// The file with the agent's S3 key: JSON, `id` and `secret`.
    pub fn key_file(&self) -> PathBuf {
        self.path("garage-key.json")
    }

    /// What the embedded Garage is told.
    pub fn garage(&self) -> GarageConfig {
        let p = self.ports;
        GarageConfig {
            data: self.path("garage"),
            s3: Ports::address(p.s3()),
            k2v: Ports::address(p.k2v()),
            web: Ports::address(p.web()),
            admin: Ports::address(p.garage_admin()),
            rpc: Ports::address(p.garage_rpc()),
        }
    }

    /// What the embedded directory is told.
    pub fn directory(&self) -> DirectoryAt {
        DirectoryAt {
            listen: Ports::address(self.ports.ldap()),
            base: BASE_DN.to_owned(),
            data: self.path("directory"),
            user: self.user.clone(),
            password_file: self.password_file(),
            service_password_file: self.service_password_file(),
        }
    }

    /// What the development proxy is told.
    pub fn proxy(&self) -> ProxyConfig {
        let p = self.ports;
        ProxyConfig {
            listen: Ports::address(p.proxy()),
            consul: Ports::url(p.consul_http()),
            web: Ports::address(p.web()),
            garage_admin: Ports::address(p.garage_admin()),
        }
    }

    /// Writes every configuration file, secrets included where they are missing. Idempotent.
    pub fn write(&self) -> Result<(), SandboxError> {
        for folder in ["log", "consul", "nomad", "garage", "volumes"] {
            let path = self.path(folder);
            std::fs::create_dir_all(&path).map_err(SandboxError::file("make", &path))?;
        }
        garage::admin_token(&self.path("garage"))?;
        keep_secret(&self.password_file(), fresh_password)?;
        keep_secret(&self.service_password_file(), fresh_password)?;
        keep_secret(&self.key_file(), fresh_key)?;
        write_public(&self.path("consul.json"), &format!("{:#}\n", self.consul()))?;
        write_public(&self.path("nomad.hcl"), &self.nomad())?;
        let sandbox = SandboxConfig { garage: self.garage(), directory: self.directory() };
        write_public(&self.path("sandbox.toml"), &as_toml(&sandbox)?)?;
        write_public(&self.path("proxy.toml"), &as_toml(&self.proxy())?)?;
        write_public(&self.path("agent.toml"), &as_toml(&self.agent())?)
    }

    fn consul(&self) -> serde_json::Value {
        let p = self.ports;
        json!({
            "server": true,
            "bootstrap_expect": 1,
            "datacenter": CLUSTER,
            "node_name": CLUSTER,
            "node_meta": node_meta(),
            "data_dir": self.path("consul"),
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "ui": true,
            "ports": {
                "http": p.consul_http(), "dns": p.consul_dns(), "server": p.consul_server(),
                "serf_lan": p.consul_serf(), "serf_wan": -1, "grpc": -1, "https": -1,
            },
            "services": self.services(),
            // One machine: elections need no patience for slow links.
            "performance": { "raft_multiplier": 1 },
            // Everything comes from one address here, which the default of 200 does not expect.
            "limits": { "http_max_conns_per_client": 2000 },
            "disable_update_check": true,
            "skip_leave_on_interrupt": true,
            "leave_on_terminate": false,
            // What a failing check says is shown by a deploy that fails; by default it may be kept back for 5 minutes.
            "check_update_interval": "0s",
            "log_level": "warn",
        })
    }

    /// What Nomad does not place, under the names that such clusters give it in the catalogue: apps find it there.
    pub fn catalogue(&self) -> [(&'static str, u16); 5] {
        let p = self.ports;
        [
            ("bottin", p.ldap()),
            ("garage-api", p.s3()),
            ("garage-web", p.web()),
            ("garage-admin", p.garage_admin()),
            ("garage-k2v", p.k2v()),
        ]
    }

    fn services(&self) -> serde_json::Value {
        let service = |(name, port): (&str, u16)| {
            let check = json!({ "tcp": Ports::address(port), "interval": "500ms", "timeout": "2s" });
            json!({ "name": name, "address": "127.0.0.1", "port": port, "tags": [CLUSTER], "check": check })
        };
        self.catalogue().map(service).into_iter().collect()
    }

    fn nomad(&self) -> String {
        let p = self.ports;
        let (first, last) = p.dynamic();
        let line = |(k, v)| format!("    {} = {}\n", quoted(k), quoted(v));
        let meta = node_meta().into_iter().map(line).collect::<Vec<_>>().concat();
        let capacity = match self.capacity {
            Capacity::Real => "",
            Capacity::Boundless => "  memory_total_mb = 400000\n  cpu_total_compute = 400000\n",
        };
        format!(
            r#"# Written by `terreau dev`; changes are lost.
region = {cluster}
datacenter = {site}
name = {cluster}
data_dir = {data}
bind_addr = "127.0.0.1"
disable_update_check = true
leave_on_interrupt = false
leave_on_terminate = false
log_level = "WARN"
ports {{
  http = {http}
  rpc = {rpc}
  serf = {serf}
}}
advertise {{
  http = "127.0.0.1:{http}"
  rpc = "127.0.0.1:{rpc}"
  serf = "127.0.0.1:{serf}"
}}
limits {{
  http_max_conns_per_client = 0
  rpc_max_conns_per_client = 0
}}
server {{
  enabled = true
  bootstrap_expect = 1
  raft_multiplier = 1
  default_scheduler_config {{
    memory_oversubscription_enabled = true
  }}
}}
# Without it a client does not measure its tasks at all, and `terreau top` has nothing to show.
telemetry {{
  publish_allocation_metrics = true
}}
client {{
  enabled = true
  # The machine's disk may be fuller than Nomad's 80 %: ended instances would be gone at once, and with them the last
  # lines of their logs, which say why a deploy failed.
  gc_disk_usage_threshold = 99
  gc_inode_usage_threshold = 99
  servers = ["127.0.0.1:{rpc}"]
  network_interface = "lo"
  min_dynamic_port = {first}
  max_dynamic_port = {last}
  # Clouds are asked at link-local addresses; nothing here may leave the machine.
  options = {{
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }}
{capacity}  meta {{
{meta}  }}
  # The default copies half of /usr for each `exec` task.
  chroot_env = {{
    "/bin" = "/bin"
    "/lib" = "/lib"
    "/lib64" = "/lib64"
    "/etc/passwd" = "/etc/passwd"
    "/usr/bin" = "/usr/bin"
    "/usr/lib/x86_64-linux-gnu" = "/usr/lib/x86_64-linux-gnu"
  }}
}}
plugin "raw_exec" {{
  config {{
    enabled = true
  }}
}}
plugin "docker" {{
  config {{
    volumes {{
      enabled = true
    }}
  }}
}}
consul {{
  address = "127.0.0.1:{consul}"
  client_auto_join = false
  server_auto_join = false
}}
"#,
            cluster = quoted(CLUSTER),
            site = quoted(SITE),
            data = quoted(&self.path("nomad").to_string_lossy()),
            http = p.nomad_http(),
            rpc = p.nomad_rpc(),
            serf = p.nomad_serf(),
            consul = p.consul_http(),
        )
    }

    fn agent(&self) -> serde_json::Value {
        let p = self.ports;
        json!({
            "cluster": CLUSTER,
            "listen": Ports::address(p.api()),
            "sites": [SITE],
            "nomad": { "address": Ports::url(p.nomad_http()) },
            "consul": { "address": Ports::url(p.consul_http()) },
            "directory": {
                "url": format!("ldap://127.0.0.1:{}", p.ldap()),
                "base": BASE_DN,
                "bind_dn": Self::service_dn(),
                "password_file": self.service_password_file(),
                "plain_ok": true,
                "login_group": "login",
                "admin_group": "admin",
            },
            "garage": {
                "admin": Ports::url(p.garage_admin()),
                "admin_token_file": garage::admin_token_file(&self.path("garage")),
                "s3": Ports::url(p.s3()),
                "k2v": Ports::url(p.k2v()),
                "web": Ports::url(p.web()),
                "region": garage::REGION,
                "key_file": self.key_file(),
            },
            "artifacts": { "host": ARTIFACT_HOST, "web_port": p.web(), "bucket": ARTIFACT_BUCKET },
            "driver": { "archive": "raw_exec" },
            "volumes": { "root": self.path("volumes") },
            // Receivers of hooks are tried out on this very machine.
            "webhooks": { "allow": ["127.0.0.0/8", "::1/128"] },
            "proxy": { "suffix": "localhost", "port": p.proxy(), "kind": "tricot", "reaction": "3s" },
        })
    }
}

/// What nodes of such clusters say of themselves, the same in Consul and Nomad.
fn node_meta() -> BTreeMap<&'static str, &'static str> {
    [("site", CLUSTER), ("public_ipv4", "127.0.0.1"), ("cname_target", "localhost.")].into()
}

/// A string of HCL, in which nothing is evaluated.
fn quoted(text: &str) -> String {
    json!(text.replace("${", "$${").replace("%{", "%%{")).to_string()
}

fn as_toml(value: &impl Serialize) -> Result<String, SandboxError> {
    toml::to_string_pretty(value)
        .map_err(|e| SandboxError::Other(format!("cannot write a configuration: {e}")))
}

/// Thirty characters of an alphabet without look-alikes: 146 bits.
pub fn fresh_password() -> String {
    const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
    (0..30).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect()
}

/// An S3 key of our own choice, so that importing it twice is harmless.
fn fresh_key() -> String {
    let id = format!("GK{}", hex::encode(rand::random::<[u8; 12]>()));
    json!({ "id": id, "secret": hex::encode(rand::random::<[u8; 32]>()) }).to_string()
}

pub(super) fn keep_secret(path: &Path, fresh: fn() -> String) -> Result<(), SandboxError> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.len() > 0 => Ok(()),
        Ok(_) => write_private(path, fresh().as_bytes()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => write_private(path, fresh().as_bytes()),
        Err(e) => Err(SandboxError::file("read", path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dir: &Path) -> Layout {
        Layout {
            dir: dir.to_owned(),
            ports: Ports { base: 12_000 },
            user: "me".into(),
            capacity: Capacity::Real,
        }
    }

    #[test]
    fn writing_twice_keeps_the_secrets_and_they_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path());
        layout.write().unwrap();
        let secrets = [layout.password_file(), layout.service_password_file(), layout.key_file()];
        let before = secrets.clone().map(|p| std::fs::read_to_string(p).unwrap());
        layout.write().unwrap();
        assert_eq!(before, secrets.clone().map(|p| std::fs::read_to_string(p).unwrap()));
        for path in secrets {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
        }
    }

    #[test]
    fn no_configuration_file_holds_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path());
        layout.write().unwrap();
        let password = std::fs::read_to_string(layout.password_file()).unwrap();
        for name in ["consul.json", "nomad.hcl", "sandbox.toml", "agent.toml"] {
            let text = std::fs::read_to_string(layout.path(name)).unwrap();
            assert!(!text.contains(&password), "{name}");
        }
    }

    #[test]
    fn a_folder_with_odd_characters_stays_one_string() {
        let text = layout(Path::new("/tmp/a\"b${x}")).nomad();
        assert!(text.contains(r#""/tmp/a\"b$${x}/nomad""#), "{text}");
    }
}
