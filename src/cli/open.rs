//! `terreau open`: an app's address, in a browser where there is a display, else printed.

use std::process::{Command, Stdio};

use super::args::OpenArgs;
use super::client::app_path;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran, harmless};
use super::shapes::Opened;
use super::{local, waiting};
use crate::model::wire::AppStatus;

/// Runs it.
pub fn run(args: &OpenArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    let client = cx.client()?;
    let status: AppStatus = waiting_for(client.get(&app_path(&app, "")))?;
    let url = status.urls.first().ok_or_else(|| {
        Failure::new(ExitStatus::NotFound, format!("{app} has no address"))
            .hint("a process gets one by `route \"app.example.org\" {}`")
    })?;
    if args.json {
        cx.printer.json(&Opened { url: url.clone() })?;
        return Ok(ExitStatus::Done);
    }
    cx.printer.data(harmless(url))?;
    let is_web = url.starts_with("http://") || url.starts_with("https://");
    if !args.print && is_web && has_display() {
        // A browser that does not start is no fault of the app: its address stands there.
        let mut browser = Command::new("xdg-open");
        browser.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Err(e) = browser.spawn() {
            cx.printer.say(format!("no browser was started (xdg-open: {e})"));
        }
    }
    Ok(ExitStatus::Done)
}

fn has_display() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|v| std::env::var_os(v).is_some_and(|v| !v.is_empty()))
}

fn waiting_for<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut found = None;
    waiting(async {
        found = Some(work.await?);
        Ok(ExitStatus::Done)
    })?;
    found.ok_or_else(|| Failure::failed("nothing was answered"))
}
