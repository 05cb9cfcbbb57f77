//! What a rendering must know of the cluster.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::project::seconds;

/// The cluster's settings: the same for every app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// `prod`, `staging`, `dev`: Consul's datacenter and Nomad's region.
    pub name: String,
    /// The sites (Nomad datacenters) that apps run at.
    pub sites: Vec<String>,
    /// Host and port of garage-web as nodes reach it; the artifact bucket's global alias is the host.
    pub artifacts_host: String,
    /// See `artifacts_host`.
    pub artifacts_port: u16,
    /// The driver for archives.
    pub driver_archive: String,
    /// Where volumes lie on a node.
    pub volumes_root: String,
    /// Whose tags are written.
    pub proxy: ProxyKind,
    /// How long the proxy goes on sending to an instance that has left the catalogue.
    #[serde(with = "seconds")]
    pub proxy_reaction: Duration,
    /// The suffix of hosts that the cluster gives out (`localhost` in dev), without a leading dot.
    pub domain: String,
    /// Whether routes also get a `d53-cname` tag, and for which domains.
    pub dns_domains: Vec<String>,
    /// The directory's service in the catalogue (`bottin`). `uses.ldap.url`, `.host` and `.port` are rendered into a
    /// template of their own that follows this service (`{{ with service "bottin" }}…`, `change_mode = "restart"`
    /// with splay), so that a directory that moves is followed without an address in any descriptor.
    pub ldap_service: String,
    /// The directory's base.
    pub ldap_base: String,
    /// Garage's S3 service in the catalogue (`garage-api`); `uses.<bucket>.endpoint` follows it the same way.
    pub s3_service: String,
    /// S3's region.
    pub s3_region: String,
    /// How a person's browser reaches a host: `{host}` is replaced. `https://{host}/`, or `http://{host}:8080/` in dev.
    pub url_pattern: String,
}

/// Whose service tags are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyKind {
    /// `tricot <host>…`
    Tricot,
    /// `traefik.http.routers…`
    Traefik,
}

impl Default for Cluster {
    /// What `terreau render` uses offline where no cluster file is given.
    fn default() -> Self {
        Self {
            name: "prod".to_owned(),
            sites: vec!["dc1".to_owned()],
            artifacts_host: "garage-web.service.prod.consul".to_owned(),
            artifacts_port: 3902,
            driver_archive: "exec".to_owned(),
            volumes_root: "/mnt/storage".to_owned(),
            proxy: ProxyKind::Tricot,
            proxy_reaction: Duration::from_secs(3),
            domain: "example.org".to_owned(),
            dns_domains: Vec::new(),
            ldap_service: "bottin".to_owned(),
            ldap_base: "dc=example,dc=org".to_owned(),
            s3_service: "garage-api".to_owned(),
            s3_region: "garage".to_owned(),
            url_pattern: "https://{host}/".to_owned(),
        }
    }
}

impl Cluster {
    /// True where D53 may edit the host's zone.
    pub fn has_dns(&self, host: &str) -> bool {
        let within =
            |d: &String| host.strip_suffix(d.as_str()).is_some_and(|h| h.is_empty() || h.ends_with('.'));
        self.dns_domains.iter().any(within)
    }

    /// Where a person opens a host.
    pub fn url_of(&self, host: &str) -> String {
        let host = if self.domain == "localhost" && !host.ends_with("localhost") {
            format!("{host}.localhost")
        } else {
            host.to_owned()
        };
        self.url_pattern.replace("{host}", &host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_is_written_for_the_domains_that_d53_may_edit_and_no_others() {
        let cluster = Cluster { dns_domains: vec!["example.org".into()], ..Cluster::default() };
        assert!(cluster.has_dns("example.org"));
        assert!(cluster.has_dns("a.b.example.org"));
        assert!(!cluster.has_dns("badexample.org"));
        assert!(!cluster.has_dns("example.com"));
    }
}
