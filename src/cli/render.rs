//! `terreau render`: the Nomad job of a descriptor, offline. Starts no runtime and opens no socket.

use std::fmt::Write as _;
use std::path::Path;

use super::args::RenderArgs;
use super::context::Context;
use super::exit::ExitStatus;
use super::failure::{Failure, Ran};
use super::local;
use super::shapes::Rendered;
use crate::model::{Cluster, Placement};
use crate::render;

/// Runs it.
pub fn run(args: &RenderArgs, cx: &Context) -> Ran {
    let descriptor = local::load(args.file.file.as_deref(), cx.printer)?;
    let cluster = args.cluster.as_deref().map_or_else(|| Ok(Cluster::default()), read_cluster)?;
    let mut app = Placement::production(descriptor.project.name.clone());
    if let Some(environment) = &args.environment {
        app.environment = environment.clone();
    }
    let (bindings, notes) = render::placeholders(&descriptor.project, &app, &cluster);
    let desired = render::render(&descriptor.project, &app, &bindings).map_err(|e| {
        Failure::failed(format!("cannot render {}", descriptor.path.display())).because(e.to_string())
    })?;
    if args.json {
        for note in &notes {
            cx.printer.say(format!("placeholder: {note}"));
        }
        let job = desired.job.map(|j| j.json);
        let site = match &desired.site {
            Some(site) if job.is_none() => serde_json::to_value(site).ok(),
            _ => None,
        };
        cx.printer.json(&Rendered { job, site })?;
        return Ok(ExitStatus::Done);
    }
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# {app}, rendered offline by terreau {}.", env!("CARGO_PKG_VERSION"));
    for note in &notes {
        let _ = writeln!(text, "# {note}");
    }
    match (&desired.job, &desired.site) {
        (Some(job), _) => {
            let _ = writeln!(text, "{}", job.hcl.trim_end());
        }
        (None, Some(site)) => {
            let hosts: Vec<&str> = site.hosts.iter().map(AsRef::as_ref).collect();
            let _ = writeln!(
                text,
                "# A static site has no job: its files lie in the bucket of {}.",
                hosts.join(", ")
            );
        }
        (None, None) => {
            let _ = writeln!(text, "# It has no job.");
        }
    }
    cx.printer.document(&text)?;
    Ok(ExitStatus::Done)
}

fn read_cluster(path: &Path) -> Result<Cluster, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::file("read", path, &e))?;
    toml::from_str(&text).map_err(|e| {
        Failure::failed(format!("{} is not a cluster's settings", path.display())).detail(e.to_string())
    })
}
