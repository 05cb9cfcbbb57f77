//! The clients against engines that lie: slow, cut, wrong, refusing. Here a small server of ours plays the
//! engine, since a real one does not misbehave on request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use terreau::engines::consul::{Consul, TxnOp};
use terreau::engines::garage::{Admin, S3};
use terreau::engines::http::HttpOptions;
use terreau::engines::nomad::{Diff, Nomad, Purge, Topic};
use terreau::engines::{EngineError, Fault, Gate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the server does with each connection after the request's headers came.
#[derive(Clone)]
enum Lie {
    /// Sends these bytes and closes.
    Says(Vec<u8>),
    /// Closes without a word.
    HangsUp,
    /// Never answers.
    Sleeps,
}

struct Liar {
    addr: String,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Liar {
    async fn telling(lie: Lie) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (lie, count) = (lie.clone(), count.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    let mut buffer = [0; 4096];
                    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                        match socket.read(&mut buffer).await {
                            Ok(n) if n > 0 => head.extend_from_slice(&buffer[..n]),
                            _ => return,
                        }
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    match lie {
                        Lie::Says(bytes) => {
                            let _ = socket.write_all(&bytes).await;
                        }
                        Lie::HangsUp => {}
                        Lie::Sleeps => std::future::pending().await,
                    }
                });
            }
        });
        Self { addr, asked, task }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(status: &str, body: &str) -> Lie {
    let text =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    Lie::Says(text.into_bytes())
}

fn options() -> HttpOptions {
    HttpOptions { timeout: Duration::from_millis(500), ..HttpOptions::default() }
}

fn clients(addr: &str) -> (Nomad, Consul) {
    let token = || Some("token-canary".into());
    (Nomad::new(addr, token(), None, &options()).unwrap(), Consul::new(addr, token(), &options()).unwrap())
}

/// A read and a write of each engine, and the node list that goes through rs-consul.
async fn all(addr: &str) -> Vec<(&'static str, EngineError)> {
    let (nomad, consul) = clients(addr);
    vec![
        ("nomad read", nomad.jobs("*", "", terreau::engines::nomad::JobDetail::Plain).await.unwrap_err()),
        ("nomad write", nomad.deregister("default", "x", Purge::Keep).await.unwrap_err()),
        ("consul read", consul.services().await.unwrap_err()),
        ("consul write", consul.kv_put("a/b", "value-canary").await.unwrap_err()),
        ("consul nodes", consul.nodes().await.unwrap_err()),
    ]
}

#[tokio::test]
async fn every_lie_of_an_engine_has_its_fault_and_nothing_is_sent_twice() {
    let cut = Lie::Says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":".to_vec());
    let cases = [
        ("asleep", Lie::Sleeps, Fault::Away),
        ("hangs up", Lie::HangsUp, Fault::Away),
        ("500", answer("500 Internal Server Error", "out of luck"), Fault::Broken),
        ("429", answer("429 Too Many Requests", "later"), Fault::Broken),
        ("403", answer("403 Forbidden", "Permission denied"), Fault::Denied),
        ("html", answer("200 OK", "<html>not an engine</html>"), Fault::Broken),
        ("wrong shape", answer("200 OK", "17"), Fault::Broken),
        ("cut", cut, Fault::Broken),
        ("redirect", answer("302 Found\r\nlocation: http://127.0.0.1:1/", ""), Fault::Broken),
        ("400", answer("400 Bad Request", "no"), Fault::Invalid),
        ("413", answer("413 Too Large", "no"), Fault::TooLarge),
    ];
    for (name, lie, fault) in cases {
        let liar = Liar::telling(lie).await;
        let errors = all(&liar.addr).await;
        for (call, error) in &errors {
            assert_eq!(error.fault, fault, "{name}, {call}: {error}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("canary"), "{shown}");
        }
        assert_eq!(liar.asked.load(Ordering::SeqCst), errors.len(), "{name}");
    }
    let errors = all("http://127.0.0.1:1").await;
    assert!(errors.iter().all(|(_, e)| e.fault == Fault::Away), "{errors:?}");
}

