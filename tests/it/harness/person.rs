//! Commands of a person, watched while they run.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// A command that runs, and what it has said on standard error.
pub struct Watched {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    out: Option<std::thread::JoinHandle<String>>,
    said: Vec<String>,
    begun: Instant,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    /// Standard error, by line.
    pub said: Vec<String>,
    pub took: Duration,
}

impl Ended {
    /// The first line that says this, or all of them.
    pub fn line(&self, part: &str) -> String {
        self.said.iter().find(|l| l.contains(part)).cloned().unwrap_or_else(|| self.said.join(" | "))
    }
}

impl Watched {
    pub fn begin(mut command: Command) -> Self {
        let begun = Instant::now();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (tx, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            // Whoever listened may have had enough.
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|l| tx.send(l)).ok()
        });
        let out = std::thread::spawn(move || {
            let mut out = String::new();
            stdout.read_to_string(&mut out).unwrap();
            out
        });
        Self { child, lines, out: Some(out), said: Vec::new(), begun }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that is as wanted; `None` where the command ends without one.
    pub async fn until(&mut self, patience: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let next = tokio::time::timeout_at(deadline, self.lines.recv()).await;
            let Ok(next) = next else { panic!("not said within {patience:?}; only: {:#?}", self.said) };
            let line = next?;
            self.said.push(line.clone());
            if wanted(&line) {
                return Some(line);
            }
        }
    }

    /// Waits for the end.
    pub async fn end(mut self, patience: Duration) -> Ended {
        assert_eq!(self.until(patience, |_| false).await, None);
        let out = self.out.take().unwrap().join().unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        Ended { code, out, said: std::mem::take(&mut self.said), took: self.begun.elapsed() }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
