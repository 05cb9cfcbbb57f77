//! A test app that behaves and misbehaves as its environment says. Only the standard library, a thread a connection.
//!
//! | variable | meaning |
//! |---|---|
//! | `PROBE_LISTEN` | address and port, else `PORT` or `NOMAD_PORT_http_port` on all addresses |
//! | `PROBE_START_DELAY_MS` | wait before listening |
//! | `PROBE_READY_DELAY_MS` | `/healthz` answers 503 until so long after listening |
//! | `PROBE_NEVER_READY=1` | `/healthz` answers 503 for ever |
//! | `PROBE_CRASH_AFTER_MS`, `PROBE_CRASH_AFTER_REQUESTS` | exit so long after the start, or after so many requests |
//! | `PROBE_CRASH_CODE` | with this code (1) |
//! | `PROBE_IGNORE_SIGTERM=1` | only a kill ends it (it starts itself anew under `trap '' TERM`) |
//! | `PROBE_MEMORY_MIB_PER_S` | grow by so much |
//! | `PROBE_LOG_REQUESTS=1` | a line on stdout for each request |
//! | `PROBE_VERSION` | what `/version` says |
//!
//! Paths: `/` and `/version`, `/healthz`, `/echo` (the body back), `/env/NAME`, `/log` (requests so far), `/sleep/MS`,
//! `/bytes/N`, `/crash/CODE`, `/ws` (WebSocket echo), `/events` (server-sent events, one each 100 ms), `/print/TEXT`.

mod sha1;
mod ws;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bodies are not echoed beyond this.
const MAX_BODY: u64 = 64 << 20;

static REQUESTS: AtomicU64 = AtomicU64::new(0);
static LOG: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

fn number(name: &str) -> Option<u64> {
    text(name).map(|v| v.trim().parse().unwrap_or_else(|_| fail(&format!("{name} is no number: {v:?}"))))
}

fn fail(why: &str) -> ! {
    eprintln!("probe: {why}");
    std::process::exit(78);
}

fn crash(why: &str) -> ! {
    eprintln!("probe: crashing: {why}");
    std::process::exit(i32::try_from(number("PROBE_CRASH_CODE").unwrap_or(1)).unwrap_or(1));
}

fn millis(name: &str) -> Option<Duration> {
    number(name).map(Duration::from_millis)
}

fn address() -> String {
    text("PROBE_LISTEN").unwrap_or_else(|| {
        let port = text("PORT").or_else(|| text("NOMAD_PORT_http_port")).unwrap_or_else(|| "8080".to_owned());
        format!("0.0.0.0:{port}")
    })
}

/// An ignored signal stays ignored in a new program: the shell ignores it, then becomes us. So no foreign code is
/// needed here to handle signals.
fn ignore_sigterm() {
    use std::os::unix::process::CommandExt;
    if text("PROBE_IGNORE_SIGTERM").is_none() || text("PROBE_IGNORES").is_some() {
        return;
    }
    let Ok(me) = std::env::current_exe() else { fail("cannot find my own program") };
    let error = std::process::Command::new("/bin/sh")
        .args(["-c", "trap '' TERM; exec \"$0\" \"$@\""])
        .arg(me)
        .args(std::env::args_os().skip(1))
        .env("PROBE_IGNORES", "1")
        .exec();
    fail(&format!("cannot start myself anew: {error}"));
}

fn main() {
    ignore_sigterm();
    println!("probe: starting, version {}", text("PROBE_VERSION").unwrap_or_else(|| "1".to_owned()));
    if let Some(delay) = millis("PROBE_CRASH_AFTER_MS") {
        std::thread::spawn(move || {
            std::thread::sleep(delay);
            crash("its time has come");
        });
    }
    if let Some(rate) = number("PROBE_MEMORY_MIB_PER_S") {
        std::thread::spawn(move || {
            let mut kept: Vec<Vec<u8>> = Vec::new();
            loop {
                // Touched pages: a mere allocation would take nothing.
                kept.push(vec![1; usize::try_from(rate << 20).unwrap_or(1 << 20)]);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
    }
    if let Some(delay) = millis("PROBE_START_DELAY_MS") {
        std::thread::sleep(delay);
    }
    let address = address();
    let listener = TcpListener::bind(&address).unwrap_or_else(|e| fail(&format!("cannot listen on {address}: {e}")));
    let ready_at = Instant::now() + millis("PROBE_READY_DELAY_MS").unwrap_or_default();
    println!("probe: listening on {address}");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            // A client that goes away is its own affair.
            let _ = connection(stream, ready_at);
        });
    }
}

