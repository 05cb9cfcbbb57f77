//! Programs in instances: their bytes, their exit codes, their terminals, and what ends them.

use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::Digest;

use super::Talker;
use crate::harness::eventually;
use crate::terminal::Terminal;

/// True while a process with this word on its command line runs.
fn runs(word: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|p| {
        let line = std::fs::read(p.path().join("cmdline")).unwrap_or_default();
        let me = p.file_name().to_str().and_then(|n| n.parse().ok()) == Some(std::process::id());
        let line = String::from_utf8_lossy(&line).into_owned();
        // The program itself, and not the command line that asked for it.
        !me && line.contains(word) && !line.contains("terreau")
    })
}

async fn ends(word: &str) {
    eventually("the program has ended", Duration::from_secs(40), async || (!runs(word)).then_some(())).await;
}

async fn begins(word: &str) {
    eventually("the program runs", Duration::from_secs(40), async || runs(word).then_some(())).await;
}

impl Talker {
    /// A program that sleeps under a word of its own, begun by `terreau exec` in the background.
    async fn sleeper(&self, word: &str, args: &[&str]) -> Child {
        let sleeping = format!("exec -a {word} sleep 1000");
        let args = [&["exec"], args, &["--", "bash", "-c", &sleeping]].concat();
        let mut command = self.home.command(self.path(), &args);
        let child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        begins(word).await;
        child
    }

