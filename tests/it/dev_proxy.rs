//! The development proxy beside the real Consul and Garage: it routes by Tricot's tags and follows the catalogue.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Stack, eventually, shared, unique};
use crate::sandbox::{admin, bucket};

/// An app that answers with its name, the path, and the headers that a proxy sets.
async fn app(name: &'static str) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(async move |request: Request| {
        let header =
            |h: &str| request.headers().get(h).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        let path = request.uri().to_string();
        let (host, proto) = (header("host"), header("x-forwarded-proto"));
        axum::Json(json!({ "app": name, "path": path, "host": host, "proto": proto })).into_response()
    });
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, task)
}

/// Puts an instance into Consul's catalogue, with a check by hand that stands at `status`.
async fn register(stack: &Stack, service: &str, id: &str, at: SocketAddr, tags: &[String], status: &str) {
    let body = json!({
        "ID": id, "Name": service, "Address": at.ip().to_string(), "Port": at.port(), "Tags": tags,
        "Check": { "TTL": "60m", "Status": status },
    });
    let url = format!("{}/v1/agent/service/register", stack.consul());
    let reply = stack.http().put(url).json(&body).send().await.unwrap();
    assert!(reply.status().is_success());
}

async fn consul_put(stack: &Stack, path: &str) {
    let reply = stack.http().put(format!("{}/v1/{path}", stack.consul())).send().await.unwrap();
    assert!(reply.status().is_success(), "{path}");
}

async fn get(stack: &Stack, host: &str, path: &str) -> reqwest::Response {
    let url = format!("{}{path}", stack.proxy());
    let client =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    client.get(url).header("host", host).send().await.unwrap()
}

/// Waits until the host answers with that status, and gives the answer's JSON.
async fn until(stack: &Stack, host: &str, path: &str, status: u16) -> Value {
    let what = format!("{host}{path} answers {status}");
    let reply = eventually(&what, Duration::from_secs(5), async || {
        let reply = get(stack, host, path).await;
        (reply.status() == status).then_some(reply)
    })
    .await;
    reply.json().await.unwrap_or(Value::Null)
}

#[tokio::test]
async fn a_host_reaches_its_app_by_its_own_name_and_below_localhost() {
    let stack = shared().await;
    let (name, (at, _task)) = (unique("web"), app("web").await);
    let host = format!("{name}.example.org");
    let tags = [format!("tricot {host}"), "tricot-add-header X-Frame-Options SAMEORIGIN; always".to_owned()];
    register(stack, &name, &name, at, &tags, "passing").await;
    until(stack, &host, "/", 200).await;
    for asked in [host.clone(), format!("{host}:8080"), format!("{host}.localhost"), host.to_uppercase()] {
        let reply = get(stack, &asked, "/a/b?c=d").await;
        assert_eq!(reply.headers()["x-frame-options"], "SAMEORIGIN; always");
        let said: Value = reply.json().await.unwrap();
        assert_eq!(said, json!({ "app": "web", "path": "/a/b?c=d", "host": asked, "proto": "http" }));
    }
    assert_eq!(get(stack, &format!("other-{host}"), "/").await.status(), 404);
}

#[tokio::test]
async fn paths_and_priorities_choose_between_services_and_redirects_lead_away() {
    let stack = shared().await;
    let name = unique("site");
    let host = format!("{name}.example.org");
    let ((site, _a), (api, _b), (forced, _c)) = (app("site").await, app("api").await, app("forced").await);
    let redirect = format!("tricot-add-redirect {host}/old {host}/new 308");
    register(stack, &name, &name, site, &[format!("tricot {host}"), redirect], "passing").await;
    register(
        stack,
        &format!("{name}-api"),
        &format!("{name}-api"),
        api,
        &[format!("tricot {host}/api")],
        "passing",
    )
    .await;
    let tag = format!("tricot {host}/api/forced 200");
    register(stack, &format!("{name}-f"), &format!("{name}-f"), forced, &[tag], "passing").await;
    for (path, expected) in [("/", "site"), ("/api/x", "api"), ("/api/forced/x", "forced")] {
        let what = format!("{path} goes to {expected}");
        eventually(&what, Duration::from_secs(5), async || {
            let said: Value = get(stack, &host, path).await.json().await.ok()?;
            (said["app"] == expected).then_some(())
        })
        .await;
    }
    let reply = get(stack, &format!("{host}.localhost"), "/old/page").await;
    assert_eq!(reply.status(), 308);
    let port = stack.layout.ports.proxy();
    assert_eq!(reply.headers()["location"], format!("http://{host}.localhost:{port}/new/page"));
}

#[tokio::test]
async fn pt_62_an_app_without_a_healthy_instance_answers_a_clear_503() {
    let stack = shared().await;
    let (name, (at, _task)) = (unique("sick"), app("sick").await);
    let host = format!("{name}.localhost");
    register(stack, &name, &name, at, &[format!("tricot {host}")], "critical").await;
    until(stack, &host, "/", 503).await;
    let page = get(stack, &host, "/").await.text().await.unwrap();
    assert!(page.contains(&name) && page.contains("no instance that is up"), "{page}");
    consul_put(stack, &format!("agent/check/pass/service:{name}")).await;
    until(stack, &host, "/", 200).await;
}

