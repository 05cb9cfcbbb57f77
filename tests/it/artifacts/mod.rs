//! Artifacts from a folder to Garage and back, through the HTTP API of a real agent on a real Garage: packed, uploaded
//! by presigned URLs or through the agent, judged, unpacked.

mod hostile;
mod memory;
mod reads;
mod roads;
mod tickets;

use std::path::Path;
use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use terreau::build::archive::{Limits, Packed, pack};
use terreau::build::upload::{Progress, Store};
use terreau::engines::garage::{S3, Sender};
use terreau::engines::http::HttpOptions;
use terreau::model::artifact::{Artifact, ArtifactPart};
use terreau::model::sha256_hex;
use terreau::model::wire::{CompleteUpload, UploadsAnswer};
use terreau::sandbox::config::ARTIFACT_BUCKET;

use tokio::sync::OnceCell;

use crate::api::agent::{Agent, follow};
use crate::harness::{Stack, StackOptions};

/// Where uploads wait.
const RECORDS: &str = "terreau";

/// One stack for this room.
async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    STACK.get_or_init(|| Stack::start(StackOptions::engines())).await
}

/// An agent that has its buckets.
async fn agent(stack: &Stack, settings: &[(&str, String)]) -> Agent {
    let agent = Agent::with(stack, settings).await;
    agent.ready().await;
    agent
}

/// One person's uploads for one app.
struct Door<'a> {
    agent: &'a Agent,
    token: String,
    app: String,
}

#[derive(Debug)]
struct Told(StatusCode, Value);

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}
impl std::error::Error for Told {}

impl<'a> Door<'a> {
    async fn of(agent: &'a Agent, who: &str, app: &str) -> Self {
        Self { agent, token: agent.login(who).await, app: app.to_owned() }
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/apps/{}{rest}", self.app)
    }

    async fn ask(&self, method: Method, rest: &str, body: Value) -> (StatusCode, Value) {
        self.agent.call(method, &self.path(rest), Some(&self.token), Some(body)).await
    }

