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
use crate::engines::nomad::{JobDetail, Nomad};
use crate::engines::{Engine, EngineError, Fault};
use crate::model::wire::{Problem, Readiness};
use crate::operation::AgentSession;
use crate::store::Objects;

/// An engine that takes longer is not ready.
const PATIENCE: Duration = Duration::from_secs(2);
/// Anybody may ask, so the engines are asked at most once in this time.
const REMEMBERED: Duration = Duration::from_secs(1);

/// How far the agent's own key and buckets in Garage are.
#[derive(Debug, Clone)]
pub enum Prepared {
    /// They are not there yet; what stood in the way last.
    NotYet(Option<EngineError>),
    /// They are there.
    Yes,
}

/// What is asked.
#[derive(Debug)]
pub struct Probed {
    /// Nomad.
    pub nomad: Nomad,
    /// Consul.
    pub consul: Consul,
    /// The agent's session there: without it nothing can be changed.
    pub session: AgentSession,
    /// The directory.
    pub directory: Directory,
    /// The agent's own DN, whose entry it reads.
    pub account: String,
    /// Garage's admin API.
    pub garage: Admin,
    /// The agent's own bucket, over S3.
    pub objects: Objects,
    /// Whether the agent has its key and its buckets.
    pub prepared: watch::Receiver<Prepared>,
}

/// Asks each engine whether it is there.
#[derive(Clone)]
pub struct Probes {
    probed: Arc<Probed>,
    last: Arc<Mutex<Option<(Instant, Readiness)>>>,
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probes")
    }
}

impl Probes {
    /// Probes of these engines.
    pub fn new(probed: Probed) -> Self {
        Self { probed: Arc::new(probed), last: Arc::default() }
    }

    /// The state of each engine, as of this second.
    pub async fn ask(&self) -> Readiness {
        let mut last = self.last.lock().await;
        if let Some((at, readiness)) = &*last
            && at.elapsed() < REMEMBERED
        {
            return readiness.clone();
        }
        let probed = &self.probed;
        let (nomad, consul, directory, garage) = tokio::join!(
            probe(probed.nomad()),
            probe(probed.consul()),
            probe(probed.directory()),
            probe(probed.garage())
        );
        let engines: BTreeMap<String, String> = [
            (Engine::Nomad, nomad),
            (Engine::Consul, consul),
            (Engine::Directory, directory),
            (Engine::Garage, garage),
        ]
        .map(|(engine, state)| (engine.to_string(), state))
        .into();
        let readiness = Readiness { ready: engines.values().all(|s| s == "ok"), engines };
        *last = Some((Instant::now(), readiness.clone()));
        readiness
    }
}

type Told = Result<&'static str, EngineError>;

impl Probed {
    async fn nomad(&self) -> Told {
        if self.nomad.leader().await?.is_none() {
            return Ok("has no leader");
        }
        // Its leader is told to anybody; this wants the token.
        self.nomad.jobs("default", "terreau-probe", JobDetail::Plain).await?;
        Ok("ok")
    }

    async fn consul(&self) -> Told {
        if self.consul.leader().await?.is_none() {
            return Ok("has no leader");
        }
        match (self.session.lease(), self.session.trouble()) {
            (Some(_), _) => Ok("ok"),
            (None, Some(e)) => Err(e),
            (None, None) => Ok("has no session of the agent's yet"),
        }
    }

    async fn directory(&self) -> Told {
        let account = self.directory.get(&self.account).await?;
        Ok(account.map_or("does not show the agent's account", |_| "ok"))
    }

    async fn garage(&self) -> Told {
        if !self.garage.health().await?.writes() {
            return Ok("has no write quorum");
        }
        let prepared = self.prepared.borrow().clone();
        match prepared {
            Prepared::NotYet(Some(e)) if e.fault == Fault::Denied => Err(e),
            Prepared::NotYet(_) => Ok("does not hold the agent's buckets yet"),
            Prepared::Yes => self.objects.probe().await.map(|()| "ok"),
        }
    }
}

/// In words for strangers: no address and no text of the engine's.
async fn probe(asking: impl Future<Output = Told>) -> String {
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Ok(state)) => state.to_owned(),
        Ok(Err(e)) => {
            tracing::debug!(error = %e, "an engine is not ready");
            match (e.fault, e.setting()) {
                (Fault::Denied, Some(setting)) => {
                    format!("refuses the agent's credentials: see its setting {setting}")
                }
                (Fault::Denied, None) => "refuses the agent's credentials".to_owned(),
                (Fault::Away, _) => "does not answer".to_owned(),
                _ => "answers wrongly".to_owned(),
            }
        }
        Err(_) => "does not answer in time".to_owned(),
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
