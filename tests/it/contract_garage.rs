//! What Garage 2.5 really does, as far as Terreau leans on it, asked through our own clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use secrecy::{ExposeSecret, SecretString};
use terreau::engines::garage::{Admin, BucketSettings, Perm, Quotas, S3, Website};
use terreau::engines::http::HttpOptions;
use terreau::engines::{Fault, Gate};
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;

use super::harness::{Part, Stack, StackOptions, eventually, unique};

/// A Garage for the tests about Garage: without Nomad and Consul it is there at once.
pub async fn garage() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    STACK.get_or_init(|| Stack::start(StackOptions::only(&[Part::Sandbox]))).await
}

pub fn admin(stack: &Stack) -> Admin {
    Admin::new(&stack.garage_admin(), stack.admin_token(), &HttpOptions::default()).unwrap()
}

fn key_id() -> String {
    format!("GK{}", hex::encode(rand::random::<[u8; 12]>()))
}

fn key_secret() -> SecretString {
    hex::encode(rand::random::<[u8; 32]>()).into()
}

/// A bucket of a random name with a key that may do everything: `(bucket id, name, S3)`.
pub async fn bucket(stack: &Stack) -> (String, String, S3) {
    let (admin, name, id, secret) = (admin(stack), unique("bucket"), key_id(), key_secret());
    let made = admin.create_bucket(&name).await.unwrap();
    admin.import_key(&id, &secret, "test").await.unwrap();
    admin.allow(&made.id, &id, Perm::ALL).await.unwrap();
    (made.id, name, S3::new(&stack.s3(), "garage", &id, secret).unwrap())
}

