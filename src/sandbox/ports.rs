//! Ports of one stack: a block of them, chosen once, so that several stacks run side by side. The first port of
//! a block is held open by whoever runs the stack; a block whose first port is taken is somebody else's.
//! Outside of the range that the system gives to outgoing connections, and apart for Nomad's dynamic ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use serde::{Deserialize, Serialize};

use super::SandboxError;

/// How many ports a block holds: our own, and the rest for what Nomad places.
pub const BLOCK: u16 = 400;
/// Where Nomad's dynamic ports begin within a block.
const DYNAMIC: u16 = 40;
const FIRST: u16 = 10_000;

/// The ports of one stack. Kept in `ports.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// The first port of the block; everything else follows from it.
    pub base: u16,
}

macro_rules! port {
    ($($(#[$doc:meta])* $name:ident = $offset:literal;)*) => {
        impl Ports {
            $($(#[$doc])* pub fn $name(self) -> u16 { self.base + $offset })*
            /// Every port of ours with its name, but for the guard.
            pub fn all(self) -> Vec<(&'static str, u16)> {
                vec![$((stringify!($name), self.$name()),)*]
            }
        }
    };
}

port! {
    /// The agent's API.
    api = 1;
    /// The development proxy.
    proxy = 2;
    /// Nomad's HTTP.
    nomad_http = 3;
    /// Nomad's RPC.
    nomad_rpc = 4;
    /// Nomad's gossip.
    nomad_serf = 5;
    /// Consul's HTTP.
    consul_http = 6;
    /// Consul's DNS.
    consul_dns = 7;
    /// Consul's RPC.
    consul_server = 8;
    /// Consul's gossip.
    consul_serf = 9;
    /// Garage's S3.
    s3 = 10;
    /// Garage's RPC.
    garage_rpc = 11;
    /// Garage's websites.
    web = 12;
    /// Garage's admin API.
    garage_admin = 13;
    /// Garage's K2V.
    k2v = 14;
    /// The directory.
    ldap = 15;
    /// A second agent, where a test wants one.
    api_2 = 16;
    /// The agent's git door.
    ssh = 17;
    /// The gateway.
    gateway = 18;
}

impl Ports {
    /// The ports that Nomad may give to tasks: first and last.
    pub fn dynamic(self) -> (u16, u16) {
        (self.base + DYNAMIC, self.base + BLOCK - 1)
    }

    /// Chooses a free block at random, and holds it.
    pub fn choose() -> Result<(Self, Claim), SandboxError> {
        let blocks = (ceiling() - FIRST) / BLOCK;
        let start = rand::random_range(0..blocks);
        for i in 0..blocks {
            let ports = Self { base: FIRST + (start + i) % blocks * BLOCK };
            if let Ok(claim) = ports.hold()
                && ports.all().iter().all(|(_, port)| is_free(*port))
            {
                return Ok((ports, claim));
            }
        }
        Err(SandboxError::Other(format!(
            "no free block of {BLOCK} ports between {FIRST} and {}: stop another stack",
            ceiling()
        )))
    }

    /// Holds a block that was chosen before, against other stacks.
    pub fn hold(self) -> Result<Claim, SandboxError> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, self.base))
            .map(Claim)
            .map_err(|_| SandboxError::PortTaken { port: self.base, what: "held by another stack" })
    }

    /// The loopback address of a port.
    pub fn address(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// The loopback URL of a port.
    pub fn url(port: u16) -> String {
        format!("http://127.0.0.1:{port}")
    }
}

/// Keeps a block ours while it lives.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "held open, never used")] TcpListener);

/// True when nobody listens there.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The first port that the system gives to outgoing connections, or a guess of it.
fn ceiling() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_ascii_whitespace().next()?.parse().ok())
        .filter(|low| *low > FIRST + 10 * BLOCK)
        .unwrap_or(32_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_stacks_never_share_a_port() {
        let (one, _held) = Ports::choose().unwrap();
        let (other, _held_too) = Ports::choose().unwrap();
        assert!(one.base.abs_diff(other.base) >= BLOCK);
        assert!(one.hold().is_err());
    }

    #[test]
    fn our_own_ports_and_the_dynamic_ones_are_apart() {
        let ports = Ports { base: 12_000 };
        let mut own: Vec<u16> = ports.all().into_iter().map(|(_, p)| p).collect();
        assert!(own.iter().all(|p| *p > ports.base && *p < ports.dynamic().0));
        own.sort_unstable();
        own.dedup();
        assert_eq!(own.len(), ports.all().len());
    }
}
