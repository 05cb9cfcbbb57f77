//! The HTTP door: routes, problem+json, OpenAPI. Calls use cases only, and decides nothing itself but whom to let in.

mod apps;
mod audit;
mod body;
mod caller;
mod config;
mod deploys;
mod doctor;
mod drift;
mod feed;
mod graph;
mod health;
mod held;
mod history;
mod hooks;
mod layers;
mod look;
mod loops;
mod maintenance;
mod metrics;
mod openapi;
mod operations;
mod patient;
mod people;
mod problem;
mod run;
mod serve;
mod sessions;
mod share;
mod tokens;
mod tunnel;
mod tunnels;
mod uploads;

use std::sync::Arc;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::health::{Prepared, Probed, Probes};
pub use self::maintenance::pages;
pub use self::metrics::Metrics;
pub use self::openapi::document;
pub use self::serve::serve;
pub use self::share::Shares;

use crate::access::Access;
use crate::deploy::Deployer;

/// What the door needs.
#[derive(Debug)]
pub struct Parts {
    /// Who comes in.
    pub access: Access,
    /// What people do with apps.
    pub deployer: Deployer,
    /// What `/readyz` asks.
    pub probes: Probes,
    /// Who holds what open.
    pub shares: Shares,
    /// What `/metrics` tells.
    pub metrics: Metrics,
    /// Opens `/metrics` and nothing else.
    pub metrics_token: Option<SecretString>,
    /// The cluster's name.
    pub cluster: String,
    /// Ends answers that would go on for ever.
    pub stop: CancellationToken,
}

/// The state of every handler.
type Api = Arc<Parts>;

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::Head::openapi())
        .routes(routes!(sessions::login, sessions::logout))
        .routes(routes!(sessions::whoami))
        .routes(routes!(tokens::list, tokens::make))
        .routes(routes!(tokens::revoke))
        .routes(routes!(people::projects))
        .routes(routes!(people::owners, people::change_owners))
        .routes(routes!(people::users))
        .routes(routes!(people::user))
        .routes(routes!(people::remove))
        .routes(routes!(apps::list))
        .routes(routes!(apps::show, deploys::delete))
        .routes(routes!(deploys::deletion))
        .routes(routes!(apps::releases))
        .routes(routes!(apps::logs))
        .routes(routes!(tunnels::exec))
        .routes(routes!(tunnels::run))
        .routes(routes!(tunnels::connect))
        .routes(routes!(deploys::plan))
        .routes(routes!(deploys::deploy))
        .routes(routes!(deploys::rollback))
        .routes(routes!(look::instances))
        .routes(routes!(look::stats))
        .routes(routes!(look::events))
        .routes(routes!(feed::feed))
        .routes(routes!(hooks::list, hooks::add))
        .routes(routes!(hooks::remove))
        .routes(routes!(hooks::test))
        .routes(routes!(history::diff))
        .routes(routes!(history::export))
        .routes(routes!(history::import))
        .routes(routes!(held::promote))
        .routes(routes!(held::revert))
        .routes(routes!(run::start))
        .routes(routes!(run::stop))
        .routes(routes!(run::scale))
        .routes(routes!(run::restart))
        .routes(routes!(maintenance::set))
        .routes(routes!(run::course))
        .routes(routes!(run::stop_run))
        .routes(routes!(config::env, config::set_env))
        .routes(routes!(config::reveal_env))
        .routes(routes!(config::env_history))
        .routes(routes!(config::secrets, config::set_secrets))
        .routes(routes!(config::reveal_secrets))
        .routes(routes!(config::secret_history))
        .routes(routes!(uploads::begin))
        .routes(routes!(uploads::complete))
        .routes(routes!(uploads::stream))
        .routes(routes!(graph::graph))
        .routes(routes!(operations::list))
        .routes(routes!(operations::show))
        .routes(routes!(operations::cancel))
        .routes(routes!(operations::abandon))
        .routes(routes!(operations::events))
        .routes(routes!(drift::drift))
        .routes(routes!(doctor::look, doctor::mend))
        .routes(routes!(loops::list))
        .routes(routes!(audit::list))
        .routes(routes!(audit::verify))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi::published))
}

/// Every route, behind the layers that all of them share.
pub fn router(parts: Parts) -> axum::Router {
    let api = Arc::new(parts);
    let (router, _) = routes().split_for_parts();
    let router = router
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::no_such_route)
        .with_state(api.clone());
    layers::around(router, api)
}