/// The admin API without our client, for what our client refuses to do.
async fn raw(stack: &Stack, endpoint: &str, body: serde_json::Value) -> (u16, serde_json::Value) {
    let url = format!("{}/v2/{endpoint}", stack.garage_admin());
    let token = stack.admin_token();
    let call = stack.http().post(url).bearer_auth(token.expose_secret()).json(&body);
    let answer = call.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn the_cluster_says_that_it_is_healthy_and_can_be_written() {
    let health = admin(garage().await).health().await.unwrap();
    assert_eq!(health.status, "healthy");
    assert!(health.writes(), "{health:?}");
}

#[tokio::test]
async fn creating_a_key_twice_makes_two_so_names_are_not_unique() {
    let stack = garage().await;
    let name = unique("twin");
    let (one, two) = (
        raw(stack, "CreateKey", serde_json::json!({ "name": name })).await,
        raw(stack, "CreateKey", serde_json::json!({ "name": name })).await,
    );
    assert_eq!((one.0, two.0), (200, 200));
    assert_ne!(one.1["accessKeyId"], two.1["accessKeyId"]);
    let same = admin(stack).keys().await.unwrap().into_iter().filter(|k| k.name == name).count();
    assert_eq!(same, 2);
}

#[tokio::test]
async fn importing_a_key_twice_conflicts_and_a_deleted_id_never_returns() {
    let admin = admin(garage().await);
    let (id, secret) = (key_id(), key_secret());
    let key = admin.import_key(&id, &secret, "terreau:x:app").await.unwrap();
    assert_eq!((key.id.as_str(), key.name.as_str()), (id.as_str(), "terreau:x:app"));
    let again = admin.import_key(&id, &secret, "terreau:x:app").await.unwrap_err();
    assert_eq!(again.fault, Fault::Conflict);
    assert_eq!(admin.key(&id).await.unwrap(), Some(key));
    admin.delete_key(&id).await.unwrap();
    assert_eq!(admin.key(&id).await.unwrap(), None);
    assert_eq!(admin.delete_key(&id).await.unwrap_err().fault, Fault::NotFound);
    let back = admin.import_key(&id, &key_secret(), "terreau:x:app").await.unwrap_err();
    assert_eq!(back.fault, Fault::Conflict);
    for error in [again, back] {
        assert!(!error.to_string().contains(secret.expose_secret()), "{error}");
    }
}

#[tokio::test]
async fn a_bucket_is_create_only_and_found_by_alias_or_id() {
    let admin = admin(garage().await);
    let name = unique("only");
    assert_eq!(admin.bucket_by_alias(&name).await.unwrap(), None);
    let made = admin.create_bucket(&name).await.unwrap();
    assert_eq!(admin.create_bucket(&name).await.unwrap_err().fault, Fault::Conflict);
    assert_eq!(admin.bucket_by_alias(&name).await.unwrap().as_ref(), Some(&made));
    assert_eq!(admin.bucket(&made.id).await.unwrap().as_ref(), Some(&made));
    assert!(
        admin.buckets().await.unwrap().iter().any(|b| b.id == made.id && b.global_aliases == [name.clone()])
    );
    let other = format!("{name}-too");
    assert_eq!(
        admin.add_alias(&made.id, &other).await.unwrap().global_aliases,
        [name.clone(), other.clone()]
    );
    assert_eq!(admin.remove_alias(&made.id, &name).await.unwrap().global_aliases, [other]);
    admin.delete_bucket(&made.id).await.unwrap();
    assert_eq!(admin.bucket(&made.id).await.unwrap(), None);
    assert_eq!(admin.delete_bucket(&made.id).await.unwrap_err().fault, Fault::NotFound);
}

#[tokio::test]
async fn quotas_are_replaced_whole_and_a_website_leaves_them_alone() {
    let admin = admin(garage().await);
    let id = admin.create_bucket(&unique("quota")).await.unwrap().id;
    let set = |max_size, max_objects| BucketSettings {
        quotas: Some(Quotas { max_size, max_objects }),
        ..BucketSettings::default()
    };
    admin.update_bucket(&id, &set(Some(1000), Some(10))).await.unwrap();
    let now = admin.update_bucket(&id, &set(None, Some(20))).await.unwrap();
    assert_eq!(now.quotas, Quotas { max_size: None, max_objects: Some(20) });
    let website = Some(Website { index: "index.html".into(), error: Some("404.html".into()) });
    let now =
        admin.update_bucket(&id, &BucketSettings { website: website.clone(), quotas: None }).await.unwrap();
    assert_eq!((now.website, now.quotas.max_objects), (website, Some(20)));
    let now = admin.website_off(&id).await.unwrap();
    assert_eq!((now.website, now.quotas.max_objects), (None, Some(20)));
}

#[tokio::test]
async fn allow_adds_rights_and_deny_removes_them() {
    let admin = admin(garage().await);
    let (id, key) = (admin.create_bucket(&unique("perm")).await.unwrap().id, key_id());
    admin.import_key(&key, &key_secret(), "k").await.unwrap();
    let rights = |b: terreau::engines::garage::Bucket| b.keys.first().map(|k| k.permissions);
    assert_eq!(rights(admin.allow(&id, &key, Perm::READ).await.unwrap()), Some(Perm::READ));
    let write = Perm { write: true, ..Perm::default() };
    assert_eq!(rights(admin.allow(&id, &key, write).await.unwrap()), Some(Perm::READ_WRITE));
    assert_eq!(rights(admin.deny(&id, &key, write).await.unwrap()), Some(Perm::READ));
    assert_eq!(rights(admin.deny(&id, &key, Perm::ALL).await.unwrap()), None);
    assert_eq!(admin.key(&key).await.unwrap().unwrap().buckets, []);
}

#[tokio::test]
async fn a_bucket_with_objects_is_not_deleted_and_a_quota_refuses_with_403() {
    let stack = garage().await;
    let admin = admin(stack);
    let (id, name, s3) = bucket(stack).await;
    s3.put(&name, "a", &b"x"[..], "text/plain").await.unwrap();
    assert_eq!(admin.delete_bucket(&id).await.unwrap_err().fault, Fault::Conflict);
    let quotas = Some(Quotas { max_size: None, max_objects: Some(1) });
    admin.update_bucket(&id, &BucketSettings { website: None, quotas }).await.unwrap();
    // A quota is judged by Garage's own counter, which follows a little later.
    eventually("the counter follows", Duration::from_secs(10), async || {
        (admin.bucket(&id).await.unwrap()?.objects == 1).then_some(())
    })
    .await;
    let refused = s3.put(&name, "b", &b"x"[..], "text/plain").await.unwrap_err();
    assert_eq!(refused.fault, Fault::Denied);
    assert!(refused.message.contains("quota is reached"), "{refused}");
    s3.delete(&name, "a").await.unwrap();
    s3.delete(&name, "a").await.unwrap();
    eventually("the counter follows", Duration::from_secs(10), async || {
        (admin.bucket(&id).await.unwrap()?.objects == 0).then_some(())
    })
    .await;
    admin.delete_bucket(&id).await.unwrap();
}

/// How jobs fetch artifacts without credentials, expiry or an agent in the path.
#[tokio::test]
async fn a_website_bucket_named_as_the_web_hosts_own_name_serves_keys_and_lists_nothing() {
    let stack = garage().await;
    let admin = admin(stack);
    let (id, name, s3) = bucket(stack).await;
    admin.add_alias(&id, "localhost").await.unwrap();
    let website = Some(Website { index: "index.html".into(), error: None });
    admin.update_bucket(&id, &BucketSettings { website, quotas: None }).await.unwrap();
    s3.put(&name, "a/secret-capability/x.tar.zst", &b"bytes"[..], "application/zstd").await.unwrap();
    let port = stack.web().rsplit_once(':').unwrap().1.to_owned();
    let get = async |path: &str| {
        let answer = stack.http().get(format!("http://localhost:{port}/{path}")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get("a/secret-capability/x.tar.zst").await, (200, "bytes".into()));
    for path in ["", "a/", "a/secret-capability/", "a", "?list-type=2", "a/other/x.tar.zst"] {
        let (status, body) = get(path).await;
        assert_eq!(status, 404, "{path}: {body}");
        assert!(!body.contains("secret-capability"), "{body}");
    }
    assert!(admin.check_domain("localhost").await.unwrap());
    assert!(!admin.check_domain(&unique("no.such")).await.unwrap());
}

#[tokio::test]
async fn objects_come_back_as_they_went_and_absent_ones_are_none() {
    let (_, name, s3) = bucket(garage().await).await;
    assert_eq!(s3.get(&name, "no", 10).await.unwrap(), None);
    assert_eq!(s3.head(&name, "no").await.unwrap(), None);
    assert!(s3.get_stream(&name, "no").await.unwrap().is_none());
    assert_eq!(s3.get("no-such-bucket", "no", 10).await.unwrap_err().fault, Fault::NotFound);
    let odd = "dir/é +%?&#=~ x.txt";
    s3.put(&name, odd, &b"12345"[..], "text/plain; charset=utf-8").await.unwrap();
    s3.put(&name, "empty", &b""[..], "text/plain").await.unwrap();
    assert_eq!(s3.get(&name, odd, 5).await.unwrap().unwrap(), "12345");
    assert_eq!(s3.get(&name, "empty", 5).await.unwrap().unwrap(), "");
    assert_eq!(s3.get(&name, odd, 4).await.unwrap_err().fault, Fault::TooLarge);
    let head = s3.head(&name, odd).await.unwrap().unwrap();
    assert_eq!((head.size, head.content_type.as_deref()), (5, Some("text/plain; charset=utf-8")));
    let listed = s3.list(&name, "dir/").await.unwrap();
    assert_eq!((listed.len(), listed[0].key.as_str(), &listed[0].etag), (1, odd, &head.etag));
}

#[tokio::test]
async fn listing_and_deleting_go_beyond_one_page() {
    let (_, name, s3) = bucket(garage().await).await;
    let keys: Vec<String> = (0..1050).map(|i| format!("k/{i:04}")).collect();
    futures::stream::iter(&keys)
        .map(|k| s3.put(&name, k, &b"x"[..], "text/plain"))
        .buffer_unordered(32)
        .try_collect::<Vec<()>>()
        .await
        .unwrap();
    let listed: Vec<_> = s3.list(&name, "k/").await.unwrap().into_iter().map(|o| o.key).collect();
    assert_eq!(listed, keys);
    s3.delete_many(&name, &keys).await.unwrap();
    s3.delete_many(&name, &keys).await.unwrap();
    assert_eq!(s3.list(&name, "").await.unwrap(), []);
}

#[tokio::test]
async fn a_create_only_put_is_ignored_so_there_is_no_cas_on_objects() {
    let stack = garage().await;
    let (_, name, s3) = bucket(stack).await;
    s3.put(&name, "x", &b"one"[..], "text/plain").await.unwrap();
    let url = s3.presign_put(&name, "x", Duration::from_mins(1)).await.unwrap();
    let put = stack.http().put(url.expose_secret()).header("if-none-match", "*").body("two");
    assert_eq!(put.send().await.unwrap().status().as_u16(), 200);
    assert_eq!(s3.get(&name, "x", 10).await.unwrap().unwrap(), "two");
}

#[tokio::test]
async fn a_presigned_url_opens_one_key_for_one_verb_and_a_week_at_most() {
    let stack = garage().await;
    let (_, name, s3) = bucket(stack).await;
    let week = Duration::from_hours(7 * 24);
    let url = s3.presign_put(&name, "x", week).await.unwrap();
    let url = url.expose_secret();
    assert_eq!(stack.http().put(url).body("in").send().await.unwrap().status().as_u16(), 200);
    assert_eq!(stack.http().get(url).send().await.unwrap().status().as_u16(), 403);
    let other = url.replacen("/x?", "/y?", 1);
    assert_eq!(stack.http().put(other).body("in").send().await.unwrap().status().as_u16(), 403);
    let longer = url.replacen("X-Amz-Expires=604800", "X-Amz-Expires=604801", 1);
    assert_ne!(longer, url);
    assert!(stack.http().put(longer).body("in").send().await.unwrap().status().is_client_error());
    let refused = s3.presign_put(&name, "x", week + Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Invalid);
    let read = s3.presign_get(&name, "x", week).await.unwrap();
    assert_eq!(stack.http().get(read.expose_secret()).send().await.unwrap().text().await.unwrap(), "in");
}

/// The largest resident set of this process since the last call.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_mebibytes_go_up_in_parts_and_a_stream_likewise_in_bounded_memory() {
    const SIZE: u64 = (200 << 20) + 12345;
    let (_, name, s3) = bucket(garage().await).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("big");
    // Sparse: Garage stores what it reads, the disk does not.
    std::fs::File::create(&path).unwrap().set_len(SIZE).unwrap();
    let (before, most, done) = (resident(), AtomicU64::new(0), AtomicU64::new(0));
    let progress = |n: u64| {
        done.store(n, Ordering::Relaxed);
        most.fetch_max(resident(), Ordering::Relaxed);
    };
    assert_eq!(s3.put_file(&name, "file", &path, "application/octet-stream", &progress).await.unwrap(), SIZE);
    assert_eq!(done.load(Ordering::Relaxed), SIZE);
    let part = 70 << 20;
    let from = tokio::io::repeat(7).take(part);
    let sent = s3.put_stream(&name, "stream", from, "application/octet-stream").await.unwrap();
    most.fetch_max(resident(), Ordering::Relaxed);
    let grown = most.load(Ordering::Relaxed).saturating_sub(before);
    // Other tests run beside this one in the same process: the bound is a coarse one.
    assert!(grown < 150 << 20, "grew by {} MiB", grown >> 20);
    assert_eq!(sent, part);
    assert_eq!(s3.head(&name, "file").await.unwrap().unwrap().size, SIZE);
    let mut stream = s3.get_stream(&name, "stream").await.unwrap().unwrap();
    let (mut sum, mut buffer) = (0_u64, vec![0; 1 << 16]);
    loop {
        let n = stream.reader.read(&mut buffer).await.unwrap();
        if n == 0 {
            break;
        }
        assert!(buffer[..n].iter().all(|b| *b == 7));
        sum += n as u64;
    }
    assert_eq!(sum, part);
    assert_eq!(s3.unfinished(&name, "file").await.unwrap(), []);
}

#[tokio::test]
async fn an_upload_in_parts_can_be_taken_up_again_completed_and_aborted() {
    let stack = garage().await;
    let (_, name, s3) = bucket(stack).await;
    let upload = s3.begin_multipart(&name, "x", "text/plain").await.unwrap();
    for (number, body) in [(2_u32, "world"), (1, "hello ")] {
        let url = s3.presign_part(&upload, number, Duration::from_mins(1)).await.unwrap();
        let sent = stack.http().put(url.expose_secret()).body(body).send().await.unwrap();
        assert_eq!(sent.status().as_u16(), 200);
    }
    assert_eq!(s3.unfinished(&name, "x").await.unwrap(), std::slice::from_ref(&upload));
    let mut parts = s3.parts_done(&upload).await.unwrap();
    assert_eq!(parts.iter().map(|p| (p.number, p.size)).collect::<Vec<_>>(), [(1, 6), (2, 5)]);
    parts.reverse();
    s3.complete_multipart(&upload, &parts).await.unwrap();
    assert_eq!(s3.get(&name, "x", 100).await.unwrap().unwrap(), "hello world");
    assert_eq!(s3.complete_multipart(&upload, &parts).await.unwrap_err().fault, Fault::NotFound);
    s3.abort_multipart(&upload).await.unwrap();
    let second = s3.begin_multipart(&name, "y", "text/plain").await.unwrap();
    s3.abort_multipart(&second).await.unwrap();
    s3.abort_multipart(&second).await.unwrap();
    assert_eq!(s3.unfinished(&name, "y").await.unwrap(), []);
    assert_eq!(s3.head(&name, "y").await.unwrap(), None);
}

#[tokio::test]
async fn a_stream_that_breaks_leaves_no_object_and_no_upload() {
    let (_, name, s3) = bucket(garage().await).await;
    let good = tokio::io::repeat(1).take(20 << 20);
    let bad = tokio_util::io::StreamReader::new(futures::stream::iter([Err::<bytes::Bytes, _>(
        std::io::Error::other("the source broke"),
    )]));
    let told = s3.put_stream(&name, "x", good.chain(bad), "text/plain").await.unwrap_err();
    assert!(told.message.contains("the source broke"), "{told}");
    assert_eq!(s3.head(&name, "x").await.unwrap(), None);
    assert_eq!(s3.unfinished(&name, "x").await.unwrap(), []);
}

#[derive(Debug)]
struct Closed;

impl Gate for Closed {
    fn check(&self) -> Result<(), String> {
        Err("the session may be gone".into())
    }
}

#[tokio::test]
async fn behind_a_closed_gate_nothing_is_written_and_everything_can_be_read() {
    let stack = garage().await;
    let (id, name, s3) = bucket(stack).await;
    s3.put(&name, "x", &b"one"[..], "text/plain").await.unwrap();
    let (open, shut) = (s3.clone(), s3.with_gate(Arc::new(Closed)));
    let admin = admin(stack).with_gate(Arc::new(Closed));
    let fenced = [
        shut.put(&name, "x", &b"two"[..], "text/plain").await.unwrap_err(),
        shut.delete(&name, "x").await.unwrap_err(),
        shut.delete_many(&name, &["x".into()]).await.unwrap_err(),
        shut.begin_multipart(&name, "y", "text/plain").await.unwrap_err(),
        admin.create_bucket(&unique("never")).await.unwrap_err(),
        admin.delete_bucket(&id).await.unwrap_err(),
        admin.import_key(&key_id(), &key_secret(), "k").await.unwrap_err(),
        admin.website_off(&id).await.unwrap_err(),
    ];
    for error in fenced {
        assert_eq!(error.fault, Fault::Fenced, "{error}");
    }
    assert_eq!(shut.get(&name, "x", 10).await.unwrap().unwrap(), "one");
    assert_eq!(open.list(&name, "").await.unwrap().len(), 1);
    assert!(admin.bucket(&id).await.unwrap().is_some());
}

#[tokio::test]
async fn wrong_credentials_a_token_out_of_scope_and_an_absent_engine_are_told_apart() {
    let stack = garage().await;
    let (_, name, s3) = bucket(stack).await;
    let options = HttpOptions::default();
    let wrong = Admin::new(&stack.garage_admin(), "no-such-canary".into(), &options).unwrap();
    let denied = wrong.health().await.unwrap_err();
    assert_eq!(denied.fault, Fault::Denied);
    let (status, made) =
        raw(stack, "CreateAdminToken", serde_json::json!({ "name": "t", "scope": ["GetClusterHealth"] }))
            .await;
    assert_eq!(status, 200, "{made}");
    let token = made["secretToken"].as_str().unwrap();
    let scoped = Admin::new(&stack.garage_admin(), token.into(), &options).unwrap();
    scoped.health().await.unwrap();
    let out = scoped.buckets().await.unwrap_err();
    assert_eq!((out.fault, &out.message), (Fault::Denied, &denied.message));
    let stranger = S3::new(&stack.s3(), "garage", &key_id(), key_secret()).unwrap();
    assert_eq!(stranger.put(&name, "x", &b"x"[..], "a/b").await.unwrap_err().fault, Fault::Denied);
    assert_eq!(stranger.head(&name, "x").await.unwrap_err().fault, Fault::Denied);
    let region = S3::new(&stack.s3(), "elsewhere", &key_id(), key_secret()).unwrap();
    assert_eq!(region.list(&name, "").await.unwrap_err().fault, Fault::Invalid);
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", socket.local_addr().unwrap());
    drop(socket);
    let away = S3::new(&nobody, "garage", &key_id(), "canary-canary-canary".into()).unwrap();
    let told = away.put(&name, "x", &b"x"[..], "a/b").await.unwrap_err();
    assert_eq!(told.fault, Fault::Away, "{told}");
    let told = Admin::new(&nobody, "canary".into(), &options).unwrap().health().await.unwrap_err();
    assert_eq!(told.fault, Fault::Away, "{told}");
    assert!(!format!("{told:?}{away:?}{s3:?}{wrong:?}{denied:?}").contains("canary"));
}
