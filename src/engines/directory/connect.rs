//! One LDAP connection: opening it, calling on it within a limit, and naming what went wrong.
//!
//! Passwords pass through here on their way to the socket and must not reach an error's text.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult};
use secrecy::{ExposeSecret, SecretString};

use super::config::{DirectoryConfig, StartTls, Target};
use crate::engines::{Engine, EngineError, Fault};

/// How much of a server's text is kept, in bytes.
const TEXT_MAX: usize = 300;

/// A call that gave no successful result.
pub(super) enum Failed {
    /// No answer in time.
    Late(Duration),
    /// The library gave up on bytes that are no LDAP (it panics on some).
    Garbage,
    /// What the library says.
    Ldap(LdapError),
}

impl Failed {
    /// True where the connection is of no use any more, whatever is asked of it.
    pub fn ends_connection(&self) -> bool {
        match self {
            Failed::Late(_) | Failed::Garbage => true,
            Failed::Ldap(error) => matches!(
                error,
                LdapError::Io { .. }
                    | LdapError::OpSend { .. }
                    | LdapError::ResultRecv { .. }
                    | LdapError::IdScrubSend { .. }
                    | LdapError::MiscSend { .. }
                    | LdapError::Timeout { .. }
                    | LdapError::EndOfStream
            ),
        }
    }

    /// True where the server closed the connection (idle, restarted) rather than being slow or broken: a
    /// read may be asked again on a new one.
    pub fn connection_was_gone(&self) -> bool {
        self.ends_connection() && matches!(self, Failed::Ldap(_)) && !matches!(self.fault(), Fault::Broken)
    }

    /// The server's result code, where it gave one (RFC 4511, appendix A).
    pub fn code(&self) -> Option<u32> {
        match self {
            Failed::Ldap(LdapError::LdapResult { result }) => Some(result.rc),
            _ => None,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Failed::Late(_) => Fault::Away,
            Failed::Garbage => Fault::Broken,
            Failed::Ldap(error) => match error {
                LdapError::LdapResult { result } => fault_of(result.rc),
                LdapError::DecodingUTF8 | LdapError::Rustls { .. } | LdapError::DNSName { .. } => {
                    Fault::Broken
                }
                LdapError::FilterParsing | LdapError::AddNoValues | LdapError::UrlParsing { .. } => {
                    Fault::Invalid
                }
                _ => Fault::Away,
            },
        }
    }

    /// Our own refusal to bind without a password, as the server would say it (RFC 4511: 49).
    pub fn empty_password() -> Self {
        let (matched, text) = (String::new(), "no password is configured for the service account".to_owned());
        let result = LdapResult { rc: 49, matched, text, refs: Vec::new(), ctrls: Vec::new() };
        Failed::Ldap(LdapError::LdapResult { result })
    }

    /// With its context, for the layers above.
    pub fn while_doing(self, doing: impl Into<String>) -> EngineError {
        let fault = self.fault();
        let message = match self {
            Failed::Late(limit) => format!("no answer within {} s", limit.as_secs_f32()),
            Failed::Garbage => "the answer is not LDAP".to_owned(),
            Failed::Ldap(LdapError::LdapResult { result }) => told(&result),
            // The library tells of its own channels.
            Failed::Ldap(
                LdapError::OpSend { .. }
                | LdapError::ResultRecv { .. }
                | LdapError::IdScrubSend { .. }
                | LdapError::MiscSend { .. }
                | LdapError::EndOfStream,
            ) => "the connection broke before the answer came".to_owned(),
            Failed::Ldap(other) => cut(&other.to_string()),
        };
        EngineError::new(Engine::Directory, fault, doing, message)
    }
}

/// Result codes as callers tell cases apart. Bottin answers 1 (operationsError) when Consul is away.
fn fault_of(rc: u32) -> Fault {
    match rc {
        16 | 20 | 66 | 68 => Fault::Conflict,
        7 | 8 | 13 | 48 | 49 | 50 => Fault::Denied,
        32 => Fault::NotFound,
        51 | 52 => Fault::Away,
        1 | 3 | 4 | 11 | 80 => Fault::Broken,
        _ => Fault::Invalid,
    }
}

