//! Named kill points: before and after each effect and each record. Only in development builds.
//!
//! `TERREAU_KILL_AT=deploy.job.after` ends the process by SIGKILL when it gets there, as if the machine had
//! lost its power: nothing is flushed, nothing said. `…#2` waits for the second time that the point is passed. Every
//! point that is passed can be listed by `TERREAU_POINTS=<file>`.

/// Passes a point. In a release build this is nothing.
#[cfg(debug_assertions)]
pub fn pass(name: &str) {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Wanted {
        kill_at: Option<(String, u32)>,
        list: Option<std::path::PathBuf>,
    }
    static WANTED: OnceLock<Wanted> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let wanted = WANTED.get_or_init(|| Wanted {
        kill_at: std::env::var("TERREAU_KILL_AT").ok().map(|wanted| match wanted.split_once('#') {
            Some((name, nth)) => (name.to_owned(), nth.parse().unwrap_or(1)),
            None => (wanted, 1),
        }),
        list: std::env::var_os("TERREAU_POINTS").map(Into::into),
    });
    if let Some(path) = &wanted.list
        && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path)
    {
        // A list of points is a help for tests: losing a line must not fail an operation.
        let _ = writeln!(file, "{name}");
    }
    if let Some((point, nth)) = &wanted.kill_at
        && point == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *nth
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Passes a point. In a release build this is nothing.
#[cfg(not(debug_assertions))]
pub fn pass(_name: &str) {}
