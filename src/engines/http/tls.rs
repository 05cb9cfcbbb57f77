//! How an engine is reached: time limit, authorities, client certificate. Reads files, opens no connection.

use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::engines::{Engine, EngineError, Fault};

/// How to reach an engine: TLS files and the time limit of a plain call.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// PEM file of the authorities to trust instead of the machine's own.
    pub ca: Option<PathBuf>,
    /// PEM file of our client certificate (with its chain).
    pub client_cert: Option<PathBuf>,
    /// PEM file of its key.
    pub client_key: Option<PathBuf>,
    /// Limit of a whole plain call, from connecting to the last byte. Blocking queries add their wait to it;
    /// streams are bounded by silence instead.
    pub timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { ca: None, client_cert: None, client_key: None, timeout: Duration::from_secs(10) }
    }
}

/// Installs ring as this process's TLS provider. Harmless when done again, or by somebody else before.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The TLS settings of `options`: its authorities (else the machine's) and its client certificate.
///
/// `doing` and `engine` only name the errors.
pub fn tls_config(engine: Engine, options: &HttpOptions) -> Result<rustls::ClientConfig, EngineError> {
    install_crypto();
    let invalid = |message: String| EngineError::new(engine, Fault::Invalid, "read TLS settings", message);
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = &options.ca {
        for cert in CertificateDer::pem_file_iter(path)
            .map_err(|e| invalid(format!("authorities in {}: {e}", path.display())))?
        {
            let cert = cert.map_err(|e| invalid(format!("authorities in {}: {e}", path.display())))?;
            roots.add(cert).map_err(|e| invalid(format!("authorities in {}: {e}", path.display())))?;
        }
        if roots.is_empty() {
            return Err(invalid(format!("{} holds no certificate", path.display())));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    match (&options.client_cert, &options.client_key) {
        (Some(cert), Some(key)) => {
            let chain = CertificateDer::pem_file_iter(cert)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|e| invalid(format!("client certificate {}: {e}", cert.display())))?;
            // The key's own text must not reach a message; the PEM error names only its place.
            let secret = PrivateKeyDer::from_pem_file(key)
                .map_err(|e| invalid(format!("client key {}: {e}", key.display())))?;
            builder
                .with_client_auth_cert(chain, secret)
                .map_err(|e| invalid(format!("client certificate {}: {e}", cert.display())))
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(invalid("a client certificate and its key must be given together".into())),
    }
}
