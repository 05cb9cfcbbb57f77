//! Where the directory is and who we are there. Checked once, before any connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::SecretString;
use url::Url;

use super::dn;

/// When LDAP without TLS is permitted. Passwords cross this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlainAllowed {
    /// Only to `localhost`, 127.0.0.0/8 and ::1.
    #[default]
    Loopback,
    /// To any address: the operator declares that the interface is encrypted (WireGuard).
    Declared,
    /// Never.
    Never,
}

/// Whether an `ldap://` connection is raised to TLS before anything else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartTls {
    /// No (`ldaps://` needs none).
    #[default]
    Off,
    /// Yes; a server that cannot is not spoken to.
    Required,
}

/// The directory, and the agent's one account in it.
#[derive(Debug, Clone)]
pub struct DirectoryConfig {
    /// `ldap://host[:389]` or `ldaps://host[:636]`.
    pub url: String,
    /// The suffix of the tree: `dc=example,dc=org`.
    pub base: String,
    /// The service account: `cn=terreau,ou=services,ou=users,<base>`.
    pub bind_dn: String,
    /// Its password.
    pub password: SecretString,
    /// When plain LDAP is permitted.
    pub plain: PlainAllowed,
    /// Whether `ldap://` is raised to TLS.
    pub starttls: StartTls,
    /// PEM file of the authorities to trust; the system's where none is named.
    pub ca: Option<PathBuf>,
    /// Limit for connecting, and for each call.
    pub timeout: Duration,
}

impl DirectoryConfig {
    /// The default limit: Bottin answers from Consul, and a write that waits longer has lost its leader.
    pub const TIMEOUT: Duration = Duration::from_secs(5);

    /// With defaults: plain only on loopback, no STARTTLS, the system's authorities, 5 seconds.
    pub fn new(
        url: impl Into<String>,
        base: impl Into<String>,
        bind_dn: impl Into<String>,
        password: SecretString,
    ) -> Self {
        Self {
            url: url.into(),
            base: base.into(),
            bind_dn: bind_dn.into(),
            password,
            plain: PlainAllowed::default(),
            starttls: StartTls::default(),
            ca: None,
            timeout: Self::TIMEOUT,
        }
    }
}

/// What the configuration comes to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub url: Url,
    pub base: String,
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl Target {
    /// Checks a configuration; the text of an error tells the operator what to change.
    pub fn of(config: &DirectoryConfig) -> Result<Self, String> {
        let url = Url::parse(&config.url).map_err(|e| format!("the directory's URL is no URL: {e}"))?;
        // `ldap` is no special scheme to the URL standard, so a host is not sure to be there.
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the directory's URL has no host")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "the directory's URL holds credentials: put them into bind_dn and password".to_owned()
            );
        }
        let base = dn::canonical(&config.base).map_err(|e| format!("directory base: {e}"))?;
        let encrypted = match (url.scheme(), config.starttls) {
            ("ldaps", _) | ("ldap", StartTls::Required) => true,
            ("ldap", StartTls::Off) => false,
            (other, _) => {
                return Err(format!("the directory's URL starts with {other}:, not ldap: or ldaps:"));
            }
        };
        if !encrypted {
            may_be_plain(config.plain, host)?;
        }
        let tls = if encrypted { Some(trust(config.ca.as_deref())?) } else { None };
        Ok(Self { url, base, tls })
    }
}

fn may_be_plain(plain: PlainAllowed, host: &str) -> Result<(), String> {
    match plain {
        PlainAllowed::Declared => Ok(()),
        PlainAllowed::Loopback if is_loopback(host) => Ok(()),
        PlainAllowed::Loopback | PlainAllowed::Never => Err(format!(
            "LDAP to {host} without TLS would show passwords: use ldaps:// or starttls, or declare that the \
             interface is encrypted"
        )),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// TLS with an explicit provider: which one is the process's default depends on what else is linked in.
fn trust(ca: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, String> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = ca {
        let shown = path.display();
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|e| format!("authorities {shown}: {e}"))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|e| format!("authorities {shown}: {e}"))?;
            roots.add(certificate).map_err(|e| format!("authorities {shown}: {e}"))?;
        }
        if roots.is_empty() {
            return Err(format!("authorities {shown}: no certificate in it"));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err("this system has no certificate authorities: name a PEM file as the directory's ca"
                .to_owned());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS: {e}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> DirectoryConfig {
        DirectoryConfig::new(
            url,
            "dc=ex",
            "cn=t,ou=services,ou=users,dc=ex",
            SecretString::from("p".to_owned()),
        )
    }

    #[test]
    fn plain_ldap_is_refused_unless_on_loopback_or_declared() {
        for url in ["ldap://localhost:389", "ldap://127.0.0.1", "ldap://127.4.5.6:1389", "ldap://[::1]:389"] {
            assert!(Target::of(&config(url)).is_ok(), "{url}");
            let never = DirectoryConfig { plain: PlainAllowed::Never, ..config(url) };
            assert!(Target::of(&never).is_err(), "{url}");
        }
        for url in
            ["ldap://10.83.1.1", "ldap://ldap.example.org", "ldap://localhost.example.org", "ldap://127.evil"]
        {
            assert!(Target::of(&config(url)).unwrap_err().contains("without TLS"), "{url}");
            let declared = DirectoryConfig { plain: PlainAllowed::Declared, ..config(url) };
            assert!(Target::of(&declared).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_no_directory_is_refused_with_the_reason() {
        for (url, why) in [
            ("http://localhost", "not ldap:"),
            ("ldap:///", "no host"),
            ("ldap://u:p@localhost", "credentials"),
            ("localhost:389", "host"),
        ] {
            let error = Target::of(&config(url)).unwrap_err();
            assert!(error.contains(why), "{url}: {error}");
        }
        let base = DirectoryConfig { base: "example".to_owned(), ..config("ldap://localhost") };
        assert!(Target::of(&base).unwrap_err().contains("base"));
        let ca = DirectoryConfig { ca: Some("/nowhere.pem".into()), ..config("ldaps://localhost") };
        assert!(Target::of(&ca).unwrap_err().contains("/nowhere.pem"));
    }

    #[test]
    fn the_password_is_not_shown_for_debugging() {
        let config = DirectoryConfig {
            password: SecretString::from("canary".to_owned()),
            ..config("ldap://localhost")
        };
        assert!(!format!("{config:?}").contains("canary"));
    }
}
