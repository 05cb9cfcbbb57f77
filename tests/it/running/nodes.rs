//! A node that is lost with all that ran on it: the app goes on elsewhere, and people are told.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use terreau::sandbox::engines::Engines;
use terreau::sandbox::ports::{Claim, Ports};

use super::{App, PATIENCE};
use crate::harness::{Stack, StackOptions, eventually};

/// A second machine of a stack: a Consul agent and a Nomad client, joined to the first.
struct Machine {
    consul: Child,
    nomad: Child,
    _claim: Claim,
    dir: tempfile::TempDir,
}

/// What a machine's processes write goes into a file of its folder.
fn begin(mut command: Command, log: PathBuf) -> Child {
    let out = std::fs::File::create(log).unwrap();
    command.env_remove("AWS_CA_BUNDLE").stdin(Stdio::null());
    command.stderr(out.try_clone().unwrap()).stdout(out).spawn().unwrap()
}

impl Machine {
    fn join(stack: &Stack, name: &str) -> Self {
        let engines = Engines::find(std::path::Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let (ports, claim) = Ports::choose().unwrap();
        let first = stack.layout.ports;
        let dir = tempfile::tempdir().unwrap();
        let consul = json!({
            "datacenter": stack.cluster(),
            "node_name": name,
            "data_dir": dir.path().join("consul"),
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
        std::fs::write(dir.path().join("consul.json"), consul.to_string()).unwrap();
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
            data = dir.path().join("nomad").display(),
            http = ports.nomad_http(),
            rpc = ports.nomad_rpc(),
            serf = ports.nomad_serf(),
            server = first.nomad_rpc(),
            consul = ports.consul_http(),
        );
        std::fs::write(dir.path().join("nomad.hcl"), nomad).unwrap();
        let mut command = Command::new(&engines.consul.path);
        command.args(["agent", "-config-file"]).arg(dir.path().join("consul.json"));
        let consul = begin(command, dir.path().join("consul.log"));
        let mut command = Command::new(&engines.nomad.path);
        command.args(["agent", "-config"]).arg(dir.path().join("nomad.hcl"));
        let nomad = begin(command, dir.path().join("nomad.log"));
        Self { consul, nomad, _claim: claim, dir }
    }

    /// The plug is pulled: its agents and everything that ran below them end at once.
    fn lose(&mut self) {
        let below = descendants(self.nomad.id());
        for child in [&mut self.consul, &mut self.nomad] {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        for pid in below {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.lose();
        if std::thread::panicking() {
            for log in ["consul.log", "nomad.log"] {
                eprintln!(
                    "{log}:\n{}",
                    std::fs::read_to_string(self.dir.path().join(log)).unwrap_or_default()
                );
            }
        }
        // What Nomad mounted for tasks must not outlive the folder.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = self.dir.path().to_string_lossy().into_owned();
        for mount in mounts.lines().filter_map(|l| l.split(' ').nth(1)).filter(|m| m.starts_with(&own)) {
            let _ = Command::new("umount").args(["-l", mount]).status();
        }
    }
}

/// Every process below this one.
fn descendants(of: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let all: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let (mut found, mut at) = (vec![of], 0);
    while at < found.len() {
        let above = found[at];
        found.extend(all.iter().filter(|(_, p)| *p == above).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

/// The instance of `web` in a status, where there is one only.
fn instance(status: &Value) -> Option<Value> {
    let all = status["instances"].as_array()?;
    let mut web = all.iter().filter(|i| i["process"] == "web" && i["state"] == "healthy");
    web.next().filter(|_| web.next().is_none()).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_64_an_app_whose_node_is_lost_goes_on_at_another() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::start(StackOptions::with_agent()).await));
    let mut second = Machine::join(stack, "attic");
    let it = App::new(stack, "moved");
    let nodes = async || it.nomad("/v1/nodes").await.as_array().unwrap().clone();
    let attic = eventually("the second node is ready", PATIENCE, async || {
        let all = nodes().await;
        all.into_iter().find(|n| {
            n["Name"] == "attic" && n["Status"] == "ready" && n["Drivers"]["raw_exec"]["Healthy"] == true
        })
    })
    .await;
    let first = nodes().await.into_iter().find(|n| n["Name"] != "attic").unwrap();
    let eligible = async |word: &str| {
        let url = format!("{}/v1/node/{}/eligibility", stack.nomad(), first["ID"].as_str().unwrap());
        let reply = stack.http().put(url).json(&json!({"Eligibility": word})).send().await.unwrap();
        assert!(reply.status().is_success());
    };
    eligible("ineligible").await;
    it.expect(0, &["deploy"]);
    it.until_page(200).await;
    let there = eventually("one instance is healthy", PATIENCE, async || instance(&it.status())).await;
    assert_eq!((&there["node"], &there["site"]), (&json!("attic"), &json!(stack.site())), "{there}");
    eligible("eligible").await;

    second.lose();
    // It is not said to be well while Nomad still waits for the node's heartbeat.
    let status = eventually("the loss is seen", PATIENCE, async || {
        let status = it.status();
        (instance(&status).is_none()).then_some(status)
    })
    .await;
    assert_ne!(status["status"], "running", "{status}");
    let moved = eventually("it goes on at the other node", PATIENCE, async || instance(&it.status())).await;
    assert_eq!(moved["node"], first["Name"], "{moved}");
    it.until_page(200).await;
    let status = eventually("all of it runs", PATIENCE, async || {
        let status = it.status();
        (status["status"] == "running").then_some(status)
    })
    .await;
    assert_ne!(moved["id"], there["id"], "{status}");
    let events = it.expect(0, &["events"]).out;
    assert!(events.contains("node attic is lost"), "people see why: {events}");
    println!("{events}\n{}", it.expect(0, &["ps"]).out);
    assert!(attic["ID"].is_string());
}
