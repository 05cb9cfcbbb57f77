//! What people should not upload, on both roads: refused with a reason, nothing is left, and the next try works.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use terreau::build::upload::Store;
use terreau::model::artifact::Artifact;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::harness::unique;

/// An archive of one entry, of which only the header matters.
fn one(name: &str, kind: tar::EntryType, change: impl FnOnce(&mut tar::Header)) -> Vec<u8> {
    let mut header = header(name, kind, 0);
    change(&mut header);
    header.set_cksum();
    let mut tar = header.as_bytes().to_vec();
    tar.extend_from_slice(&[0; 1024]);
    tar
}

/// 4 GiB of zeros in half a megabyte.
fn bomb() -> Vec<u8> {
    let zeros = zstd::encode_all(std::io::Read::take(std::io::repeat(0), 64 << 20), 3).unwrap();
    let mut bomb = zstd(header("zeros", tar::EntryType::Regular, 4 << 30).as_bytes());
    (0..64).for_each(|_| bomb.extend_from_slice(&zeros));
    bomb
}

/// `(what it is, bytes, extension, what is told)`
fn cases() -> Vec<(&'static str, Vec<u8>, &'static str, &'static str)> {
    use tar::EntryType as T;
    let plain = |name| one(name, T::Regular, |_| ());
    let link = |name: &str, kind, to: &str| one(name, kind, |h| h.set_link_name(to).unwrap());
    let good = tarred(&[("a", b"content")]);
    let good_zstd = zstd(&good);
    let many: Vec<String> = (0..4001).map(|n| format!("f{n}")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|n| (n.as_str(), &b""[..])).collect();
    let mut after = good.clone();
    after.extend(plain("../after"));
    let mut claims = header("huge", T::Regular, 30 << 30).as_bytes().to_vec();
    claims.extend_from_slice(&[0; 1024]);
    vec![
        ("no archive", b"this is no archive at all".to_vec(), "tar.zst", "not a whole .tar.zst"),
        ("a page as tar", vec![b'<'; 2000], "tar", "not a whole .tar"),
        ("a tar that says it is zstd", good.clone(), "tar.zst", "not a whole .tar.zst"),
        ("cut zstd", good_zstd[..good_zstd.len() - 4].to_vec(), "tar.zst", "not a whole .tar.zst"),
        ("cut tar", tarred(&[("a", &[7; 5000])])[..2048].to_vec(), "tar", "not a whole .tar"),
        ("nothing in it", zstd(&tarred(&[])), "tar.zst", "no file"),
        ("a bomb", bomb(), "tar.zst", "100 times its own size"),
        ("30 GiB by its header", claims, "tar", "holds more than"),
        ("4,001 files", zstd(&tarred(&many)), "tar.zst", "more than 4000 files"),
        ("..", plain("../up"), "tar", "'..'"),
        (".. inside", plain("a/../../up"), "tar", "'..'"),
        ("an absolute path", plain("/etc/passwd"), "tar", "absolute"),
        ("a folder that leaves", one("../../up/", T::Directory, |_| ()), "tar", "'..'"),
        ("a newline in a name", plain("a\nb"), "tar", "control character"),
        ("a link out", link("a", T::Symlink, "/etc/passwd"), "tar", "a link"),
        ("a link inside", link("a", T::Symlink, "b"), "tar", "a link"),
        ("a hard link", link("a", T::Link, "/etc/passwd"), "tar", "a link"),
        ("a device", one("null", T::Char, |h| h.set_device_major(1).unwrap()), "tar", "a device"),
        ("a pipe", one("pipe", T::Fifo, |_| ()), "tar", "a pipe"),
        ("an extended header", one("pax", T::XHeader, |_| ()), "tar", "PAX"),
        ("set-user-id", one("sh", T::Regular, |h| h.set_mode(0o4755)), "tar", "set-user-id"),
        ("a folder with content", one("d/", T::Directory, |h| h.set_size(512)), "tar", "folder with content"),
        ("behind the end", after, "tar", "follows its end"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_archives_are_refused_on_both_roads_and_nothing_is_left() {
    let stack = stack().await;
    let agent = agent(stack, &[]).await;
    let door = Door::of(&agent, "alice", &unique("hostile")).await;
    let s3 = inside(stack);
    let mut ticket = String::new();
    for (what, bytes, ext, told) in cases() {
        let part = part(&bytes, ext);
        let begun = door.begin(std::slice::from_ref(&part)).await.unwrap();
        for answer in
            [door.presigned(&part, &bytes).await, door.stream(&part, &begun.ticket, bytes.clone()).await]
        {
            assert_eq!(
                (answer.0.as_u16(), answer.1["code"].as_str()),
                (422, Some("invalid")),
                "{what}: {answer}"
            );
            let detail = answer.1["detail"].as_str().unwrap();
            assert!(detail.contains(told), "{what}: {detail}");
        }
        assert_eq!(lies(&s3, &begun.ticket).await, (Vec::new(), 0), "{what}");
        let (status, answer) = door.deploy(&Artifact { parts: vec![part] }, &begun.ticket, None).await;
        assert_eq!(status, 422, "{what}: {answer}");
        ticket = begun.ticket;
    }
    // The same person, app and ticket: what is good is taken.
    let good = zstd(&tarred(&[("index.html", b"good")]));
    let part = part(&good, "tar.zst");
    let told = door.stream(&part, &ticket, good).await;
    assert_eq!(told.0, 204, "{told}");
    door.deployed(&Artifact { parts: vec![part] }, &ticket, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_than_announced_are_refused_and_the_right_ones_taken() {
    let stack = stack().await;
    let agent = agent(stack, &[]).await;
    let door = Door::of(&agent, "alice", &unique("other")).await;
    let s3 = inside(stack);
    let (good, other) = (zstd(&tarred(&[("a", b"good")])), zstd(&tarred(&[("a", b"evil")])));
    assert_eq!(good.len(), other.len());
    let whole = part(&good, "tar.zst");
    let ticket = door.begin(std::slice::from_ref(&whole)).await.unwrap().ticket;
    for answer in [door.presigned(&whole, &other).await, door.stream(&whole, &ticket, other).await] {
        assert_eq!(answer.0, 422);
        assert!(answer.1["detail"].as_str().unwrap().contains("its SHA-256 is"), "{answer}");
    }
    assert_eq!(lies(&s3, &ticket).await, (Vec::new(), 0));
    assert_eq!(door.presigned(&whole, &good).await.0, 204);

    // Of another size than it is: the bytes are good, the announcement is not.
    for size in [whole.size - 1, whole.size + 1] {
        let lie = ArtifactPart { size, ..whole.clone() };
        let told = door.begin(std::slice::from_ref(&lie)).await.unwrap_err();
        assert_eq!(told.0, 422, "{told}");
        let (status, answer) = door.deploy(&Artifact { parts: vec![lie] }, &ticket, None).await;
        assert_eq!(status, 422, "{answer}");
    }
    // What cannot be an artifact is refused before a byte is sent.
    let with = |change: fn(&mut ArtifactPart)| {
        let mut part = whole.clone();
        change(&mut part);
        vec![part]
    };
    for (parts, status) in [
        (Vec::new(), 422),
        (with(|p| p.ext = "zip".into()), 422),
        (with(|p| p.ext = "../../x".into()), 422),
        (with(|p| p.size = 0), 422),
        (with(|p| p.entries = 4_001), 422),
        (with(|p| p.size = 1 << 40), 413),
        (with(|p| p.size = u64::MAX), 413),
        (vec![whole.clone(); 65], 422),
    ] {
        let told = door.begin(&parts).await.unwrap_err();
        assert_eq!(told.0, status, "{told}");
        let (at, answer) = door.deploy(&Artifact { parts }, &ticket, None).await;
        assert_eq!(at, status, "{answer}");
    }
    door.deployed(&Artifact { parts: vec![whole] }, &ticket, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_the_app_in_an_artifact_is_named_and_never_shown() {
    let stack = stack().await;
    let agent = agent(stack, &[]).await;
    let door = Door::of(&agent, "alice", &unique("secret")).await;
    let s3 = inside(stack);
    let value = "canary-of-the-key-1234";
    // Over the border of two reads, and small.
    let mut large = noise((1 << 20) - 7);
    large.extend_from_slice(value.as_bytes());
    let leaks = [
        zstd(&tarred(&[("index.html", b"x"), ("data.bin", &large)])),
        tarred(&[(".env", format!("API_KEY={value}\n").as_bytes())]),
        tarred(&[(&format!("notes/{value}.txt"), b"in a name")]),
    ];
    let exts = ["tar.zst", "tar", "tar"];
    let named = |answer: &Value| {
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains("api-key") && detail.contains("refused"), "{detail}");
        assert!(detail.contains(".terreauignore"), "{detail}");
    };
    // Before the first deploy nobody knows the value: it comes with the deploy, which looks.
    let early = part(&leaks[0], exts[0]);
    let begun = door.begin(std::slice::from_ref(&early)).await.unwrap();
    assert_eq!(door.presigned(&early, &leaks[0]).await.0, 204);
    let (status, answer) = door.deploy(&Artifact { parts: vec![early] }, &begun.ticket, Some(value)).await;
    assert_eq!(status, 422, "{answer}");
    named(&answer);

    let good = zstd(&tarred(&[("index.html", b"good")]));
    let good_part = part(&good, "tar.zst");
    assert_eq!(door.stream(&good_part, &begun.ticket, good).await.0, 204);
    let good_artifact = Artifact { parts: vec![good_part] };
    door.deployed(&good_artifact, &begun.ticket, Some(value)).await;

    // Known now: refused as it comes, on both roads.
    for (bytes, ext) in leaks[1..].iter().zip(&exts[1..]) {
        let part = part(bytes, ext);
        for answer in
            [door.presigned(&part, bytes).await, door.stream(&part, &begun.ticket, bytes.clone()).await]
        {
            assert_eq!(answer.0, 422, "{answer}");
            named(&answer.1);
        }
        assert!(!lies(&s3, &begun.ticket).await.0.contains(&part.key(&begun.ticket)));
    }
    // A value given later is looked for in what is there already.
    let (status, answer) = door.deploy(&good_artifact, &begun.ticket, Some("index.html")).await;
    assert_eq!(status, 422, "{answer}");
    named(&answer);
    let log = agent.log();
    assert!(
        !log.contains("canary-of-the-key"),
        "{:?}",
        log.lines().find(|l| l.contains("canary-of-the-key"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_body_is_refused_by_what_it_says_and_an_endless_one_by_what_it_is() {
    let agent = agent(stack().await, &[]).await;
    let door = Door::of(&agent, "alice", &unique("huge")).await;
    let mut part = part(b"whatever", "tar.zst");
    let ticket = door.begin(std::slice::from_ref(&part)).await.unwrap().ticket;

    // A terabyte is announced: the answer comes before the first byte.
    let mut link = TcpStream::connect(agent.url.strip_prefix("http://").unwrap()).await.unwrap();
    let path = door.path(&format!("/uploads/{}?ext=tar.zst&ticket={ticket}", part.sha256));
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        door.token,
        1_u64 << 40
    );
    link.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(20), link.read_to_string(&mut answer)).await;
    assert!(read.is_ok(), "the connection is closed");
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too_large"), "{answer}");

    // Noise without end and without a length, and zeros that compress well: both end after a few pieces.
    let zeros = zstd::encode_all(std::io::Read::take(std::io::repeat(0), 64 << 20), 3).unwrap();
    let mut begin = zstd(header("zeros", tar::EntryType::Regular, 19 << 30).as_bytes());
    begin.extend_from_slice(&zeros.repeat(8));
    for (ext, first, then) in [
        ("tar.zst", noise(1 << 20), noise(1 << 20)),
        ("tar", noise(1 << 20), noise(1 << 20)),
        ("tar.zst", begin, zeros.repeat(8)),
    ] {
        ext.clone_into(&mut part.ext);
        let sent = Arc::new(AtomicU64::new(0));
        let tally = Arc::clone(&sent);
        let endless = futures::stream::unfold(Some(first), move |first| {
            let (tally, then) = (Arc::clone(&tally), then.clone());
            async move {
                let piece = first.unwrap_or(then);
                tally.fetch_add(piece.len() as u64, Ordering::Relaxed);
                Some((Ok::<_, std::io::Error>(piece), None))
            }
        });
        let rest = format!("/uploads/{}?ext={ext}&ticket={ticket}", part.sha256);
        let request = agent.http.put(format!("{}{}", agent.url, door.path(&rest))).bearer_auth(&door.token);
        let reply = request.body(reqwest::Body::wrap_stream(endless)).send().await;
        // Who is still writing may find the connection closed before it reads why.
        if let Ok(reply) = reply {
            assert_eq!(reply.status(), 422, "{}", reply.text().await.unwrap());
        }
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent <= 16 << 20, "{ext}: {sent} bytes were taken");
    }
    assert_eq!(agent.call(Method::GET, "/healthz", None, None).await.0, 200);
    let (status, _) = door.ask(Method::POST, "/uploads", json!({"parts": [part]})).await;
    assert_eq!(status, 200);
}