    /// One part as one body through the agent.
    async fn stream(&self, part: &ArtifactPart, ticket: &str, body: impl Into<reqwest::Body>) -> Told {
        let rest = format!("/uploads/{}?ext={}&ticket={ticket}", part.sha256, part.ext);
        let request = self.agent.http.put(format!("{}{}", self.agent.url, self.path(&rest)));
        let reply = request.bearer_auth(&self.token).body(body).send().await.unwrap();
        let status = reply.status();
        let text = reply.text().await.unwrap();
        assert!(!text.contains("canary"), "{text}");
        Told(status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// One part by presigned URLs, in one piece each.
    async fn presigned(&self, part: &ArtifactPart, bytes: &[u8]) -> Told {
        let begun = self.begin(std::slice::from_ref(part)).await.unwrap();
        let done = self.put(part, &begun, bytes).await;
        self.complete(part, done).await.map_or_else(|e| e, |()| Told(StatusCode::NO_CONTENT, Value::Null))
    }

    /// Puts the pieces, and gives what completes them.
    async fn put(&self, part: &ArtifactPart, begun: &UploadsAnswer, bytes: &[u8]) -> CompleteUpload {
        let upload = begun.parts[0].upload.as_ref().unwrap();
        let mut etags = Vec::new();
        for (n, url) in upload.urls.iter().enumerate() {
            let size = usize::try_from(upload.part_size).unwrap();
            let piece = bytes.chunks(size).nth(n).unwrap_or_default().to_vec();
            let reply = self.agent.http.put(url).body(piece).send().await.unwrap();
            assert_eq!(reply.status(), 200);
            etags.push(reply.headers()["etag"].to_str().unwrap().to_owned());
        }
        let (ticket, upload_id) = (begun.ticket.clone(), upload.id.clone());
        CompleteUpload { ticket, upload_id, ext: part.ext.clone(), etags }
    }

    /// Deploys a static site of these parts; or, with a value for its secret, something that runs beside them.
    async fn deploy(&self, artifact: &Artifact, ticket: &str, secret: Option<&str>) -> (StatusCode, Value) {
        let app = &self.app;
        let site = format!("build \"static\" {{}}\n  route \"{app}.example.org\" {{}}");
        let worker = r#"build "archive" {}
  process "worker" {
    command = ["/bin/sh", "-c", "exec sleep 3600"]
    memory  = "32 MiB"
  }
  secret "api-key" {
    type        = "user"
    description = "asked for"
  }"#;
        let what = if secret.is_some() { worker } else { &site };
        let descriptor = format!("project \"{app}\" {{\n  {what}\n}}\n");
        let mut body = json!({"descriptor": descriptor, "artifact": artifact, "ticket": ticket});
        if let Some(value) = secret {
            body["secrets"] = json!({"api-key": value});
        }
        self.ask(Method::POST, "/deploy", body).await
    }

    /// The same, to its good end.
    async fn deployed(&self, artifact: &Artifact, ticket: &str, secret: Option<&str>) {
        let (status, answer) = self.deploy(artifact, ticket, secret).await;
        assert_eq!(status, 202, "{answer}");
        let (progress, end) = follow(self.agent, answer["operation"].as_str().unwrap(), &self.token).await;
        assert_eq!(end["outcome"], "done", "{end} {progress:?}");
    }
}

impl Store for Door<'_> {
    type Error = Told;

    async fn begin(&self, parts: &[ArtifactPart]) -> Result<UploadsAnswer, Told> {
        let (status, answer) = self.ask(Method::POST, "/uploads", json!({"parts": parts})).await;
        if status == 200 { Ok(serde_json::from_value(answer).unwrap()) } else { Err(Told(status, answer)) }
    }

    async fn complete(&self, part: &ArtifactPart, done: CompleteUpload) -> Result<(), Told> {
        let rest = format!("/uploads/{}/complete", part.sha256);
        let (status, answer) = self.ask(Method::POST, &rest, serde_json::to_value(done).unwrap()).await;
        if status == 204 { Ok(()) } else { Err(Told(status, answer)) }
    }
}

/// Garage under the agent's own key.
fn inside(stack: &Stack) -> S3 {
    let key: Value =
        serde_json::from_str(&std::fs::read_to_string(stack.layout.key_file()).unwrap()).unwrap();
    let secret = key["secret"].as_str().unwrap().to_owned();
    S3::new(&stack.s3(), "garage", key["id"].as_str().unwrap(), secret.into()).unwrap()
}

/// What lies in Garage for a capability: names given, and uploads that wait.
async fn lies(s3: &S3, capability: &str) -> (Vec<String>, usize) {
    let named = s3.list(ARTIFACT_BUCKET, &format!("a/{capability}/")).await.unwrap();
    let waiting = s3.list(RECORDS, &format!("uploads/{capability}/")).await.unwrap();
    (named.into_iter().map(|o| o.key).collect(), waiting.len())
}

fn sender() -> Sender {
    Sender::new(&HttpOptions::default()).unwrap()
}

fn packed(folder: &Path) -> Packed {
    pack(folder, &std::env::temp_dir(), &Limits::default(), &mut |_| ()).unwrap()
}

fn silent() -> Arc<dyn Fn(Progress) + Send + Sync> {
    Arc::new(|_| ())
}

/// Bytes that do not compress.
fn noise(size: usize) -> Vec<u8> {
    let mut x = 0x9E37_79B9_7F4A_7C15_u64 ^ u64::from(rand::random::<u32>());
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.extend_from_slice(&x.to_le_bytes());
    }
    out.truncate(size);
    out
}

/// A tar of these files, as it comes; names are written as they are.
fn tarred(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        tar.append(&header(name, tar::EntryType::Regular, content.len() as u64), *content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn header(name: &str, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn part(bytes: &[u8], ext: &str) -> ArtifactPart {
    ArtifactPart { sha256: sha256_hex(bytes), size: bytes.len() as u64, ext: ext.into(), entries: 1 }
}