fn told(result: &LdapResult) -> String {
    // The library shows code, name and text; a text that repeats a hash to us is withheld.
    let shown = result.to_string();
    if shown.to_ascii_uppercase().contains("{SSHA") {
        return format!("rc={} (the server's text holds a password hash and is withheld)", result.rc);
    }
    cut(&shown)
}

fn cut(text: &str) -> String {
    let end = (0..=text.len().min(TEXT_MAX)).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    text[..end].chars().map(|c| if c.is_ascii_control() { ' ' } else { c }).collect()
}

/// Waits for a call, no longer than the limit, and outlives the library's panics on hostile bytes.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, LdapError>>,
) -> Result<T, Failed> {
    match tokio::time::timeout(limit, AssertUnwindSafe(call).catch_unwind()).await {
        Err(_) => Err(Failed::Late(limit)),
        Ok(Err(_)) => Err(Failed::Garbage),
        Ok(Ok(result)) => result.map_err(Failed::Ldap),
    }
}

/// Opens a connection, raised to TLS where the configuration says so; nobody is bound on it yet.
pub(super) async fn open(config: &DirectoryConfig, target: &Target) -> Result<Ldap, Failed> {
    let mut settings = LdapConnSettings::new().set_conn_timeout(config.timeout);
    if let Some(tls) = &target.tls {
        settings = settings.set_config(tls.clone()).set_starttls(config.starttls == StartTls::Required);
    }
    // Twice the limit, so that the library's own (more exact) text comes first.
    let opening = LdapConnAsync::from_url_with_settings(settings, &target.url);
    let (connection, ldap) = within(config.timeout * 2, opening).await?;
    tokio::spawn(async move {
        // Whoever waits on this connection is told by its own call; this is for the log only.
        if let Err(error) = connection.drive().await {
            tracing::debug!(%error, "the connection to the directory ended");
        }
    });
    Ok(ldap)
}

/// Binds; the caller has made sure that the password is not empty (an empty one is an *anonymous* bind that
/// succeeds on many servers, RFC 4513, 5.1.2).
pub(super) async fn bind(
    ldap: &mut Ldap,
    limit: Duration,
    dn: &str,
    password: &SecretString,
) -> Result<(), Failed> {
    let binding = async { ldap.simple_bind(dn, password.expose_secret()).await?.success() };
    within(limit, binding).await.map(|_| ())
}

/// Says goodbye without waiting long: the answer matters to nobody.
pub(super) async fn close(mut ldap: Ldap) {
    let _ = within(Duration::from_millis(200), ldap.unbind()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rc: u32, text: &str) -> Failed {
        Failed::Ldap(LdapError::LdapResult {
            result: LdapResult {
                rc,
                matched: String::new(),
                text: text.to_owned(),
                refs: Vec::new(),
                ctrls: Vec::new(),
            },
        })
    }

    #[test]
    fn every_result_code_has_its_case() {
        for (rc, fault) in [
            (1, Fault::Broken),
            (16, Fault::Conflict),
            (20, Fault::Conflict),
            (32, Fault::NotFound),
            (34, Fault::Invalid),
            (49, Fault::Denied),
            (50, Fault::Denied),
            (51, Fault::Away),
            (53, Fault::Invalid),
            (65, Fault::Invalid),
            (66, Fault::Conflict),
            (68, Fault::Conflict),
        ] {
            let error = answer(rc, "why").while_doing("add entry cn=x");
            assert_eq!(error.fault, fault, "{rc}");
            assert!(error.to_string().contains("add entry cn=x") && error.message.contains("why"), "{error}");
        }
    }

    #[test]
    fn a_servers_text_is_cut_and_never_repeats_a_hash() {
        let error = answer(65, "no: {ssha512}canary").while_doing("x");
        assert!(!error.message.contains("canary"), "{error}");
        let error = answer(1, &"é\n".repeat(400)).while_doing("x");
        assert!(error.message.len() <= TEXT_MAX && !error.message.contains('\n'));
    }
}
