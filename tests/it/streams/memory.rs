//! What logs cost the agent: 1 GiB of them, and readers that do not read.

use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sha2::Digest;

use super::Talker;
use crate::harness::{Part, Stack, StackOptions, eventually, the_only_heavy_one};
use crate::login::token;

/// MiB that a process holds now.
fn held(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Watches what a process holds, until it is dropped.
struct Watch {
    most: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn of(pid: u32) -> Self {
        let it = Self { most: Arc::new(AtomicU64::new(0)), stop: Arc::new(AtomicBool::new(false)) };
        let (most, stop) = (it.most.clone(), it.stop.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(held(pid), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        it
    }
    fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Talker {
    /// An app that has written so many bytes; gives their hash.
    async fn big(&self, size: u64) -> String {
        let done = self.path().join("done");
        let process = "    logs {\n      max_files = 12\n      max_file_size = \"100 MiB\"\n    }\n";
        let (size_text, done_text) = (size.to_string(), done.to_str().unwrap().to_owned());
        self.describe(process, &[("MODE", "big"), ("SIZE", &size_text), ("DONE", &done_text)]);
        self.expect(0, &["deploy"]);
        let id = self.running().await;
        let hash = eventually("it has written everything", Duration::from_secs(180), async || {
            std::fs::read_to_string(&done).ok()
        })
        .await;
        eventually("everything is in nomad's files", Duration::from_secs(60), async || {
            let files = self.json(&format!("/v1/client/fs/ls/{id}?path=/alloc/logs")).await;
            let log =
                |f: &&serde_json::Value| f["Name"].as_str().is_some_and(|n| n.starts_with("web.stdout."));
            let all: u64 =
                files.as_array().into_iter().flatten().filter(log).filter_map(|f| f["Size"].as_u64()).sum();
            (all == size).then_some(())
        })
        .await;
        hash
    }

    fn agent(&self) -> u32 {
        self.stack.identity(Part::Agent).unwrap().pid
    }
}

/// PT-65: what logs cost that are far larger than what the agent may hold, and that each byte arrives.
#[tokio::test(flavor = "multi_thread")]
async fn pt_65_logs_stream_exactly_in_less_than_64_mib_of_the_agents_memory() {
    streams(320 << 20).await;
}

/// The same with as much as the acceptance check names.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow, and 1 GiB of disk: scripts/test --full"]
async fn pt_65_a_gib_of_logs_streams_exactly_in_less_than_64_mib_of_the_agents_memory() {
    streams(1 << 30).await;
}

async fn streams(size: u64) {
    let _alone = the_only_heavy_one().await;
    // On a stack of its own: what others ask of an agent would be measured too.
    let stack: &'static Stack = Box::leak(Box::new(Stack::start(StackOptions::with_agent()).await));
    let it = Talker::on(stack, "big");
    let hash = it.big(size).await;
    let before = held(it.agent());
    let watch = Watch::of(it.agent());
    let begun = Instant::now();
    let mut command = it.home.command(it.path(), &["logs", "--raw", "--stream", "stdout"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let (got, seen) = tokio::task::spawn_blocking(move || {
        let (mut digest, mut size, mut buffer) = (sha2::Sha256::new(), 0, vec![0; 1 << 20]);
        loop {
            match out.read(&mut buffer).unwrap() {
                0 => return (size, hex::encode(digest.finalize())),
                n => {
                    digest.update(&buffer[..n]);
                    size += n as u64;
                }
            }
        }
    })
    .await
    .unwrap();
    assert!(child.wait().unwrap().success());
    let (took, most) = (begun.elapsed().as_secs_f32(), watch.most());
    println!(
        "{} MiB of logs: {took:.1} s; the agent held {before} MiB before and {most} MiB at most",
        size >> 20
    );
    assert_eq!((got, seen), (size, hash));
    assert!(most < before + 64, "{most} MiB held, {before} before");

    // Somebody who reads nothing: neither memory nor engine connections are held for them.
    let before = held(it.agent());
    let mut stalled = Vec::new();
    for n in 0..24 {
        let format = if n % 2 == 0 { "raw" } else { "lines" };
        let address = it.stack.api();
        let mut socket = std::net::TcpStream::connect(address.trim_start_matches("http://")).unwrap();
        let (app, token) = (&it.name, token(&it.home));
        write!(
            socket,
            "GET /v1/apps/{app}/logs?format={format} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
        )
        .unwrap();
        stalled.push(socket);
    }
    for socket in &mut stalled {
        let mut first = [0; 15];
        tokio::task::block_in_place(|| socket.read_exact(&mut first)).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");
    }
    let nomad = it.stack.layout.ports.nomad_http();
    eventually("no connection to nomad is busy with them", Duration::from_secs(60), async || {
        (open_to(it.agent(), nomad) <= 8).then_some(())
    })
    .await;
    let most = held(it.agent());
    println!(
        "24 readers that read nothing: {most} MiB held, {before} before; {} connections",
        open_to(it.agent(), nomad)
    );
    assert!(most < before + 64, "{most} MiB held, {before} before");
    drop(stalled);
    it.expect(0, &["delete", "--yes"]);
}

/// Connections that a process holds to a port of this machine.
fn open_to(pid: u32, port: u16) -> usize {
    let own: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|f| std::fs::read_link(f.ok()?.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|l| Some(l.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let to_port = format!(":{port:04X}");
    let is_open = |line: &str| {
        let parts: Vec<&str> = line.split_whitespace().collect();
        parts.get(2).is_some_and(|to| to.ends_with(&to_port))
            && parts.get(3) == Some(&"01")
            && parts.get(9).is_some_and(|inode| own.contains(&(*inode).to_owned()))
    };
    table.lines().skip(1).filter(|l| is_open(l)).count()
}
