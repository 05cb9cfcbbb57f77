//! Requests that nobody honest sends, as a table: each has a bounded answer, none breaks anything for others.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::agent::{Agent, user};
use crate::harness::{shared, unique};

/// Sends bytes as they are, and gives the status and the body of the answer.
async fn raw(agent: &Agent, request: &[u8]) -> (u16, String) {
    let mut link = TcpStream::connect(agent.url.strip_prefix("http://").unwrap()).await.unwrap();
    // Who answers early may close while this still writes.
    let _ = link.write_all(request).await;
    let mut answer = Vec::new();
    let read = link.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer, and an end");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, answer)
}

fn request(method: &str, path: &str, token: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n"
    );
    format!("{head}content-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_are_no_app_name_nothing_and_reach_nothing() {
    let agent = Agent::start(shared().await).await;
    let token = agent.login("alice").await;
    for (path, wanted) in [
        // Not UTF-8, and UTF-8 that is none.
        ("/v1/apps/%ff%fe", &[422][..]),
        ("/v1/apps/%c0%ae%c0%ae", &[422]),
        // Ways up and out, as they are and escaped.
        ("/v1/apps/..", &[404, 422]),
        ("/v1/apps/../operations", &[404, 422]),
        ("/v1/apps/%2e%2e", &[422]),
        ("/v1/apps/%2e%2e%2f%2e%2e%2fterreau", &[422]),
        ("/v1/apps/..%2fcarnet", &[422]),
        ("/v1/apps/tenant%2f..%2fcarnet", &[422]),
        ("/v1/apps/carnet@..", &[422]),
        ("/v1/apps/%2fetc%2fpasswd", &[422]),
        ("/v1/apps/carnet%00", &[422]),
        ("/v1/apps/carnet%0d%0aset-cookie:x", &[422]),
        ("/v1/apps/carnet%20", &[422]),
        ("/v1/apps/", &[404]),
        ("/v1/apps//releases", &[404, 422]),
        ("/v1//apps", &[404]),
        ("/v1/apps/CARNET", &[422]),
        ("/v1/apps/terreau", &[404, 422]),
        ("/v1/apps/c%61rnet-none", &[404]),
        // Names that others give their own meaning.
        ("/v1/operations/..", &[404]),
        ("/v1/operations/%2e%2e%2fapp", &[404]),
        ("/v1/operations/00000000000000000000000000%2fevents", &[404]),
        ("/v1/apps/carnet/uploads/..", &[404]),
        ("/v1/apps/carnet/logs?follow=yes", &[422]),
        ("/v1/apps/carnet/logs?tail=-1", &[422]),
        ("/v1/apps/carnet/logs?tail=99999999999999999999999", &[422]),
        ("/v1/apps/carnet/logs?since=%ff", &[404, 422]),
        ("/v1/apps/carnet/logs?unknown=1", &[422]),
    ] {
        let (status, answer) = raw(&agent, &request("GET", path, &token, "application/json", "")).await;
        assert!(wanted.contains(&status), "{path}: {answer}");
        assert!(answer.contains("application/problem+json") && !answer.contains("\nset-cookie"), "{answer}");
    }
    let long = format!("/v1/apps/{}", "a".repeat(60_000));
    let (status, answer) = raw(&agent, &request("GET", &long, &token, "application/json", "")).await;
    assert!(matches!(status, 414 | 422 | 431), "{answer}");
    let endless = format!("/v1/apps/{}", "a".repeat(1 << 20));
    let (status, answer) = raw(&agent, &request("GET", &endless, &token, "application/json", "")).await;
    assert!(matches!(status, 0 | 414 | 431), "{answer}");
    assert_eq!(agent.get("/v1/whoami", &token).await.0, 200, "others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_request_are_refused_at_once_and_cost_little() {
    let agent = Agent::start(shared().await).await;
    let token = agent.login("alice").await;
    let app = unique("carnet");
    let deep = |n: usize| format!("{{\"descriptor\": {}1{}}}", "[".repeat(n), "]".repeat(n));
    let wide =
        format!("{{{}}}", (0..40_000).map(|n| format!("\"canary{n}\":1")).collect::<Vec<_>>().join(","));
    let parts = format!(
        "{{\"parts\": [{}]}}",
        vec![r#"{"sha256":"x","size":-1,"ext":1,"entries":null}"#; 20_000].join(",")
    );
    let secrets =
        format!("{{\"descriptor\":\"x\",\"secrets\":{{{}}}}}", vec!["\"A\":\"canary\""; 50_000].join(","));
    let large = format!("{{\"descriptor\": \"{}\"}}", "x".repeat(4 << 20));
    let near = format!("{{\"descriptor\": \"{}\"}}", "x\\n".repeat(600_000));
    let (kind, sha) = ("application/json", "0".repeat(64));
    let (deploy, uploads) = (format!("/v1/apps/{app}/deploy"), format!("/v1/apps/{app}/uploads"));
    let complete = format!("{uploads}/{sha}/complete");
    for (what, method, path, kind, body, wanted) in [
        ("deep", "POST", &deploy, kind, deep(100_000), 422),
        ("deep, where it is read", "POST", &deploy, kind, deep(100), 422),
        ("wide", "POST", &deploy, kind, wide, 422),
        ("a fault in each of 20,000 parts", "POST", &uploads, kind, parts, 422),
        ("one secret many times", "POST", &deploy, kind, secrets, 422),
        ("large", "POST", &deploy, kind, large, 413),
        ("a descriptor of 600,000 lines", "POST", &deploy, kind, near, 422),
        ("nothing", "POST", &deploy, kind, String::new(), 422),
        ("no JSON", "POST", &deploy, kind, "canary".into(), 422),
        ("two values", "POST", &deploy, kind, "{} {}".into(), 422),
        ("no object", "POST", &deploy, kind, "\"canary\"".into(), 422),
        ("a lone surrogate", "POST", &deploy, kind, r#"{"descriptor":"\ud800"}"#.into(), 422),
        ("a NUL", "POST", &deploy, kind, "{\"descriptor\":\"\\u0000\"}".into(), 422),
        ("a huge number", "POST", &uploads, kind, "{\"parts\":1e999}".into(), 422),
        ("a form", "POST", &deploy, "application/x-www-form-urlencoded", "descriptor=canary".into(), 422),
        ("XML", "POST", &deploy, "application/xml", "<!DOCTYPE x [<!ENTITY c 'canary'>]>".into(), 422),
        ("JSON of another name", "POST", &deploy, "text/json", "{}".into(), 422),
        ("a type that is none", "POST", &deploy, "canary\u{e9}", "{}".into(), 422),
        ("a multipart form", "POST", &uploads, "multipart/form-data; boundary=x", "--x--".into(), 422),
        (
            "no etags",
            "POST",
            &complete,
            kind,
            format!("{{\"ticket\":\"{sha}\",\"upload_id\":\"x\",\"ext\":\"tar\",\"etags\":[]}}"),
            404,
        ),
        ("a login that is a list", "POST", &"/v1/login".to_owned(), kind, "[\"canary\"]".into(), 422),
    ] {
        let begun = Instant::now();
        let (status, answer) = raw(&agent, &request(method, path, &token, kind, &body)).await;
        assert_eq!(status, wanted, "{what}: {}", &answer[..answer.len().min(2_000)]);
        assert!(!answer.contains("\"canary\""), "{what}: {answer}");
        assert!(answer.len() < 256 << 10, "{what}: the answer has {} bytes", answer.len());
        assert!(begun.elapsed() < Duration::from_secs(15), "{what}: {:?}", begun.elapsed());
    }
    // Descriptors that are nested for ever: a parser that recurses must not take the agent with it.
    for (open, close) in [
        ("[", "]"),
        ("(", ")"),
        ("{a=", "}"),
        ("a {", "}"),
        ("\"${", "}\""),
        ("!", ""),
        ("-", ""),
        ("1?", ""),
        ("f(", ")"),
    ] {
        for n in [500, 20_000] {
            let text = format!("project \"x\" {{\n  env = {}1{}\n}}\n", open.repeat(n), close.repeat(n));
            let block = format!("project \"x\" {{\n{}{}\n}}\n", open.repeat(n), close.repeat(n));
            for text in [text, block] {
                let body = json!({"descriptor": text}).to_string();
                let (status, answer) = raw(&agent, &request("POST", &deploy, &token, kind, &body)).await;
                assert_eq!(status, 422, "{n} {open:?}: {}", &answer[..answer.len().min(2_000)]);
                assert!(answer.len() < 256 << 10, "{n} {open:?}: the answer has {} bytes", answer.len());
            }
        }
    }
    // Bytes that are no text.
    let mut bytes = request("POST", &deploy, &token, kind, "{\"descriptor\":\"xx\"}");
    let at = bytes.len() - 4;
    bytes[at..at + 2].copy_from_slice(b"\xff\xfe");
    assert_eq!(raw(&agent, &bytes).await.0, 422);
    // Two lengths, and a length beside chunks: how one proxy and another read two requests out of one.
    for heads in
        ["content-length: 2\r\ncontent-length: 30\r\n", "transfer-encoding: chunked\r\ncontent-length: 4\r\n"]
    {
        let smuggled = format!(
            "POST {deploy} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n{heads}\r\n0\r\n\r\nGET /v1/whoami HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        let (_, answer) = raw(&agent, smuggled.as_bytes()).await;
        assert!(answer.matches("HTTP/1.1 ").count() <= 1 && !answer.contains("alice"), "{answer}");
    }
    assert_eq!(agent.get("/v1/whoami", &token).await.0, 200, "others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn pt_11_a_second_person_finds_nothing_on_any_route_of_an_app() {
    let stack = shared().await;
    let agent = Agent::start(stack).await;
    let (app, other) = (unique("hers"), unique("none"));
    agent.own(stack, &app, vec![user("alice")]).await;
    let bob = agent.login("bob").await;
    let (_, document) = agent.call(Method::GET, "/v1/openapi.json", None, None).await;
    let sha = "0".repeat(64);
    let part = json!({"sha256": sha, "size": 1, "ext": "tar.zst", "entries": 1});
    let body = |path: &str| match path.rsplit('/').next().unwrap() {
        "uploads" => json!({"parts": [part]}),
        "complete" => json!({"ticket": sha, "upload_id": "x", "ext": "tar.zst", "etags": []}),
        "rollback" | "restart" | "diff" => json!({}),
        "env" | "secrets" => json!({"set": {"A": "b"}}),
        "reveal" => json!({"names": ["A"]}),
        "owners" => json!({"add": ["bob"]}),
        "hooks" => json!({"url": "http://127.0.0.1:9/"}),
        "import" => json!({"file": "{}"}),
        "maintenance" => json!({"on": true}),
        "scale" => json!({"counts": {"web": 1}}),
        _ => json!({"descriptor": "project \"x\" {}"}),
    };
    let mut routes = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        if !path.starts_with("/v1/apps/{app}") {
            continue;
        }
        for method in methods.as_object().unwrap().keys().filter(|m| *m != "parameters") {
            let verb: Method = method.to_uppercase().parse().unwrap();
            let ask = async |name: &str| {
                let query = if verb == Method::PUT { "?ext=tar.zst" } else { "" };
                let path = path
                    .replace("{app}", name)
                    .replace("{sha256}", &sha)
                    .replace("{number}", "1")
                    .replace("{run}", "0a1b2c3d")
                    + query;
                let body = (verb != Method::GET && verb != Method::DELETE).then(|| body(&path));
                agent.call(verb.clone(), path.trim_end_matches('?'), Some(&bob), body).await
            };
            let (status, answer) = ask(&app).await;
            let takes_a_name = path.contains("/uploads") || path.ends_with("/deploy");
            let wanted = if takes_a_name { 409 } else { 404 };
            assert_eq!(status, wanted, "{method} {path}: {answer}");
            assert!(!answer.to_string().contains("alice"), "{answer}");
            // These answer for a name that nobody has, too: it could be the caller's.
            if !takes_a_name && !path.ends_with("/plan") && !path.ends_with("/import") {
                let (status, absent) = ask(&other).await;
                let say = |a: &Value, n: &str| a["detail"].to_string().replace(n, "X");
                assert_eq!(
                    (status.as_u16(), say(&answer, &app)),
                    (404, say(&absent, &other)),
                    "{method} {path}"
                );
            }
            routes += 1;
        }
    }
    assert!(routes >= 9, "{routes}");
}