    /// What the audit log says of the app, oldest first.
    pub(super) async fn audit(&self) -> Vec<Value> {
        let url = format!("{}/v1/kv/terreau/v1/audit/?recurse", self.stack.consul());
        let all: Value = self.stack.http().get(url).send().await.unwrap().json().await.unwrap();
        let read = |e: &Value| serde_json::from_slice(&STANDARD.decode(e["Value"].as_str()?).ok()?).ok();
        all.as_array()
            .into_iter()
            .flatten()
            .filter_map(read)
            .filter(|a: &Value| a["app"].to_string().contains(&self.name))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_s_bytes_and_exit_code_are_ours_and_the_audit_log_knows_its_name_alone() {
    let it = Talker::new("exec").await;
    it.describe("", &[("MODE", "words"), ("WORD", "inside")]);
    it.expect(0, &["deploy"]);
    let id = it.running().await;

    let ran = it.expect(7, &["exec", "--", "sh", "-c", "echo $WORD; echo oops >&2; exit 7"]);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("inside\n", "oops\n"));
    // It stands where the app's own program does.
    let place = it.expect(0, &["exec", "--alloc", &id[..8], "--", "pwd"]).out;
    assert!(place.trim().ends_with("/web/local/app"), "{place}");
    assert_eq!(it.expect(0, &["exec", "--", "ls"]).out, "talk.py\n");
    assert_eq!(it.expect(0, &["exec", "--tty", "--no-stdin", "--", "ls"]).out, "talk.py\r\n");
    it.expect(137, &["exec", "--", "sh", "-c", "kill -9 $$"]);

    // Both ways at once, more than any buffer holds; nothing of it is text.
    let mut noise = vec![0; 8 << 20];
    noise.iter_mut().zip(0_u64..).for_each(|(b, n)| *b = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8);
    let (wanted, home, dir) = (hex::encode(sha2::Sha256::digest(&noise)), &it.home, it.path());
    let out = tokio::task::block_in_place(|| {
        let mut command = home.command(dir, &["exec", "--", "cat"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut keys = child.stdin.take().unwrap();
        let feeding = std::thread::spawn(move || keys.write_all(&noise).unwrap());
        let out = child.wait_with_output().unwrap();
        feeding.join().unwrap();
        assert!(out.status.success());
        out.stdout
    });
    assert_eq!((out.len(), hex::encode(sha2::Sha256::digest(&out))), (8 << 20, wanted));
    it.expect(0, &["exec", "--no-stdin", "--", "cat"]);

    // It has ended, whether our input has or not.
    let mut command = it.home.command(it.path(), &["exec", "--", "sh", "-c", "echo done; exit 4"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let keys = child.stdin.take().unwrap();
    let out = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
    assert_eq!((out.status.code(), &out.stdout[..], &out.stderr[..]), (Some(4), &b"done\n"[..], &b""[..]));
    drop(keys);

    // Nor does what is still on its way to it take its last words with it, but for what Nomad itself loses: its handler ends
    // by whichever comes first, the program's end or the input that a program which has ended does not take.
    let mut told = 0;
    for _ in 0..8 {
        let mut command = it.home.command(it.path(), &["exec", "--", "sh", "-c", "echo heard; exit 3"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut keys = child.stdin.take().unwrap();
        // Whoever has ended takes nothing.
        let feeding = std::thread::spawn(move || drop(keys.write_all(&vec![b'x'; 4 << 20])));
        let out = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
        feeding.join().unwrap();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        if out.status.code() == Some(125) {
            assert!(err.contains("its exit code is not known"), "{err}");
            continue;
        }
        assert_eq!((out.status.code(), &out.stdout[..], err.as_str()), (Some(3), &b"heard\n"[..], ""));
        told += 1;
    }
    assert!(told > 0, "never told of the end");

    let none = it.expect(127, &["exec", "--", "no-such-program"]);
    assert!(none.err.contains("no-such-program"), "{}", none.err);

    // What is our own failure is 125, and says why.
    let fails = |args: &[&str], word: &str| {
        let ran = it.expect(125, &[&["exec"], args].concat());
        assert!(ran.err.contains(word), "{args:?}: {}", ran.err);
    };
    fails(&["--process", "nobody", "--", "true"], "nobody");
    fails(&["--alloc", "ffffffff", "--", "true"], "ffffffff");
    fails(&["no-such-app", "--", "true"], "no-such-app");
    it.expect(2, &["exec", "--tty", "--no-tty"]);

    it.expect(0, &["exec", "--", "sh", "-c", "true canary-of-exec"]);
    let audit = it.audit().await;
    let told: Vec<&str> =
        audit.iter().filter(|a| a["verb"] == "exec").filter_map(|a| a["summary"].as_str()).collect();
    assert!(told.contains(&format!("sh in web.{}", &id[..8]).as_str()), "{told:?}");
    assert!(!told.iter().any(|t| t.contains("canary")), "{told:?}");
    assert_eq!(audit[0]["by"]["login"], it.stack.person().0.as_str());
    it.expect(0, &["delete", "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_on_a_terminal_has_its_size_and_the_terminal_is_given_back_however_it_ends() {
    let it = Talker::new("tty").await;
    it.describe("", &[("MODE", "words")]);
    it.expect(0, &["deploy"]);
    it.running().await;
    let dir = it.path().to_str().unwrap().to_owned();

    // It sees keys as they are typed, and the terminal as it is and becomes.
    let wait = format!("(until [ -e {dir}/go ]; do sleep 0.1; done; stty cols 101 rows 31 </dev/tty) &");
    let inside = format!(
        "test -t 0 && test -t 1 && echo on a terminal; touch {dir}/go; \
         until [ \"$(stty size)\" = \"31 101\" ]; do sleep 0.1; done; echo resized; read word; echo got=$word; exit 9"
    );
    std::fs::write(it.path().join("inside"), inside).unwrap();
    let line = format!("{wait} terreau exec -- sh {dir}/inside");
    let mut terminal = Terminal::run(&it.home, it.path(), &line);
    tokio::task::block_in_place(|| {
        terminal.answer("resized\r\n", "hello\r");
        let shown = terminal.end();
        assert!(shown.contains("on a terminal") && shown.contains("got=hello"), "{shown}");
        assert!(shown.contains("exit=9"), "{shown}");
    });

    // Ctrl-C is the program's own key.
    let mut terminal = Terminal::run(
        &it.home,
        it.path(),
        "terreau exec -- sh -c 'trap \"echo caught; exit 3\" INT; echo ready; read x'",
    );
    tokio::task::block_in_place(|| {
        terminal.answer("ready\r\n", "\u{3}");
        let shown = terminal.end();
        assert!(shown.contains("caught") && shown.contains("exit=3"), "{shown}");
    });

    // Ended from outside.
    let line = format!(
        "(until [ -e {dir}/pid2 ]; do sleep 0.1; done; kill -TERM $(cat {dir}/pid)) & \
         sh -c 'echo $$ > {dir}/pid; exec terreau exec -- sh -c \"touch {dir}/pid2; sleep 1000\"'"
    );
    let terminal = Terminal::run(&it.home, it.path(), &line);
    let shown = tokio::task::block_in_place(|| terminal.end());
    assert!(shown.contains("exit=143"), "{shown}");
    it.expect(0, &["delete", "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_ends_with_its_command_with_its_session_and_after_being_idle() {
    let it = Talker::new("ends").await;
    it.describe("", &[("MODE", "words")]);
    it.expect(0, &["deploy"]);
    it.running().await;

    // The command is killed: nobody is there any more.
    let word = crate::harness::unique("killed");
    let mut child = it.sleeper(&word, &[]).await;
    child.kill().unwrap();
    child.wait().unwrap();
    ends(&word).await;

    // Nothing goes either way.
    let word = crate::harness::unique("idle");
    let (child, begun) = (it.sleeper(&word, &["--idle", "3s"]).await, Instant::now());
    let out = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(125), "{said}");
    assert!(said.contains("3 s without a byte") && begun.elapsed() < Duration::from_secs(30), "{said}");
    ends(&word).await;

    // The session is revoked elsewhere.
    let word = crate::harness::unique("revoked");
    let child = it.sleeper(&word, &[]).await;
    it.expect(0, &["logout"]);
    let out = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(125), "{said}");
    assert!(said.contains("your session has ended"), "{said}");
    ends(&word).await;
    it.expect(125, &["exec", "--", "true"]);
}
