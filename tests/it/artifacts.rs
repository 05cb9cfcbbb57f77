//! Artifacts from a folder to Garage and back: packed, uploaded by presigned URLs, verified, searched, unpacked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use terreau::build::archive::{Limits, Packed, pack};
use terreau::build::receive::{Direct, ReceiveError, Reception};
use terreau::build::scan::Secrets;
use terreau::build::site::{Pass, content_type};
use terreau::build::unpack;
use terreau::build::upload::{Progress, upload};
use terreau::engines::garage::{S3, Sender};
use terreau::engines::http::HttpOptions;
use tokio::net::{TcpListener, TcpStream};

use super::contract_garage::{bucket, garage};

fn direct(s3: &S3, public: &S3, bucket: &str) -> Direct {
    let expires = Duration::from_mins(10);
    let (s3, public, bucket) = (s3.clone(), public.clone(), bucket.to_owned());
    let to = Reception { s3, public, bucket, expires, limits: Limits::default() };
    Direct { to, capability: hex::encode(rand::random::<[u8; 32]>()) }
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
    let mut x = 0x9E37_79B9_7F4A_7C15_u64;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_goes_up_once_and_an_unchanged_one_uploads_nothing() {
    let (_, name, s3) = bucket(garage().await).await;
    let store = direct(&s3, &s3, &name);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("program"), noise(20 << 20)).unwrap();
    for i in 0..4100 {
        std::fs::write(dir.path().join(format!("f{i:04}")), i.to_string()).unwrap();
    }
    let first = packed(dir.path());
    assert_eq!(first.artifact.parts.len(), 2);
    let last = Arc::new(std::sync::Mutex::new(Progress::default()));
    let heard = Arc::clone(&last);
    let meter: Arc<dyn Fn(Progress) + Send + Sync> = Arc::new(move |p| *heard.lock().unwrap() = p);
    let done = upload(&store, &sender(), &first, meter).await.unwrap();
    assert_eq!((done.sent, done.present, done.bytes), (2, 0, first.artifact.size()));
    assert_eq!(last.lock().unwrap().total, done.bytes);
    for part in &first.artifact.parts {
        let found = store.to.verify(&store.capability, part, Secrets::new([])).await.unwrap();
        assert!(found.is_empty());
    }
    // A copy made later, with other times.
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::write(copy.path().join(file.file_name()), std::fs::read(file.path()).unwrap()).unwrap();
    }
    let again = packed(copy.path());
    assert_eq!(again.artifact, first.artifact);
    let done = upload(&store, &sender(), &again, silent()).await.unwrap();
    assert_eq!((done.sent, done.present, done.bytes), (0, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_breaks_is_tried_again_piece_by_piece() {
    let stack = garage().await;
    let (_, name, s3) = bucket(stack).await;
    // A road to Garage on which the first connections break: two at once, two after a megabyte.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let road = format!("http://{}", listener.local_addr().unwrap());
    let target = stack.s3().trim_start_matches("http://").to_owned();
    let broken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&broken);
    let proxy = tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            let n = count.fetch_add(1, Ordering::SeqCst);
            let target = target.clone();
            tokio::spawn(async move {
                if n < 2 {
                    return;
                }
                let mut to = TcpStream::connect(target).await.unwrap();
                if n < 4 {
                    use tokio::io::AsyncReadExt;
                    let _ = tokio::io::copy(&mut (&mut from).take(1 << 20), &mut to).await;
                    return;
                }
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    let public = s3.at(&road).unwrap();
    let store = direct(&s3, &public, &name);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("program"), noise(34 << 20)).unwrap();
    let artifact = packed(dir.path());
    let done = upload(&store, &sender(), &artifact, silent()).await.unwrap();
    assert_eq!(done.sent, 1);
    assert!(broken.load(Ordering::SeqCst) > 4);
    let part = &artifact.artifact.parts[0];
    store.to.verify(&store.capability, part, Secrets::new([])).await.unwrap();
    proxy.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_in_an_upload_are_named_and_their_values_are_not_shown() {
    let (_, name, s3) = bucket(garage().await).await;
    let store = direct(&s3, &s3, &name);
    let dir = tempfile::tempdir().unwrap();
    let mut content = noise((1 << 20) - 7);
    content.extend_from_slice(b"canary-value-1234");
    std::fs::write(dir.path().join("data.bin"), content).unwrap();
    let artifact = packed(dir.path());
    upload(&store, &sender(), &artifact, silent()).await.unwrap();
    let values: [(&str, SecretString); 2] =
        [("api-key", "canary-value-1234".into()), ("other", "not-in-there-at-all".into())];
    let known = Secrets::new(values.iter().map(|(n, v)| (*n, v)));
    let found = store.to.verify(&store.capability, &artifact.artifact.parts[0], known).await.unwrap();
    assert_eq!(found, ["api-key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_not_what_its_name_says_is_deleted_and_sent_again() {
    let (_, name, s3) = bucket(garage().await).await;
    let store = direct(&s3, &s3, &name);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "the real one").unwrap();
    let artifact = packed(dir.path());
    let part = &artifact.artifact.parts[0];
    let key = part.key(&store.capability);
    let other = zstd::encode_all(&b"another one"[..], 3).unwrap();
    let garbage = vec![b'x'; usize::try_from(part.size).unwrap()];
    for (content, refused) in [(other, false), (garbage, true)] {
        s3.put(&name, &key, content, "application/zstd").await.unwrap();
        match store.to.verify(&store.capability, part, Secrets::new([])).await.unwrap_err() {
            ReceiveError::Mismatch { .. } => assert!(!refused),
            ReceiveError::Refused { .. } => assert!(refused),
            other => panic!("{other}"),
        }
        assert_eq!(s3.head(&name, &key).await.unwrap(), None);
        let done = upload(&store, &sender(), &artifact, silent()).await.unwrap();
        assert_eq!(done.sent, 1);
        store.to.verify(&store.capability, part, Secrets::new([])).await.unwrap();
    }
    let missing = terreau::model::artifact::ArtifactPart {
        sha256: terreau::model::sha256_hex("never uploaded"),
        ..part.clone()
    };
    let told = store.to.verify(&store.capability, &missing, Secrets::new([])).await.unwrap_err();
    assert!(matches!(told, ReceiveError::Mismatch { .. }));
    let zip = terreau::model::artifact::ArtifactPart { ext: "zip".into(), ..part.clone() };
    assert!(matches!(store.to.begin(&store.capability, &[zip]).await, Err(ReceiveError::Asked(_))));
    assert!(matches!(
        store.to.begin("../../x", std::slice::from_ref(part)).await,
        Err(ReceiveError::Asked(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_put_from_its_artifact_in_passes_with_types() {
    let (_, name, s3) = bucket(garage().await).await;
    let store = direct(&s3, &s3, &name);
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("blog")).unwrap();
    let big = noise(20 << 20);
    for (file, content) in [
        ("index.html", &b"<h1>hi"[..]),
        ("blog/index.html", b"<p>"),
        ("style.css", b"a{}"),
        ("film.mp4", &big),
    ] {
        std::fs::write(dir.path().join(file), content).unwrap();
    }
    let artifact = packed(dir.path());
    upload(&store, &sender(), &artifact, silent()).await.unwrap();
    let mut order = Vec::new();
    for pass in Pass::ALL {
        for part in &artifact.artifact.parts {
            let key = part.key(&store.capability);
            let found = s3.get_stream(&name, &key).await.unwrap().unwrap();
            let mut files = unpack::open(found.reader, Limits::default());
            while let Some(file) = files.next().await.unwrap() {
                if Pass::of(&file.name) == pass {
                    let to = format!("site/{}", file.name);
                    order.push(file.name.clone());
                    s3.put_stream(&name, &to, file.reader(), &content_type(&to)).await.unwrap();
                }
            }
        }
    }
    assert_eq!(order, ["film.mp4", "style.css", "blog/index.html", "index.html"]);
    let objects = s3.list(&name, "site/").await.unwrap();
    let sizes: BTreeMap<_, _> = objects.iter().map(|o| (o.key.as_str(), o.size)).collect();
    assert_eq!(sizes["site/film.mp4"], 20 << 20);
    assert_eq!(s3.get(&name, "site/film.mp4", 30 << 20).await.unwrap().unwrap(), big);
    let head = s3.head(&name, "site/style.css").await.unwrap().unwrap();
    assert_eq!(head.content_type.as_deref(), Some("text/css; charset=utf-8"));
}
