//! Files and ports of instances, and an app's address.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::Digest;

use super::Talker;
use crate::bounds::connections_to;
use crate::cli::run;
use crate::harness::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn files_and_folders_are_copied_both_ways_and_links_that_lead_elsewhere_are_refused() {
    let it = Talker::new("copy").await;
    it.describe("", &[("MODE", "words")]);
    it.expect(0, &["deploy"]);
    it.running().await;
    let here = |name: &str| it.path().join(name);
    std::fs::create_dir_all(here("data/deep")).unwrap();
    let noise: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(here("data/deep/noise"), &noise).unwrap();
    std::fs::write(here("data/run"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(here("data/run"), std::fs::Permissions::from_mode(0o750)).unwrap();

    std::os::unix::fs::symlink("deep/noise", here("data/near")).unwrap();

    let app = &it.name;
    // Relative to where the app's program starts.
    it.expect(0, &["cp", ":talk.py", "own"]);
    assert_eq!(std::fs::read(here("own")).unwrap(), std::fs::read(here("app/talk.py")).unwrap());
    it.expect(0, &["cp", "data", &format!("{app}:in")]);
    let sum = it.expect(0, &["exec", "--", "sha256sum", "in/deep/noise"]).out;
    assert!(sum.starts_with(&hex::encode(sha2::Sha256::digest(&noise))), "{sum}");
    // Into a folder that is there; and one file under another name.
    it.expect(0, &["cp", "data/run", ":in"]);
    it.expect(0, &["cp", "data/run", ":other"]);
    it.expect(0, &["exec", "--", "test", "-x", "in/run"]);
    it.expect(0, &["exec", "--", "test", "-x", "other"]);

    it.expect(0, &["cp", &format!("{app}:in"), "out"]);
    assert_eq!(std::fs::read(here("out/deep/noise")).unwrap(), noise);
    // Links in a folder stay links, both ways.
    assert_eq!(it.expect(0, &["exec", "--", "readlink", "in/near"]).out, "deep/noise\n");
    assert_eq!(std::fs::read_link(here("out/near")).unwrap(), Path::new("deep/noise"));
    assert_eq!(std::fs::metadata(here("out/run")).unwrap().permissions().mode() & 0o777, 0o750);
    std::fs::create_dir(here("there")).unwrap();
    it.expect(0, &["cp", ":other", "there"]);
    assert!(here("there/other").is_file());

    let instance = it.running().await;
    for path in ["none", "/no/such/folder/none"] {
        let none = it.expect(6, &["cp", &format!(":{path}"), "."]);
        let words = format!("no such file: {path} in web.{}", &instance[..8]);
        assert!(none.err.contains(&words), "{}", none.err);
    }
    it.expect(0, &["exec", "--", "ln", "-s", "/etc", "in/link"]);
    let refused = it.expect(1, &["cp", ":in", "again"]);
    let why = "in/link is a link that leads out of in, to /etc: refused";
    assert!(refused.err.contains(why), "{}", refused.err);
    assert!(!here("again/link").is_symlink());
    let refused = it.expect(1, &["cp", ":in/link", "again"]);
    assert!(refused.err.contains("link is a link to /etc; copy that instead"), "{}", refused.err);

    // `-` is standard output and input, and the app alone the folder that its program starts in.
    assert_eq!(it.expect(0, &["cp", ":other", "-"]).out, "#!/bin/sh\n");
    assert!(!here("-").exists());
    let folder = it.expect(2, &["cp", ":in", "-"]);
    assert!(folder.err.contains("is a folder, and standard output takes one file"), "{}", folder.err);
    it.expect(0, &["cp", "data/run", &format!("{app}:")]);
    std::os::unix::fs::symlink("data/run", here("alias")).unwrap();
    it.expect(0, &["cp", "alias", ":"]);
    it.expect(0, &["exec", "--", "sh", "-c", "test -x run && test -x alias && ! test -L alias"]);
    let typed = |to: &str| {
        tokio::task::block_in_place(|| run(it.home.command(it.path(), &["cp", "-", to]), "by hand\n"))
    };
    assert_eq!(typed(":typed").code, 0);
    let typed_there = it.expect(0, &["exec", "--", "sh", "-c", "cat typed; stat -c %a typed"]).out;
    assert_eq!(typed_there, "by hand\n644\n");
    let nameless = typed(":in");
    assert!(nameless.code == 2 && nameless.err.contains("name the file: in/NAME"), "{}", nameless.err);
    // Refused before anything is read: this input never ends.
    for nameless in [":", ":in/", ":/"] {
        let mut command = it.home.command(it.path(), &["cp", "-", nameless]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let held = child.stdin.take();
        let wait = Duration::from_secs(20);
        let ended = eventually("it is refused", wait, async || child.try_wait().unwrap()).await;
        drop(held);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(ended.code(), Some(2), "{nameless}: {said}");
        assert!(said.contains("standard input has no name"), "{nameless}: {said}");
    }
    it.expect(2, &["cp", "a", "b"]);
    for (words, wanted) in [
        (&["exec", "ls", "-l"][..], "`terreau exec -- ls -l`"),
        (&["exec", "web", "ls"], "`terreau exec -- ls -l`"),
        (&["run", "ls", "-l"], "`terreau run -- ls -l`"),
        (&["run", "ls"], "`terreau run -- ls -l`"),
    ] {
        let ran = it.expect(2, words);
        assert!(ran.err.contains("stand after `--`") && ran.err.contains(wanted), "{words:?}: {}", ran.err);
    }
    let ls = it.expect(125, &["exec", "ls"]);
    assert!(ls.err.contains("there is no app ls") && ls.err.contains("`terreau exec -- ls`"), "{}", ls.err);
    assert!(!it.expect(2, &["exec", "--no-such", "--", "ls"]).err.contains("stand after"));

    // Each of them is one entry, by its own name, with the path and the direction.
    let audit = it.audit().await;
    let told = |verb: &str| -> Vec<String> {
        let of = audit.iter().filter(|a| a["verb"] == verb);
        of.map(|a| a["summary"].as_str().unwrap().replace(&instance[..8], "ID")).collect()
    };
    let wanted = [
        "talk.py out of web.ID",
        "a copy to in in web.ID",
        "a copy to in in web.ID",
        "a copy to other in web.ID",
        "in out of web.ID",
        "other out of web.ID",
        "none out of web.ID",
        "/no/such/folder/none out of web.ID",
        "in out of web.ID",
        "in/link out of web.ID",
        "other out of web.ID",
        "in out of web.ID",
        "a copy to . in web.ID",
        "a copy to . in web.ID",
        "a copy to typed in web.ID",
        "a copy to in in web.ID",
    ];
    assert_eq!(told("cp"), wanted);
    assert_eq!(told("exec").len(), 7, "{audit:?}");
    it.expect(0, &["delete", "--yes"]);
}

/// `terreau proxy`, and where it listens.
struct Leading(Child, String);

impl Leading {
    fn begin(it: &Talker, args: &[&str]) -> Self {
        let mut command = it.home.command(it.path(), &[&["proxy"], args].concat());
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        tokio::task::block_in_place(|| {
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap()
        });
        assert!(line.starts_with("127.0.0.1:"), "{line:?}");
        Self(child, line.trim().to_owned())
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_reached_by_many_connections_at_once_each_way_ended_by_itself() {
    let it = Talker::new("port").await;
    let process = format!(
        "    port \"data\" {{}}\n    check \"tcp\" {{}}\n    route \"{}.example.org\" {{}}\n",
        it.name
    );
    it.describe(&process, &[("MODE", "echo")]);
    it.expect(0, &["deploy"]);
    let id = it.running().await;

    let leading = Leading::begin(&it, &["data"]);
    let asking: Vec<_> = (0..24_u32)
        .map(|n| {
            let address = leading.1.clone();
            std::thread::spawn(move || {
                let bytes: Vec<u8> =
                    (0..(n + 1) * 40_000).map(|b| b.wrapping_mul(n + 7).to_le_bytes()[1]).collect();
                let mut socket = TcpStream::connect(address).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                socket.write_all(&bytes).unwrap();
                // The answer comes only after the end of what we say, and only if that end alone arrives.
                socket.shutdown(Shutdown::Write).unwrap();
                let mut answer = String::new();
                socket.read_to_string(&mut answer).unwrap();
                assert_eq!(
                    answer,
                    format!("{} {}\n", bytes.len(), hex::encode(sha2::Sha256::digest(&bytes)))
                );
            })
        })
        .collect();
    for one in asking {
        tokio::task::block_in_place(|| one.join().unwrap());
    }

    // One use of it is one entry, whatever the number of connections.
    let told = |it: &Talker| {
        let events: Value = serde_json::from_str(&it.expect(0, &["events", "--json"]).out).unwrap();
        let all = events["events"].as_array().unwrap().clone();
        all.into_iter().filter(|e| e["what"] == "connect").collect::<Vec<_>>()
    };
    let entries = told(&it);
    assert_eq!(entries.len(), 1, "{entries:?}");
    let text = entries[0]["text"].as_str().unwrap();
    assert!(text.contains("port data") && text.contains(&id[..8]), "{text}");

    // By number, at a local port of choice.
    let whole = it.json(&format!("/v1/allocation/{id}")).await;
    let number = whole["AllocatedResources"]["Shared"]["Ports"][0]["Value"].to_string();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let by_number = Leading::begin(&it, &[&it.name, &format!("{free}:{number}")]);
    assert_eq!(by_number.1, format!("127.0.0.1:{free}"));
    drop(by_number);
    assert_eq!(told(&it).len(), 2);
    let none = it.expect(6, &["proxy", "admin"]);
    assert!(none.err.contains("it has data"), "{}", none.err);

    // Who leaves without a word leaves nothing behind.
    for _ in 0..5 {
        drop(TcpStream::connect(&leading.1).unwrap());
    }
    let mut socket = TcpStream::connect(&leading.1).unwrap();
    socket.write_all(b"x").unwrap();
    drop(leading);
    let mut rest = Vec::new();
    eventually("the connection ends with the command", Duration::from_secs(20), async || {
        tokio::task::block_in_place(|| socket.read_to_end(&mut rest)).map_or(Some(()), |_| Some(()))
    })
    .await;

    let url = it.expect(0, &["open", "--print"]).out;
    assert_eq!(url.trim(), it.expect(0, &["open"]).out.trim(), "without a display it is printed");
    assert!(url.starts_with("http://") && url.contains(&it.name), "{url}");
    it.expect(0, &["delete", "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_client_though_the_instance_reads_nothing_and_when_nothing_moves() {
    let it = Talker::new("deaf").await;
    let process = format!(
        "    port \"data\" {{}}\n    check \"tcp\" {{}}\n    route \"{}.example.org\" {{}}\n",
        it.name
    );
    it.describe(&process, &[("MODE", "deaf")]);
    it.expect(0, &["deploy"]);
    let id = it.running().await;
    let whole = it.json(&format!("/v1/allocation/{id}")).await;
    let port = whole["AllocatedResources"]["Shared"]["Ports"][0]["Value"].to_string();
    let open = || connections_to(&format!(":{port}"));

    let leading = Leading::begin(&it, &["data"]);
    let mut socket = TcpStream::connect(&leading.1).unwrap();
    socket.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    let written = tokio::task::block_in_place(|| {
        let (mut written, piece) = (0_usize, vec![7; 1 << 16]);
        while let Ok(n) = socket.write(&piece) {
            written += n;
        }
        written
    });
    assert!((1 << 20..1 << 26).contains(&written), "what nobody reads is held up, not held: {written}");
    assert!(open() >= 1);
    // Killed, without a word.
    drop(leading);
    drop(socket);
    // But for the checks of the engines, which come and go.
    let mut quiet = 0;
    eventually("the connection to the instance is closed", Duration::from_secs(90), async || {
        quiet = if open() == 0 { quiet + 1 } else { 0 };
        (quiet > 3).then_some(())
    })
    .await;

    let leading = Leading::begin(&it, &["data", "--idle", "2s"]);
    let mut socket = TcpStream::connect(&leading.1).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    let ended = tokio::task::block_in_place(|| socket.read(&mut [0; 1]));
    assert!(matches!(ended, Ok(0)), "{ended:?}");
    it.expect(0, &["delete", "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_takes_no_more_connections_still_hears_ctrl_c() {
    let it = Talker::new("full").await;
    let process = format!(
        "    port \"data\" {{}}\n    check \"tcp\" {{}}\n    route \"{}.example.org\" {{}}\n",
        it.name
    );
    it.describe(&process, &[("MODE", "deaf")]);
    it.expect(0, &["deploy"]);
    let id = it.running().await;
    let whole = it.json(&format!("/v1/allocation/{id}")).await;
    let port = whole["AllocatedResources"]["Shared"]["Ports"][0]["Value"].to_string();
    let mut leading = Leading::begin(&it, &["data"]);
    let held: Vec<_> = (0..100).map(|_| TcpStream::connect(&leading.1).unwrap()).collect();
    eventually("as many as there are places are carried", Duration::from_secs(60), async || {
        (connections_to(&format!(":{port}")) >= 96).then_some(())
    })
    .await;
    kill_process(Pid::from_child(&leading.0), Signal::INT).unwrap();
    let ended = eventually("it ends", Duration::from_secs(10), async || leading.0.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(0));
    drop(held);
    it.expect(0, &["delete", "--yes"]);
}
