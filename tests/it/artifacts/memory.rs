//! 2 GiB through the command line, the agent and Garage, on both roads, and none of them holds it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

use super::roads::is_presigned;
use super::*;
use crate::cli::{Home, run};
use crate::harness::unique;

const SIZE: usize = 2 << 30;
/// What the command line may ever have held, in MiB: its own code, a window of zstd, four pieces on their way.
const CLI_MOST: u64 = 96;
/// What the agent may ever have held: three pieces of 16 MiB that pass through, buffers, and itself.
const AGENT_MOST: u64 = 160;

/// The most memory that a process ever had, in MiB; `None` once it is gone.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024)
}

/// Garage as only the agent reaches it: whoever comes with a presigned URL finds the door shut.
async fn one_way(target: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let road = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let target = target.clone();
            tokio::spawn(async move {
                if !is_presigned(&from).await {
                    let mut to = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                }
            });
        }
    });
    road
}

/// `terreau deploy` in that folder, to its good end: what it said, and its peak.
async fn deploy(home: &Home, folder: &Path) -> (String, u64) {
    let said = folder.join("said");
    let mut command = home.command(folder, &["deploy"]);
    let out = File::create(&said).unwrap();
    command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
    let mut child = command.spawn().unwrap();
    let mut most = 0;
    let status = loop {
        most = most.max(peak(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let said = std::fs::read_to_string(said).unwrap();
    assert!(status.success(), "{status}: {said}");
    (said, most)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes, and 10 GiB of disk: cargo test --test it artifacts::memory -- --include-ignored"]
async fn an_artifact_of_2_gib_sits_in_nobodys_memory() {
    let stack = Stack::start(StackOptions::engines()).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("site")).unwrap();
    let mut film = File::create(folder.path().join("site/film.bin")).unwrap();
    for _ in 0..SIZE >> 24 {
        film.write_all(&noise(1 << 24)).unwrap();
    }
    std::fs::write(folder.path().join("site/index.html"), "<a href=film.bin>").unwrap();

    let road = one_way(stack.s3().trim_start_matches("http://").to_owned()).await;
    let roads: [(&str, &[(&str, String)]); 2] =
        [("presigned", &[]), ("through the agent", &[("garage.s3", road)])];
    for (what, settings) in roads {
        let agent = agent(&stack, settings).await;
        let home = Home::new();
        let login = ["login", "--server", &agent.url, "--user", "alice", "--password-stdin"];
        let ran = run(home.command(home.dir.path(), &login), "canary-of-alice\n");
        assert_eq!(ran.code, 0, "{}", ran.err);
        let app = unique("big");
        std::fs::write(
            folder.path().join("terreau.hcl"),
            format!(
                "project \"{app}\" {{\n  build \"static\" {{\n    dir = \"site\"\n  }}\n  route \"{app}.example.org\" {{}}\n}}\n"
            ),
        )
        .unwrap();
        let (rest, begun) = (peak(agent.child.id()).unwrap(), Instant::now());
        let (said, cli) = deploy(&home, folder.path()).await;
        let (took, held) = (begun.elapsed().as_secs_f32(), peak(agent.child.id()).unwrap());
        println!(
            "2 GiB {what}: {took:.0} s; peaks: command line {cli} MiB, agent {held} MiB ({rest} before)\n{said}"
        );
        assert_eq!(
            said.contains("uploaded 2.00 GiB through the agent"),
            what == "through the agent",
            "{said}"
        );
        let reply = stack.http().head(format!("{}/film.bin", stack.web()));
        let reply = reply.header("host", format!("{app}.example.org")).send().await.unwrap();
        assert_eq!(reply.headers()["content-length"], SIZE.to_string().as_str());
        assert!(cli <= CLI_MOST, "{what}: the command line held {cli} MiB");
        assert!(held <= AGENT_MOST, "{what}: the agent held {held} MiB");
        // An unchanged artifact uploads nothing, and is not read.
        let before = Instant::now();
        let (said, _) = deploy(&home, folder.path()).await;
        println!("again: {:.0} s\n{said}", before.elapsed().as_secs_f32());
        assert!(said.contains("there already"), "{said}");
    }
}
