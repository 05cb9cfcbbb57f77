//! `examples/probe`: an app that does what it is told, deployed as people deploy theirs.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::harness::{eventually, unique};

use super::{AGENT, Load, Person, example, json, page, running, stack};

/// The probe's program, built once; then a copy of the example with these lines in its `env`.
async fn probe(name: &str, env: &str) -> (tempfile::TempDir, PathBuf) {
    static BUILT: OnceCell<()> = OnceCell::const_new();
    BUILT
        .get_or_init(|| async {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/probe");
            let target = format!("TARGET={}", Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe").display());
            let made = Command::new("make").arg("--quiet").arg(target).current_dir(dir).output().unwrap();
            assert!(made.status.success(), "no probe: {}", String::from_utf8_lossy(&made.stderr));
        })
        .await;
    let (temp, dir) = example("probe", name);
    describe(&dir, env);
    (temp, dir)
}

/// Adds lines to the probe's `env`.
fn describe(dir: &Path, env: &str) {
    let file = dir.join("terreau.hcl");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, text.replace("    env {\n", &format!("    env {{\n{env}\n"))).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_example_streams_echoes_and_speaks_web_socket_by_its_route() {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let person = Person::of(stack);
    let (_temp, dir) = probe(&unique("probe"), "      GREETING = \"good evening\"").await;
    let url = person.deploys(&dir);
    assert_eq!(page(stack, &format!("{url}version")).await.unwrap(), (200, "probe 1\n".to_owned()));
    let (status, greeting) = page(stack, &format!("{url}env/GREETING")).await.unwrap();
    assert_eq!((status, greeting.trim_end()), (200, "good evening"));

    let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let echo = stack.http().post(format!("{}/echo", stack.proxy())).header("host", &host);
    assert_eq!(echo.body("as it was").send().await.unwrap().text().await.unwrap(), "as it was");
    let mut events = stack.http().get(format!("{}/events", stack.proxy())).header("host", &host);
    events = events.timeout(Duration::from_secs(20));
    let mut events = events.send().await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let first = events.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"data:") || first.starts_with(b"id:"), "{first:?}");
    assert!(events.chunk().await.unwrap().is_some(), "and another");
    drop(events);

    // RFC 6455: its example key has that answer; a masked text frame comes back bare.
    let mut socket = TcpStream::connect(stack.proxy().trim_start_matches("http://")).await.unwrap();
    let ask = format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    socket.write_all(&[0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]).await.unwrap();
    let mut frame = [0_u8; 4];
    socket.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x81\x02hi");
}

/// A follower of logs; ended with the test.
struct Follower(std::process::Child);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_followed_and_chosen_by_process_instance_age_and_stream() {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let person = Person::of(stack);
    let name = unique("probe");
    let (_temp, dir) = probe(&name, "").await;
    let url = person.deploys(&dir);
    let says =
        async |what: &str| assert_eq!(page(stack, &format!("{url}print/{what}")).await.unwrap().0, 200);
    says("first").await;
    let text = |args: &[&str]| person.expect(0, &dir, &[&["logs"], args].concat()).out;
    eventually("the line is in the log", Duration::from_secs(20), async || {
        text(&[]).contains("first").then_some(())
    })
    .await;

    // What is followed comes as it is written, with what was there.
    let args = ["logs", "--follow", "--stream", "stdout", "--tail", "1000", "--raw"];
    let mut command = person.home.command(&dir, &args);
    let mut follower = Follower(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    let mut until = |what: &str| {
        let mut seen = Vec::new();
        tokio::task::block_in_place(|| {
            while seen.last().is_none_or(|l: &String| l != what) {
                seen.push(lines.next().expect("the log goes on").unwrap());
            }
        });
        seen
    };
    until("first");
    says("second").await;
    until("second");
    says("third").await;
    let rest = until("third");
    assert!(!rest.iter().any(|l| l == "first" || l == "second"), "a line comes once: {rest:?}");
    drop(follower);

    let instance = running(stack, &name).await[0]["ID"].as_str().unwrap().to_owned();
    for args in
        [&["--alloc", &instance[..8]][..], &["--process", "web"], &["--since", "1h"], &["--stream", "stdout"]]
    {
        assert!(text(args).contains("third"), "{args:?}");
    }
    assert!(!text(&["--stream", "stderr"]).contains("third"));
    for args in [&["--process", "nobody"][..], &["--alloc", "ffffffff"], &["--previous"]] {
        let none = person.expect(6, &dir, &[&["logs"], args].concat());
        assert!(none.err.contains(&name), "{args:?}: {}", none.err);
    }

    // A new release: the old instance's words are the previous ones.
    describe(&dir, "      PROBE_IGNORE_SIGTERM = \"1\"");
    person.deploys(&dir);
    eventually("the old instance has ended", Duration::from_secs(40), async || {
        let old = json(stack, format!("{}/v1/allocation/{instance}", stack.nomad())).await;
        (old["ClientStatus"] == "complete").then_some(())
    })
    .await;
    let now = text(&[]);
    assert!(!now.contains("third"), "{now}");
    assert!(text(&["--previous"]).contains("third"));
    assert!(
        text(&["--alloc", &instance]).contains("third"),
        "an instance that ended is still found by its id"
    );
    // And one that has ended long before is no part of the last second.
    let late = eventually("it has been gone for a second", Duration::from_secs(20), async || {
        let late = person.expect(0, &dir, &["logs", "--previous", "--since", "1s"]);
        late.out.is_empty().then_some(late)
    })
    .await;
    assert!(late.err.contains("no lines of") && late.err.contains("in the last 1s"), "{}", late.err);
}

/// PT-61: a release that runs but never answers its check, and one that ignores SIGTERM under it.
#[tokio::test(flavor = "multi_thread")]
async fn pt_61_a_release_that_never_gets_healthy_is_reverted_without_an_error() {
    let _here = AGENT.read().await;
    let stack = stack().await;
    let person = Person::of(stack);
    let name = unique("probe");
    let (_temp, dir) = probe(&name, "").await;
    let file = dir.join("terreau.hcl");
    let text = std::fs::read_to_string(&file).unwrap();
    let update = "    port \"http\" {}\n    update {\n      healthy_deadline = \"15s\"\n    }\n";
    std::fs::write(&file, text.replace("    port \"http\" {}\n", update)).unwrap();
    let url = person.deploys(&dir);
    let load = Load::on(stack, &url);
    describe(&dir, "      PROBE_NEVER_READY = \"1\"");
    let failed = person.expect(1, &dir, &["deploy"]);
    assert!(failed.out.is_empty(), "no URL: {}", failed.out);
    assert!(
        failed.err.contains(&format!("the check of {name} ")) && failed.err.contains("503"),
        "why: {}",
        failed.err
    );
    load.end(Duration::ZERO).await;
    let status: Value = eventually("the old release serves", Duration::from_secs(30), async || {
        let status = person.status(&dir);
        (status["status"] == "running").then_some(status)
    })
    .await;
    assert_eq!(status["release"], 1, "{status}");
    let plan = person.asks(&dir, &["plan"], "");
    assert_eq!(plan.code, 10, "the descriptor is still wanted: {}", plan.out);
}
