//! A real browser without a window, told what to do over DevTools' pipe: pages whose text a program makes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Chromium, and one page in it. Ended when dropped.
pub struct Browser {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: Option<String>,
    sent: u64,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        // DevTools reads from descriptor 3 and writes to 4; the test runs as whoever runs it, root included.
        let script = r#"exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
            --proxy-server=direct:// --user-data-dir="$0" --remote-debugging-pipe about:blank 3<&0 4>&1 1>/dev/null"#;
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut it = Self { child, orders, answers, session: None, sent: 0, _profile: profile };
        let target = it.order("Target.createTarget", &json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = it.order("Target.attachToTarget", &json!({ "targetId": target, "flatten": true }));
        it.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        it
    }

    fn order(&mut self, method: &str, params: &Value) -> Value {
        self.sent += 1;
        let mut order = json!({ "id": self.sent, "method": method, "params": params });
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        let broken = "chromium ended; is it installed? (scripts/needs --test)";
        self.orders.write_all(format!("{order}\0").as_bytes()).expect(broken);
        loop {
            let mut answer = Vec::new();
            self.answers.read_until(0, &mut answer).unwrap();
            assert!(answer.pop() == Some(0), "{broken}");
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            // Events come in between.
            if answer["id"] == self.sent {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// Opens a page and waits until its text is as wanted; gives the text.
    pub fn text(&mut self, url: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.order("Page.navigate", &json!({ "url": url }));
        let begun = Instant::now();
        loop {
            let script = json!({ "expression": "document.body ? document.body.innerText : ''", "returnByValue": true });
            let seen = self.order("Runtime.evaluate", &script);
            let text = seen["result"]["value"].as_str().unwrap_or_default().to_owned();
            if wanted(&text) {
                return text;
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "{url} shows only:\n{text}");
            #[expect(
                clippy::disallowed_methods,
                reason = "a page tells nobody that its scripts have painted"
            )]
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
