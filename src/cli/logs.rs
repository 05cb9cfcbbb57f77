//! `terreau logs`: an app's own bytes, exactly as it wrote them.

use futures::StreamExt;

use super::args::LogsArgs;
use super::client::{app_path, escaped};
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::Ran;
use super::{local, waiting};

/// Runs it.
pub fn run(args: &LogsArgs, cx: &Context) -> Ran {
    let app = local::app(args.app.app.as_ref(), cx.printer)?;
    // An app may be silent for hours.
    let client = cx.client()?.patient()?;
    waiting(async {
        let response = client.stream(&app_path(&app, &query(args)), "*/*").await?;
        let mut body = response.bytes_stream();
        while let Some(bytes) = body.next().await {
            cx.printer.bytes(&bytes.map_err(|e| client.away(&e))?)?;
        }
        Ok(ExitStatus::Done)
    })
}

fn query(args: &LogsArgs) -> String {
    let mut query = format!("/logs?stream={}", args.stream.as_str());
    let mut add = |name: &str, value: String| query = format!("{query}&{name}={}", escaped(&value));
    if args.follow {
        add("follow", "true".to_owned());
    }
    if args.previous {
        add("previous", "true".to_owned());
    }
    if let Some(lines) = args.tail {
        add("tail", lines.to_string());
    }
    if let Some(age) = args.since {
        add("since", format!("{}s", age.as_secs()));
    }
    if let Some(process) = &args.process {
        add("process", process.to_string());
    }
    if let Some(alloc) = &args.alloc {
        add("alloc", alloc.clone());
    }
    query
}