/// A request, its body still unread.
struct Request {
    method: String,
    path: String,
    length: u64,
    ws_key: Option<String>,
    close: bool,
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.take(8192).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        length: 0,
        ws_key: None,
        close: words.next() == Some("HTTP/1.0"),
    };
    for _ in 0..200 {
        let mut header = String::new();
        reader.take(16 << 10).read_line(&mut header)?;
        let header = header.trim_end();
        if header.is_empty() {
            return Ok(Some(request));
        }
        let (name, value) = header.split_once(':').unwrap_or((header, ""));
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => request.length = value.parse().unwrap_or(0),
            "sec-websocket-key" => request.ws_key = Some(value.to_owned()),
            "connection" => request.close |= value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    Ok(None)
}

fn connection(stream: TcpStream, ready_at: Instant) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let is_check = request.path == "/healthz";
        if !is_check {
            let n = REQUESTS.fetch_add(1, Ordering::SeqCst) + 1;
            let line = format!("{n} {} {}", request.method, request.path);
            if text("PROBE_LOG_REQUESTS").is_some() {
                println!("{line}");
            }
            if let Ok(mut log) = LOG.lock() {
                log.push_back(line);
                if log.len() > 1_000 {
                    log.pop_front();
                }
            }
            if number("PROBE_CRASH_AFTER_REQUESTS").is_some_and(|limit| n > limit) {
                crash("enough requests");
            }
        }
        if request.length > MAX_BODY {
            return reply(&mut out, 413, b"too large\n");
        }
        let mut body = Vec::new();
        (&mut reader).take(request.length).read_to_end(&mut body)?;
        if request.path == "/ws" {
            return match &request.ws_key {
                Some(key) => ws::echo(key, &mut reader, &mut out),
                None => reply(&mut out, 426, b"this is a WebSocket\n"),
            };
        }
        if request.path == "/events" {
            return events(&mut out);
        }
        answer(&request, &body, ready_at, &mut out)?;
        if request.close {
            break;
        }
    }
    Ok(())
}

fn answer(request: &Request, body: &[u8], ready_at: Instant, out: &mut TcpStream) -> std::io::Result<()> {
    let path = request.path.split('?').next().unwrap_or_default();
    let (first, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    match first {
        "" | "version" => {
            let version = text("PROBE_VERSION").unwrap_or_else(|| "1".to_owned());
            reply(out, 200, format!("probe {version}\n").as_bytes())
        }
        "healthz" if text("PROBE_NEVER_READY").is_some() || Instant::now() < ready_at => {
            reply(out, 503, b"not ready\n")
        }
        "healthz" => reply(out, 200, b"ok\n"),
        "echo" => reply(out, 200, body),
        "env" => match text(rest) {
            Some(value) => reply(out, 200, value.as_bytes()),
            None => reply(out, 404, b"not set\n"),
        },
        "log" => {
            let lines: Vec<String> = LOG.lock().map(|l| l.iter().cloned().collect()).unwrap_or_default();
            reply(out, 200, (lines.join("\n") + "\n").as_bytes())
        }
        "sleep" => {
            std::thread::sleep(Duration::from_millis(rest.parse().unwrap_or(0)));
            reply(out, 200, b"slept\n")
        }
        "bytes" => {
            let n: u64 = rest.parse().unwrap_or(0);
            write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n")?;
            std::io::copy(&mut std::io::repeat(b'x').take(n), out).map(drop)
        }
        "crash" => {
            eprintln!("probe: crashing: asked to");
            std::process::exit(rest.parse().unwrap_or(1));
        }
        "print" => {
            println!("{rest}");
            reply(out, 200, b"printed\n")
        }
        _ => reply(out, 404, b"no such page\n"),
    }
}

fn reply(out: &mut TcpStream, status: u16, body: &[u8]) -> std::io::Result<()> {
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        413 => "Content Too Large",
        426 => "Upgrade Required",
        _ => "Service Unavailable",
    };
    let mut whole = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    whole.extend_from_slice(body);
    out.write_all(&whole)
}

fn events(out: &mut TcpStream) -> std::io::Result<()> {
    out.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")?;
    for n in 0_u64.. {
        write!(out, "id: {n}\ndata: {n}\n\n")?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
