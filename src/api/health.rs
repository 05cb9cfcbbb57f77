//! `/healthz`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::Api;
use super::caller::{Caller, bearer};
use super::problem::{Answer, Fail};
use crate::access::{Decision, Object, Verb, decide};
use crate::engines::consul::Consul;
use crate::engines::directory::Directory;
use crate::engines::garage::Admin;
use crate::engines::nomad::Nomad;
use crate::engines::{Engine, EngineError, Fault};
use crate::model::wire::{Problem, Readiness};

/// An engine that takes longer is not ready.
const PATIENCE: Duration = Duration::from_secs(2);
/// Anybody may ask, so the engines are asked at most once in this time.
const REMEMBERED: Duration = Duration::from_secs(1);

/// Asks each engine whether it is there.
#[derive(Clone)]
pub struct Probes {
    nomad: Nomad,
    consul: Consul,
    directory: Directory,
    account: String,
    garage: Admin,
    prepared: watch::Receiver<bool>,
    last: Arc<Mutex<Option<(Instant, Readiness)>>>,
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probes")
    }
}

impl Probes {
    /// Probes of these engines; `account` is the agent's own DN, whose entry it reads. `prepared` turns true when
    /// the agent has its key and its buckets.
    pub fn new(
        nomad: Nomad,
        consul: Consul,
        directory: Directory,
        account: String,
        garage: Admin,
        prepared: watch::Receiver<bool>,
    ) -> Self {
        Self { nomad, consul, directory, account, garage, prepared, last: Arc::default() }
    }

    async fn ask(&self) -> Readiness {
        let mut last = self.last.lock().await;
        if let Some((at, readiness)) = &*last
            && at.elapsed() < REMEMBERED
        {
            return readiness.clone();
        }
        let (nomad, consul, directory, garage) = tokio::join!(
            probe(async { Ok(self.nomad.leader().await?.map_or("has no leader", |_| "ok")) }),
            probe(async { Ok(self.consul.leader().await?.map_or("has no leader", |_| "ok")) }),
            probe(async {
                let account = self.directory.get(&self.account).await?;
                Ok(account.map_or("does not show the agent's account", |_| "ok"))
            }),
            probe(async {
                let health = self.garage.health().await?;
                Ok(match (health.writes(), *self.prepared.borrow()) {
                    (false, _) => "has no write quorum",
                    (true, false) => "does not hold the agent's buckets yet",
                    (true, true) => "ok",
                })
            }),
        );
        let engines: BTreeMap<String, String> = [
            (Engine::Nomad, nomad),
            (Engine::Consul, consul),
            (Engine::Directory, directory),
            (Engine::Garage, garage),
        ]
        .map(|(engine, state)| (engine.to_string(), state.to_owned()))
        .into();
        let readiness = Readiness { ready: engines.values().all(|s| s == "ok"), engines };
        *last = Some((Instant::now(), readiness.clone()));
        readiness
    }
}

/// In words for strangers: no address and no text of the engine's.
async fn probe(asking: impl Future<Output = Result<&'static str, EngineError>>) -> &'static str {
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Ok(state)) => state,
        Ok(Err(e)) => {
            tracing::debug!(error = %e, "an engine is not ready");
            match e.fault {
                Fault::Denied => "refuses the agent's credentials",
                Fault::Away => "does not answer",
                _ => "answers wrongly",
            }
        }
        Err(_) => "does not answer in time",
    }
}

/// Alive.
#[utoipa::path(get, path = "/healthz", tag = "agent", security(()), responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready: every engine answers. Names each.
#[utoipa::path(get, path = "/readyz", tag = "agent", security(()), responses(
    (status = 200, body = Readiness),
    (status = 503, body = Readiness),
))]
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let readiness = Box::pin(api.probes.ask()).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(readiness)).into_response()
}

/// The agent's figures, in the OpenMetrics text format. Needs a session, or the token of the configuration.
#[utoipa::path(get, path = "/metrics", tag = "agent", responses(
    (status = 200, body = String, content_type = "application/openmetrics-text"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn metrics(State(api): State<Api>, request: Request) -> Answer<Response> {
    use axum::extract::FromRequestParts;
    let (mut parts, _) = request.into_parts();
    let by_token = match (&api.metrics_token, bearer(&parts)) {
        (Some(token), Some(given)) => {
            bool::from(token.expose_secret().as_bytes().ct_eq(given.expose_secret().as_bytes()))
        }
        _ => false,
    };
    if !by_token {
        let caller = Caller::from_request_parts(&mut parts, &api).await?;
        let decision = decide(&caller.session.subject, Verb::Metrics, &Object::Cluster);
        if decision != Decision::Allowed {
            return Err(Fail::decided(decision, "the agent's figures"));
        }
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], api.metrics.encode()).into_response())
}
