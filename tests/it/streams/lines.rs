//! Logs as people read them: prefixes, order, time, patterns, JSON; followed through a redeploy of twenty instances.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::Talker;
use crate::harness::{eventually, the_only_heavy_one};

/// PT-65: chosen, ordered, told apart; bytes exact.
#[tokio::test(flavor = "multi_thread")]
async fn pt_65_lines_bear_their_instance_their_own_time_orders_them_and_bytes_stay_exact() {
    let it = Talker::new("words").await;
    it.describe("", &[("MODE", "words")]);
    it.expect(0, &["deploy"]);
    it.says(&["logs"], "no end").await;
    let id = it.running().await;
    let short = &id[..8];

    // Two streams of one instance, sorted by the times that lines bear; a prefix before each.
    let plain = tokio::task::block_in_place(|| {
        it.home.command(it.path(), &["logs"]).stdin(Stdio::null()).output().unwrap().stdout
    });
    let wanted = format!(
        "web.{short} | 2026-01-01T00:00:01Z first\nweb.{short} | 2026-01-01T00:00:02Z second\nweb.{short} | caf"
    );
    assert!(plain.starts_with(wanted.as_bytes()), "{}", String::from_utf8_lossy(&plain));
    assert!(plain.windows(4).any(|w| w == b"caf\xe9"), "in a pipe bytes stay as they are");

    // The bytes alone.
    let exact = b"2026-01-01T00:00:02Z second\ncaf\xe9 \x1b[31mred\x1b[0m \x1b[2J\nword\nno end";
    for args in
        [&["logs", "--raw", "--stream", "stdout"][..], &["logs", "--alloc", short, "--stream", "stdout"]]
    {
        let out = tokio::task::block_in_place(|| it.home.command(it.path(), args).output().unwrap().stdout);
        assert_eq!(out, exact, "{args:?}");
    }

    // JSON: an object a line; what is no UTF-8 in base64.
    let lines: Vec<Value> =
        it.expect(0, &["logs", "--json"]).out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0]["line"], "2026-01-01T00:00:01Z first");
    assert_eq!((&lines[0]["at"], &lines[0]["stream"]), (&"2026-01-01T00:00:01Z".into(), &"stderr".into()));
    assert_eq!((&lines[0]["alloc"], &lines[0]["process"]), (&id.as_str().into(), &"web".into()));
    assert!(lines[2]["bytes"].is_string() && lines[2]["line"].is_null(), "{}", lines[2]);
    assert_eq!((&lines[4]["line"], &lines[4]["partial"]), (&"no end".into(), &true.into()));

    let text = |args: &[&str]| it.expect(0, &[&["logs"], args].concat()).out;
    assert_eq!(text(&["--tail", "2", "--stream", "stdout", "--raw"]), "word\nno end");
    assert_eq!(text(&["--tail", "0", "--raw"]), "");
    assert_eq!(text(&["--grep", "^w.rd$", "--raw"]), "word\n");
    assert_eq!(text(&["--grep", "nothing like it"]), "");
    // Its instance began later; and once it has, lines are judged by the times that they bear.
    let none = it.expect(0, &["logs", "--until", "2026-01-01T00:00:01Z"]);
    assert!(none.out.is_empty() && none.err.contains("before 2026-01-01T00:00:01Z"), "{}", none.err);
    assert!(text(&["--until", "1s", "--raw"]).contains("second"));
    let young = text(&["--since", "1h", "--raw"]);
    assert!(!young.contains("first") && !young.contains("word"), "they follow a line of long ago: {young}");
    let wrong = it.expect(2, &["logs", "--grep", "a("]);
    assert!(wrong.err.contains("unclosed group, at character 2"), "{}", wrong.err);
    let url = format!("{}/v1/apps/{}/logs?grep=(", it.stack.api(), it.name);
    let reply = it.stack.http().get(url).bearer_auth(crate::login::token(&it.home)).send().await.unwrap();
    assert_eq!(reply.status(), 422);
    it.expect(2, &["logs", "--until", "1h", "--follow"]);
    it.expect(2, &["logs", "--since", "yesterday"]);
    it.expect(2, &["logs", "--since", "1h", "--until", "2h"]);
    it.expect(0, &["delete", "--yes"]);
}