/// What a lossless redeploy leans on: an instance that leaves the catalogue serves on for the cluster's
/// `shutdown_delay` of 3 s (DESIGN §5), and by then the proxy has forgotten it.
#[tokio::test]
async fn an_instance_that_consul_drops_gets_no_request_after_the_shutdown_delay() {
    let stack = shared().await;
    let name = unique("two");
    let host = format!("{name}.localhost");
    let ((one, _a), (other, _b)) = (app("one").await, app("other").await);
    let tags = [format!("tricot {host}")];
    register(stack, &name, &format!("{name}-1"), one, &tags, "passing").await;
    register(stack, &name, &format!("{name}-2"), other, &tags, "passing").await;
    let ask = async || -> String {
        let said: Value = get(stack, &host, "/").await.json().await.unwrap_or(Value::Null);
        said["app"].as_str().unwrap_or("").to_owned()
    };
    eventually("both serve", Duration::from_secs(5), async || {
        let said = [ask().await, ask().await];
        (said.contains(&"one".into()) && said.contains(&"other".into())).then_some(())
    })
    .await;
    let dropped = Instant::now();
    consul_put(stack, &format!("agent/service/deregister/{name}-1")).await;
    eventually("only the other serves", Duration::from_secs(5), async || {
        for _ in 0..6 {
            if ask().await != "other" {
                return None;
            }
        }
        Some(())
    })
    .await;
    println!("forgotten after {:?}", dropped.elapsed());
    assert!(dropped.elapsed() < Duration::from_secs(3), "{:?}", dropped.elapsed());
}

#[tokio::test]
async fn a_refused_connection_is_tried_on_another_instance() {
    let stack = shared().await;
    let name = unique("half");
    let host = format!("{name}.localhost");
    let (alive, _task) = app("alive").await;
    // Bound and never listening: the port is ours, and connections to it are refused.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = socket.local_addr().unwrap();
    let tags = [format!("tricot {host}")];
    register(stack, &name, &format!("{name}-1"), dead, &tags, "passing").await;
    register(stack, &name, &format!("{name}-2"), alive, &tags, "passing").await;
    until(stack, &host, "/", 200).await;
    for _ in 0..20 {
        assert_eq!(get(stack, &host, "/").await.status(), 200);
    }
}

#[tokio::test]
async fn a_web_socket_passes_both_ways() {
    let stack = shared().await;
    let name = unique("ws");
    let host = format!("{name}.localhost");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let text = String::from_utf8(head).unwrap().to_lowercase();
            assert!(text.contains("upgrade: websocket") && text.contains("connection: upgrade"), "{text}");
            let answer =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut bytes = [0_u8; 5];
            while stream.read_exact(&mut bytes).await.is_ok() {
                bytes.reverse();
                stream.write_all(&bytes).await.unwrap();
            }
        }
    });
    register(stack, &name, &name, at, &[format!("tricot {host}")], "passing").await;
    let address = stack.proxy().trim_start_matches("http://").to_owned();
    let ask = format!(
        "GET /live HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    let mut stream = eventually("the upgrade", Duration::from_secs(5), async || {
        let mut stream = TcpStream::connect(&address).await.ok()?;
        stream.write_all(ask.as_bytes()).await.ok()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        head.starts_with(b"HTTP/1.1 101").then_some(stream)
    })
    .await;
    for _ in 0..3 {
        stream.write_all(b"abcde").await.unwrap();
        let mut bytes = [0_u8; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"edcba");
    }
}

#[tokio::test]
async fn an_event_stream_arrives_event_by_event() {
    let stack = shared().await;
    let name = unique("sse");
    let host = format!("{name}.localhost");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    // The second event is sent only when the first was seen: a proxy that gathers would wait for ever.
    let (seen, wait) = tokio::sync::watch::channel(false);
    let router = Router::new().fallback(async move || {
        let mut wait = wait.clone();
        let (send, receive) = tokio::sync::mpsc::channel::<Result<&str, std::io::Error>>(1);
        tokio::spawn(async move {
            let _ = send.send(Ok("data: 1\n\n")).await;
            let _ = wait.wait_for(|s| *s).await;
            let _ = send.send(Ok("data: 2\n\n")).await;
        });
        axum::body::Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receive))
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    register(stack, &name, &name, at, &[format!("tricot {host}")], "passing").await;
    let mut reply = eventually("an answer", Duration::from_secs(5), async || {
        let reply = get(stack, &host, "/").await;
        reply.status().is_success().then_some(reply)
    })
    .await;
    assert_eq!(reply.chunk().await.unwrap().unwrap(), "data: 1\n\n");
    seen.send(true).unwrap();
    assert_eq!(reply.chunk().await.unwrap().unwrap(), "data: 2\n\n");
    assert!(reply.chunk().await.unwrap().is_none());
}

#[tokio::test]
async fn a_website_bucket_is_served_under_its_name() {
    let stack = shared().await;
    let host = format!("{}.example.org", unique("static"));
    let (s3, id) = bucket(stack, &host).await;
    let website = json!({ "enabled": true, "indexDocument": "index.html" });
    admin(stack, &format!("UpdateBucket?id={id}"), json!({ "websiteAccess": website })).await;
    let page = aws_sdk_s3::primitives::ByteStream::from_static(b"hello");
    s3.put_object().bucket(&host).key("index.html").body(page).send().await.unwrap();
    for asked in [host.clone(), format!("{host}.localhost:1234")] {
        assert_eq!(get(stack, &asked, "/").await.text().await.unwrap(), "hello", "{asked}");
    }
}
