//! What the `artifact` block fetches, checks, unpacks and refuses.

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use sha2::{Digest, Sha256};

use super::{Lab, name, script};

/// Serves files of one test, and keeps the `Host` that was asked for.
struct Shelf {
    addr: String,
    hosts: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

type Files = Arc<Vec<(&'static str, Bytes)>>;

impl Shelf {
    async fn with(files: Vec<(&'static str, Vec<u8>)>) -> Self {
        let files: Files = Arc::new(files.into_iter().map(|(n, b)| (n, b.into())).collect());
        let hosts: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = hosts.clone();
        let serve = move |State(files): State<Files>, headers: HeaderMap, uri: Uri| {
            let seen = seen.clone();
            async move {
                let host = headers.get("host").map(|h| h.to_str().unwrap().to_owned()).unwrap_or_default();
                seen.lock().unwrap().push(host);
                let found = files.iter().find(|(name, _)| uri.path() == format!("/{name}"));
                found.map(|(_, bytes)| bytes.clone()).ok_or(StatusCode::NOT_FOUND)
            }
        };
        let app = Router::new().fallback(serve).with_state(files);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { addr, hosts, task }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn archive(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn artifact(source: &str, more: &str) -> String {
    format!("artifact {{\n source = \"{source}\"\n destination = \"local/app\"\n {more}\n}}\n")
}

fn checksum(sum: &str) -> String {
    format!("options {{\n checksum = \"{sum}\"\n}}")
}

#[tokio::test]
async fn archives_over_http_are_checked_and_unpacked_zstandard_too() {
    let lab = Lab::open().await;
    let tar = archive([("greeting".to_owned(), b"hello".to_vec())]);
    let zst = zstd::encode_all(tar.as_slice(), 3).unwrap();
    let gz = gzip(&tar);
    for (file, bytes) in [("a.tar.gz", gz), ("a.tar.zst", zst)] {
        let sum = sha256(&bytes);
        let shelf = Shelf::with(vec![(file, bytes)]).await;
        let id = name("fetch");
        let hcl = artifact(&format!("http://{}/{file}", shelf.addr), &checksum(&sum));
        assert_eq!(lab.printed(&script(&id, "cat local/app/greeting", &hcl), &id).await, "hello", "{file}");
    }
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_and_the_task_never_starts() {
    let lab = Lab::open().await;
    let shelf = Shelf::with(vec![("a", b"changed on the way".to_vec())]).await;
    let id = name("sum");
    let hcl = artifact(&format!("http://{}/a", shelf.addr), &checksum(&sha256(b"as it was")));
    lab.run(&script(&id, "true", &hcl)).await.unwrap();
    let alloc = lab.failed(&id).await;
    assert!(Lab::events_of(&alloc).contains("Failed Artifact Download"), "{}", Lab::events_of(&alloc));
    assert!(alloc.task_states["main"].events.iter().all(|e| e.kind != "Started"));
    lab.stop(&id).await;
}

#[tokio::test]
async fn an_archive_of_4096_entries_is_refused_and_one_less_is_fine() {
    let lab = Lab::open().await;
    // Nomad's limit says 4096, and it counts the end of the archive as one.
    for (count, fine) in [(4095, true), (4096, false)] {
        let tar = archive((0..count).map(|n| (format!("f{n}"), Vec::new())));
        let shelf = Shelf::with(vec![("a.tar.gz", gzip(&tar))]).await;
        let id = name("many");
        let hcl = artifact(&format!("http://{}/a.tar.gz", shelf.addr), "");
        lab.run(&script(&id, "true", &hcl)).await.unwrap();
        let alloc = lab.complete(&id).await;
        assert_eq!(alloc.client_status == "complete", fine, "{count}: {}", Lab::events_of(&alloc));
        lab.stop(&id).await;
    }
}

#[tokio::test]
async fn a_host_header_is_ignored_and_s3_over_plain_http_fails() {
    let lab = Lab::open().await;
    let shelf = Shelf::with(vec![("a", b"x".to_vec())]).await;
    let id = name("host");
    let hcl = artifact(&format!("http://{}/a", shelf.addr), "headers {\n Host = \"other.example\"\n}");
    assert_eq!(lab.printed(&script(&id, "cat local/app/a", &hcl), &id).await, "x");
    let hosts = shelf.hosts.lock().unwrap().clone();
    assert!(!hosts.is_empty() && hosts.iter().all(|h| *h == shelf.addr), "{hosts:?}");

    let id = name("s3");
    let options =
        "options {\n aws_access_key_id = \"a\"\n aws_access_key_secret = \"b\"\n region = \"garage\"\n}";
    let hcl = artifact(&format!("s3::http://{}/bucket/a", shelf.addr), options);
    lab.run(&script(&id, "true", &hcl)).await.unwrap();
    let alloc = lab.failed(&id).await;
    assert!(Lab::events_of(&alloc).contains("Failed Artifact Download"), "{}", Lab::events_of(&alloc));
    // 1.7 asks, and fails all the same.
    if !lab.is_oldest().await {
        assert_eq!(shelf.hosts.lock().unwrap().len(), hosts.len(), "it never spoke plain HTTP");
    }
    lab.stop(&id).await;
}
