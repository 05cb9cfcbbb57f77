//! A plain HTTP client for loopback: readiness and set-up of what the sandbox itself started. Never for engines
//! of a real cluster (those have typed clients).

use std::time::Duration;

/// A client that ignores proxies of the environment, with a total timeout a request.
pub fn client(timeout: Duration) -> reqwest::Client {
    // Several parts may try; the first one wins and the others find the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(timeout)
        .build()
        .unwrap_or_else(|_| unreachable!("a client without certificates has nothing to fail on"))
}

/// True when the address answers with a success.
pub async fn answers(client: &reqwest::Client, url: &str) -> bool {
    matches!(client.get(url).send().await, Ok(r) if r.status().is_success())
}

/// The JSON that the address answers with, when it answers with a success.
pub async fn json(client: &reqwest::Client, url: &str) -> Option<serde_json::Value> {
    let reply = client.get(url).send().await.ok()?;
    if !reply.status().is_success() {
        return None;
    }
    reply.json().await.ok()
}
