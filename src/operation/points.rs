//! Named kill points: before and after each effect and each record. Only in development builds.
//!
//! `TERREAU_KILL_AT=deploy.job.after` ends the process by SIGKILL when it gets there, as if the machine had lost its
//! power: nothing is flushed, nothing said. Every point that is passed can be listed by `TERREAU_POINTS=<file>`.

/// Passes a point. In a release build this is nothing.
#[cfg(debug_assertions)]
pub fn pass(name: &str) {
    use std::io::Write;
    use std::sync::OnceLock;

    struct Wanted {
        kill_at: Option<String>,
        list: Option<std::path::PathBuf>,
    }
    static WANTED: OnceLock<Wanted> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| Wanted {
        kill_at: std::env::var("TERREAU_KILL_AT").ok(),
        list: std::env::var_os("TERREAU_POINTS").map(Into::into),
    });
    if let Some(path) = &wanted.list
        && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path)
    {
        // A list of points is a help for tests: losing a line must not fail an operation.
        let _ = writeln!(file, "{name}");
    }
    if wanted.kill_at.as_deref() == Some(name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Passes a point. In a release build this is nothing.
#[cfg(not(debug_assertions))]
pub fn pass(_name: &str) {}
