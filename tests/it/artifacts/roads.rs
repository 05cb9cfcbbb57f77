//! Good artifacts on both roads: once, again, over a link that breaks, cut and begun anew, two at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use terreau::build::upload::{Progress, Store as _, upload};
use terreau::clock::{ManualClock, SharedClock};
use terreau::deploy::Deployer;
use terreau::engines::garage::Perm;
use terreau::loops::Loops;
use terreau::model::artifact::Artifact;
use terreau::operation::Runner;
use terreau::operation::run::fresh_uid;
use terreau::resources::Hands;
use terreau::sandbox::config::ARTIFACT_BUCKET;
use terreau::store::{Objects, Store};
use tokio::net::{TcpListener, TcpStream};

use super::{Door, agent, inside, lies, noise, packed, part, sender, silent, stack, tarred, zstd};
use crate::harness::{eventually, unique};
use crate::mechanism::Bare;

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_goes_up_once_and_an_unchanged_one_uploads_nothing() {
    let stack = stack().await;
    let agent = agent(stack, &[]).await;
    let door = Door::of(&agent, "alice", &unique("up")).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("program"), noise(20 << 20)).unwrap();
    for i in 0..4100 {
        std::fs::write(dir.path().join(format!("f{i:04}")), i.to_string()).unwrap();
    }
    let first = packed(dir.path());
    assert_eq!(first.artifact.parts.len(), 2);
    let last = Arc::new(Mutex::new(Progress::default()));
    let heard = Arc::clone(&last);
    let meter: Arc<dyn Fn(Progress) + Send + Sync> = Arc::new(move |p| *heard.lock().unwrap() = p);
    let done = upload(&door, &sender(), &first, meter).await.unwrap();
    assert_eq!((done.sent, done.present, done.bytes), (2, 0, first.artifact.size()));
    assert_eq!(last.lock().unwrap().total, done.bytes);
    let (named, waiting) = lies(&inside(stack), &done.ticket).await;
    assert_eq!((named.len(), waiting), (2, 0));
    // A copy made later, with other times.
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::write(copy.path().join(file.file_name()), std::fs::read(file.path()).unwrap()).unwrap();
    }
    let again = packed(copy.path());
    assert_eq!(again.artifact, first.artifact);
    let done = upload(&door, &sender(), &again, silent()).await.unwrap();
    assert_eq!((done.sent, done.present, done.bytes), (0, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_breaks_is_tried_again_piece_by_piece() {
    let stack = stack().await;
    // A road to Garage on which each time the first connections of a client break: two at once, two after a megabyte.
    // The agent's own calls, which are not presigned, always get through.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let road = format!("http://{}", listener.local_addr().unwrap());
    let target = stack.s3().trim_start_matches("http://").to_owned();
    let broken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&broken);
    let proxy = tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            let (target, count) = (target.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let is_client = is_presigned(&from).await;
                let n = if is_client { count.fetch_add(1, Ordering::SeqCst) } else { usize::MAX };
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
    let agent = agent(stack, &[("garage.s3", road)]).await;
    let door = Door::of(&agent, "alice", &unique("up")).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("program"), noise(34 << 20)).unwrap();
    let artifact = packed(dir.path());
    let done = upload(&door, &sender(), &artifact, silent()).await.unwrap();
    assert_eq!(done.sent, 1);
    assert!(broken.load(Ordering::SeqCst) > 4);
    assert_eq!(lies(&inside(stack), &done.ticket).await.0.len(), 1);
    proxy.abort();
}

/// Looks at the head of the first request without taking it: only presigned ones are signed in the query.
pub(super) async fn is_presigned(from: &TcpStream) -> bool {
    let mut head = vec![0; 8 << 10];
    loop {
        from.readable().await.unwrap();
        let n = from.peek(&mut head).await.unwrap_or(0);
        if n == 0 || head[..n].contains(&b'\n') {
            let line = head[..n].split(|b| *b == b'\n').next().unwrap_or_default();
            return String::from_utf8_lossy(line).contains("X-Amz-Signature");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_goes_through_the_agent_and_is_served_with_its_types() {
    let stack = stack().await;
    let agent = agent(stack, &[]).await;
    let door = Door::of(&agent, "alice", &unique("up")).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("blog")).unwrap();
    let film = noise(20 << 20);
    for (file, content) in [
        ("index.html", &b"<h1>hi"[..]),
        ("blog/index.html", b"<p>"),
        ("style.css", b"a{}"),
        ("film.mp4", &film),
    ] {
        std::fs::write(dir.path().join(file), content).unwrap();
    }
    let artifact = packed(dir.path());
    let begun = door.begin(&artifact.artifact.parts).await.unwrap();
    let bytes = std::fs::read(&artifact.files[0]).unwrap();
    let told = door.stream(&artifact.artifact.parts[0], &begun.ticket, bytes).await;
    assert_eq!(told.0, 204, "{told}");
    assert!(door.begin(&artifact.artifact.parts).await.unwrap().parts[0].present);
    door.deployed(&artifact.artifact, &begun.ticket, None).await;
    for (path, kind, content) in [
        ("", "text/html; charset=utf-8", &b"<h1>hi"[..]),
        ("blog/", "text/html; charset=utf-8", b"<p>"),
        ("style.css", "text/css; charset=utf-8", b"a{}"),
        ("film.mp4", "video/mp4", &film),
    ] {
        let request = stack.http().get(format!("{}/{path}", stack.web()));
        let reply = request.header("host", format!("{}.example.org", door.app)).send().await.unwrap();
        assert_eq!(
            (reply.status().as_u16(), reply.headers()["content-type"].to_str().unwrap()),
            (200, kind),
            "{path}"
        );
        assert!(reply.bytes().await.unwrap() == content, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_break_off_leave_nothing_that_counts_and_a_new_try_works() {
    let stack = stack().await;
    let agent = agent(stack, &[]).await;
    let s3 = inside(stack);
    let door = Door::of(&agent, "alice", &unique("up")).await;
    let bytes = zstd(&tarred(&[("program", &noise(40 << 20))]));
    let whole = part(&bytes, "tar.zst");

    // Through the agent: cut after 36 MiB, when pieces are in Garage already.
    let begun = door.begin(std::slice::from_ref(&whole)).await.unwrap();
    let key = whole.key(&begun.ticket);
    let (to, body) = tokio::sync::mpsc::channel(64);
    for piece in bytes[..36 << 20].chunks(1 << 20) {
        to.send(Ok(piece.to_vec())).await.unwrap();
    }
    let rest = format!("/uploads/{}?ext=tar.zst&ticket={}", whole.sha256, begun.ticket);
    let request = agent.http.put(format!("{}{}", agent.url, door.path(&rest))).bearer_auth(&door.token);
    let body = reqwest::Body::wrap_stream(tokio_stream::wrappers::ReceiverStream::new(body));
    let sending = tokio::spawn(request.body(body).send());
    eventually("pieces are in Garage", Duration::from_secs(60), async || {
        let open = s3.unfinished(ARTIFACT_BUCKET, &key).await.unwrap();
        let parts = s3.parts_done(open.first()?).await.unwrap();
        (!parts.is_empty()).then_some(())
    })
    .await;
    to.send(Err(std::io::Error::other("the link is cut"))).await.unwrap();
    assert!(sending.await.unwrap().is_err());
    eventually("what was begun is given up", Duration::from_secs(30), async || {
        s3.unfinished(ARTIFACT_BUCKET, &key).await.unwrap().is_empty().then_some(())
    })
    .await;
    assert_eq!(lies(&s3, &begun.ticket).await, (Vec::new(), 0));

    // By presigned URLs: one piece, and never more; and one that is completed without its last piece.
    let mut done = door.put(&whole, &begun, &bytes).await;
    done.etags.pop();
    let told = door.complete(&whole, done).await.unwrap_err();
    assert_eq!((told.0.as_u16(), told.1["code"].as_str()), (422, Some("invalid")), "{told}");
    assert_eq!(lies(&s3, &begun.ticket).await, (Vec::new(), 0));
    let artifact = Artifact { parts: vec![whole.clone()] };
    let (status, answer) = door.deploy(&artifact, &begun.ticket, None).await;
    assert_eq!(status, 422, "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("was not uploaded"), "{answer}");

    let told = door.presigned(&whole, &bytes).await;
    assert_eq!(told.0, 204, "{told}");
    assert_eq!(lies(&s3, &begun.ticket).await, (vec![key], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_uploads_of_one_part_at_once_both_end_well_and_one_object_is_there() {
    let stack = stack().await;
    let agent = agent(stack, &[]).await;
    let door = Door::of(&agent, "alice", &unique("up")).await;
    let bytes = zstd(&tarred(&[("program", &noise(20 << 20))]));
    let whole = part(&bytes, "tar.zst");
    let parts = std::slice::from_ref(&whole);
    let (one, two) = (door.begin(parts).await.unwrap(), door.begin(parts).await.unwrap());
    assert_eq!(one.ticket, two.ticket);
    let (a, b) = tokio::join!(door.put(&whole, &one, &bytes), door.put(&whole, &two, &bytes));
    assert_ne!(a.upload_id, b.upload_id);
    let (first, second, streamed) = tokio::join!(
        door.complete(&whole, a.clone()),
        door.complete(&whole, b),
        door.stream(&whole, &one.ticket, bytes.clone())
    );
    first.unwrap();
    second.unwrap();
    assert_eq!(streamed.0, 204, "{streamed}");
    // An answer that was lost: the same call again.
    door.complete(&whole, a).await.unwrap();
    assert_eq!(lies(&inside(stack), &one.ticket).await, (vec![whole.key(&one.ticket)], 0));
    let (status, answer) = door.ask(Method::POST, "/uploads", json!({"parts": [whole]})).await;
    assert_eq!((status.as_u16(), &answer["parts"][0]["present"]), (200, &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_nobody_ends_are_swept_after_a_day() {
    let bare = Bare::on(stack().await).await;
    // A private bucket of this test's own: a clock is moved here.
    let bucket = unique("records");
    let made = bare.hands.garage.create_bucket(&bucket).await.unwrap();
    bare.hands.garage.allow(&made.id, &bare.hands.s3_key, Perm::ALL).await.unwrap();
    let s3 = bare.hands.s3.clone();
    let objects = Objects::new(s3.clone(), &bucket);
    let hands = Hands { objects: objects.clone(), ..bare.hands.clone() };
    let store = Store::new(hands.consul.clone(), objects);
    let now = jiff::Timestamp::now();
    let clock = ManualClock::at(now);
    let shared: SharedClock = Arc::new(clock.clone());
    let loops = Loops::new(shared.clone());
    let runner = Runner::new(hands, store, bare.session.clone(), fresh_uid(now), shared, loops);
    let deployer = Deployer::new(runner);
    s3.put(&bucket, "uploads/x/y", &b"waits"[..], "application/zstd").await.unwrap();
    s3.put(&bucket, "o/x", &b"an object"[..], "application/zstd").await.unwrap();
    let keys = async || s3.list(&bucket, "").await.unwrap().into_iter().map(|o| o.key).collect::<Vec<_>>();
    clock.advance(Duration::from_secs(23 * 3_600));
    deployer.uploads_sweep().await.unwrap();
    assert_eq!(keys().await, ["o/x", "uploads/x/y"]);
    clock.advance(Duration::from_secs(2 * 3_600));
    assert_eq!(deployer.uploads_sweep().await.unwrap(), 1);
    assert_eq!(keys().await, ["o/x"]);
}