/// What nobody knows of lines that bear no times is said; what is known is used.
#[tokio::test(flavor = "multi_thread")]
async fn lines_without_times_are_chosen_by_their_instance_and_their_file_and_the_rest_is_said() {
    const DOUBT: &str = "shown whenever they were written";
    let it = Talker::new("timeless").await;
    it.describe("", &[("MODE", "seq"), ("PAUSE", "1000")]);
    it.expect(0, &["deploy"]);
    it.says(&["logs"], "seq 0").await;
    it.says(&["logs"], "err 0").await;
    // Its instance began within that time: nothing is doubtful.
    let all = it.expect(0, &["logs", "--since", "1h"]);
    assert!(all.out.contains("seq 0") && !all.err.contains(DOUBT), "{}", all.err);
    // Its files were not written to since.
    for more in [&[][..], &["--tail", "1"]] {
        let none = eventually("it was silent for a second", Duration::from_secs(20), async || {
            let none = it.expect(0, &[&["logs", "--since", "1s"], more].concat());
            none.out.is_empty().then_some(none)
        })
        .await;
        assert!(none.err.contains("in the last 1s") && !none.err.contains(DOUBT), "{}", none.err);
    }
    let none = it.expect(0, &["logs", "--since", "2999-01-01T00:00:00Z"]);
    assert!(none.out.is_empty() && none.err.contains("still to come"), "{}", none.err);

    let first = it.running().await;
    // It goes on writing: which lines are of the last second, nobody knows.
    it.describe("", &[("MODE", "seq"), ("PAUSE", "0.1")]);
    it.expect(0, &["deploy"]);
    it.ended(&first).await;
    let none = it.expect(0, &["logs", "--previous", "--until", "2026-01-01T00:00:00Z"]);
    assert!(none.out.is_empty() && none.err.contains("before 2026-01-01T00:00:00Z"), "{}", none.err);
    it.says(&["logs"], "seq 30").await;
    let some = it.expect(0, &["logs", "--since", "1s"]);
    assert!(
        some.out.contains("seq 0\n") && some.err.matches(DOUBT).count() == 1,
        "{} {}",
        some.out,
        some.err
    );
    let raw = it.expect(0, &["logs", "--since", "1s", "--raw"]);
    assert!(raw.out.starts_with("seq 0\n") && !raw.out.contains(DOUBT), "{}", raw.out);
    it.expect(0, &["delete", "--yes"]);
}

