//! Signs a message and carries it: one POST, to an address that was looked at, and never further.
//!
//! The signature is that of Standard Webhooks 1.0.0
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>, *Signature scheme* and
//! *Webhook headers*): `webhook-signature: v1,<base64 of HMAC-SHA256 over "{id}.{timestamp}.{body}">`, under a secret that
//! people see as `whsec_<base64>`. Answers with 2xx are a yes, anything else is none; redirects are not followed.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::address::{HookUrl, Networks};
use crate::engines::http::install_crypto;

/// From resolving the name to the answer's head.
const LIMIT: Duration = Duration::from_secs(10);
/// So much of an answer is read, and thrown away.
const READ: usize = 16 << 10;
/// What a secret begins with where people see it.
const PREFIX: &str = "whsec_";
/// Bytes of a secret: what the specification allows.
const SECRET: std::ops::RangeInclusive<usize> = 24..=64;

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The answer's status.
    pub status: Option<u16>,
    /// Why it did not arrive; `None`: it did.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// How long the receiver asks to be left alone.
    pub pause: Option<Duration>,
}

/// A secret as people see it: made here.
pub fn fresh_secret() -> SecretString {
    let bytes = Zeroizing::new(rand::random::<[u8; 32]>());
    SecretString::from(format!("{PREFIX}{}", STANDARD.encode(bytes.as_slice())))
}

/// Whether a text is a secret; says what is wanted, and never what was given.
pub fn check_secret(text: &SecretString) -> Result<(), String> {
    match key_of(text) {
        Some(key) if SECRET.contains(&key.len()) => Ok(()),
        _ => Err(format!("wanted is {PREFIX} and {} to {} bytes in base64", SECRET.start(), SECRET.end())),
    }
}

fn key_of(secret: &SecretString) -> Option<Zeroizing<Vec<u8>>> {
    let text = secret.expose_secret().trim().strip_prefix(PREFIX)?;
    STANDARD.decode(text).ok().map(Zeroizing::new)
}

/// The signature of a message. Neither the id nor the time holds a full stop.
fn signature(secret: &SecretString, id: &str, seconds: i64, body: &str) -> Option<String> {
    let key = key_of(secret)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body.as_bytes());
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// Answers with the addresses that were looked at, whatever is asked for: nothing is resolved a second time.
struct Pinned(Vec<SocketAddr>);

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// Carries messages. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Courier(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    allowed: Networks,
    tls: OnceLock<rustls::ClientConfig>,
}

impl Courier {
    /// One that may also reach these networks.
    pub fn new(allowed: Networks) -> Self {
        Self(Arc::new(Inner { allowed, tls: OnceLock::new() }))
    }

    /// Whether a URL can be sent to now.
    pub async fn look(&self, url: &HookUrl) -> Result<(), String> {
        url.addresses(&self.0.allowed).await.map(drop)
    }

    /// Sends a message once.
    pub async fn send(
        &self,
        url: &str,
        secret: &SecretString,
        id: &str,
        at: jiff::Timestamp,
        body: &str,
    ) -> Sent {
        let begun = Instant::now();
        let tried = tokio::time::timeout(LIMIT, self.try_once(url, secret, id, at, body)).await;
        let (status, error, pause) = match tried {
            Ok(Ok((status, pause))) => {
                let error = match status {
                    200..=299 => None,
                    300..=399 => Some(format!("it answered {status}: redirects are not followed")),
                    _ => Some(format!("it answered {status}")),
                };
                (Some(status), error, pause)
            }
            Ok(Err(why)) => (None, Some(why), None),
            Err(_) => (None, Some(format!("no answer within {} s", LIMIT.as_secs())), None),
        };
        Sent { status, error, took: begun.elapsed(), pause }
    }

    async fn try_once(
        &self,
        url: &str,
        secret: &SecretString,
        id: &str,
        at: jiff::Timestamp,
        body: &str,
    ) -> Result<(u16, Option<Duration>), String> {
        let url = HookUrl::new(url)?;
        let addresses = url.addresses(&self.0.allowed).await?;
        let seconds = at.as_second();
        let signed = signature(secret, id, seconds, body).ok_or("its secret cannot be read")?;
        // One for each try: what is kept of a connection might lead elsewhere by the next.
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(self.tls())
            .dns_resolver(Pinned(addresses))
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|e| words(&e))?;
        let request = client
            .post(url.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("terreau/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signed)
            .body(body.to_owned());
        let mut answer = request.send().await.map_err(|e| words(&e.without_url()))?;
        let status = answer.status().as_u16();
        let pause = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        // What it says is nobody's business, and would tell of whatever answers there.
        let mut read = 0;
        while let Ok(Some(chunk)) = answer.chunk().await {
            read += chunk.len();
            if read > READ {
                break;
            }
        }
        Ok((status, pause.map(Duration::from_secs)))
    }

    /// Reading the machine's authorities takes milliseconds: once.
    fn tls(&self) -> rustls::ClientConfig {
        let made = self.0.tls.get_or_init(|| {
            install_crypto();
            let mut roots = rustls::RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
        });
        made.clone()
    }
}

/// The last cause of an error: what went wrong, without where.
fn words(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let plain: String =
        cause.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    if error.is_connect() { format!("it cannot be reached: {plain}") } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_signed_as_the_specification_says() {
        // The example of the specification's own libraries.
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let (id, at) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
        let made = signature(&secret, id, at, r#"{"test": 2432232314}"#).unwrap();
        assert_eq!(made, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_of_the_right_form_and_a_wrong_one_is_not_repeated() {
        check_secret(&fresh_secret()).unwrap();
        for wrong in ["canary", "whsec_", "whsec_canary!", "whsec_AAAA"] {
            let why = check_secret(&SecretString::from(wrong)).unwrap_err();
            assert!(!why.contains("canary"), "{why}");
        }
    }
}
