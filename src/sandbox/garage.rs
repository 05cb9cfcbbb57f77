//! The real Garage, embedded from its library crates: S3, K2V, websites and the admin API on loopback, its data
//! in one folder. One node, one copy; the layout is applied at the first start. Must never listen elsewhere
//! than on the addresses that it is given.
//!
//! Guarantee: a process that was killed at any moment starts again on the same folder. Caveat: nothing is
//! flushed to the disk at each write, so a power cut may lose the last seconds.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use garage_api_admin::api_server::AdminApiServer;
use garage_api_k2v::api_server::K2VApiServer;
use garage_api_s3::api_server::S3ApiServer;
use garage_model::garage::Garage;
use garage_util::background::BackgroundRunner;
use garage_util::config::Config;
use garage_util::socket_address::UnixOrTCPSocketAddress;
use garage_web::WebServer;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use super::SandboxError;
use super::files::write_private;

/// The region that S3 signatures are made for.
pub const REGION: &str = "garage";
/// The release whose crates are embedded.
pub const VERSION: &str = "2.5.0";

/// Where the embedded Garage listens and keeps its data.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GarageConfig {
    /// Data, metadata, `rpc_secret` and `admin_token` lie here.
    pub data: PathBuf,
    /// S3.
    pub s3: SocketAddr,
    /// K2V.
    pub k2v: SocketAddr,
    /// Websites.
    pub web: SocketAddr,
    /// Admin API v2.
    pub admin: SocketAddr,
    /// Garage's own protocol; nobody else speaks it here.
    pub rpc: SocketAddr,
}

/// The file that holds the admin token.
pub fn admin_token_file(data: &Path) -> PathBuf {
    data.join("admin_token")
}

/// The admin token of the folder, made at the first call.
pub fn admin_token(data: &Path) -> Result<SecretString, SandboxError> {
    secret_of(&admin_token_file(data))
}

fn secret_of(path: &Path) -> Result<SecretString, SandboxError> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.len() == 64 => Ok(text.into()),
        // Missing, or cut short by a kill before anybody could use it.
        Ok(_) => fresh_secret(path),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => fresh_secret(path),
        Err(e) => Err(SandboxError::file("read", path)(e)),
    }
}

fn fresh_secret(path: &Path) -> Result<SecretString, SandboxError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(SandboxError::file("make", folder))?;
    }
    let text = hex::encode(rand::random::<[u8; 32]>());
    write_private(path, text.as_bytes())?;
    Ok(text.into())
}

/// Runs Garage until `stop` turns true. S3, K2V and the websites open only once the layout is in force.
pub async fn serve(config: GarageConfig, stop: watch::Receiver<bool>) -> Result<(), SandboxError> {
    static NAMED: Once = Once::new();
    NAMED.call_once(|| garage_util::version::init_version(VERSION));

    let token = admin_token(&config.data)?;
    let rpc_secret = secret_of(&config.data.join("rpc_secret"))?;
    let settings = settings(&config, &rpc_secret, &token)?;

    let garage = Garage::new(settings.clone()).map_err(failed("open the data folder"))?;
    let (background, background_done) = BackgroundRunner::new(stop.clone());
    garage.spawn_workers(&background).map_err(failed("start the workers"))?;
    let system = tokio::spawn(garage.system.clone().run(stop.clone()));

    let admin = AdminApiServer::new(garage.clone(), background.clone());
    let mut servers = tokio::task::JoinSet::new();
    servers.spawn(admin.run(tcp(config.admin), stop.clone()));
    apply_layout(config.admin, &token).await?;
    servers.spawn(K2VApiServer::run(garage.clone(), tcp(config.k2v), REGION.into(), stop.clone()));
    if let Some(web) = &settings.s3_web {
        servers.spawn(WebServer::new(garage.clone(), web).run(tcp(config.web), stop.clone()));
    }
    servers.spawn(S3ApiServer::run(garage.clone(), tcp(config.s3), REGION.into(), stop.clone()));

    while let Some(ended) = servers.join_next().await {
        ended
            .map_err(|e| SandboxError::Garage { doing: "serve", message: e.to_string() })?
            .map_err(failed("serve"))?;
    }
    garage.system.netapp.drop_all_handlers();
    let _ = system.await;
    garage.system.cleanup();
    drop(garage);
    drop(background);
    let _ = background_done.await;
    Ok(())
}

fn tcp(address: SocketAddr) -> UnixOrTCPSocketAddress {
    UnixOrTCPSocketAddress::TCPSocket(address)
}

fn failed(doing: &'static str) -> impl Fn(garage_util::error::Error) -> SandboxError {
    move |e| SandboxError::Garage { doing, message: e.to_string() }
}

/// Garage's own configuration, in the words of its file format (so that defaults stay Garage's).
fn settings(
    config: &GarageConfig,
    rpc_secret: &SecretString,
    token: &SecretString,
) -> Result<Config, SandboxError> {
    serde_json::from_value(json!({
        "metadata_dir": config.data.join("meta"),
        "data_dir": config.data.join("data"),
        "db_engine": "sqlite",
        "replication_factor": 1,
        "disable_scrub": true,
        "rpc_secret": rpc_secret.expose_secret(),
        "rpc_bind_addr": config.rpc,
        "rpc_public_addr": config.rpc.to_string(),
        "s3_api": { "s3_region": REGION, "api_bind_addr": config.s3.to_string() },
        "k2v_api": { "api_bind_addr": config.k2v.to_string() },
        "s3_web": { "bind_addr": config.web.to_string() },
        "admin": { "api_bind_addr": config.admin.to_string(), "admin_token": token.expose_secret() },
    }))
    .map_err(|e| SandboxError::Garage { doing: "read the configuration", message: e.to_string() })
}

/// Gives the only node its role, when no layout is in force yet.
async fn apply_layout(admin: SocketAddr, token: &SecretString) -> Result<(), SandboxError> {
    let client = super::http::client(Duration::from_secs(10));
    let call = async |method: reqwest::Method, name: &'static str, body: serde_json::Value| {
        let said = |message: String| SandboxError::Garage { doing: name, message };
        let mut request = client
            .request(method.clone(), format!("http://{admin}/v2/{name}"))
            .bearer_auth(token.expose_secret());
        if method == reqwest::Method::POST {
            request = request.json(&body);
        }
        let reply = request.send().await.map_err(|e| said(e.to_string()))?;
        let status = reply.status();
        let text = reply.text().await.map_err(|e| said(e.to_string()))?;
        if !status.is_success() {
            return Err(said(format!("{status}: {text}")));
        }
        serde_json::from_str::<serde_json::Value>(&text).map_err(|e| said(e.to_string()))
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let status = loop {
        match call(reqwest::Method::GET, "GetClusterStatus", json!(null)).await {
            Ok(status) => break status,
            Err(e) if tokio::time::Instant::now() > deadline => return Err(e),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    if status["layoutVersion"].as_u64().unwrap_or(0) > 0 {
        return Ok(());
    }
    let id = status["nodes"][0]["id"]
        .as_str()
        .ok_or_else(|| SandboxError::Garage { doing: "GetClusterStatus", message: "names no node".into() })?;
    let role = json!({ "roles": [{ "id": id, "zone": "dc1", "capacity": 100_000_000_000_u64, "tags": [] }] });
    call(reqwest::Method::POST, "UpdateClusterLayout", role).await?;
    call(reqwest::Method::POST, "ApplyClusterLayout", json!({ "version": 1 })).await?;
    Ok(())
}
