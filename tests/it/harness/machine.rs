//! Further machines of a stack, each with a Consul agent and a Nomad client of its own.

use std::path::Path;
use std::process::Child;

use serde_json::json;
use terreau::sandbox::ports::{Claim, Ports};
use terreau::sandbox::process::{Launch, kill_marked};

use super::{Guard, Stack};

/// A machine that joined a stack. Two Nomad clients must not share one Consul agent: each would take the other's services
/// out of the catalogue.
#[derive(Debug)]
pub struct Machine {
    guard: Guard,
    agents: [Child; 2],
    _claim: Claim,
}

impl Machine {
    /// Joins one of that name, at the stack's own site. It is there once Nomad says so.
    pub fn join(stack: &Stack, name: &str) -> Self {
        let (ports, claim) = Ports::choose().unwrap();
        let first = stack.layout.ports;
        let guard = Guard::begin();
        let dir = &guard.dir;
        let consul = json!({
            "datacenter": stack.cluster(),
            "node_name": name,
            "data_dir": dir.join("consul"),
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "ports": {
                "http": ports.consul_http(), "dns": ports.consul_dns(), "server": ports.consul_server(),
                "serf_lan": ports.consul_serf(), "serf_wan": -1, "grpc": -1, "https": -1,
            },
            "retry_join": [format!("127.0.0.1:{}", first.consul_serf())],
            "disable_update_check": true,
            "check_update_interval": "0s",
            "log_level": "warn",
        });
        std::fs::write(dir.join("consul.json"), consul.to_string()).unwrap();
        let (low, high) = ports.dynamic();
        let nomad = format!(
            r#"region = "{cluster}"
datacenter = "{site}"
name = "{name}"
data_dir = "{data}"
bind_addr = "127.0.0.1"
disable_update_check = true
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
client {{
  enabled = true
  gc_disk_usage_threshold = 99
  gc_inode_usage_threshold = 99
  servers = ["127.0.0.1:{server}"]
  network_interface = "lo"
  min_dynamic_port = {low}
  max_dynamic_port = {high}
  memory_total_mb = 400000
  cpu_total_compute = 400000
  options = {{
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }}
  meta {{
    site = "{site}"
  }}
}}
plugin "raw_exec" {{
  config {{
    enabled = true
  }}
}}
consul {{
  address = "127.0.0.1:{consul}"
  client_auto_join = false
  server_auto_join = false
}}
"#,
            cluster = stack.cluster(),
            site = stack.site(),
            data = dir.join("nomad").display(),
            http = ports.nomad_http(),
            rpc = ports.nomad_rpc(),
            serf = ports.nomad_serf(),
            server = first.nomad_rpc(),
            consul = ports.consul_http(),
        );
        std::fs::write(dir.join("nomad.hcl"), nomad).unwrap();
        let start = |engine: &Path, args: &[&str], what: &str| {
            let program = engine.to_owned();
            let config = dir.join(what).display().to_string();
            let args = args.iter().map(|a| (*a).to_owned()).chain([config]).collect();
            let log = dir.join(format!("{what}.log"));
            Launch { program, args, env: vec![], log }.start(&guard.mark).unwrap()
        };
        let agents = [
            start(&stack.engines.consul.path, &["agent", "-config-file"], "consul.json"),
            start(&stack.engines.nomad.path, &["agent", "-config"], "nomad.hcl"),
        ];
        Self { guard, agents, _claim: claim }
    }

    /// The plug is pulled: its agents and everything that ran below them end at once.
    pub async fn lose(&mut self) {
        let left = kill_marked(&self.guard.mark).await;
        assert!(left.is_empty(), "{left:?} live on");
        for agent in &mut self.agents {
            agent.wait().unwrap();
        }
    }
}