/// A command whose lines are gathered while it runs.
struct Following {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Following {
    fn begin(it: &Talker, args: &[&str]) -> Self {
        let mut command = it.home.command(it.path(), args);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let all = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                all.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    fn seen(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    async fn until(&mut self, what: &str, patience: Duration, wanted: impl Fn(&[String]) -> bool) {
        eventually(what, patience, async || {
            assert!(self.child.try_wait().unwrap().is_none(), "it goes on: {what}");
            wanted(&self.lines.lock().unwrap()).then_some(())
        })
        .await;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The numbers of each stream of each instance, in the order in which they came, with what else was said.
fn numbers(lines: &[String]) -> BTreeMap<(String, String), Vec<String>> {
    let mut all: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for line in lines {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let text = |key: &str| line[key].as_str().unwrap_or_else(|| panic!("{line}")).to_owned();
        all.entry((text("alloc"), text("stream"))).or_default().push(text("line"));
    }
    all
}

/// Panics unless the lines count on from `first` without a gap; gives the next number.
fn counts_on(lines: &[String], word: &str, first: usize) -> usize {
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(*line, format!("{word} {}", first + n), "after {:?}", lines[..n].last());
    }
    first + lines.len()
}

/// Twenty instances, replaced by twenty others while somebody follows.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_instances_are_followed_through_a_redeploy_without_a_line_lost_doubled_or_out_of_order() {
    const MANY: usize = 20;
    let _alone = the_only_heavy_one().await;
    let it = Talker::new("many").await;
    let process = "    instances = 20\n    update {\n      canary = 20\n      max_parallel = 20\n    }\n";
    it.describe(process, &[("MODE", "seq"), ("PAUSE", "0.1"), ("ROUND", "1")]);
    it.expect(0, &["deploy"]);
    let old: Vec<String> = it.instances().await.into_keys().collect();
    assert_eq!(old.len(), MANY);
    let patience = Duration::from_secs(90);
    let mut following = Following::begin(&it, &["logs", "-f", "--json"]);
    let heard = |lines: &[String]| {
        numbers(lines).into_keys().map(|(id, _)| id).collect::<std::collections::BTreeSet<_>>()
    };
    following.until("all are heard", patience, |lines| heard(lines).len() == MANY).await;

    it.describe(process, &[("MODE", "seq"), ("PAUSE", "0.1"), ("ROUND", "2")]);
    it.expect(0, &["deploy"]);
    for id in &old {
        it.ended(id).await;
    }
    let is_whole = |lines: &[String]| {
        let all = numbers(lines);
        let has_ended = |id: &String| all[&(id.clone(), "stdout".into())].last().unwrap().starts_with("bye");
        heard(lines).len() == 2 * MANY && old.iter().all(has_ended)
    };
    following
        .until("the old ones are read to their end and the new ones have joined", patience, is_whole)
        .await;
    let new: Vec<String> = it.instances().await.into_keys().filter(|id| !old.contains(id)).collect();
    assert_eq!(new.len(), MANY);
    // And it goes on: ten more lines of each new one.
    let at = numbers(&following.seen());
    let count = |all: &BTreeMap<(String, String), Vec<String>>, id: &String| {
        all[&(id.clone(), "stdout".into())].len()
    };
    following
        .until("it goes on", patience, |lines| {
            let now = numbers(lines);
            new.iter().all(|id| count(&now, id) >= count(&at, id) + 10)
        })
        .await;

    let seen = following.seen();
    let mut lines = 0;
    for ((id, stream), said) in numbers(&seen) {
        lines += said.len();
        if stream == "stderr" {
            counts_on(&said, "err", 0);
            continue;
        }
        let (said, bye) = match said.split_last() {
            Some((last, rest)) if last.starts_with("bye") => (rest.to_vec(), Some(last.clone())),
            _ => (said, None),
        };
        let next = counts_on(&said, "seq", 0);
        assert_eq!(bye.is_some(), old.contains(&id), "{id}");
        // Between a line and its number the signal may come.
        assert!(bye.is_none_or(|b| b == format!("bye {next}") || b == format!("bye {}", next - 1)), "{id}");
    }
    println!("{lines} lines of {} instances, none lost, doubled or out of order", 2 * MANY);
    drop(following);
    it.expect(0, &["delete", "--yes"]);
}

/// What is written between the reading of the last lines and the following is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_lines_and_what_follows_have_no_gap_between_them() {
    let it = Talker::new("gap").await;
    it.describe("", &[("MODE", "seq"), ("PAUSE", "0.0005")]);
    it.expect(0, &["deploy"]);
    it.says(&["logs", "--tail", "1"], "seq").await;
    for _ in 0..4 {
        let args = ["logs", "-f", "--tail", "5", "--raw", "--stream", "stdout"];
        let mut following = Following::begin(&it, &args);
        following.until("lines come", Duration::from_secs(40), |lines| lines.len() > 800).await;
        let seen = following.seen();
        let first = seen[0].strip_prefix("seq ").unwrap_or_else(|| panic!("a whole line: {:?}", seen[0]));
        counts_on(&seen, "seq", first.parse().unwrap());
    }
    it.expect(0, &["delete", "--yes"]);
}