/// A proxy's page, or another program at that address: 200, and nothing that the engine would say.
#[tokio::test]
async fn a_yes_that_is_not_the_engines_own_is_never_believed() {
    let said = r#"{"unexpected":["shape"]}"#;
    let liar = Liar::telling(answer("200 OK\r\ncontent-type: application/json", said)).await;
    let (nomad, consul) = clients(&liar.addr);
    let garage = Admin::new(&liar.addr, "token".into(), &options()).unwrap();
    let s3 = S3::with_options(&liar.addr, "garage", "GK00", "canary".into(), &options()).unwrap();
    let job = serde_json::json!({ "ID": "x" });
    let registration =
        terreau::engines::nomad::Registration { job: job.clone(), enforce_index: None, submission_hcl: None };
    let session = "00000000-0000-0000-0000-000000000000";
    let txn = [
        TxnOp::CheckSession { key: "a".into(), session: session.into() },
        TxnOp::Cas { key: "b".into(), value: Vec::new(), index: 7 },
    ];
    let answers = [
        ("renew", consul.session_renew(session).await.map(drop)),
        ("end session", consul.session_destroy(session).await),
        ("delete", consul.kv_delete("a").await),
        ("delete tree", consul.delete_tree("a/").await),
        ("put", consul.kv_put("a", "v").await),
        ("transaction", consul.txn(&txn).await.map(drop)),
        ("job", nomad.job("default", "x").await.map(drop)),
        ("versions", nomad.job_versions("default", "x").await.map(drop)),
        ("parse", nomad.parse_hcl("job").await.map(drop)),
        ("plan", nomad.plan(&job, Diff::Wanted).await.map(drop)),
        ("validate", nomad.validate(&job).await.map(drop)),
        ("register", nomad.register(&registration).await.map(drop)),
        ("stop", nomad.deregister("default", "x", Purge::Keep).await.map(drop)),
        ("scale", nomad.scale("default", "x", "main", 1, "").await.map(drop)),
        ("fail", nomad.deployment_fail("x").await.map(drop)),
        ("bucket", garage.bucket_by_alias("x").await.map(drop)),
        ("no bucket", garage.delete_bucket("x").await),
        ("no key", garage.delete_key("x").await),
        ("object", s3.put("b", "k", &b"x"[..], "text/plain").await),
        ("look", s3.head("b", "k").await.map(drop)),
    ];
    for (call, answer) in answers {
        let error = answer.err().unwrap_or_else(|| panic!("{call}: it was believed"));
        assert_eq!(error.fault, Fault::Broken, "{call}: {error}");
    }
}

#[tokio::test]
async fn no_message_holds_more_than_400_bytes_of_a_body() {
    let liar = Liar::telling(answer("500 Internal Server Error", &"é".repeat(5000))).await;
    for (call, error) in all(&liar.addr).await {
        assert!(error.message.len() < 500, "{call}: {} bytes", error.message.len());
    }
}

#[derive(Debug)]
struct Shut;

impl Gate for Shut {
    fn check(&self) -> Result<(), String> {
        Err("the session may be gone".into())
    }
}

#[tokio::test]
async fn behind_a_shut_gate_reads_go_on_and_no_write_leaves() {
    let liar = Liar::telling(answer("200 OK", "{}")).await;
    let (nomad, consul) = clients(&liar.addr);
    let (nomad, consul) = (nomad.with_gate(Arc::new(Shut)), consul.with_gate(Arc::new(Shut)));
    let job = serde_json::json!({ "ID": "x" });
    let registration =
        terreau::engines::nomad::Registration { job: job.clone(), enforce_index: None, submission_hcl: None };
    let set = TxnOp::Set { key: "a".into(), value: Vec::new() };
    let faults = [
        nomad.register(&registration).await.map(|_| ()),
        nomad.deregister("default", "x", Purge::Purge).await.map(|_| ()),
        nomad.scale("default", "x", "main", 1, "").await.map(|_| ()),
        nomad.restart_allocation("x", None).await,
        nomad.stop_allocation("x").await.map(|_| ()),
        nomad.deployment_fail("x").await.map(|_| ()),
        nomad.revert("default", "x", 1).await.map(|_| ()),
        consul.kv_put("a", "v").await,
        consul.kv_create("a", "v").await,
        consul.kv_cas("a", "v", 1).await,
        consul.kv_delete("a").await,
        consul.kv_delete_cas("a", 1).await,
        consul.delete_tree("a/").await,
        consul.kv_acquire("a", "v", "s").await.map(|_| ()),
        consul.txn(&[set]).await.map(|_| ()),
    ];
    for fault in faults {
        let error = fault.unwrap_err();
        assert_eq!(error.fault, Fault::Fenced, "{error}");
        assert!(error.message.contains("the session may be gone"));
    }
    assert_eq!(liar.asked.load(Ordering::SeqCst), 0);
    consul.services().await.unwrap();
    nomad.agent_self().await.unwrap();
    assert_eq!(liar.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_cut_event_stream_ends_with_an_error_after_its_last_whole_line() {
    let lines =
        "{\"Index\":7,\"Events\":[{\"Topic\":\"Job\",\"Type\":\"t\",\"Key\":\"k\",\"Index\":7}]}\n{}\n{\"Ind";
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = format!("{head}{:x}\r\n{lines}\r\n", lines.len());
    let liar = Liar::telling(Lie::Says(body.into_bytes())).await;
    let (nomad, _) = clients(&liar.addr);
    let mut events = nomad.events(0, &[Topic::all()]).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().index, 7);
    let heartbeat = events.next().await.unwrap().unwrap();
    assert!(heartbeat.events.is_empty(), "{heartbeat:?}");
    let cut = events.next().await.unwrap().unwrap_err();
    assert!(cut.is_passing(), "{cut}");
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn clients_never_show_their_token() {
    let (nomad, consul) = clients("http://127.0.0.1:1");
    let shown = format!("{nomad:?} {consul:?} {nomad:#?} {consul:#?}");
    assert!(!shown.contains("canary"), "{shown}");
    for wrong in ["ftp://x", "http://", "http://user:pw-canary@host:1", "http://h:1/?token=canary"] {
        let error = Nomad::new(wrong, None, None, &options()).err().unwrap();
        assert_eq!(error.fault, Fault::Invalid, "{wrong}");
    }
    let bad = Consul::new("http://h:1", Some("can\nary".into()), &options()).err().unwrap();
    assert_eq!(bad.fault, Fault::Invalid);
    assert!(!format!("{bad:?}").contains("ary\""));
}
