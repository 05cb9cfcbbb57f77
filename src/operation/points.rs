//! Named points: before and after each effect and each record. Only in development builds.
//!
//! `TERREAU_KILL_AT=deploy.job.after` ends the process by SIGKILL when it gets there, as if the machine had
//! lost its power: nothing is flushed, nothing said. `TERREAU_STOP_AT=…` pauses it by SIGSTOP, as if the machine had
//! been suspended: it goes on when somebody sends SIGCONT. `…#2` waits for the second time that the point is passed.
//! Every point that is passed can be listed by `TERREAU_POINTS=<file>`.

/// Passes a point. In a release build this is nothing.
#[cfg(debug_assertions)]
pub fn pass(name: &str) {
    use std::io::Write;
    use std::sync::OnceLock;

    use rustix::process::{Signal, getpid, kill_process};

    struct Wanted {
        kill: Option<Once>,
        stop: Option<Once>,
        list: Option<std::path::PathBuf>,
    }
    static WANTED: OnceLock<Wanted> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| Wanted {
        kill: Once::from_env("TERREAU_KILL_AT"),
        stop: Once::from_env("TERREAU_STOP_AT"),
        list: std::env::var_os("TERREAU_POINTS").map(Into::into),
    });
    if let Some(path) = &wanted.list
        && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path)
    {
        // A list of points is a help for tests: losing a line must not fail an operation.
        let _ = writeln!(file, "{name}");
    }
    if wanted.kill.as_ref().is_some_and(|at| at.is_now(name)) {
        let _ = kill_process(getpid(), Signal::KILL);
    }
    if wanted.stop.as_ref().is_some_and(|at| at.is_now(name)) {
        let _ = kill_process(getpid(), Signal::STOP);
        // The signal may reach another thread first: this one must not run on meanwhile.
        #[expect(clippy::disallowed_methods, reason = "nothing tells a thread that its process was stopped")]
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
}

/// The point at which something happens once.
#[cfg(debug_assertions)]
struct Once {
    point: String,
    nth: u32,
    passed: std::sync::atomic::AtomicU32,
}

#[cfg(debug_assertions)]
impl Once {
    fn from_env(variable: &str) -> Option<Self> {
        let wanted = std::env::var(variable).ok()?;
        let (point, nth) = wanted.split_once('#').unwrap_or((&wanted, "1"));
        let nth = nth.parse().unwrap_or(1);
        Some(Self { point: point.to_owned(), nth, passed: std::sync::atomic::AtomicU32::new(0) })
    }

    fn is_now(&self, name: &str) -> bool {
        self.point == name && self.passed.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1 == self.nth
    }
}

/// Passes a point. In a release build this is nothing.
#[cfg(not(debug_assertions))]
pub fn pass(_name: &str) {}
